//! `recount apply`: correct a database by a diff that was made earlier.

use crate::error::Result;
use crate::model::job::Watch;
use crate::model::writing::Applied;
use crate::pipeline;

use super::settings::Settings;
use super::writing::Apply;

const HINT: &str = "name the database to correct: recount apply DIFF_FOLDER --database-url postgres://…";

/// Applies the diff, or writes it down as SQL.
pub fn run(apply: &Apply, settings: &Settings, watch: &dyn Watch) -> Result<Applied> {
    let url = super::correct::database(settings, HINT)?;
    let options = super::correct::options(&apply.correcting, settings, "apply");
    let corrections = pipeline::read_diff(&apply.diff)?;
    match &apply.correcting.sql {
        Some(path) => pipeline::write_sql(url, &corrections, &options, path, watch),
        None => pipeline::apply(url, &corrections, &options, watch),
    }
}
