//! `recount explain`: why a row is what it is, as a tree or as JSON.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use crate::error::{Error, ErrorKind, Result};
use crate::model::cause::Cause;
use crate::model::columns::Column;
use crate::model::difference::Class;
use crate::model::ids::{MinerUid, RunId};
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::value::Value;
use crate::pipeline::{self, EvidenceRow, Explained, Explanation};

use super::args::{Explain, Global};
use super::progress::Monitor;
use super::report::counted;
use super::report::text::value as shown;
use super::values::{Format, Setting};
use super::{Status, print, resolve_whole};

pub fn run(args: &Explain, global: &Global) -> Result<Status> {
    let settings = resolve_whole(global, Some(&args.flags), args.source.as_deref())?;
    let monitor = Monitor::start(global.quiet)?;
    let (run, miner) = (RunId(args.run), MinerUid(args.miner));
    let mut row = pipeline::explain(&settings.job(), &settings.open(false)?, run, miner, &monitor)?;
    if let Some(column) = &args.column {
        keep(&mut row, column)?;
    }
    let text = match settings.format {
        Format::Json => format!("{:#}\n", as_json(&row)),
        Format::Terminal => as_text(&row, args.depth.unwrap_or(if args.column.is_some() { u32::MAX } else { 1 })),
    };
    print(&text, monitor)?;
    Ok(Status::Done)
}

/// Keeps a column and what it rests on, the column first.
fn keep(row: &mut Explanation, column: &str) -> Result<()> {
    if !row.columns.iter().any(|known| known.name == column) {
        let names: Vec<&str> = row.columns.iter().map(|known| known.name.as_str()).collect();
        return Err(Error::new(
            ErrorKind::Usage,
            "choosing a column",
            format!("{} has no column of this name", ForecastStat::TABLE),
        )
        .hint(format!("one of {}", names.join(", "))));
    }
    let mut wanted = BTreeSet::from([column.to_owned()]);
    loop {
        let on = row.columns.iter().filter(|known| wanted.contains(&known.name)).flat_map(|known| known.rests_on.clone());
        let more: BTreeSet<String> = on.chain(wanted.iter().cloned()).collect();
        if more.len() == wanted.len() {
            break;
        }
        wanted = more;
    }
    row.columns.retain(|known| wanted.contains(&known.name));
    row.columns.sort_by_key(|known| known.name != column);
    Ok(())
}

/// What is stored in a column; `None` where nothing is.
fn stored<'r>(row: &'r Explanation, column: &str) -> Option<Value<'r>> {
    let stored = &row.stored.as_ref()?.row;
    if let Some(index) = ForecastStat::COLUMNS.iter().position(|known| known.name == column) {
        return Some(stored.value(index));
    }
    let place = row.wide_leads.iter().position(|lead| column == Column::wide(*lead).name)?;
    Some(stored.wide[place].map_or(Value::Null, Value::Float))
}

/// How the stored value stands to the recomputed one, where they differ.
fn class(row: &Explanation, column: &str) -> Option<Class> {
    row.differences.iter().find(|difference| difference.column.as_deref() == Some(column)).map(|difference| difference.class)
}

/// Why the stored value differs, where that is known.
fn cause(row: &Explanation, column: &str) -> Option<Cause> {
    let difference = row.differences.iter().find(|difference| difference.column.as_deref() == Some(column))?;
    difference.cause.filter(|cause| *cause != Cause::Unexplained)
}

/// Columns of the row that are made from this one.
fn rested_on_by<'r>(row: &'r Explanation, column: &str) -> Vec<&'r str> {
    let on = row.columns.iter().filter(|other| other.rests_on.iter().any(|name| name == column));
    on.map(|other| other.name.as_str()).collect()
}

fn as_json(row: &Explanation) -> Json {
    let scoring = &row.rules.scoring;
    let (era5, day1) = scoring.weights();
    let columns = row.columns.iter().map(|column| {
        let mut object = node(column);
        object.insert("stored".into(), stored(row, &column.name).map_or(Json::Null, |value| value.to_json()));
        object.insert("class".into(), class(row, &column.name).map_or(Json::Null, |class| class.name().into()));
        object.insert("cause".into(), cause(row, &column.name).map_or(Json::Null, |cause| cause.name().into()));
        object.insert("why".into(), cause(row, &column.name).map_or(Json::Null, |cause| cause.to_string().into()));
        object.insert("rested_on_by".into(), rested_on_by(row, &column.name).into());
        Json::Object(object)
    });
    json!({
        "version": 1,
        "command": "explain",
        "source": row.source,
        "table": ForecastStat::TABLE,
        "run_id": row.run.0,
        "miner_uid": row.miner.0,
        "forecast_run_id": row.forecast_run_id,
        "placed": row.placed,
        "is_stored": row.stored.is_some(),
        "settings": {
            "era5_weight": era5,
            "day1_weight": day1,
            "day1_pass_threshold": scoring.day1_pass_threshold,
            "rank_method": scoring.rank_method.show(),
        },
        "columns": columns.collect::<Vec<_>>(),
    })
}

