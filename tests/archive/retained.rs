//! What a validator deletes from runs that remain stays in the archive, and counts only where nothing took its place.

use serde_json::Value as Json;

use crate::support::{Database, database, recount};

use super::{manifest, rows};

fn filled() -> Database<'static> {
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "5", "--miners", "4", "--seed", "3", "--database-url", &url]).run().succeeds();
    db
}

/// Archives, verifies, and gives the report.
fn archived(db: &Database<'_>, dest: &str, more: &[&str]) -> Json {
    let url = db.url();
    let report = recount([&["archive", &url, "--to", dest, "--format", "json"], more].concat()).run().succeeds().json();
    recount(["verify", dest]).run().succeeds();
    report
}

const EVIDENCE: [&str; 4] = ["responses", "scores", "component_scores", "steps"];

fn evidence(dest: &str) -> [u64; 4] {
    EVIDENCE.map(|table| rows(dest, table))
}

#[test]
fn nothing_that_was_archived_is_lost_by_what_a_validator_deletes() {
    let db = filled();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let full = archived(&db, &dest, &[]);
    let (digest, all) = (full["digest"].clone(), evidence(&dest));
    assert_eq!(rows(&dest, "retained"), 0);

    // The hotkey of a uid changed; old steps; the ERA5 scores of a run were reset; a run grew too old.
    let purges = [
        "DELETE FROM weather_miner_responses WHERE miner_uid = (SELECT min(miner_uid) FROM weather_miner_responses)",
        "DELETE FROM weather_forecast_steps WHERE run_id = 2 AND status IN ('succeeded', 'failed')
         AND coalesce(completed_at, started_at) < now() - interval '30 days'",
        "DELETE FROM weather_miner_scores WHERE run_id = 3 AND score_type ~ '^era5_(skill|acc|rmse)'",
        "DELETE FROM weather_forecast_runs WHERE id = 1",
    ];
    let mut marked = 0;
    for purge in purges {
        db.execute(purge);
        let report = archived(&db, &dest, &[]);
        assert_eq!((&report["digest"], evidence(&dest)), (&digest, all), "{purge}");
        let now = rows(&dest, "retained");
        // A run that is gone as a whole keeps the marks that it had.
        assert!(now > marked || purge.contains("weather_forecast_runs") && now == marked, "{purge}: {now} rows are marked");
        marked = now;
    }
    // With other settings every day is written anew, from what it has; and back.
    archived(&db, &dest, &["--era5-weight", "0.5"]);
    let back = archived(&db, &dest, &[]);
    assert_eq!((&back["digest"], evidence(&dest), rows(&dest, "retained")), (&digest, all, marked));
    recount(["reconcile", &dest]).run().succeeds();

    // Only by name is anything let go of.
    archived(&db, &dest, &["--forget", "3"]);
    assert!(rows(&dest, "scores") < all[1] && rows(&dest, "retained") < marked);
    archived(&db, &dest, &["--forget", "..1000"]);
    assert_eq!(rows(&dest, "retained"), 0);
    let live = recount(["reconcile", &db.url(), "--format", "json"]).run().json();
    assert_eq!(manifest(&dest)["digest"], live["digest"], "what is left is what the database has");
}

#[test]
fn a_score_that_was_deleted_never_counts_beside_the_one_made_anew() {
    let db = filled();
    let url = db.url();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    archived(&db, &dest, &[]);
    let before = rows(&dest, "scores");
    let era5 = "score_type ~ '^era5_(skill|acc|rmse)'";
    db.execute(&format!(
        "CREATE TABLE public.old_scores AS SELECT * FROM weather_miner_scores WHERE run_id = 3 AND {era5};
         DELETE FROM weather_miner_scores WHERE run_id = 3 AND {era5}"
    ));
    archived(&db, &dest, &[]);
    let reset = rows(&dest, "retained");
    assert_eq!(db.psql("SELECT count(*) FROM old_scores"), reset.to_string());

    // Scored again: new ids, other values, one variable fewer. Of that one the old score must not come back.
    let again = |leads: &str| {
        db.execute(&format!(
            "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, metrics,
                                               score, error_message, lead_hours, variable_level, valid_time_utc)
             SELECT response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time + interval '1 day', metrics,
                    score / 2, error_message, lead_hours, variable_level, valid_time_utc
             FROM old_scores WHERE {leads} AND score_type !~ '_2t_'"
        ));
    };
    let live = || recount(["reconcile", &url, "--format", "json"]).run().json()["digest"].clone();
    again("lead_hours = 24");
    let part = archived(&db, &dest, &[]);
    assert_ne!(part["digest"], live(), "the other leads still stand in");
    again("lead_hours > 24");
    let whole = archived(&db, &dest, &[]);
    assert_eq!(whole["digest"], live());
    let added: u64 = db.psql("SELECT count(*) FROM old_scores WHERE score_type !~ '_2t_'").parse().unwrap();
    assert_eq!((rows(&dest, "scores"), rows(&dest, "retained")), (before + added, reset), "nothing is lost");

    // The new scores go as well: they stand in for themselves, and the oldest stay aside.
    db.execute(&format!("DELETE FROM weather_miner_scores WHERE run_id = 3 AND {era5}"));
    let gone = archived(&db, &dest, &[]);
    assert_eq!(gone["digest"], whole["digest"]);
    assert_eq!(rows(&dest, "retained"), reset + added);
}
