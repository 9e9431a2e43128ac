//! D6: what rests on evidence that is gone is told of, and neither drift nor corrected, unless that is asked for.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Map, Value as Json};

use crate::conformance::settings;
use crate::incremental::{Nights, quiet_database, units};
use crate::support::command::{Recount, Run};
use crate::support::{Database, conformance, database, recount};

const TABLES: [&str; 2] = ["weather_forecast_stats", "miner_stats"];

fn purged() -> Database<'static> {
    let db = database();
    conformance::load(&db, "purged");
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    db
}

fn on(db: &Database, args: &[&str]) -> Recount {
    recount(args).env("DATABASE_URL", db.url()).file("recount.toml", &settings("purged"))
}

fn apply(db: &Database, more: &[&str]) -> Run {
    on(db, &[&["reconcile", "--apply", "--max-fraction", "1", "--format", "json"], more].concat()).run()
}

/// What the set expects, as `table, miner, forecast_run_id, column`, of one class.
fn expected(class: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(conformance::folder("purged").join("expected/differences.json")).unwrap();
    let list: Vec<Map<String, Json>> = serde_json::from_str(&text).unwrap();
    let word = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |line: &Map<String, Json>| {
        let key = &line["key"];
        [&line["table"], &key["miner_uid"], &key["forecast_run_id"], &line["column"]].map(word).join(" ")
    };
    list.iter().filter(|line| line["class"] == class).map(line).collect()
}

/// Every cell of the rollups, as `table, miner, forecast_run_id, column`, with its text.
fn cells(db: &Database) -> Vec<(String, String)> {
    let of = |table: &str| {
        let id = if table == "miner_stats" { "'null'" } else { "t.forecast_run_id" };
        let sql = format!(
            "SELECT concat_ws(' ', '{table}', t.miner_uid, {id}, c.key) || chr(9) || coalesce(c.value, 'NULL')
             FROM {table} t, jsonb_each_text(to_jsonb(t)) c ORDER BY 1"
        );
        let cell = |line: &str| line.split_once('\t').map(|(cell, value)| (cell.to_owned(), value.to_owned()));
        db.psql(&sql).lines().filter_map(cell).collect::<Vec<_>>()
    };
    TABLES.iter().flat_map(|table| of(table)).collect()
}

fn changed(before: &[(String, String)], after: &[(String, String)]) -> BTreeSet<String> {
    let before: std::collections::BTreeMap<_, _> = before.iter().cloned().collect();
    let changed = after.iter().filter(|(cell, value)| before.get(cell).is_some_and(|old| old != value));
    changed.map(|(cell, _)| cell.clone()).filter(|cell| !cell.ends_with(" updated_at")).collect()
}

#[test]
fn a_correction_takes_the_drifted_cells_and_no_last_copy_of_a_score() {
    let db = purged();
    let before = cells(&db);
    let report = apply(&db, &[]).ends_with(1).json();
    let drift = expected("drift").len() as u64;
    let sum = |name: &str| TABLES.iter().map(|table| report["tables"][table]["cells"][name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("drift"), sum("unproven")), (drift, expected("unproven").len() as u64));
    assert_eq!(changed(&before, &cells(&db)), expected("drift"), "{:#}", report["corrections"]);

    // What is left is what cannot be checked, and rows without evidence.
    let after = on(&db, &["reconcile", "--format", "json"]).run().ends_with(1).json();
    for table in TABLES {
        let (rows, cells) = (&after["tables"][table]["rows"], &after["tables"][table]["cells"]);
        assert_eq!((&rows["drift"], &rows["missing"], &cells["drift"]), (&0.into(), &0.into(), &0.into()), "{after:#}");
    }
    let left = |report: &Json| TABLES.map(|table| report["tables"][table]["cells"]["unproven"].clone());
    assert_eq!(left(&after), left(&report));

    // Without the rows that have no evidence at all, that is in sync, and the headline says what is not known.
    apply(&db, &["--prune-extra"]).succeeds();
    let run = on(&db, &["reconcile", "-q"]).run().succeeds();
    assert!(run.stdout.starts_with("In sync: ") && run.stdout.contains("cannot be checked: their scores"), "{run}");
}

#[test]
fn what_is_compared_does_not_change_what_is_unproven() {
    let db = purged();
    let expected = expected("unproven");
    for narrowing in [
        &["--columns", "miner_rank"] as &[&str],
        &["--columns", "overall_forecast_score,failed_forecasts"],
        &["--columns", "status", "--no-lifetime"],
        &["--miner", "4"],
        &["--runs", "3..5", "--columns", "scores,errors"],
    ] {
        let report = on(&db, &[&["reconcile", "--format", "json"], narrowing].concat()).run().json();
        for table in TABLES {
            let Some(columns) = report["tables"][table]["columns"].as_object() else { continue };
            if narrowing[0] != "--columns" || narrowing.len() > 2 {
                // A part of the rows: at most what there is of all.
                for (column, tally) in columns {
                    let all = expected.iter().filter(|cell| cell.starts_with(table) && cell.ends_with(&format!(" {column}")));
                    assert!(tally["unproven"].as_u64() <= Some(all.count() as u64), "{narrowing:?} {table}.{column}");
                }
                continue;
            }
            for (column, tally) in columns {
                let all = expected.iter().filter(|cell| cell.starts_with(table) && cell.ends_with(&format!(" {column}")));
                assert_eq!(tally["unproven"].as_u64(), Some(all.count() as u64), "{narrowing:?} {table}.{column}");
            }
        }
    }
    // One miner's cells are those of all that are that miner's.
    let report = on(&db, &["reconcile", "--miner", "4", "--format", "json"]).run().json();
    for table in TABLES {
        let of_miner = expected.iter().filter(|cell| cell.starts_with(&format!("{table} 4 "))).count() as u64;
        assert_eq!(report["tables"][table]["cells"]["unproven"].as_u64(), Some(of_miner), "{table}");
    }
}

