//! What others wrote reaches the terminal as text: no command of theirs, no colour, nothing that turns the direction.

use crate::support::command::Run;
use crate::support::{database, recount};

/// As PostgreSQL writes it: a title for the window, a bell, a return, a C1 control, a mark that turns the direction.
const HOSTILE: &str = r"E'a\x1b]0;owned\x07\r\u0085\u202eb\x1b[31m'";

#[track_caller]
fn is_plain(run: &Run) {
    for (stream, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
        let hidden = |c: char| (c.is_control() && !"\n\t".contains(c)) || ('\u{202a}'..='\u{202e}').contains(&c);
        let found: Vec<char> = text.chars().filter(|&c| hidden(c)).collect();
        assert!(found.is_empty(), "{stream} has {found:?}: {run}");
    }
}

#[test]
fn texts_of_a_database_are_shown_and_not_obeyed() {
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    let size = ["--runs", "2", "--miners", "4", "--seed", "1", "--leads", "24", "--messy", "--drift", "3"];
    recount([&["generate", "--database-url", &url][..], &size].concat()).run().succeeds();
    crate::phase3::phase3(&db);
    let view = r#""v\x1b[2J\u202e""#.replace("\\x1b", "\u{1b}").replace("\\u202e", "\u{202e}");
    db.execute(&format!(
        "UPDATE weather_miner_responses SET status = {HOSTILE}, error_message = {HOSTILE} WHERE miner_uid = 1;
         UPDATE weather_miner_scores SET miner_hotkey = {HOSTILE} WHERE miner_uid = 2;
         UPDATE weather_forecast_stats SET forecast_status = {HOSTILE}, forecast_error_msg = jsonb_build_object('type', {HOSTILE}, 'message', {HOSTILE});
         INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, status, next_retry_time, retry_count)
         SELECT (SELECT min(id) FROM weather_forecast_runs), uid, hotkey, {HOSTILE}, 'retry_scheduled', '2025-01-01Z', 1 FROM node_table
         WHERE uid < 3;
         CREATE VIEW {view} AS SELECT era5_score_24h FROM weather_forecast_stats"
    ));
    let commands: [&[&str]; 7] = [
        &["reconcile", "-vvv"],
        &["reconcile", "--format", "json"],
        &["steps", "due"],
        &["steps", "due", "--format", "json"],
        &["phase2", "check", "--writers-moved"],
        &["phase2", "plan"],
        &["reconcile", "--apply"],
    ];
    let mut told = String::new();
    for command in commands {
        let run = recount(command).env("DATABASE_URL", &url).env("RECOUNT_SNAPSHOT_TIME", "2026-01-01T00:00:00Z").run();
        is_plain(&run);
        told += &run.to_string();
    }
    // It is there all the same, written out: the stored text in JSON, the step, the name of the view.
    for shown in [r#"\u0085\u202eb\u001b[31m""#, r"a\u001b]0;owned\u0007\u000d\u0085\u202eb\u001b[31m", r"v\u001b[2J\u202e"] {
        assert!(told.contains(shown), "{shown}: {told}");
    }
}
