//! Reading beside archivings.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::python::answer;
use crate::support::recount;
use crate::support::repository::{blocks, read as read_page};

use super::{archived_sample, files, sample};

/// How many archivings change what readers read.
const ARCHIVINGS: usize = 50;
const RUNS: usize = 3;
const MINERS: usize = 3;

/// Reads over and over. `round` is the archiving after which a read began, `done` that of the last read that ended.
fn read(round: &AtomicUsize, done: &AtomicUsize, stop: &AtomicBool, once: impl Fn()) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::SeqCst) {
        let begun = round.load(Ordering::SeqCst);
        once();
        reads += 1;
        done.store(begun, Ordering::SeqCst);
    }
    reads
}

#[test]
fn a_reader_beside_archivings_meets_no_missing_file_and_counts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (source, dest, stopped) = (at("source"), at("archive"), at("stop"));
    let (miners, rows) = (MINERS.to_string(), (RUNS * MINERS).to_string());
    let recipe = blocks(&read_page("docs/analysts.md"), "py").into_iter().find(|text| text.contains("def count")).unwrap();
    recount(["generate", "--runs", &RUNS.to_string(), "--miners", &miners, "--seed", "6", "--no-components", "--out", &source])
        .run()
        .succeeds();
    // Two encodings by turns: every file with doubles, evidence and results, is another each time, with the same rows.
    let archive = |turn: usize| {
        recount(["archive", &source, "--to", &dest, "--encoding", ["plain", "compact"][turn % 2]]).run().succeeds();
    };
    let digest = || recount(["reconcile", &dest, "--format", "json"]).run().json()["digest"].clone();
    archive(1);
    let expected = digest();

    let (round, stop) = (AtomicUsize::new(1), AtomicBool::new(false));
    let done = [const { AtomicUsize::new(0) }; 2];
    // By the archive as a source, and by SQL.
    let reconcile = || assert_eq!(digest(), expected);
    let count = "SELECT count(*) AS n, count(DISTINCT miner_uid) AS miners FROM weather_forecast_stats";
    let query = || {
        if cfg!(feature = "query") {
            let run = recount(["query", &dest, count, "--format", "csv"]).run().succeeds();
            assert_eq!(run.stdout, format!("n,miners\n{},{MINERS}\n", RUNS * MINERS));
        }
    };
    std::thread::scope(|scope| {
        let readers =
            [scope.spawn(|| read(&round, &done[0], &stop, reconcile)), scope.spawn(|| read(&round, &done[1], &stop, query))];
        let duckdb =
            scope.spawn(|| answer(include_str!("meanwhile.py"), folder.path(), &[&dest, &stopped, &rows, &miners, &recipe]));
        for turn in 0..ARCHIVINGS {
            archive(turn);
            let now = round.fetch_add(1, Ordering::SeqCst) + 1;
            // A file stays until the next archiving: no read here goes on longer than that.
            while done.iter().any(|done| done.load(Ordering::SeqCst) < now) && readers.iter().all(|reader| !reader.is_finished())
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        stop.store(true, Ordering::SeqCst);
        fs::write(&stopped, "").unwrap();
        for reader in readers {
            let reads = reader.join().expect("a reader that met nothing wrong");
            assert!(reads >= ARCHIVINGS, "{reads} reads");
        }
        let seen = duckdb.join().expect("DuckDB met nothing wrong");
        assert_eq!(seen["wrong"], serde_json::json!([]), "{seen}");
        assert!(seen["reads"].as_u64() > Some(20), "{seen}");
    });
    recount(["verify", &dest]).run().succeeds();
}

/// What the last archiving replaced.
fn replaced(dest: &str) -> Vec<String> {
    files(dest).into_keys().filter_map(|name| name.strip_prefix("_replaced/").map(str::to_owned)).collect()
}

#[test]
fn what_was_replaced_stays_until_the_next_archiving_and_is_held_to_its_hash() {
    let (_folder, dest) = archived_sample();
    let before = files(&dest);
    recount(["archive", &sample(), "--to", &dest, "--era5-weight", "0.5"]).run().succeeds();
    let after = files(&dest);
    let gone: Vec<String> = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
    let some = gone.last().unwrap();
    assert!(some.ends_with(".parquet") && gone.iter().any(|name| name.contains("/sheet-")), "{gone:?}");
    assert_eq!(replaced(&dest), gone, "and nowhere else, where a pattern would meet it beside what replaced it");
    assert!(gone.iter().all(|name| after[&format!("_replaced/{name}")] == before[name]));
    recount(["verify", &dest]).run().succeeds();
    // An archiving that changes nothing leaves it where it is.
    recount(["archive", &sample(), "--to", &dest, "--era5-weight", "0.5"]).run().succeeds();
    assert_eq!(replaced(&dest), gone);

    let name = format!("_replaced/{some}");
    let path = Path::new(&dest).join(&name);
    fs::write(&path, b"PAR1").unwrap();
    recount(["verify", &dest]).run().ends_with(1).stdout_has(&name);
    fs::write(&path, &before[some]).unwrap();
    let added = format!("{}-00.parquet", name.rsplit_once('-').unwrap().0);
    fs::write(Path::new(&dest).join(&added), &before[some]).unwrap();
    recount(["verify", &dest]).run().ends_with(1).stdout_has(&added);
    fs::remove_file(Path::new(&dest).join(&added)).unwrap();
    recount(["verify", &dest]).run().succeeds();

    recount(["archive", &sample(), "--to", &dest, "--era5-weight", "0.7"]).run().succeeds();
    assert!(replaced(&dest).iter().all(|name| !gone.contains(name)), "one archiving long");
    // Who lets go of something wants it gone.
    recount(["archive", &sample(), "--to", &dest, "--forget", "1"]).run().succeeds();
    assert_eq!(replaced(&dest), Vec::<String>::new());
    recount(["verify", &dest]).run().succeeds();
}
