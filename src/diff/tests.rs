//! D1, D2, D4, D5 and the findings of stored rows, each by its rule, on stored and recomputed rows written as text.

use std::fmt::Write;

use super::*;
use crate::model::columns::Column;
use crate::model::difference::{Class, RowKey, Tolerance};
use crate::model::evidence::StoredStat;
use crate::model::finding::Finding;
use crate::model::ids::LeadHours;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};

const LEADS: [LeadHours; 2] = [LeadHours(24), LeadHours(48)];

/// A row of run 7 from cells such as `miner=3 name=f run=9 24h=0.5 status=failed acc=0.5`.
fn row(cells: &str) -> ForecastStat {
    let mut row = ForecastStat {
        run_id: Some(7),
        miner_uid: Some(3),
        forecast_run_id: Some("f".to_owned()),
        wide: vec![None; 2],
        ..ForecastStat::default()
    };
    for (name, value) in cells.split_whitespace().filter_map(|cell| cell.split_once('=')) {
        let number = || Some(value.parse().expect("a number"));
        match name {
            "miner" => row.miner_uid = value.parse().ok(),
            "run" => row.run_id = value.parse().ok(),
            "24h" => row.wide[0] = number(),
            "48h" => row.wide[1] = number(),
            "acc" => row.avg_acc = number(),
            "status" => row.forecast_status = Some(value.to_owned()),
            "message" => row.last_error_message = Some(value.to_owned()),
            other => panic!("no cell: {other}"),
        }
    }
    row
}

/// A stored row; `message!` and `error!` say that E1 changed it as it was read.
fn stored(cells: &str) -> StoredStat {
    let is = |word| cells.split_whitespace().any(|cell| cell == word);
    StoredStat { id: 50, row: row(cells), message_unsanitized: is("message!"), error_unsanitized: is("error!") }
}

fn rows<T>(lines: &str, row: impl Fn(&str) -> T) -> Vec<T> {
    lines.split(';').map(str::trim).filter(|line| !line.is_empty()).map(row).collect()
}

fn plan(included: impl Fn(&Column) -> bool) -> StatPlan {
    StatPlan::new(&LEADS, &LEADS, Tolerance::default(), included)
}

/// What a unit's rows give: the differences as `miner column class`, rows by class, findings as `code lead run`.
fn told(diff: &StatDiff) -> String {
    let mut text = String::new();
    for difference in &diff.table.differences {
        let column = difference.column.as_deref().unwrap_or("row");
        write!(text, "{} {column} {:?}, ", difference.key.miner_uid.unwrap(), difference.class).unwrap();
    }
    let rows = diff.table.rows;
    let classes = [
        ("match", rows.matching),
        ("drift", rows.drift),
        ("unproven", rows.unproven),
        ("missing", rows.missing),
        ("extra", rows.extra),
    ];
    for (class, count) in classes.into_iter().filter(|(_, count)| *count > 0) {
        write!(text, "{count} {class}, ").unwrap();
    }
    for Finding { code, lead, run, row_id, .. } in &diff.findings {
        let lead = lead.map_or(String::new(), |lead| format!(" {}h", lead.0));
        let run = run.map_or("-".to_owned(), |run| run.0.to_string());
        write!(text, "{}{lead} of run {run} row {}, ", code.name(), row_id.unwrap()).unwrap();
    }
    text.trim_end_matches(", ").to_owned()
}

fn assert_units(table: &str) {
    for line in table.trim().lines() {
        let [stored_rows, recomputed, expected] = line.split('|').collect::<Vec<_>>().try_into().expect("three cells");
        let (a, b) = (rows(stored_rows, stored), rows(recomputed, row));
        let diff = plan(|_| true).unit(&a.iter().collect::<Vec<_>>(), &b.iter().collect::<Vec<_>>(), &UnitLoss::default());
        assert_eq!(told(&diff.unwrap()), expected.trim(), "{line}");
    }
}

#[test]
fn d1_rows_meet_by_miner_within_a_forecast_run_id() {
    // stored | recomputed | told
    assert_units(
        "
        miner=1; miner=2  | miner=2; miner=3  | 1 row Extra, 3 row Missing, 1 match, 1 missing, 1 extra
        miner=1 run=6     | miner=1 run=7     | 1 run_id Drift, 1 drift
                          | miner=1           | 1 row Missing, 1 missing
        miner=1           |                   | 1 row Extra, 1 extra",
    );
}

