//! The rows of a miner as they were read, with the findings of the fold about each.

use std::collections::HashMap;

use crate::model::evidence::{COMPONENTS, InputTable, RunEvidence, SCORES, STEPS};
use crate::model::finding::Code;
use crate::model::ids::{MinerUid, RunId};
use crate::model::sanitize::sanitize;
use crate::model::time::Micros;
use crate::model::value::Value;
use crate::rollup::UnitFold;
use crate::rollup::kind::{self, Kind, ValueKind};
use crate::rollup::steps::Step;
use crate::rollup::views::{Columns, float_at, int_at};

use super::EvidenceRow;

/// Findings that set a row aside.
const ASIDE: [Code; 6] = [
    Code::UnknownScoreType,
    Code::OrphanScore,
    Code::DuplicateScore,
    Code::InvalidScore,
    Code::UnexpectedLead,
    Code::UnexpectedVariable,
];

/// A score row of the miner.
pub struct Score {
    /// What it measures: of a lead, or (`Some(None)`) of the Day-1 score; `None` where the kind is unknown.
    pub value: Option<Option<ValueKind>>,
    pub lead: Option<i32>,
    /// The order of "latest".
    pub order: (i64, i64),
    pub row: EvidenceRow,
}

/// A component row of the miner.
pub struct Component {
    pub kind: String,
    pub row: EvidenceRow,
}

type Codes = HashMap<i64, Vec<Code>>;

fn codes(fold: &UnitFold, run: RunId, miner: MinerUid, table: &InputTable) -> Codes {
    let mut codes = Codes::new();
    let of_miner = fold
        .findings
        .iter()
        .filter(|finding| finding.run == Some(run) && finding.miner == Some(miner) && finding.table == table.name);
    for finding in of_miner {
        if let Some(id) = finding.row_id {
            codes.entry(id).or_default().push(finding.code);
        }
    }
    codes
}

fn row(table: &InputTable, id: i64, cells: Vec<(&'static str, Value<'static>)>, codes: &Codes) -> EvidenceRow {
    let findings = codes.get(&id).cloned().unwrap_or_default();
    let counts = !findings.iter().any(|code| ASIDE.contains(code));
    EvidenceRow { table: table.name, id: Some(id), cells, counts, findings, why: None }
}

fn text(text: &str) -> Value<'static> {
    Value::Text(sanitize(text).into())
}

fn int(value: Option<i32>) -> Value<'static> {
    value.map_or(Value::Null, |value| Value::Int(value.into()))
}

fn float(value: Option<f64>) -> Value<'static> {
    value.map_or(Value::Null, Value::Float)
}

fn time(value: Option<Micros>) -> Value<'static> {
    value.map_or(Value::Null, Value::Time)
}

/// I: the score rows that name the run and the miner, those of ignored kinds left out.
pub fn scores(evidence: &RunEvidence, fold: &UnitFold, miner: MinerUid) -> Vec<Score> {
    let codes = codes(fold, evidence.run.id, miner, &SCORES);
    let columns = Columns(&evidence.scores);
    let (ids, uid) = (columns.ids(), columns.repeated::<arrow_array::types::Int32Type>("miner_uid"));
    let kinds = columns.codes("score_type");
    let leads = columns.repeated::<arrow_array::types::Int32Type>("lead_hours");
    let times = columns.repeated::<arrow_array::types::TimestampMicrosecondType>("calculation_time");
    let (levels, values) = (columns.codes("variable_level"), columns.float("score"));
    let mut scores = Vec::new();
    for index in (0..evidence.scores.num_rows()).filter(|&index| uid.value(index) == miner.0) {
        let name = kinds.get(index).unwrap_or_default();
        let value = match kind::parse(name) {
            Kind::Ignored => continue,
            Kind::Day1 => Some(None),
            Kind::Era5 { value, .. } => Some(Some(value)),
            Kind::Unknown => None,
        };
        let (id, lead, at) = (ids.id(index), leads.get(index), times.value(index));
        let cells = vec![
            ("score_type", text(name)),
            ("lead_hours", int(lead)),
            ("variable_level", levels.get(index).map_or(Value::Null, text)),
            ("calculation_time", time(Some(Micros(at)))),
            ("score", float(float_at(values, index))),
        ];
        scores.push(Score { value, lead, order: (at, id), row: row(&SCORES, id, cells, &codes) });
    }
    scores
}

/// I: the component rows that name the run and the miner.
pub fn components(evidence: &RunEvidence, fold: &UnitFold, miner: MinerUid) -> Vec<Component> {
    let codes = codes(fold, evidence.run.id, miner, &COMPONENTS);
    let columns = Columns(&evidence.components);
    let (ids, uid, leads) = (columns.id("id").values(), columns.int32("miner_uid").values(), columns.int32("lead_hours"));
    let (kinds, variables) = (columns.codes("score_type"), columns.codes("variable_name"));
    let levels = columns.int32("pressure_level");
    let times = columns.time("calculated_at").values();
    let (rmse, acc, skill) = (columns.float("rmse"), columns.float("acc"), columns.float("skill_score"));
    let component = |index: usize| {
        let kind = kinds.get(index).unwrap_or_default();
        let cells = vec![
            ("score_type", text(kind)),
            ("lead_hours", int(int_at(leads, index))),
            ("variable_name", variables.get(index).map_or(Value::Null, text)),
            ("pressure_level", int(int_at(levels, index))),
            ("calculated_at", time(Some(Micros(times[index])))),
            ("rmse", float(float_at(rmse, index))),
            ("acc", float(float_at(acc, index))),
            ("skill_score", float(float_at(skill, index))),
        ];
        Component { kind: kind.to_owned(), row: row(&COMPONENTS, ids[index], cells, &codes) }
    };
    (0..ids.len()).filter(|&index| uid[index] == miner.0).map(component).collect()
}

/// A step as I7 leaves it.
pub fn step_row(step: &Step<'_>) -> EvidenceRow {
    let cells = vec![
        ("step_name", text(step.name())),
        ("substep", step.substep().map_or(Value::Null, text)),
        ("lead_hours", int(step.lead())),
        ("status", text(step.status())),
        ("started_at", time(step.started())),
        ("completed_at", time(step.completed())),
        ("retry_count", int(Some(step.retry_count))),
        ("next_retry_time", time(step.next_retry())),
        ("latency_ms", int(step.latency_ms())),
    ];
    EvidenceRow { table: STEPS.name, id: Some(step.id()), cells, counts: true, findings: Vec::new(), why: None }
}
