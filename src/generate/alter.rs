//! Another value for a cell: one that is certainly a difference, or one that certainly is none worth telling.

use std::borrow::Cow;

use serde_json::{Value as Json, json};

use crate::diff::classify;
use crate::model::columns::{Column, Type};
use crate::model::difference::{CellClass, Tolerance};
use crate::model::time::Micros;
use crate::model::value::Value;

use super::chance::Chance;

/// How far a drifted number is off, as a part of itself.
const MAGNITUDES: [f64; 5] = [1e-6, 1e-3, 0.05, 0.5, 3.0];

/// A number of this size or smaller drifts as if it had this size.
const SMALLEST: f64 = 0.01;

/// How far a time is off, in microseconds: the least there is, a second, an hour, a day.
const DELAYS: [i64; 4] = [1, 1_000_000, 3_600_000_000, 86_400_000_000];

/// Stored texts that were right once, or in another vocabulary.
fn stale_texts(column: &str) -> &'static [&'static str] {
    match column {
        "miner_hotkey" => &["5PreviousOwnerOfThisUid", "5OwnerBeforeThePreviousOne"],
        "forecast_status" => &["pending", "seeded", "day1_scored", "era5_scoring", "completed", "failed"],
        "current_forecast_stage" => &["initialized", "day1_scoring", "era5_scoring", "inference_complete", "complete"],
        "current_forecast_status" => &["initialized", "in_progress", "completed", "error"],
        "hosting_status" => &["accessible", "inaccessible", "timeout", "error"],
        _ => &["Timed out while waiting for the forecast", "Manifest fetch/verify failed"],
    }
}

