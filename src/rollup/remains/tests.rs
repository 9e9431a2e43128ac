//! D6: what is left of evidence, and what of an archive's stands in for what is gone. Expected cells are worked out by hand.

use super::super::table::{at, evidence, rules};
use super::*;

/// What is left of these miners of run 1, each as `miner: era5 [leads] day1 components step@seconds`.
fn left(tables: &str, miners: &[i32]) -> Vec<String> {
    let whose = miners.iter().map(|miner| (1, *miner)).collect();
    let told = |((_, miner), remains): (RunMiner, Remains)| {
        let mut words = vec![format!("{miner}:")];
        words.extend(remains.era5.then(|| format!("era5 {:?}", remains.era5_leads)));
        words.extend(remains.day1.then(|| "day1".to_owned()));
        words.extend(remains.components.then(|| "components".to_owned()));
        words.extend(remains.oldest_finished_step.map(|time| format!("step@{}", time.0 / 1_000_000)));
        words.join(" ")
    };
    remains(&evidence(tables), &whose, &rules(|_| {})).into_iter().map(told).collect()
}

#[test]
fn d6_every_row_counts_whose_columns_name_run_and_miner() {
    let tables = "
        scores
        miner_uid | score_type                 | lead_hours | score | response_id
        1         | era5_rmse_2t_24h           | 24         | -     | 999
        1         | era5_acc_other_48h         | -          | 0.5   | 101
        2         | day1_qc_score              | -          | 0.5   | 102
        3         | era5_final_composite_score | -1         | 0.5   | 103
        3         | something                  | 24         | 0.5   | 103
        8         | era5_rmse_2t_24h           | 24         | 0.5   | 108

        components
        miner_uid | score_type
        2         | other

        legacy
        miner_uid | lead_hours | era5_score
        4         | 72         | 0.5";
    assert_eq!(left(tables, &[1, 2, 3, 4, 5]), ["1: era5 {24}", "2: day1 components", "3:", "4: era5 {72}", "5:"]);
    let other_run = remains(&evidence(tables), &[(2, 1)].into(), &rules(|_| {}));
    assert_eq!(other_run[&(2, 1)], Remains::default());
}

#[test]
fn d6_the_oldest_step_that_ended() {
    let tables = "
        steps
        miner_uid | step_name | status      | started_at | completed_at
        1         | query     | in_progress | 5          | -
        1         | day1      | succeeded   | 6          | 20
        1         | era5      | failed      | 10         | -
        2         | query     | pending     | 5          | 6
        3         | verify    | succeeded   | -          | -";
    assert_eq!(left(tables, &[1, 2, 3]), ["1: step@10", "2:", "3:"]);
}

/// The ids of the former rows that stand in: of scores, components, steps.
fn standing_in(live: &str, former: &str, gone: &[(i32, Gone)]) -> [Vec<i64>; 3] {
    let (live, former) = (&evidence(live)[0], &evidence(former)[0]);
    let found = stand_ins(live, former, &gone.iter().cloned().collect(), |time| time < at(100.0));
    let ids = |batch: &RecordBatch, taken: &BooleanArray| {
        let ids = Columns(batch).id("id").values().to_vec();
        ids.into_iter().zip(taken.iter()).filter(|(_, taken)| *taken == Some(true)).map(|(id, _)| id).collect::<Vec<_>>()
    };
    let taken =
        [ids(&former.scores, &found.scores), ids(&former.components, &found.components), ids(&former.steps, &found.steps)];
    assert_eq!(found.rows(), taken.iter().map(Vec::len).sum::<usize>());
    taken
}

const LIVE: &str = "
    responses
    miner_uid
    1
    2

    steps
    id | miner_uid | step_name | status
    7  | 1         | query     | pending";

const FORMER: &str = "
    scores
    id | miner_uid | response_id | score_type                 | lead_hours
    1  | 1         | 101         | era5_rmse_2t_24h           | 24
    2  | 1         | 101         | era5_rmse_2t_48h           | 48
    3  | 1         | 101         | day1_qc_score              | -
    4  | 1         | 101         | era5_final_composite_score | -1
    5  | 1         | 999         | era5_rmse_2t_24h           | 24
    6  | 2         | 102         | era5_rmse_2t_24h           | 24
    7  | 3         | 103         | era5_rmse_2t_24h           | 24

    components
    id | miner_uid | response_id
    1  | 1         | 101
    2  | 2         | 102
    3  | 1         | 999

    steps
    id | miner_uid | step_name | status    | completed_at | started_at
    6  | 1         | verify    | succeeded | 50           | -
    7  | 1         | query     | succeeded | 50           | -
    8  | 1         | day1      | failed    | -            | 99
    9  | 1         | era5      | failed    | 100          | -
    10 | 1         | fetch     | pending   | 50           | -
    11 | 2         | verify    | succeeded | 50           | -
    12 | 1         | poll      | succeeded | -            | -";

#[test]
fn d6_an_archive_stands_in_for_what_is_gone_and_nothing_else() {
    let gone = |change: fn(&mut Gone)| {
        let mut gone = Gone::default();
        change(&mut gone);
        gone
    };
    let of_one = |change| standing_in(LIVE, FORMER, &[(1, gone(change))]);
    let none: [Vec<i64>; 3] = Default::default();
    assert_eq!(of_one(|_| {}), none);
    assert_eq!(of_one(|gone| gone.leads = [48].into()), [vec![2], vec![], vec![]]);
    assert_eq!(of_one(|gone| gone.era5 = true), [vec![1, 2], vec![], vec![]]);
    assert_eq!(of_one(|gone| gone.day1 = true), [vec![3], vec![], vec![]]);
    assert_eq!(of_one(|gone| gone.components = true), [vec![], vec![1], vec![]]);
    // Finished, older than the limit, and not there in whatever state.
    assert_eq!(of_one(|gone| gone.steps = true), [vec![], vec![], vec![6, 8]]);
    // The scores of miner 3 would be nobody's: its response is gone.
    let all = gone(|gone| gone.era5 = true);
    assert_eq!(standing_in(LIVE, FORMER, &[(2, all.clone()), (3, all)]), [vec![6], vec![], vec![]]);
}
