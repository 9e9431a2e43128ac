//! The catalogue held against the model, before anything is read: all that does not fit is said in one message.

use super::catalogue::{FoundColumn, FoundTable};
use super::known::unread_columns;
use super::plan;
use crate::error::{Error, ErrorKind, Result};
use crate::model::columns::{Type, wide_lead};
use crate::model::evidence::{COMPONENTS, NODES, RESPONSES, RUNS, SCORES, STEPS, Wire};
use crate::model::ids::LeadHours;
use crate::model::rollups::{ForecastStat, LegacyScore, MinerStat, Rollup, SubnetStat};
use crate::source::layout::{Layout, LayoutColumn};

/// Ids of PostgreSQL's own types; they never change.
pub mod type_id {
    pub const BOOL: i64 = 16;
    pub const INT8: i64 = 20;
    pub const INT2: i64 = 21;
    pub const INT4: i64 = 23;
    pub const TEXT: i64 = 25;
    pub const JSON: i64 = 114;
    pub const FLOAT8: i64 = 701;
    pub const BPCHAR: i64 = 1042;
    pub const VARCHAR: i64 = 1043;
    pub const TIMESTAMPTZ: i64 = 1184;
    pub const JSONB: i64 = 3802;
}

use type_id::{BOOL, BPCHAR, FLOAT8, INT2, INT4, INT8, JSON, JSONB, TEXT, TIMESTAMPTZ, VARCHAR};

/// What of a table travels, and in which form.
#[derive(Debug, Clone)]
pub struct Selection {
    pub layout: Layout,
    /// One SQL expression for each column of the layout.
    pub expressions: Vec<String>,
    /// The table as the catalogue has it, for the plan.
    pub rows: Option<f64>,
    pub run_index: bool,
    /// A foreign key keeps `run_id` within the runs.
    pub run_key: bool,
    /// The server can pack rows into groups: ids fit half a number, and equal texts have equal bytes.
    pub groups: bool,
}

/// A database that fits.
#[derive(Debug, Clone)]
pub struct Contract {
    pub nodes: Selection,
    pub runs: Selection,
    pub responses: Selection,
    pub scores: Selection,
    pub components: Selection,
    pub steps: Option<Selection>,
    pub stats: Option<Selection>,
    pub miners: Option<Selection>,
    pub subnet: Option<Selection>,
    pub legacy: Option<Selection>,
    pub wide_leads: Vec<LeadHours>,
    pub notes: Vec<String>,
}

/// Checks every table; one error lists all columns that are missing or of a wrong type.
pub fn check(found: &[FoundTable]) -> Result<Contract> {
    let wide_leads = wide_leads(found);
    let mut checker = Checker { found, problems: Vec::new(), unreadable: Vec::new(), notes: Vec::new() };
    let nodes = checker.required(Layout::from(&NODES));
    let runs = checker.required(Layout::from(&RUNS));
    let responses = checker.required(Layout::from(&RESPONSES));
    let scores = checker.required(Layout::from(&SCORES));
    let components = checker.required(Layout::from(&COMPONENTS));
    let steps = checker.optional(Layout::from(&STEPS));
    let stats = checker.stored(Layout::stats(&wide_leads));
    let miners = checker.stored(Layout::stored::<MinerStat>());
    let subnet = checker.stored(Layout::stored::<SubnetStat>());
    // Usually absent; no note.
    let legacy = checker.select(Layout::stored::<LegacyScore>());
    if stats.is_some() && wide_leads.is_empty() {
        checker.notes.push(format!("{} has no era5_score_…h columns", ForecastStat::TABLE));
    }
    checker.refuse()?;
    let all = (nodes, runs, responses, scores, components);
    let (Some(nodes), Some(runs), Some(responses), Some(scores), Some(components)) = all else {
        unreachable!("a required table that is missing was refused");
    };
    let notes = checker.notes;
    Ok(Contract { nodes, runs, responses, scores, components, steps, stats, miners, subnet, legacy, wide_leads, notes })
}

/// Leads h of the columns `era5_score_{h}h` of the stored table.
fn wide_leads(found: &[FoundTable]) -> Vec<LeadHours> {
    let stats = found.iter().find(|table| table.name == ForecastStat::TABLE);
    let mut leads: Vec<_> = stats.iter().flat_map(|table| &table.columns).filter_map(|column| wide_lead(&column.name)).collect();
    leads.sort();
    leads
}

struct Checker<'a> {
    found: &'a [FoundTable],
    problems: Vec<String>,
    /// Tables of which a column may not be read.
    unreadable: Vec<&'static str>,
    notes: Vec<String>,
}

