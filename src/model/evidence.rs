//! What a source hands over: the contracts of the tables read, and the evidence of one unit of runs.
//!
//! A *unit* is all runs that share a `forecast_run_id` (D1), mostly one. It is what is read, folded and dropped at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::columns::Type;
use super::ids::{LeadHours, MinerUid, RunId};
use super::rollups::{ForecastStat, LegacyScore, MinerStat, Rollup, SubnetStat};
use super::time::Micros;
use super::weighing::Weighing;

/// How a column leaves PostgreSQL and which Arrow columns it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// One value, one Arrow column of [`Type::arrow`]; `Text` is a dictionary (Int32 keys) of UTF-8.
    Plain(Type),
    /// A row id: `int4` or `int8`, Int64 in Arrow.
    Id,
    /// An error as JSON (E2), sanitized as it is read: `{name}_type` and `{name}_message`, both UTF-8. No error: both NULL.
    Error,
    /// Stored text, sanitized as it is read (D5): `{name}` as UTF-8 and `{name}_unsanitized`, true where E1 changed it.
    Sanitized,
    /// A stored JSON object of which only `type` and `message` are read (D4), sanitized (D5): `{name}` as canonical JSON
    /// text and `{name}_unsanitized`.
    ErrorObject,
}

/// One column of a table that recount reads.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    pub name: &'static str,
    pub wire: Wire,
    pub nullable: bool,
}

/// A table that recount reads, with exactly the columns that a rule needs.
#[derive(Debug, Clone, Copy)]
pub struct InputTable {
    pub name: &'static str,
    pub columns: &'static [Input],
}

const fn input(name: &'static str, wire: Wire) -> Input {
    Input { name, wire, nullable: false }
}

const fn null(name: &'static str, wire: Wire) -> Input {
    Input { name, wire, nullable: true }
}

const INT: Wire = Wire::Plain(Type::Int32);
const FLOAT: Wire = Wire::Plain(Type::Float64);
const TIME: Wire = Wire::Plain(Type::Time);
const TEXT: Wire = Wire::Plain(Type::Text);

pub const NODES: InputTable = InputTable { name: "node_table", columns: &[input("uid", INT), null("hotkey", TEXT)] };

pub const RUNS: InputTable = InputTable {
    name: "weather_forecast_runs",
    columns: &[input("id", INT), input("gfs_init_time_utc", TIME), input("target_forecast_time_utc", TIME)],
};

pub const RESPONSES: InputTable = InputTable {
    name: "weather_miner_responses",
    columns: &[
        input("id", Wire::Id),
        input("run_id", INT),
        input("miner_uid", INT),
        input("miner_hotkey", TEXT),
        input("response_time", TIME),
        null("verification_passed", Wire::Plain(Type::Bool)),
        input("status", TEXT),
        null("error_message", Wire::Error),
        null("inference_started_at", TIME),
        null("inference_completed_at", TIME),
    ],
};

pub const SCORES: InputTable = InputTable {
    name: "weather_miner_scores",
    columns: &[
        input("id", Wire::Id),
        input("response_id", Wire::Id),
        input("run_id", INT),
        input("miner_uid", INT),
        input("miner_hotkey", TEXT),
        input("score_type", TEXT),
        input("calculation_time", TIME),
        null("score", FLOAT),
        null("lead_hours", INT),
        null("variable_level", TEXT),
    ],
};

pub const COMPONENTS: InputTable = InputTable {
    name: "weather_forecast_component_scores",
    columns: &[
        input("id", Wire::Id),
        input("response_id", Wire::Id),
        input("run_id", INT),
        input("miner_uid", INT),
        input("score_type", TEXT),
        input("lead_hours", INT),
        input("variable_name", TEXT),
        null("pressure_level", INT),
        null("rmse", FLOAT),
        null("acc", FLOAT),
        null("skill_score", FLOAT),
        input("calculated_at", TIME),
    ],
};

