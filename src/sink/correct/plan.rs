//! What a job is going to do: its record, its tables, and the rows that travel.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::error::{Error, ErrorKind, Result};
use crate::model::columns::{Group, Type};
use crate::model::correction::{Change, Correction, Corrections, EvidenceOf, is_rank, type_of};
use crate::model::filter::{STORED_TABLES, stored_column};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::model::value::Value;
use crate::model::writing::{Correcting, UpdatedAt};

use super::catalogue::{self, Catalogue, Found, Kind};
use super::load::{Staged, StagedType, quoted};
use super::rows::{Cells, Inserted, Lines, Moved, fingerprints, rows_of, staged_rows};
use super::session::Session;
use super::{breaker, raw};

/// How a stored cell is held against the diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A double, by its bits.
    Bits,
    Plain,
    Text,
    /// Text that was sanitized as it was read: by a hash of the original.
    Hash,
}

/// A column of which cells change, or that an inserted row is given.
#[derive(Debug, Clone)]
pub struct Cell {
    pub name: String,
    pub stage: StagedType,
    /// The type in the catalogue.
    pub kind: String,
    /// What that is made of, where it is a domain.
    pub base: String,
    pub guard: Guard,
    pub rank: bool,
}

impl Cell {
    pub fn is_float(&self) -> bool {
        self.base == "double precision"
    }
}

/// What becomes of `updated_at` (D7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// The table has none.
    None,
    Set(UpdatedAt),
    /// It is one of the cells that are put back; where it was written since, it is set as for a correction.
    Restore(UpdatedAt),
}

/// How one table is corrected.
#[derive(Debug, Clone)]
pub struct TablePlan {
    pub table: &'static str,
    pub cells: Vec<Cell>,
    /// Columns of inserted rows; none where whole rows are restored.
    pub insert: Vec<Cell>,
    /// All columns that can be written.
    pub columns: Vec<String>,
    pub stamp: Stamp,
    pub stamp_kind: Option<String>,
    pub created_kind: Option<String>,
    /// What `validator_hotkey` of an inserted row is, as SQL.
    pub hotkey: Option<String>,
    pub updates: bool,
    pub inserts: bool,
    pub deletes: bool,
    pub undo: bool,
}

impl TablePlan {
    fn short(&self) -> &'static str {
        match self.table {
            ForecastStat::TABLE => "stats",
            MinerStat::TABLE => "miners",
            _ => "subnet",
        }
    }

    pub fn cells_table(&self) -> String {
        format!("pg_temp.recount_cells_{}", self.short())
    }

    pub fn insert_table(&self) -> String {
        format!("pg_temp.recount_insert_{}", self.short())
    }

    pub fn ok_table(&self) -> String {
        format!("pg_temp.recount_ok_{}", self.short())
    }

    pub fn gone_table(&self) -> String {
        format!("pg_temp.recount_gone_{}", self.short())
    }

    /// What `updated_at` was and becomes.
    pub fn times_table(&self) -> String {
        format!("pg_temp.recount_times_{}", self.short())
    }

    /// The greatest `updated_at` before the job.
    pub fn mark_table(&self) -> String {
        format!("pg_temp.recount_mark_{}", self.short())
    }

    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    /// The types of `updated_at` and `created_at` of a row that is inserted with the times of its evidence (D7).
    pub fn inserted_times(&self) -> [(&'static str, Option<&str>); 2] {
        let dated = !self.undo && self.stamp != Stamp::Set(UpdatedAt::Now);
        let [updated, created] = [&self.stamp_kind, &self.created_kind].map(|kind| kind.as_deref().filter(|_| dated));
        [("updated_at", updated), ("created_at", created)]
    }

    /// Whether whole rows come from their images.
    pub fn restores(&self) -> bool {
        self.undo
    }

    pub fn is_stamp(&self, cell: &Cell) -> bool {
        matches!(self.stamp, Stamp::Restore(_)) && cell.name == "updated_at"
    }

    pub fn new(table: &'static str, found: &Found, undo: bool, updated_at: UpdatedAt) -> TablePlan {
        let kind = |column: &str| found.written(column).map(|column| column.kind.clone());
        let stamp_kind = kind("updated_at");
        TablePlan {
            table,
            cells: Vec::new(),
            insert: Vec::new(),
            columns: found.columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect(),
            stamp: if stamp_kind.is_some() { Stamp::Set(updated_at) } else { Stamp::None },
            stamp_kind,
            created_kind: kind("created_at"),
            hotkey: None,
            updates: false,
            inserts: false,
            deletes: false,
            undo,
        }
    }
}

