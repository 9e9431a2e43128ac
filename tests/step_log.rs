//! `weather_step_record` against a model of a step, one connection and many; and what `recount steps` finds, writes and takes back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::phase3::phase3;
use crate::support::command::Run;
use crate::support::{Database, block_on, database, recount};

const STATUSES: [&str; 8] =
    ["pending", "queued", "waiting_for_truth", "in_progress", "retry_scheduled", "failed", "succeeded", "done"];

/// A migrated database with a run and miners 0 to 7 that answered, registered but for miner 7.
fn validator() -> Database<'static> {
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    phase3(&db);
    db.execute(
        "INSERT INTO node_table (uid, hotkey) SELECT n, 'hk' || n FROM generate_series(0, 7) n;
         UPDATE node_table SET hotkey = 'another' WHERE uid = 7;
         INSERT INTO weather_forecast_runs (run_initiation_time, target_forecast_time_utc, gfs_init_time_utc, status)
         VALUES ('2025-01-01 05:00Z', '2025-01-01Z', '2025-01-01Z', 'era5_scoring');
         INSERT INTO weather_miner_responses (run_id, miner_uid, miner_hotkey, response_time, status, verification_passed)
         SELECT 1, n, 'hk' || n, '2025-01-01 06:00Z', 'forecast_submitted', true FROM generate_series(0, 7) n",
    );
    db
}

/// One piece of news about a step.
#[derive(Debug, Clone)]
struct News {
    key: usize,
    status: &'static str,
    started: Option<i32>,
    retries: Option<i32>,
}

/// Keys with and without NULLs, NULL and 0 different.
const KEYS: [&str; 4] = ["'era5', 'score', 24", "'era5', 'score', NULL", "'day1', NULL, NULL", "'day1', NULL, 0"];

fn news() -> impl Strategy<Value = News> {
    // The end comes seldom, or every walk would be over at once.
    let status =
        prop::sample::select(STATUSES.iter().flat_map(|s| vec![*s; if *s == "succeeded" { 1 } else { 3 }]).collect::<Vec<_>>());
    (0..KEYS.len(), status, prop::option::of(0..100), prop::option::of(0..6)).prop_map(|(key, status, started, retries)| News {
        key,
        status,
        started,
        retries,
    })
}

impl News {
    fn sql(&self) -> String {
        let minute =
            |m: Option<i32>| m.map_or("NULL".to_owned(), |m| format!("timestamptz '2025-01-02Z' + interval '{m} minutes'"));
        let retries = self.retries.map_or("NULL".to_owned(), |n| n.to_string());
        format!(
            "SELECT weather_step_record(1, 3, 'hk3', {}, '{}', {}, NULL, {retries})",
            KEYS[self.key],
            self.status,
            minute(self.started)
        )
    }
}

/// What the state diagram says of a step.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    status: Option<&'static str>,
    started: Option<i32>,
    retries: i32,
}

impl Model {
    /// False: refused, and nothing changes.
    fn take(&mut self, news: &News) -> bool {
        let tried = |s: &str| matches!(s, "in_progress" | "retry_scheduled" | "failed" | "succeeded");
        let back = matches!(news.status, "pending" | "waiting_for_truth" | "queued");
        let requeued = news.status == "queued" && self.status == Some("retry_scheduled");
        if news.status == "done" || self.status.is_some_and(tried) && back && !requeued {
            return false;
        }
        if self.status != Some("succeeded") {
            self.status = Some(news.status);
        }
        self.started = [self.started, news.started].into_iter().flatten().min();
        self.retries = self.retries.max(news.retries.unwrap_or(0));
        true
    }
}

async fn tell(connection: &mut PgConnection, news: &News) -> bool {
    match sqlx::raw_sql(AssertSqlSafe(news.sql())).execute(connection).await {
        Ok(_) => true,
        Err(error) => {
            let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
            assert_eq!(code, "23514", "{error}\n{}", news.sql());
            false
        }
    }
}

