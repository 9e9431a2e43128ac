//! D7: the validator's readers order rows by `updated_at`. Who is newest is the same before and after a correction.

use std::collections::{BTreeMap, BTreeSet};

use super::script::psql;
use super::{dump, generated, last_job, on};
use crate::support::{Database, database};

/// Rows in sync, of several hotkeys for each miner, with ties and NULLs among their times; then wrong and missing rows.
fn prepared(db: &Database) {
    generated(db, &["--runs", "8", "--miners", "10", "--seed", "11", "--messy"]);
    db.execute("ALTER TABLE weather_forecast_stats ALTER COLUMN updated_at DROP NOT NULL");
    for table in ["weather_miner_responses", "weather_miner_scores", "weather_forecast_steps"] {
        db.execute(&format!("UPDATE {table} SET miner_hotkey = 'old of ' || miner_uid WHERE run_id < 4 AND miner_uid % 2 = 0"));
    }
    on(db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    // All later than any evidence, so that no missing row is the newest by its evidence.
    db.execute(
        "UPDATE weather_forecast_stats SET created_at = '2026-01-01', updated_at = CASE
             WHEN miner_uid = 9 OR (id + id / 10) % 5 = 0 THEN NULL
             WHEN miner_uid % 3 = 0 THEN '2026-02-01T00:00:00Z'::timestamptz
             ELSE '2026-02-01T00:00:00Z'::timestamptz + (id * 7919 % 31) * interval '1 hour' END;
         UPDATE miner_stats SET updated_at = '2026-02-01'",
    );
    db.execute(
        "UPDATE weather_forecast_stats SET overall_forecast_score = 0.015625 * miner_uid, miner_rank = 99 WHERE id % 3 = 0;
         UPDATE miner_stats SET avg_era5_completeness = 0.125 WHERE miner_uid < 3;
         DELETE FROM weather_forecast_stats WHERE run_id = 5 AND miner_uid IN (1, 4, 7)",
    );
}

type Key = (String, String);

/// Of each miner and hotkey the rows with the greatest time, NULL lowest.
fn newest(db: &Database) -> BTreeMap<Key, BTreeSet<String>> {
    let rows = db.rows(
        "SELECT miner_uid::text, miner_hotkey, forecast_run_id FROM (
             SELECT *, rank() OVER (PARTITION BY miner_uid, miner_hotkey ORDER BY updated_at DESC NULLS LAST) AS place
             FROM weather_forecast_stats) s WHERE place = 1",
    );
    let mut newest: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let [uid, hotkey, run] = [0, 1, 2].map(|at: usize| row[at].clone().unwrap());
        newest.entry((uid, hotkey)).or_default().insert(run);
    }
    newest
}

/// What the validator's own query finds of a miner: the row, and the score in it.
fn answer(db: &Database, (uid, hotkey): &Key) -> String {
    db.psql(&format!(
        "SELECT forecast_run_id FROM weather_forecast_stats WHERE miner_uid = {uid} AND miner_hotkey = '{hotkey}'
         ORDER BY updated_at DESC NULLS LAST LIMIT 1"
    ))
}

/// Asserts that every query answers with a row that was newest before, and that nobody else became newest.
fn assert_order(db: &Database, before: &BTreeMap<Key, BTreeSet<String>>) {
    let after = newest(db);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (key, rows) in &after {
        assert!(rows.is_subset(&before[key]), "{key:?}: {rows:?} became newest, it was {:?}", before[key]);
        assert!(before[key].contains(&answer(db, key)), "{key:?}");
    }
}

const MARK: &str = "SELECT coalesce(max(updated_at), '-infinity') FROM weather_forecast_stats";

/// Rows that the web's sync takes, having seen everything up to its mark.
fn picked_up(db: &Database, mark: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM weather_forecast_stats WHERE updated_at > '{mark}'");
    db.psql(&sql).parse().unwrap()
}

