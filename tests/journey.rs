//! The whole way to the narrow schema, on a production-shaped database, while a writer and a reader of the old shape go on working.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinHandle;

use crate::support::command::Run;
use crate::support::{Database, block_on, conformance, database, recount};

/// A production-shaped validator with a generated history and wrong rollups, no steps of its first runs, and a row that outlived its run.
fn validator() -> Database<'static> {
    let db = database();
    conformance::create_tables(&db);
    conformance::make_production_shaped(&db);
    db.execute("CREATE TABLE alembic_version AS SELECT 'abc' AS version_num");
    let url = db.url();
    recount(["generate", "--runs", "6", "--miners", "10", "--seed", "31", "--drift", "25", "--database-url", &url])
        .run()
        .succeeds();
    db.execute(
        "DELETE FROM weather_forecast_steps WHERE run_id <= 2;
         INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status, era5_score_24h)
         VALUES (2, 'gone', 'forecast_20200101_00_to_20200101_00', '2020-01-01', 'completed', 0.75)",
    );
    db
}

/// People who know nothing of the migration: one writes its scores and steps again and again, as retries do, one reads the wide columns.
struct Others {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU32>,
    read: Arc<AtomicU32>,
    tasks: Vec<JoinHandle<()>>,
}

const WRITES: [&str; 2] = [
    "INSERT INTO weather_miner_scores AS s (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours,
         variable_level, valid_time_utc)
     SELECT response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level, valid_time_utc
     FROM weather_miner_scores WHERE valid_time_utc IS NOT NULL AND lead_hours > 0 ORDER BY id LIMIT 50
     ON CONFLICT (response_id, score_type, lead_hours, variable_level, valid_time_utc) DO UPDATE SET score = excluded.score",
    "INSERT INTO weather_forecast_steps AS s (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at,
         completed_at, retry_count, next_retry_time, latency_ms, error_json)
     SELECT run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at, completed_at, retry_count,
         next_retry_time, latency_ms, error_json FROM weather_forecast_steps WHERE substep IS NOT NULL AND lead_hours IS NOT NULL
     ORDER BY id DESC LIMIT 20
     ON CONFLICT (run_id, miner_uid, step_name, substep, lead_hours) DO UPDATE SET status = excluded.status",
];

/// The old query; where the columns are gone, on the view of the old shape.
const READS: [&str; 2] = [
    "SELECT miner_uid, era5_score_24h, era5_score_240h, era5_combined_score FROM weather_forecast_stats WHERE run_id = 1 ORDER BY miner_uid",
    "SELECT miner_uid, era5_score_24h, era5_score_240h, era5_combined_score FROM weather_forecast_stats_wide WHERE run_id = 1 ORDER BY miner_uid",
];

impl Others {
    fn start(db: &Database) -> Others {
        block_on(async {
            let (stop, written, read) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
            let (writer, reader) = (db.connect().await, db.connect().await);
            let tasks = vec![
                tokio::spawn(work(writer, Arc::clone(&stop), Arc::clone(&written), &WRITES, false)),
                tokio::spawn(work(reader, Arc::clone(&stop), Arc::clone(&read), &READS, true)),
            ];
            Others { stop, written, read, tasks }
        })
    }

    /// Nobody was ever turned away.
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        block_on(async {
            for task in self.tasks {
                task.await.expect("no error met the others");
            }
        });
        assert!(self.written.load(Ordering::Relaxed) > 10 && self.read.load(Ordering::Relaxed) > 10);
    }
}

