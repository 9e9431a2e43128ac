//! Writers at work while jobs apply: none of their updates is lost or overwritten by an older number, and none of them ever gets a
//! deadlock error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::{drifted, on};
use crate::support::{Database, block_on, database};

const WRITERS: u64 = 4;
const APPLIES: u32 = 10;
/// Between two transactions of a writer: several hundred statements a second in all.
const PAUSE: Duration = Duration::from_millis(20);
const SEED: u64 = 20_250_203;

/// A stored row: run, miner, and what the writers write of it.
type Key = (i32, String);

/// What `avg_rmse` of a row is: no row, NULL, or a number.
type State = Option<Option<String>>;

/// From one state of a row to the next.
#[derive(Debug, Clone)]
struct Change {
    key: Key,
    before: State,
    after: State,
    /// When the evidence for it was written, by the server's clock: microseconds.
    at: i64,
}

/// What a row needs to be written.
#[derive(Debug, Clone)]
struct Target {
    run: i32,
    key: Key,
    score: i32,
}

fn targets(db: &Database) -> Vec<Target> {
    let rows = db.rows(
        "SELECT s.run_id, s.miner_uid, s.forecast_run_id, (SELECT min(id) FROM weather_miner_scores c
             WHERE c.run_id = s.run_id AND c.miner_uid = s.miner_uid)
         FROM weather_forecast_stats s ORDER BY 1, 2",
    );
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    rows.iter()
        .filter_map(|row| {
            Some(Target { run: number(&row[0])?, key: (number(&row[1])?, row[2].clone()?), score: number(&row[3])? })
        })
        .collect()
}

/// Writes evidence and rollup of one row, or of two in order of their keys, in one transaction; values are all different.
async fn write(connection: &mut PgConnection, rows: &[&Target], value: u64) -> sqlx::Result<Vec<Change>> {
    let mut transaction = connection.begin().await?;
    let mut changes = Vec::new();
    for (row, value) in rows.iter().zip(value..) {
        const SCORE: &str = "UPDATE weather_miner_scores SET calculation_time = clock_timestamp() WHERE id = $1
                             RETURNING (extract(epoch FROM calculation_time) * 1000000)::int8";
        let at = sqlx::query_scalar(SCORE).bind(row.score).fetch_one(&mut *transaction).await?;
        const STORED: &str =
            "SELECT avg_rmse::text FROM weather_forecast_stats WHERE miner_uid = $1 AND forecast_run_id = $2 FOR UPDATE";
        let stored = sqlx::query(STORED).bind(row.key.0).bind(&row.key.1).fetch_optional(&mut *transaction).await?;
        const UPSERT: &str = "INSERT INTO weather_forecast_stats
                (miner_uid, miner_hotkey, forecast_run_id, run_id, forecast_init_time, forecast_status, avg_rmse)
            VALUES ($1, 'w', $2, $3, now(), 'w', $4)
            ON CONFLICT (miner_uid, forecast_run_id) DO UPDATE SET avg_rmse = EXCLUDED.avg_rmse, updated_at = clock_timestamp()
            RETURNING xmax = 0";
        let query = sqlx::query_scalar::<_, bool>(UPSERT).bind(row.key.0).bind(&row.key.1).bind(row.run).bind(value as f64);
        let inserted = query.fetch_one(&mut *transaction).await?;
        // A row that came between the two statements is one that we did not see: what was in it is not known.
        if stored.is_none() && !inserted {
            transaction.rollback().await?;
            return Ok(Vec::new());
        }
        let before = stored.map(|stored| stored.get(0));
        changes.push(Change { key: row.key.clone(), before, after: Some(Some(value.to_string())), at });
    }
    transaction.commit().await?;
    Ok(changes)
}

/// One writer, until it is told to stop. Any error is its end.
async fn writer(mut connection: PgConnection, targets: Arc<Vec<Target>>, number: u64, stop: Arc<AtomicBool>) -> Vec<Change> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED + number);
    let mut done = Vec::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut chosen = [0, 1].map(|_| random.next_u32() as usize % targets.len());
        chosen.sort_unstable();
        let rows: Vec<_> = if chosen[0] == chosen[1] || random.next_u32().is_multiple_of(2) { &chosen[..1] } else { &chosen[..] }
            .iter()
            .map(|at| &targets[*at])
            .collect();
        let value = 1_000_000 * (number + 1) + 2 * round;
        tokio::time::sleep(PAUSE).await;
        let changes = write(&mut connection, &rows, value).await;
        done.extend(changes.unwrap_or_else(|error| panic!("a writer got an error: {error}")));
    }
    done
}

