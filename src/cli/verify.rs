//! `recount verify`: is an archive what was written, and does it agree with itself?

use serde_json::{Value as Json, json};

use crate::error::Result;
use crate::model::job::Watch;
use crate::pipeline::archive::verify::{Verified, verify};

use super::report::text::counted;
use super::settings::Settings;
use super::values::Format;

/// Verifies; gives what is to be printed, and whether nothing is wrong.
pub fn run(dest: &str, settings: &Settings, watch: &dyn Watch) -> Result<(String, bool)> {
    let verified = verify(dest, settings.threads.get(), watch)?;
    let told = match settings.format {
        Format::Json => format!("{:#}\n", as_json(&verified)),
        Format::Terminal => as_text(&verified),
    };
    Ok((told, verified.problems.is_empty()))
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
    text + &format!(
        "{state}: {} with {} of {}, as of {}, in {:.1} s.\n",
        counted(verified.files, "file"),
        counted(verified.rows, "row"),
        counted(verified.runs, "run"),
        verified.as_of.iso(),
        verified.elapsed.as_secs_f64()
    )
}

fn as_json(verified: &Verified) -> Json {
    let problem = |p: &crate::pipeline::archive::verify::Problem| json!({"path": p.path, "detail": p.detail});
    json!({
        "version": 1, "command": "verify", "dest": verified.dest, "as_of": verified.as_of.iso(),
        "intact": verified.problems.is_empty(), "files": verified.files, "rows": verified.rows, "bytes": verified.bytes,
        "runs": verified.runs, "digest": verified.digest, "notes": verified.notes,
        "problems": verified.problems.iter().map(problem).collect::<Vec<_>>(),
        "elapsed_ms": verified.elapsed.as_millis() as u64,
    })
}
