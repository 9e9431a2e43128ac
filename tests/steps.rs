//! One row per step: the writers of today, through the migration and after it, with and without NULLS NOT DISTINCT.

use crate::schema::{STANDALONE, migrate};
use crate::support::{Database, block_on, conformance, database, nulls_not_distinct};
use sqlx::{AssertSqlSafe, PgConnection};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What makes a key of today's writers conflict: PostgreSQL itself, or the triggers alone as on PostgreSQL 14.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    NullsNotDistinct,
    Fourteen,
}

/// What the server at hand can be: PostgreSQL 14 itself, or any later one, with and without what it knows beyond that.
fn servers() -> &'static [Server] {
    if nulls_not_distinct() { &[Server::NullsNotDistinct, Server::Fourteen] } else { &[Server::Fourteen] }
}

/// A migrated production database with a run, two miners, and no steps.
fn migrated(server: Server) -> Database<'static> {
    let db = unmigrated();
    migrate(&db);
    if server == Server::Fourteen && nulls_not_distinct() {
        db.execute("DROP INDEX recount_steps_one_per_key");
        db.execute(include_str!("../migrations/phase1/0107_steps_null_key.sql"));
    }
    db
}

fn unmigrated() -> Database<'static> {
    let db = database();
    conformance::create_tables(&db);
    conformance::make_production_shaped(&db);
    db.execute(
        "INSERT INTO node_table (uid) SELECT generate_series(0, 255);
         INSERT INTO weather_forecast_runs (run_initiation_time, target_forecast_time_utc, gfs_init_time_utc)
         SELECT now(), now(), now() FROM generate_series(1, 3);
         INSERT INTO validator_jobs DEFAULT VALUES; INSERT INTO validator_jobs DEFAULT VALUES",
    );
    db
}

/// The writer's statement: all columns but the job's, the same values inserted and set.
fn upsert(key: &str, values: &str) -> String {
    format!(
        "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours,
            status, started_at, completed_at, retry_count, next_retry_time, latency_ms, error_json, context)
         SELECT 1, 7, 'hk7', {key}, v.* FROM (VALUES ({values})) AS v
            (status, started_at, completed_at, retry_count, next_retry_time, latency_ms, error_json, context)
         ON CONFLICT (run_id, miner_uid, step_name, substep, lead_hours) DO UPDATE SET
            miner_hotkey = excluded.miner_hotkey, status = excluded.status, started_at = excluded.started_at,
            completed_at = excluded.completed_at, retry_count = excluded.retry_count, next_retry_time = excluded.next_retry_time,
            latency_ms = excluded.latency_ms, error_json = excluded.error_json, context = excluded.context"
    )
}

fn start(key: &str, at: &str) -> String {
    upsert(
        key,
        &format!(
            "'in_progress', timestamptz '{at}', NULL::timestamptz, 0, NULL::timestamptz, NULL::int, NULL::jsonb, NULL::jsonb"
        ),
    )
}

fn fail(key: &str, at: &str) -> String {
    upsert(
        key,
        &format!(
            "'failed', NULL::timestamptz, timestamptz '{at}', 1, timestamptz '2025-01-03', 5, '{{\"error\": \"x\"}}'::jsonb, '{{\"a\": null}}'::jsonb"
        ),
    )
}

fn succeed(key: &str, at: &str) -> String {
    upsert(key, &format!("'succeeded', NULL::timestamptz, timestamptz '{at}', 0, NULL::timestamptz, 9, NULL::jsonb, NULL::jsonb"))
}

const ROWS: &str = "SELECT step_name, substep, lead_hours, status, to_char(started_at AT TIME ZONE 'UTC', 'DD\"T\"HH24') AS s,
    to_char(completed_at AT TIME ZONE 'UTC', 'DD\"T\"HH24') AS c, retry_count, latency_ms, error_json, context, job_id
    FROM weather_forecast_steps ORDER BY step_name, substep NULLS FIRST, lead_hours NULLS FIRST, id";

