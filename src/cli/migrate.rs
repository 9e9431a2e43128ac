//! `recount migrate`: bring the schema of a database to Phase 1, or show where it stands.

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::Location;

use super::args::MigrateAction;
use super::settings::Settings;

pub fn run(action: Option<MigrateAction>, settings: &Settings) -> Result<()> {
    let url = database(settings)?;
    todo!("schema: {action:?} of {} characters of URL", url.len())
}

/// The URL to migrate: a snapshot folder has no schema.
fn database(settings: &Settings) -> Result<&str> {
    match settings.source.as_ref() {
        Some(Location::Postgres(url)) => Ok(url),
        Some(Location::Folder(path)) => {
            let detail = format!("{path} is no database URL; only a database can be migrated");
            Err(Error::new(ErrorKind::Usage, "choosing a database", detail))
        }
        None => {
            Err(Error::new(ErrorKind::Usage, "choosing a database", "no --database-url is given and DATABASE_URL is not set"))
        }
    }
}