/// All statements in turn; with `either`, the first that works.
async fn work(
    mut connection: PgConnection,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    statements: &'static [&'static str],
    either: bool,
) {
    while !stop.load(Ordering::Relaxed) {
        for (i, statement) in statements.iter().enumerate() {
            let done = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).fetch_all(&mut connection).await;
            match done {
                Ok(_) if either => break,
                Ok(_) => {}
                // The columns are not there, or the view no longer: the change came between the two. The other one is, the next time round.
                Err(error) if either => {
                    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
                    assert_eq!(code, if i == 0 { "42703" } else { "42P01" }, "{error}");
                }
                Err(error) => panic!("{error}\n{statement}"),
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    connection.close().await.expect("a connection to close");
}

fn run(db: &Database, arguments: &[&str]) -> Run {
    let url = db.url();
    let target = match arguments[..2.min(arguments.len())] {
        ["reconcile", ..] => vec![url.as_str()],
        // The readers and writers beside it do without the columns.
        ["phase2", "check"] => vec!["--writers-moved", "--database-url", &url],
        ["phase2", "finish"] => vec!["--yes", "--min-age", "0m", "--database-url", &url],
        _ => vec!["--database-url", &url],
    };
    recount([arguments, &target].concat()).run()
}

/// Everything that is recomputed, as one digest; and that nothing of the stored rollups of runs and miners differs from it.
fn in_sync(db: &Database) -> String {
    let report = run(db, &["reconcile", "--format", "json"]);
    let json = report.json();
    for table in ["weather_forecast_stats", "miner_stats"] {
        let rows = &json["tables"][table]["rows"];
        assert_eq!((rows["drift"].as_u64(), rows["missing"].as_u64()), (Some(0), Some(0)), "{table}\n{report}");
    }
    json["digest"].as_str().unwrap().to_owned()
}

fn journey(option: &str) {
    let db = validator();
    let others = Others::start(&db);
    run(&db, &["migrate"]).succeeds();
    run(&db, &["phase3", "apply"]).succeeds();
    run(&db, &["steps", "backfill"]).ends_with(1);
    run(&db, &["steps", "backfill", "--apply"]).succeeds();
    run(&db, &["steps", "backfill"]).succeeds();

    // Refused as long as rollups drift, a view reads the columns, and a value has nothing behind it.
    db.execute("CREATE VIEW dashboard AS SELECT miner_uid, era5_score_24h FROM weather_forecast_stats");
    let keep = ["--keep-wide-in", "TABLE", "--option", option];
    let check = run(&db, &[&["phase2", "check"][..], &keep[2..]].concat()).ends_with(1);
    for code in ["rollup_drift", "dependent_view", "wide_without_narrow"] {
        assert!(check.stdout.contains(code), "{code}\n{check}");
    }
    run(&db, &[&["phase2", "apply"][..], &keep[2..]].concat()).ends_with(3);
    let corrected = run(&db, &["reconcile", "--apply", "--max-fraction", "1"]);
    assert!(matches!(corrected.status, Some(0 | 1)), "{corrected}");
    let digest = in_sync(&db);
    db.execute("DROP VIEW dashboard");
    run(&db, &[&["phase2", "check"][..], &keep].concat()).succeeds();

    let wide = "SELECT to_jsonb(s) FROM weather_forecast_stats s ORDER BY miner_uid, forecast_run_id";
    let before = db.psql(wide);
    run(&db, &[&["phase2", "apply"][..], &keep].concat()).succeeds();
    assert_eq!(in_sync(&db), digest);
    run(&db, &["phase2", "revert"]).succeeds();
    assert_eq!(db.psql(wide), before);
    assert_eq!(in_sync(&db), digest);

    run(&db, &[&["phase2", "check"][..], &keep].concat()).succeeds();
    run(&db, &[&["phase2", "apply"][..], &keep].concat()).succeeds();
    assert_eq!(db.psql("SELECT era5_score_24h FROM weather_forecast_stats_wide WHERE miner_hotkey = 'gone'"), "0.75");
    run(&db, &["phase2", "finish"]).succeeds();
    run(&db, &["phase3", "refresh"]).succeeds();
    others.end();
    assert_eq!(in_sync(&db), digest);
    let subnet = &run(&db, &["reconcile", "--format", "json"]).json()["tables"]["weather_subnet_stats"]["rows"];
    assert_eq!(subnet["drift"].as_u64(), Some(0), "{subnet}");
    assert_eq!(db.psql("SELECT version_num FROM alembic_version"), "abc");
}

#[test]
fn the_whole_way_to_a_table() {
    journey("table");
}

#[test]
fn the_whole_way_to_a_view() {
    journey("view");
}
