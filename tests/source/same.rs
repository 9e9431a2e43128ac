//! One content, however it is read: from tables of any shape, over any number of connections, or from a folder.

use std::collections::BTreeSet;
use std::sync::Mutex;

use recount::internals::model::evidence::units;
use recount::internals::source::Source;

use super::{assert_same, assert_same_content, export, one_run, open, open_with, read_all, rows, stats};
use crate::support::{Database, conformance, database};

fn loaded(set: &str) -> Database<'static> {
    let database = database();
    conformance::load(&database, set);
    database
}

fn snapshot_of(source: &Source) -> (tempfile::TempDir, Source) {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("night");
    export(source, &target);
    let folder = open_with(target.to_str().unwrap(), 1);
    (parent, folder)
}

#[test]
fn a_folder_is_the_database_for_every_conformance_set() {
    for set in conformance::SETS {
        let database = loaded(set);
        let (_parent, folder) = snapshot_of(&open(&database));
        // Another source of the same database has another time.
        let again = open(&database);
        assert_same_content(&again, &folder);
        let (_parent, copy) = snapshot_of(&folder);
        let untouched = open_with(&folder.display(), 1);
        assert_same(&untouched, &copy);
        assert_eq!(folder.snapshot().notes, again.snapshot().notes, "{set}");
    }
}

#[test]
fn tables_may_have_other_types_and_shapes() {
    let database = loaded("small");
    let (_parent, before) = snapshot_of(&open(&database));
    database.execute(
        "ALTER TABLE weather_miner_scores ALTER lead_hours TYPE smallint, ALTER variable_level TYPE text,
                                          ALTER miner_hotkey TYPE char(255);
         CREATE DOMAIN level AS int CHECK (VALUE IS DISTINCT FROM -1);
         ALTER TABLE weather_forecast_component_scores ALTER pressure_level TYPE level;
         ALTER TABLE weather_forecast_steps ALTER error_json TYPE json;
         ALTER TABLE weather_forecast_stats ALTER forecast_error_msg TYPE json;
         ALTER TABLE miner_stats ALTER common_errors TYPE json;
         ALTER TABLE weather_forecast_stats RENAME TO stats_table;
         CREATE MATERIALIZED VIEW weather_forecast_stats AS SELECT * FROM stats_table;
         ALTER TABLE weather_forecast_runs RENAME TO runs_table;
         CREATE VIEW weather_forecast_runs AS SELECT * FROM runs_table",
    );
    assert_same_content(&before, &open(&database));
}

/// Such rows cannot travel in groups.
#[test]
fn ids_may_be_wide_and_texts_equal_that_differ() {
    let database = loaded("small");
    let (_parent, before) = snapshot_of(&open(&database));
    database.execute("ALTER TABLE weather_miner_scores ALTER id TYPE bigint");
    assert_same_content(&before, &open(&database));
    database.execute(
        "CREATE COLLATION careless (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
         ALTER TABLE weather_miner_scores ALTER id TYPE int, ALTER miner_hotkey TYPE varchar(255) COLLATE careless",
    );
    assert_same_content(&before, &open(&database));
    database.execute("UPDATE weather_miner_scores SET miner_hotkey = upper(miner_hotkey) WHERE id % 2 = 0");
    let hotkeys = |database: &Database| {
        let units = units(&open(database).snapshot().runs);
        let evidence = units.iter().map(|unit| open(database).read(unit).unwrap());
        evidence.flat_map(|unit| unit.runs).flat_map(|run| rows(&run.scores)).map(|row| row[4].clone()).collect::<BTreeSet<_>>()
    };
    let expected = database.rows("SELECT DISTINCT miner_hotkey COLLATE \"C\" FROM weather_miner_scores");
    assert_eq!(hotkeys(&database), expected.into_iter().map(|row| row[0].clone()).collect());
}

#[test]
fn a_big_table_without_an_index_is_copied_once_and_gives_the_same() {
    let database = loaded("small");
    let (_parent, before) = snapshot_of(&open(&database));
    database.execute(
        "DROP INDEX weather_miner_scores_run_id_idx;
         UPDATE pg_class SET reltuples = 1e9 WHERE relname IN ('weather_miner_scores', 'weather_forecast_component_scores')",
    );
    let source = open_with(&database.url(), 3);
    let notes = source.snapshot().notes.join("\n");
    for table in ["weather_miner_scores", "weather_forecast_component_scores"] {
        assert!(notes.contains(&format!("{table} has no index on run_id")), "{notes}");
    }
    assert_same_content(&before, &source);
}

