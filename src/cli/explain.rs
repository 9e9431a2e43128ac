//! `recount explain`: why a row is what it is, as a tree or as JSON.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use crate::error::{Error, ErrorKind, Result};
use crate::model::cause::Cause;
use crate::model::difference::{Class, Difference};
use crate::model::ids::{MinerUid, RunId};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::model::value::Value;
use crate::pipeline::{self, EvidenceRow, Explained, Explanation, What, rested_on_beyond};

use super::args::{Explain, Global};
use super::progress::Monitor;
use super::report::counted;
use super::report::text::value as shown;
use super::values::{Format, Setting};
use super::{Status, print, resolve_whole};

pub fn run(args: &Explain, global: &Global) -> Result<Status> {
    let settings = resolve_whole(global, Some(&args.flags), args.source.as_deref())?;
    let monitor = Monitor::start(global.quiet)?;
    let (job, source) = (settings.job(), settings.open()?);
    let (run, miner) = (args.run.map(RunId), args.miner.map(MinerUid));
    let mut row = match (run, miner) {
        (Some(run), Some(miner)) => pipeline::explain(&job, &source, run, miner, &monitor),
        (None, Some(miner)) => pipeline::explain_lifetime(&job, &source, miner, &monitor),
        (run, None) => pipeline::explain_subnet(&job, &source, run, &monitor),
    }?;
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
            format!("{} has no column of this name", row.what.table()),
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
fn stored<'r>(row: &'r Explanation, column: &str) -> Option<&'r Value<'static>> {
    row.stored.as_ref()?.get(column)
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

/// Cells that are made from this one: columns of the row by their names, those of other tables in full.
fn rested_on_by(row: &Explanation, column: &str) -> Vec<String> {
    let on = row.columns.iter().filter(|other| other.rests_on.iter().any(|name| name == column));
    let mut beyond = rested_on_beyond(row.what.table(), column);
    // Without a place it counts in the subnet of its own run alone.
    if let What::Run { placed: false, .. } = row.what {
        beyond.retain(|cell| !cell.starts_with(MinerStat::TABLE));
    }
    on.map(|other| other.name.clone()).chain(beyond).collect()
}

/// What is stored in the place of a cell of a row below, where that differs.
fn stored_below<'r>(row: &'r Explanation, below: &EvidenceRow, column: &str) -> Option<&'r Difference> {
    let key = |name: &str| match below.cells.iter().find(|(known, _)| *known == name) {
        Some((_, Value::Int(id))) => i32::try_from(*id).ok(),
        _ => None,
    };
    row.below.iter().find(|difference| {
        difference.table == below.table
            && difference.column.as_deref() == Some(column)
            && difference.key.miner_uid == key("miner_uid")
            && (difference.table != ForecastStat::TABLE || difference.key.run_id == key("run_id"))
    })
}

