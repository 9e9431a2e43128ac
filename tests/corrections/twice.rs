//! What is done is done once: a second `apply` of a diff and a second `undo` of a job say so, and write nothing.

use super::{diff, drifted, dump, jobs, last_job, on};
use crate::support::database;

#[test]
fn a_diff_is_applied_once_and_a_job_undone_once() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    drifted(&db, 4, 8, 0);
    db.execute("UPDATE weather_forecast_stats SET era5_completeness = 0.125 WHERE miner_uid = 3");
    let (out, file) = (folder.path().join("diff"), folder.path().join("night.sql"));
    diff(&db, &out);
    let (out, file) = (out.to_str().unwrap(), file.to_str().unwrap());
    on(&db, &["apply", out]).succeeds();
    let (job, after) = (last_job(&db), dump(&db));
    let done = format!("job {job} has done this already");
    on(&db, &["apply", out]).succeeds().stdout_has(&done);
    on(&db, &["apply", out, "--sql", file]).succeeds().stdout_has(&done);
    assert!(!std::path::Path::new(file).exists());
    assert_eq!((dump(&db), jobs(&db).as_str()), (after.clone(), "1"));

    on(&db, &["undo", &job]).succeeds();
    let (undo, before) = (last_job(&db), dump(&db));
    on(&db, &["undo", &job]).succeeds().stdout_has(&format!("job {undo} has done this already"));
    assert_eq!((dump(&db), jobs(&db).as_str()), (before, "2"));

    // What was taken back can be done again.
    on(&db, &["apply", out]).succeeds().stdout_has("Corrected");
    on(&db, &["undo", &undo]).ends_with(1);
}

#[test]
fn a_job_is_named_by_the_beginning_of_its_id_or_as_the_last() {
    let db = database();
    drifted(&db, 3, 6, 5);
    on(&db, &["undo", "--last"]).ends_with(2).stderr_has("no job has corrected anything");
    let before = dump(&db);
    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    let job = last_job(&db);
    on(&db, &["jobs", "show", &job[..8]]).succeeds().stdout_has(&job);
    on(&db, &["jobs", "show", "no-id"]).ends_with(2);
    // An id that begins as the job's does.
    db.execute(&format!(
        "INSERT INTO recount.rollup_jobs (id, command, started_at, source) SELECT '{}-0000-4000-8000-000000000000', 'steps recover', now(), 'v'",
        &job[..8]
    ));
    on(&db, &["undo", &job[..8]]).ends_with(2).stderr_has("2 jobs begin so").stderr_has(&job);
    on(&db, &["undo", "00000000"]).ends_with(2).stderr_has("no job with such an id");
    assert_ne!(dump(&db), before);
    // A newer job of steps stays, and is told of: the last one is the last that corrected rollups.
    let stays = format!("job {}-0000-4000-8000-000000000000 of `recount steps recover` is newer and stays", &job[..8]);
    on(&db, &["undo", "--last"]).succeeds().stderr_has(&stays);
    assert_eq!(dump(&db), before);
    on(&db, &["undo", "--last"]).ends_with(2).stderr_has("an undo is undone by its id");
    on(&db, &["undo"]).ends_with(2).stderr_has("JOB");
    on(&db, &["undo", &job, "--last"]).ends_with(2);
}

#[test]
fn a_file_of_sql_is_never_written_over() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    drifted(&db, 3, 6, 5);
    let file = folder.path().join("night.sql");
    std::fs::write(&file, "precious").unwrap();
    on(&db, &["reconcile", "--sql", file.to_str().unwrap(), "--max-fraction", "1"]).ends_with(2).stderr_has("the file exists");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let new = folder.path().join("new.sql");
    on(&db, &["reconcile", "--sql", new.to_str().unwrap(), "--max-fraction", "1"]).ends_with(1).stdout_has("not applied");
}

#[test]
fn the_last_day_is_pruned_only_when_confirmed() {
    let db = database();
    drifted(&db, 3, 6, 5);
    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    on(&db, &["jobs", "prune", "--keep", "0d"]).ends_with(3).stderr_has("1 job would be deleted").stderr_has("never be undone");
    assert_eq!(jobs(&db), "1");
    on(&db, &["jobs", "prune", "--keep", "1d"]).succeeds().stdout_has("Deleted 0 jobs");
    on(&db, &["jobs", "prune", "--keep", "0d", "--yes"]).succeeds().stdout_has("Deleted 1 job;");
    on(&db, &["jobs", "prune", "--keep", "0d"]).succeeds().stdout_has("Deleted 0 jobs");
}
