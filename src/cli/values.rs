//! What a value of a setting can be: how it is read from text and from TOML, and how it is shown.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::model::ids::LeadHours;
use crate::model::job::{Encoding, Location, redact};
use crate::model::settings::{MaxRetries, RankMethod};
use crate::model::time::Micros;
use crate::model::writing::UpdatedAt;

use super::telling::FailOn;

/// A value that can be set. The setters give false, and change nothing, where the input is not such a value.
pub trait Setting {
    /// What is expected, in the words of an error message.
    fn expected(&self) -> &'static str;

    /// From a flag or the environment.
    fn set_text(&mut self, text: &str) -> bool;

    /// From `recount.toml`; by default only from a string, read as from a flag.
    fn set_toml(&mut self, value: &toml::Value) -> bool {
        value.as_str().is_some_and(|text| self.set_text(text))
    }

    /// As `recount config` shows it, never with a password.
    fn show(&self) -> Json;

    /// A refused text, as the error message repeats it: a URL is easily put in the wrong place.
    fn quote(&self, text: &str) -> String {
        format!("{:?}", redact(text))
    }
}

/// Stores what was read, where something was.
fn put<T>(slot: &mut T, value: Option<T>) -> bool {
    value.map(|value| *slot = value).is_some()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

impl Setting for f64 {
    fn expected(&self) -> &'static str {
        "a number"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, text.trim().parse().ok())
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        put(self, value.as_float().or_else(|| value.as_integer().map(|x| x as f64)))
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for bool {
    fn expected(&self) -> &'static str {
        "true or false"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, text.trim().parse().ok())
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        put(self, value.as_bool())
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for NonZeroUsize {
    fn expected(&self) -> &'static str {
        "a whole number, at least 1"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, text.trim().parse().ok())
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        let number = value.as_integer().and_then(|x| usize::try_from(x).ok());
        put(self, number.and_then(NonZeroUsize::new))
    }

    fn show(&self) -> Json {
        json!(self.get())
    }
}

impl Setting for u32 {
    fn expected(&self) -> &'static str {
        "a whole number that is not negative"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, text.trim().parse().ok())
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        put(self, value.as_integer().and_then(|x| u32::try_from(x).ok()))
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for String {
    fn expected(&self) -> &'static str {
        "a text"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, Some(text.to_owned()))
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for Option<String> {
    fn expected(&self) -> &'static str {
        "a text"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, Some(Some(text.to_owned())))
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for Vec<String> {
    fn expected(&self) -> &'static str {
        "a list of names"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, Some(parts(text).filter(|part| !part.is_empty()).map(str::to_owned).collect()))
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        let names = |items: &Vec<toml::Value>| items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        match value {
            toml::Value::String(text) => self.set_text(text),
            _ => put(self, value.as_array().and_then(names)),
        }
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for FailOn {
    fn expected(&self) -> &'static str {
        "a list of drift, missing, extra, unproven, habit, within, groups, causes, codes and severities of findings"
    }

    fn set_text(&mut self, text: &str) -> bool {
        let words = parts(text).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        put(self, FailOn::of(words))
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        let mut words = self.words().to_vec();
        words.set_toml(value) && put(self, FailOn::of(words))
    }

    fn show(&self) -> Json {
        json!(self.words())
    }
}

impl Setting for Vec<LeadHours> {
    fn expected(&self) -> &'static str {
        "a list of whole hours, such as 24,48,72"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, parts(text).map(|part| part.parse().ok().map(LeadHours)).collect())
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        let lead = |item: &toml::Value| item.as_integer().and_then(|x| x.try_into().ok()).map(LeadHours);
        put(self, value.as_array().and_then(|items| items.iter().map(lead).collect()))
    }

    fn show(&self) -> Json {
        self.iter().map(|lead| lead.0).collect()
    }
}

impl Setting for MaxRetries {
    fn expected(&self) -> &'static str {
        "a whole number, or numbers by step name with `default`"
    }

    fn set_text(&mut self, text: &str) -> bool {
        if let Ok(default) = text.trim().parse() {
            return put(self, Some(MaxRetries { default, by_step: BTreeMap::new() }));
        }
        let step = |part: &str| {
            let (name, retries) = part.split_once('=')?;
            Some((name.trim().to_owned(), retries.trim().parse().ok()?))
        };
        put(self, parts(text).map(step).collect::<Option<_>>().map(by_step))
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        let retries = |value: &toml::Value| value.as_integer().and_then(|x| i32::try_from(x).ok());
        if let Some(table) = value.as_table() {
            let steps = table.iter().map(|(name, value)| Some((name.clone(), retries(value)?)));
            return put(self, steps.collect::<Option<_>>().map(by_step));
        }
        put(self, retries(value).map(|default| MaxRetries { default, by_step: BTreeMap::new() }))
    }

    fn show(&self) -> Json {
        if self.by_step.is_empty() {
            return json!(self.default);
        }
        let mut steps = self.by_step.clone();
        steps.insert("default".to_owned(), self.default);
        json!(steps)
    }
}

/// C: `default` is 3 where a table does not say otherwise.
fn by_step(mut steps: BTreeMap<String, i32>) -> MaxRetries {
    let default = steps.remove("default").unwrap_or(3);
    MaxRetries { default, by_step: steps }
}

