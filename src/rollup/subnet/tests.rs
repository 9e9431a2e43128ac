//! N1 and N2 by their rules. Expected cells are worked out by hand.

use crate::rollup::table::{assert_cells, fold, lifetime};

#[test]
fn n1_one_run() {
    let fold = fold(
        "responses
         miner_uid | status
         1         | received
         2         | failed
         3         | received
         4         | received

         scores
         miner_uid | score_type            | score
         1         | era5_skill_gfs_2t_24h | 1
         1         | era5_skill_gfs_2t_48h | 0.5
         2         | era5_skill_gfs_2t_24h | 0.5
         3         | day1_qc_score         | 0.5
         1         | day1_qc_score         | 0

         steps
         miner_uid | step_name | substep    | status    | latency_ms | error_json
         1         | verify    | open_store | succeeded | 100        | -
         2         | verify    | open_store | succeeded | 200        | -
         3         | verify    | open_store | failed    | -          | timeout: slow
         4         | verify    | open_store | failed    | -          | connection: refused
         5         | fetch     | kerchunk   | failed    | -          | hash: wrong",
    );
    // Combined 0.75 (miner 1) and 0.25 (miner 2): mean 0.5, deviation the root of 0.125, a tenth of the way 0.3.
    assert_cells(
        &fold.subnet,
        "scope | run_id | miners | active_miners | completed | failed | in_progress | mean_score | score_std_dev      | min_score | p10_score | median_score | p90_score | max_score
         run   | 1      | 5      | 3             | 1         | 4      | 0           | 0.5        | 0.3535533905932738 | 0.25      | 0.3       | 0.5          | 0.7       | 0.75",
    );
    // Day-1: 0.5 and 0. Completeness: 1, 0.5, 0, 0, 0. Two of five hosts accessible.
    assert_cells(
        &fold.subnet,
        "mean_day1_score | mean_completeness | mean_hosting_latency_ms | host_reliability_ratio
         0.25            | 0.3               | 150.0                   | 0.4",
    );
}

#[test]
fn n1_in_progress_is_what_neither_completed_nor_failed_and_overall_is_averaged() {
    let fold = fold(
        "responses
         miner_uid | status
         1         | received
         2         | received
         3         | failed

         scores
         miner_uid | score_type    | score
         1         | day1_qc_score | 0.5
         2         | day1_qc_score | 0",
    );
    // The weight of Day-1 is 0.05 of 1.
    assert_cells(
        &fold.subnet,
        "miners | active_miners | completed | failed | in_progress | mean_overall_score | mean_score | median_score | host_reliability_ratio
         3      | 2             | 0         | 1      | 2           | 0.025              | -          | -            | 0.0",
    );
}

#[test]
fn n1_a_run_without_rows() {
    let fold = fold("runs\n id\n 6");
    assert_cells(
        &fold.subnet,
        "scope | run_id | miners | active_miners | in_progress | mean_score | mean_completeness | top_miners | bottom_miners
         run   | 6      | 0      | 0             | 0           | -          | -                 | []         | []",
    );
}

#[test]
fn n1_for_life() {
    let (_, subnet) = lifetime(
        "miner_uid | combined | completeness | day1 | status    | hosting    | latency
         1         | 0.25     | 1            | -    | completed | accessible | 100
         1         | 0.75     | 0.5          | -    | failed    | timeout    | -
         2         | 0.75     | 0.5          | 0.5  | -         | accessible | 300
         3         | -        | 0            | 0.25 | failed    | -          | -
         4         | -        | 0            | -    | failed    | error      | -",
    );
    // Averages 0.5 and 0.75; completeness 0.75, 0.5, 0, 0; ratios 0.5, 1, 0, 0; latencies 100 and 300.
    assert_cells(
        [&subnet],
        "scope    | run_id | miners | active_miners | completed | failed | in_progress | mean_score | min_score | median_score | max_score
         lifetime | -      | 4      | 3             | 1         | 3      | 1           | 0.625      | 0.5       | 0.625        | 0.75",
    );
    assert_cells(
        [&subnet],
        "mean_day1_score | mean_overall_score | mean_completeness | mean_hosting_latency_ms | host_reliability_ratio
         0.375           | -                  | 0.3125            | 200.0                   | 0.375",
    );
}

#[test]
fn n2_ten_best_and_ten_worst_ties_by_uid() {
    let few = lifetime("miner_uid | combined\n 3 | 0.5\n 1 | 0.25\n 2 | 0.5\n 4 | -").1;
    assert_cells(
        [&few],
        r#"top_miners | bottom_miners
        [{"miner_hotkey":"key2","miner_uid":2,"rank":1,"score":0.5},{"miner_hotkey":"key3","miner_uid":3,"rank":1,"score":0.5},{"miner_hotkey":"key1","miner_uid":1,"rank":3,"score":0.25}] | [{"miner_hotkey":"key1","miner_uid":1,"rank":3,"score":0.25},{"miner_hotkey":"key2","miner_uid":2,"rank":1,"score":0.5},{"miner_hotkey":"key3","miner_uid":3,"rank":1,"score":0.5}]"#,
    );
    let rows: String = (1..=12).map(|uid| format!("\n{uid} | 0.{uid:02}")).collect();
    let many = lifetime(&format!("miner_uid | combined{rows}")).1;
    let uids = |list: &Option<crate::model::miner_list::MinerList>| match list {
        Some(crate::model::miner_list::MinerList::Recomputed(listed)) => {
            listed.iter().map(|entry| entry.miner.uid).collect::<Vec<_>>()
        }
        _ => panic!("a recomputed list"),
    };
    assert_eq!(uids(&many.top_miners), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    assert_eq!(uids(&many.bottom_miners), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}
