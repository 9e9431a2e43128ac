//! `recount config`: what is in force, and where each value came from.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::error::Result;
use crate::model::settings::Scoring;

use super::args::{Global, Reading};
use super::keys::KEYS;
use super::output::{self, Look};
use super::report::table::Grid;
use super::settings::Settings;
use super::values::Format;
use super::{Status, resolve};

/// One setting, with the names it goes by.
#[derive(Serialize)]
struct Line {
    value: Json,
    from: String,
    flag: String,
    env: String,
}

pub fn run(args: &Reading, global: &Global) -> Result<Status> {
    output::print(&render(&resolve(global, Some(args))?))?;
    Ok(Status::Done)
}

/// All settings, as a table or as one JSON object.
fn render(settings: &Settings) -> String {
    let mut shown = settings.clone();
    let lines = KEYS.iter().map(|key| {
        let value = (key.slot)(&mut shown).show();
        let flag = match key.flag {
            "source" => key.value_name.to_owned(),
            flag => format!("--{flag}"),
        };
        (key.path(), Line { value, from: settings.origin(key).to_string(), flag, env: key.env() })
    });
    match settings.format {
        Format::Json => as_json(lines),
        Format::Terminal => as_table(lines, Look::of(settings.color)),
    }
}

/// The settings of scoring, as a snapshot folder keeps them.
pub fn scoring(settings: &Settings) -> Json {
    scoring_as_json(&settings.scoring)
}

/// As [`scoring`], for callers that have no settings of a command line.
pub fn scoring_as_json(scoring: &Scoring) -> Json {
    let mut shown = Settings::default();
    shown.scoring = scoring.clone();
    let keys = KEYS.iter().filter_map(|key| Some((key, key.path().strip_prefix("scoring.")?.to_owned())));
    Json::Object(keys.map(|(key, name)| (name, (key.slot)(&mut shown).show())).collect())
}

fn as_json(lines: impl Iterator<Item = (String, Line)>) -> String {
    let settings: Map<String, Json> = lines.map(|(path, line)| (path, json!(line))).collect();
    format!("{:#}\n", json!({ "version": 1, "command": "config", "settings": settings }))
}

fn as_table(lines: impl Iterator<Item = (String, Line)>, look: Look) -> String {
    let mut grid = Grid::new(&["setting", "value", "from"], look);
    for (path, line) in lines {
        grid.row([path, plain(&line.value), line.from]);
    }
    format!("{grid}\n")
}

/// A value as one would type it.
pub fn plain(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(items) if items.is_empty() => "-".to_owned(),
        Json::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Json::Object(map) => map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", "),
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Layers;
    use super::*;

    fn settings(format: &str) -> Settings {
        let pairs = [("DATABASE_URL", "postgres://u:secret@h/db?password=secret"), ("RECOUNT_MAX_RETRIES", "default=1,query=5")];
        let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let flags = [("format", format), ("color", "never"), ("threads", "3")].map(|(name, value)| (name, value.to_owned()));
        Settings::resolve(&Layers { env: env.into(), flags: flags.into(), ..Layers::default() }).unwrap()
    }

    #[test]
    fn the_table_shows_value_and_origin_and_no_password() {
        let text = render(&settings("terminal"));
        insta::assert_snapshot!(text, @r"
         setting                            value                                                                                                              from
        ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
         source                             postgres://u:***@h/db?password=***                                                                                 DATABASE_URL
         format                             terminal                                                                                                           --format
         color                              never                                                                                                              --color
         allow_cleartext_password           false                                                                                                              default
         password_file                      -                                                                                                                  default
         connections                        2                                                                                                                  default
         statement_timeout                  3600                                                                                                               default
         threads                            3                                                                                                                  --threads
         atol                               1e-9                                                                                                               default
         rtol                               1e-9                                                                                                               default
         columns                            -                                                                                                                  default
         ignore                             -                                                                                                                  default
         validator_hotkey                   -                                                                                                                  default
         encoding                           plain                                                                                                              default
         updated_at                         ordered                                                                                                            default
         incremental                        false                                                                                                              default
         state                              -                                                                                                                  default
         profile                            -                                                                                                                  default
         baseline                           -                                                                                                                  default
         fail_on                            drift, missing, extra                                                                                              default
         scoring.expected_leads             24, 48, 72, 96, 120, 144, 168, 192, 216, 240                                                                       default
         scoring.expected_variables         2t, 10u, 10v, msl, t, u, v, q, z                                                                                   default
         scoring.era5_weight                0.95                                                                                                               default
         scoring.day1_weight                0.05                                                                                                               default
         scoring.day1_pass_threshold        0.1                                                                                                                default
         scoring.max_retries                default=1, query=5                                                                                                 RECOUNT_MAX_RETRIES
         scoring.rank_method                competition                                                                                                        default
         scoring.failed_response_statuses   failed, error, miner_offline, verification_failed, verification_error, verification_timeout, era5_scoring_failed   default
         scoring.run_level_steps            seed                                                                                                               default
         scoring.forecast_type              10day                                                                                                              default
         scoring.step_retention_days        30                                                                                                                 default
         scoring.snapshot_time              -                                                                                                                  default
        ");
        assert!(!text.contains("secret"));
    }

    #[test]
    fn json_shows_the_same() {
        let text = render(&settings("json"));
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json["settings"]["threads"],
            json!({"value": 3, "from": "--threads", "flag": "--threads", "env": "RECOUNT_THREADS"})
        );
        assert_eq!(json["settings"]["scoring.max_retries"]["value"], json!({"default": 1, "query": 5}));
        assert_eq!(json["settings"]["source"]["value"], json!("postgres://u:***@h/db?password=***"));
        assert!(!text.contains("secret"));
    }
}
