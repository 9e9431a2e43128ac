//! Corrections against the plain way: `cargo bench --bench correct`.
//!
//! By default 79 runs × 256 miners, five wrong cells in each of 20,224 rows: `RUNS`, `MINERS` and `LEADS` in the environment change
//! that. recount's time is one figure for all it does: evidence compared, cells guarded, written down, updated, read back, committed.
//! Beside it, in the same run on the same server: one UPDATE for each cell, prepared, on one connection, in one transaction; and one
//! for each row. These compare, guard, and write down nothing. Both ways lead to the same bytes, whose digest is shown.

#[path = "../tests/support/cluster.rs"]
#[allow(dead_code)]
mod cluster;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use cluster::Cluster;
use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The columns that are wrong in every row: those whose evidence is there, since what cannot be checked is not corrected (D6).
const COLUMNS: [&str; 5] =
    ["forecast_score_initial", "era5_combined_score", "era5_completeness", "overall_forecast_score", "era5_score_24h"];

struct Bench {
    url: String,
    leads: String,
    connection: PgConnection,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if support::is_filtered_out("correct") {
        return;
    }
    let small = support::is_small();
    let given = |name: &str, default: &str, tiny: &str| {
        if small { tiny.to_owned() } else { std::env::var(name).unwrap_or_else(|_| default.to_owned()) }
    };
    let (runs, miners) = (given("RUNS", "79", "3"), given("MINERS", "256", "4"));
    let leads = given("LEADS", "24,48,72,96,120,144,168,192,216,240", "24");
    let cluster = Cluster::start();
    let url = cluster.url("postgres");
    let connection = PgConnection::connect(&url).await.expect("the server");
    let mut bench = Bench { url, leads, connection };
    bench.recount(&["migrate", "--standalone", "--database-url", &bench.url.clone()], 0);
    let url = bench.url.clone();
    let size =
        ["--runs", &runs, "--miners", &miners, "--seed", "1", "--leads", &bench.leads.clone(), "--complete", "--no-components"];
    bench.recount(&[&["generate", "--database-url", &url][..], &size].concat(), 0);
    bench.recount(&["reconcile", "--apply", "--max-fraction", "1"], 0);
    bench.run().await;
}

impl Bench {
    async fn run(&mut self) {
        self.execute("CREATE TABLE right_values AS SELECT * FROM weather_forecast_stats").await;
        let right = self.digest().await;
        self.spoil().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let diff = folder.path().join("diff");
        let diff = diff.to_str().expect("a path in UTF-8");
        self.recount(&["diff", "--out", diff], 1);

        let (wall, report) = self.recount(&["apply", diff, "--max-fraction", "1", "--format", "json"], 0);
        let counts = &report["corrections"]["tables"]["weather_forecast_stats"];
        let (cells, rows) = (counts["cells"].as_u64().expect("cells"), counts["updated"].as_u64().expect("rows"));
        assert_eq!(self.digest().await, right, "recount gave other values");
        println!("{cells} cells in {rows} rows, digest {right}");
        line("recount apply", wall, wall, cells);
        let job = report["corrections"]["job"].as_str().expect("a job").to_owned();
        let (undo, _) = self.recount(&["undo", &job, "--format", "json"], 0);
        line("recount undo", undo, wall, cells);
        for (what, columns) in [("one UPDATE a cell", 1), ("one UPDATE a row", COLUMNS.len())] {
            self.spoil().await;
            let took = self.plain(columns).await;
            assert_eq!(self.digest().await, right, "{what} gave other values");
            line(what, took, wall, cells);
        }
    }

    /// Makes five cells of each row wrong, and the table as it is after any night.
    async fn spoil(&mut self) {
        let wrong = COLUMNS.map(|column| format!("{column} = coalesce({column}, 0) + 1")).join(", ");
        let back = COLUMNS.map(|column| format!("{column} = r.{column}")).join(", ");
        self.execute(&format!("UPDATE weather_forecast_stats t SET {back} FROM right_values r WHERE r.id = t.id")).await;
        self.execute(&format!("UPDATE weather_forecast_stats SET {wrong}")).await;
        self.execute("VACUUM (FULL, ANALYZE) weather_forecast_stats").await;
    }

    /// Single-row UPDATEs of this many columns each, prepared once, in one transaction.
    async fn plain(&mut self, columns: usize) -> Duration {
        type Row = (i32, String, Vec<Option<f64>>);
        let values = COLUMNS.join(", ");
        let read =
            AssertSqlSafe(format!("SELECT miner_uid, forecast_run_id::text, ARRAY[{values}] FROM right_values ORDER BY id"));
        let rows: Vec<Row> = sqlx::query_as(read).fetch_all(&mut self.connection).await.expect("the right values");
        let start = Instant::now();
        let mut transaction = self.connection.begin().await.expect("a transaction");
        for (miner, run, values) in &rows {
            for (names, values) in COLUMNS.chunks(columns).zip(values.chunks(columns)) {
                let sets = names.iter().zip(3..).map(|(name, at)| format!("{name} = ${at}")).collect::<Vec<_>>().join(", ");
                let update = format!(
                    "UPDATE weather_forecast_stats SET {sets}, updated_at = now() WHERE miner_uid = $1 AND forecast_run_id = $2"
                );
                let query = sqlx::query(AssertSqlSafe(update)).bind(miner).bind(run);
                let query = values.iter().fold(query, |query, value| query.bind(*value));
                query.execute(&mut *transaction).await.expect("an update");
            }
        }
        transaction.commit().await.expect("a commit");
        start.elapsed()
    }

    async fn digest(&mut self) -> String {
        let values = COLUMNS.map(|column| format!("float8send({column})::text")).join(" || ',' || ");
        let sql =
            format!("SELECT left(md5(string_agg(coalesce({values}, ''), ';' ORDER BY id)), 16) FROM weather_forecast_stats");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await.expect("a digest")
    }

    async fn execute(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.connection)
            .await
            .unwrap_or_else(|e| panic!("{e}\nin {sql}"));
    }

    fn recount(&self, args: &[&str], status: i32) -> (Duration, Json) {
        let start = Instant::now();
        let mut recount = Command::new(env!("CARGO_BIN_EXE_recount"));
        recount.env("DATABASE_URL", &self.url).env("RECOUNT_EXPECTED_LEADS", &self.leads);
        let output = recount.args(args).output().expect("the program starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "recount {args:?}:\n{told}");
        (start.elapsed(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }
}

fn line(what: &str, took: Duration, recount: Duration, cells: u64) {
    let seconds = took.as_secs_f64();
    let ratio = seconds / recount.as_secs_f64();
    println!("{what:<20} {seconds:>9.3} s {:>12.0} cells/s {ratio:>8.2} × recount apply", cells as f64 / seconds);
}
