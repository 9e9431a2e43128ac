//! Evidence that an archive has and its source no longer. A validator deletes: old steps, all scores of a miner whose hotkey
//! changes, the ERA5 scores of a run that is reset. What was archived stays, marked row by row, and counts where nothing took its
//! place, as D6 says of history.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;

use super::archive::recoded;
use crate::archive::tables::{COMPONENTS_TABLE, RESPONSES_TABLE, SCORES_TABLE, STEPS_TABLE, Table};
use crate::error::{Context, ErrorKind, Result};
use crate::model::evidence::RunEvidence;
use crate::model::rollups::RetainedRow;
use crate::model::time::Micros;

/// The tables of evidence, in the order of [`batches`].
pub const TABLES: [&Table; 4] = [&RESPONSES_TABLE, &SCORES_TABLE, &COMPONENTS_TABLE, &STEPS_TABLE];

/// The marked rows of a run.
#[derive(Debug, Clone, Default)]
pub struct Retained {
    /// One for each row that is gone.
    pub marks: Vec<RetainedRow>,
    /// The rows that stay and do not count, a batch for each of [`TABLES`].
    pub aside: Vec<RecordBatch>,
}

/// The batches of a run, in the order of [`TABLES`].
pub fn batches(run: &RunEvidence) -> [&RecordBatch; 4] {
    [&run.responses, &run.scores, &run.components, &run.steps]
}

fn batches_mut(run: &mut RunEvidence) -> [&mut RecordBatch; 4] {
    [&mut run.responses, &mut run.scores, &mut run.components, &mut run.steps]
}

/// Whether the source has no longer all rows of a table, by their ids.
pub fn lacks(live: &RecordBatch, former: &RecordBatch) -> bool {
    let live = ids(live);
    former_ids(former).any(|id| !live.contains(&id))
}

fn former_ids(batch: &RecordBatch) -> impl Iterator<Item = i64> {
    let ids = batch.column_by_name("id").map(|column| column.as_primitive::<Int64Type>().values().to_vec());
    ids.unwrap_or_default().into_iter()
}

fn ids(batch: &RecordBatch) -> HashSet<i64> {
    former_ids(batch).collect()
}

/// Adds to the evidence that a source has what an archive has of it beyond that. `marks` are those that the archive has; what was
/// put aside for newer evidence stays so when that goes too. `kept_since`: steps that ended before this are deleted by the
/// validator as old ones.
pub fn unite(
    live: &mut RunEvidence,
    former: &RunEvidence,
    marks: &[RetainedRow],
    kept_since: Option<Micros>,
) -> Result<Retained> {
    let counts = [counting_responses, counting_scores, counting_components];
    let mut retained = Retained::default();
    let before = live.clone();
    for (index, batch) in batches_mut(live).into_iter().enumerate() {
        let (here, there) = (batches(&before)[index], batches(former)[index]);
        let known = ids(here);
        let gone: Vec<bool> = former_ids(there).map(|id| !known.contains(&id)).collect();
        let stands_in = match counts.get(index) {
            Some(counts) => {
                let aside = put_aside(marks, TABLES[index]);
                let stands_in = counts(here, there).into_iter().zip(former_ids(there));
                stands_in.map(|(stands_in, id)| stands_in && !aside.contains(&id)).collect()
            }
            // A step that was too young for that grows old.
            None => counting_steps(here, there, kept_since),
        };
        let chosen: Vec<bool> = gone.iter().zip(&stands_in).map(|(gone, stands_in)| *gone && *stands_in).collect();
        let aside: Vec<bool> = gone.iter().zip(&stands_in).map(|(gone, stands_in)| *gone && !*stands_in).collect();
        retained.mark(TABLES[index], there, &gone, &chosen);
        retained.aside.push(part(there, &aside)?);
        if chosen.contains(&true) {
            *batch = joined(here, &part(there, &chosen)?)?;
        }
    }
    Ok(retained)
}

/// Takes the marked rows that do not count out of what an archive has of a run.
pub fn set_aside(run: &mut RunEvidence, marks: Vec<RetainedRow>) -> Result<Retained> {
    let mut retained = Retained { marks, aside: Vec::new() };
    for (table, batch) in TABLES.into_iter().zip(batches_mut(run)) {
        let out = put_aside(&retained.marks, table);
        let is_out: Vec<bool> = former_ids(batch).map(|id| out.contains(&id)).collect();
        retained.aside.push(part(batch, &is_out)?);
        if is_out.contains(&true) {
            let stays: Vec<bool> = is_out.iter().map(|out| !out).collect();
            *batch = part(batch, &stays)?;
        }
    }
    Ok(retained)
}

/// The ids of a table's rows that are marked as not counting.
fn put_aside(marks: &[RetainedRow], table: &Table) -> HashSet<i64> {
    let of_table = |row: &&RetainedRow| row.source_table.as_deref() == Some(table.name) && row.counts == Some(false);
    marks.iter().filter(of_table).filter_map(|row| row.id).collect()
}

impl Retained {
    fn mark(&mut self, table: &Table, rows: &RecordBatch, gone: &[bool], counts: &[bool]) {
        let (runs, miners) = (int(rows, "run_id"), int(rows, "miner_uid"));
        let marked = former_ids(rows).enumerate().filter(|(row, _)| gone[*row]);
        self.marks.extend(marked.map(|(row, id)| RetainedRow {
            run_id: runs(row),
            source_table: Some(table.name.to_owned()),
            id: Some(id),
            miner_uid: miners(row),
            counts: Some(counts[row]),
        }));
    }
}

