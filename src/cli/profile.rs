//! Profiles of validators: those that come with recount, and files of one's own.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::path::{is_refusal, read_regular};
use crate::model::habit::{Habit, Profile};

/// The profiles that come with recount, by name.
const KNOWN: [(&str, &str); 1] = [("gaia-2.9", include_str!("../../data/profiles/gaia-2.9.toml"))];

/// The largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    first_version: String,
    last_version: String,
    habit: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    table: String,
    columns: Vec<String>,
    stored: Vec<String>,
    recomputed: Vec<String>,
    #[serde(default)]
    follows: bool,
    why: String,
}

/// The profile of a name, or of a file whose name ends in `.toml`.
///
/// # Errors
/// [`ErrorKind::Usage`] for a name that is not known and a file that is no profile; [`ErrorKind::Io`] where it cannot be read.
pub fn load(name: &str) -> Result<Arc<Profile>> {
    if let Some((_, text)) = KNOWN.iter().find(|(known, _)| *known == name) {
        return parse(name, text);
    }
    if Path::new(name).extension().is_none_or(|ending| ending != "toml") {
        let known = KNOWN.map(|(known, _)| known).join(", ");
        let detail = format!("{name:?} is no profile; known are {known}, or the path of a .toml file");
        return Err(Error::new(ErrorKind::Usage, "setting profile", detail).about(&["profile"]));
    }
    let doing = || format!("reading the profile {name}");
    let bytes = read_regular(Path::new(name), BYTES_MAX)
        .map_err(|error| Error::new(if is_refusal(&error) { ErrorKind::Usage } else { ErrorKind::Io }, doing(), error))?;
    parse(name, &String::from_utf8(bytes).doing(ErrorKind::Io, doing)?)
}

fn parse(name: &str, text: &str) -> Result<Arc<Profile>> {
    let file: File = toml::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("reading the profile {name}"), error.message().to_owned())
            .hint("docs/operations.md shows how a profile is written")
    })?;
    let habits = file.habit.into_iter().map(|entry| Habit {
        table: entry.table,
        columns: entry.columns,
        stored: entry.stored,
        recomputed: entry.recomputed,
        follows: entry.follows,
        why: entry.why,
    });
    Ok(Arc::new(Profile { name: file.name, versions: file.first_version..=file.last_version, habits: habits.collect() }))
}

#[cfg(test)]
mod tests {
    use crate::model::filter::stored_column;

    use super::*;

    #[test]
    fn known_profiles_name_columns_that_there_are() {
        for (name, _) in KNOWN {
            let profile = load(name).unwrap();
            assert_eq!(profile.name, name);
            for habit in &profile.habits {
                for column in &habit.columns {
                    assert!(stored_column(&habit.table, column).is_some(), "{name}: {}.{column}", habit.table);
                }
            }
        }
    }

    #[test]
    fn what_is_no_profile_is_named() {
        insta::assert_snapshot!(load("gaia-3").unwrap_err(), @r#"setting profile: "gaia-3" is no profile; known are gaia-2.9, or the path of a .toml file"#);
        insta::assert_snapshot!(parse("mine.toml", "name = 1").unwrap_err(), @"reading the profile mine.toml: invalid type: integer `1`, expected a string");
    }
}
