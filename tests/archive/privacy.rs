//! No address, port, path, token or traceback is in any file of an archive, wherever in the database it was put.

use std::sync::Arc;

use arrow::array::AsArray;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{conformance, database, recount};

use super::files;

/// Texts that nobody may find again. Each is put into the sentences below.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        (11u8..250, 11u8..250, 11u8..250, 11u8..250).prop_map(|(a, b, c, d)| format!("{a}.{b}.{c}.{d}")),
        (1u16..0xffff, 1u16..0xffff).prop_map(|(a, b)| format!("2001:db8::{a:x}:{b:x}")),
        "[a-z]{8}\\.[a-z]{6}\\.(net|org)".prop_map(|host| format!("{host}:8443")),
        "/home/[a-z]{8}/\\.secrets/".prop_map(|path| path),
        "[A-Za-z0-9]{24}".prop_map(|token| format!("token={token}")),
    ]
}

/// What must not be found: the part of a secret that tells something.
fn telling(secret: &str) -> String {
    let part = secret.strip_prefix("token=").unwrap_or(secret);
    part.trim_end_matches(":8443").trim_matches('/').to_owned()
}

/// Everything that is in a file: its bytes, its pages after decompression, and its texts as a reader has them.
fn contents(file: &[u8]) -> Vec<u8> {
    let mut found = file.to_vec();
    if !file.starts_with(b"PAR1") {
        return found;
    }
    let file = Bytes::copy_from_slice(file);
    let reader = SerializedFileReader::new(file.clone()).unwrap();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).unwrap();
        for column in 0..group.num_columns() {
            let mut pages = group.get_column_page_reader(column).unwrap();
            while let Some(page) = pages.get_next_page().unwrap() {
                found.extend_from_slice(page.buffer());
            }
        }
    }
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        for column in batch.unwrap().columns() {
            let texts = column.as_string_opt::<i32>().into_iter().flatten().flatten();
            texts.for_each(|text| found.extend_from_slice(text.as_bytes()));
        }
    }
    found
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn no_secret_is_found_in_any_page() {
    let db = database();
    conformance::load(&db, "leads");
    let db = Arc::new(db);
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let plant = (secret(), secret(), secret(), secret());
    TestRunner::new(config)
        .run(&plant, |(a, b, c, d)| {
            let secrets = [&a, &b, &c, &d];
            for statement in planted(secrets) {
                db.execute(&statement);
            }
            let folder = tempfile::tempdir().unwrap();
            let dest = folder.path().join("archive").to_str().unwrap().to_owned();
            let run = recount(["archive", &db.url(), "--to", &dest]).run().succeeds();
            for (name, content) in files(&dest) {
                let content = contents(&content);
                for secret in secrets.map(|secret| telling(secret)) {
                    prop_assert!(!holds(&content, &secret), "{secret} is in {name}");
                    prop_assert!(!run.stdout.contains(&secret) && !run.stderr.contains(&secret));
                }
                prop_assert!(!holds(&content, "Traceback") && !holds(&content, "SECRETKEY"), "{name}");
            }
            recount(["verify", &dest]).run().succeeds();
            Ok(())
        })
        .unwrap();
}

/// Secrets in every text and JSON column of every table.
fn planted([a, b, c, d]: [&String; 4]) -> Vec<String> {
    let message = format!("fetch of http://{a}/x failed, {b} refused, see {c} with {d}");
    let error =
        format!(r#"{{"type": "Error {a}", "message": "{message}", "traceback": "Traceback SECRETKEY {b}", "at": "{c}"}}"#);
    vec![
        format!("UPDATE node_table SET ip = '{a}', coldkey = '{d}', ip_type = '{b}'"),
        format!("UPDATE weather_forecast_runs SET error_message = '{message}', gfs_input_metadata = '{{\"from\": \"{c}\"}}'"),
        format!(
            "UPDATE weather_miner_responses SET error_message = '{message}', kerchunk_json_url = 'https://{a}/k', job_id = '{d}',
             target_netcdf_url_template = '{c}', kerchunk_json_retrieved = '{{\"SECRETKEY\": \"{b}\"}}'"
        ),
        format!("UPDATE weather_miner_responses SET status = left('at {a}', 50) WHERE id % 5 = 0"),
        format!("UPDATE weather_miner_scores SET metrics = '{error}', error_message = '{message}'"),
        format!("UPDATE weather_miner_scores SET score_type = left('x {b} ', 40) || id WHERE id % 17 = 0"),
        format!("UPDATE weather_miner_scores SET variable_level = left('on {a} ', 40) || id WHERE id % 19 = 0"),
        format!("UPDATE weather_forecast_steps SET error_json = '{error}', context = '{error}'"),
        format!(
            "UPDATE weather_forecast_steps SET step_name = left('{a}', 32), substep = left('via {a} ', 50) || id WHERE id % 7 = 0"
        ),
        format!("UPDATE weather_forecast_stats SET last_error_message = '{message}', forecast_error_msg = '{error}'"),
        format!("UPDATE weather_forecast_stats SET current_forecast_stage = 'at {a}', forecast_input_sources = '{error}'"),
        format!("UPDATE miner_stats SET common_errors = '{{\"timeout at {a}\": 3}}', error_rate_by_type = '{{\"{b}\": 0.5}}'"),
    ]
}
