//! What a source, the state of incremental jobs and an archive have to say before a job: each is opened as a job would open it.

use std::path::Path;

use crate::model::checkup::{Check, age};
use crate::model::job::Location;
use crate::model::time::Micros;

use super::SourceOptions;
use super::state::{Seen, StateFolder};

/// A validator starts a run every day; one that has not for so long is not at work.
const QUIET_NOTE: f64 = 3.0 * 86_400.0;

/// Opens the source as a job does, and tells what stands against it. `now`: seconds since 1970.
pub fn source(location: &Location, options: &SourceOptions, now: f64) -> Vec<Check> {
    let source = match super::open(location, options) {
        Ok(source) => source,
        Err(error) => return vec![Check::failed("contract", &error)],
    };
    let snapshot = source.snapshot();
    let mut checks =
        vec![Check::ok("contract", "tables and columns are what recount reads, and every connection sees one snapshot")];
    checks.extend(snapshot.notes.iter().map(|note| Check::note("contract", note, "nothing, where that is known")));
    let newest = snapshot.runs.iter().map(|run| run.gfs_init).max();
    checks.push(match newest {
        None => Check::note("runs", "there is no forecast run", "is this the right database, and is the validator at work?"),
        Some(newest) => {
            let seconds = now - newest.0 as f64 / 1e6;
            let seen = format!("{} runs, the newest initialised {} ago", snapshot.runs.len(), age(seconds));
            match matches!(location, Location::Postgres(_)) && seconds > QUIET_NOTE {
                true => Check::note("runs", seen, "is the validator at work, and is this its database?"),
                false => Check::ok("runs", seen),
            }
        }
    });
    checks
}

/// Looks at the state of incremental jobs without a change to it.
pub fn state(folder: &Path, now: f64, max_age: f64) -> Vec<Check> {
    let shown = folder.display();
    let whole = "the next job reads everything by itself";
    vec![match StateFolder::look(folder) {
        Err(error) => Check::failed("state", &error),
        Ok(Seen::Locked) => {
            Check::note("state", format!("another job is using {shown}"), "wait for it, or give each job a folder of its own")
        }
        Ok(Seen::None(why)) => Check::note("state", format!("{shown} has no state that can be used: {why}"), whole),
        Ok(Seen::State { taken_at, program, .. }) if program != env!("CARGO_PKG_VERSION") => {
            Check::note("state", format!("{shown} is of recount {program}, {} old", since(taken_at, now)), whole)
        }
        Ok(Seen::State { taken_at, full_at, .. }) => {
            let seconds = now - taken_at.0 as f64 / 1e6;
            let seen = format!("the last job with {shown} was {} ago, the last full one {}", age(seconds), since(full_at, now));
            match seconds > max_age {
                true => Check::note("state", seen, "see why the jobs since then did not finish"),
                false => Check::ok("state", seen),
            }
        }
    }]
}

fn since(time: Micros, now: f64) -> String {
    age(now - time.0 as f64 / 1e6)
}

/// Whether an archive can be reached, and how old what it has is.
pub fn archive(dest: &str, now: f64, max_age: f64) -> Vec<Check> {
    vec![match super::archive::list(dest) {
        Err(error) => Check::failed("archive", &error),
        Ok(listing) => {
            let seconds = now - listing.as_of.0 as f64 / 1e6;
            let seen = format!("{dest} has {} runs, as of {} ago", listing.runs, age(seconds));
            match seconds > max_age {
                true => Check::note("archive", seen, "archive every night: what the validator deletes is gone otherwise"),
                false => Check::ok("archive", seen),
            }
        }
    }]
}