/// What the jobs did to the same column, as they wrote it down.
fn corrected(db: &Database) -> Vec<Change> {
    let rows = db.rows(
        "SELECT c.miner_uid, c.forecast_run_id, c.column_name IS NULL, c.before IS NULL, c.before,
                CASE WHEN c.column_name IS NULL THEN c.after::json ->> 'avg_rmse' ELSE c.after END,
                (extract(epoch FROM j.snapshot_at) * 1000000)::int8
         FROM recount.rollup_corrections c JOIN recount.rollup_jobs j ON j.id = c.job_id
         WHERE c.table_name = 'weather_forecast_stats' AND (c.column_name IS NULL OR c.column_name = 'avg_rmse')",
    );
    let change = |row: &Vec<Option<String>>| {
        let whole = row[2].as_deref() == Some("t");
        let key = (row[0].as_deref()?.parse().ok()?, row[1].clone()?);
        let before = if whole { None } else { Some(row[4].clone()) };
        Some(Change { key, before, after: Some(row[5].clone()), at: row[6].as_deref()?.parse().ok()? })
    };
    rows.iter().filter_map(change).collect()
}

fn stored(db: &Database) -> BTreeMap<Key, State> {
    let rows = db.rows("SELECT miner_uid, forecast_run_id, avg_rmse FROM weather_forecast_stats");
    let row = |row: &Vec<Option<String>>| Some(((row[0].as_deref()?.parse().ok()?, row[1].clone()?), Some(row[2].clone())));
    rows.iter().filter_map(row).collect()
}

/// The changes of a row make one path from its first state to its last: each state is left as often as it is reached. A lost update
/// would be a number that was written, is not there, and was never left.
fn check_paths(first: &BTreeMap<Key, State>, last: &BTreeMap<Key, State>, changes: &[Change]) {
    let mut balance: BTreeMap<(&Key, &State), i64> = BTreeMap::new();
    for change in changes {
        *balance.entry((&change.key, &change.before)).or_default() += 1;
        *balance.entry((&change.key, &change.after)).or_default() -= 1;
    }
    for key in changes.iter().map(|change| &change.key).collect::<std::collections::BTreeSet<_>>() {
        *balance.entry((key, first.get(key).unwrap_or(&None))).or_default() -= 1;
        *balance.entry((key, last.get(key).unwrap_or(&None))).or_default() += 1;
    }
    let lost: Vec<_> = balance.iter().filter(|(_, balance)| **balance != 0).collect();
    assert!(lost.is_empty(), "updates were lost, or came from nowhere (negative: never left): {lost:?}");
}

#[test]
fn writers_lose_nothing_and_meet_no_deadlock() {
    let db = database();
    drifted(&db, 10, 24, 200);
    let targets = Arc::new(targets(&db));
    // Some rows are missing, so that both sides insert them.
    db.execute("DELETE FROM weather_forecast_stats WHERE miner_uid % 4 = 0");
    let first = stored(&db);
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let writers: Vec<_> = block_on(async {
        let mut writers = Vec::new();
        for number in 0..WRITERS {
            let (targets, stop) = (targets.clone(), stop.clone());
            writers.push(tokio::spawn(writer(db.connect().await, targets, number, stop)));
        }
        writers
    });
    let mut counts = BTreeMap::new();
    for _ in 0..APPLIES {
        let run = on(&db, &["reconcile", "--apply", "--format", "json"]);
        assert!(matches!(run.status, Some(0 | 1)), "{run}");
        *counts.entry(run.status).or_insert(0) += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let elapsed = start.elapsed();
    let mut changes: Vec<Change> = block_on(async {
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.await.expect("a writer ended well"));
        }
        all
    });
    let (written, jobs) = (changes.clone(), corrected(&db));
    println!(
        "{} updates of writers, {:.0} statements a second; {} changes of this column by {APPLIES} jobs, {} in all, exit statuses {counts:?}",
        written.len(),
        3.0 * written.len() as f64 / elapsed.as_secs_f64(),
        jobs.len(),
        db.psql("SELECT count(*) FROM recount.rollup_corrections")
    );
    changes.extend(jobs.iter().cloned());
    check_paths(&first, &stored(&db), &changes);
    // What a job overwrote, it had seen: its evidence was older than the job's snapshot.
    let times: BTreeMap<_, _> = written.iter().map(|change| ((&change.key, &change.after), change.at)).collect();
    for job in &jobs {
        if let Some(at) = times.get(&(&job.key, &job.before)) {
            assert!(*at < job.at, "{job:?} overwrote a number that is newer than its snapshot");
        }
    }
    assert!(written.len() > 100, "the writers hardly wrote");

    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    on(&db, &["reconcile"]).succeeds();
}

#[test]
fn a_lost_update_would_be_seen() {
    let key = || (1, "f".to_owned());
    let change = |before: &str, after: &str| {
        let state = |text: &str| Some(Some(text.to_owned()));
        Change { key: key(), before: state(before), after: state(after), at: 0 }
    };
    let at = |text: &str| BTreeMap::from([(key(), Some(Some(text.to_owned())))]);
    check_paths(&at("a"), &at("c"), &[change("a", "b"), change("b", "c")]);
    let lost = || check_paths(&at("a"), &at("c"), &[change("a", "b"), change("a", "c")]);
    assert!(std::panic::catch_unwind(lost).is_err());
}