/// A table of a run with the rows that were put aside: what an archive holds of it.
pub fn joined(rows: &RecordBatch, more: &RecordBatch) -> Result<RecordBatch> {
    let more = fitted(rows, more).and_then(|more| concat_batches(&rows.schema(), [rows, &more]));
    recoded(&more.doing(ErrorKind::Data, || "joining evidence with what an archive has of it".to_owned())?)
}

fn fitted(rows: &RecordBatch, more: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(rows.schema(), more.columns().to_vec())
}

fn part(rows: &RecordBatch, chosen: &[bool]) -> Result<RecordBatch> {
    filter_record_batch(rows, &BooleanArray::from(chosen.to_vec()))
        .doing(ErrorKind::Data, || "choosing rows of an archive".to_owned())
}

fn int<'b>(batch: &'b RecordBatch, name: &str) -> impl Fn(usize) -> Option<i32> + use<'b> {
    let column = batch.column_by_name(name).expect("invariant: a column of the contract").as_primitive::<Int32Type>();
    move |row| (!column.is_null(row)).then(|| column.value(row))
}

fn text<'b>(batch: &'b RecordBatch, name: &str) -> impl Fn(usize) -> &'b str + use<'b> {
    let coded = batch.column_by_name(name).expect("invariant: a column of the contract").as_dictionary::<Int32Type>();
    let texts = coded.values().as_string::<i32>();
    move |row| if coded.is_null(row) { "" } else { texts.value(coded.keys().value(row) as usize) }
}

/// A response stands in where the miner has none in the run.
fn counting_responses(here: &RecordBatch, there: &RecordBatch) -> Vec<bool> {
    absent_miners(here, there)
}

/// Components stand in where the miner has none in the run.
fn counting_components(here: &RecordBatch, there: &RecordBatch) -> Vec<bool> {
    absent_miners(here, there)
}

fn absent_miners(here: &RecordBatch, there: &RecordBatch) -> Vec<bool> {
    let (own, miner) = (int(here, "miner_uid"), int(there, "miner_uid"));
    let present: HashSet<Option<i32>> = (0..here.num_rows()).map(own).collect();
    (0..there.num_rows()).map(|row| !present.contains(&miner(row))).collect()
}

/// What a score is evidence of.
#[derive(PartialEq, Eq, Hash)]
enum Of {
    /// A lead of a miner.
    Lead(Option<i32>, Option<i32>),
    /// The Day-1 score of a miner.
    Day1(Option<i32>),
}

/// ERA5 rows stand in where the lead of the miner has none, Day-1 rows where the miner has none. So a score that was deleted to be
/// made anew never counts beside the new one.
fn counting_scores(here: &RecordBatch, there: &RecordBatch) -> Vec<bool> {
    fn of(batch: &RecordBatch) -> Vec<Option<Of>> {
        let (miner, lead, kind) = (int(batch, "miner_uid"), int(batch, "lead_hours"), text(batch, "score_type"));
        let of = |row: usize| match kind(row) {
            "day1_qc_score" => Some(Of::Day1(miner(row))),
            name if is_era5(name) => Some(Of::Lead(miner(row), lead(row))),
            _ => None,
        };
        (0..batch.num_rows()).map(of).collect()
    }
    let present: HashSet<Of> = of(here).into_iter().flatten().collect();
    of(there).into_iter().map(|of| of.is_some_and(|of| !present.contains(&of))).collect()
}

/// I1's skill, ACC and RMSE scores, by their names.
fn is_era5(name: &str) -> bool {
    let kinds = ["skill_gfs_", "skill_clim_", "acc_", "rmse_"];
    name.strip_prefix("era5_").is_some_and(|rest| kinds.iter().any(|kind| rest.starts_with(kind)))
}

/// Finished steps that are as old as those that the validator deletes stand in, unless the source still has such of the miner.
fn counting_steps(here: &RecordBatch, there: &RecordBatch, kept_since: Option<Micros>) -> Vec<bool> {
    fn old(batch: &RecordBatch, kept_since: Micros) -> Vec<bool> {
        let status = text(batch, "status");
        let times = ["completed_at", "started_at"].map(|name| {
            let column = batch.column_by_name(name).expect("invariant: a column of the contract");
            column.as_primitive::<TimestampMicrosecondType>()
        });
        let time = |row: usize| times.iter().find(|times| !times.is_null(row)).map(|times| Micros(times.value(row)));
        let is_old =
            |row: usize| matches!(status(row), "succeeded" | "failed") && time(row).is_some_and(|time| time < kept_since);
        (0..batch.num_rows()).map(is_old).collect()
    }
    let Some(kept_since) = kept_since else { return vec![false; there.num_rows()] };
    let (own, miner) = (int(here, "miner_uid"), int(there, "miner_uid"));
    let kept: HashSet<Option<i32>> =
        old(here, kept_since).iter().enumerate().filter(|(_, old)| **old).map(|(row, _)| own(row)).collect();
    old(there, kept_since).iter().enumerate().map(|(row, old)| *old && !kept.contains(&miner(row))).collect()
}

/// The rows of a run and those beside them that do not count, a batch for each of [`TABLES`].
pub fn whole(run: &RunEvidence, retained: Option<&Retained>) -> Result<Vec<RecordBatch>> {
    let aside = |index: usize| retained.and_then(|retained| retained.aside.get(index)).filter(|aside| aside.num_rows() > 0);
    let whole =
        |(index, batch): (usize, &RecordBatch)| aside(index).map_or_else(|| Ok(batch.clone()), |aside| joined(batch, aside));
    batches(run).into_iter().enumerate().map(whole).collect()
}
