//! Properties of the rollup on generated, messy evidence: the order of rows and the codes of dictionaries mean nothing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringDictionaryBuilder, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int32Type};
use proptest::prelude::*;
use recount::Scoring;
use recount::internals::generate::{Generator, Plan};
use recount::internals::model::evidence::RunEvidence;
use recount::internals::model::finding::Finding;
use recount::internals::model::rollups::{ForecastStat, LeadScore, SubnetStat};
use recount::internals::rollup::{Lifetime, Rules, Scratch, fold_unit};

/// All results of a unit: lead scores, rows and whether they have the place, the subnet, findings in their order.
type Folded = (Vec<LeadScore>, Vec<(ForecastStat, bool)>, Vec<SubnetStat>, Vec<Finding>);

fn fold(runs: &[RunEvidence], rules: &Rules) -> Folded {
    let mut fold = fold_unit(runs, rules, &mut Scratch::default());
    fold.findings.sort_by(Finding::order);
    let stats = fold.stats.into_iter().map(|placed| (placed.stat, placed.placed)).collect();
    (fold.lead_scores, stats, fold.subnet, fold.findings)
}

/// The rows in this order, cut in two and put together again, with new dictionaries.
fn permuted(batch: &RecordBatch, order: &[u32], cut: usize) -> RecordBatch {
    let rows: Vec<u32> = order.iter().copied().filter(|row| (*row as usize) < batch.num_rows()).collect();
    let (left, right) = rows.split_at(cut % (rows.len() + 1));
    let part = |rows: &[u32]| take_record_batch(batch, &UInt32Array::from(rows.to_vec())).expect("rows of the batch");
    let whole = concat_batches(&batch.schema(), [&part(left), &part(right)]).expect("parts of one batch");
    let columns = whole.columns().iter().map(recoded).collect();
    RecordBatch::try_new(batch.schema(), columns).expect("the columns of the batch")
}

/// A dictionary column with its texts in order of appearance: other codes for the same texts.
fn recoded(column: &ArrayRef) -> ArrayRef {
    if !matches!(column.data_type(), DataType::Dictionary(..)) {
        return column.clone();
    }
    let dictionary = column.as_dictionary::<Int32Type>();
    let texts = dictionary.downcast_dict::<arrow::array::StringArray>().expect("texts");
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    texts.into_iter().for_each(|text| builder.append_option(text));
    Arc::new(builder.finish())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_rows_means_nothing(seed in 0u64..1_000, order in Just((0..20_000u32).collect::<Vec<_>>()).prop_shuffle(), cut: usize) {
        let plan = Plan { runs: 6, miners: 5, seed, messy: true, ..Plan::default() };
        let generator = Generator::new(plan).expect("a plan");
        let rules = Rules::new(Scoring::default(), generator.taken_at());
        for unit in generator.units() {
            let evidence = generator.evidence(&unit);
            let shuffled: Vec<RunEvidence> = evidence.iter().map(|run| RunEvidence {
                run: run.run.clone(),
                responses: permuted(&run.responses, &order, cut),
                scores: permuted(&run.scores, &order, cut),
                components: permuted(&run.components, &order, cut),
                steps: permuted(&run.steps, &order, cut),
                legacy: run.legacy.clone(),
            }).collect();
            prop_assert_eq!(fold(&evidence, &rules), fold(&shuffled, &rules));
        }
    }

    #[test]
    fn the_order_of_units_means_nothing_for_a_life(seed in 0u64..1_000, order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle()) {
        let plan = Plan { runs: 12, miners: 4, seed, messy: true, components: false, ..Plan::default() };
        let generator = Generator::new(plan).expect("a plan");
        let rules = Rules::new(Scoring::default(), generator.taken_at());
        let units = generator.units();
        let life = |places: &mut dyn Iterator<Item = usize>| {
            let mut lifetime = Lifetime::default();
            for unit in places.filter_map(|place| units.get(place)) {
                lifetime.absorb(fold_unit(&generator.evidence(unit), &rules, &mut Scratch::default()).history);
            }
            lifetime.finish(&rules)
        };
        prop_assert_eq!(life(&mut (0..12)), life(&mut order.iter().copied()));
    }
}
