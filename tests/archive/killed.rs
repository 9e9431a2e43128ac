//! A job that is killed at any moment leaves the former archive as it was, and the next one completes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::support::recount;

use super::{copy, files, sample};

const KILLS: usize = 50;

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
    let long = start.elapsed();
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
        if killed && turn % 5 == 0 {
            recount(["archive", &sample(), "--to", &dest]).run().succeeds();
            let tables =
                |dest: &str| files(dest).into_iter().filter(|(name, _)| !name.starts_with("_manifest")).collect::<Vec<_>>();
            let names = |dest: &str| tables(dest).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
            assert_eq!(names(&dest), names(&whole), "turn {turn}: nothing is left over");
            recount(["verify", &dest]).run().succeeds();
        }
        std::fs::remove_dir_all(&dest).unwrap();
    }
    assert!(cut_off >= KILLS / 2, "{cut_off} cut off, {completed} completed");
}