impl Setting for Option<Micros> {
    fn expected(&self) -> &'static str {
        "a time with a zone, such as 2025-01-31T06:00:00Z"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, Micros::parse(text.trim()).map(Some))
    }

    fn set_toml(&mut self, value: &toml::Value) -> bool {
        match value {
            toml::Value::Datetime(time) => self.set_text(&time.to_string()),
            _ => value.as_str().is_some_and(|text| self.set_text(text)),
        }
    }

    fn show(&self) -> Json {
        self.map_or(Json::Null, |time| json!(time.iso()))
    }
}

impl Setting for Option<Location> {
    fn expected(&self) -> &'static str {
        "a URL such as postgres://user@host/database, or a snapshot folder"
    }

    fn set_text(&mut self, text: &str) -> bool {
        put(self, Location::parse(text).ok().map(Some))
    }

    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, |source| json!(source.to_string()))
    }

    fn quote(&self, text: &str) -> String {
        match Location::parse(text) {
            Err(what) => what.to_owned(),
            Ok(_) => redact(text),
        }
    }
}

/// `90d`, `12h`, `30m`, `45s`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with d, h, m or s: 90d, 12h, 30m, 45s".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(expected)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return Err(expected()),
    };
    let number: u32 = number.parse().map_err(|_| expected())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// A setting that is one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $expected:literal { $($variant:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($variant,)*
        }

        words!(impl $name: $expected { $($variant $word,)* });
    };
    (impl $name:ident: $expected:literal { $($variant:ident $word:literal,)* }) => {
        impl Setting for $name {
            fn expected(&self) -> &'static str {
                $expected
            }

            fn set_text(&mut self, text: &str) -> bool {
                let word = match text.trim() {
                    $($word => Some($name::$variant),)*
                    _ => None,
                };
                put(self, word)
            }

            fn show(&self) -> Json {
                match self {
                    $($name::$variant => json!($word),)*
                }
            }
        }
    };
}

words!(impl UpdatedAt: "ordered, now or keep" { Ordered "ordered", Now "now", Keep "keep", });

words!(impl Encoding: "plain or compact" { Plain "plain", Compact "compact", });

words!(impl RankMethod: "competition or dense" { Competition "competition", Dense "dense", });

words! {
    /// The form of the result on stdout.
    Format: "terminal or json" { Terminal "terminal", Json "json", }
}

words! {
    /// When the terminal report is coloured.
    Color: "auto, always or never" { Auto "auto", Always "always", Never "never", }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> toml::Value {
        toml::from_str::<toml::Table>(&format!("x = {text}")).unwrap().remove("x").unwrap()
    }

    #[test]
    fn retries_are_a_number_or_a_table() {
        let mut retries = MaxRetries { default: 0, by_step: BTreeMap::new() };
        assert!(retries.set_text("7"));
        assert_eq!(retries.show(), json!(7));
        assert!(retries.set_text("default=4, query=5"));
        assert_eq!((retries.of("query"), retries.of("poll")), (5, 4));
        assert!(retries.set_toml(&toml("{ query = 9 }")));
        assert_eq!((retries.of("query"), retries.of("poll")), (9, 3));
        assert_eq!(retries.show(), json!({"default": 3, "query": 9}));
        for bad in ["", "many", "query=many", "query", "default=3,"] {
            assert!(!retries.set_text(bad), "{bad}");
        }
        assert!(!retries.set_toml(&toml("{ query = '9' }")) && !retries.set_toml(&toml("1.5")));
    }

    #[test]
    fn numbers_in_the_file_are_numbers() {
        let mut x = 0.0;
        assert!(x.set_toml(&toml("1")) && x == 1.0);
        assert!(x.set_toml(&toml("0.5")) && x == 0.5);
        assert!(!x.set_toml(&toml("'0.5'")));
        let mut n = NonZeroUsize::MIN;
        assert!(n.set_toml(&toml("4")) && n.get() == 4);
        let mut days = 0u32;
        assert!(days.set_toml(&toml("30")) && days == 30 && days.set_text("0") && days == 0);
        assert!(!days.set_toml(&toml("-1")) && !days.set_text("30d"));
        assert!(!n.set_toml(&toml("0")) && !n.set_toml(&toml("-1")) && !n.set_text("0") && !n.set_text("2.5"));
    }

    #[test]
    fn lists_and_times_in_the_file() {
        let mut leads = Vec::<LeadHours>::new();
        assert!(leads.set_toml(&toml("[6, 12]")) && leads == [LeadHours(6), LeadHours(12)]);
        assert!(!leads.set_toml(&toml("[6, '12']")) && !leads.set_text("6,,12"));
        let mut names = Vec::<String>::new();
        assert!(names.set_toml(&toml("['a', 'b']")) && names == ["a", "b"]);
        assert!(names.set_toml(&toml("'c, d'")) && names == ["c", "d"]);
        assert!(!names.set_toml(&toml("[1]")));
        let mut time = None::<Micros>;
        assert!(time.set_toml(&toml("2025-01-31T06:00:00Z")));
        assert_eq!(time.show(), json!("2025-01-31T06:00:00.000000Z"));
        assert!(!time.set_toml(&toml("2025-01-31")), "without a zone");
    }

    #[test]
    fn a_duration_is_a_number_and_its_unit() {
        assert_eq!(parse_duration("90d"), Ok(Duration::from_secs(7_776_000)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "d", "90", "-1h", "1.5h", "é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_source_is_not_repeated() {
        let mut source = None::<Location>;
        assert!(!source.set_text("host=h password=secret"));
        assert_eq!(source.quote("host=h password=secret"), "a key=value connection string");
    }
}
