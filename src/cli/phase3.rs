//! `recount phase3`: retry policies, timelines, the subnet's statistics, and their refresh.

use crate::error::Result;
use crate::schema::phase3;

use super::args::Global;
use super::migrate::{database, migrated, render};
use super::output;
use super::progress::interruptible;
use super::schema_args::{Phase3, Phase3Action};
use super::values::Format;
use super::{Status, resolve_whole};

pub fn run(phase3: &Phase3, global: &Global) -> Result<Status> {
    let flags = match &phase3.action {
        Phase3Action::Apply { flags } => Some(flags),
        Phase3Action::Refresh => None,
    };
    let settings = resolve_whole(global, flags, phase3.database_url.as_deref())?;
    let url = database(&settings)?;
    let told = match &phase3.action {
        Phase3Action::Apply { .. } => {
            let report = interruptible(phase3::apply(url, &settings.scoring))?;
            output::note(report.note.as_deref());
            render("phase3 apply", &migrated(&report), &settings)
        }
        Phase3Action::Refresh => {
            let views = interruptible(phase3::refresh(url))?;
            match settings.format {
                Format::Json => {
                    format!("{:#}\n", serde_json::json!({"version": 1, "command": "phase3 refresh", "refreshed": views}))
                }
                Format::Terminal => views.iter().map(|view| format!("refreshed {view}\n")).collect(),
            }
        }
    };
    output::print_done(&told, "all of it is done")?;
    Ok(Status::Done)
}