#[test]
fn d7_who_is_newest_stays_the_newest() {
    let (one, two, folder) = (database(), database(), tempfile::tempdir().unwrap());
    prepared(&one);
    prepared(&two);
    let (before, rows, mark) = (newest(&one), dump(&one), one.psql(MARK));
    assert!(before.values().any(|rows| rows.len() > 1), "there are ties");
    assert!(before.len() > 13, "there are several hotkeys of a miner");

    let applied = on(&one, &["reconcile", "--apply", "--format", "json"]).succeeds().json();
    assert_order(&one, &before);
    let counts = &applied["corrections"]["tables"]["weather_forecast_stats"];
    assert_eq!(counts["picked_up"], picked_up(&one, &mark), "{counts}");
    assert!(counts["picked_up"].as_u64() > Some(0) && counts["not_picked_up"].as_u64() > Some(0), "{counts}");
    let changed = counts["updated"].as_u64().unwrap() + counts["inserted"].as_u64().unwrap();
    assert_eq!(counts["picked_up"].as_u64().unwrap() + counts["not_picked_up"].as_u64().unwrap(), changed);
    on(&one, &["jobs", "show", &last_job(&one)]).succeeds().stdout_has("web sync: by updated_at it will pick up");

    // A new row is as old as its evidence.
    let inserted = "SELECT count(*) FROM weather_forecast_stats s JOIN weather_miner_responses r USING (run_id, miner_uid)
                    WHERE s.run_id = 5 AND s.miner_uid IN (1, 4, 7) AND s.created_at = r.response_time AND s.updated_at = greatest(
                        r.response_time,
                        (SELECT max(calculation_time) FROM weather_miner_scores c WHERE c.run_id = 5 AND c.miner_uid = s.miner_uid),
                        (SELECT max(coalesce(completed_at, started_at)) FROM weather_forecast_steps p
                         WHERE p.run_id = 5 AND p.miner_uid = s.miner_uid))";
    assert_eq!(one.psql(inserted), "3");

    let corrected = newest(&one);
    on(&one, &["undo", &last_job(&one)]).succeeds();
    assert_eq!(dump(&one), rows, "both times are put back");
    on(&one, &["undo", &last_job(&one)]).succeeds();
    assert_eq!(newest(&one), corrected);

    let file = folder.path().join("night.sql");
    let file = file.to_str().unwrap();
    on(&two, &["reconcile", "--apply", "--sql", file]).ends_with(1);
    let done = psql(&two, file);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_order(&two, &before);
    assert_eq!(newest(&two), corrected);
}

#[test]
fn the_setting_moves_all_times_or_none() {
    let db = database();
    prepared(&db);
    let (before, mark) = (newest(&db), db.psql(MARK));
    on(&db, &["reconcile", "--apply", "--updated-at", "keep"]).succeeds();
    assert_eq!((picked_up(&db, &mark), newest(&db)), (0, before.clone()));
    on(&db, &["undo", &last_job(&db)]).succeeds();

    let now = on(&db, &["reconcile", "--apply", "--updated-at", "now", "--format", "json"]).succeeds().json();
    let counts = &now["corrections"]["tables"]["weather_forecast_stats"];
    assert_eq!((counts["not_picked_up"].as_u64(), counts["picked_up"].as_u64()), (Some(0), Some(picked_up(&db, &mark))));
    assert_ne!(newest(&db), before, "this is what the setting is for: old rows become the newest");
    on(&db, &["reconcile", "--apply", "--updated-at", "sometimes"]).ends_with(2).stderr_has("ordered, now or keep");
    on(&db, &["reconcile", "--updated-at", "keep"]).ends_with(2).stderr_has("neither --apply nor --sql");
}

#[test]
fn a_row_of_another_hotkey_overtakes_nobody() {
    let db = database();
    generated(&db, &["--runs", "4", "--miners", "4", "--seed", "3"]);
    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    // The oldest row of miner 1 stands under a hotkey of its own, where it is the newest: corrected, it comes back to the others.
    db.execute(
        "UPDATE weather_forecast_stats SET updated_at = '2026-02-01'::timestamptz + run_id * interval '1 hour';
         UPDATE weather_forecast_stats SET miner_hotkey = 'wrong' WHERE miner_uid = 1 AND run_id = 1",
    );
    let hotkey = db.psql("SELECT DISTINCT miner_hotkey FROM weather_forecast_stats WHERE miner_uid = 1 AND run_id > 1");
    let key = ("1".to_owned(), hotkey);
    let before = answer(&db, &key);
    on(&db, &["reconcile", "--apply"]).succeeds();
    assert_eq!(answer(&db, &key), before);
    assert_eq!(db.psql("SELECT count(*) FROM weather_forecast_stats WHERE miner_hotkey = 'wrong'"), "0");
}

#[test]
fn a_trigger_that_stamps_rows_is_told_of() {
    let db = database();
    prepared(&db);
    db.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at := now(); RETURN NEW; END';
         CREATE TRIGGER touch BEFORE UPDATE ON weather_forecast_stats FOR EACH ROW EXECUTE FUNCTION touch()",
    );
    let before = dump(&db);
    on(&db, &["reconcile", "--apply"]).ends_with(2).stderr_has("column updated_at of").stderr_has("does a trigger change");
    assert_eq!(dump(&db), before);
    on(&db, &["reconcile", "--apply", "--updated-at", "now"]).succeeds();
}
