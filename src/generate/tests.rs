use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};

use crate::model::evidence::{COMPONENTS, RESPONSES, SCORES, STEPS};
use crate::model::ids::LeadHours;

use super::rows::RunRows;
use super::rows::ScoreRow;
use super::*;

fn generator(plan: Plan) -> Generator {
    Generator::new(plan).unwrap()
}

fn small() -> Plan {
    Plan { runs: 8, miners: 24, seed: 11, ..Plan::default() }
}

fn ints(batch: &RecordBatch, column: &str) -> Vec<Option<i32>> {
    batch.column_by_name(column).unwrap().as_primitive::<Int32Type>().iter().collect()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let dictionary = batch.column_by_name(column).unwrap().as_dictionary::<Int32Type>();
    let values = dictionary.values().as_string::<i32>();
    dictionary.keys().iter().map(|key| key.map(|key| values.value(key as usize).to_owned())).collect()
}

#[test]
fn any_run_can_be_generated_alone_and_in_any_order() {
    for messy in [false, true] {
        let plan = Plan { messy, ..small() };
        let forward: Vec<RunRows> = (0..8).map(|index| generator(plan.clone()).rows(index)).collect();
        let one = generator(plan);
        for index in (0..8).rev() {
            // NaN differs from itself, hence the text.
            assert_eq!(format!("{:?}", one.rows(index)), format!("{:?}", forward[index]));
        }
    }
}

#[test]
fn another_seed_gives_other_numbers() {
    let first_score = |seed| generator(Plan { seed, ..small() }).rows(0).scores[0].score;
    assert_ne!(first_score(1), first_score(2));
}

#[test]
fn components_and_mess_change_nothing_else() {
    let with = generator(small()).rows(1);
    let without = generator(Plan { components: false, ..small() }).rows(1);
    assert!(without.components.is_empty() && !with.components.is_empty());
    assert_eq!(RunRows { components: vec![], ..with }, without);
}

#[test]
fn evidence_is_in_the_schemas_of_the_contracts() {
    for messy in [false, true] {
        let generator = generator(Plan { messy, ..small() });
        for unit in generator.units() {
            let evidence = generator.evidence(&unit);
            assert_eq!(evidence.len(), unit.runs.len());
            for (run, batches) in unit.runs.iter().zip(evidence) {
                assert_eq!(*run, batches.run);
                assert_eq!(batches.responses.schema(), RESPONSES.schema());
                assert_eq!(batches.scores.schema(), SCORES.schema());
                assert_eq!(batches.components.schema(), COMPONENTS.schema());
                assert_eq!(batches.steps.schema(), STEPS.schema());
                assert!(ints(&batches.steps, "run_id").iter().all(|id| *id == Some(run.id.0)));
            }
        }
    }
}

#[test]
fn a_complete_run_has_all_the_rows_of_production() {
    let generator = generator(small());
    let rows = generator.rows(0);
    let mut by_miner: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
    rows.scores.iter().for_each(|row| by_miner.entry(row.miner_uid).or_default().0 += 1);
    rows.components.iter().for_each(|row| by_miner.entry(row.miner_uid).or_default().1 += 1);
    let complete = by_miner.values().filter(|&&counts| counts == (272, 690)).count();
    assert!(complete >= 12, "{by_miner:?}");
    assert!(rows.responses.len() >= 16);
    let pending: BTreeSet<i32> = rows.steps.iter().filter(|s| s.step_name == "day1").map(|s| s.miner_uid).collect();
    assert_eq!(pending.len(), 24, "every miner is seeded in every run, so every miner has a rollup there");
}

#[test]
fn the_last_runs_are_incomplete_and_in_flight() {
    let generator = generator(Plan { miners: 64, ..small() });
    let scored = |index| generator.rows(index).scores.iter().filter_map(|row| row.lead_hours).max();
    assert_eq!(scored(3), Some(240));
    assert!(scored(4) < Some(240) && scored(4) > scored(5));
    let last = generator.rows(7);
    assert!(last.steps.iter().any(|step| step.status == "in_progress"));
    assert!(last.scores.iter().all(|row| row.lead_hours.is_none()));
    let now = generator.taken_at();
    let times = |step: &StepRow| step.completed_at.or(step.started_at);
    assert!((0..8).flat_map(|index| generator.rows(index).steps).filter_map(|step| times(&step)).all(|time| time <= now));
}

