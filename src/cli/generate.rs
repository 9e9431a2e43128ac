//! `recount generate`: make a plausible validator to try things on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::generate::{Plan, Summary, Target};
use crate::model::difference::{Class, Difference};
use crate::model::ids::LeadHours;
use crate::model::job::Watch;
use crate::model::rollups::{DifferenceRow, Rollup};

use super::args::{Generate, Global};
use super::progress::Monitor;
use super::{Status, print, resolve};

pub fn run(args: &Generate, global: &Global) -> Result<Status> {
    // For its warnings, and the errors of its files.
    resolve(global, None)?;
    let monitor = Monitor::start(global.quiet)?;
    print(&generate(args, &monitor)?, monitor)?;
    Ok(Status::Done)
}

/// Generates, and gives what is to be printed.
fn generate(generate: &Generate, watch: &dyn Watch) -> Result<String> {
    // Opened first: an hour of work is not to end at a list that cannot be written.
    let list = generate.planted.as_deref().map(create).transpose()?;
    let plan = plan(generate);
    let summary = crate::generate::generate(&plan, &target(generate, &plan)?, watch)?;
    if let (Some(list), Some(path)) = (list, generate.planted.as_deref()) {
        write(list, &summary.planted).doing(ErrorKind::Io, || format!("writing {}", path.display()))?;
    }
    Ok(told(&summary))
}

fn plan(generate: &Generate) -> Plan {
    let plan = Plan::default();
    Plan {
        runs: generate.runs as usize,
        miners: generate.miners as usize,
        seed: generate.seed,
        leads: generate.leads.as_ref().map_or(plan.leads, |leads| leads.iter().copied().map(LeadHours).collect()),
        messy: generate.messy,
        complete: generate.complete,
        drift: generate.drift as usize,
        causes: generate.causes,
        components: !generate.no_components,
        variables: plan.variables,
        start: plan.start,
    }
}

fn target(generate: &Generate, plan: &Plan) -> Result<Target> {
    let leads: Vec<i32> = plan.leads.iter().map(|lead| lead.0).collect();
    match (&generate.target.out, &generate.target.database_url) {
        (Some(path), _) => Ok(Target::Folder { path: path.clone(), settings: json!({ "expected_leads": leads }) }),
        (None, Some(url)) => Ok(Target::Database { url: url.clone() }),
        (None, None) => Err(Error::new(ErrorKind::Usage, "choosing a target", "neither --out nor --database-url is given")),
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).doing(ErrorKind::Io, || format!("creating {}", path.display()))
}

/// One JSON object a line, with the columns of `differences.parquet`.
fn write(file: File, planted: &[Difference]) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    for difference in planted {
        let row = DifferenceRow::from(difference);
        let columns = DifferenceRow::COLUMNS.iter().enumerate();
        let object: Map<String, Json> =
            columns.map(|(index, column)| (column.name.to_string(), row.value(index).to_json())).collect();
        writeln!(out, "{}", Json::Object(object))?;
    }
    out.flush()
}

fn told(summary: &Summary) -> String {
    let mut text: String = summary.rows.iter().map(|(table, rows)| format!("{rows:>12} {table}\n")).collect();
    let within = summary.planted.iter().filter(|difference| difference.class == Class::Within).count();
    let real = summary.planted.len() - within;
    text.push_str(&format!("{real:>12} planted differences, and {within} within tolerance\n"));
    text
}
