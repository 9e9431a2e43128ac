//! `recount verify`: is an archive what was written, and does it agree with itself?

use serde_json::{Value as Json, json};

use crate::error::Result;
use crate::model::time::Micros;
use crate::pipeline::archive::verify::{Verified, verify};

use super::afterwards::{self, Account};
use super::args::{Global, Verify};
use super::progress::Monitor;
use super::report::text::counted;
use super::values::Format;
use super::{Status, print, resolve};

pub fn run(args: &Verify, global: &Global) -> Result<Status> {
    afterwards::tell(&args.afterwards, "verify", |account| run_for(args, global, account))
}

fn run_for(args: &Verify, global: &Global, account: &mut Account) -> Result<Status> {
    let (settings, monitor) = (resolve(global, None)?, Monitor::start(global.quiet)?);
    let verified = verify(&args.dest, settings.threads.get(), &monitor)?;
    account.verified(&verified, as_text(&verified).lines().last().unwrap_or_default());
    let text = match settings.format {
        Format::Json => format!("{:#}\n", as_json(&verified)),
        Format::Terminal => as_text(&verified),
    };
    print(&text, monitor)?;
    Ok(Status::done_if(verified.problems.is_empty()))
}

fn as_text(verified: &Verified) -> String {
    let mut text = String::new();
    for problem in &verified.problems {
        text += &format!("{}: {}\n", problem.path, problem.detail);
    }
    for note in &verified.notes {
        text += &format!("note: {note}\n");
    }
    let state = match verified.problems.len() as u64 {
        0 => "Intact".to_owned(),
        problems => format!("NOT INTACT, {}", counted(problems, "problem")),
    };
    let took = format!("in {:.1} s.\n", verified.elapsed.as_secs_f64());
    let Some(as_of) = verified.as_of else {
        return text + &format!("{state}: 0 files, broken manifest: what is there cannot be told from what was added, {took}");
    };
    text + &format!(
        "{state}: {} with {} of {}, as of {}, {took}",
        counted(verified.files, "file"),
        counted(verified.rows, "row"),
        counted(verified.runs, "run"),
        as_of.iso(),
    )
}

fn as_json(verified: &Verified) -> Json {
    let problem = |p: &crate::pipeline::archive::verify::Problem| json!({"path": p.path, "detail": p.detail});
    json!({
        "version": 1, "command": "verify", "dest": verified.dest, "as_of": verified.as_of.map(Micros::iso),
        "intact": verified.problems.is_empty(), "files": verified.files, "rows": verified.rows, "bytes": verified.bytes,
        "runs": verified.runs, "digest": verified.digest, "notes": verified.notes,
        "problems": verified.problems.iter().map(problem).collect::<Vec<_>>(),
        "elapsed_ms": verified.elapsed.as_millis() as u64,
    })
}