/// The shapes of keys that production writes; `''` is not one of them, and must not be taken for NULL either.
const KEYS: [&str; 5] = [
    "'day1', NULL, NULL::int",
    "'query', 'initiate_fetch', NULL::int",
    "'day1', NULL, 0",
    "'era5', 'score', 24",
    "'era5', '', NULL::int",
];

#[test]
fn writing_a_step_twice_leaves_one_row() {
    for &server in servers() {
        let db = migrated(server);
        for key in KEYS {
            db.execute(&start(key, "2025-01-01T01:00Z"));
            db.execute(&start(key, "2025-01-01T02:00Z"));
        }
        assert_eq!(db.psql("SELECT count(*) FROM weather_forecast_steps"), "5", "{server:?}");
    }
}

#[test]
fn null_and_zero_and_the_empty_text_are_different_keys() {
    for &server in servers() {
        let db = migrated(server);
        for _ in 0..2 {
            for key in ["NULL, NULL::int", "NULL, 0", "'', NULL::int", "'', 0"] {
                db.execute(&succeed(&format!("'x', {key}"), "2025-01-01T01:00Z"));
            }
        }
        let keys = "SELECT substep, lead_hours FROM weather_forecast_steps ORDER BY substep NULLS FIRST, lead_hours NULLS FIRST";
        assert_eq!(db.psql(keys), "∅|∅\n∅|0\n|∅\n|0", "{server:?}");
    }
}

/// By PostgreSQL itself the SET list is carried out to the letter, as for keys without NULL.
#[test]
fn the_writers_set_list_is_carried_out() {
    if !servers().contains(&Server::NullsNotDistinct) {
        return;
    }
    let db = migrated(Server::NullsNotDistinct);
    let keys = ["'query', 'poll', NULL::int", "'query', 'poll', 24"];
    for key in keys {
        for statement in [start(key, "2025-01-01T01:00Z"), fail(key, "2025-01-01T02:00Z"), succeed(key, "2025-01-01T03:00Z")] {
            db.execute(&statement);
        }
        let counted =
            "INSERT INTO weather_forecast_steps AS s (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status)";
        let counting =
            "ON CONFLICT (run_id, miner_uid, step_name, substep, lead_hours) DO UPDATE SET retry_count = s.retry_count + 10";
        let returned =
            db.psql(&format!("{counted} SELECT 1, 7, 'hk7', {key}, 'ignored' {counting} RETURNING status, retry_count"));
        assert_eq!(returned, "succeeded|10");
    }
    assert_eq!(db.psql(ROWS), "query|poll|∅|succeeded|∅|01T03|10|9|∅|∅|∅\nquery|poll|24|succeeded|∅|01T03|10|9|∅|∅|∅");
}