pub const STEPS: InputTable = InputTable {
    name: "weather_forecast_steps",
    columns: &[
        input("id", Wire::Id),
        input("run_id", INT),
        input("miner_uid", INT),
        input("miner_hotkey", TEXT),
        input("step_name", TEXT),
        null("substep", TEXT),
        null("lead_hours", INT),
        input("status", TEXT),
        null("started_at", TIME),
        null("completed_at", TIME),
        null("retry_count", INT),
        null("next_retry_time", TIME),
        null("latency_ms", INT),
        null("error_json", Wire::Error),
    ],
};

/// The tables of a source, in the order of their foreign keys; each is also the name of a file in a snapshot folder.
pub const TABLES: [&str; 10] = [
    NODES.name,
    RUNS.name,
    RESPONSES.name,
    SCORES.name,
    COMPONENTS.name,
    STEPS.name,
    ForecastStat::TABLE,
    MinerStat::TABLE,
    SubnetStat::TABLE,
    LegacyScore::TABLE,
];

/// The four tables that are read run by run.
pub const RUN_TABLES: [&InputTable; 4] = [&RESPONSES, &SCORES, &COMPONENTS, &STEPS];

impl InputTable {
    /// The Arrow schema of a batch of this table. Text columns are dictionaries with Int32 keys.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().flat_map(Input::fields).collect::<Vec<_>>()))
    }
}

impl Input {
    /// The Arrow fields that this column becomes.
    pub fn fields(&self) -> Vec<Field> {
        self.wire.fields(self.name, self.nullable)
    }
}

impl Wire {
    /// The Arrow fields that a column of this kind becomes.
    pub fn fields(self, name: &str, nullable: bool) -> Vec<Field> {
        let text = || DataType::Utf8;
        match self {
            Wire::Plain(Type::Text) => vec![Field::new_dictionary(name, DataType::Int32, text(), nullable)],
            Wire::Plain(kind) => vec![Field::new(name, kind.arrow(), nullable)],
            Wire::Id => vec![Field::new(name, DataType::Int64, nullable)],
            Wire::Error => {
                vec![Field::new(format!("{name}_type"), text(), true), Field::new(format!("{name}_message"), text(), true)]
            }
            Wire::Sanitized | Wire::ErrorObject => {
                vec![Field::new(name, text(), true), Field::new(format!("{name}_unsanitized"), DataType::Boolean, false)]
            }
        }
    }
}

/// A row of `weather_forecast_runs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub gfs_init: Micros,
    pub target: Micros,
    /// R1, from the two times.
    pub forecast_run_id: String,
}

impl Run {
    /// A run with its `forecast_run_id` (R1).
    pub fn new(id: RunId, gfs_init: Micros, target: Micros) -> Run {
        let forecast_run_id = format!("forecast_{}_to_{}", gfs_init.hour_stamp(), target.hour_stamp());
        Run { id, gfs_init, target, forecast_run_id }
    }
}

/// A row of `node_table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub uid: MinerUid,
    pub hotkey: Option<String>,
}

/// All runs of one `forecast_run_id`, ascending by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub forecast_run_id: String,
    pub runs: Vec<Run>,
}

/// Groups runs into units, in order of `forecast_run_id` (by code points), runs by id.
pub fn units(runs: &[Run]) -> Vec<Unit> {
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| (&a.forecast_run_id, a.id).cmp(&(&b.forecast_run_id, b.id)));
    let mut units: Vec<Unit> = Vec::new();
    for run in runs {
        match units.last_mut() {
            Some(unit) if unit.forecast_run_id == run.forecast_run_id => unit.runs.push(run),
            _ => units.push(Unit { forecast_run_id: run.forecast_run_id.clone(), runs: vec![run] }),
        }
    }
    units
}

/// The name of a column of scores in which each id is less by the number of its row: what counts on from row to row repeats then.
pub const ID_LESS_ROW: &str = "id_less_row";