impl Checker<'_> {
    fn required(&mut self, layout: Layout) -> Option<Selection> {
        let table = layout.table;
        let selection = self.select(layout);
        if selection.is_none() {
            self.problems.push(format!("{table}: there is no such table"));
        }
        selection
    }

    fn optional(&mut self, layout: Layout) -> Option<Selection> {
        let table = layout.table;
        let selection = self.select(layout);
        if selection.is_none() {
            self.notes.push(format!("there is no table {table}"));
        }
        selection
    }

    /// A stored rollup. One that may not be read is not compared, as one that is not there; evidence must all be read.
    fn stored(&mut self, layout: Layout) -> Option<Selection> {
        let table = layout.table;
        let before = self.unreadable.len();
        let selection = self.optional(layout);
        if self.unreadable.len() == before {
            return selection;
        }
        self.unreadable.truncate(before);
        self.notes.push(format!("{table} may not be read, and is not compared: GRANT SELECT ON {table} TO the role in the URL"));
        None
    }

    fn select(&mut self, layout: Layout) -> Option<Selection> {
        let found = self.found.iter().find(|table| table.name == layout.table)?;
        let expressions = layout.columns.iter().map(|column| self.expression(found, column)).collect();
        let not_read = |column: &&FoundColumn| !layout.columns.iter().any(|read| read.name == column.name);
        let unread: Vec<&FoundColumn> = found.columns.iter().filter(not_read).collect();
        let known = unread_columns(layout.table);
        let extra: Vec<&str> = unread.iter().map(|column| column.name.as_str()).filter(|name| !known.contains(name)).collect();
        if !extra.is_empty() {
            self.notes.push(format!("{} has columns that no rule reads: {}", found.name, extra.join(", ")));
        }
        Some(Selection {
            expressions,
            rows: found.rows,
            run_index: found.run_index,
            run_key: found.run_key && found.column("run_id").is_some_and(|column| column.not_null),
            groups: found.column("id").is_some_and(|id| id.type_id != INT8) && found.columns.iter().all(|column| column.by_bytes),
            layout,
        })
    }

    fn expression(&mut self, table: &FoundTable, column: &LayoutColumn) -> String {
        let Some(found) = table.column(&column.name) else {
            // A materialized view of the stored rollups may have no ids of its own.
            if table.name == ForecastStat::TABLE && column.wire == Wire::Id {
                self.notes.push(format!("{} has no column id: its rows are shown with id 0", table.name));
                return "0::bigint".to_owned();
            }
            self.problems.push(format!("{}.{}: expected {}, found no such column", table.name, column.name, expected(column).0));
            return String::new();
        };
        let (name, type_ids) = expected(column);
        if !type_ids.contains(&found.type_id) {
            self.problems.push(format!("{}.{}: expected {name}, found {}", table.name, column.name, found.type_name));
        } else if !found.readable && !self.unreadable.contains(&self.static_name(table)) {
            self.unreadable.push(self.static_name(table));
        }
        plan::expression(&column.name, column.wire, found.type_id)
    }

    fn static_name(&self, table: &FoundTable) -> &'static str {
        crate::source::TABLES.into_iter().find(|name| *name == table.name).unwrap_or_default()
    }

    fn refuse(&self) -> Result<()> {
        if !self.problems.is_empty() {
            let detail = format!("it does not fit what recount reads: {}", self.problems.join("; "));
            let hint = "is this a validator's database, with all its tables in one schema?";
            return Err(Error::new(ErrorKind::Contract, "checking the database's schema", detail).hint(hint));
        }
        if !self.unreadable.is_empty() {
            let tables = self.unreadable.join(", ");
            let detail = format!("permission denied to read {tables}");
            let hint = format!("GRANT SELECT ON {tables} TO the role in the URL");
            return Err(Error::new(ErrorKind::Database, "checking permissions", detail).hint(hint));
        }
        Ok(())
    }
}

