//! The tables of an archive: what is in them, how they are divided and ordered, and their Arrow schemas.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::model::columns::{Column, Type};
use crate::model::evidence::{COMPONENTS, InputTable, NODES, RESPONSES, RUNS, SCORES, STEPS};
use crate::model::ids::LeadHours;
use crate::model::rollups::{
    DifferenceRow, FindingRow, ForecastStat, LeadScore, LegacyScore, MinerStat, NightRow, RetainedRow, Rollup, SubnetStat,
};
use crate::model::rows::{batch_of, schema_of, stats_schema};

use super::docs;

/// How a table is divided into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// `init_date=…`: by the day on which runs were initialised.
    Day,
    /// `as_of=…`: one state of the whole for each archiving.
    Moment,
}

/// What a table holds.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// Rows of a table of the database, with the columns that a rule needs.
    Evidence(&'static InputTable),
    /// Recomputed rows.
    Rollup(fn() -> SchemaRef),
    /// Rows of `weather_forecast_stats` as they were stored.
    StoredStats,
}

/// One table of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    pub about: &'static str,
    pub division: Division,
    pub content: Content,
    /// Rows are in order of these columns; the last makes the order total.
    pub order: &'static [&'static str],
    /// Columns beside those of the content, which follow from other rows and spare a question a join. A file of before lacks them.
    pub keys: &'static [(&'static str, Type)],
}