/// The evidence of one run: one batch of each run table, in the schema of its contract, rows in any order. What repeats in scores
/// may be in stretches (Arrow's run-end encoding), and ids as `ID_LESS_ROW` then.
#[derive(Debug, Clone)]
pub struct RunEvidence {
    pub run: Run,
    pub responses: RecordBatch,
    pub scores: RecordBatch,
    pub components: RecordBatch,
    pub steps: RecordBatch,
    /// The legacy scores of this run; `Snapshot::attach_legacy` sets them.
    pub legacy: Vec<LegacyScore>,
}

/// A row of the stored `weather_forecast_stats`, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredStat {
    pub id: i64,
    /// Error texts are sanitized already; `wide` has a value for each of `Snapshot::wide_leads`.
    pub row: ForecastStat,
    /// D5: what E1 changed as it was read.
    pub message_unsanitized: bool,
    pub error_unsanitized: bool,
}

/// What is read of one unit: its runs' evidence, and the stored rows with its `forecast_run_id`.
#[derive(Debug, Clone)]
pub struct UnitEvidence {
    pub runs: Vec<RunEvidence>,
    pub stored: Vec<StoredStat>,
}

/// The stored rows of a unit, as rows or still in columns.
#[derive(Debug, Clone)]
pub enum Stored {
    Rows(Vec<StoredStat>),
    /// In the columns of [`stats_schema`](super::rows::stats_schema).
    Columns(RecordBatch),
}

/// The same, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum StoredRef<'s> {
    Rows(&'s [StoredStat]),
    Columns(&'s RecordBatch),
}

impl Stored {
    pub fn as_ref(&self) -> StoredRef<'_> {
        match self {
            Stored::Rows(rows) => StoredRef::Rows(rows),
            Stored::Columns(columns) => StoredRef::Columns(columns),
        }
    }
}

impl StoredRef<'_> {
    pub fn count(self) -> usize {
        match self {
            StoredRef::Rows(rows) => rows.len(),
            StoredRef::Columns(columns) => columns.num_rows(),
        }
    }
}

/// What a source knows before any run is read: the small tables whole, and what the snapshot is.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The time of the snapshot on the server that it was taken from.
    pub taken_at: Micros,
    /// As the server says it, for example `15.18`.
    pub server_version: String,
    pub runs: Vec<Run>,
    pub nodes: Vec<Node>,
    /// `None` where the database has no such table.
    pub stored_miners: Option<Vec<MinerStat>>,
    pub stored_subnet: Option<Vec<SubnetStat>>,
    /// Lead scores whose narrow scores are gone, in order of run, miner, `forecast_run_id` and lead. Most sources have none.
    pub legacy: Vec<LegacyScore>,
    /// Leads h for which the stored `weather_forecast_stats` has a column `era5_score_{h}h`, ascending.
    pub wide_leads: Vec<LeadHours>,
    pub has_steps: bool,
    pub has_stored_stats: bool,
    /// `None` where the source is no database.
    pub weighing: Option<Weighing>,
    /// What the operator should know of the source: optional parts that are absent, extra columns.
    pub notes: Vec<String>,
}

impl Snapshot {
    /// Takes more legacy scores in; those that are there already win over others of their key.
    pub fn add_legacy(&mut self, more: impl IntoIterator<Item = LegacyScore>) {
        type Key = (Option<i32>, Option<String>, Option<i32>);
        let key = |row: &LegacyScore| -> Key { (row.miner_uid, row.forecast_run_id.clone(), row.lead_hours) };
        let mut known: BTreeMap<Key, LegacyScore> = more.into_iter().map(|row| (key(&row), row)).collect();
        known.extend(std::mem::take(&mut self.legacy).into_iter().map(|row| (key(&row), row)));
        self.legacy = known.into_values().collect();
        self.legacy.sort_by_key(|row| row.run_id);
    }

    /// Gives the runs of a unit their legacy scores.
    pub fn attach_legacy(&self, runs: &mut [RunEvidence]) {
        for run in runs {
            let id = Some(run.run.id.0);
            let from = self.legacy.partition_point(|row| row.run_id < id);
            run.legacy = self.legacy[from..].iter().take_while(|row| row.run_id == id).cloned().collect();
        }
    }
}
