//! Corrections: what `--apply`, `apply` and `undo` write, and what they never do.

mod convergence;

use crate::support::command::{Recount, Run};
use crate::support::{Database, recount};

/// The tables that a correction may change.
pub const ROLLUPS: [&str; 2] = ["weather_forecast_stats", "miner_stats"];

/// Two leads make small runs.
const LEADS: &str = "24,48";

/// Migrates a database, and fills it by `recount generate`.
pub fn generated(db: &Database, args: &[&str]) {
    recount(["migrate", "--database-url", &db.url()]).run().succeeds();
    recount(["generate", "--database-url", &db.url(), "--no-components", "--leads", LEADS].iter().chain(args)).run().succeeds();
}

/// A database of so many runs and miners with planted drift.
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
    recount(args.iter().chain(write)).env("DATABASE_URL", db.url()).env("RECOUNT_EXPECTED_LEADS", LEADS)
}

/// The rollup tables, every byte of them: what `COPY … TO` writes, in order of key.
pub fn dump(db: &Database) -> String {
    let table = |table: &str| db.psql(&format!("SELECT t::text FROM {table} t ORDER BY t::text"));
    ROLLUPS.map(table).join("\n--\n")
}

/// Id of the newest job.
pub fn last_job(db: &Database) -> String {
    db.psql("SELECT id FROM rollup_jobs ORDER BY started_at DESC LIMIT 1")
}
