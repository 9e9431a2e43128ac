//! What a validator's own code stores by habit: known, harmless to weights, and no news each night.

use std::ops::RangeInclusive;

use super::cause::Cause;
use super::difference::{Class, Difference};
use super::shape::{is_status, side};

/// The habits of the versions of one validator.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub name: String,
    /// The validator's versions that it was seen with, first and last.
    pub versions: RangeInclusive<String>,
    pub habits: Vec<Habit>,
}

/// One way in which stored cells differ, time after time.
#[derive(Debug, Clone, PartialEq)]
pub struct Habit {
    pub table: String,
    pub columns: Vec<String>,
    /// Shapes of the stored value: `NULL`, `0`, `0.0`, `number`, `time`, `text`, `object`, a word of a status, `*` for anything.
    pub stored: Vec<String>,
    /// Shapes of the recomputed value.
    pub recomputed: Vec<String>,
    /// Only of cells that follow from other stored cells.
    pub follows: bool,
    pub why: String,
}

impl Profile {
    /// The habit that a drifted cell is of, if any.
    pub fn habit(&self, difference: &Difference) -> Option<&Habit> {
        let column = difference.column.as_deref().filter(|_| difference.class == Class::Drift)?;
        self.habits.iter().find(|habit| {
            habit.table == difference.table
                && habit.columns.iter().any(|known| known == column)
                && (!habit.follows || difference.cause == Some(Cause::Follows))
                && habit.is_of(difference)
        })
    }
}

impl Habit {
    fn is_of(&self, difference: &Difference) -> bool {
        let literal = is_status(difference);
        // D5: as read, both are the same; what is stored is not.
        let unsanitized = difference.stored == difference.recomputed;
        let fits = |shapes: &[String], value| {
            let shape = side(value, literal);
            shapes.iter().any(|known| known == "*" || *known == shape)
        };
        !unsanitized && fits(&self.stored, &difference.stored) && fits(&self.recomputed, &difference.recomputed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::RowKey;
    use super::super::value::Value;
    use super::*;

    fn profile(follows: bool) -> Profile {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Profile {
            name: "test".to_owned(),
            versions: "1".to_owned()..="2".to_owned(),
            habits: vec![Habit {
                table: "weather_forecast_stats".to_owned(),
                columns: words(&["forecast_status", "era5_completeness"]),
                stored: words(&["NULL", "seeded"]),
                recomputed: words(&["pending", "0.0"]),
                follows,
                why: "a test".to_owned(),
            }],
        }
    }

    fn difference(column: &str, stored: Value<'static>, recomputed: Value<'static>) -> Difference {
        let (table, column) = ("weather_forecast_stats", Some(column.to_owned()));
        Difference { table, key: RowKey::default(), column, class: Class::Drift, stored, recomputed, cause: None }
    }

    fn word(text: &str) -> Value<'static> {
        Value::Text(text.to_owned().into())
    }

    #[test]
    fn a_habit_is_a_column_and_both_shapes() {
        let is = |found: &Difference| profile(false).habit(found).is_some();
        assert!(is(&difference("forecast_status", word("seeded"), word("pending"))));
        assert!(is(&difference("era5_completeness", Value::Null, Value::Float(0.0))));
        assert!(!is(&difference("forecast_status", word("failed"), word("pending"))), "another word");
        assert!(!is(&difference("current_forecast_stage", word("seeded"), word("pending"))), "another column");
        assert!(!is(&difference("era5_completeness", Value::Null, Value::Float(0.5))), "another number");
        let unproven = Difference { class: Class::Unproven, ..difference("forecast_status", word("seeded"), word("pending")) };
        assert!(!is(&unproven), "D6 comes first");
    }

    #[test]
    fn what_must_follow_has_that_cause() {
        let cell = difference("forecast_status", word("seeded"), word("pending"));
        assert!(profile(true).habit(&cell).is_none());
        assert!(profile(true).habit(&Difference { cause: Some(Cause::Follows), ..cell }).is_some());
    }
}