#[test]
fn unproven_cells_are_cleared_only_by_name() {
    let db = purged();
    apply(&db, &["--prune-extra", "--clear-unproven"]).succeeds();
    let run = on(&db, &["reconcile", "-q"]).run().succeeds();
    assert!(!run.stdout.contains("cannot be checked"), "{run}");
    assert_eq!(db.psql("SELECT count(*) FROM miner_stats WHERE avg_forecast_score = 'NaN'"), "0");
}

/// The sweep of a validator's retention, and an archive of before it.
#[test]
fn an_archive_stands_in_for_what_is_gone_and_for_nothing_else() {
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "8", "--miners", "6", "--seed", "3", "--database-url", &url]).run().succeeds();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let json = |args: &[&str]| recount(args.iter().chain(&["--format", "json"])).env("DATABASE_URL", &url).run().json();
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    let whole = json(&["reconcile"]);
    assert_eq!(whole["unproven"], Json::Array(Vec::new()));

    let scored =
        db.psql("SELECT miner_uid FROM weather_forecast_stats WHERE run_id = 1 AND era5_score_48h > 0 ORDER BY 1 LIMIT 3");
    let [one, two, three] = scored.lines().collect::<Vec<_>>().try_into().unwrap();
    db.execute(&format!(
        "DELETE FROM weather_miner_scores WHERE run_id = 1 AND miner_uid = {one};
         DELETE FROM weather_miner_scores WHERE run_id = 1 AND miner_uid = {two} AND lead_hours = 24;
         DELETE FROM weather_forecast_component_scores WHERE run_id = 1 AND miner_uid = {two};
         DELETE FROM weather_forecast_steps WHERE run_id IN (1, 2) AND status IN ('succeeded', 'failed')"
    ));
    let alone = json(&["reconcile"]);
    let unproven = |report: &Json| report["tables"]["weather_forecast_stats"]["cells"]["unproven"].as_u64().unwrap();
    assert!(unproven(&alone) > 10, "{alone:#}");
    recount(["reconcile", &url]).run().succeeds().stdout_has("cannot be checked");
    let united = json(&["reconcile", "--history", &dest]);
    assert_eq!(united["digest"], whole["digest"], "{united:#}");
    assert_eq!(unproven(&united), 0);
    assert!(united["notes"].to_string().contains("rows of evidence that are gone from runs that remain come from the archive"));

    // A score that was changed is no score that is gone: the database's stands, and so do rows that were never stored.
    db.execute(&format!(
        "UPDATE weather_miner_scores SET score = score / 2 WHERE run_id = 1 AND miner_uid = {three} AND lead_hours = 48"
    ));
    let united = json(&["reconcile", "--history", &dest]);
    assert_ne!(united["digest"], whole["digest"]);
    let drift = |report: &Json| report["tables"]["weather_forecast_stats"]["columns"]["era5_score_48h"]["drift"].clone();
    assert_eq!((drift(&united), unproven(&united)), (1.into(), 0));

    // Scores whose response is gone as well are nobody's: they stay unproven, and are not called wrong.
    db.execute(&format!(
        "DELETE FROM weather_miner_responses WHERE run_id = 1 AND miner_uid = {one};
         INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status)
         VALUES (1, {one}, 'x', 'query', 'x', 0, 'pending')"
    ));
    let united = json(&["reconcile", "--history", &dest]);
    assert!(unproven(&united) > 0, "{united:#}");
    assert_eq!(drift(&united), 1);
}

#[test]
fn what_becomes_unproven_with_time_alone_is_noticed() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &[]);
    nights.db.execute("DELETE FROM weather_forecast_steps WHERE run_id = 4 AND status IN ('succeeded', 'failed')");
    let init = nights.db.psql("SELECT gfs_init_time_utc AT TIME ZONE 'UTC' FROM weather_forecast_runs WHERE id = 4");
    let at = |days: u32| {
        let time = format!("'{init}'::timestamp + interval '{days} days'");
        nights.db.psql(&format!("SELECT to_char({time}, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"))
    };
    let night = |days: u32| nights.night_with(&["--snapshot-time", &at(days)]);
    let unproven = |days: u32| {
        let report = nights.whole(&["--snapshot-time", &at(days)]);
        report["tables"]["weather_forecast_stats"]["rows"]["unproven"].as_u64().unwrap()
    };
    nights.everything_with(&["--snapshot-time", &at(29)], "it is of a later time than this snapshot");
    assert_eq!(night(30), units(0), "nothing has changed");
    assert_eq!(unproven(30), 0, "30 days are not more than 30 days");
    assert_eq!(night(31), units(1), "time alone has");
    assert!(unproven(31) > 0);
    assert_eq!(night(40), units(0), "nor has it since");
}