#[test]
fn a_complete_plan_has_every_score_that_a_rule_uses_and_no_other() {
    let generator = generator(Plan { complete: true, miners: 64, components: false, ..small() });
    for index in 0..8 {
        let rows = generator.rows(index);
        assert_eq!(rows.responses.len(), 64);
        let mut by_miner: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
        for row in &rows.scores {
            by_miner.entry(row.miner_uid).or_default().insert(generator.vocabulary().text(row.score_type));
        }
        // RMSE, ACC and skill of nine variables at ten leads, and the Day-1 score.
        assert!(by_miner.len() == 64 && by_miner.values().all(|types| types.len() == 271));
        assert_eq!(rows.scores.len(), 64 * 271);
        assert!(rows.steps.iter().all(|step| ["succeeded", "pending"].contains(&step.status)));
        assert!(generator.run_times(rows.run.id).1.is_some());
    }
}

#[test]
fn every_fate_occurs() {
    let generator = generator(Plan { runs: 6, miners: 256, components: false, ..Plan::default() });
    let rows: Vec<RunRows> = (0..6).map(|index| generator.rows(index)).collect();
    let statuses: BTreeSet<&str> = rows.iter().flat_map(|rows| &rows.responses).map(|row| row.status).collect();
    for status in [
        "failed",
        "miner_offline",
        "retry_scheduled",
        "verification_failed",
        "verification_timeout",
        "era5_scoring_failed",
        "verified_manifest_store_opened",
        "inference_running",
    ] {
        assert!(statuses.contains(status), "{status} is not among {statuses:?}");
    }
    let steps: BTreeSet<_> = rows.iter().flat_map(|rows| &rows.steps).map(|s| (s.step_name, s.substep, s.status)).collect();
    for step in [
        ("seed", Some("download_gfs"), "succeeded"),
        ("seed", Some("download_gfs"), "pending"),
        ("day1", None, "pending"),
        ("query", Some("initiate_fetch"), "failed"),
        ("inference", Some("poll"), "retry_scheduled"),
        ("inference", Some("poll"), "in_progress"),
        ("verify", Some("open_store"), "failed"),
        ("fetch", Some("kerchunk"), "succeeded"),
        ("era5", Some("score"), "failed"),
    ] {
        assert!(steps.contains(&step), "{step:?} is not among {steps:?}");
    }
}

#[test]
fn clean_evidence_has_unique_keys_and_ids_and_sound_numbers() {
    let generator = generator(small());
    let mut ids = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    let mut total = [0; 4];
    for unit in generator.units() {
        for run in generator.evidence(&unit) {
            let keys: BTreeSet<_> = distinct(&run.scores, &["miner_uid", "lead_hours"], &["score_type", "variable_level"]);
            assert_eq!(keys.len(), run.scores.num_rows());
            let keys = distinct(&run.components, &["miner_uid", "lead_hours", "pressure_level"], &["variable_name"]);
            assert_eq!(keys.len(), run.components.num_rows());
            let keys = distinct(&run.steps, &["miner_uid", "lead_hours"], &["step_name", "substep"]);
            // The seed step is there twice: with lead NULL and with 0.
            assert_eq!(keys.len(), run.steps.num_rows());
            let scores = run.scores.column_by_name("score").unwrap().as_primitive::<Float64Type>();
            assert!(scores.iter().all(|score| score.is_some_and(f64::is_finite)));
            for (at, batch) in [&run.responses, &run.scores, &run.components, &run.steps].into_iter().enumerate() {
                let column = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
                ids[at].extend(column.values().iter().copied());
                total[at] += batch.num_rows();
            }
        }
    }
    assert_eq!(ids.each_ref().map(BTreeSet::len), total);
}

type Key = (Vec<Option<i32>>, Vec<Option<String>>);

/// The distinct keys of these columns.
fn distinct(batch: &RecordBatch, numbers: &[&str], names: &[&str]) -> BTreeSet<Key> {
    let numbers: Vec<_> = numbers.iter().map(|name| ints(batch, name)).collect();
    let names: Vec<_> = names.iter().map(|name| texts(batch, name)).collect();
    let row =
        |at: usize| (numbers.iter().map(|column| column[at]).collect(), names.iter().map(|column| column[at].clone()).collect());
    (0..batch.num_rows()).map(row).collect()
}