/// Without it the triggers stand in for the SET list: the step is as the last write says, with its first start and most retries.
#[test]
fn the_triggers_stand_in_for_the_set_list() {
    let db = migrated(Server::Fourteen);
    let key = "'query', 'poll', NULL::int";
    db.execute(&start(key, "2025-01-01T01:00Z"));
    db.execute("UPDATE weather_forecast_steps SET job_id = 2");
    db.execute(&fail(key, "2025-01-01T02:00Z"));
    assert_eq!(db.psql(ROWS), r#"query|poll|∅|failed|01T01|01T02|1|5|{"error": "x"}|{"a": null}|2"#);
    db.execute(&start(key, "2025-01-01T03:00Z"));
    assert_eq!(db.psql(ROWS), r#"query|poll|∅|in_progress|01T01|∅|1|∅|∅|{"a": null}|2"#);
    // An earlier time does not matter: the writer asked for an update.
    db.execute(&succeed(key, "2025-01-01T00:00Z"));
    assert_eq!(db.psql(ROWS), r#"query|poll|∅|succeeded|01T01|01T00|1|9|∅|{"a": null}|2"#);
}

/// A plain INSERT is merged as if both rows were there (rule I7); a seed has no time, and changes nothing.
#[test]
fn inserts_without_do_update_are_merged_by_time() {
    for &server in servers() {
        let db = migrated(server);
        let seed = "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, status)
                    SELECT 1, uid, 'hk', 'day1', 'pending' FROM generate_series(6, 8) AS uid
                    ON CONFLICT (run_id, miner_uid, step_name, substep, lead_hours) DO NOTHING";
        let plain = |status: &str, start: &str, end: &str, retries: i32| {
            format!(
                "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, status, started_at, completed_at,
                 retry_count, job_id) VALUES (1, 7, 'hk7', 'day1', '{status}', {start}, {end}, {retries}, 1) RETURNING status"
            )
        };
        let row =
            "SELECT count(*) OVER (), status, extract(day FROM started_at), extract(day FROM completed_at), retry_count, job_id
                   FROM weather_forecast_steps WHERE miner_uid = 7";
        db.execute(seed);
        db.execute(&plain("succeeded", "'2025-01-05'", "'2025-01-06'", 1));
        assert_eq!(db.psql(row), "1|succeeded|5|6|1|1", "{server:?}");
        db.execute(seed);
        assert_eq!(db.psql(row), "1|succeeded|5|6|1|1", "{server:?}");
        db.execute(&plain("failed", "'2025-01-03'", "'2025-01-04'", 4));
        assert_eq!(db.psql(row), "1|succeeded|3|6|4|1", "{server:?}");
        db.execute(&plain("retry_scheduled", "'2025-01-07'", "NULL", 0));
        assert_eq!(db.psql(row), "1|retry_scheduled|3|∅|4|1", "{server:?}");
        assert_eq!(db.psql("SELECT count(*) FROM weather_forecast_steps"), "3", "{server:?}");
    }
}

/// Rows of one INSERT that meet stored rows, and one another.
#[test]
fn many_rows_in_one_statement() {
    for &server in servers() {
        let db = migrated(server);
        let insert = "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, lead_hours, status, started_at)
                      SELECT 1 + g % 2, g % 50, 'hk', 'day1', nullif(g % 3, 2), 'in_progress', timestamptz '2025-01-01' + g * interval '1 s'
                      FROM generate_series(1, 3000) g";
        db.execute(insert);
        db.execute(insert);
        let rows =
            "SELECT count(*), to_char(min(started_at), 'MI:SS'), to_char(max(started_at), 'MI:SS') FROM weather_forecast_steps";
        assert_eq!(db.psql(rows), "150|00:01|02:30", "{server:?}");
    }
}

/// More rows with NULL keys in one transaction than PostgreSQL has room for locks.
#[test]
fn a_bulk_load_needs_no_locks() {
    if !servers().contains(&Server::NullsNotDistinct) {
        return;
    }
    let db = migrated(Server::NullsNotDistinct);
    db.execute(
        "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, lead_hours, status)
         SELECT 1, g % 256, 'hk', 'era5', g / 256, 'pending' FROM generate_series(0, 29999) g",
    );
    assert_eq!(db.psql("SELECT count(*) FROM weather_forecast_steps"), "30000");
}

async fn write(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(connection).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

const CONNECTIONS: usize = 8;

#[test]
fn eight_connections_write_the_same_steps() {
    for &server in servers() {
        let db = migrated(server);
        let rounds = 60;
        block_on(async {
            let writers = (0..CONNECTIONS).map(|writer| {
                let db = &db;
                async move {
                    let mut connection = db.connect().await;
                    for round in 0..rounds {
                        let key = KEYS[(writer + round) % KEYS.len()];
                        let at = format!("2025-01-01T01:{round:02}:{writer:02}Z");
                        write(&mut connection, [start, fail, succeed][(writer + round / 5) % 3](key, &at)).await;
                    }
                    write(&mut connection, upsert(&format!("'own', '{writer}', NULL::int"), OWN)).await;
                }
            });
            futures_util::future::join_all(writers).await;
        });
        let count = "SELECT count(*) FILTER (WHERE step_name = 'own'), count(*) FROM weather_forecast_steps";
        assert_eq!(db.psql(count), format!("{CONNECTIONS}|{}", CONNECTIONS + KEYS.len()), "{server:?}");
    }
}

const OWN: &str = "'succeeded', NULL::timestamptz, now(), 0, NULL::timestamptz, 9, NULL::jsonb, NULL::jsonb";

/// Every single write of eight connections counts.
#[test]
fn no_write_is_lost() {
    if !servers().contains(&Server::NullsNotDistinct) {
        return;
    }
    let db = migrated(Server::NullsNotDistinct);
    let sql = "INSERT INTO weather_forecast_steps AS s (run_id, miner_uid, miner_hotkey, step_name, status, retry_count)
               VALUES (1, 7, 'hk7', 'day1', 'in_progress', 1)
               ON CONFLICT (run_id, miner_uid, step_name, substep, lead_hours) DO UPDATE SET retry_count = s.retry_count + 1";
    block_on(async {
        let writers = (0..CONNECTIONS).map(|_| async {
            let mut connection = db.connect().await;
            for _ in 0..50 {
                write(&mut connection, sql.to_owned()).await;
            }
        });
        futures_util::future::join_all(writers).await;
    });
    assert_eq!(db.psql("SELECT count(*), max(retry_count) FROM weather_forecast_steps"), "1|400");
}

/// What the migrations do where NULLS NOT DISTINCT is not known.
const FOURTEEN: [&str; 3] = [
    include_str!("../migrations/phase1/0103_one_row_per_step.sql"),
    include_str!("../migrations/phase1/0104_merge_duplicate_steps.sql"),
    include_str!("../migrations/phase1/0107_steps_null_key.sql"),
];

/// The validator is not stopped for the migration: its writers, prepared statements and all, see no error while it runs.
#[test]
fn writers_go_on_while_the_migration_runs() {
    for &server in servers() {
        let db = unmigrated();
        for _ in 0..20 {
            db.execute(&start(KEYS[0], "2025-01-01T01:00Z"));
        }
        let done = AtomicBool::new(false);
        block_on(async {
            let writers = (0..CONNECTIONS).map(|writer| go_on_writing(&db, writer, &done));
            let migration = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if server == Server::NullsNotDistinct || !nulls_not_distinct() {
                    recount::internals::schema::migrate(&db.url(), STANDALONE).await.unwrap();
                } else {
                    let mut connection = db.connect().await;
                    for file in FOURTEEN {
                        write(&mut connection, file.to_owned()).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                done.store(true, Ordering::Relaxed);
            };
            tokio::join!(futures_util::future::join_all(writers), migration);
        });
        let keys =
            "SELECT count(*), count(DISTINCT (run_id, miner_uid, step_name, substep, lead_hours)) FROM weather_forecast_steps";
        assert_eq!(db.psql(keys), "5|5", "{server:?}");
    }
}

async fn go_on_writing(db: &Database<'_>, writer: usize, done: &AtomicBool) {
    let mut connection = db.connect().await;
    let mut round = writer;
    while !done.load(Ordering::Relaxed) {
        let at = format!("2025-01-01T01:{:02}:{writer:02}Z", round % 60);
        let sql = [start, fail, succeed][round % 3](KEYS[round % KEYS.len()], &at);
        // A prepared statement, whose plan may be older than the index.
        let sent = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await;
        sent.unwrap_or_else(|error| panic!("writer {writer}, round {round}: {error}"));
        round += 1;
    }
}

/// Expected by hand from rule I7: the latest by (coalesce(completed_at, started_at), id) with the first start and the most retries.
#[test]
fn what_piled_up_is_merged_by_the_rule() {
    let db = unmigrated();
    db.execute(
        "INSERT INTO weather_forecast_steps (id, run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status,
            started_at, completed_at, retry_count, error_json, job_id)
         SELECT id, 1, 7, 'hk7', step_name, substep, lead_hours, status,
            started_at::timestamptz, completed_at::timestamptz, retry_count, error_json, job_id
         FROM (VALUES
            -- start and end became two rows: the end stays, and takes over the start
            (11, 'query', 'fetch', NULL, 'in_progress', '2025-01-01 01:00Z', NULL, 3, NULL::jsonb, 1),
            (12, 'query', 'fetch', NULL, 'succeeded', NULL, '2025-01-01 02:00Z', 0, NULL, NULL),
            -- the latest is not the last one written
            (21, 'inference', 'poll', NULL, 'failed', '2025-01-01 05:00Z', '2025-01-01 09:00Z', 0, '{\"error\": \"x\"}', NULL),
            (22, 'inference', 'poll', NULL, 'in_progress', '2025-01-01 08:00Z', NULL, 2, NULL, NULL),
            -- no time at all is the earliest; of two such, the greater id
            (31, 'day1', NULL, NULL, 'in_progress', '2025-01-01 01:00Z', NULL, 0, NULL, NULL),
            (32, 'day1', NULL, NULL, 'pending', NULL, NULL, 1, NULL, NULL),
            (41, 'seed', NULL, NULL, 'pending', NULL, NULL, 0, NULL, NULL),
            (42, 'seed', NULL, NULL, 'queued', NULL, NULL, 0, NULL, NULL),
            -- equal times: the greater id; lead 0 and lead NULL and '' are three steps
            (51, 'era5', 'score', 0, 'succeeded', NULL, '2025-01-01 04:00Z', 0, NULL, NULL),
            (52, 'era5', 'score', NULL, 'failed', NULL, '2025-01-01 04:00Z', 0, NULL, NULL),
            (53, 'era5', 'score', NULL, 'succeeded', NULL, '2025-01-01 04:00Z', 0, NULL, NULL),
            (54, 'era5', '', NULL, 'succeeded', NULL, '2025-01-01 04:00Z', 0, NULL, NULL),
            (55, 'era5', '', 0, 'succeeded', NULL, '2025-01-01 04:00Z', 0, NULL, NULL)
         ) AS v (id, step_name, substep, lead_hours, status, started_at, completed_at, retry_count, error_json, job_id)",
    );
    // Jobs point at steps, and would go with them.
    db.execute(
        "ALTER TABLE validator_jobs ADD step_id bigint REFERENCES weather_forecast_steps (id) ON DELETE CASCADE;
         INSERT INTO validator_jobs (job_type, step_id) SELECT 'of ' || s, s FROM unnest('{11,12,22,31,51}'::bigint[]) s",
    );
    migrate(&db);

    let kept = db.psql(
        "SELECT id, status, extract(hour FROM started_at), extract(hour FROM completed_at), retry_count, error_json, job_id
         FROM weather_forecast_steps ORDER BY id",
    );
    let expected = [
        "12|succeeded|1|2|3|∅|∅",
        r#"21|failed|5|9|2|{"error": "x"}|∅"#,
        "31|in_progress|1|∅|1|∅|∅",
        "42|queued|∅|∅|0|∅|∅",
        "51|succeeded|∅|4|0|∅|∅",
        "53|succeeded|∅|4|0|∅|∅",
        "54|succeeded|∅|4|0|∅|∅",
        "55|succeeded|∅|4|0|∅|∅",
    ];
    assert_eq!(kept, expected.join("\n"));
    let jobs = db.psql("SELECT job_type, step_id FROM validator_jobs WHERE job_type LIKE 'of%' ORDER BY id");
    assert_eq!(jobs, "of 11|12\nof 12|12\nof 22|21\nof 31|31\nof 51|51");
}
