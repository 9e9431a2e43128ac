//! I7 and the findings of steps, each by its rule. Expected cells are worked out by hand.

use crate::model::evidence::RunEvidence;
use crate::model::time::Micros;
use crate::rollup::table::{assert_findings, at, evidence, rules};
use crate::rollup::{Scratch, fold_unit};

use super::*;

/// Of a step that counts: id, start, retries, whether it failed and is not superseded.
type StepCells = (i64, Option<Micros>, i32, bool);

/// The steps that I7 leaves, with its findings: id, started, retries, and whether a step is a failed one.
fn steps(tables: &str) -> (Vec<StepCells>, Vec<Finding>) {
    let evidence: Vec<RunEvidence> = evidence(tables);
    let mut findings = Vec::new();
    let columns = StepColumns::new(&evidence[0]);
    let steps = Steps::new(&columns, evidence[0].run.id, &rules(|_| {}), &mut findings, &mut Scratch::default());
    findings.sort_by(Finding::order);
    (steps.all().iter().map(|step| (step.id(), step.started(), step.retry_count, step.failed())).collect(), findings)
}

#[test]
fn i7_steps_of_the_run_belong_to_no_miner() {
    let (steps, findings) = steps(
        "steps
         id | miner_uid | miner_hotkey | step_name
         1  | 2         | key          | query
         2  | 1         | coordinator  | query
         3  | 1         | key          | seed
         4  | 1         | Coordinator  | seeds",
    );
    assert_eq!(steps.iter().map(|step| step.0).collect::<Vec<_>>(), [4, 1]);
    assert_findings(&findings, "");
}

#[test]
fn i7_equal_steps_are_one_that_takes_over_start_and_retries() {
    let (steps, findings) = steps(
        "steps
         id | step_name | substep | lead_hours | started_at | completed_at | retry_count
         1  | query     | -       | -          | 20         | 50           | 1
         2  | query     | -       | -          | 10         | 40           | -
         3  | query     | -       | -          | -          | -            | 5
         4  | query     | -       | 0          | 30         | -            | -
         5  | query     | a       | -          | 31         | -            | 2
         7  | verify    | -       | 24         | 60         | -            | 0
         6  | verify    | -       | 24         | 50         | 60           | 0",
    );
    let mut steps = steps;
    steps.sort_by_key(|step| step.0);
    let expected = [
        (1, Some(at(10.0)), 5, false),
        (4, Some(at(30.0)), 0, false),
        (5, Some(at(31.0)), 2, false),
        (7, Some(at(50.0)), 0, false),
    ];
    assert_eq!(steps, expected);
    assert_findings(
        &findings,
        "duplicate_step | 1 | 1 | 24 | weather_forecast_steps | 6
         duplicate_step | 1 | 1 | -  | weather_forecast_steps | 2
         duplicate_step | 1 | 1 | -  | weather_forecast_steps | 3",
    );
}

#[test]
fn i7_a_later_success_of_the_same_name_and_lead_supersedes() {
    let (steps, _) = steps(
        "steps
         id | miner_uid | step_name | substep | lead_hours | status    | started_at | completed_at
         1  | 1         | era5      | a       | -          | failed    | -          | 10
         2  | 1         | era5      | b       | 0          | succeeded | -          | 11
         3  | 1         | era5      | a       | 24         | failed    | -          | 10
         4  | 1         | era5      | a       | 48         | succeeded | -          | 11
         5  | 2         | era5      | b       | -          | failed    | -          | 10
         6  | 2         | query     | b       | -          | succeeded | -          | 11
         7  | 3         | era5      | b       | -          | failed    | -          | 10
         8  | 4         | era5      | b       | -          | succeeded | -          | 11
         9  | 5         | era5      | a       | -          | failed    | 10         | -
         10 | 5         | era5      | b       | -          | succeeded | 10         | -
         12 | 6         | era5      | a       | -          | failed    | 10         | -
         11 | 6         | era5      | b       | -          | succeeded | 10         | -
         13 | 7         | era5      | a       | -          | failed    | 10         | -
         14 | 7         | era5      | b       | -          | in_progress | 11       | -",
    );
    let failed: Vec<i64> = steps.iter().filter(|step| step.3).map(|step| step.0).collect();
    // 1 and 9 are superseded: by 2, whose lead 0 is as good as none, and by 10, whose id is greater.
    assert_eq!(failed, [3, 5, 7, 12, 13]);
}

#[test]
fn f_a_step_in_progress_for_more_than_a_day_is_stale() {
    // The snapshot is of second 1,000,000; a day before it is 913,600.
    let tables = "steps
         id | step_name | status      | started_at
         1  | a         | in_progress | 913599
         2  | b         | in_progress | 913600
         3  | c         | in_progress | 913700
         4  | d         | pending     | 1
         5  | e         | in_progress | -";
    let fold = fold_unit(&evidence(tables), &rules(|_| {}), &mut Scratch::default());
    assert_findings(&fold.findings, "stale_in_progress | 1 | 1 | - | weather_forecast_steps | 1");
    assert_eq!(fold.findings[0].detail, "a");
    // The next one to become stale is that of 913,600.
    assert_eq!(fold.fresh_until, Some(at(1_000_000.0)));
    let none = fold_unit(&evidence("steps\n id | step_name | status\n 1 | a | pending"), &rules(|_| {}), &mut Scratch::default());
    assert_eq!(none.fresh_until, None);
}

#[test]
fn the_memory_of_one_run_does_not_show_in_the_next() {
    let (long, short) = ("steps\n id | step_name\n 1 | a\n 2 | b\n 3 | c", "steps\n id | step_name\n 9 | z");
    let mut scratch = Scratch::default();
    fold_unit(&evidence(long), &rules(|_| {}), &mut scratch);
    let again = fold_unit(&evidence(short), &rules(|_| {}), &mut scratch);
    assert_eq!(again.stats[0].stat.current_forecast_stage.as_deref(), Some("z"));
    assert!(scratch.step_order.capacity() >= 3, "left to the next run");
}

#[test]
fn i7_the_latest_of_equal_steps_whatever_their_order() {
    let (steps, _) = steps(
        "steps
         id | step_name | completed_at
         1  | query     | 50
         2  | query     | 40
         3  | poll      | 40
         4  | poll      | 50",
    );
    let mut ids: Vec<i64> = steps.iter().map(|step| step.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 4]);
}
