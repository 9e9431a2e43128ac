//! Corrections: what `--apply`, `apply` and `undo` write, and what they never do.

mod breaker;
mod convergence;
mod crashes;
mod faults;
mod forged;
mod lost_reply;
mod order;
mod roles;
mod schemas;
mod script;
mod stale;
mod subnet;
mod twice;
mod unproven;
mod writers;

use std::path::Path;

use crate::support::command::{Recount, Run};
use crate::support::{Database, recount};

/// The tables that a correction may change.
pub const ROLLUPS: [&str; 2] = ["weather_forecast_stats", "miner_stats"];

/// Two leads make small runs.
const LEADS: &str = "24,48";

/// Migrates a database, and fills it by `recount generate`.
pub fn generated(db: &Database, args: &[&str]) {
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    let generate = ["generate", "--database-url", &db.url(), "--no-components", "--leads", LEADS];
    recount(generate.iter().chain(args)).run().succeeds();
}

/// A database of this many runs and miners with planted drift.
pub fn drifted(db: &Database, runs: u32, miners: u32, drift: u32) {
    let [runs, miners, drift] = [runs, miners, drift].map(|number| number.to_string());
    generated(db, &["--runs", &runs, "--miners", &miners, "--seed", "7", "--drift", &drift]);
}

/// The command on this database, with nothing refused for its size.
pub fn on(db: &Database, args: &[&str]) -> Run {
    command(db, args).run()
}

/// The same, for tests that start it in a way of their own.
pub fn command(db: &Database, args: &[&str]) -> Recount {
    let write: &[&str] = if args.contains(&"--apply") || args[0] == "apply" { &["--max-fraction", "1"] } else { &[] };
    at(&db.url(), &[args, write].concat())
}

/// The command at this URL, as it is.
pub fn at(url: &str, args: &[&str]) -> Recount {
    recount(args).env("DATABASE_URL", url).env("RECOUNT_EXPECTED_LEADS", LEADS)
}

/// Writes the diff of the database into a folder.
pub fn diff(db: &Database, out: &Path) {
    on(db, &["diff", "--out", out.to_str().expect("a path in UTF-8")]).ends_with(1);
}

/// The rollup tables, every byte of them, in order.
pub fn dump(db: &Database) -> String {
    let table = |table: &str| db.psql(&format!("SELECT t::text FROM {table} t ORDER BY t::text"));
    ROLLUPS.map(table).join("\n--\n")
}

/// The same without what differs from one correction to the next: when it was done, and the number of a new row.
pub fn dump_values(db: &Database) -> String {
    let row = |table: &str| {
        let times = "'updated_at,created_at,id'";
        db.psql(&format!("SELECT (to_jsonb(t) - string_to_array({times}, ','))::text FROM {table} t ORDER BY 1"))
    };
    ROLLUPS.map(row).join("\n--\n")
}

/// Id of the newest job.
pub fn last_job(db: &Database) -> String {
    db.psql("SELECT id FROM recount.rollup_jobs ORDER BY started_at DESC LIMIT 1")
}

pub fn jobs(db: &Database) -> String {
    db.psql("SELECT count(*) FROM recount.rollup_jobs")
}