/// A value that differs from `before` beyond every tolerance. Now and then NULL, where the column may be.
pub fn drifted(column: &Column, nullable: bool, before: &Value<'_>, chance: &mut Chance) -> Value<'static> {
    // The only other value that the foreign key is sure to let in.
    let only_null = column.name == "run_id";
    if !before.is_null() && nullable && (only_null || chance.yes(0.25)) {
        return Value::Null;
    }
    match column.kind {
        Type::Float64 => drifted_float(before, chance),
        Type::Int32 | Type::Int64 => drifted_int(before, chance),
        Type::Time => drifted_time(before, chance),
        Type::Text => drifted_text(&column.name, before, chance),
        Type::Json => drifted_json(&column.name, before),
        Type::Bool => Value::Bool(*before != Value::Bool(true)),
    }
}

fn drifted_float(before: &Value<'_>, chance: &mut Chance) -> Value<'static> {
    let Value::Float(x) = *before else { return Value::Float(if chance.yes(0.5) { 0.0 } else { chance.unit() }) };
    let off = x.abs().max(SMALLEST) * *chance.of(&MAGNITUDES);
    Value::Float(if chance.yes(0.5) { x + off } else { x - off })
}

fn drifted_int(before: &Value<'_>, chance: &mut Chance) -> Value<'static> {
    let Value::Int(x) = *before else { return Value::Int(0) };
    let off = 1 + chance.below(3) as i64;
    Value::Int(if x > off && chance.yes(0.5) { x - off } else { x + off })
}

fn drifted_time(before: &Value<'_>, chance: &mut Chance) -> Value<'static> {
    let Value::Time(x) = *before else { return Value::Time(Micros(1_735_689_600_000_000)) };
    Value::Time(Micros(x.0 - chance.of(&DELAYS)))
}

fn drifted_text(column: &str, before: &Value<'_>, chance: &mut Chance) -> Value<'static> {
    let texts: Vec<_> = stale_texts(column).iter().map(|&text| Value::Text(Cow::Borrowed(text))).collect();
    let others: Vec<_> = texts.into_iter().filter(|text| text != before).collect();
    chance.of(&others).clone()
}

fn drifted_json(column: &str, before: &Value<'_>) -> Value<'static> {
    let Value::Json(before) = before else {
        return Value::Json(Cow::Owned(match column {
            "forecast_error_msg" => json!({"type": "StaleError", "message": "Timed out while waiting for the forecast"}),
            "common_errors" => json!({"StaleError": 1}),
            _ => json!({"10day": 0.5}),
        }));
    };
    let mut after = before.clone().into_owned();
    match after.as_object_mut().and_then(|object| object.values_mut().next()) {
        Some(first) => *first = drifted_member(first),
        None => after = json!({"StaleError": 1}),
    }
    Value::Json(Cow::Owned(after))
}

fn drifted_member(member: &Json) -> Json {
    match (member.as_i64(), member.as_f64()) {
        (Some(count), _) => json!(count + 1),
        (None, Some(part)) => json!(part + 0.25),
        (None, None) if *member == json!("StaleError") => json!("OlderError"),
        (None, None) => json!("StaleError"),
    }
}

/// A number with other bits within the default tolerance of `before`, or `None` where `before` is no number.
pub fn within(before: &Value<'_>) -> Option<Value<'static>> {
    let Value::Float(x) = *before else { return None };
    let after = Value::Float(if x.abs() < 1.0 { x + 5e-10 } else { x * (1.0 + 1e-10) });
    (classify(&after, before, Tolerance::default()) == CellClass::Within).then_some(after)
}

#[cfg(test)]
mod tests {
    use crate::model::columns::Group;
    use crate::model::sanitize::sanitize;

    use super::super::chance::Stream;
    use super::*;

    fn class(before: &Value<'_>, after: &Value<'_>) -> CellClass {
        classify(after, before, Tolerance::default())
    }

    const NAMES: [&str; 6] = [
        "miner_hotkey",
        "forecast_status",
        "current_forecast_stage",
        "current_forecast_status",
        "hosting_status",
        "last_error_message",
    ];

    #[test]
    fn numbers_always_drift() {
        let column = Column::new("avg_acc", Type::Float64, Group::Scores);
        let mut chance = Chance::new(3, Stream::Schedule);
        for x in [0.0, 1e-300, 1e-9, -0.3, 1.0, 0.999_999, 1e5, 1e300, -1e12] {
            for _ in 0..200 {
                let before = Value::Float(x);
                assert_eq!(class(&before, &drifted(&column, true, &before, &mut chance)), CellClass::Drift, "{x}");
                assert_ne!(drifted(&column, false, &before, &mut chance), Value::Null);
            }
        }
        assert_eq!(class(&Value::Null, &drifted(&column, true, &Value::Null, &mut chance)), CellClass::Drift);
    }

    #[test]
    fn noise_is_always_within() {
        for x in [0.0, 1e-12, 0.5, 0.999_999_999, 1.0, -3.0, 214.5, 1e6] {
            let before = Value::Float(x);
            let after = within(&before).unwrap();
            assert_eq!(class(&before, &after), CellClass::Within, "{x}");
        }
        assert_eq!(within(&Value::Null), None);
        assert_eq!(within(&Value::Int(3)), None);
    }

    #[test]
    fn integers_times_and_objects_always_drift() {
        let mut chance = Chance::new(4, Stream::Schedule);
        let values = [
            (Type::Int32, Value::Int(0)),
            (Type::Int64, Value::Int(5)),
            (Type::Time, Value::Time(Micros(0))),
            (Type::Json, Value::Json(Cow::Owned(json!({"unknown": 2, "x": 1})))),
            (Type::Json, Value::Json(Cow::Owned(json!({"10day": 0.25})))),
            (Type::Json, Value::Json(Cow::Owned(json!({"message": null, "type": "StaleError"})))),
            (Type::Json, Value::Json(Cow::Owned(json!({})))),
            (Type::Text, Value::Text(Cow::Borrowed("x"))),
        ];
        for (kind, before) in values {
            for name in ["common_errors", "error_rate_by_type", "forecast_error_msg"] {
                let column = Column::new(name, kind, Group::Errors);
                for before in [&before, &Value::Null] {
                    assert_eq!(class(before, &drifted(&column, true, before, &mut chance)), CellClass::Drift, "{before:?}");
                }
            }
        }
    }

    #[test]
    fn texts_differ_and_need_no_sanitizing() {
        let mut chance = Chance::new(5, Stream::Schedule);
        for name in NAMES {
            let column = Column::new(name, Type::Text, Group::Status);
            for text in stale_texts(name) {
                assert_eq!(sanitize(text), *text);
                let before = Value::Text(Cow::Borrowed(*text));
                assert_ne!(drifted(&column, false, &before, &mut chance), before);
            }
        }
    }
}
