//! `recount query`: a look into an archive, without installing anything.

use std::fs::File;
use std::io::{self, Write};

use polars::prelude::{AnyValue, DataFrame, ParquetWriter, TimeUnit, TimeZone};
use serde_json::Value as Json;

use crate::error::{Context, ErrorKind, Result};
use crate::model::time::Micros;
use crate::model::value::Value;
use crate::pipeline;

use super::args::{Global, Query, QueryForm};
use super::output::{self, Look};
use super::report::table::Grid;
use super::report::text::counted;
use super::{Status, resolve};

/// Rows that a table on the screen shows; the other forms have all.
const SHOWN_ROWS: usize = 200;

pub fn run(query: &Query, global: &Global) -> Result<Status> {
    let settings = resolve(global, None)?;
    let mut frame = pipeline::archive::query::query(&query.dest, &query.sql)?;
    let mut content = Vec::new();
    match query.form {
        QueryForm::Table => content.extend(table(&frame, Look::of(settings.color)).into_bytes()),
        form => write(form, &mut frame, &mut content).doing(ErrorKind::Data, || "writing the result".to_owned())?,
    }
    match &query.out {
        Some(path) => File::create(path)
            .and_then(|mut file| file.write_all(&content))
            .doing(ErrorKind::Io, || format!("writing {}", path.display()))?,
        None => output::print_bytes(&content)?,
    }
    Ok(Status::Done)
}

fn write(form: QueryForm, frame: &mut DataFrame, out: &mut Vec<u8>) -> polars::error::PolarsResult<()> {
    match form {
        QueryForm::Csv => csv(frame, out).map_err(Into::into),
        QueryForm::Jsonl => json_lines(frame, out).map_err(Into::into),
        QueryForm::Parquet => ParquetWriter::new(out).finish(frame).map(drop),
        QueryForm::Table => Err(io::Error::other("a table is written by hand").into()),
    }
}

/// One header line, NULL as nothing, times as ISO text, quotes where a text needs them.
fn csv(frame: &DataFrame, out: &mut Vec<u8>) -> io::Result<()> {
    let mut lines = csv::Writer::from_writer(out);
    lines.write_record(frame.get_column_names().into_iter().map(|name| name.as_str()))?;
    for row in 0..frame.height() {
        let cells = frame.columns().iter().map(|column| match column.get(row).unwrap_or(AnyValue::Null) {
            AnyValue::Null => String::new(),
            value => cell(&value),
        });
        lines.write_record(cells)?;
    }
    lines.flush()
}

/// One object a line, its keys in the order of the columns; what is no JSON number is its name as text.
fn json_lines(frame: &DataFrame, out: &mut Vec<u8>) -> io::Result<()> {
    let names: Vec<Json> = frame.get_column_names().into_iter().map(|name| Json::from(name.as_str())).collect();
    for row in 0..frame.height() {
        let cells = frame.columns().iter().map(|column| json(&column.get(row).unwrap_or(AnyValue::Null)));
        let members: Vec<_> = names.iter().zip(cells).map(|(name, cell)| format!("{name}:{cell}")).collect();
        writeln!(out, "{{{}}}", members.join(","))?;
    }
    Ok(())
}

fn json(value: &AnyValue<'_>) -> Json {
    match value {
        AnyValue::Null => Json::Null,
        AnyValue::Boolean(x) => Json::from(*x),
        AnyValue::Float64(x) => Value::Float(*x).to_json(),
        AnyValue::Float32(x) => Value::Float((*x).into()).to_json(),
        value => match value.extract::<i64>().filter(|_| value.is_primitive_numeric()) {
            Some(whole) => Json::from(whole),
            None => Json::from(cell(value)),
        },
    }
}

fn table(frame: &DataFrame, look: Look) -> String {
    let names: Vec<&str> = frame.get_column_names().into_iter().map(|name| name.as_str()).collect();
    let numbers = frame.columns().iter().enumerate().filter(|(_, column)| column.dtype().is_primitive_numeric());
    let mut grid = Grid::new(&names, look).right(numbers.map(|(index, _)| index));
    for row in 0..frame.height().min(SHOWN_ROWS) {
        grid.row(frame.columns().iter().map(|column| cell(&column.get(row).unwrap_or(AnyValue::Null))));
    }
    match frame.height() {
        height if height > SHOWN_ROWS => format!("{grid}\n{} of {} shown\n", SHOWN_ROWS, counted(height as u64, "row")),
        _ => grid.to_string(),
    }
}

fn cell(value: &AnyValue<'_>) -> String {
    if let Some(text) = value.get_str() {
        return text.to_owned();
    }
    let is_utc = |zone: Option<&TimeZone>| zone.is_some_and(|zone| zone.as_str() == "UTC");
    match value {
        AnyValue::Null => "NULL".to_owned(),
        AnyValue::Float64(x) => x.to_string(),
        AnyValue::Datetime(micros, TimeUnit::Microseconds, zone) if is_utc(*zone) => Micros(*micros).iso(),
        AnyValue::DatetimeOwned(micros, TimeUnit::Microseconds, zone) if is_utc(zone.as_deref()) => Micros(*micros).iso(),
        other => other.to_string(),
    }
}
