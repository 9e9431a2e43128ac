//! One cell of a rollup, whatever its type: what diffs compare, reports show and sinks write.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::serial;
use super::time::Micros;

/// A cell. `Int` covers 32 and 64 bits; the column's [`super::columns::Type`] tells which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Time(Micros),
    Text(Cow<'a, str>),
    Json(#[serde(with = "serial::json")] Cow<'a, Json>),
}

impl Value<'_> {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(x) => Value::Bool(x),
            Value::Int(x) => Value::Int(x),
            Value::Float(x) => Value::Float(x),
            Value::Time(x) => Value::Time(x),
            Value::Text(x) => Value::Text(Cow::Owned(x.into_owned())),
            Value::Json(x) => Value::Json(Cow::Owned(x.into_owned())),
        }
    }

    /// The cell as one text; NULL is none. A double has the fewest digits that read back to its bits.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Json(x) => Some(canonical_json(x)),
            other => Some(match other.to_json() {
                Json::String(text) => text,
                scalar => scalar.to_string(),
            }),
        }
    }

    /// The cell as JSON: times as ISO text, a non-finite double as `"NaN"`, `"Infinity"`, `"-Infinity"`.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Bool(x) => Json::Bool(*x),
            Value::Int(x) => Json::from(*x),
            Value::Float(x) if x.is_nan() => Json::from("NaN"),
            Value::Float(x) if x.is_infinite() => Json::from(if *x > 0.0 { "Infinity" } else { "-Infinity" }),
            Value::Float(x) => Json::from(*x),
            Value::Time(x) => Json::from(x.iso()),
            Value::Text(x) => Json::from(x.as_ref()),
            Value::Json(x) => x.as_ref().clone(),
        }
    }
}

/// JSON with the keys of every object sorted: one text for one value.
pub fn canonical_json(value: &Json) -> String {
    fn write(value: &Json, out: &mut String) {
        match value {
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write(item, out);
                }
                out.push(']');
            }
            Json::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                out.push('{');
                for (i, (key, item)) in entries.into_iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&Json::from(key.as_str()).to_string());
                    out.push(':');
                    write(item, out);
                }
                out.push('}');
            }
            scalar => out.push_str(&scalar.to_string()),
        }
    }
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// How a field of a rollup row becomes a cell and comes back from one.
pub trait Field {
    fn value(&self) -> Value<'_>;
    /// `None` where the value is of another type: a broken invariant of the caller.
    fn from_value(value: Value<'_>) -> Option<Self>
    where
        Self: Sized;
}

impl<T: Field> Field for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, Field::value)
    }

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

macro_rules! field {
    ($type:ty, |$x:ident| $to:expr, $pattern:pat => $from:expr) => {
        impl Field for $type {
            fn value(&self) -> Value<'_> {
                let $x = self;
                $to
            }

            fn from_value(value: Value<'_>) -> Option<Self> {
                match value {
                    $pattern => $from,
                    _ => None,
                }
            }
        }
    };
}

field!(bool, |x| Value::Bool(*x), Value::Bool(x) => Some(x));
field!(i32, |x| Value::Int((*x).into()), Value::Int(x) => i32::try_from(x).ok());
field!(i64, |x| Value::Int(*x), Value::Int(x) => Some(x));
field!(f64, |x| Value::Float(*x), Value::Float(x) => Some(x));
field!(Micros, |x| Value::Time(*x), Value::Time(x) => Some(x));
field!(String, |x| Value::Text(Cow::Borrowed(x)), Value::Text(x) => Some(x.into_owned()));
field!(Json, |x| Value::Json(Cow::Borrowed(x)), Value::Json(x) => Some(x.into_owned()));
