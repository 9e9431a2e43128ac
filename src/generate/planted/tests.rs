use std::collections::BTreeSet;

use serde_json::json;

use crate::model::ids::LeadHours;
use crate::model::time::Micros;

use super::super::{Generator, Plan};
use super::*;

/// Rows of the shape that an engine gives: some cells NULL, some zero.
fn right(plan: &Plan, unit: &Unit) -> Vec<ForecastStat> {
    let row = |(miner, run): (usize, &crate::model::evidence::Run)| ForecastStat {
        miner_uid: Some(miner as i32),
        miner_hotkey: Some(format!("5Hotkey{miner}")),
        miner_rank: (miner % 3 > 0).then_some(miner as i32 + 1),
        forecast_run_id: Some(unit.forecast_run_id.clone()),
        run_id: Some(run.id.0),
        forecast_init_time: Some(run.gfs_init),
        forecast_status: Some("completed".to_owned()),
        current_forecast_stage: Some("complete".to_owned()),
        retries_remaining: Some(3),
        forecast_error_msg: (miner % 4 == 0).then(|| json!({"type": "unknown", "message": null})),
        last_error_message: (miner % 5 == 0).then(|| "lost".to_owned()),
        era5_combined_score: Some(miner as f64 / 64.0),
        era5_completeness: Some((miner % 2) as f64 / 10.0),
        forecast_score_initial: (miner % 2 == 0).then_some(0.5),
        overall_forecast_score: (miner % 3 == 0).then_some(0.25),
        avg_rmse: (miner % 2 == 0).then_some(123.456),
        avg_acc: (miner % 2 == 1).then_some(0.875),
        avg_skill_score: (miner % 4 > 0).then_some(0.75),
        wide: plan.leads.iter().map(|lead| (miner % 2 == 0).then_some(f64::from(lead.0) / 300.0)).collect(),
        ..ForecastStat::default()
    };
    (0..plan.miners).flat_map(|miner| unit.runs.iter().map(move |run| (miner, run))).map(row).collect()
}

fn lifetime(plan: &Plan) -> Vec<MinerStat> {
    let row = |miner: usize| MinerStat {
        miner_uid: Some(miner as i32),
        miner_hotkey: Some(format!("5Hotkey{miner}")),
        avg_forecast_score: Some(0.5),
        successful_forecasts: Some(3),
        failed_forecasts: Some(0),
        hosting_successes: Some(1),
        hosting_failures: Some(0),
        consecutive_successes: Some(0),
        consecutive_failures: Some(0),
        total_inference_time: Some(12_345),
        common_errors: miner.is_multiple_of(2).then(|| json!({"unknown": 1})),
        first_seen: Some(Micros(5)),
        ..MinerStat::default()
    };
    (0..plan.miners).map(row).collect()
}

struct Outcome {
    right: Vec<ForecastStat>,
    stored: Vec<StoredRow>,
    strays: Vec<StoredRow>,
    right_miners: Vec<MinerStat>,
    miners: Vec<MinerStat>,
    planted: Vec<Difference>,
}

fn outcome(plan: &Plan) -> Outcome {
    let units = Generator::new(plan.clone()).unwrap().units();
    let mut planter = Planter::new(plan, units.len()).unwrap();
    let (mut rights, mut stored, mut strays) = (vec![], vec![], vec![]);
    for (place, unit) in units.iter().enumerate() {
        let mut rows = placed(right(plan, unit));
        let unit = planter.unit(place, unit, rows.clone(), &WrongWriters::none()).unwrap();
        stored.extend(unit.rows);
        strays.extend(unit.strays);
        rows.iter_mut().for_each(|row| spread_wide(plan, row));
        rights.extend(rows);
    }
    let right_miners = lifetime(plan);
    let miners = planter.miners(right_miners.clone()).unwrap();
    Outcome { right: rights, stored, strays, right_miners, miners, planted: planter.into_planted() }
}

fn plan(drift: usize) -> Plan {
    Plan { runs: 10, miners: 30, seed: 5, drift, ..Plan::default() }
}

fn real(planted: &[Difference]) -> usize {
    planted.iter().filter(|difference| difference.class != Class::Within).count()
}

/// An independent comparison: every cell that differs, and every row without a counterpart.
fn compare<'a, R: Stored + 'a>(
    columns: &[Column],
    right: impl Iterator<Item = &'a R> + Clone,
    stored: impl Iterator<Item = &'a R> + Clone,
) -> Vec<String> {
    let key = |row: &R| (row.key().miner_uid, row.key().forecast_run_id);
    let mut found = Vec::new();
    for row in right.clone() {
        let Some(other) = stored.clone().find(|other| key(other) == key(row)) else {
            found.push(format!("{:?} missing", key(row)));
            continue;
        };
        for (at, column) in columns.iter().enumerate() {
            match classify(&other.cell(at), &row.cell(at), Tolerance::default()) {
                CellClass::Equal => {}
                class => found.push(format!("{:?} {} {class:?}", key(row), column.name)),
            }
        }
    }
    let extra = stored.filter(|row| !right.clone().any(|other| key(other) == key(row)));
    found.extend(extra.map(|row| format!("{:?} extra", key(row))));
    found.sort();
    found
}