pub const STATS: Table = Table {
    name: ForecastStat::TABLE,
    about: "One miner in one run, recomputed",
    division: Division::Day,
    content: Content::Rollup(placed_schema),
    order: &["run_id", "miner_uid"],
    keys: &[],
};
pub const LEAD_SCORES: Table = Table {
    name: LeadScore::TABLE,
    about: "One scored or partial lead of one miner in one run, recomputed",
    division: Division::Day,
    content: Content::Rollup(|| schema_of(LeadScore::COLUMNS)),
    order: &["run_id", "miner_uid", "lead_hours"],
    keys: &[("forecast_init_time", Type::Time), ("miner_hotkey", Type::Text), (PLACED, Type::Bool)],
};
pub const FINDINGS_TABLE: Table = Table {
    name: FindingRow::TABLE,
    about: "Suspicious rows, each with why",
    division: Division::Day,
    content: Content::Rollup(findings_schema),
    order: &["code", "run_id", "miner_uid", "lead_hours", "row_id", "source_table"],
    keys: &[],
};
/// Findings of no run: each archiving has its own, as of its moment.
pub const LOOSE_FINDINGS: Table = Table {
    name: "findings_without_run",
    about: "Suspicious rows that belong to no run, each with why",
    division: Division::Moment,
    content: Content::Rollup(findings_schema),
    order: FINDINGS_TABLE.order,
    keys: &[],
};
pub const SCORES_TABLE: Table = Table {
    name: "scores",
    about: "Evidence: `weather_miner_scores`, every variable and lead",
    division: Division::Day,
    content: Content::Evidence(&SCORES),
    order: &["run_id", "miner_uid", "lead_hours", "variable_level", "score_type", "id"],
    keys: &[("metric", Type::Text), ("variable", Type::Text)],
};
pub const COMPONENTS_TABLE: Table = Table {
    name: "component_scores",
    about: "Evidence: `weather_forecast_component_scores`, every variable, level and lead",
    division: Division::Day,
    content: Content::Evidence(&COMPONENTS),
    order: &["run_id", "miner_uid", "lead_hours", "variable_name", "pressure_level", "score_type", "id"],
    keys: &[],
};
pub const STEPS_TABLE: Table = Table {
    name: "steps",
    about: "Evidence: `weather_forecast_steps`, the event log",
    division: Division::Day,
    content: Content::Evidence(&STEPS),
    order: &["run_id", "miner_uid", "lead_hours", "id"],
    keys: &[],
};
pub const RESPONSES_TABLE: Table = Table {
    name: "responses",
    about: "Evidence: `weather_miner_responses`",
    division: Division::Day,
    content: Content::Evidence(&RESPONSES),
    order: &["run_id", "miner_uid", "id"],
    keys: &[],
};
pub const RUNS_TABLE: Table = Table {
    name: "runs",
    about: "Evidence: `weather_forecast_runs`",
    division: Division::Day,
    content: Content::Evidence(&RUNS),
    order: &["id"],
    keys: &[("retained", Type::Bool)],
};
pub const STORED_STATS: Table = Table {
    name: "stored_forecast_stats",
    about: "`weather_forecast_stats` as the database had it",
    division: Division::Day,
    content: Content::StoredStats,
    order: &["forecast_run_id", "miner_uid", "id"],
    keys: &[],
};
pub const STRAY_STATS: Table = Table {
    name: "stray_forecast_stats",
    about: "Stored rows of `weather_forecast_stats` that belong to no run",
    division: Division::Moment,
    content: Content::StoredStats,
    order: &["forecast_run_id", "miner_uid", "id"],
    keys: &[],
};
pub const MINERS: Table = Table {
    name: MinerStat::TABLE,
    about: "One miner over all runs, recomputed",
    division: Division::Moment,
    content: Content::Rollup(|| schema_of(MinerStat::COLUMNS)),
    order: &["miner_uid"],
    keys: &[],
};
pub const SUBNET: Table = Table {
    name: SubnetStat::TABLE,
    about: "The subnet in each run and over all of them, recomputed",
    division: Division::Moment,
    content: Content::Rollup(|| schema_of(SubnetStat::COLUMNS)),
    order: &["scope", "run_id"],
    keys: &[("forecast_run_id", Type::Text), ("forecast_init_time", Type::Time)],
};
pub const STORED_MINERS: Table = Table {
    name: "stored_miner_stats",
    about: "`miner_stats` as the database had it",
    division: Division::Moment,
    content: Content::Rollup(|| schema_of(MinerStat::COLUMNS)),
    order: &["miner_uid"],
    keys: &[],
};
pub const STORED_SUBNET: Table = Table {
    name: "stored_subnet_stats",
    about: "`weather_subnet_stats` as the database had it",
    division: Division::Moment,
    content: Content::Rollup(|| schema_of(SubnetStat::COLUMNS)),
    order: &["scope", "run_id"],
    keys: &[],
};
/// What an archiving found to differ from what was stored; cells within tolerance are only counted, in `nights`.
pub const DIFFERENCES: Table = Table {
    name: DifferenceRow::TABLE,
    about: "What differed from what the database had stored: each cell that drifted or is unproven, each row that is missing or extra",
    division: Division::Moment,
    content: Content::Rollup(differences_schema),
    order: &["source_table", "run_id", "forecast_run_id", "miner_uid", "scope", "column_name"],
    keys: &[],
};
pub const NIGHTS: Table = Table {
    name: NightRow::TABLE,
    about: "What each archiving came to, one row",
    division: Division::Moment,
    content: Content::Rollup(|| schema_of(NightRow::COLUMNS)),
    order: &["digest"],
    keys: &[],
};
pub const NODES_TABLE: Table = Table {
    name: "nodes",
    about: "Evidence: uid and hotkey of `node_table`",
    division: Division::Moment,
    content: Content::Evidence(&NODES),
    order: &["uid"],
    keys: &[],
};
pub const LEGACY_TABLE: Table = Table {
    name: "legacy_lead_scores",
    about: "Evidence of last resort: lead scores whose own scores are gone, from wide columns",
    division: Division::Moment,
    content: Content::Rollup(|| schema_of(LegacyScore::COLUMNS)),
    order: &["run_id", "miner_uid", "forecast_run_id", "lead_hours"],
    keys: &[],
};

pub const RETAINED_TABLE: Table = Table {
    name: RetainedRow::TABLE,
    about: "Marks the rows of evidence that have gone from the database since they were archived",
    division: Division::Day,
    content: Content::Rollup(|| schema_of(RetainedRow::COLUMNS)),
    order: &["run_id", "source_table", "id"],
    keys: &[],
};

/// Tables that hold nothing in most archives; they belong to the evidence, and an archive that is older than they are takes them in.
pub const LATER: [&Table; 2] = [&LEGACY_TABLE, &RETAINED_TABLE];

/// All tables: results first, then the evidence behind them, then what was stored.
pub const TABLES: [&Table; 20] = [
    &STATS,
    &LEAD_SCORES,
    &FINDINGS_TABLE,
    &LOOSE_FINDINGS,
    &MINERS,
    &SUBNET,
    &DIFFERENCES,
    &NIGHTS,
    &SCORES_TABLE,
    &COMPONENTS_TABLE,
    &STEPS_TABLE,
    &RESPONSES_TABLE,
    &RUNS_TABLE,
    &NODES_TABLE,
    &LEGACY_TABLE,
    &RETAINED_TABLE,
    &STORED_STATS,
    &STRAY_STATS,
    &STORED_MINERS,
    &STORED_SUBNET,
];

