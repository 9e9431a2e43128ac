//! `reconcile --incremental`: it reads only what changed, and says what a full one says.

mod changes;
mod corrections;
mod moves;
mod rounds;
mod state;
mod tracked;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::command::Run;
use crate::support::{Cluster, Database, recount};

const LEADS: &str = "24,48";
const RUNS: u64 = 12;

/// A database on a server where nothing else goes on while it is held: a transaction in flight, in whatever database, has
/// what was written since it began looked at once more.
pub fn quiet_database() -> (MutexGuard<'static, ()>, Database<'static>) {
    static TURN: Mutex<()> = Mutex::new(());
    static QUIET: OnceLock<Cluster> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = QUIET.get_or_init(|| {
        let cluster = Cluster::start();
        let db = Database::create(&cluster);
        db.execute("ALTER SYSTEM SET autovacuum = off");
        db.execute("SELECT pg_reload_conf()");
        drop(db);
        cluster
    });
    (turn, Database::create(cluster))
}

/// A database, night after night.
pub struct Nights<'d> {
    pub db: &'d Database<'d>,
    pub folder: TempDir,
}

/// What one job read: units, of all; and rows of the tables of runs.
#[derive(Debug, PartialEq)]
pub struct Read {
    pub units: u64,
    pub all: u64,
}

impl<'d> Nights<'d> {
    /// A database of some runs, long over, and the state of a first night.
    pub fn begin(db: &'d Database<'d>, args: &[&str]) -> Nights<'d> {
        recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
        let generate =
            ["generate", "--database-url", &db.url(), "--runs", "12", "--miners", "5", "--seed", "3", "--leads", LEADS];
        recount(generate.iter().chain(args)).run().succeeds();
        let nights = Nights { db, folder: tempfile::tempdir().expect("a temporary folder") };
        nights.everything("there was none yet");
        nights
    }

    pub fn state(&self) -> &Path {
        self.folder.path()
    }

    /// One job with the state, its counters up to date.
    pub fn job(&self, args: &[&str]) -> Run {
        self.settle();
        self.job_unsettled(args)
    }

    /// One job with the state, whether or not other sessions have gone.
    pub fn job_unsettled(&self, args: &[&str]) -> Run {
        let state = self.state().to_str().expect("a path in UTF-8");
        let common = ["reconcile", "--state", state, "--format", "json"];
        recount(common.iter().chain(args)).env("DATABASE_URL", self.db.url()).env("RECOUNT_EXPECTED_LEADS", LEADS).run()
    }

    /// A night: what it reports is what a job without a state reports. Gives what it read.
    #[track_caller]
    pub fn night(&self) -> Read {
        self.night_with(&[])
    }

    #[track_caller]
    pub fn night_with(&self, args: &[&str]) -> Read {
        let report = report(self.job(&[&["--incremental"], args].concat()));
        assert_eq!(comparable(&report), comparable(&self.whole(args)), "{report:#}");
        read(&report)
    }

    /// A night, however much it reads.
    #[track_caller]
    pub fn night_or_everything(&self) {
        assert_eq!(comparable(&report(self.job(&["--incremental"]))), comparable(&self.whole(&[])));
    }

    /// The report of a job without a state.
    pub fn whole(&self, args: &[&str]) -> Json {
        let job = recount(["reconcile", "--format", "json"].iter().chain(args));
        report(job.env("DATABASE_URL", self.db.url()).env("RECOUNT_EXPECTED_LEADS", LEADS).run())
    }

    /// A night that reads everything, for this reason.
    #[track_caller]
    pub fn everything(&self, why: &str) {
        self.everything_with(&[], why);
    }

    #[track_caller]
    pub fn everything_with(&self, args: &[&str], why: &str) {
        let report = report(self.job(&[&["--incremental"], args].concat()));
        assert_eq!(comparable(&report), comparable(&self.whole(args)));
        let notes = report["notes"].to_string();
        assert!(notes.contains(&format!("everything was read, and the state renewed: {why}")), "{notes}");
    }

    /// Waits for the sessions that are ending: the server counts what they did as they leave.
    pub fn settle(&self) {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                      AND backend_type = 'client backend' AND state IS DISTINCT FROM 'idle in transaction'";
        while self.db.psql(others) != "0" {
            std::thread::yield_now();
        }
    }

    /// A run that comes in: as this one was, 400 days later.
    pub fn new_run(&self, of: i32, id: i32) {
        self.db.execute(&new_run(of, id));
    }
}

/// The statements for a run that comes in.
pub fn new_run(of: i32, id: i32) -> String {
    include_str!("../support/new_run.sql").replace("OLD", &of.to_string()).replace("NEW", &id.to_string())
}

/// The report of a job that ended well, with or without differences.
#[track_caller]
pub fn report(run: Run) -> Json {
    assert!(matches!(run.status, Some(0 | 1)), "{run}");
    run.json()
}

/// All of a report but what two jobs never have in common.
pub fn comparable(report: &Json) -> Json {
    let mut report = report.clone();
    let told = |note: &Json| {
        note.as_str().is_some_and(|note| note.contains("everything was read") || note.contains("have missed changes"))
    };
    report["notes"].as_array_mut().expect("notes").retain(|note| !told(note));
    report["snapshot"] = Json::Null;
    report["elapsed_ms"] = Json::Null;
    report
}

/// How many units were read, as the note tells it.
#[track_caller]
pub fn read(report: &Json) -> Read {
    let notes = report["notes"].as_array().expect("notes").iter().filter_map(Json::as_str);
    let told = notes.filter_map(|note| note.split_once(" units were read;")).next();
    let numbers = told.and_then(|(numbers, _)| numbers.split_once(" of ")).unwrap_or_else(|| panic!("{report:#}"));
    let number = |text: &str| text.parse().expect("a number");
    Read { units: number(numbers.0), all: number(numbers.1) }
}

/// How many of all units the database has at first.
pub fn units(units: u64) -> Read {
    Read { units, all: RUNS }
}
