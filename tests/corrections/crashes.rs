//! Killed at any moment: the tables are as before or as after, never between, and the audit agrees.

use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{command, diff, drifted, dump, dump_values, last_job, on};
use crate::support::{Database, database};

const SEED: u64 = 20_250_131;
const KILLS: u32 = 100;
const TERMINATIONS: u32 = 50;

/// A database, its two states, and how long the way from one to the other takes.
struct Case<'d> {
    db: &'d Database<'d>,
    diff: &'d Path,
    before: String,
    after: String,
    audit: String,
    took: Duration,
}

const AUDIT: &str = "SELECT count(*) FROM recount.rollup_corrections";

impl<'d> Case<'d> {
    fn new(db: &'d Database<'d>, out: &'d Path) -> Self {
        drifted(db, 5, 10, 30);
        diff(db, out);
        let before = dump(db);
        let start = Instant::now();
        on(db, &["apply", out.to_str().unwrap(), "--prune-extra"]).succeeds();
        let (took, after, audit) = (start.elapsed(), dump_values(db), db.psql(AUDIT));
        let case = Case { db, diff: out, before, after, audit, took };
        case.reset();
        case
    }

    /// Back to the state before, by undo.
    fn reset(&self) {
        if self.db.psql("SELECT count(*) FROM recount.rollup_jobs") != "0" {
            on(self.db, &["undo", &last_job(self.db)]).succeeds();
            self.db.execute("TRUNCATE recount.rollup_jobs, recount.rollup_corrections");
        }
        assert_eq!(dump(self.db), self.before, "undo gave another state");
    }

    fn start(&self) -> Child {
        let mut apply = command(self.db, &["apply", self.diff.to_str().unwrap(), "--prune-extra"]);
        apply.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until the server has let go of the job, and tells whether it went through.
    fn went_through(&self, moment: &str) -> bool {
        let sessions =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'recount%'";
        while self.db.psql(sessions) != "0" {
            sleep(Duration::from_millis(5));
        }
        let (jobs, audit, now) = (self.db.psql("SELECT count(*) FROM recount.rollup_jobs"), self.db.psql(AUDIT), dump(self.db));
        match jobs.as_str() {
            "0" => assert_eq!((audit.as_str(), &now), ("0", &self.before), "{moment}: between"),
            _ => assert_eq!((&audit, dump_values(self.db)), (&self.audit, self.after.clone()), "{moment}: between"),
        }
        jobs != "0"
    }
}

/// Random moments, from the start to a little after the end.
fn moments(case: &Case<'_>, count: u32, seed: u64) -> impl Iterator<Item = Duration> {
    println!("seed {seed}, {count} moments of {:?}", case.took);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let took = case.took;
    (0..count).map(move |_| took.mul_f64(1.1 * f64::from(random.next_u32()) / f64::from(u32::MAX)))
}

fn ended(mut child: Child) -> ExitStatus {
    child.wait().expect("a child of this test")
}

#[test]
fn killed_at_a_hundred_moments() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    let out = folder.path().join("diff");
    let case = Case::new(&db, &out);
    let mut through = 0;
    for moment in moments(&case, KILLS, SEED) {
        let mut child = case.start();
        sleep(moment);
        child.kill().unwrap();
        ended(child);
        if case.went_through(&format!("killed after {moment:?}")) {
            through += 1;
            case.reset();
        }
    }
    println!("{through} of {KILLS} went through");
    assert!(through < KILLS, "no kill came before COMMIT");
}

#[test]
fn ended_by_the_server_at_fifty_moments() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    let out = folder.path().join("diff");
    let case = Case::new(&db, &out);
    let mut through = 0;
    for moment in moments(&case, TERMINATIONS, SEED + 1) {
        let child = case.start();
        sleep(moment);
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'recount%'",
        );
        let status = ended(child).code();
        let went = case.went_through(&format!("terminated after {moment:?}"));
        assert_eq!(status, Some(if went { 0 } else { 2 }), "{moment:?}: what the job says is not what happened");
        if went {
            through += 1;
            case.reset();
        }
    }
    println!("{through} of {TERMINATIONS} went through");
    assert!(through < TERMINATIONS, "no termination came before COMMIT");
}