#[test]
fn skill_falls_and_rmse_grows_with_the_lead() {
    let generator = generator(Plan { miners: 64, components: false, ..small() });
    let rows = generator.rows(0);
    let mean = |kind: &str, lead: i32| {
        let of_kind = rows
            .scores
            .iter()
            .filter(|row| row.lead_hours == Some(lead) && generator.vocabulary().text(row.score_type).starts_with(kind));
        let scores: Vec<f64> = of_kind.filter_map(|row| row.score).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    assert!(mean("era5_skill", 24) > mean("era5_skill", 240) + 0.2);
    assert!(mean("era5_acc", 24) > mean("era5_acc", 240) + 0.2);
    assert!(mean("era5_rmse_2t", 24) * 1.5 < mean("era5_rmse_2t", 240));
    assert!(mean("era5_rmse_msl", 240) > 100.0);
}

#[test]
fn evidence_tells_no_address() {
    for messy in [false, true] {
        let generator = generator(Plan { runs: 6, miners: 200, messy, components: false, ..Plan::default() });
        let mut messages = 0;
        for unit in generator.units() {
            for run in generator.evidence(&unit) {
                for (batch, column) in [(&run.responses, "error_message_message"), (&run.steps, "error_json_message")] {
                    for text in batch.column_by_name(column).unwrap().as_string::<i32>().iter().flatten() {
                        messages += 1;
                        let told = ["198.51.100", "10.0.0", "token=0", "/opt/", "/home/", "/tmp/"]
                            .iter()
                            .any(|part| text.contains(part));
                        assert!(!told, "{text}");
                    }
                }
            }
        }
        assert!(messages > 50);
    }
}

#[test]
fn messy_evidence_has_each_oddity() {
    let generator = generator(Plan { runs: 8, miners: 48, messy: true, ..Plan::default() });
    assert!(generator.units().iter().any(|unit| unit.runs.len() == 2));
    let rows: Vec<RunRows> = (0..8).map(|index| generator.rows(index)).collect();
    let scores: Vec<_> = rows.iter().flat_map(|rows| &rows.scores).collect();
    let name = |row: &ScoreRow| generator.vocabulary().text(row.score_type).to_owned();
    assert!(scores.iter().any(|row| row.score.is_none()));
    assert!(scores.iter().any(|row| row.score.is_some_and(f64::is_nan)));
    assert!(scores.iter().any(|row| row.score == Some(f64::NEG_INFINITY)));
    assert!(scores.iter().any(|row| name(row).starts_with("era5_rmse") && row.score.is_some_and(|x| x < 0.0)));
    assert!(scores.iter().any(|row| name(row).starts_with("era5_acc") && row.score.is_some_and(|x| x > 1.0)));
    assert!(scores.iter().any(|row| ["era5_bias_2t_24h", "ERA5_acc_2t_24h", ""].contains(&name(row).as_str())));
    assert!(scores.iter().any(|row| row.lead_hours.is_none() && name(row).starts_with("era5")));
    let own =
        |rows: &RunRows, row: &ScoreRow| rows.responses.iter().any(|r| (r.id, r.miner_uid) == (row.response_id, row.miner_uid));
    assert!(rows.iter().any(|rows| rows.scores.iter().any(|row| !own(rows, row))), "orphans");
    assert!(rows.iter().any(has_repeated_steps), "repeated steps");
    let negative =
        |row: &ResponseRow| row.inference_completed_at < row.inference_started_at && row.inference_completed_at.is_some();
    assert!(rows.iter().flat_map(|rows| &rows.responses).any(negative));
    assert!(rows.iter().flat_map(|rows| &rows.responses).any(|row| row.error_message.as_deref() == Some("")));
}

fn has_repeated_steps(rows: &RunRows) -> bool {
    let keys: BTreeSet<_> = rows.steps.iter().map(|s| (s.miner_uid, s.step_name, s.substep, s.lead_hours)).collect();
    keys.len() < rows.steps.len()
}

#[test]
fn other_leads_and_variables_give_other_rows() {
    let plan = Plan {
        runs: 2,
        miners: 12,
        leads: [6, 12, 18, 72].map(LeadHours).to_vec(),
        variables: ["2t", "tp", "z"].map(str::to_owned).to_vec(),
        ..Plan::default()
    };
    let generator = generator(plan);
    let rows = generator.rows(0);
    let most = rows.responses.iter().map(|r| rows.scores.iter().filter(|s| s.miner_uid == r.miner_uid).count()).max();
    assert_eq!(most, Some(4 * 3 * 3 + 2));
    let leads: BTreeSet<i32> = rows.components.iter().map(|row| row.lead_hours).collect();
    assert_eq!(leads, BTreeSet::from([6, 12, 18, 72]));
    assert_eq!(rows.components.iter().filter(|row| row.pressure_level.is_some()).count() % 13, 0);
}
