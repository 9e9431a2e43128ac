//! What the validator's own environment says: settings of its scoring, and where its database is.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::keys::KEYS;
use crate::cli::settings::Settings;
use crate::error::{Context, Error, ErrorKind, Result};

/// The validator's variables, and the settings that they are.
const VARIABLES: [(&str, &str); 4] = [
    ("WEATHER_FINAL_SCORING_LEAD_HOURS", "expected-leads"),
    ("WEATHER_SCORE_ERA5_WEIGHT", "era5-weight"),
    ("WEATHER_SCORE_DAY1_WEIGHT", "day1-weight"),
    ("WEATHER_DAY1_BINARY_THRESHOLD", "day1-pass-threshold"),
];

/// A setting that is taken over.
#[derive(Debug)]
pub struct Inherited {
    pub flag: &'static str,
    /// As `recount.toml` has it.
    pub value: String,
    pub variable: &'static str,
    pub origin: String,
}

/// An environment, from a file or as this process has it.
pub struct Environment {
    variables: BTreeMap<String, String>,
    origin: String,
}

impl Environment {
    pub fn of(file: Option<&Path>) -> Result<Environment> {
        let Some(path) = file else {
            let variables =
                std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
            return Ok(Environment { variables: variables.collect(), origin: "the environment".to_owned() });
        };
        let text = std::fs::read_to_string(path).doing(ErrorKind::Usage, || format!("reading {}", path.display()))?;
        Ok(Environment { variables: text.lines().filter_map(assignment).collect(), origin: path.display().to_string() })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The settings that it has.
    pub fn settings(&self) -> Result<Vec<Inherited>> {
        let found = VARIABLES.into_iter().filter_map(|(variable, flag)| Some((variable, flag, self.get(variable)?)));
        found.map(|(variable, flag, text)| self.setting(variable, flag, text)).collect()
    }

    fn setting(&self, variable: &'static str, flag: &'static str, text: &str) -> Result<Inherited> {
        let key = KEYS.iter().find(|key| key.flag == flag).expect("invariant: the settings of VARIABLES are keys");
        let mut settings = Settings::default();
        let slot = (key.slot)(&mut settings);
        // A list may be written as JSON or as Python has it.
        let taken = slot.set_text(text.trim_matches(['[', ']', ' ']));
        if !taken {
            let detail = format!("{variable}: found {}; expected {}", slot.quote(text), slot.expected());
            return Err(Error::new(ErrorKind::Usage, format!("reading {}", self.origin), detail));
        }
        let value = toml::Value::try_from(slot.show()).doing(ErrorKind::Usage, || format!("reading {variable}"))?;
        Ok(Inherited { flag, value: value.to_string(), variable, origin: self.origin.clone() })
    }

    /// The URL of the validator's database, with all that the parts say: a whole URL first, then parts.
    pub fn database_url(&self) -> Option<String> {
        if let Some(url) = self.get("DATABASE_URL") {
            // As SQLAlchemy has it: postgresql+asyncpg://…
            let (scheme, rest) = url.split_once("://")?;
            return Some(format!("{}://{rest}", scheme.split('+').next().unwrap_or(scheme)));
        }
        let part = |names: &[&str]| names.iter().find_map(|name| self.get(name));
        let (host, name) = (part(&["DB_HOST"]), part(&["DB_NAME"])?);
        let user = part(&["DB_USER"]).map_or(String::new(), encoded);
        let password = part(&["DB_PASSWORD", "DB_PASS"]).map_or(String::new(), |password| format!(":{}", encoded(password)));
        let at = if user.is_empty() { "" } else { "@" };
        let port = part(&["DB_PORT"]).map_or(String::new(), |port| format!(":{port}"));
        Some(format!("postgres://{user}{password}{at}{}{port}/{}", encoded(host.unwrap_or("localhost")), encoded(name)))
    }
}

/// `NAME=value` of an environment file, with or without `export`, quotes and a comment behind it.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    Some((name.to_owned(), value.to_owned()))
}

/// Percent-encoded, as a part of a URL.
fn encoded(part: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    part.bytes().map(byte).collect()
}

/// The URL for another role: what it says of the old one is taken out.
pub fn for_role(url: &str, role: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let (base, query) = rest.split_once('?').map_or((rest, None), |(base, query)| (base, Some(query)));
    let (authority, path) =
        base.split_once('/').map_or((base, String::new()), |(authority, path)| (authority, format!("/{path}")));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let of_old_role =
        |pair: &&str| ["user", "password", "passfile", "sslcert", "sslkey"].contains(&pair.split('=').next().unwrap_or_default());
    let kept: Vec<&str> = query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !of_old_role(pair)).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    // It will stand between quotes in a file that a shell reads.
    format!("{scheme}://{role}:{password}@{hosts}{path}{query}").replace('\'', "%27")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(text: &str) -> Environment {
        Environment { variables: text.lines().filter_map(assignment).collect(), origin: ".env".to_owned() }
    }

    #[test]
    fn an_environment_file_is_read_as_shells_read_it() {
        let text = "# a comment\nexport A=1\nB = 'x # y' \nC=\"q\" # c\nD=p#q # c\nE=\nnot one\n=x\n";
        let read = environment(text).variables;
        let expected = [("A", "1"), ("B", "x # y"), ("C", "q"), ("D", "p#q"), ("E", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn parts_make_a_url() {
        let url = |text| environment(text).database_url();
        assert_eq!(
            url("DB_USER=u\nDB_PASSWORD=p@/:\nDB_HOST=h\nDB_PORT=5433\nDB_NAME=d").unwrap(),
            "postgres://u:p%40%2F%3A@h:5433/d"
        );
        assert_eq!(url("DB_HOST=/var/run/postgresql\nDB_NAME=d").unwrap(), "postgres://%2Fvar%2Frun%2Fpostgresql/d");
        assert_eq!(url("DATABASE_URL=postgresql+asyncpg://u:p@h/d").unwrap(), "postgresql://u:p@h/d");
        assert_eq!(url("DB_HOST=h"), None);
    }

    #[test]
    fn another_role_has_nothing_of_the_first() {
        let url = |url| for_role(url, "r", "s");
        assert_eq!(
            url("postgres://u:p@a:1,b:2/d?sslmode=require&password=q&sslcert=c"),
            "postgres://r:s@a:1,b:2/d?sslmode=require"
        );
        assert_eq!(url("postgresql:///d?host=/tmp&user=u"), "postgresql://r:s@/d?host=/tmp");
        assert_eq!(url("postgres://h"), "postgres://r:s@h");
        assert_eq!(url("postgres://h/it's"), "postgres://r:s@h/it%27s");
    }

    #[test]
    fn settings_are_taken_over_and_wrong_ones_named() {
        let found = environment("WEATHER_FINAL_SCORING_LEAD_HOURS=24, 48,72\nWEATHER_SCORE_ERA5_WEIGHT=0.9").settings().unwrap();
        let found: Vec<_> = found.iter().map(|found| (found.flag, found.value.as_str())).collect();
        assert_eq!(found, [("expected-leads", "[24, 48, 72]"), ("era5-weight", "0.9")]);
        let error = environment("WEATHER_DAY1_BINARY_THRESHOLD=high").settings().unwrap_err();
        assert_eq!(error.to_string(), "reading .env: WEATHER_DAY1_BINARY_THRESHOLD: found \"high\"; expected a number");
    }
}
