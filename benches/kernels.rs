//! The hot loops by themselves, on one generated run of 256 miners: `cargo bench --bench kernels`.

mod support;

use std::sync::LazyLock;

use blake3::Hasher;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use recount::Scoring;
use recount::Tolerance;
use recount::internals::diff::{StatPlan, UnitLoss};
use recount::internals::generate::{Generator, Plan};
use recount::internals::model::digest::feed;
use recount::internals::model::evidence::{RunEvidence, StoredStat};
use recount::internals::model::rollups::ForecastStat;
use recount::internals::rollup::{Rules, Scratch, exact, fold_unit};

fn main() {
    println!("digest of the rollups: clean {}, messy {}", digest(&CLEAN), digest(&MESSY));
    divan::main();
}

struct Sample {
    evidence: Vec<RunEvidence>,
    rules: Rules,
}

static CLEAN: LazyLock<Sample> = LazyLock::new(|| sample(false));
static MESSY: LazyLock<Sample> = LazyLock::new(|| sample(true));

fn sample(messy: bool) -> Sample {
    let miners = if support::is_small() { 8 } else { 256 };
    let plan = Plan { runs: 20, miners, seed: 1, messy, ..Plan::default() };
    let generator = Generator::new(plan).expect("a plan");
    let unit = &generator.units()[4];
    Sample { evidence: generator.evidence(unit), rules: Rules::new(Scoring::default(), generator.taken_at()) }
}

fn digest(sample: &Sample) -> String {
    let fold = fold_unit(&sample.evidence, &sample.rules, &mut Scratch::default());
    let mut hasher = Hasher::new();
    feed(&mut hasher, fold.stats.iter().map(|placed| &placed.stat));
    hasher.finalize().to_hex()[..16].to_owned()
}

fn scores(evidence: &[RunEvidence]) -> usize {
    evidence.iter().map(|run| run.scores.num_rows()).sum()
}

/// Rows of scores a second; components and steps are folded along with them.
#[divan::bench(args = ["clean", "messy"])]
fn fold(bencher: Bencher<'_, '_>, kind: &str) {
    let sample: &Sample = if kind == "clean" { &CLEAN } else { &MESSY };
    let mut scratch = Scratch::default();
    bencher
        .counter(ItemsCount::new(scores(&sample.evidence)))
        .bench_local(|| fold_unit(black_box(&sample.evidence), &sample.rules, &mut scratch));
}

/// The same without components, as most figures for scores alone are given.
#[divan::bench]
fn fold_scores(bencher: Bencher<'_, '_>) {
    let bare: Vec<RunEvidence> =
        CLEAN.evidence.iter().map(|run| RunEvidence { components: run.components.slice(0, 0), ..run.clone() }).collect();
    let mut scratch = Scratch::default();
    bencher.counter(ItemsCount::new(scores(&bare))).bench_local(|| fold_unit(black_box(&bare), &CLEAN.rules, &mut scratch));
}

#[divan::bench(args = [9, 27, 690])]
fn exact_sum(bencher: Bencher<'_, '_>, n: usize) {
    let values: Vec<f64> = (1..=n).map(|i| 1.0 / i as f64).collect();
    bencher.counter(ItemsCount::new(n)).bench_local(|| exact::sum(black_box(&values)));
}

/// What a user would pick instead of an exact sum, and what is not exact.
#[divan::bench(args = [9, 27, 690])]
fn naive_sum(bencher: Bencher<'_, '_>, n: usize) {
    let values: Vec<f64> = (1..=n).map(|i| 1.0 / i as f64).collect();
    bencher.counter(ItemsCount::new(n)).bench_local(|| black_box(&values).iter().sum::<f64>());
}

/// Rows of `weather_forecast_stats` a second, every column compared.
#[divan::bench]
fn diff(bencher: Bencher<'_, '_>) {
    let fold = fold_unit(&CLEAN.evidence, &CLEAN.rules, &mut Scratch::default());
    let rows: Vec<&ForecastStat> = fold.stats.iter().map(|placed| &placed.stat).collect();
    let stored: Vec<StoredStat> = (1..)
        .zip(&rows)
        .map(|(id, row)| StoredStat { id, row: (*row).clone(), message_unsanitized: false, error_unsanitized: false })
        .collect();
    let leads = &CLEAN.rules.scoring.expected_leads;
    let lost = UnitLoss::default();
    let plan = StatPlan::new(leads, leads, Tolerance::default(), |_| true);
    let stored: Vec<_> = stored.iter().collect();
    bencher
        .counter(ItemsCount::new(rows.len()))
        .bench_local(|| plan.unit(black_box(&stored), &rows, &lost).expect("unique keys"));
}