fn told(planted: &[Difference], table: &str) -> Vec<String> {
    let of_table = planted.iter().filter(|difference| difference.table == table);
    let mut told: Vec<String> = of_table
        .map(|difference| {
            let key = (difference.key.miner_uid, difference.key.forecast_run_id.clone());
            match (&difference.column, difference.class) {
                (Some(column), Class::Within) => format!("{key:?} {column} Within"),
                (Some(column), _) => format!("{key:?} {column} Drift"),
                (None, class) => format!("{key:?} {}", class.name()),
            }
        })
        .collect();
    told.sort();
    told
}

#[test]
fn exactly_as_many_as_asked_for_are_found_and_no_other() {
    for drift in [0, 1, 2, 7, 40, 150, 300] {
        let outcome = outcome(&plan(drift));
        assert_eq!(real(&outcome.planted), drift);
        let mut columns = ForecastStat::COLUMNS.to_vec();
        columns.extend(wide_leads().into_iter().map(Column::wide));
        let stored = outcome.stored.iter().chain(&outcome.strays).map(|stored| &stored.row);
        let found = compare(&columns, outcome.right.iter(), stored);
        assert_eq!(found, told(&outcome.planted, ForecastStat::TABLE));
        let found = compare(MinerStat::COLUMNS, outcome.right_miners.iter(), outcome.miners.iter());
        assert_eq!(found, told(&outcome.planted, MinerStat::TABLE));
    }
}

#[test]
fn values_told_are_those_stored() {
    let outcome = outcome(&plan(200));
    let cells = outcome.planted.iter().filter(|d| d.table == ForecastStat::TABLE && d.column.is_some());
    for difference in cells {
        let at = ForecastStat::COLUMNS.iter().position(|column| Some(column.name.as_ref()) == difference.column.as_deref());
        let Some(at) = at else { continue };
        let key = |row: &ForecastStat| (row.miner_uid, row.forecast_run_id.clone());
        let wanted = (difference.key.miner_uid, difference.key.forecast_run_id.clone());
        let stored = outcome.stored.iter().find(|stored| key(&stored.row) == wanted).unwrap();
        let right = outcome.right.iter().find(|row| key(row) == wanted).unwrap();
        assert_eq!(stored.row.value(at), difference.stored);
        assert_eq!(right.value(at), difference.recomputed);
    }
}

#[test]
fn every_column_and_kind_has_its_turn() {
    let outcome = outcome(&plan(300));
    let columns: BTreeSet<_> = outcome.planted.iter().map(|d| (d.table, d.column.clone(), d.class)).collect();
    for column in ForecastStat::COLUMNS.iter().cloned().chain(wide_leads().into_iter().map(Column::wide)) {
        let expected = (ForecastStat::TABLE, Some(column.name.to_string()), Class::Drift);
        assert_eq!(columns.contains(&expected), column.group != Group::Key, "{}", column.name);
    }
    for column in MinerStat::COLUMNS {
        let expected = (MinerStat::TABLE, Some(column.name.to_string()), Class::Drift);
        assert_eq!(columns.contains(&expected), column.group != Group::Key, "{}", column.name);
    }
    for table in [ForecastStat::TABLE, MinerStat::TABLE] {
        assert!(columns.contains(&(table, None, Class::Missing)) && columns.contains(&(table, None, Class::Extra)));
    }
    assert!(columns.iter().any(|(_, _, class)| *class == Class::Within));
    assert!(!outcome.strays.is_empty());
    assert!(outcome.planted.iter().any(|d| d.stored.is_null() && !d.recomputed.is_null() && d.column.is_some()));
}

#[test]
fn ids_are_unique_and_no_column_is_null_that_must_not_be() {
    let outcome = outcome(&Plan { messy: true, ..plan(240) });
    let rows: Vec<_> = outcome.stored.iter().chain(&outcome.strays).collect();
    assert_eq!(rows.iter().map(|row| row.id).collect::<BTreeSet<_>>().len(), rows.len());
    let keys: BTreeSet<_> = rows.iter().map(|stored| (stored.row.miner_uid, stored.row.forecast_run_id.clone())).collect();
    assert_eq!(keys.len(), rows.len());
    for stored in rows {
        let row = &stored.row;
        assert!(row.miner_hotkey.is_some() && row.forecast_init_time.is_some() && row.forecast_status.is_some());
    }
    assert!(outcome.stored.iter().any(|row| row.read().message_unsanitized), "a messy plan has raw texts");
    let told = format!("{:?}", outcome.planted);
    assert!(!told.contains("198.51.100"), "what is told is sanitized");
}

#[test]
fn only_wide_columns_of_expected_leads_are_touched() {
    let plan = Plan { leads: [6, 24, 30, 48].map(LeadHours).to_vec(), ..plan(300) };
    let wide = outcome(&plan).planted.into_iter().filter_map(|d| d.column).filter(|name| name.starts_with("era5_score_"));
    assert_eq!(wide.collect::<BTreeSet<_>>(), BTreeSet::from(["era5_score_24h".to_owned(), "era5_score_48h".to_owned()]));
}

#[test]
fn more_than_there_are_rows_is_refused() {
    let error = Planter::new(&plan(301), 10).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("allow 300"), "{error}");
}

#[test]
fn a_single_miner_can_be_planted_full() {
    let plan = Plan { runs: 10, miners: 1, seed: 9, drift: 10, ..Plan::default() };
    assert_eq!(real(&outcome(&plan).planted), 10);
}
