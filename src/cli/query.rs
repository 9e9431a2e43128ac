//! `recount query`: a look into an archive, without installing anything.

mod cell;
mod forms;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::pipeline::archive::query::{Limits, query};

use super::args::{Global, Query, QueryForm};
use super::output::Look;
use super::{Status, resolve};

use self::forms::{Form, Out};

/// Bytes of a megabyte.
const MEGABYTE: u64 = 1 << 20;

pub fn run(args: &Query, global: &Global) -> Result<Status> {
    let settings = resolve(global, None)?;
    let form = form(args)?;
    let limits = Limits { threads: settings.threads, memory: args.memory.max(1).saturating_mul(MEGABYTE) };
    let look = Look::of(settings.color);
    // The file is made when the statement has been understood, so that a mistyped one does not cost an older file.
    let mut writing: Option<Box<dyn Form>> = None;
    let asked = query(&args.dest, &args.sql, limits, &mut |batch| {
        let form = match &mut writing {
            Some(form) => form,
            None => writing.insert(forms::start(form, &batch.schema(), out(args.out.as_deref())?, look)?),
        };
        form.take(batch)
    });
    match (asked, writing, &args.out) {
        (Ok(()), Some(form), _) => form.finish().map(|()| Status::Done),
        (Err(error), Some(_), Some(path)) => {
            // Half a result looks like a whole one.
            let _ = fs::remove_file(path);
            Err(error)
        }
        (asked, ..) => asked.map(|()| Status::Done),
    }
}

fn out(path: Option<&Path>) -> Result<Out> {
    let Some(path) = path else { return Ok(Out::Stdout) };
    let file = File::create(path).doing(ErrorKind::Io, || format!("writing {}", path.display()))?;
    Ok(Out::File(BufWriter::new(file), path.to_owned()))
}

/// As asked for, or as the ending of the file says.
fn form(args: &Query) -> Result<QueryForm> {
    let ending = args.out.as_deref().and_then(Path::extension).and_then(OsStr::to_str);
    match (args.format, ending) {
        (Some(form), _) => Ok(form),
        (None, Some("csv")) => Ok(QueryForm::Csv),
        (None, Some("jsonl" | "ndjson")) => Ok(QueryForm::Jsonl),
        (None, Some("json")) => Ok(QueryForm::Json),
        (None, Some("parquet")) => Ok(QueryForm::Parquet),
        (None, Some("txt")) => Ok(QueryForm::Table),
        (None, _) if args.out.is_none() => Ok(QueryForm::Table),
        (None, _) => {
            let error = Error::new(ErrorKind::Usage, "writing the result", "the ending of --out does not tell its form");
            Err(error.hint("end it in .csv, .jsonl, .json, .parquet or .txt, or say --format"))
        }
    }
}