fn stored(db: &Database) -> BTreeMap<usize, Model> {
    let query = |key: &str| {
        format!(
            "SELECT status, (extract(epoch FROM started_at - '2025-01-02Z') / 60)::int, retry_count, (status = 'retry_scheduled') = (next_retry_time IS NOT NULL)
             FROM weather_forecast_steps WHERE (step_name, coalesce(substep, '-'), coalesce(lead_hours, -1)) IN
                (SELECT a, coalesce(b::text, '-'), coalesce(c::text::int, -1) FROM (VALUES ({key})) v (a, b, c)) AND run_id = 1 AND miner_uid = 3"
        )
    };
    let row = |(key, sql): (usize, String)| {
        let rows = db.rows(&sql);
        assert!(rows.len() <= 1, "{} rows of one key", rows.len());
        let row = rows.first()?;
        assert_eq!(row[3].as_deref(), Some("t"), "a schedule has a time, and nothing else has");
        let status = STATUSES.iter().copied().find(|s| Some(*s) == row[0].as_deref());
        let number = |i: usize| row[i].as_ref().map(|n| n.parse().unwrap());
        Some((key, Model { status, started: number(1), retries: number(2).unwrap_or(0) }))
    };
    KEYS.iter().map(|key| query(key)).enumerate().filter_map(row).collect()
}

