//! What a job is going to do: its record, its tables, and the rows that travel.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::error::{Error, ErrorKind, Result};
use crate::model::columns::Type;
use crate::model::correction::{Change, Correction, Corrections, Whose, is_rank, type_of};
use crate::model::filter::STORED_TABLES;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::model::value::Value;
use crate::model::writing::Correcting;

use super::catalogue::{self, Catalogue, Found, Kind};
use super::load::{Stage, Staged, quoted};
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
    pub stage: Stage,
    /// The type in the catalogue.
    pub kind: String,
    pub guard: Guard,
    pub rank: bool,
}

impl Cell {
    pub fn is_float(&self) -> bool {
        self.kind == "double precision"
    }
}

/// What becomes of `updated_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// The table has none.
    None,
    Now,
    /// It is one of the cells that are put back.
    Restore,
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
        format!("recount_cells_{}", self.short())
    }

    pub fn insert_table(&self) -> String {
        format!("recount_insert_{}", self.short())
    }

    pub fn ok_table(&self) -> String {
        format!("recount_ok_{}", self.short())
    }

    pub fn gone_table(&self) -> String {
        format!("recount_gone_{}", self.short())
    }

    /// Whether whole rows come from their images.
    pub fn restores(&self) -> bool {
        self.undo
    }

    pub fn is_stamp(&self, cell: &Cell) -> bool {
        self.stamp == Stamp::Restore && cell.name == "updated_at"
    }

    pub fn new(table: &'static str, found: &Found, undo: bool) -> TablePlan {
        let stamp_kind = found.type_of("updated_at").map(str::to_owned);
        TablePlan {
            table,
            cells: Vec::new(),
            insert: Vec::new(),
            columns: found.columns.iter().map(|(name, _)| name.clone()).collect(),
            stamp: if stamp_kind.is_some() { Stamp::Now } else { Stamp::None },
            stamp_kind,
            hotkey: None,
            updates: false,
            inserts: false,
            deletes: false,
            undo,
        }
    }
}

/// The row of the job in `rollup_jobs`.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: String,
    pub command: String,
    pub source: String,
    /// Microseconds.
    pub taken_at: Option<i64>,
    pub digest: Option<String>,
    pub settings: Json,
    pub undoes: Option<String>,
}

/// Everything that a job does, once it is decided.
#[derive(Debug, Clone)]
pub struct Work {
    pub record: Record,
    pub tables: Vec<TablePlan>,
    /// What is loaded: rows, cells, inserted rows, fingerprints.
    pub staged: Vec<Staged>,
    /// What is filled by the server: the corrections of the job to undo.
    pub fill: Vec<String>,
    /// Runs with a row to correct, [`Whose::ALL`] for a lifetime row; an undo asks after none.
    pub runs: BTreeSet<i32>,
    pub min_age_seconds: u64,
    /// Materialized views to refresh, in the order in which one is made from the other.
    pub refresh: Vec<&'static str>,
    /// What was found and cannot be corrected here.
    pub notes: Vec<String>,
}

impl Work {
    pub fn is_undo(&self) -> bool {
        self.record.undoes.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// The columns of `recount_rows` that are loaded.
pub fn row_columns() -> Vec<(String, Stage)> {
    let column = |(name, stage): (&str, Stage)| (name.to_owned(), stage);
    [
        ("n", Stage::Int4),
        ("target", Stage::Text),
        ("change", Stage::Text),
        ("miner_uid", Stage::Int4),
        ("forecast_run_id", Stage::Text),
        ("scope", Stage::Text),
        ("run_id", Stage::Int4),
        ("ev_run", Stage::Int4),
        ("ev_miner", Stage::Int4),
    ]
    .map(column)
    .into()
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
            settings: corrections.origin.settings.clone(),
            undoes: None,
        },
        tables: Vec::new(),
        staged: Vec::new(),
        fill: Vec::new(),
        runs: BTreeSet::new(),
        min_age_seconds: options.min_age.as_secs(),
        refresh: Vec::new(),
        notes: Vec::new(),
    };
    let corrections = correctable(corrections, &catalogue, &mut work)?;
    check_size(session, &corrections, options).await?;
    work.runs = corrections.rows.iter().map(|row| Whose::of(row.table, &row.key).run).collect();
    work.staged.push(staged_rows(&corrections.rows));
    for (table, found) in &catalogue {
        plan_table(session, table, found, &corrections.rows, options, &mut work).await?;
    }
    work.staged.push(fingerprints(&corrections));
    Ok(work)
}

