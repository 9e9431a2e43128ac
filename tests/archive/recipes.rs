//! Recipes of docs/analysts.md beyond a folder on this machine: Spark, buckets, servers over HTTP. And what a query costs there.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::support::python::{answer, answer_with, spark};
use crate::support::recount;
use crate::support::repository::{blocks, read, root};

use super::s3::{DEST, Faults, Server, at, proxy};
use super::{archived_sample, sample};

const SCRIPT: &str = include_str!("recipe.py");

/// Requests for one day of one table: what names the manifest, the manifest, a sheet, and parts of one file. They are no more in a year;
/// polars, which opens every day of the table, takes more even of the few days of the sample.
const MOST_READS: usize = 7;

/// A block of this kind on the page for analysts, by what is in its first line.
fn recipe(kind: &str, first: &str) -> String {
    let blocks = blocks(&read("docs/analysts.md"), kind);
    let found = blocks.into_iter().find(|block| block.lines().next().is_some_and(|line| line.contains(first)));
    found.unwrap_or_else(|| panic!("no {kind} block begins with {first}"))
}

/// One day of the sample, counted from recount's own rollups.
fn one_day() -> Json {
    let (_folder, dest) = archived_sample();
    let sql = "SELECT count(*) AS n, max(skill) AS best FROM lead_scores WHERE init_date = DATE '2025-01-02' AND placed";
    let asked = recount(["query", &dest, sql, "--format", "json"]).run().succeeds();
    let row: Json = serde_json::from_str(&asked.stdout).unwrap();
    assert!(row[0]["n"].as_u64() > Some(0), "{row}");
    serde_json::json!([row[0]["n"], row[0]["best"]])
}

/// What a recipe in Python answers, where these variables are in the environment.
fn answered(recipe: &str, port: u16) -> Json {
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = serde_json::json!({
        "AWS_ENDPOINT": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
    });
    answer(SCRIPT, root(), &[&environment.to_string(), recipe])
}

#[test]
fn the_recipe_for_spark_has_the_answer_of_query() {
    let (folder, _dest) = archived_sample();
    let found = answer_with(&spark(), SCRIPT, folder.path(), &["{}", &recipe("python", "# spark")]);
    assert_eq!(found, one_day());
}

#[test]
fn the_recipes_for_buckets_are_run_and_agree() {
    let server = Server::start();
    let script = recipe("sh", "AWS_ENDPOINT").replace("http://127.0.0.1:9000", &format!("http://127.0.0.1:{}", server.port));
    let mut shell = Command::new("bash");
    let folder = Path::new(env!("CARGO_BIN_EXE_recount")).parent().unwrap();
    let paths = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    shell.args(["-euc", &script]).env("PATH", paths).current_dir(root());
    let output = shell.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = one_day();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().last().unwrap(), format!("{},{}", expected[0], expected[1]));
    for engine in ["polars", "pandas", "duckdb"] {
        assert_eq!(answered(&recipe("python", &format!("# {engine}")), server.port), expected, "{engine}");
    }
}

#[test]
fn a_query_of_one_day_reads_that_day_of_its_table_and_nothing_else() {
    let server = Server::start();
    let faults = Arc::new(Faults::default());
    let port = proxy(server.port, faults.clone());
    at(port, &["archive", &sample(), "--to", DEST]).run().succeeds();
    faults.reads.lock().unwrap().clear();
    let one = "SELECT count(*) AS n, max(skill) AS best FROM lead_scores WHERE init_date = DATE '2025-01-02' AND placed";
    at(port, &["query", DEST, one]).run().succeeds();
    let reads = std::mem::take(&mut *faults.reads.lock().unwrap());
    assert!(reads.len() <= MOST_READS, "{}: {reads:#?}", reads.len());
    // polars with its own recipe, of the same day.
    answered(&recipe("python", "# polars").replace("bucket/validator", &DEST[5..]), port);
    let by_polars = std::mem::take(&mut *faults.reads.lock().unwrap());
    assert!(by_polars.iter().any(|read| read.contains("2025-01-02")), "{by_polars:#?}");
    assert!(reads.len() <= by_polars.len(), "{reads:#?}\npolars {by_polars:#?}");
    let of_tables: Vec<&String> = reads.iter().filter(|read| !read.contains("_manifest") && !read.contains("_latest")).collect();
    let wanted = |read: &&String| read.contains("/lead_scores/") && read.contains("2025-01-02");
    assert!(!of_tables.is_empty() && of_tables.iter().all(wanted), "{reads:#?}");
}