#[test]
fn many_threads_share_few_connections() {
    let database = loaded("small");
    let (source, alone) = (open_with(&database.url(), 2), open_with(&database.url(), 1));
    let units = units(&source.snapshot().runs);
    let next = Mutex::new(units.iter());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(unit) = { next.lock().unwrap().next() } {
                    let scores = |source: &Source| rows(&source.read(unit).unwrap().runs[0].scores);
                    assert_eq!(scores(&source), scores(&alone));
                }
            });
        }
    });
    assert_eq!(source.rows_read(), alone.rows_read());
    assert_eq!(source.rows_read()["weather_forecast_runs"], 13);
}

#[test]
fn what_is_written_after_the_snapshot_is_not_seen() {
    let database = loaded("small");
    let (_parent, before) = snapshot_of(&open(&database));
    let source = open_with(&database.url(), 3);
    database.execute(
        "UPDATE weather_miner_scores SET score = 7;
         UPDATE weather_forecast_stats SET miner_rank = -1;
         DELETE FROM weather_forecast_steps",
    );
    assert_same_content(&before, &source);
}

#[test]
fn every_stored_row_comes_out_exactly_once() {
    let database = loaded("small");
    database.execute(
        "ALTER TABLE weather_forecast_stats DROP CONSTRAINT weather_forecast_stats_miner_uid_fkey;
         INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status)
         SELECT uid, 'hk', run, now(), 'x' FROM unnest('{0,254,255}'::int[]) AS uid,
             unnest(ARRAY['forecast_of_none', (SELECT forecast_run_id FROM weather_forecast_stats WHERE miner_uid = 1 LIMIT 1)]) AS run
         ON CONFLICT DO NOTHING",
    );
    let source = open(&database);
    let strays = source.strays().unwrap();
    let mut ids: Vec<i64> = strays.iter().map(|row| row.id).collect();
    ids.extend(read_all(&source).iter().flat_map(|unit| &unit.stored).map(|row| row.id));
    ids.sort_unstable();
    let expected: Vec<String> = ids.iter().map(i64::to_string).collect();
    assert_eq!(database.psql("SELECT id FROM weather_forecast_stats ORDER BY id"), expected.join("\n"));
    assert!(strays.iter().any(|row| row.row.miner_uid == Some(255)) && strays.len() >= 5);
    let (_parent, folder) = snapshot_of(&source);
    assert_eq!(stats(&source, &folder.strays().unwrap()), stats(&source, &strays));
}

#[test]
fn optional_parts_may_be_absent() {
    let database = database();
    one_run(&database);
    database.execute("DROP TABLE weather_forecast_steps, miner_stats, weather_forecast_stats");
    let source = open(&database);
    let snapshot = source.snapshot();
    assert!(!snapshot.has_steps && !snapshot.has_stored_stats && snapshot.stored_miners.is_none());
    insta::assert_snapshot!(snapshot.notes.join("\n"), @r"
    there is no table weather_forecast_steps
    there is no table weather_forecast_stats
    there is no table miner_stats
    there is no table weather_subnet_stats
    ");
    let (_parent, folder) = snapshot_of(&source);
    assert_same(&open_with(&folder.display(), 1), &folder_again(&folder));
    assert_eq!(source.rows_read().keys().copied().collect::<Vec<_>>(), folder.rows_read().keys().copied().collect::<Vec<_>>());
}

fn folder_again(folder: &Source) -> Source {
    open_with(&folder.display(), 1)
}

#[test]
fn the_session_is_read_only_and_named() {
    let database = database();
    one_run(&database);
    let source = open_with(&database.url(), 3);
    let sessions = "SELECT count(*), min(state), max(state) FROM pg_stat_activity
                    WHERE application_name = 'recount' AND datname = current_database()";
    assert_eq!(database.psql(sessions), "4|idle in transaction|idle in transaction");
    drop(source);
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        database.psql(sessions).starts_with("0|")
    });
    assert!(gone, "connections are closed with their source");
}
