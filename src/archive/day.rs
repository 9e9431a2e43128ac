//! The two kinds of partition: a day of initialisation, and the moment of a snapshot.

use std::fmt;

use chrono::{Datelike, NaiveDate};

use crate::model::time::Micros;

/// What every engine takes for NULL in a Hive path.
pub const NO_DAY: &str = "__HIVE_DEFAULT_PARTITION__";

/// The UTC date of a run's initialisation; `None` for a time that is no date of four digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub Option<NaiveDate>);

impl Day {
    pub fn of(time: Micros) -> Day {
        let finite = time != Micros::MAX && time != Micros::MIN;
        let date = time.utc().filter(|_| finite).map(|time| time.date_naive());
        Day(date.filter(|date| (0..=9999).contains(&date.year())))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(date) => write!(f, "{}", date.format("%Y-%m-%d")),
            None => f.write_str(NO_DAY),
        }
    }
}

/// `20250808T060000123456Z`: a moment that is a name in every store, and sorts as it passes.
pub fn stamp(time: Micros) -> String {
    match time.utc() {
        Some(utc) => utc.format("%Y%m%dT%H%M%S%6fZ").to_string(),
        None => time.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_dates_and_moments() {
        let time = Micros::parse("2025-08-07T23:59:59.123456Z").unwrap();
        assert_eq!(Day::of(time).to_string(), "2025-08-07");
        assert_eq!(stamp(time), "20250807T235959123456Z");
        for odd in [Micros::MIN, Micros::MAX, Micros(i64::MAX / 2)] {
            assert_eq!(Day::of(odd).to_string(), NO_DAY);
        }
    }
}
