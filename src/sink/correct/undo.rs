//! The way back of a job, from what it wrote down; the server reads that by itself, so that no byte passes through here.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::error::{Error, ErrorKind, Result};

use super::catalogue::{self, Kind};
use super::load::{Stage, Staged, quoted};
use super::plan::{Cell, Guard, Record, Stamp, TablePlan, Work, cell_of, new_id, row_columns};
use super::session::Session;
use super::sql::same_key;

/// Plans the way back of a job, from what it wrote down.
pub async fn plan(session: &mut Session<'_>, job: &str) -> Result<Work> {
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
            tables.push(TablePlan::new(table, found, true));
        }
        let plan = tables.last_mut().expect("just pushed");
        plan.inserts |= deleted;
        plan.deletes |= inserted;
        if let Some(column) = column {
            let cell = cell_of(table, &column, found)?;
            plan.updates = true;
            if column == "updated_at" {
                plan.stamp = Stamp::Restore;
            }
            plan.cells.push(Cell { stage: Stage::Text, guard: Guard::Text, rank: false, ..cell });
        }
    }
    let fill = undo_fill(&tables, job);
    let staged = tables.iter().filter(|plan| plan.updates).map(undo_cells);
    let rows = Staged { table: "recount_rows".to_owned(), columns: row_columns(), rows: Vec::new() };
    let staged = std::iter::once(rows).chain(staged).collect();
    Ok(Work { record, tables, staged, fill, runs: BTreeSet::new(), min_age_seconds: 0, refresh: Vec::new(), notes: Vec::new() })
}

async fn undo_record(session: &mut Session<'_>, job: &str) -> Result<Record> {
    type Row = (String, Option<i64>, Option<String>, Option<Json>);
    const JOB: &str = "SELECT source, (extract(epoch FROM snapshot_at) * 1000000)::int8, digest, settings::text
                       FROM rollup_jobs WHERE id = $1::uuid";
    let query = sqlx::query_as::<_, (String, Option<i64>, Option<String>, Option<String>)>(JOB).bind(job);
    let found = session.wait("reading rollup_jobs", async |c| query.fetch_optional(c).await).await?;
    let found: Option<Row> = found
        .map(|(source, at, digest, settings)| (source, at, digest, settings.map(|text| crate::model::rows::parse_json(&text))));
    let (source, taken_at, digest, settings) = found.ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("undoing job {job}"), "there is no such job in rollup_jobs")
            .hint("`recount jobs` lists them; a job that is not there has changed nothing, or was pruned")
    })?;
    let id = new_id(session).await?;
    let settings = settings.unwrap_or_default();
    Ok(Record { id, command: "undo".to_owned(), source, taken_at, digest, settings, undoes: Some(job.to_owned()) })
}

/// The cells as the job wrote them down, all as text.
fn undo_cells(plan: &TablePlan) -> Staged {
    let mut columns = vec![("n".to_owned(), Stage::Int4)];
    for cell in &plan.cells {
        columns.push((format!("{}_set", cell.name), Stage::Bool));
        columns.push((format!("{}_old", cell.name), Stage::Text));
        columns.push((format!("{}_new", cell.name), Stage::Text));
    }
    Staged { table: plan.cells_table(), columns, rows: Vec::new() }
}

/// What was after is what must be there now; what was before is what comes back.
fn undo_fill(tables: &[TablePlan], job: &str) -> Vec<String> {
    let rows = format!(
        "INSERT INTO recount_rows (n, target, change, miner_uid, forecast_run_id, scope, run_id, ev_run, ev_miner, image)
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
            "INSERT INTO {} SELECT r.n, {} FROM recount_rows r JOIN rollup_corrections k ON k.job_id = '{job}'
             AND k.table_name = r.target AND k.column_name IS NOT NULL AND {key}
             WHERE r.target = '{}' AND r.change = 'update' GROUP BY r.n",
            plan.cells_table(),
            values.collect::<Vec<_>>().join(", "),
            plan.table
        )
    });
    // rollup_corrections may never have been analyzed, and then a nested loop over it looks cheap.
    let [careful, back] = ["SET LOCAL enable_nestloop = off", "SET LOCAL enable_nestloop = on"].map(str::to_owned);
    let before = [careful, rows, "ANALYZE recount_rows".to_owned()];
    before.into_iter().chain(cells).chain([back]).collect()
}