fn walks(count: usize, length: usize) -> Vec<Vec<News>> {
    let mut runner = TestRunner::new(Config::default());
    (0..count).map(|_| prop::collection::vec(news(), length).new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn news_one_after_the_other_follow_the_model() {
    let db = validator();
    for walk in walks(60, 12) {
        let mut models: BTreeMap<usize, Model> = BTreeMap::new();
        block_on(async {
            let mut connection = db.connect().await;
            for news in &walk {
                let taken = tell(&mut connection, news).await;
                let model = models.entry(news.key).or_default();
                assert_eq!(taken, model.take(news), "{news:?} after {model:?}");
            }
        });
        models.retain(|_, model| model.status.is_some());
        assert_eq!(stored(&db), models, "{walk:#?}");
        db.execute("DELETE FROM weather_forecast_steps");
    }
}

/// The order is not known, but whatever it was: one row, a success is for good, the first start and the most retries stay.
#[test]
fn news_from_many_connections_keep_the_invariants() {
    let db = validator();
    for round in walks(12, 40) {
        let mut taken: Vec<News> = Vec::new();
        block_on(async {
            let mut writers = Vec::new();
            for part in round.chunks(5).map(<[News]>::to_vec) {
                let mut connection = db.connect().await;
                writers.push(tokio::spawn(async move {
                    let mut taken = Vec::new();
                    for news in part {
                        if tell(&mut connection, &news).await {
                            taken.push(news);
                        }
                    }
                    taken
                }));
            }
            for writer in writers {
                taken.extend(writer.await.unwrap());
            }
        });
        let stored = stored(&db);
        for (key, step) in &stored {
            let of_key: Vec<&News> = taken.iter().filter(|news| news.key == *key).collect();
            assert_eq!(step.started, of_key.iter().filter_map(|news| news.started).min(), "{of_key:#?}");
            assert_eq!(step.retries, of_key.iter().filter_map(|news| news.retries).max().unwrap_or(0), "{of_key:#?}");
            assert!(of_key.iter().any(|news| Some(news.status) == step.status));
            let succeeded = of_key.iter().any(|news| news.status == "succeeded");
            assert_eq!(succeeded, step.status == Some("succeeded"), "{of_key:#?}");
        }
        assert_eq!(stored.len(), taken.iter().map(|news| news.key).collect::<std::collections::BTreeSet<_>>().len());
        db.execute("DELETE FROM weather_forecast_steps");
    }
}

fn steps(db: &Database, arguments: &[&str]) -> Run {
    let url = db.url();
    let all = [&["steps"], arguments, &["--database-url", &url, "--format", "json"]].concat();
    recount(all).file("recount.toml", "[scoring]\nsnapshot_time = 2025-01-12T00:00:00Z\n").run()
}

/// Each as (miner, step, lead, becomes).
fn found(run: &Run) -> Vec<String> {
    let json = run.json();
    let lines = json["steps"].as_array().unwrap().iter();
    lines
        .map(|s| {
            format!("{} {} {} {} {}", s["miner_uid"], s["step_name"], s["lead_hours"], s["becomes"], s["retry_count"])
                .replace('"', "")
        })
        .collect()
}

const LOG: &str = "SELECT to_jsonb(s) FROM weather_forecast_steps s ORDER BY id";

fn job(run: &Run) -> String {
    run.json()["job"].as_str().expect("a job").to_owned()
}

#[test]
fn due_steps_are_those_whose_time_has_come() {
    let db = validator();
    db.execute(
        "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, next_retry_time, retry_count)
         VALUES (1, 0, 'hk0', 'era5', 'score', 24, 'retry_scheduled', '2025-01-11Z', 1),
                (1, 1, 'hk1', 'era5', 'score', 24, 'retry_scheduled', '2025-01-13Z', 1),
                (1, 2, 'hk2', 'era5', 'score', 24, 'retry_scheduled', '2025-01-10Z', 4),
                (1, 3, 'hk3', 'era5', 'score', 24, 'failed', '2025-01-10Z', 1),
                (1, 7, 'hk7', 'era5', 'score', 24, 'retry_scheduled', '2025-01-10Z', 1)",
    );
    assert_eq!(found(&steps(&db, &["due"]).succeeds()), ["0 era5 24 in_progress 1"]);
}

#[test]
fn what_was_left_behind_is_recovered_audited_and_taken_back() {
    let db = validator();
    db.execute(
        "UPDATE weather_forecast_runs SET status = 'completed';
         INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at, completed_at, retry_count)
         VALUES (1, 0, 'hk0', 'era5', 'score', 24, 'in_progress', '2025-01-10Z', NULL, 1),
                (1, 1, 'hk1', 'era5', 'score', 24, 'in_progress', '2025-01-11 12:00Z', NULL, 1),
                (1, 2, 'hk2', 'day1', 'score', NULL, 'in_progress', '2025-01-10Z', NULL, 3),
                (1, 3, 'hk3', 'query', 'initiate_fetch', NULL, 'in_progress', '2025-01-10Z', NULL, 0),
                (1, 3, 'hk3', 'query', 'done', NULL, 'succeeded', NULL, '2025-01-10 01:00Z', 0),
                (1, 4, 'hk4', 'verify', 'open_store', 0, 'in_progress', '2025-01-10Z', NULL, 1),
                (1, 7, 'hk7', 'verify', 'open_store', 0, 'in_progress', '2025-01-10Z', NULL, 0)",
    );
    let before = db.psql(LOG);
    let dry = steps(&db, &["recover"]).ends_with(1);
    let expected = ["0 era5 24 retry_scheduled 2", "2 day1 null failed 3", "4 verify 0 not scheduled 1", "7 verify 0 failed 0"];
    assert_eq!(found(&dry), expected);
    assert_eq!((db.psql(LOG), db.psql("SELECT count(*) FROM recount.rollup_jobs")), (before.clone(), "0".to_owned()));
    let done = steps(&db, &["recover", "--apply"]).succeeds();
    assert_eq!(found(&done), expected);
    let at = "SELECT next_retry_time BETWEEN '2025-01-12 01:00Z' AND '2025-01-12 01:06Z' FROM weather_forecast_steps WHERE miner_uid = 0";
    assert_eq!(db.psql(at), "t", "the second delay of era5 is an hour, with a little jitter");
    assert!(db.psql("SELECT error_json FROM weather_forecast_steps WHERE miner_uid = 2").contains("used up"));
    steps(&db, &["recover", "--apply"]).succeeds();
    assert_eq!(db.psql("SELECT count(*) FROM recount.rollup_jobs"), "1", "a second run finds nothing");
    steps(&db, &["undo", &job(&done)]).succeeds();
    assert_eq!(db.psql(LOG), before);
    let undo = db.psql("SELECT id FROM recount.rollup_jobs WHERE undoes IS NOT NULL");
    assert_eq!(steps(&db, &["undo", &job(&done)]).succeeds().json()["done_by"], undo, "done once, and named");
    assert_eq!((db.psql(LOG), db.psql("SELECT count(*) FROM recount.rollup_jobs")), (before, "2".to_owned()));
    steps(&db, &["undo", &undo]).ends_with(2).stderr_has("it is an undo itself");
}

fn undo(db: &Database, arguments: &[&str]) -> Run {
    recount([&["undo"], arguments, &["--database-url", &db.url()]].concat()).run()
}

/// Whoever has an id from `recount jobs` need not know of what kind its job is.
#[test]
fn undo_takes_a_job_of_steps_back_as_steps_undo_does() {
    let db = validator();
    db.execute(
        "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at)
         SELECT 1, n, 'hk' || n, 'era5', 'score', 24, 'in_progress', '2025-01-10Z' FROM generate_series(0, 1) n;
         UPDATE weather_forecast_runs SET status = 'completed'",
    );
    let before = db.psql(LOG);
    let done = job(&steps(&db, &["recover", "--apply"]).succeeds());
    let after = db.psql(LOG);
    assert_ne!(after, before);
    // What is meant for rollups is not passed over in silence.
    undo(&db, &[&done, "--pause-validator"]).ends_with(2).stderr_has("--pause-validator").stderr_has("nothing was written");
    // The last correction is one of rollups: here is none, and the newer job is told of.
    let last = undo(&db, &["--last"]).ends_with(2);
    last.stderr_has("no job has corrected anything").stderr_has(&format!("`recount undo {done}` takes it back"));
    assert_eq!((db.psql(LOG), db.psql("SELECT count(*) FROM recount.rollup_jobs")), (after, "1".to_owned()));
    let told = undo(&db, &[&done[..8]]).succeeds().stdout_has("2 steps are as they were, 0 were touched since");
    told.stderr_has(&format!("job {done} is one of `recount steps recover`")).stderr_has(&format!("`recount steps undo {done}`"));
    assert_eq!(db.psql(LOG), before);
    let by = db.psql("SELECT id FROM recount.rollup_jobs WHERE undoes IS NOT NULL");
    undo(&db, &[&done.to_uppercase()]).succeeds().stdout_has(&format!("job {by} has done this already; nothing was written"));
    undo(&db, &[&by]).ends_with(2).stderr_has("it is an undo itself");
    // Done again, and one of its rows was touched.
    let again = job(&steps(&db, &["recover", "--apply"]).succeeds());
    db.execute("SELECT weather_step_record(1, 0, 'hk0', 'era5', 'score', 24, 'succeeded', NULL, '2025-01-12 02:00Z')");
    undo(&db, &[&again]).ends_with(1).stdout_has("1 steps are as they were, 1 were touched since and stay");
    assert_eq!(db.psql("SELECT status FROM weather_forecast_steps ORDER BY miner_uid"), "succeeded\nin_progress");
}

#[test]
fn an_undo_leaves_what_was_touched_since() {
    let db = validator();
    db.execute(
        "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at)
         SELECT 1, n, 'hk' || n, 'era5', 'score', 24, 'in_progress', '2025-01-10Z' FROM generate_series(0, 1) n;
         UPDATE weather_forecast_runs SET status = 'completed'",
    );
    let done = steps(&db, &["recover", "--apply"]).succeeds();
    db.execute("SELECT weather_step_record(1, 0, 'hk0', 'era5', 'score', 24, 'succeeded', NULL, '2025-01-12 02:00Z')");
    let undo = steps(&db, &["undo", &job(&done)]).ends_with(1);
    assert_eq!((undo.json()["restored"].as_u64(), undo.json()["left"].as_u64()), (Some(1), Some(1)));
    assert_eq!(db.psql("SELECT status FROM weather_forecast_steps ORDER BY miner_uid"), "succeeded\nin_progress");
}

#[test]
fn era5_steps_are_made_when_their_truth_is_due() {
    let db = validator();
    db.execute("UPDATE weather_miner_responses SET status = 'failed' WHERE miner_uid > 1 AND miner_uid < 7");
    // The truth of a lead is due 5 days and 6 hours after its time: at the 12th, those up to 138 hours after the 1st.
    // Of the five that are due the first: the validator goes on from there by itself.
    let run = steps(&db, &["recover"]).ends_with(1);
    let expected = ["0 era5 24 retry_scheduled 0", "1 era5 24 retry_scheduled 0"];
    assert_eq!(found(&run), expected, "none for the failed and the unregistered");
    assert_eq!(found(&steps(&db, &["recover", "--era5-delay", "10d"]).succeeds()), [""; 0]);
    steps(&db, &["recover", "--apply"]).succeeds();
    assert_eq!(
        db.psql(
            "SELECT DISTINCT status, substep, context, next_retry_time BETWEEN '2025-01-12 00:30Z' AND '2025-01-12 00:33Z'
             FROM weather_forecast_steps"
        ),
        "retry_scheduled|score|{\"source\": \"recovery\"}|t",
        "with the first delay of the policy and its jitter"
    );
    assert_eq!(found(&steps(&db, &["recover"]).succeeds()), [""; 0]);
}

/// 378 leads of 52 pairs were due: one job for each pair, not one for each lead.
#[test]
fn a_recovery_brings_one_lead_of_a_pair_to_the_scheduler() {
    let db = validator();
    db.execute(
        "DELETE FROM weather_miner_responses; DELETE FROM node_table;
         INSERT INTO node_table (uid, hotkey) SELECT n, 'hk' || n FROM generate_series(0, 59) n;
         -- 9 leads are due of run 2, 7 of run 3.
         INSERT INTO weather_forecast_runs (id, run_initiation_time, target_forecast_time_utc, gfs_init_time_utc, status)
         VALUES (2, '2024-12-28 12:00Z', '2024-12-28 12:00Z', '2024-12-28 12:00Z', 'era5_scoring'),
                (3, '2024-12-30 12:00Z', '2024-12-30 12:00Z', '2024-12-30 12:00Z', 'era5_scoring');
         INSERT INTO weather_miner_responses (run_id, miner_uid, miner_hotkey, response_time, status, verification_passed)
         SELECT CASE WHEN n < 7 THEN 2 ELSE 3 END, n, 'hk' || n, '2025-01-01Z', 'verified_manifest_store_opened', true
         FROM generate_series(0, 51) n",
    );
    let due = "SELECT count(*) FROM weather_miner_responses r JOIN weather_forecast_runs w ON w.id = r.run_id,
                   generate_series(24, 240, 24) lead
               WHERE w.gfs_init_time_utc + lead * interval '1 h' + interval '126 h' <= '2025-01-12Z'";
    assert_eq!(db.psql(due), "378");
    let lines = found(&steps(&db, &["recover"]).ends_with(1));
    assert_eq!(lines.len(), 52);
    assert!(lines.iter().all(|line| line.ends_with("era5 24 retry_scheduled 0")), "{lines:#?}");

    // What a job has in hand, what is not verified, and what stands behind a failure is told, and left alone.
    db.execute(
        "CREATE TABLE validator_jobs (id bigserial PRIMARY KEY, job_type varchar(64), status varchar(32), lease_expires_at timestamptz,
                                      run_id int, miner_uid int);
         INSERT INTO validator_jobs (job_type, status, lease_expires_at, run_id, miner_uid)
         VALUES ('weather.era5', 'in_progress', '2025-01-12 00:05Z', 2, 0), ('weather.era5', 'pending', NULL, 2, 1),
                ('weather.era5', 'in_progress', '2025-01-11 23:00Z', 2, 2), ('weather.day1', 'pending', NULL, 2, 3),
                ('weather.era5', 'completed', NULL, 2, 3);
         UPDATE weather_miner_responses SET verification_passed = NULL WHERE miner_uid = 4;
         INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, completed_at)
         VALUES (2, 5, 'hk5', 'era5', 'score', 24, 'failed', '2025-01-11Z'), (2, 6, 'hk6', 'era5', 'score', 24, 'queued', NULL)",
    );
    let run = steps(&db, &["recover", "--apply"]).succeeds();
    let lines = found(&run);
    assert_eq!(
        lines[..6],
        [
            "0 era5 24 not scheduled 0",
            "1 era5 24 not scheduled 0",
            "2 era5 24 retry_scheduled 0",
            "3 era5 24 retry_scheduled 0",
            "4 era5 24 not scheduled 0",
            "5 era5 48 not scheduled 0",
        ],
    );
    assert!(!lines.iter().any(|line| line.starts_with("6 ")), "the log of miner 6 goes on by itself");
    assert_eq!(db.psql("SELECT count(*) FROM weather_forecast_steps WHERE status = 'retry_scheduled'"), "47");
    let why = run.json()["steps"].as_array().unwrap().iter().map(|s| s["why"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(
        why[0].contains("a job of the validator") && why[4].contains("not verified") && why[5].contains("earlier lead"),
        "{why:?}"
    );
    steps(&db, &["recover"]).succeeds();
}

#[test]
fn a_backfill_tells_what_responses_and_scores_know() {
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "4", "--miners", "8", "--seed", "21", "--database-url", &url]).run().succeeds();
    phase3(&db);
    // Of the first runs nothing is left, of others some.
    db.execute("DELETE FROM weather_forecast_steps WHERE run_id <= 2 OR (run_id = 3 AND step_name IN ('era5', 'day1') AND miner_uid < 4)");
    let untouched = db.psql(LOG);
    let report = |format: &str| recount(["reconcile", &url, "--format", format]).run();
    let before = report("json").json();
    let dry = steps(&db, &["backfill"]).ends_with(1);
    assert_eq!(db.psql(LOG), untouched);
    let done = steps(&db, &["backfill", "--apply"]).succeeds();
    assert_eq!(found(&dry), found(&done));
    let kept = db.psql(
        "SELECT to_jsonb(s) FROM weather_forecast_steps s WHERE context ->> 'source' IS DISTINCT FROM 'backfill' ORDER BY id",
    );
    assert_eq!(kept, untouched, "a step that is there is never touched");
    assert_eq!(found(&steps(&db, &["backfill", "--apply"]).succeeds()), [""; 0], "twice adds nothing");
    let after = report("json").json();
    assert_eq!(
        (&after["findings"]["score_without_step"], &after["findings"]["step_without_score"]),
        (&serde_json::Value::Null, &serde_json::Value::Null),
        "{before:#}"
    );
    // Scores, status, errors and hosting are what they were; the stage follows the log.
    let columns: Vec<String> = after["tables"]["weather_forecast_stats"]["columns"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, tally)| {
            // Without the log a difference is unproven (D6), with it drift.
            let differing =
                |tally: &serde_json::Value| ["drift", "unproven"].map(|class| tally[class].as_u64().unwrap()).iter().sum::<u64>();
            differing(tally) != differing(&before["tables"]["weather_forecast_stats"]["columns"][name.as_str()])
        })
        .map(|(name, _)| name.clone())
        .collect();
    assert!(columns.iter().all(|name| name.starts_with("current_forecast_")), "{columns:?}");
    steps(&db, &["undo", &job(&done)]).succeeds();
    assert_eq!(db.psql(LOG), untouched);
}

