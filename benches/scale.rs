//! The whole program on a validator's history, in PostgreSQL and in a snapshot folder: `cargo bench --bench scale`.
//!
//! By default 100 complete runs × 256 miners, 6.9 M scores: `RUNS`, `MINERS` and `ROUNDS` in the environment change that. Each command
//! runs `ROUNDS` times; medians are shown, the greatest peak memory, and the digest, which is one for all of them.

#[path = "../tests/support/cluster.rs"]
#[allow(dead_code)]
mod cluster;
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster::Cluster;
use serde_json::Value as Json;

/// One finished run of a program.
struct Run {
    stdout: Vec<u8>,
    wall: Duration,
    peak_bytes: u64,
}

fn main() {
    if support::is_filtered_out("scale") {
        return;
    }
    let small = support::is_small();
    let number = |name: &str, default: u32, tiny: u32| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        if small { tiny } else { given.unwrap_or(default) }
    };
    let (runs, miners, rounds) = (number("RUNS", 100, 3), number("MINERS", 256, 4), number("ROUNDS", 5, 1));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let snapshot = folder.path().join("snapshot");
    let (snapshot, cluster) = (snapshot.to_str().expect("a path in UTF-8"), Cluster::start());
    let url = cluster.url("postgres");
    let size = ["--runs".to_owned(), runs.to_string(), "--miners".to_owned(), miners.to_string()];
    let generate = |target: [&str; 2]| {
        let mut args = vec!["generate", "--seed", "1", "--complete", "--no-components"];
        args.extend(size.iter().map(String::as_str));
        args.extend(target);
        recount(&args)
    };
    generate(["--out", snapshot]);
    recount(&["migrate", "--standalone", "--database-url", &url]);
    generate(["--database-url", &url]);

    println!("{runs} runs × {miners} miners, medians of {rounds}");
    println!("{:<28} {:>10} {:>14} {:>10}  digest", "", "seconds", "scores/s", "peak MB");
    let out = folder.path().join("out");
    let out_text = out.to_str().expect("a path in UTF-8");
    measure("export, PostgreSQL", rounds, &["export", &url, "--out", out_text], Some(&out));
    measure("recompute, folder", rounds, &["recompute", snapshot, "--out", out_text], Some(&out));
    measure("reconcile, folder", rounds, &["reconcile", snapshot], None);
    measure("reconcile, folder, 1 thread", rounds, &["reconcile", snapshot, "--threads", "1"], None);
    measure("reconcile, PostgreSQL", rounds, &["reconcile", &url], None);
    copy_to_nowhere(&url, rounds);
}

/// Runs recount some times and prints a line; `out` is removed between the runs.
fn measure(what: &str, rounds: u32, args: &[&str], out: Option<&Path>) {
    let args: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
    let mut runs: Vec<Run> = Vec::new();
    for _ in 0..rounds {
        if let Some(out) = out.filter(|out| out.exists()) {
            std::fs::remove_dir_all(out).expect("the folder of the run before");
        }
        runs.push(recount(&args));
    }
    let report: Json = serde_json::from_slice(&runs[0].stdout).expect("a report in JSON");
    let scores = report["snapshot"]["rows"]["weather_miner_scores"].as_u64().expect("a count of scores");
    let digest = report["digest"].as_str().unwrap_or("-");
    line(what, scores, runs, digest.get(..16).unwrap_or(digest));
}

fn line(what: &str, scores: u64, mut runs: Vec<Run>, digest: &str) {
    let peak = runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
    runs.sort_by_key(|run| run.wall);
    let seconds = runs[runs.len() / 2].wall.as_secs_f64();
    println!("{what:<28} {seconds:>10.3} {:>14.0} {:>10.1}  {digest}", scores as f64 / seconds, peak as f64 / 1e6);
}

/// What an operator would measure against: psql reading the columns of the scores, and dropping them.
fn copy_to_nowhere(url: &str, rounds: u32) {
    let copy = "COPY (SELECT id, response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, \
                variable_level, valid_time_utc FROM weather_miner_scores) TO STDOUT (FORMAT binary)";
    let runs = (0..rounds).map(|_| run(Command::new("psql").args([url, "-c", copy]), &[0])).collect::<Vec<_>>();
    let count = run(Command::new("psql").args([url, "-At", "-c", "SELECT count(*) FROM weather_miner_scores"]), &[0]);
    let scores = String::from_utf8_lossy(&count.stdout).trim().parse().expect("a count");
    line("psql COPY to nowhere", scores, runs.into_iter().map(|run| Run { stdout: Vec::new(), ..run }).collect(), "-");
}

fn recount(args: &[&str]) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_recount")).args(args), &[0, 1])
}

#[expect(clippy::zombie_processes, reason = "`wait` below takes the place of the library's, for the memory that it tells")]
fn run(command: &mut Command, statuses: &[i32]) -> Run {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the program starts");
    let mut stdout = Vec::new();
    std::io::copy(&mut child.stdout.take().expect("a pipe"), &mut Bounded(&mut stdout)).expect("its output");
    let (status, peak_bytes) = wait(child.id());
    assert!(statuses.contains(&status), "{command:?} ended with {status}");
    Run { stdout, wall: start.elapsed(), peak_bytes }
}

/// Keeps a report, and lets gigabytes of data pass by.
struct Bounded<'b>(&'b mut Vec<u8>);

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        const REPORT_BYTES_MAX: usize = 1 << 24;
        if self.0.len() < REPORT_BYTES_MAX {
            self.0.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Exit status and peak memory of a child: only the system's own account of it has the latter.
fn wait(pid: u32) -> (i32, u64) {
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    // SAFETY: both pointers are to locals that outlive the call, and the child is ours and not yet waited for.
    let waited = unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, 0, &raw mut usage) };
    assert_eq!(waited, pid as libc::pid_t);
    (libc::WEXITSTATUS(status), usage.ru_maxrss as u64 * 1024)
}