fn as_json(row: &Explanation) -> Json {
    let scoring = &row.rules.scoring;
    let (era5, day1) = scoring.weights();
    let columns = row.columns.iter().map(|column| {
        let mut object = node(row, column);
        object.insert("stored".into(), stored(row, &column.name).map_or(Json::Null, |value| value.to_json()));
        object.insert("class".into(), class(row, &column.name).map_or(Json::Null, |class| class.name().into()));
        object.insert("cause".into(), cause(row, &column.name).map_or(Json::Null, |cause| cause.name().into()));
        object.insert("why".into(), cause(row, &column.name).map_or(Json::Null, |cause| cause.to_string().into()));
        object.insert("rested_on_by".into(), rested_on_by(row, &column.name).into());
        Json::Object(object)
    });
    let (run, miner, id, placed) = match &row.what {
        What::Run { run, miner, forecast_run_id, placed } => {
            (Some(run.0), Some(miner.0), Some(forecast_run_id.as_str()), Some(*placed))
        }
        What::Lifetime(miner) => (None, Some(miner.0), None, None),
        What::Subnet(run) => (run.map(|run| run.0), None, None, None),
    };
    json!({
        "version": 1,
        "command": "explain",
        "source": row.source,
        "table": row.what.table(),
        "run_id": run,
        "miner_uid": miner,
        "forecast_run_id": id,
        "placed": placed,
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

fn node(row: &Explanation, part: &Explained) -> Map<String, Json> {
    let object = json!({
        "name": part.name,
        "rule": part.rule,
        "value": part.value.to_json(),
        "how": part.how,
        "rests_on": part.rests_on,
        "rows": part.rows.iter().map(|below| row_json(row, below)).collect::<Vec<_>>(),
        "parts": part.parts.iter().map(|part| Json::Object(node(row, part))).collect::<Vec<_>>(),
    });
    match object {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

fn row_json(row: &Explanation, below: &EvidenceRow) -> Json {
    let cells: Map<String, Json> = below.cells.iter().map(|(name, value)| ((*name).to_owned(), value.to_json())).collect();
    let findings: Vec<&str> = below.findings.iter().map(|code| code.name()).collect();
    let stored = below.cells.iter().filter_map(|(name, _)| Some((*name, stored_below(row, below, name)?)));
    let stored: Map<String, Json> = stored.map(|(name, cell)| (name.to_owned(), cell.stored.to_json())).collect();
    json!({
        "table": below.table,
        "id": below.id,
        "counts": below.counts,
        "findings": findings,
        "why": below.why,
        "cells": cells,
        "stored": stored,
    })
}

fn as_text(row: &Explanation, depth: u32) -> String {
    let differing = row.columns.iter().filter(|column| class(row, &column.name).is_some()).count();
    let stands = match (&row.stored, &row.what) {
        (_, What::Run { placed: false, .. }) => "a later run has its place (D1), so it is not stored".to_owned(),
        (None, _) if !row.table_is_stored => "the source does not store this table".to_owned(),
        (None, _) => "it is not stored".to_owned(),
        (Some(_), _) => {
            format!("{differing} of its {} differ from what is stored", counted(row.columns.len() as u64, "value"))
        }
    };
    let which = match &row.what {
        What::Run { run, miner, forecast_run_id, .. } => format!("run {run}, miner {miner} ({forecast_run_id})"),
        What::Lifetime(miner) => format!("miner {miner} over all runs"),
        What::Subnet(Some(run)) => format!("the subnet in run {run}"),
        What::Subnet(None) => "the subnet over everything".to_owned(),
    };
    let mut text = format!("{}, {which}: {stands}.\n\n", row.what.table());
    for column in &row.columns {
        let mut line = format!("{} = {} ({})", column.name, shown(&column.value), column.rule);
        if let (Some(class), Some(stored)) = (class(row, &column.name), stored(row, &column.name)) {
            let cause = cause(row, &column.name).map_or(String::new(), |cause| format!(", {cause}"));
            let _ = write!(line, ", stored {}: {}{cause}", shown(stored), class.name());
        }
        text += &format!("{line}\n");
        if depth > 1 {
            made_of(row, column, 1, depth, &mut text);
            let on = rested_on_by(row, &column.name);
            if !on.is_empty() {
                text += &format!("  on it rest: {}\n", on.join(", "));
            }
        }
    }
    text
}

/// What a value is made of, below its own line.
fn made_of(row: &Explanation, part: &Explained, level: u32, depth: u32, text: &mut String) {
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
        part.rows.iter().for_each(|below| *text += &format!("{indent}{}\n", line_of(row, below)));
    }
    for part in &part.parts {
        *text += &format!("{indent}{} = {} ({})\n", part.name, shown(&part.value), part.rule);
        if level + 1 < depth {
            made_of(row, part, level + 1, depth, text);
        }
    }
}

fn line_of(row: &Explanation, below: &EvidenceRow) -> String {
    let id = below.id.map_or(String::new(), |id| format!(" id {id}"));
    let cell = |(name, value): &(&str, Value<'static>)| {
        let stored = stored_below(row, below, name).map(|found| format!(" (stored {})", shown(&found.stored)));
        format!("{name} {}{}", shown(value), stored.unwrap_or_default())
    };
    let cells: Vec<String> = below.cells.iter().filter(|(_, value)| !value.is_null()).map(cell).collect();
    let codes: Vec<&str> = below.findings.iter().map(|code| code.name()).collect();
    let codes = codes.join(", ");
    let mark = match (below.counts, codes.as_str(), below.why) {
        (true, "", _) => String::new(),
        (true, codes, _) => format!(" ({codes})"),
        (false, "", None) => " (does not count)".to_owned(),
        (false, "", Some(why)) => format!(" (does not count: {why})"),
        (false, codes, None) => format!(" (set aside: {codes})"),
        (false, codes, Some(why)) => format!(" (set aside: {codes}, {why})"),
    };
    format!("{}{id}: {}{mark}", below.table, cells.join(", "))
}
