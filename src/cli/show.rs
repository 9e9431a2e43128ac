//! `recount show`: what a diff folder or a saved report holds, row by row.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value as Json, json};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::cause::Cause;
use crate::model::finding::Code;
use crate::model::rollups::{DifferenceRow, Rollup};
use crate::pipeline;

use super::args::Global;
use super::config::plain;
use super::output::{self, Look};
use super::report::counted;
use super::report::table::Grid;
use super::settings::Settings;
use super::values::Format;
use super::{Status, resolve};

/// The largest report that is read.
const REPORT_BYTES: u64 = 256 << 20;

#[derive(Debug, Args)]
pub struct Show {
    /// Folder that `recount diff --out` wrote, or a report (.json) of --report, --reports or --format json
    #[arg(value_name = "DIR|REPORT")]
    pub path: PathBuf,
    /// Only of this run
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub run: Option<i32>,
    /// Only of this miner
    #[arg(long, value_name = "UID")]
    pub miner: Option<i32>,
    /// Only of this column
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Only with this cause: stale, duplicates, follows, …
    #[arg(long, value_name = "CAUSE", value_parser = clap::builder::PossibleValuesParser::new(Cause::NAMES), hide_possible_values = true)]
    pub cause: Option<String>,
    /// Findings with this code instead of differences; a report has the first of each code
    #[arg(long, value_name = "CODE", conflicts_with_all = ["column", "cause"])]
    pub findings: Option<String>,
    /// At most this many rows
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
}

/// Rows with the names of their columns; `complete`: nothing was left out when they were written.
struct Listing {
    rows: Vec<Map<String, Json>>,
    complete: bool,
}

pub fn run(args: &Show, global: &Global) -> Result<Status> {
    let settings = resolve(global, None)?;
    let Listing { mut rows, complete } = match args.path.is_dir() {
        true => of_diff(args)?,
        false => of_report(args)?,
    };
    rows.retain(|row| args.takes(row));
    let count = rows.len();
    rows.truncate(args.limit);
    output::print(&match settings.format {
        Format::Json => {
            let told = json!({ "version": 1, "command": "show", "count": count, "complete": complete, "rows": rows });
            format!("{told:#}\n")
        }
        Format::Terminal => table(&rows, count, complete, &settings),
    })?;
    Ok(Status::Done)
}

impl Show {
    fn takes(&self, row: &Map<String, Json>) -> bool {
        let number =
            |name: &str, wanted: Option<i32>| wanted.is_none_or(|id| row.get(name).and_then(Json::as_i64) == Some(id.into()));
        let text = |name: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| row.get(name).and_then(Json::as_str) == Some(wanted.as_str()))
        };
        number("run_id", self.run)
            && number("miner_uid", self.miner)
            && text("column", &self.column)
            && text("cause", &self.cause)
            && text("code", &self.findings)
    }
}

fn of_diff(args: &Show) -> Result<Listing> {
    if args.findings.is_some() {
        let detail = format!("{} is a diff folder, which holds no findings", args.path.display());
        return Err(Error::new(ErrorKind::Usage, "showing findings", detail)
            .hint("give a report that --report FILE.json wrote; `recount recompute --out DIR` lists all in findings.parquet"));
    }
    let columns: Vec<&str> = DifferenceRow::COLUMNS.iter().map(|column| column.name.as_ref()).collect();
    let row = |row: DifferenceRow| {
        let cells = columns.iter().enumerate().map(|(at, name)| ((*name).to_owned(), row.value(at).to_json()));
        cells.filter(|(_, cell)| !cell.is_null()).collect()
    };
    Ok(Listing { rows: pipeline::diff_rows(&args.path)?.into_iter().map(row).collect(), complete: true })
}

/// A report has every pattern with its example, the worst of each column, and the first findings of each code.
fn of_report(args: &Show) -> Result<Listing> {
    let report = read(&args.path)?;
    if let Some(code) = &args.findings {
        if !Code::ALL.iter().any(|known| known.name() == code) {
            let known = Code::ALL.iter().map(|code| code.name()).collect::<Vec<_>>().join(", ");
            return Err(Error::new(ErrorKind::Usage, "showing findings", format!("{code:?} is no code; there are {known}")));
        }
        let listed = report["finding_rows"]["rows"].as_array().cloned().unwrap_or_default();
        let of_code = listed.iter().filter(|row| row["code"] == *code).count() as u64;
        let complete = report["findings"][code].as_u64().unwrap_or_default() <= of_code;
        return Ok(Listing { rows: listed.into_iter().filter_map(object).collect(), complete });
    }
    let worst = report["worst"].as_array().cloned().unwrap_or_default();
    let flat = |mut row: Map<String, Json>| {
        if let Some(Json::Object(key)) = row.remove("key") {
            row.extend(key);
        }
        row
    };
    Ok(Listing { rows: worst.into_iter().filter_map(object).map(flat).collect(), complete: false })
}

fn object(json: Json) -> Option<Map<String, Json>> {
    if let Json::Object(map) = json { Some(map) } else { None }
}

fn read(path: &Path) -> Result<Json> {
    let doing = || format!("reading the report {}", path.display());
    let mut text = String::new();
    let file = File::open(path).doing(ErrorKind::Io, doing)?;
    file.take(REPORT_BYTES).read_to_string(&mut text).doing(ErrorKind::Io, doing)?;
    let report: Json = serde_json::from_str(&text).doing(ErrorKind::Data, doing)?;
    match report["version"].as_u64() {
        Some(2..) => Ok(report),
        _ => Err(Error::new(ErrorKind::Data, doing(), "it is no report of version 2, which has rows")
            .hint("write one with `recount reconcile SOURCE --report FILE.json`")),
    }
}

fn table(rows: &[Map<String, Json>], count: usize, complete: bool, settings: &Settings) -> String {
    let look = Look::of(settings.color);
    let left_out = ["table", "forecast_run_id", "scope", "delta", "cause", "severity"];
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(Map::keys).map(String::as_str).filter(|name| !left_out.contains(name)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut grid = Grid::new(&names, look);
    for row in rows {
        grid.row(names.iter().map(|name| row.get(*name).map_or(String::new(), plain)));
    }
    let grid = if rows.is_empty() { String::new() } else { grid.to_string() };
    let shown = if rows.len() < count { format!(", the first {} are shown (--limit)", rows.len()) } else { String::new() };
    let note = if complete { "" } else { "; the report holds only the worst of each column, or the first findings of a code" };
    format!("{}{shown}{note}.\n{grid}", counted(count as u64, "row"))
}