#[test]
fn d1_a_key_that_is_stored_twice_is_refused_by_name() {
    let twice = [stored("miner=1"), stored("miner=1 acc=0.5")];
    let error = plan(|_| true).unit(&[&twice[0], &twice[1]], &[], &UnitLoss::default()).unwrap_err();
    assert!(error.to_string().contains("two stored rows have the key"), "{error}");
    let miners =
        [MinerStat { miner_uid: Some(5), ..MinerStat::default() }, MinerStat { miner_uid: Some(5), ..MinerStat::default() }];
    let plan = TablePlan::of::<MinerStat>(Tolerance::default(), |_| true);
    let key = |row: &MinerStat| RowKey { miner_uid: row.miner_uid, ..RowKey::default() };
    assert!(plan.table(miners.iter(), [].iter(), key, |_, _| false).is_err());
}

#[test]
fn d2_a_row_is_what_its_worst_cell_is() {
    assert_units(
        "
        24h=0.5 acc=0.5            | 24h=0.5 acc=0.5    | 1 match
        24h=0.5000000001 acc=0.5   | 24h=0.5 acc=0.5    | 3 era5_score_24h Within, 1 match
        24h=0.5000000001 acc=0.6   | 24h=0.5 acc=0.5    | 3 avg_acc Drift, 3 era5_score_24h Within, 1 drift
        24h=0.5                    | 24h=0.5 48h=0.25   | 3 era5_score_48h Drift, 1 drift
        status=failed              | status=pending     | 3 forecast_status Drift, 1 drift",
    );
}

#[test]
fn d2_cells_are_counted_by_class_and_column() {
    let plan = plan(|column| ["avg_acc", "era5_score_24h", "era5_score_48h"].contains(&column.name.as_ref()));
    let (a, b) = (stored("acc=0.75 24h=0.5000000001 48h=0.5"), row("acc=0.5 24h=0.5 48h=0.5"));
    let mut diff = plan.unit(&[&a], &[&b], &UnitLoss::default()).unwrap().table;
    diff.add(plan.unit(&[&a], &[&b], &UnitLoss::default()).unwrap().table);
    diff.add(plan.unit(&[&a], &[], &UnitLoss::default()).unwrap().table);
    diff.add(plan.unit(&[], &[&b], &UnitLoss::default()).unwrap().table);
    diff.add(plan.strays(&[stored("miner=8")]).table);
    let tally = diff.tally(&plan.table);
    let rows = (tally.rows.drift, tally.rows.matching, tally.rows.missing, tally.rows.extra, tally.rows.unproven);
    assert_eq!(rows, (2, 0, 1, 2, 0));
    assert_eq!((tally.cells.drift, tally.cells.within, tally.cells.equal, tally.cells.unproven), (2, 2, 2, 0));
    let column = |name: &str| (tally.columns[name].drift, tally.columns[name].within, tally.columns[name].max_abs_diff);
    assert_eq!((column("avg_acc"), column("era5_score_48h")), ((2, 0, 0.25), (0, 0, 0.0)));
    assert_eq!(column("era5_score_24h").1, 2);
}

#[test]
fn d4_what_is_not_compared_is_no_column_of_a_rollup() {
    let names = |columns: &[Column]| columns.iter().map(|column| column.name.to_string()).collect::<Vec<_>>();
    let all = [names(ForecastStat::COLUMNS), names(MinerStat::COLUMNS), names(SubnetStat::COLUMNS)].concat();
    for name in ["id", "created_at", "updated_at", "validator_hotkey", "forecast_type", "forecast_input_sources"] {
        assert!(!all.iter().any(|column| column == name), "{name}");
    }
    // And keys are met by, not compared.
    let compared = names(&plan(|_| true).table.columns);
    assert!(compared.contains(&"run_id".to_owned()) && !compared.contains(&"miner_uid".to_owned()));
}

