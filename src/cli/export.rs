//! `recount export`: write a snapshot folder.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::pipeline;

use super::args::{Global, WithOut};
use super::settings::Settings;
use super::values::Format;
use super::{Status, config, prepare, print, whole};

pub fn run(args: &WithOut, global: &Global) -> Result<Status> {
    let (settings, monitor) = prepare(global, &args.reading)?;
    let text = export(&whole("export", &settings)?, &args.out, &settings, &monitor)?;
    print(&text, monitor)?;
    Ok(Status::Done)
}

/// Exports, and gives what is to be printed.
fn export(job: &Job, out: &Path, settings: &Settings, watch: &dyn Watch) -> Result<String> {
    let start = Instant::now();
    let source = settings.open()?;
    pipeline::export(&source, out, job.threads, &config::scoring(settings), watch)?;
    let (rows, taken_at) = (source.rows_read(), source.snapshot().taken_at.iso());
    let elapsed = start.elapsed();
    if settings.format == Format::Json {
        let snapshot = json!({"taken_at": taken_at, "rows": rows});
        let elapsed = json!({"total": elapsed.as_millis() as u64});
        let object = json!({
            "version": 1, "command": "export", "source": source.display(), "snapshot": snapshot,
            "out": out.display().to_string(), "elapsed_ms": elapsed,
        });
        return Ok(format!("{object:#}\n"));
    }
    let total: u64 = rows.values().sum();
    let runs = source.snapshot().runs.len();
    let seconds = elapsed.as_secs_f64();
    Ok(format!("Exported {runs} runs, {total} rows, as of {taken_at} to {} in {seconds:.1} s.\n", out.display()))
}
