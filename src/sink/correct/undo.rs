//! The way back of a job, from what it wrote down; the server reads that by itself, so that no byte passes through here.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::error::{Error, ErrorKind, Result};
use crate::model::writing::Undoing;

use super::catalogue::{self, Kind};
use super::load::{StagedType, quoted};
use super::plan::{Cell, Guard, Record, Stamp, TablePlan, Work, cell_of, new_id, staged_cells};
use super::rows::{Lines, staged_rows};
use super::session::Session;
use super::sql::same_key;

/// Plans the way back of a job, from what it wrote down.
pub async fn plan(session: &mut Session<'_>, job: &str, options: &Undoing) -> Result<Work> {
    let catalogue = catalogue::read(session).await?;
    let record = undo_record(session, job).await?;
    const CHANGES: &str = "
        SELECT table_name, column_name, bool_or(column_name IS NULL AND before IS NULL), bool_or(column_name IS NULL AND after IS NULL)
        FROM rollup_corrections WHERE job_id = $1::uuid GROUP BY 1, 2 ORDER BY 1, 2";
    let query = sqlx::query_as::<_, (String, Option<String>, bool, bool)>(CHANGES).bind(job);
    let changes = session.wait("reading rollup_corrections", async |c| query.fetch_all(c).await).await?;
    let mut tables: Vec<TablePlan> = Vec::new();
    for (table, column, inserted, deleted) in changes {
        let found = catalogue.iter().find(|(name, found)| **name == table && found.kind == Kind::Table);
        let (table, found) = found.ok_or_else(|| {
            Error::new(
                ErrorKind::Contract,
                format!("undoing job {job}"),
                format!("{table} is no table of this database any more"),
            )
        })?;
        if tables.last().is_none_or(|plan| plan.table != *table) {
            tables.push(TablePlan::new(table, found, true, options.updated_at));
        }
        let plan = tables.last_mut().expect("just pushed");
        plan.inserts |= deleted;
        plan.deletes |= inserted;
        if let Some(column) = column {
            let cell = cell_of(table, &column, found)?;
            plan.updates = true;
            if column == "updated_at" {
                plan.stamp = Stamp::Restore(options.updated_at);
            }
            plan.cells.push(Cell { stage: StagedType::Text, guard: Guard::Text, rank: false, ..cell });
        }
    }
    let fill = undo_fill(&tables, job);
    // All as text, as the job wrote it down; the server fills these tables by itself.
    let cells = tables.iter().filter(|plan| plan.updates).map(|plan| staged_cells(plan, Lines::Cells(Vec::new())));
    let staged = std::iter::once(staged_rows(Vec::new())).chain(cells).collect();
    Ok(Work {
        record,
        tables,
        staged,
        fill,
        runs: BTreeSet::new(),
        min_age_seconds: 0,
        refresh: Vec::new(),
        notes: Vec::new(),
        search_path: catalogue::search_path(session).await?,
        pause_validator: options.pause_validator,
    })
}

async fn undo_record(session: &mut Session<'_>, job: &str) -> Result<Record> {
    /// The job as it wrote itself down.
    struct Undone {
        source: String,
        taken_at: Option<i64>,
        digest: Option<String>,
        settings: Option<String>,
    }
    crate::postgres::from_row!(Undone { source, taken_at, digest, settings });
    const JOB: &str = "SELECT source, (extract(epoch FROM snapshot_at) * 1000000)::int8 AS taken_at, digest,
                              settings::text AS settings
                       FROM rollup_jobs WHERE id = $1::uuid";
    let query = sqlx::query_as::<_, Undone>(JOB).bind(job);
    let found = session.wait("reading rollup_jobs", async |c| query.fetch_optional(c).await).await?;
    let Undone { source, taken_at, digest, settings } = found.ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("undoing job {job}"), "there is no such job in rollup_jobs")
            .hint("`recount jobs` lists them; a job that is not there has changed nothing, or was pruned")
    })?;
    let settings: Json = settings.map(|text| crate::model::rows::parse_json(&text)).unwrap_or_default();
    let id = new_id(session).await?;
    let undoes = Some(job.to_owned());
    Ok(Record { id, command: "undo".to_owned(), source, taken_at, digest, settings, undoes, diff: None })
}

/// What was after is what must be there now; what was before is what comes back.
fn undo_fill(tables: &[TablePlan], job: &str) -> Vec<String> {
    let rows = format!(
        "INSERT INTO pg_temp.recount_rows (n, target, change, miner_uid, forecast_run_id, scope, run_id, ev_run, ev_miner, image)
         SELECT row_number() OVER (ORDER BY table_name, miner_uid, forecast_run_id, scope, run_id), table_name, change,
                miner_uid, forecast_run_id, scope, run_id, 0, 0, image
         FROM (SELECT table_name, miner_uid, forecast_run_id, scope, run_id,
                      CASE WHEN column_name IS NOT NULL THEN 'update' WHEN before IS NULL THEN 'delete' ELSE 'insert' END AS change,
                      max(CASE WHEN column_name IS NULL THEN coalesce(before, after) END) AS image
               FROM rollup_corrections WHERE job_id = '{job}' GROUP BY 1, 2, 3, 4, 5, 6) k"
    );
    let cells = tables.iter().filter(|plan| plan.updates).map(|plan| {
        let key = same_key(plan.table, "k", "r");
        let values = plan.cells.iter().map(|cell| {
            let this = format!("k.column_name = {}", quoted(&cell.name));
            format!("bool_or({this}), max(k.after) FILTER (WHERE {this}), max(k.before) FILTER (WHERE {this})")
        });
        format!(
            "INSERT INTO {} SELECT r.n, {} FROM pg_temp.recount_rows r JOIN rollup_corrections k ON k.job_id = '{job}'
             AND k.table_name = r.target AND k.column_name IS NOT NULL AND {key}
             WHERE r.target = '{}' AND r.change = 'update' GROUP BY r.n",
            plan.cells_table(),
            values.collect::<Vec<_>>().join(", "),
            plan.table
        )
    });
    // rollup_corrections may never have been analyzed, and then a nested loop over it looks cheap.
    let [careful, back] = ["SET LOCAL enable_nestloop = off", "SET LOCAL enable_nestloop = on"].map(str::to_owned);
    let before = [careful, rows, "ANALYZE pg_temp.recount_rows".to_owned()];
    before.into_iter().chain(cells).chain([back]).collect()
}
