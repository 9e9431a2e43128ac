//! The quick ways through the rows give what the slow one does.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, RunArray, TimestampMicrosecondArray,
    UInt32Array, new_null_array,
};
use arrow_schema::SchemaRef;
use arrow_select::take::take;
use proptest::prelude::*;

use super::*;
use crate::model::evidence::{COMPONENTS, ID_LESS_ROW, InputTable, RESPONSES, Run, STEPS};
use crate::model::settings::Scoring;

const MINERS: i32 = 4;
/// One miner has a response and no place on this list, so its rows are orphans.
const STRANGER: i32 = MINERS;
const TYPES: [&str; 8] = [
    "era5_rmse_2t_24h",
    "era5_acc_2t_24h",
    "era5_skill_gfs_2t_24h",
    "era5_skill_clim_q_48h",
    "era5_acc_t_31h",
    "day1_qc_score",
    "era5_error_t_24h",
    "nonsense",
];
const SCORES_OF_ALL_SORTS: [Option<f64>; 8] =
    [Some(0.25), Some(0.75), Some(-0.5), Some(-0.0), Some(1.5), Some(f64::NAN), Some(f64::NEG_INFINITY), None];

#[derive(Debug, Clone)]
struct Row {
    score_type: usize,
    lead: Option<i32>,
    level: Option<&'static str>,
    score: Option<f64>,
    time: i64,
    is_own: bool,
}

fn row() -> impl Strategy<Value = Row> {
    // Mostly what makes no finding, so that miners are alike.
    let lead = prop_oneof![6 => Just(Some(24)), 1 => Just(Some(48)), 1 => Just(None)];
    let score = prop_oneof![9 => Just(Some(0.5)), 1 => prop::sample::select(&SCORES_OF_ALL_SORTS[..])];
    let level = prop_oneof![3 => Just(None), 1 => Just(Some("2t"))];
    (0..TYPES.len(), lead, level, score, 0..3i64, prop::bool::weighted(0.95))
        .prop_map(|(score_type, lead, level, score, time, is_own)| Row { score_type, lead, level, score, time, is_own })
}

/// The rows of each miner: those of a pattern with values of their own, such rows without their levels, of another lead or other types, or any.
fn miners() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let clean = prop_oneof![0..3usize, Just(5)];
    let shape = (prop_oneof![9 => clean, 1 => 0..TYPES.len()], prop::option::of(Just("2t")));
    prop::collection::btree_map(shape, row(), 0..7).prop_flat_map(|pattern| {
        let shaped = |((score_type, level), row)| Row { score_type, level, lead: Some(24), ..row };
        let pattern: Vec<Row> = pattern.into_iter().map(shaped).collect();
        let values = prop::collection::vec(row(), pattern.len());
        let alike = (Just(pattern), values).prop_map(|(pattern, values)| {
            let cell = |(shape, value): (Row, Row)| Row { score: value.score, time: value.time, is_own: value.is_own, ..shape };
            pattern.into_iter().zip(values).map(cell).collect::<Vec<_>>()
        });
        let alike = alike.boxed();
        let level = |rows: Vec<Row>| rows.into_iter().map(|row| Row { level: None, ..row }).collect();
        let any = prop::collection::vec(row(), 0..9);
        let lead = |rows: Vec<Row>| rows.into_iter().map(|row| Row { lead: Some(48), ..row }).collect();
        let kind = |rows: Vec<Row>| rows.into_iter().map(|row| Row { score_type: (row.score_type + 1) % 6, ..row }).collect();
        let other = prop_oneof![alike.clone().prop_map(level), alike.clone().prop_map(lead), alike.clone().prop_map(kind), any];
        let miner = prop_oneof![6 => alike, 4 => other];
        prop::collection::vec(miner, MINERS as usize + 1)
    })
}

fn batch(schema: &SchemaRef, columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let rows = columns[0].1.len();
    let column = |name: &str| columns.iter().find(|(known, _)| *known == name).map(|(_, column)| column.clone());
    let all = schema.fields().iter().map(|field| column(field.name()).unwrap_or_else(|| new_null_array(field.data_type(), rows)));
    RecordBatch::try_new(schema.clone(), all.collect()).unwrap()
}

