//! A night that reads only what changed, against one that reads everything: `cargo bench --bench incremental`.
//!
//! By default 365 runs × 256 miners, 25 M scores, of which the last 15 runs are open: `RUNS`, `MINERS`, `OPEN` and `ROUNDS` in the
//! environment change that. Two kinds of nights: one in which nothing was written, and one after a day's work, in which a run came
//! in, the oldest went, and the open ones were worked on. Each prints the medians, their ratio, and both digests, which are one.

#[path = "../tests/support/cluster.rs"]
#[allow(dead_code)]
mod cluster;
mod support;

use std::process::Command;
use std::time::Instant;

use cluster::Cluster;
use serde_json::Value as Json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

struct Bench {
    url: String,
    state: tempfile::TempDir,
    /// The time at which exactly the wanted number of runs are open.
    now: String,
    connection: PgConnection,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if support::is_filtered_out("incremental") {
        return;
    }
    let small = support::is_small();
    let number = |name: &str, default: u32, tiny: u32| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        if small { tiny } else { given.unwrap_or(default) }
    };
    let (runs, miners, open) = (number("RUNS", 365, 8), number("MINERS", 256, 4), number("OPEN", 15, 2));
    let rounds = number("ROUNDS", 5, 1);
    let cluster = Cluster::start();
    let url = cluster.url("postgres");
    let connection = PgConnection::connect(&url).await.expect("the server");
    let mut bench = Bench { url, state: tempfile::tempdir().expect("a temporary folder"), now: String::new(), connection };
    bench.recount(&["migrate", "--standalone", "--database-url", &bench.url]);
    let size = [runs.to_string(), miners.to_string()];
    let size = ["--runs", &size[0], "--miners", &size[1], "--seed", "1", "--no-components"];
    bench.recount(&[&["generate", "--database-url", &bench.url][..], &size].concat());
    bench.execute("VACUUM ANALYZE").await;
    // Ten days of leads, five until ERA5 is there, six hours for scoring.
    let now = format!(
        "SELECT to_char(max(init + interval '366 hours') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM
         (SELECT gfs_init_time_utc AS init FROM weather_forecast_runs ORDER BY 1 LIMIT {}) closed",
        runs - open
    );
    bench.now = bench.text(&now).await;
    println!("{runs} runs × {miners} miners, {open} open; medians of {rounds}");
    println!("{:<24} {:>10} {:>12} {:>8}  digests", "", "full, s", "read less, s", "ratio");
    bench.reconcile(&["--full"]);
    bench.nights("nothing was written", rounds, None).await;
    bench.nights("after a day's work", rounds, Some(runs as i32)).await;
}

impl Bench {
    /// Some nights of a kind. After a day's work, `runs` is the number of runs that there were at first.
    async fn nights(&mut self, what: &str, rounds: u32, runs: Option<i32>) {
        let (mut full, mut less, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=rounds as i32 {
            if let Some(runs) = runs {
                self.day(runs, round).await;
            }
            let (seconds, read) = self.reconcile(&["--incremental"]);
            less.push(seconds);
            let (seconds, whole) = self.reconcile(&[]);
            full.push(seconds);
            for part in ["digest", "tables", "findings", "patterns"] {
                assert_eq!(read[part], whole[part], "{what}: {part}");
            }
            assert_ne!(read["snapshot"]["rows"], whole["snapshot"]["rows"], "{what}: everything was read");
            digests = [read, whole].map(|report| report["digest"].as_str().unwrap_or_default()[..12].to_owned()).to_vec();
        }
        let median = |mut seconds: Vec<f64>| {
            seconds.sort_by(f64::total_cmp);
            seconds[seconds.len() / 2]
        };
        let (full, less) = (median(full), median(less));
        println!("{what:<24} {full:>10.3} {less:>12.3} {:>8.4}  {}", less / full, digests.join(" "));
    }

    /// What a validator does in a day.
    async fn day(&mut self, runs: i32, round: i32) {
        let new = include_str!("../tests/support/new_run.sql");
        // A run of the second half: the first ones go.
        let new = new.replace("OLD", &(runs / 2 + round).to_string()).replace("NEW", &(runs + round).to_string());
        let open =
            format!("SELECT id FROM weather_forecast_runs WHERE gfs_init_time_utc + interval '366 hours' > '{}'", self.now);
        self.execute(&new).await;
        self.execute(&format!("DELETE FROM weather_forecast_runs WHERE id = {round}")).await;
        self.execute(&format!("UPDATE weather_forecast_steps SET retry_count = retry_count + 1 WHERE run_id IN ({open})")).await;
        self.execute(&format!("UPDATE weather_miner_responses SET retry_count = 1 WHERE run_id IN ({open})")).await;
        self.execute(&format!("UPDATE weather_forecast_stats SET updated_at = now() WHERE run_id IN ({open})")).await;
        let scored = "UPDATE weather_miner_scores SET score = score * 0.99, calculation_time = now() WHERE lead_hours = 24";
        self.execute(&format!("{scored} AND run_id IN ({open})")).await;
        // The server counts what a session did by the time that it leaves.
        let again = PgConnection::connect(&self.url).await.expect("the server");
        std::mem::replace(&mut self.connection, again).close().await.expect("a session that ends");
        self.execute("SELECT pg_sleep(1)").await;
    }

    fn reconcile(&self, args: &[&str]) -> (f64, Json) {
        let state = self.state.path().to_str().expect("a path in UTF-8");
        let state: &[&str] = if args.is_empty() { &[] } else { &["--state", state] };
        let common = ["reconcile", &self.url, "--snapshot-time", &self.now, "--format", "json"];
        let start = Instant::now();
        let stdout = self.recount(&[&common[..], args, state].concat());
        let seconds = start.elapsed().as_secs_f64();
        (seconds, serde_json::from_slice(&stdout).expect("a report in JSON"))
    }

    fn recount(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new(env!("CARGO_BIN_EXE_recount")).args(args).output().expect("the program starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}\n{told}");
        output.stdout
    }

    async fn execute(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await.expect("a statement that works");
    }

    async fn text(&mut self, sql: &str) -> String {
        let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.connection).await;
        row.expect("a statement that works").get(0)
    }
}