/// The types that a column may have in the database, and what to call them.
fn expected(column: &LayoutColumn) -> (&'static str, &'static [i64]) {
    match column.wire {
        Wire::Plain(Type::Bool) => ("boolean", &[BOOL]),
        Wire::Plain(Type::Int32) => ("integer", &[INT4, INT2]),
        Wire::Plain(Type::Int64) | Wire::Id => ("integer or bigint", &[INT4, INT8, INT2]),
        Wire::Plain(Type::Float64) => ("double precision", &[FLOAT8]),
        Wire::Plain(Type::Time) => ("timestamp with time zone", &[TIMESTAMPTZ]),
        Wire::Plain(Type::Json) | Wire::ErrorObject => ("jsonb or json", &[JSONB, JSON]),
        Wire::Error if column.name.ends_with("_json") => ("jsonb or json", &[JSONB, JSON]),
        Wire::Plain(Type::Text) | Wire::Sanitized | Wire::Error => ("text or character varying", &[TEXT, VARCHAR, BPCHAR]),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A catalogue that fits exactly.
    pub fn fitting() -> Vec<FoundTable> {
        let mut layouts = [&NODES, &RUNS, &RESPONSES, &SCORES, &COMPONENTS, &STEPS].map(Layout::from).to_vec();
        layouts.extend([
            Layout::stats(&[LeadHours(24), LeadHours(48)]),
            Layout::stored::<MinerStat>(),
            Layout::stored::<SubnetStat>(),
        ]);
        layouts.iter().map(found).collect()
    }

    fn found(layout: &Layout) -> FoundTable {
        let column = |column: &LayoutColumn| FoundColumn {
            name: column.name.to_string(),
            type_id: expected(column).1[0],
            type_name: expected(column).0.to_owned(),
            not_null: !column.nullable,
            readable: true,
            by_bytes: true,
        };
        let columns = layout.columns.iter().map(column).collect();
        FoundTable { name: layout.table.to_owned(), rows: Some(1e6), run_index: true, run_key: true, columns }
    }

    fn table<'a>(found: &'a mut [FoundTable], name: &str) -> &'a mut FoundTable {
        found.iter_mut().find(|table| table.name == name).unwrap()
    }

    #[test]
    fn a_fitting_catalogue_needs_no_note() {
        let contract = check(&fitting()).unwrap();
        assert_eq!(contract.wide_leads, [LeadHours(24), LeadHours(48)]);
        assert_eq!(contract.notes, [""; 0]);
    }

    #[test]
    fn all_that_does_not_fit_is_in_one_message() {
        let mut found = fitting();
        table(&mut found, SCORES.name).columns.retain(|column| column.name != "score" && column.name != "lead_hours");
        let time = &mut table(&mut found, COMPONENTS.name).columns[11];
        (time.type_id, time.type_name) = (1114, "timestamp without time zone".to_owned());
        let wide = &mut table(&mut found, ForecastStat::TABLE).columns[24];
        (wide.type_id, wide.type_name) = (1700, "numeric".to_owned());
        found.retain(|table| table.name != NODES.name);
        let error = check(&found).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Contract);
        insta::assert_snapshot!(error, @"checking the database's schema: it does not fit what recount reads: node_table: there is no such table; weather_miner_scores.score: expected double precision, found no such column; weather_miner_scores.lead_hours: expected integer, found no such column; weather_forecast_component_scores.calculated_at: expected timestamp with time zone, found timestamp without time zone; weather_forecast_stats.era5_score_24h: expected double precision, found numeric");
    }

    #[test]
    fn absent_optional_parts_and_extra_columns_are_noted() {
        let mut found = fitting();
        table(&mut found, SCORES.name).columns.push(FoundColumn { name: "mood".to_owned(), ..FoundColumn::default() });
        table(&mut found, SCORES.name).columns.push(FoundColumn { name: "metrics".to_owned(), ..FoundColumn::default() });
        table(&mut found, ForecastStat::TABLE).columns.retain(|column| wide_lead(&column.name).is_none() && column.name != "id");
        found.retain(|table| ![STEPS.name, MinerStat::TABLE, SubnetStat::TABLE].contains(&table.name.as_str()));
        let contract = check(&found).unwrap();
        assert!(contract.steps.is_none() && contract.miners.is_none() && contract.subnet.is_none());
        insta::assert_snapshot!(contract.notes.join("\n"), @r"
        weather_miner_scores has columns that no rule reads: mood
        there is no table weather_forecast_steps
        weather_forecast_stats has no column id: its rows are shown with id 0
        there is no table miner_stats
        there is no table weather_subnet_stats
        weather_forecast_stats has no era5_score_…h columns
        ");
    }

    #[test]
    fn what_may_not_be_read_is_named_with_what_to_grant() {
        let mut found = fitting();
        table(&mut found, SCORES.name).columns[3].readable = false;
        table(&mut found, NODES.name).columns[0].readable = false;
        let error = check(&found).unwrap_err();
        insta::assert_snapshot!(error, @"checking permissions: permission denied to read node_table, weather_miner_scores");
        insta::assert_snapshot!(error.hint_text().unwrap(), @"GRANT SELECT ON node_table, weather_miner_scores TO the role in the URL");
    }
}