/// An id for the job, known before anything is written.
pub async fn new_id(session: &mut Session<'_>) -> Result<String> {
    let query = sqlx::query_scalar("SELECT gen_random_uuid()::text");
    session.wait("asking for the id of a job", async |c| query.fetch_one(c).await).await
}

/// Leaves out what no statement can correct: views.
fn correctable(corrections: &Corrections, catalogue: &Catalogue, work: &mut Work) -> Result<Corrections> {
    let mut kept = corrections.clone();
    for (table, _) in STORED_TABLES {
        let rows = kept.rows.iter().filter(|row| row.table == table).count();
        let kind = catalogue.get(table).map(|found| found.kind);
        match kind {
            _ if rows == 0 => continue,
            Some(Kind::Table) => continue,
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

fn staged_rows(rows: &[Correction]) -> Staged {
    let int = |x: Option<i32>| x.map_or(Value::Null, |x| Value::Int(x.into()));
    let text = |x: &Option<String>| x.clone().map_or(Value::Null, |x| Value::Text(x.into()));
    let row = |(row, n): (&Correction, i64)| {
        let whose = Whose::of(row.table, &row.key);
        let change = match row.change {
            Change::Update(_) => "update",
            Change::Insert(_) => "insert",
            Change::Delete => "delete",
        };
        vec![
            Value::Int(n),
            Value::Text(row.table.into()),
            Value::Text(change.into()),
            int(row.key.miner_uid),
            text(&row.key.forecast_run_id),
            text(&row.key.scope),
            int(row.key.run_id),
            Value::Int(whose.run.into()),
            Value::Int(whose.miner.into()),
        ]
    };
    let rows = rows.iter().zip(1..).map(row).collect();
    Staged { table: "recount_rows".to_owned(), columns: row_columns(), rows }
}

async fn plan_table(
    session: &mut Session<'_>,
    table: &'static str,
    found: &Found,
    rows: &[Correction],
    options: &Correcting,
    work: &mut Work,
) -> Result<()> {
    let numbered: Vec<(i64, &Correction)> = (1..).zip(rows).filter(|(_, row)| row.table == table).collect();
    if numbered.is_empty() {
        return Ok(());
    }
    let mut plan = TablePlan::new(table, found, false);
    plan.deletes = numbered.iter().any(|(_, row)| row.change == Change::Delete);
    stage_updates(session, &mut plan, found, &numbered, work).await?;
    stage_inserts(&mut plan, found, &numbered, options, work)?;
    work.tables.push(plan);
    Ok(())
}

/// The cells to change, one wide row each: whether, from what, to what.
async fn stage_updates(
    session: &mut Session<'_>,
    plan: &mut TablePlan,
    found: &Found,
    rows: &[(i64, &Correction)],
    work: &mut Work,
) -> Result<()> {
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in rows.iter().flat_map(|(_, row)| row.cells()) {
        columns.entry(&cell.column).or_default();
    }
    for (index, (name, at)) in columns.iter_mut().enumerate() {
        plan.cells.push(cell_of(plan.table, name, found)?);
        *at = 1 + 3 * index;
    }
    let mut staged_columns = vec![("n".to_owned(), Stage::Int4)];
    for cell in &plan.cells {
        let old = if cell.guard == Guard::Hash { Stage::Text } else { cell.stage };
        staged_columns.push((format!("{}_set", cell.name), Stage::Bool));
        staged_columns.push((format!("{}_old", cell.name), old));
        staged_columns.push((format!("{}_new", cell.name), cell.stage));
    }
    let width = staged_columns.len();
    let mut staged = Staged { table: plan.cells_table(), columns: staged_columns, rows: Vec::new() };
    for (n, row) in rows.iter().filter(|(_, row)| matches!(row.change, Change::Update(_))) {
        let mut values = vec![Value::Null; width];
        values[0] = Value::Int(*n);
        for cell in row.cells() {
            let at = columns[cell.column.as_str()];
            values[at] = Value::Bool(true);
            values[at + 1] = cell.stored.clone();
            values[at + 2] = cell.recomputed.clone();
        }
        staged.rows.push(values);
    }
    plan.updates = !staged.rows.is_empty();
    if plan.updates {
        raw::guard(session, plan, rows, &mut staged).await?;
        work.staged.push(staged);
    }
    Ok(())
}

pub fn cell_of(table: &str, name: &str, found: &Found) -> Result<Cell> {
    let kind = found.type_of(name).ok_or_else(|| {
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
    Ok(Cell { name: name.to_owned(), stage: Stage::of(of), kind: kind.to_owned(), guard, rank: is_rank(table, name) })
}

/// Rows to insert, with the columns that the table has; the server's defaults fill the rest (D4).
fn stage_inserts(
    plan: &mut TablePlan,
    found: &Found,
    rows: &[(i64, &Correction)],
    options: &Correcting,
    work: &mut Work,
) -> Result<()> {
    let inserts =
        || rows.iter().filter_map(|(n, row)| if let Change::Insert(cells) = &row.change { Some((n, cells)) } else { None });
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in inserts().flat_map(|(_, cells)| cells) {
        columns.entry(name).or_default();
    }
    // What was recomputed as NULL is written as NULL: no default may take its place.
    let model = STORED_TABLES.iter().filter(|(known, _)| *known == plan.table && !columns.is_empty());
    for column in model.flat_map(|(_, columns)| *columns).collect::<Vec<_>>() {
        columns.entry(&column.name).or_default();
    }
    // The wide columns go in Phase 2: their values are in the narrow store all the same.
    columns.retain(|name, _| found.type_of(name).is_some() || !name.starts_with("era5_score_"));
    for (index, (name, at)) in columns.iter_mut().enumerate() {
        plan.insert.push(cell_of(plan.table, name, found)?);
        *at = 1 + index;
    }
    let mut staged_columns = vec![("n".to_owned(), Stage::Int4)];
    staged_columns.extend(plan.insert.iter().map(|cell| (cell.name.clone(), cell.stage)));
    let width = staged_columns.len();
    let mut staged = Staged { table: plan.insert_table(), columns: staged_columns, rows: Vec::new() };
    for (n, cells) in inserts() {
        let mut values = vec![Value::Null; width];
        values[0] = Value::Int(*n);
        for (name, value) in cells {
            if let Some(at) = columns.get(name.as_str()) {
                values[*at] = value.clone();
            }
        }
        staged.rows.push(values);
    }
    plan.inserts = !staged.rows.is_empty();
    if plan.inserts {
        work.staged.push(staged);
        plan.hotkey = hotkey(plan, options);
    }
    Ok(())
}

fn hotkey(plan: &TablePlan, options: &Correcting) -> Option<String> {
    let has = |name: &str| plan.columns.iter().any(|column| column == name);
    if !has("validator_hotkey") {
        return None;
    }
    let newest = if has("updated_at") { "ORDER BY updated_at DESC" } else { "" };
    Some(match &options.validator_hotkey {
        Some(hotkey) => quoted(hotkey),
        None => format!("(SELECT validator_hotkey FROM {} WHERE validator_hotkey IS NOT NULL {newest} LIMIT 1)", plan.table),
    })
}

/// The fingerprints to compare with; evidence of which the snapshot had nothing must still be none.
fn fingerprints(corrections: &Corrections) -> Staged {
    let columns = [
        ("run", Stage::Int4),
        ("miner", Stage::Int4),
        ("responses", Stage::Int8),
        ("scores", Stage::Int8),
        ("newest_score", Stage::Time),
        ("steps", Stage::Int8),
        ("newest_step", Stage::Time),
    ];
    let row = |whose: Whose| {
        let print = corrections.evidence.get(&whose).copied().unwrap_or_default();
        vec![
            Value::Int(whose.run.into()),
            Value::Int(whose.miner.into()),
            Value::Int(print.responses),
            Value::Int(print.scores),
            print.newest_score.map_or(Value::Null, Value::Time),
            Value::Int(print.steps),
            print.newest_step.map_or(Value::Null, Value::Time),
        ]
    };
    Staged {
        table: "recount_then".to_owned(),
        columns: columns.map(|(name, stage)| (name.to_owned(), stage)).into(),
        rows: corrections.needed().into_iter().map(row).collect(),
    }
}
