//! D2: how two cells compare.

use serde_json::Value as Json;

use crate::model::difference::{CellClass, Tolerance};
use crate::model::value::Value;

/// The class of a stored against a recomputed cell.
pub fn classify(stored: &Value<'_>, recomputed: &Value<'_>, tolerance: Tolerance) -> CellClass {
    match (stored, recomputed) {
        (Value::Float(a), Value::Float(b)) => classify_floats(*a, *b, tolerance),
        (Value::Json(a), Value::Json(b)) => classify_json(a, b, tolerance),
        (a, b) => exact(a == b),
    }
}

fn exact(equal: bool) -> CellClass {
    if equal { CellClass::Equal } else { CellClass::Drift }
}

fn classify_floats(a: f64, b: f64, tolerance: Tolerance) -> CellClass {
    if a.to_bits() == b.to_bits() {
        return CellClass::Equal;
    }
    if tolerance.allows(a, b) { CellClass::Within } else { CellClass::Drift }
}

/// By value: the order of keys means nothing, that of lists does; numbers by the float rule; the worst class counts.
fn classify_json(a: &Json, b: &Json, tolerance: Tolerance) -> CellClass {
    let worst = |classes: &mut dyn Iterator<Item = CellClass>| classes.max().unwrap_or(CellClass::Equal);
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            a.as_f64().zip(b.as_f64()).map_or(CellClass::Drift, |(a, b)| classify_floats(a, b, tolerance))
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            worst(&mut a.iter().zip(b).map(|(a, b)| classify_json(a, b, tolerance)))
        }
        (Json::Object(a), Json::Object(b)) if a.len() == b.len() => worst(&mut a.iter().map(|(key, a)| match b.get(key) {
            Some(b) => classify_json(a, b, tolerance),
            None => CellClass::Drift,
        })),
        (a, b) => exact(a == b),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;

    fn floats(a: f64, b: f64) -> CellClass {
        classify(&Value::Float(a), &Value::Float(b), Tolerance::default())
    }

    #[test]
    fn d2_floats() {
        assert_eq!(floats(0.5, 0.5), CellClass::Equal);
        assert_eq!(floats(-0.0, 0.0), CellClass::Within, "other bits, no distance");
        assert_eq!(floats(0.5, 0.5 + 1e-9), CellClass::Within);
        assert_eq!(floats(0.5, 0.5 + 3e-9), CellClass::Drift);
        assert_eq!(floats(1e12, 1e12 + 900.0), CellClass::Within, "relative");
        assert_eq!(floats(f64::NAN, 0.0), CellClass::Drift);
        assert_eq!(floats(f64::INFINITY, f64::MAX), CellClass::Drift);
        assert_eq!(floats(f64::MAX, f64::MIN), CellClass::Drift);
    }

    #[test]
    fn d2_null_integers_text() {
        let class = |a, b| classify(&a, &b, Tolerance::default());
        assert_eq!(class(Value::Null, Value::Null), CellClass::Equal);
        assert_eq!(class(Value::Null, Value::Float(0.0)), CellClass::Drift);
        assert_eq!(class(Value::Int(3), Value::Int(4)), CellClass::Drift);
        assert_eq!(class(Value::Text(Cow::Borrowed("a")), Value::Text(Cow::Borrowed("a"))), CellClass::Equal);
    }

    #[test]
    fn d2_json_by_value() {
        let class = |a, b| classify(&Value::Json(Cow::Owned(a)), &Value::Json(Cow::Owned(b)), Tolerance::default());
        assert_eq!(class(json!({"a": 1, "b": [0.5]}), json!({"b": [0.5], "a": 1.0})), CellClass::Equal);
        assert_eq!(class(json!({"a": 0.25, "b": 0.5}), json!({"a": 0.25, "b": 0.5 + 1e-12})), CellClass::Within);
        assert_eq!(class(json!({"a": 1}), json!({"b": 1})), CellClass::Drift);
        assert_eq!(class(json!([1, 2]), json!([2, 1])), CellClass::Drift);
        assert_eq!(class(json!([1, 2]), json!([1])), CellClass::Drift);
        assert_eq!(class(json!([0.5, 1]), json!([0.5 + 1e-12, 1])), CellClass::Within, "the worst of a list");
        assert_eq!(class(json!({"a": 1, "b": 2}), json!({"a": 1})), CellClass::Drift);
        assert_eq!(class(json!({"a": 1}), json!({"a": 1, "b": 2})), CellClass::Drift);
        assert_eq!(class(json!({"a": null}), json!({"a": "x"})), CellClass::Drift);
    }
}
