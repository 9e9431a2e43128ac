//! Bytes that no writer of ours writes, by the million: `make fuzz`, or `cargo test --test fuzz -- TARGET`.
//!
//! Each target has seeds that are in order, and mutates them. What gives an answer that was not heard before becomes a seed itself,
//! so that mutations come deeper and deeper. An input must not panic, take longer than [`HANG`] or more memory than [`MEMORY_MAX`];
//! the one that does is written to a file, which `FUZZ_INPUT` plays again. `SECONDS` or `INPUTS` in the environment say how much
//! of each target; without them it is as little as shows that nothing is broken.

mod lexer;
mod mutate;
mod targets;
mod watch;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mutate::Draw;
use targets::{Target, targets};

#[global_allocator]
static MEMORY: watch::Counting = watch::Counting;

const HANG: Duration = Duration::from_secs(10);
/// Bytes.
const MEMORY_MAX: usize = 500 << 20;
const SHORT: Duration = Duration::from_secs(1);
/// Seeds that are kept at most.
const SEEDS_MAX: usize = 4096;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<_> = targets().into_iter().filter(|(name, _)| chosen(name)).collect();
    if std::env::args().any(|arg| arg == "--list") {
        return chosen.iter().for_each(|(name, _)| println!("{name}: test"));
    }
    watch::start();
    for (name, make) in chosen {
        let mut target = make();
        match std::env::var_os("FUZZ_INPUT") {
            Some(path) => println!("{name}: {}", target.run(&std::fs::read(path).expect("a file with an input"))),
            None => fuzz(name, target.as_mut()),
        }
    }
}

fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Plays inputs to a target until it is enough.
fn fuzz(name: &'static str, target: &mut dyn Target) {
    let (inputs, seconds) = (given("INPUTS"), given("SECONDS").map(Duration::from_secs));
    let enough = |count: u64, since: Instant| match (inputs, seconds) {
        (Some(inputs), _) => count >= inputs,
        (None, seconds) => since.elapsed() >= seconds.unwrap_or(SHORT),
    };
    let (mut draw, mut seeds) = (Draw::new(given("SEED").unwrap_or(1)), target.seeds());
    let (mut heard, mut count, since) = (HashSet::new(), 0, Instant::now());
    let (mut peak, mut slowest) = (0, Duration::ZERO);
    while !enough(count, since) {
        // The seeds themselves come first.
        let mut input = match usize::try_from(count).ok().filter(|at| *at < seeds.len()) {
            Some(at) => seeds[at].clone(),
            None => draw.mutated(&seeds),
        };
        target.repair(&mut input);
        let began = Instant::now();
        watch::begin(name, &input);
        let answer = catch_unwind(AssertUnwindSafe(|| target.run(&input)));
        let taken = watch::end();
        let Ok(answer) = answer else { watch::fail(name, &input, "it panicked") };
        if taken > MEMORY_MAX {
            watch::fail(name, &input, &format!("it took {} MB", taken >> 20));
        }
        (peak, slowest) = (peak.max(taken), slowest.max(began.elapsed()));
        if heard.insert(kind(&answer)) && seeds.len() < SEEDS_MAX {
            seeds.push(input);
        }
        count += 1;
    }
    println!(
        "{name}: {count} inputs in {:.1} s, {} answers; peak {} kB, slowest {:.2} s",
        since.elapsed().as_secs_f64(),
        heard.len(),
        peak >> 10,
        slowest.as_secs_f64()
    );
}

/// An answer without its numbers and what is quoted in it, of which there are as many as inputs.
fn kind(answer: &str) -> String {
    let plain = answer.split('"').step_by(2).flat_map(str::chars);
    plain.filter(|c| c.is_ascii() && !c.is_ascii_digit()).take(400).collect()
}
