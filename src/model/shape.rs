//! The shape of a difference: what thousands of differences with one cause have in common.

use super::columns::Group;
use super::difference::{Class, Difference};
use super::filter::{is_wide, stored_column};
use super::time::Micros;
use super::value::Value;

/// Longest text that is taken for a status.
const STATUS_CHARS_MAX: usize = 40;

/// The column that a pattern is filed under: all wide columns are one, and a row has none.
pub fn column(difference: &Difference) -> &str {
    match difference.column.as_deref() {
        Some(name) if is_wide(name) => "era5_score_*h",
        Some(name) => name,
        None => "(whole row)",
    }
}

/// `NULL → 0.0`, `seeded → pending`, `off by about 0.001`, …
pub fn shape(difference: &Difference) -> String {
    let (stored, recomputed) = (&difference.stored, &difference.recomputed);
    match difference.class {
        Class::Missing => return "not stored".to_owned(),
        Class::Extra => return "stored, without evidence".to_owned(),
        // D5: as read, both are the same; what is stored is not.
        _ if stored == recomputed => return "unsanitized → sanitized".to_owned(),
        _ => {}
    }
    match difference.delta() {
        Some(delta) if !is_zero(stored) && !is_zero(recomputed) && delta.is_finite() && delta != 0.0 => {
            format!("off by about {}", magnitude(delta))
        }
        _ => {
            let literal = is_status(difference);
            format!("{} → {}", side(stored, literal), side(recomputed, literal))
        }
    }
}

/// Whether the column holds words of a small vocabulary, which are shown as they are.
pub fn is_status(difference: &Difference) -> bool {
    let column = difference.column.as_deref().and_then(|name| stored_column(difference.table, name));
    column.is_some_and(|column| matches!(column.group, Group::Status | Group::Hosting))
}

fn is_zero(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(0)) || matches!(value, Value::Float(x) if *x == 0.0)
}

/// The power of ten at or below a difference.
fn magnitude(delta: f64) -> String {
    match delta.abs().log10().floor() {
        0.0 => "1".to_owned(),
        1.0 => "10".to_owned(),
        2.0 => "100".to_owned(),
        power if (-4.0..0.0).contains(&power) => format!("{:.*}", -power as usize, 10_f64.powf(power)),
        power => format!("1e{power}"),
    }
}

/// One side of a pattern: `NULL`, `0`, `0.0`, `number`, `time`, `text`, `object`, …; `literal`: a word of a status stands for itself.
pub fn side(value: &Value<'_>, literal: bool) -> String {
    let word = match value {
        Value::Null => "NULL",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Int(0) => "0",
        Value::Float(x) if x.is_nan() => "NaN",
        Value::Float(x) if x.is_infinite() => return x.to_string().replace("inf", "Infinity"),
        Value::Float(0.0) => "0.0",
        Value::Int(_) | Value::Float(_) => "number",
        Value::Time(Micros::MIN | Micros::MAX) => "infinity",
        Value::Time(_) => "time",
        Value::Text(text) if text.is_empty() => "''",
        Value::Text(text) if literal => return status(text).unwrap_or("text").to_owned(),
        Value::Text(_) => "text",
        Value::Json(json) if json.is_object() => "object",
        Value::Json(json) if json.is_array() => "array",
        Value::Json(_) => "JSON",
    };
    word.to_owned()
}

/// The text where it reads like a status, with leads taken together.
fn status(text: &str) -> Option<&str> {
    if text.strip_prefix("era5_scoring_").is_some_and(|rest| rest.ends_with('h')) {
        return Some("era5_scoring_*h");
    }
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    (plain && text.len() <= STATUS_CHARS_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(column: &str, stored: Value<'static>, recomputed: Value<'static>) -> Difference {
        let (table, column) = ("weather_forecast_stats", Some(column.to_owned()));
        Difference { table, key: Default::default(), column, class: Class::Drift, stored, recomputed, cause: None }
    }

    fn text(text: &str) -> Value<'static> {
        Value::Text(text.to_owned().into())
    }

    #[test]
    fn shapes_say_what_differences_have_in_common() {
        use Value::{Float, Int, Null, Time};
        let json = |json: serde_json::Value| Value::Json(std::borrow::Cow::Owned(json));
        for (column, stored, recomputed, expected) in [
            ("era5_completeness", Null, Float(0.0), "NULL → 0.0"),
            ("era5_completeness", Float(0.0), Float(0.5), "0.0 → number"),
            ("miner_rank", Int(20), Null, "number → NULL"),
            ("avg_rmse", Float(1.0), Float(1.0042), "off by about 0.001"),
            ("miner_rank", Int(9), Int(7), "off by about 1"),
            ("retries_remaining", Int(1), Int(5001), "off by about 1e3"),
            ("avg_rmse", Float(f64::MAX), Float(f64::MIN), "number → number"),
            ("forecast_score_initial", Float(f64::NEG_INFINITY), Null, "-Infinity → NULL"),
            ("forecast_score_initial", Float(f64::NAN), Float(0.25), "NaN → number"),
            ("forecast_status", text("seeded"), text("pending"), "seeded → pending"),
            ("current_forecast_stage", text("era5_scoring_48h"), text("complete"), "era5_scoring_*h → complete"),
            ("current_forecast_stage", text("see http://host/x"), text(""), "text → ''"),
            ("miner_hotkey", text("hk_1"), text("hk_2"), "text → text"),
            ("last_error_message", text("timeout"), Null, "text → NULL"),
            ("last_error_message", text("x [REDACTED]"), text("x [REDACTED]"), "unsanitized → sanitized"),
            ("forecast_error_msg", json(json!({})), Null, "object → NULL"),
            ("forecast_init_time", Time(Micros(1)), Time(Micros(2)), "time → time"),
        ] {
            assert_eq!(shape(&difference(column, stored, recomputed)), expected, "{column}");
        }
        assert_eq!(column(&difference("era5_score_240h", Null, Null)), "era5_score_*h");
    }

    #[test]
    fn whole_rows_have_shapes_too() {
        let row = |class| Difference { class, column: None, ..difference("", Value::Null, Value::Null) };
        assert_eq!((column(&row(Class::Missing)), &*shape(&row(Class::Missing))), ("(whole row)", "not stored"));
        assert_eq!(shape(&row(Class::Extra)), "stored, without evidence");
    }
}