fn ints(values: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn ids(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn texts<'t>(values: impl Iterator<Item = Option<&'t str>>) -> ArrayRef {
    Arc::new(values.collect::<DictionaryArray<Int32Type>>())
}

fn hotkey(miner: i32) -> String {
    format!("key {miner}")
}

fn evidence(miners: &[Vec<Row>]) -> RunEvidence {
    let rows: Vec<(i32, &Row)> = (0..).zip(miners).flat_map(|(miner, rows)| rows.iter().map(move |row| (miner, row))).collect();
    let each = || rows.iter();
    let count = rows.len();
    let hotkeys: Vec<String> = each().map(|(miner, row)| hotkey(if row.is_own { *miner } else { 99 })).collect();
    let scores: [(&str, ArrayRef); 10] = [
        ("id", ids(0..count as i64)),
        ("response_id", ids(each().map(|(miner, _)| 100 + i64::from(*miner)))),
        ("run_id", ints(each().map(|_| 7))),
        ("miner_uid", ints(each().map(|(miner, _)| *miner))),
        ("miner_hotkey", texts(hotkeys.iter().map(|hotkey| Some(hotkey.as_str())))),
        ("score_type", texts(each().map(|(_, row)| Some(TYPES[row.score_type])))),
        ("calculation_time", times(each().map(|(_, row)| row.time))),
        ("score", Arc::new(each().map(|(_, row)| row.score).collect::<Float64Array>())),
        ("lead_hours", Arc::new(each().map(|(_, row)| row.lead).collect::<Int32Array>())),
        ("variable_level", texts(each().map(|(_, row)| row.level))),
    ];
    let own: Vec<String> = (0..MINERS).map(hotkey).collect();
    let responses: [(&str, ArrayRef); 6] = [
        ("id", ids((0..MINERS).map(|miner| 100 + i64::from(miner)))),
        ("run_id", ints((0..MINERS).map(|_| 7))),
        ("miner_uid", ints(0..MINERS)),
        ("miner_hotkey", texts(own.iter().map(|hotkey| Some(hotkey.as_str())))),
        ("response_time", times((0..MINERS).map(i64::from))),
        ("status", texts((0..MINERS).map(|_| Some("received")))),
    ];
    let empty = |table: &InputTable| RecordBatch::new_empty(table.schema());
    RunEvidence {
        run: Run::new(RunId(7), Micros(0), Micros(0)),
        responses: batch(&RESPONSES.schema(), &responses),
        scores: batch(&SCORES.schema(), &scores),
        components: empty(&COMPONENTS),
        steps: empty(&STEPS),
        legacy: Vec::new(),
    }
}

/// What repeats as stretches, none of them longer than `longest` rows.
fn in_stretches(evidence: &RunEvidence, longest: usize) -> RunEvidence {
    let (rows, schema) = (&evidence.scores, evidence.scores.schema());
    let of = |name: &str, column: &ArrayRef| {
        let same = |row: usize| column.slice(row, 1) == column.slice(row - 1, 1) && !row.is_multiple_of(longest);
        let starts: Vec<usize> = (0..column.len()).filter(|&row| row == 0 || !same(row)).collect();
        let ends: Int32Array = starts.iter().skip(1).chain([&column.len()]).take(starts.len()).map(|&end| end as i32).collect();
        let values = take(column, &starts.iter().map(|&row| row as u32).collect::<UInt32Array>(), None).unwrap();
        (name.to_owned(), Arc::new(RunArray::<Int32Type>::try_new(&ends, &values).unwrap()) as ArrayRef)
    };
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| match field.name().as_str() {
        "id" => {
            let ids = column.as_primitive::<Int64Type>().values().iter().zip(0..);
            of(ID_LESS_ROW, &self::ids(ids.map(|(id, row)| id - row)))
        }
        name @ ("score_type" | "score" | "variable_level") => (name.to_owned(), column.clone()),
        name => of(name, column),
    });
    let scores = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    RunEvidence { scores, ..evidence.clone() }
}

type Way = fn(&[Kind<'_>], &mut Gather<'_, '_>) -> Option<Vec<MinerScores>>;

/// The result of a way, with its findings in order; `None` where it gives up.
fn by(way: Way, evidence: &RunEvidence, rules: &Rules) -> Option<String> {
    let roster = Roster::new(evidence, std::iter::empty());
    let rows = ScoreColumns::new(evidence);
    let kinds: Vec<Kind<'_>> = rows.score_type.values.iter().map(|name| kind::parse(name.unwrap_or_default())).collect();
    let mut findings = Vec::new();
    let scores = way(&kinds, &mut Gather::new(&rows, &roster, rules, &mut findings))?;
    findings.sort_by(Finding::order);
    Some(format!("{scores:#?}\n{findings:#?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stretches_give_what_rows_do(miners in miners(), longest in prop_oneof![1..5usize, Just(usize::MAX)]) {
        let scoring = Scoring { expected_variables: ["2t", "q"].map(str::to_owned).to_vec(), ..Scoring::default() };
        let (evidence, rules) = (evidence(&miners), Rules::new(scoring, Micros(0)));
        let roster = Roster::new(&evidence, std::iter::empty());
        let all = |evidence: &RunEvidence| {
            let mut findings = Vec::new();
            let scores = scores(evidence, &roster, &rules, &mut findings, &mut Scratch::default());
            findings.sort_by(Finding::order);
            format!("{scores:#?}\n{findings:#?}")
        };
        prop_assert_eq!(all(&in_stretches(&evidence, longest)), all(&evidence));
    }

    #[test]
    fn one_walk_gives_what_two_do(miners in miners()) {
        let scoring = Scoring { expected_variables: ["2t", "q"].map(str::to_owned).to_vec(), ..Scoring::default() };
        let (evidence, rules) = (evidence(&miners), Rules::new(scoring, Micros(0)));
        prop_assert!(miners.len() as i32 == STRANGER + 1);
        let walked = by(side_by_side, &evidence, &rules);
        let expected = by(|kinds, gather| Some(in_any_order(kinds, gather, &mut Scratch::default())), &evidence, &rules);
        let shape = |row: &Row| (TYPES[row.score_type], row.lead, row.level);
        let is_score = |row: &&Row| !["era5_error_t_24h", "nonsense"].contains(&TYPES[row.score_type]);
        let repeats = |rows: &Vec<Row>| {
            let shapes: Vec<_> = rows.iter().filter(is_score).map(shape).collect();
            (1..shapes.len()).any(|at| shapes[..at].contains(&shapes[at]))
        };
        if miners[..MINERS as usize].iter().any(repeats) {
            prop_assert_eq!(walked, None);
        } else {
            prop_assert_eq!(walked, expected);
        }
    }
}
