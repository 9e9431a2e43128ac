//! Which columns of which table a raw row fills, with something plausible in those that no rule reads.

use crate::model::columns::{Column, Type};
use crate::model::evidence::{COMPONENTS, NODES, Node, RESPONSES, RUNS, SCORES, STEPS};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::model::time::Micros;
use crate::model::value::Field;

use super::super::rows::{ComponentRow, ResponseRow, ScoreRow, StepRow, Symbol, Vocabulary};
use super::super::stored::{StoredRow, wide_leads};
use super::tuples::Tuples;

/// A table as it is loaded: its columns, and how a row becomes their fields.
pub struct Table<R: ?Sized> {
    pub name: &'static str,
    pub columns: Vec<String>,
    pub write: fn(&mut Tuples, &R),
}

impl<R: ?Sized> Table<R> {
    fn new(name: &'static str, columns: &str, write: fn(&mut Tuples, &R)) -> Self {
        Table { name, columns: columns.split_whitespace().map(str::to_owned).collect(), write }
    }

    pub fn statement(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.name, self.columns.join(", "))
    }
}

/// A row of one run, with what all rows of the run share.
pub struct Of<'a, R> {
    pub run_id: i32,
    pub vocabulary: &'a Vocabulary,
    pub row: &'a R,
}

impl<'a, R> Of<'a, R> {
    fn text(&self, symbol: Symbol) -> &'a str {
        self.vocabulary.text(symbol)
    }
}

/// A row of `weather_forecast_runs`.
pub struct RunRow {
    pub id: i32,
    pub initiated: Micros,
    pub target: Micros,
    pub gfs_init: Micros,
    pub completed: Option<Micros>,
}

pub fn nodes() -> Table<Node> {
    Table::new(NODES.name, "uid hotkey ip ip_type port stake protocol", |out, node| {
        out.int4(node.uid.0);
        out.text(node.hotkey.as_deref());
        out.text(format!("198.51.100.{}", node.uid).as_str());
        out.text("4");
        out.int4(33_000 + node.uid.0);
        out.float8(Some(100.0 + f64::from(node.uid.0)));
        out.text("4");
    })
}

pub fn runs() -> Table<RunRow> {
    const COLUMNS: &str = "id run_initiation_time target_forecast_time_utc gfs_init_time_utc status completion_time";
    Table::new(RUNS.name, COLUMNS, |out, run| {
        out.int4(run.id);
        out.time(run.initiated);
        out.time(run.target);
        out.time(run.gfs_init);
        out.text(if run.completed.is_some() { "completed" } else { "day1_scoring_complete" });
        out.time(run.completed);
    })
}

pub fn responses<'a>() -> Table<Of<'a, ResponseRow>> {
    const COLUMNS: &str = "id run_id miner_uid miner_hotkey response_time job_id kerchunk_json_url verification_passed status \
                           error_message inference_started_at job_accepted_at inference_completed_at";
    Table::new(RESPONSES.name, COLUMNS, |out, of| {
        let (run, row) = (of.run_id, of.row);
        out.id4(row.id);
        out.int4(run);
        out.int4(row.miner_uid);
        out.text(of.text(row.miner_hotkey));
        out.time(row.response_time);
        out.text(format!("weather_job_{run}_{}", row.miner_uid).as_str());
        out.text(format!("https://198.51.100.{}:{}/kerchunk/{run}.json", row.miner_uid, 33_000 + row.miner_uid).as_str());
        out.bool(row.verification_passed);
        out.text(row.status);
        out.text(row.error_message.as_deref());
        out.time(row.inference_started_at);
        out.time(row.response_time);
        out.time(row.inference_completed_at);
    })
}

pub fn scores<'a>() -> Table<Of<'a, ScoreRow>> {
    const COLUMNS: &str = "id response_id run_id miner_uid miner_hotkey score_type calculation_time score lead_hours \
                           variable_level valid_time_utc";
    Table::new(SCORES.name, COLUMNS, |out, of| {
        let row = of.row;
        out.id4(row.id);
        out.id4(row.response_id);
        out.int4(of.run_id);
        out.int4(row.miner_uid);
        out.text(of.text(row.miner_hotkey));
        out.text(of.text(row.score_type));
        out.time(row.calculation_time);
        out.float8(row.score);
        out.int4(row.lead_hours);
        out.text(row.variable_level.map(|symbol| of.text(symbol)));
        out.time(row.valid_time_utc);
    })
}

pub fn components<'a>() -> Table<Of<'a, ComponentRow>> {
    const COLUMNS: &str = "id run_id response_id miner_uid miner_hotkey score_type lead_hours valid_time_utc variable_name \
                           pressure_level rmse acc skill_score calculated_at";
    Table::new(COMPONENTS.name, COLUMNS, |out, of| {
        let row = of.row;
        out.id4(row.id);
        out.int4(of.run_id);
        out.id4(row.response_id);
        out.int4(row.miner_uid);
        out.text(of.text(row.miner_hotkey));
        out.text(of.text(row.score_type));
        out.int4(row.lead_hours);
        out.time(row.valid_time_utc);
        out.text(of.text(row.variable_name));
        out.int4(row.pressure_level);
        out.float8(row.rmse);
        out.float8(row.acc);
        out.float8(row.skill_score);
        out.time(row.calculated_at);
    })
}

pub fn steps<'a>() -> Table<Of<'a, StepRow>> {
    const COLUMNS: &str = "id run_id miner_uid miner_hotkey step_name substep lead_hours status started_at completed_at \
                           retry_count next_retry_time latency_ms error_json";
    Table::new(STEPS.name, COLUMNS, |out, of| {
        let row = of.row;
        out.int8(row.id);
        out.int4(of.run_id);
        out.int4(row.miner_uid);
        out.text(of.text(row.miner_hotkey));
        out.text(row.step_name);
        out.text(row.substep);
        out.int4(row.lead_hours);
        out.text(row.status);
        out.time(row.started_at);
        out.time(row.completed_at);
        out.int4(row.retry_count);
        out.time(row.next_retry_time);
        out.int4(row.latency_ms);
        out.jsonb(row.error_json.as_ref());
    })
}

pub fn stats() -> Table<StoredRow> {
    let wide = wide_leads().into_iter().map(Column::wide);
    let columns = ForecastStat::COLUMNS.iter().cloned().chain(wide).map(|column| column.name.into_owned());
    let write = |out: &mut Tuples, stored: &StoredRow| {
        out.id4(stored.id);
        cells(out, &stored.row);
        stored.row.wide.iter().for_each(|score| out.cell(Type::Float64, &score.value()));
    };
    Table { name: ForecastStat::TABLE, columns: std::iter::once("id".to_owned()).chain(columns).collect(), write }
}

pub fn miners() -> Table<MinerStat> {
    let columns = MinerStat::COLUMNS.iter().map(|column| column.name.to_string()).collect();
    Table { name: MinerStat::TABLE, columns, write: |out, row| cells(out, row) }
}

fn cells<R: Rollup>(out: &mut Tuples, row: &R) {
    R::COLUMNS.iter().enumerate().for_each(|(at, column)| out.cell(column.kind, &row.value(at)));
}