/// More steps with NULL keys than PostgreSQL 14 has room for locks of.
#[test]
fn a_long_history_is_backfilled_at_once() {
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["phase3", "apply", "--database-url", &db.url()]).run().succeeds();
    db.execute(
        "INSERT INTO node_table (uid, hotkey) SELECT g, 'hk' || g FROM generate_series(0, 255) g;
         INSERT INTO weather_forecast_runs (run_initiation_time, target_forecast_time_utc, gfs_init_time_utc)
         SELECT t, t, t FROM generate_series(timestamptz '2025-01-01', '2025-02-28', '1 day') t;
         INSERT INTO weather_miner_responses (run_id, miner_uid, miner_hotkey, response_time)
         SELECT w.id, n.uid, n.hotkey, w.gfs_init_time_utc FROM weather_forecast_runs w CROSS JOIN node_table n",
    );
    assert_eq!(found(&steps(&db, &["backfill", "--apply"]).succeeds()).len(), 15_104);
    assert_eq!(db.psql("SELECT count(*), count(DISTINCT (run_id, miner_uid)) FROM weather_forecast_steps"), "15104|15104");
    // The guard of the key is at work as before.
    db.execute("INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, status)
                SELECT run_id, miner_uid, miner_hotkey, step_name, substep, status FROM weather_forecast_steps WHERE miner_uid = 1");
    assert_eq!(db.psql("SELECT count(*) FROM weather_forecast_steps"), "15104");
}
