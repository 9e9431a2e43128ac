//! `recount apply`: correct a database by a diff that was made earlier.

use crate::error::Result;
use crate::model::job::Watch;
use crate::model::writing::Applied;
use crate::pipeline;

use super::args::Global;
use super::progress::Monitor;
use super::settings::Settings;
use super::writing::Apply;
use super::{Status, report_applied, resolve_layers};

const HINT: &str = "name the database to correct: recount apply DIFF_FOLDER --database-url postgres://…";

pub fn run(args: &Apply, global: &Global) -> Result<Status> {
    let own = args.validator_hotkey.clone().map(|hotkey| ("validator-hotkey", hotkey)).into_iter();
    let own = own.chain(args.correcting.beside.flags());
    let settings = resolve_layers(global, None, args.target.database_url.as_deref(), own)?;
    let monitor = Monitor::start(global.quiet)?;
    let applied = apply(args, &settings, &monitor)?;
    report_applied("apply", &applied, args.correcting.sql.is_some(), &settings, monitor)
}

/// Applies the diff, or writes it down as SQL.
fn apply(apply: &Apply, settings: &Settings, watch: &dyn Watch) -> Result<Applied> {
    let url = super::correct::database(settings, HINT)?;
    let options = super::correct::options(&apply.correcting, settings, "apply");
    super::correct::check_sql(&apply.correcting)?;
    let corrections = pipeline::read_diff(&apply.diff)?;
    match &apply.correcting.sql {
        Some(path) => pipeline::write_sql(url, &corrections, &options, path, watch),
        None => pipeline::apply(url, &corrections, &options, watch),
    }
}
