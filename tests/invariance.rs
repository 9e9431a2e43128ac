//! The same bits whatever the threads, the connections, the order of rows in the tables, or the source.

use serde_json::Value as Json;

use crate::conformance::settings;
use crate::support::{self, Database, conformance, recount};

/// The digest of a run with these options.
fn digest(source: &str, toml: &str, options: &[&str]) -> String {
    let args = ["reconcile", source, "--format", "json"].into_iter().chain(options.iter().copied());
    let run = recount(args).file("recount.toml", toml).run().ends_with(1);
    let report: Json = run.json();
    report["digest"].as_str().expect("a digest").to_owned()
}

fn shuffle(database: &Database<'_>, seed: &str) {
    for table in ["weather_miner_scores", "weather_forecast_component_scores", "weather_forecast_steps", "weather_forecast_stats"]
    {
        database.execute(&format!(
            "CREATE TEMP TABLE shuffled AS SELECT * FROM {table} ORDER BY md5(id::text || '{seed}');
             TRUNCATE {table};
             INSERT INTO {table} SELECT * FROM shuffled;
             DROP TABLE shuffled"
        ));
    }
}

#[test]
fn the_digest_is_one_whatever_the_threads_connections_order_and_source() {
    let database = support::database();
    conformance::load(&database, "small");
    let toml = settings("small");
    let expected = digest(&database.url(), &toml, &[]);
    for threads in ["1", "2", "3", "8"] {
        for connections in ["1", "2", "4"] {
            let options = ["--threads", threads, "--connections", connections];
            assert_eq!(digest(&database.url(), &toml, &options), expected, "{options:?}");
        }
    }
    let export = recount(["export", &database.url(), "--out", "snapshot"]).run().succeeds();
    let folder = export.folder().join("snapshot");
    for threads in ["1", "2", "3", "8"] {
        assert_eq!(digest(folder.to_str().unwrap(), &toml, &["--threads", threads]), expected, "folder, {threads} threads");
    }
    for seed in ["a", "b"] {
        shuffle(&database, seed);
        assert_eq!(digest(&database.url(), &toml, &[]), expected, "shuffled by {seed}");
    }
    database.execute("UPDATE weather_miner_scores SET score = score + 1e-15 WHERE id = (SELECT min(id) FROM weather_miner_scores WHERE score BETWEEN 0.1 AND 0.9 AND score_type LIKE 'era5_skill%')");
    assert_ne!(digest(&database.url(), &toml, &[]), expected, "another score gives another digest");
}
