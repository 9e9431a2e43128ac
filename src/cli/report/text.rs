//! Small texts of the terminal report: counts, values, keys, times.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::difference::Difference;
use crate::model::value::{Value, canonical_json};

/// Longest value shown; the whole is in `differences.parquet`.
const VALUE_CHARS_MAX: usize = 32;

/// `1234567` as `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`.
pub fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(count))
}

/// A cell on one short line, without control characters.
pub fn value(value: &Value<'_>) -> String {
    let text = match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(x) => x.to_string(),
        Value::Int(x) => x.to_string(),
        Value::Float(x) => format!("{x:?}"),
        Value::Time(x) => x.iso().replace(".000000Z", "Z"),
        Value::Text(x) => x.to_string(),
        Value::Json(x) => canonical_json(x),
    };
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = chars.by_ref().take(VALUE_CHARS_MAX).collect();
    if chars.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// A difference between numbers: two digits tell all there is to tell.
pub fn magnitude(x: f64) -> String {
    let digits = format!("{x:.1e}");
    match x.abs() {
        size if (10.0..1e6).contains(&size) => format!("{x:.0}"),
        size if size == 0.0 || (1e-4..10.0).contains(&size) => digits.parse().map_or(digits, |x: f64| x.to_string()),
        _ => digits,
    }
}

/// How far a stored value is from the recomputed one, in words; empty where that says nothing.
pub fn off_by(difference: &Difference) -> String {
    match (&difference.stored, &difference.recomputed) {
        (Value::Time(stored), Value::Time(right)) => format!("off by {}", span(right.0.abs_diff(stored.0))),
        (Value::Json(stored), Value::Json(right)) => match (stored.as_object(), right.as_object()) {
            (Some(stored), Some(right)) => {
                let keys: BTreeSet<&String> = stored.keys().chain(right.keys()).collect();
                let other: Vec<&str> =
                    keys.into_iter().filter(|key| stored.get(*key) != right.get(*key)).map(String::as_str).collect();
                format!("differs in {}", other.join(", "))
            }
            _ => String::new(),
        },
        _ => difference.delta().map_or(String::new(), |delta| format!("off by about {}", magnitude(delta.abs()))),
    }
}

/// A span of microseconds by its two greatest units: `3 h 12 min`.
fn span(micros: u64) -> String {
    const UNITS: [(u64, &str); 6] =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms"), (1, "µs")];
    let first = UNITS.iter().position(|(size, _)| micros >= *size).unwrap_or(UNITS.len() - 1);
    let (size, unit) = UNITS[first];
    let head = format!("{} {unit}", grouped(micros / size));
    match UNITS.get(first + 1) {
        Some((next, unit)) if micros % size >= *next => format!("{head} {} {unit}", micros % size / next),
        _ => head,
    }
}

pub fn elapsed(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 100.0 => format!("{seconds:.0} s"),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.0} ms", seconds * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_values_and_times_are_short() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "row"), counted(2000, "row")], ["1 row", "2,000 rows"]);
        assert_eq!([0.0, 0.01234, -2.5, 1234.5, 1.5e-7, 2e9].map(magnitude), ["0", "0.012", "-2.5", "1234", "1.5e-7", "2.0e9"]);
        assert_eq!([20, 1500, 123_456].map(|ms| elapsed(Duration::from_millis(ms))), ["20 ms", "1.5 s", "123 s"]);
        let spans = [0, 999, 1_500, 61_000_000, 11_520_000_000, 90_000_000_000, 86_400_000_000_000];
        assert_eq!(spans.map(span), ["0 µs", "999 µs", "1 ms 500 µs", "1 min 1 s", "3 h 12 min", "1 d 1 h", "1,000 d"]);
        assert_eq!(value(&Value::Text("a\u{1b}[31m\nb".into())), "a [31m b");
        assert_eq!(value(&Value::Text("x".repeat(40).into())), "x".repeat(31) + "…");
        assert_eq!([0.1 + 0.2, 1.0, -0.0].map(|x| value(&Value::Float(x))), ["0.30000000000000004", "1.0", "-0.0"]);
    }
}