/// What every rollup can be recomputed from; an archive that lacks one of these is no source.
pub const EVIDENCE: [&Table; 6] = [&SCORES_TABLE, &COMPONENTS_TABLE, &STEPS_TABLE, &RESPONSES_TABLE, &RUNS_TABLE, &NODES_TABLE];

/// The column that stands beside those of a rollup row: D1.
pub const PLACED: &str = "placed";

/// The table of this name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.into_iter().find(|table| table.name == name)
}

impl Table {
    /// The schema of its files, each field with its documentation. Text is plain: what is coded is Parquet's affair.
    pub fn schema(&self, wide_leads: &[LeadHours]) -> SchemaRef {
        let schema = match self.content {
            Content::Evidence(contract) => contract.schema(),
            Content::Rollup(schema) => schema(),
            Content::StoredStats => stats_schema(wide_leads),
        };
        let keys = self.keys.iter().map(|(name, kind)| Field::new(*name, kind.arrow(), true));
        let fields = schema.fields().iter().map(|field| field.as_ref().clone()).chain(keys).map(|field| self.documented(&field));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn documented(&self, field: &Field) -> Field {
        let kind = match field.data_type() {
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            kind => kind.clone(),
        };
        let doc = docs::of(self.name, field.name());
        let texts = doc.map(|doc| [("meaning", doc.meaning), ("unit", doc.unit), ("rule", doc.rule)]);
        let texts = texts.into_iter().flatten().filter(|(_, text)| !text.is_empty());
        let metadata: HashMap<String, String> = texts.map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
        Field::new(field.name(), kind, field.is_nullable()).with_metadata(metadata)
    }

    /// `init_date` or `as_of`.
    pub fn partition_column(&self) -> &'static str {
        match self.division {
            Division::Day => "init_date",
            Division::Moment => "as_of",
        }
    }

    /// The folder of one partition: `scores/init_date=2025-08-07`.
    pub fn folder(&self, partition: &str) -> String {
        format!("{}/{}={partition}", self.name, self.partition_column())
    }
}

fn placed_schema() -> SchemaRef {
    let mut fields: Vec<Field> = schema_of(ForecastStat::COLUMNS).fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(PLACED, DataType::Boolean, false));
    Arc::new(Schema::new(fields))
}

/// Columns whose names are words of SQL, and what an archive calls them.
const WORDS: [(&str, &str); 2] = [("table", "source_table"), ("column", "column_name")];

fn without_words(columns: &[Column]) -> SchemaRef {
    let renamed = |field: &Arc<Field>| match WORDS.iter().find(|(word, _)| field.name() == word) {
        Some((_, name)) => field.as_ref().clone().with_name(*name),
        None => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema_of(columns).fields().iter().map(renamed).collect::<Vec<_>>()))
}

fn findings_schema() -> SchemaRef {
    without_words(FindingRow::COLUMNS)
}

fn differences_schema() -> SchemaRef {
    without_words(DifferenceRow::COLUMNS)
}

fn batch_without_words<R: Rollup>(rows: &[R]) -> RecordBatch {
    let columns = batch_of(rows).columns().to_vec();
    RecordBatch::try_new(without_words(R::COLUMNS), columns).expect("invariant: names are others, all else is the same")
}

/// Findings as an archive has them.
pub fn findings_batch(rows: &[FindingRow]) -> RecordBatch {
    batch_without_words(rows)
}

/// Differences as an archive has them.
pub fn differences_batch(rows: &[DifferenceRow]) -> RecordBatch {
    batch_without_words(rows)
}

/// A rollup's rows as the table has them: its further columns are NULL, and all have the place.
#[cfg(test)]
pub fn with_keys(table: &Table, batch: &arrow_array::RecordBatch) -> arrow_array::RecordBatch {
    let schema = table.schema(&[]);
    let column = |field: &std::sync::Arc<arrow_schema::Field>| match batch.column_by_name(field.name()) {
        Some(column) => column.clone(),
        None if field.name() == PLACED => std::sync::Arc::new(arrow_array::BooleanArray::from(vec![true; batch.num_rows()])),
        None => arrow_array::new_null_array(field.data_type(), batch.num_rows()),
    };
    let columns = schema.fields().iter().map(column).collect();
    arrow_array::RecordBatch::try_new(schema, columns).expect("a batch of the table")
}
