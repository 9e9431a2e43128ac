//! D6: what is stored without evidence left is the last copy. It is cleared only when asked for by name.

use super::{drifted, dump, last_job, on};
use crate::support::database;

#[test]
fn the_last_copy_of_a_score_is_kept_unless_asked_for() {
    let db = database();
    drifted(&db, 4, 8, 0);
    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    // What the validator does to a run that an operator resets.
    db.execute("DELETE FROM weather_miner_scores WHERE run_id = 2 AND score_type LIKE 'era5%'");
    let stored = "SELECT count(era5_combined_score) FROM weather_forecast_stats WHERE run_id = 2";
    let (before, scores) = (dump(&db), db.psql(stored));
    assert_ne!(scores, "0");
    on(&db, &["reconcile", "--apply"]).succeeds();
    assert_eq!(dump(&db), before);

    let refused = on(&db, &["reconcile", "--apply", "--clear-unproven", "--max-rows", "2"]).ends_with(3);
    refused.stderr_has("of their cells are unproven, and --clear-unproven clears them");
    let told = on(&db, &["reconcile", "--apply", "--clear-unproven"]).succeeds();
    told.stdout_has("whose evidence is gone, as --clear-unproven asks");
    assert_eq!(db.psql(stored), "0");
    on(&db, &["reconcile"]).succeeds();
    on(&db, &["undo", &last_job(&db)]).succeeds();
    assert_eq!(dump(&db), before);
}
