//! Whether an earlier job has done already what this one is about to do: then it changes nothing, and is not written down.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::error::Result;

use super::plan::Work;
use super::session::Session;

/// A job that applied a diff folder, or took another job back.
#[derive(Debug, Clone)]
struct Earlier {
    id: String,
    /// The job that it took back.
    undoes: Option<String>,
    /// Nothing of what it set out to do was left.
    complete: bool,
    /// How it corrected: the diff folder, and what was chosen of it.
    correction: Option<String>,
}
crate::postgres::from_row!(Earlier { id, undoes, complete, correction });

/// The earlier job, where there is one that is still in force.
pub async fn done_by(session: &mut Session<'_>, work: &Work) -> Result<Option<String>> {
    if work.record.undoes.is_none() && work.record.diff.is_none() {
        return Ok(None);
    }
    const JOBS: &str = "
        SELECT id::text AS id, undoes::text AS undoes, coalesce(outcome = 'complete', false) AS complete,
               (settings -> 'correction')::text AS correction
        FROM rollup_jobs WHERE undoes IS NOT NULL OR settings -> 'correction' -> 'diff' IS NOT NULL
        ORDER BY started_at, id";
    let query = sqlx::query_as::<_, Earlier>(JOBS);
    let jobs = session.wait("reading rollup_jobs", async |c| query.fetch_all(c).await).await?;
    Ok(find(&jobs, work.record.undoes.as_deref(), work.record.diff.as_deref(), &work.record.settings["correction"]))
}

/// The last job that did it and was not taken back.
fn find(jobs: &[Earlier], undoes: Option<&str>, diff: Option<&str>, correction: &Json) -> Option<String> {
    let mut undone_by: HashMap<&str, Vec<&Earlier>> = HashMap::new();
    for job in jobs {
        if let Some(undone) = &job.undoes {
            undone_by.entry(undone).or_default().push(job);
        }
    }
    let same = |job: &&Earlier| match undoes {
        Some(undoes) => job.undoes.as_deref() == Some(undoes),
        None => job.undoes.is_none() && covers(job.correction.as_deref(), diff, correction),
    };
    let done = |job: &&Earlier| job.complete && same(job) && in_force(job, &undone_by);
    jobs.iter().rev().find(done).map(|job| job.id.clone())
}

/// Whether the job applied the same diff folder, and chose at least as much of it.
fn covers(earlier: Option<&str>, diff: Option<&str>, correction: &Json) -> bool {
    let Some(Ok(earlier)) = earlier.map(serde_json::from_str::<Json>) else { return false };
    let chose = |key: &str| earlier[key] == true || correction[key] != true;
    diff.is_some()
        && earlier["diff"].as_str() == diff
        && chose("exact")
        && chose("prune_extra")
        && chose("clear_unproven")
        && chose("habits")
}

/// Whether the job was not taken back, or only by jobs that were taken back themselves.
fn in_force(job: &Earlier, undone_by: &HashMap<&str, Vec<&Earlier>>) -> bool {
    // An undo is younger than what it undoes, so this ends.
    undone_by.get(job.id.as_str()).into_iter().flatten().all(|undo| !in_force(undo, undone_by))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(id: &str, diff: &str, exact: bool) -> Earlier {
        let correction = json!({"diff": diff, "exact": exact, "prune_extra": false});
        Earlier { id: id.to_owned(), undoes: None, complete: true, correction: Some(correction.to_string()) }
    }

    fn undo(id: &str, of: &str) -> Earlier {
        Earlier { id: id.to_owned(), undoes: Some(of.to_owned()), complete: true, correction: None }
    }

    fn apply(jobs: &[Earlier], exact: bool) -> Option<String> {
        find(jobs, None, Some("d"), &json!({"diff": "d", "exact": exact, "prune_extra": false}))
    }

    #[test]
    fn a_diff_is_applied_once_until_it_is_taken_back() {
        assert_eq!(apply(&[], false), None);
        assert_eq!(apply(&[applied("a", "other", false)], false), None);
        assert_eq!(apply(&[applied("a", "d", false)], false).as_deref(), Some("a"));
        assert_eq!(apply(&[applied("a", "d", false)], true), None, "more is asked for than was done");
        assert_eq!(apply(&[applied("a", "d", true)], false).as_deref(), Some("a"));
        assert_eq!(apply(&[Earlier { complete: false, ..applied("a", "d", false) }], false), None, "the rest is left to do");
        assert_eq!(apply(&[applied("a", "d", false), undo("u", "a")], false), None);
        assert_eq!(apply(&[applied("a", "d", false), undo("u", "a"), undo("v", "u")], false).as_deref(), Some("a"));
    }

    #[test]
    fn a_job_is_taken_back_once_until_that_is_taken_back() {
        let jobs = [applied("a", "d", false), undo("u", "a")];
        assert_eq!(find(&jobs, Some("a"), None, &Json::Null).as_deref(), Some("u"));
        assert_eq!(find(&jobs, Some("u"), None, &Json::Null), None);
        let jobs = [applied("a", "d", false), undo("u", "a"), undo("v", "u")];
        assert_eq!(find(&jobs, Some("a"), None, &Json::Null), None);
    }
}
