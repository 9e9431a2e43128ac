//! Keys where questions need them: columns that follow from other rows, and spare a question a join.

use std::path::Path;

use serde_json::Value as Json;

use crate::support::python::answer;
use crate::support::{conformance, database, recount};

use super::{archived_sample, files, forge};

fn counted(dest: &str) -> Json {
    answer(include_str!("keys.py"), Path::new(dest), &[dest])
}

fn check(found: &Json) {
    for table in ["lead_scores", "subnet", "scores"] {
        assert_eq!(found[format!("{table} otherwise")], 0, "{table}: {found}");
        assert!(found[table].as_u64() > Some(0), "{table}: {found}");
    }
}

#[test]
fn they_are_those_of_the_rows_that_they_come_from() {
    let (_folder, dest) = archived_sample();
    let found = counted(&dest);
    check(&found);
    assert_eq!((&found["metrics"], &found["gone"], &found["here"]), (&5.into(), &0.into(), &10.into()));

    // Names that no rule knows, runs that were seeded again, hotkeys that changed.
    let folder = tempfile::tempdir().unwrap();
    let messy = folder.path().join("messy").to_str().unwrap().to_owned();
    let db = database();
    conformance::load(&db, "small");
    recount(["archive", &db.url(), "--to", &messy]).run().succeeds();
    check(&counted(&messy));
}

#[test]
fn a_run_that_the_database_no_longer_has_is_marked_and_nothing_else_of_its_day_is_written_again() {
    let db = database();
    let url = db.url();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "6", "--miners", "3", "--seed", "3", "--no-components", "--database-url", &url])
        .run()
        .succeeds();
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    let before = files(&dest);
    // Runs that were not asked for are no runs that are gone.
    recount(["archive", &url, "--to", &dest, "--runs", "5..6"]).run().succeeds();
    assert_eq!(counted(&dest)["gone"], 0);
    db.execute("DELETE FROM weather_forecast_runs WHERE id <= 4");
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    recount(["verify", &dest]).run().succeeds();
    let found = counted(&dest);
    check(&found);
    assert_eq!((&found["gone"], &found["here"]), (&4.into(), &2.into()));
    let after = files(&dest);
    for table in ["scores", "lead_scores", "responses", "weather_forecast_stats"] {
        let of_table = |files: &std::collections::BTreeMap<String, Vec<u8>>| -> Vec<String> {
            files.keys().filter(|name| name.starts_with(&format!("{table}/"))).cloned().collect()
        };
        assert_eq!(of_table(&after), of_table(&before), "{table}");
    }
}

/// Writes a file again, row group by row group, with what a statement of Python makes of each.
const FORGER: &str = r#"
import json, sys, pyarrow as pa, pyarrow.parquet as pq, pyarrow.compute as pc
path, change = sys.argv[1], sys.argv[2]
source = pq.ParquetFile(path)
groups = [source.read_row_group(at) for at in range(source.num_row_groups)]
forge = eval(change)
with pq.ParquetWriter(path, groups[0].schema, compression='zstd') as writer:
    for group in groups:
        writer.write_table(forge(group))
print(json.dumps(True))
"#;

#[test]
fn verify_names_keys_that_were_forged_with_all_hashes() {
    let (_folder, dest) = archived_sample();
    let column = |name: &str, value: &str| {
        format!("lambda t: t.set_column(t.schema.get_field_index('{name}'), t.schema.field('{name}'), {value})")
    };
    let forgeries = [
        ("lead_scores", "column placed", column("placed", "pc.invert(t['placed'])")),
        ("lead_scores", "column miner_hotkey", column("miner_hotkey", "pa.array(['5x'] * t.num_rows)")),
        ("scores", "metric or variable", column("metric", "pa.array(['acc'] * t.num_rows)")),
        ("scores", "metric or variable", column("variable", "pc.utf8_upper(t['variable'])")),
        ("runs", "column retained", column("retained", "pc.invert(t['retained'])")),
        ("weather_subnet_stats", "column forecast_run_id", column("forecast_run_id", "pa.array(['forecast'] * t.num_rows)")),
    ];
    for (table, named, change) in forgeries {
        let name = files(&dest).into_keys().find(|name| name.starts_with(&format!("{table}/"))).unwrap();
        let path = Path::new(&dest).join(&name);
        let whole = std::fs::read(&path).unwrap();
        let put = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            forge(&dest, |manifest, _| {
                manifest["files"][&name]["bytes"] = content.len().into();
                manifest["files"][&name]["blake3"] = blake3::hash(content).to_hex().to_string().into();
            });
        };
        answer(FORGER, Path::new(&dest), &[path.to_str().unwrap(), &change]);
        put(&std::fs::read(&path).unwrap());
        recount(["verify", &dest]).run().ends_with(1).stdout_has(&format!("{table}/")).stdout_has(named);
        put(&whole);
    }
    recount(["verify", &dest]).run().succeeds();
}