#[test]
fn d5_what_was_cleaned_as_it_was_read_is_drift_whatever_it_is_compared_with() {
    assert_units(
        "
        message=m message!  | message=m  | 3 last_error_message Drift, 1 drift, unsanitized_error of run 7 row 50
        error!              |            | 3 row Extra, 1 extra, unsanitized_error of run 7 row 50
        message=m           | message=m  | 1 match",
    );
    let lost = UnitLoss::default();
    let (a, b) = (stored("error!"), row(""));
    let diff = plan(|_| true).unit(&[&a], &[&b], &lost).unwrap();
    assert_eq!(told(&diff), "3 forecast_error_msg Drift, 1 drift, unsanitized_error of run 7 row 50");
}

#[test]
fn d6_an_unproven_cell_is_no_drift_but_where_its_text_was_cleaned_or_its_number_is_none() {
    let lost = |cells: &str, recomputed: &str| {
        let (a, b) = (stored(cells), row(recomputed));
        let left = [((7, 3), Default::default())].into();
        let plan = plan(|column| ["era5_score_24h", "last_error_message", "avg_acc"].contains(&column.name.as_ref()));
        let unit = plan.losses(std::slice::from_ref(&a), &[&b], &left, Retention::new(0, crate::model::time::Micros(0)));
        told(&StatDiff { findings: Vec::new(), ..plan.unit(&[&a], &[&b], &unit).unwrap() })
    };
    assert_eq!(lost("24h=0.5", ""), "3 era5_score_24h Unproven, 1 unproven");
    assert_eq!(lost("24h=0.5 message=a message!", "message=a"), "3 last_error_message Drift, 3 era5_score_24h Unproven, 1 drift");
    assert_eq!(lost("24h=0.5 message=a", "message=b"), "3 last_error_message Unproven, 3 era5_score_24h Unproven, 1 unproven");
    assert_eq!(lost("24h=0.5 acc=NaN", ""), "3 avg_acc Drift, 3 era5_score_24h Unproven, 1 drift");
}

#[test]
fn f_a_wide_value_without_a_scored_lead_behind_it() {
    assert_units(
        "
        24h=0.5 run=6   | run=9            | 3 run_id Drift, 3 era5_score_24h Drift, 1 drift, wide_without_narrow 24h of run 9 row 50
        24h=0.5 48h=0   | 24h=0.5          | 3 era5_score_48h Drift, 1 drift, wide_without_narrow 48h of run 7 row 50
        24h=0.5 run=6   |                  | 3 row Extra, 1 extra, wide_without_narrow 24h of run 6 row 50
                        | 24h=0.5          | 3 row Missing, 1 missing",
    );
    let strays = plan(|_| true).strays(&[stored("24h=0.5")]);
    assert_eq!(told(&strays), "3 row Extra, 1 extra, wide_without_narrow 24h of run 7 row 50");
    // A wide column of a lead that is not expected is not looked at.
    let narrow = StatPlan::new(&LEADS, &LEADS[1..], Tolerance::default(), |_| true);
    let mut b = row("");
    b.wide = vec![None];
    let a = stored("24h=0.5");
    assert_eq!(told(&narrow.unit(&[&a], &[&b], &UnitLoss::default()).unwrap()), "1 match");
}

#[test]
fn whole_tables_are_compared_by_key() {
    let miner = |uid, score| MinerStat { miner_uid: Some(uid), avg_forecast_score: Some(score), ..MinerStat::default() };
    let (stored, recomputed) = ([miner(1, 0.5), miner(2, 0.5), miner(3, 0.5)], [miner(2, 0.5), miner(3, 0.25), miner(4, 0.5)]);
    let plan = TablePlan::of::<MinerStat>(Tolerance::default(), |column| column.name == "avg_forecast_score");
    let key = |row: &MinerStat| RowKey { miner_uid: row.miner_uid, ..RowKey::default() };
    let classes = |unproven: bool| {
        let diff = plan.table(stored.iter(), recomputed.iter(), key, |_, _| unproven).unwrap();
        let class = |difference: &crate::model::difference::Difference| (difference.key.miner_uid.unwrap(), difference.class);
        diff.differences.iter().map(class).collect::<Vec<_>>()
    };
    assert_eq!(classes(false), [(1, Class::Extra), (3, Class::Drift), (4, Class::Missing)]);
    assert_eq!(classes(true), [(1, Class::Extra), (3, Class::Unproven), (4, Class::Missing)]);
}