fn node(part: &Explained) -> Map<String, Json> {
    let object = json!({
        "name": part.name,
        "rule": part.rule,
        "value": part.value.to_json(),
        "how": part.how,
        "rests_on": part.rests_on,
        "rows": part.rows.iter().map(row_json).collect::<Vec<_>>(),
        "parts": part.parts.iter().map(|part| Json::Object(node(part))).collect::<Vec<_>>(),
    });
    match object {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

fn row_json(row: &EvidenceRow) -> Json {
    let cells: Map<String, Json> = row.cells.iter().map(|(name, value)| ((*name).to_owned(), value.to_json())).collect();
    let findings: Vec<&str> = row.findings.iter().map(|code| code.name()).collect();
    json!({"table": row.table, "id": row.id, "counts": row.counts, "findings": findings, "cells": cells})
}

fn as_text(row: &Explanation, depth: u32) -> String {
    let differing = row.columns.iter().filter(|column| class(row, &column.name).is_some()).count();
    let stands = match (&row.stored, row.placed) {
        (_, false) => "a later run has its place (D1), so it is not stored".to_owned(),
        (None, true) => "it is not stored".to_owned(),
        (Some(_), true) => {
            format!("{differing} of its {} differ from what is stored", counted(row.columns.len() as u64, "value"))
        }
    };
    let mut text =
        format!("{}, run {}, miner {} ({}): {stands}.\n\n", ForecastStat::TABLE, row.run, row.miner, row.forecast_run_id);
    for column in &row.columns {
        let mut line = format!("{} = {} ({})", column.name, shown(&column.value), column.rule);
        if let (Some(class), Some(stored)) = (class(row, &column.name), stored(row, &column.name)) {
            let cause = cause(row, &column.name).map_or(String::new(), |cause| format!(", {cause}"));
            let _ = write!(line, ", stored {}: {}{cause}", shown(&stored), class.name());
        }
        text += &format!("{line}\n");
        if depth > 1 {
            made_of(column, 1, depth, &mut text);
            let on = rested_on_by(row, &column.name);
            if !on.is_empty() {
                text += &format!("  on it rest: {}\n", on.join(", "));
            }
        }
    }
    text
}

/// What a value is made of, below its own line.
fn made_of(part: &Explained, level: u32, depth: u32, text: &mut String) {
    let indent = "  ".repeat(level as usize);
    *text += &format!("{indent}{}\n", part.how);
    if !part.rests_on.is_empty() {
        *text += &format!("{indent}rests on: {}\n", part.rests_on.join(", "));
    }
    if level + 1 >= depth && !(part.rows.is_empty() && part.parts.is_empty()) {
        let aside = part.rows.iter().filter(|row| !row.counts).count();
        let taken = part.rows.len() - aside;
        if !part.rows.is_empty() {
            *text += &format!("{indent}{} counted, {aside} set aside\n", counted(taken as u64, "row"));
        }
    } else {
        part.rows.iter().for_each(|row| *text += &format!("{indent}{}\n", line_of(row)));
    }
    for part in &part.parts {
        *text += &format!("{indent}{} = {} ({})\n", part.name, shown(&part.value), part.rule);
        if level + 1 < depth {
            made_of(part, level + 1, depth, text);
        }
    }
}

fn line_of(row: &EvidenceRow) -> String {
    let id = row.id.map_or(String::new(), |id| format!(" id {id}"));
    let cells: Vec<String> =
        row.cells.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| format!("{name} {}", shown(value))).collect();
    let codes: Vec<&str> = row.findings.iter().map(|code| code.name()).collect();
    let mark = match (row.counts, codes.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" ({})", codes.join(", ")),
        (false, true) => " (does not count)".to_owned(),
        (false, false) => format!(" (set aside: {})", codes.join(", ")),
    };
    format!("{}{id}: {}{mark}", row.table, cells.join(", "))
}
