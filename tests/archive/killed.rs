//! A job that is killed at any moment leaves the former archive as it was, and the next one completes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::support::recount;

use super::{copy, files, sample};

const KILLS: usize = 50;

/// Every file but the manifests, whose names and links tell of the jobs before, and what these have replaced.
fn tables(dest: &str) -> Vec<(String, String)> {
    let past = |name: &str| ["_manifest/", "_replaced/", "_latest.json"].iter().any(|start| name.starts_with(start));
    let tables = files(dest).into_iter().filter(|(name, _)| !past(name));
    tables.map(|(name, content)| (name, blake3::hash(&content).to_hex().to_string())).collect()
}

#[test]
fn fifty_kills_leave_an_intact_archive_each() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (base, whole) = (place("base"), place("whole"));
    // The former archive: half of the runs, under settings that make every day of results change.
    recount(["archive", &sample(), "--to", &base, "--runs", "1..5", "--era5-weight", "0.5"]).run().succeeds();
    copy(&base, &whole);
    let start = Instant::now();
    recount(["archive", &sample(), "--to", &whole]).run().succeeds();
    // The shortest that was seen: the machine may have been busier at first.
    let mut long = start.elapsed();
    recount(["verify", &whole]).run().succeeds();
    let mut chance = ChaCha8Rng::seed_from_u64(5);
    let (mut cut_off, mut completed) = (0, 0);
    for turn in 0..KILLS {
        let dest = place(&format!("turn-{turn}"));
        copy(&base, &dest);
        let mut job = recount(["archive", &sample(), "--to", &dest]);
        let mut child = job.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Publishing is at the end, and the place to look at most closely.
        let random = f64::from(chance.next_u32()) / f64::from(u32::MAX);
        let share = if turn % 2 == 0 { random } else { 0.7 + 0.35 * random };
        std::thread::sleep(long.mul_f64(share).min(Duration::from_secs(60)));
        child.kill().unwrap();
        let killed = !child.wait().unwrap().success();
        if killed {
            cut_off += 1
        } else {
            completed += 1
        }
        recount(["verify", &dest]).run().succeeds().stdout_has("Intact");
        let start = Instant::now();
        recount(["archive", &sample(), "--to", &dest]).run().succeeds();
        long = long.min(start.elapsed());
        assert_eq!(tables(&dest), tables(&whole), "turn {turn}: all is there, and nothing is left over");
        std::fs::remove_dir_all(&dest).unwrap();
    }
    assert!(cut_off >= KILLS / 2, "{cut_off} cut off, {completed} completed");
}
