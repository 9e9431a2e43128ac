//! Texts that people and servers hand over: settings, URLs, error messages, names of columns.

use recount::Location;
use recount::internals::cli::settings;
use recount::internals::model::columns::wide_lead;
use recount::internals::model::sanitize::{class_of, error_of, sanitize, stored_json};
use recount::internals::postgres::Target as Database;

use super::{Target, said};

fn seeds(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A `recount.toml`.
pub struct Settings;

impl Target for Settings {
    fn seeds(&self) -> Vec<Vec<u8>> {
        seeds(&[
            "threads = 4\nconnections = 2\nformat = \"json\"\ncolumns = [\"era5_*\"]\n",
            "source = \"data/sample\"\ntolerance = \"1e-9\"\n[scoring]\nera5_weight = 0.95\nexpected_leads = \"24,48\"\n",
            "database_url = \"postgres://ann:secret@db/v\"\n[scoring]\nmax_retries = 3\nrank_method = \"min\"\nera5_delay_days = 5\n",
            "threads = 99999999999999999999\nignore = \"*\"\nstate = \"/\"\n",
        ])
    }

    fn run(&mut self, input: &[u8]) -> String {
        let Ok(text) = std::str::from_utf8(input) else { return String::new() };
        said(
            settings::parse_file("recount.toml".as_ref(), text).and_then(|file| {
                settings::Settings::resolve(&settings::Layers { file: Some(file), ..settings::Layers::default() })
            }),
        )
    }
}

/// A source, and where it is one of a database, its connection settings. No message repeats a password.
pub struct Urls;

const SECRET: &str = "hunter2";

impl Target for Urls {
    fn seeds(&self) -> Vec<Vec<u8>> {
        seeds(&[
            "postgres://ann:hunter2@db.example:5432/v?sslmode=verify-full&connect_timeout=5",
            "postgresql://[::1]:5433,10.0.0.1/v?target_session_attrs=read-write&options=-c%20geqo%3Doff&password=hunter2",
            "postgres://%2Fvar%2Frun/v?user=ann&keepalives_idle=10&channel_binding=require&sslrootcert=system",
            "s3://key:hunter2@bucket/a/b?x=y",
            "file:///tmp/a",
            "data/sample",
        ])
    }

    fn run(&mut self, input: &[u8]) -> String {
        let Ok(text) = std::str::from_utf8(input) else { return String::new() };
        let location = match Location::parse(text) {
            Ok(location) => location.to_string(),
            Err(what) => return what.to_owned(),
        };
        let answer = said(Database::parse(text));
        // Once, as the password, and nowhere else.
        if text.starts_with(&format!("postgres://ann:{SECRET}@")) && text.matches(SECRET).count() == 1 {
            assert!(!format!("{location} {answer}").contains(SECRET), "{location} {answer}");
        }
        answer
    }
}

/// Error texts and stored JSON. What is sanitized stays as it is.
pub struct Sanitizer;

impl Target for Sanitizer {
    fn seeds(&self) -> Vec<Vec<u8>> {
        seeds(&[
            "no route to 10.1.2.3:8091 (https://ann:pw@host.example/a?token=x) after 5 s",
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY at /home/ann/.bittensor/wallets [::1]:80",
            r#"{"type": "timeout", "message": "no answer from fe80::1%eth0", "n": [1e308, -0.0, {"a": null}]}"#,
            r#"[[[[[["\u0000"]]]]]]"#,
        ])
    }

    fn run(&mut self, input: &[u8]) -> String {
        let text = String::from_utf8_lossy(input);
        let once = sanitize(&text);
        assert_eq!(sanitize(&once), once, "sanitized twice is sanitized once");
        let (json, changed) = stored_json(&text);
        let error = serde_json::from_str(&text).ok().and_then(|json| error_of(&json)).is_some();
        format!("{} {} {changed} {error}", class_of(&once), json.is_some())
    }
}

/// Names of columns in Phase 2: whatever is taken for one of a lead is written as one.
pub struct WideNames;

impl Target for WideNames {
    fn seeds(&self) -> Vec<Vec<u8>> {
        seeds(&["era5_score_24h", "era5_score_240h", "era5_score_0h", "era5_score_+24h", "era5_score_h", "era5_score_٣h"])
    }

    fn run(&mut self, input: &[u8]) -> String {
        let Ok(name) = std::str::from_utf8(input) else { return String::new() };
        wide_lead(name).map_or_else(String::new, |lead| {
            assert_eq!(name, format!("era5_score_{}h", lead.0));
            "a lead".to_owned()
        })
    }
}