/// The row of the job in `rollup_jobs`.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub id: String,
    pub command: String,
    pub source: String,
    /// Microseconds.
    pub taken_at: Option<i64>,
    pub digest: Option<String>,
    pub settings: Json,
    pub undoes: Option<String>,
    /// The diff folder that is applied, by the hash of its manifest.
    pub diff: Option<String>,
}

/// Everything that a job does, once it is decided.
#[derive(Debug, Clone, Default)]
pub struct Work {
    pub record: Record,
    pub tables: Vec<TablePlan>,
    /// What is loaded: rows, cells, inserted rows, fingerprints.
    pub staged: Vec<Staged>,
    /// What is filled by the server: the corrections of the job to undo.
    pub fill: Vec<String>,
    /// Runs with a row to correct, [`EvidenceOf::ALL`] for a lifetime row; an undo asks after none.
    pub runs: BTreeSet<i32>,
    pub min_age_seconds: u64,
    /// Materialized views to refresh, in the order in which one is made from the other.
    pub refresh: Vec<&'static str>,
    /// What was found and cannot be corrected here.
    pub notes: Vec<String>,
    /// The schemas of the tables.
    pub search_path: String,
    pub pause_validator: bool,
}

impl Work {
    pub fn is_undo(&self) -> bool {
        self.record.undoes.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// Plans corrections: what the breaker lets through, for the tables as the catalogue has them.
pub async fn corrections(session: &mut Session<'_>, corrections: &Corrections, options: &Correcting) -> Result<Work> {
    let catalogue = catalogue::read(session).await?;
    let mut work = Work {
        record: Record {
            id: new_id(session).await?,
            command: options.command.to_owned(),
            source: corrections.origin.source.clone(),
            taken_at: Some(corrections.origin.taken_at),
            digest: Some(corrections.origin.digest.clone()),
            settings: settings(corrections, options),
            undoes: None,
            diff: corrections.origin.diff.clone(),
        },
        tables: Vec::new(),
        staged: Vec::new(),
        fill: Vec::new(),
        runs: BTreeSet::new(),
        min_age_seconds: options.min_age.as_secs(),
        refresh: Vec::new(),
        notes: Vec::new(),
        search_path: catalogue::search_path(session).await?,
        pause_validator: options.pause_validator,
    };
    check_columns(corrections)?;
    let corrections = correctable(corrections, &catalogue, &mut work)?;
    check_size(session, &corrections, options).await?;
    work.runs = corrections.rows.iter().map(|row| EvidenceOf::of(row.table, &row.key).run).collect();
    work.staged.push(staged_rows(rows_of(&corrections.rows)));
    for (table, found) in &catalogue {
        plan_table(session, table, found, &corrections.rows, options, &mut work).await?;
    }
    work.staged.push(fingerprints(&corrections));
    Ok(work)
}

/// The settings of the comparison, and with them how it is corrected.
fn settings(corrections: &Corrections, options: &Correcting) -> Json {
    let mut settings = corrections.origin.settings.clone();
    if let Json::Object(settings) = &mut settings {
        let correction = json!({
            "exact": options.selection.exact,
            "prune_extra": options.selection.prune_extra,
            "clear_unproven": options.selection.clear_unproven,
            "habits": options.selection.habits,
            "updated_at": options.updated_at.name(),
            "diff": corrections.origin.diff,
        });
        settings.insert("correction".to_owned(), correction);
    }
    settings
}

/// D4: only what is compared is ever changed, and a new row gets nothing but what is recomputed. A diff of ours has nothing else.
fn check_columns(corrections: &Corrections) -> Result<()> {
    for row in &corrections.rows {
        let group = |column: &str| stored_column(row.table, column).map(|column| column.group);
        let foreign = match &row.change {
            Change::Update(cells) => {
                let mut columns = cells.iter().map(|cell| &cell.column);
                columns.find(|column| group(column).is_none_or(|group| group == Group::Key))
            }
            Change::Insert(cells) => cells.iter().map(|(column, _)| column).find(|column| group(column).is_none()),
            Change::Delete => None,
        };
        if let Some(column) = foreign {
            let detail = format!("the diff sets {}.{column}, which no comparison ever finds to differ", row.table);
            return Err(Error::new(ErrorKind::Snapshot, "planning corrections", detail)
                .hint("nothing was written; this diff was not written by recount, or by another version of it"));
        }
    }
    Ok(())
}

/// An id for the job, known before anything is written.
pub async fn new_id(session: &mut Session<'_>) -> Result<String> {
    let query = sqlx::query_scalar("SELECT gen_random_uuid()::text");
    session.wait("asking for the id of a job", async |c| query.fetch_one(c).await).await
}

/// Leaves out what no statement can correct: views, and columns that the server computes.
fn correctable(corrections: &Corrections, catalogue: &Catalogue, work: &mut Work) -> Result<Corrections> {
    let mut kept = corrections.clone();
    for (table, _) in STORED_TABLES {
        let rows = kept.rows.iter().filter(|row| row.table == table).count();
        let kind = catalogue.get(table).map(|found| found.kind);
        match kind {
            _ if rows == 0 => continue,
            Some(Kind::Table) => {
                let found = &catalogue[table];
                work.notes.extend(leave_generated(table, found, &mut kept));
                continue;
            }
            Some(Kind::MaterializedView) => work.refresh.push(table),
            Some(Kind::View) => {
                work.notes.push(format!("{table} is a view: {rows} rows differ that only its definition can correct"))
            }
            None => {
                let detail = format!("the database has no table {table}, but the diff has {rows} rows of it");
                return Err(Error::new(ErrorKind::Contract, "planning corrections", detail)
                    .hint("was the diff made from another database?"));
            }
        }
        kept.rows.retain(|row| row.table != table);
    }
    Ok(kept)
}

/// Leaves out cells of generated columns; a note says how many, by column.
fn leave_generated(table: &str, found: &Found, corrections: &mut Corrections) -> Vec<String> {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    corrections.rows.retain_mut(|row| match &mut row.change {
        Change::Update(cells) if row.table == table => {
            cells.retain(|cell| {
                let generated = found.is_generated(&cell.column);
                if generated {
                    *left.entry(cell.column.clone()).or_default() += 1;
                }
                !generated
            });
            !cells.is_empty()
        }
        _ => true,
    });
    let note = |(column, cells): (&String, &usize)| {
        format!("{table}.{column} is a generated column: {cells} of its cells differ, and only its definition can correct them")
    };
    left.iter().map(note).collect()
}

async fn check_size(session: &mut Session<'_>, corrections: &Corrections, options: &Correcting) -> Result<()> {
    let mut rows = BTreeMap::new();
    for (table, _) in STORED_TABLES {
        if corrections.rows.iter().any(|row| row.table == table) {
            let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
            let count = session.wait(&format!("counting {table}"), async |c| query.fetch_one(c).await).await?;
            rows.insert(table, count.unsigned_abs());
        }
    }
    breaker::check(&options.guards, corrections, |table| rows.get(table).copied().unwrap_or_default())
}

async fn plan_table(
    session: &mut Session<'_>,
    table: &'static str,
    found: &Found,
    rows: &[Correction],
    options: &Correcting,
    work: &mut Work,
) -> Result<()> {
    let numbered: Vec<(i32, &Correction)> = (1..).zip(rows).filter(|(_, row)| row.table == table).collect();
    if numbered.is_empty() {
        return Ok(());
    }
    let mut plan = TablePlan::new(table, found, false, options.updated_at);
    plan.deletes = numbered.iter().any(|(_, row)| row.change == Change::Delete);
    stage_updates(session, &mut plan, found, &numbered, work).await?;
    stage_inserts(&mut plan, found, &numbered, options, work)?;
    work.tables.push(plan);
    Ok(())
}

/// The cells to change, one line for each row: whether, from what, to what.
async fn stage_updates(
    session: &mut Session<'_>,
    plan: &mut TablePlan,
    found: &Found,
    rows: &[(i32, &Correction)],
    work: &mut Work,
) -> Result<()> {
    let columns: BTreeSet<&str> = rows.iter().flat_map(|(_, row)| row.cells()).map(|cell| cell.column.as_str()).collect();
    plan.cells = columns.into_iter().map(|name| cell_of(plan.table, name, found)).collect::<Result<_>>()?;
    let line = |(n, row): &(i32, &Correction)| {
        let moved = |column: &str| {
            let cell = row.cells().iter().find(|cell| cell.column == column)?;
            Some(Moved { old: cell.stored.clone(), new: cell.recomputed.clone() })
        };
        Cells { n: *n, cells: plan.cells.iter().map(|cell| moved(&cell.name)).collect() }
    };
    let updates = rows.iter().filter(|(_, row)| matches!(row.change, Change::Update(_)));
    let mut lines: Vec<Cells> = updates.map(line).collect();
    plan.updates = !lines.is_empty();
    if plan.updates {
        raw::guard(session, plan, rows, &mut lines).await?;
        work.staged.push(staged_cells(plan, Lines::Cells(lines)));
    }
    Ok(())
}

/// The table of the cells: for each of them, whether it is to change, from what and to what.
pub fn staged_cells(plan: &TablePlan, lines: Lines) -> Staged {
    let mut columns = vec![("n".to_owned(), StagedType::Int4)];
    for cell in &plan.cells {
        let old = if cell.guard == Guard::Hash { StagedType::Text } else { cell.stage };
        columns.push((format!("{}_set", cell.name), StagedType::Bool));
        columns.push((format!("{}_old", cell.name), old));
        columns.push((format!("{}_new", cell.name), cell.stage));
    }
    Staged { table: plan.cells_table(), columns, lines }
}

pub fn cell_of(table: &str, name: &str, found: &Found) -> Result<Cell> {
    let column = found.written(name).ok_or_else(|| {
        let detail = format!("{table} has no column {name} that can be written");
        Error::new(ErrorKind::Contract, "planning corrections", detail).hint("was the diff made from another database?")
    })?;
    let of = type_of(table, name);
    let guard = match (of, name) {
        (Type::Float64, _) => Guard::Bits,
        (Type::Json, _) | (_, "last_error_message") => Guard::Hash,
        (Type::Text, _) => Guard::Text,
        _ => Guard::Plain,
    };
    let (kind, base, rank) = (column.kind.clone(), column.base.clone(), is_rank(table, name));
    Ok(Cell { name: name.to_owned(), stage: StagedType::of(of), kind, base, guard, rank })
}

/// Rows to insert, with the columns that the table has; the server's defaults fill the rest (D4).
fn stage_inserts(
    plan: &mut TablePlan,
    found: &Found,
    rows: &[(i32, &Correction)],
    options: &Correcting,
    work: &mut Work,
) -> Result<()> {
    let inserts: Vec<(i32, BTreeMap<&str, &Value<'static>>)> = rows
        .iter()
        .filter_map(|(n, row)| match &row.change {
            Change::Insert(cells) => Some((*n, cells.iter().map(|(name, value)| (name.as_str(), value)).collect())),
            _ => None,
        })
        .collect();
    plan.inserts = !inserts.is_empty();
    if !plan.inserts {
        return Ok(());
    }
    let mut columns: BTreeSet<&str> = inserts.iter().flat_map(|(_, cells)| cells.keys().copied()).collect();
    // What was recomputed as NULL is written as NULL: no default may take its place.
    let model = STORED_TABLES.iter().filter(|(known, _)| *known == plan.table).flat_map(|(_, columns)| *columns);
    columns.extend(model.map(|column| column.name.as_ref()));
    // The wide columns go in Phase 2: their values are in the narrow store all the same. What the server computes, it computes.
    columns.retain(|name| !found.is_generated(name) && (found.written(name).is_some() || !name.starts_with("era5_score_")));
    plan.insert = columns.into_iter().map(|name| cell_of(plan.table, name, found)).collect::<Result<_>>()?;
    let line = |(n, cells): (i32, BTreeMap<&str, &Value<'static>>)| {
        let value = |cell: &Cell| cells.get(cell.name.as_str()).map_or(Value::Null, |value| (*value).clone());
        Inserted { n, values: plan.insert.iter().map(value).collect() }
    };
    let lines = Lines::Inserts(inserts.into_iter().map(line).collect());
    let columns = plan.insert.iter().map(|cell| (cell.name.clone(), cell.stage));
    let columns = std::iter::once(("n".to_owned(), StagedType::Int4)).chain(columns).collect();
    work.staged.push(Staged { table: plan.insert_table(), columns, lines });
    plan.hotkey = hotkey(plan, options);
    Ok(())
}

fn hotkey(plan: &TablePlan, options: &Correcting) -> Option<String> {
    if !plan.has("validator_hotkey") {
        return None;
    }
    let newest = if plan.has("updated_at") { "ORDER BY updated_at DESC NULLS LAST" } else { "" };
    Some(match &options.validator_hotkey {
        Some(hotkey) => quoted(hotkey),
        None => format!("(SELECT validator_hotkey FROM {} WHERE validator_hotkey IS NOT NULL {newest} LIMIT 1)", plan.table),
    })
}
