//! `recount apply`: correct a database by a diff that was made earlier.

use crate::error::Result;
use crate::model::job::Watch;
use crate::sink::correct::{self, Applied};
use crate::sink::folder;

use super::settings::Settings;
use super::writing::Apply;

const HINT: &str = "name the database to correct: recount apply DIFF_FOLDER --database-url postgres://…";

/// Applies the diff, or writes it down as SQL.
pub fn run(apply: &Apply, settings: &Settings, watch: &dyn Watch) -> Result<Applied> {
    let url = super::correct::database(settings, HINT)?;
    let options = super::correct::options(&apply.correcting, settings, "apply");
    let corrections = folder::read(&apply.diff)?;
    match &apply.correcting.sql {
        Some(path) => correct::write_sql(url, &corrections, &options, path, watch),
        None => correct::apply(url, &corrections, &options, watch),
    }
}
