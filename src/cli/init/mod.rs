//! `recount init`: all that a nightly job needs, as files to be read before they are used. Nothing is changed in the database.

mod inherited;
mod toml;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::replace::{create, exists};
use crate::postgres::{NewPassword, Target, user_name};
use crate::schema::checkup::survey::{Fact, survey};

use super::args::Global;
use super::operator_args::Init;
use super::output;
use super::progress::interruptible;
use super::values::Format;
use super::{Status, doctor, resolve};
use inherited::{Environment, Inherited, for_role};

/// What only its owner may read, what everybody may, and what runs.
const SECRET: u32 = 0o600;
const OPEN: u32 = 0o644;
const PROGRAM: u32 = 0o755;

/// The database where nothing says which it is.
const UNKNOWN: &str = "postgres://db.example:5432/validator?sslmode=verify-full";
/// The user of the jobs, where root sets them up.
const SYSTEM_USER: &str = "recount";

/// A file to be written.
struct Planned {
    name: &'static str,
    mode: u32,
    text: String,
}

pub fn run(args: &Init, global: &Global) -> Result<Status> {
    let settings = resolve(global, None)?;
    let environment = Environment::of(args.env_file.as_deref())?;
    let inherited = environment.settings()?;
    let url = args.database_url.clone().or_else(|| environment.database_url());
    if let Some(url) = &url {
        // A slip is better heard of now than each night.
        Target::parse(url)?;
    }
    let folder = folder(&args.dir)?;
    let planned = plan(&folder, url.as_deref(), &inherited)?;
    for file in &planned {
        let path = folder.join(file.name);
        // Before the first of them is written; each is made anew all the same.
        if path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
    }
    let (facts, mut notes) = look(url.as_deref());
    notes.extend(of_root(&folder));
    let names = planned.iter().map(|file| file.name).collect::<Vec<_>>().join(", ");
    output::confirmed(
        "writing what a nightly job needs",
        &format!("These files will be made in {}: {names}", folder.display()),
        args.yes,
    )?;
    std::fs::create_dir_all(&folder).doing(ErrorKind::Io, || format!("creating the folder {}", folder.display()))?;
    for file in &planned {
        create(&folder.join(file.name), &file.text, file.mode)?;
    }
    output::print(&match settings.format {
        Format::Json => as_json(&folder, &planned, &inherited, &facts, &notes),
        Format::Terminal => as_text(&folder, &planned, &inherited, &facts, &notes),
    })?;
    Ok(Status::Done)
}

/// The folder by its whole path: scripts and units know no other.
fn folder(dir: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(dir).doing(ErrorKind::Io, || format!("finding {}", dir.display()))?;
    plain(&folder, "--dir")?;
    Ok(folder)
}

/// Refuses a path that a script, a unit and a line of cron would each have to quote in another way.
fn plain(path: &Path, what: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    match path.to_str().filter(|path| path.chars().all(is_plain)) {
        Some(_) => Ok(()),
        None => Err(Error::new(
            ErrorKind::Usage,
            what,
            format!("{} has other characters than letters, digits and / . _ + -", path.display()),
        )
        .hint("name a path without blanks and signs: it stands in a script, a unit and a line of cron")),
    }
}

fn plan(folder: &Path, url: Option<&str>, inherited: &[Inherited]) -> Result<Vec<Planned>> {
    let program = std::env::current_exe().doing(ErrorKind::Io, || "finding this program".to_owned())?;
    plain(&program, "the path of recount")?;
    let [reader, corrector, migrator] = [NewPassword::draw()?, NewPassword::draw()?, NewPassword::draw()?];
    let user = user_name().filter(|user| user != "root").unwrap_or_else(|| SYSTEM_USER.to_owned());
    let filled = |text: &str| {
        let text = text.replace("@DIR@", &folder.display().to_string()).replace("@RECOUNT@", &program.display().to_string());
        text.replace("@USER@", &user)
    };
    let roles = include_str!("roles.sql").replace("@READER@", &reader.verifier);
    let roles = roles.replace("@CORRECTOR@", &corrector.verifier).replace("@MIGRATOR@", &migrator.verifier);
    let env = |role: &str, new: &NewPassword, what: &str| {
        let line = format!("DATABASE_URL='{}'\n", for_role(url.unwrap_or(UNKNOWN), role, &new.password));
        let ask = if url.is_none() { "# Put the host and the database in; nothing said which they are.\n" } else { "" };
        format!("# {what} Its password is that of roles.sql. Only you may read this file; leave it so.\n{ask}{line}")
    };
    Ok(vec![
        Planned { name: "recount.toml", mode: OPEN, text: toml::render(inherited) },
        Planned {
            name: "recount.env",
            mode: SECRET,
            text: env("recount_reader", &reader, "For the nightly job, which only reads."),
        },
        Planned {
            name: "corrector.env",
            mode: SECRET,
            text: env("recount_corrector", &corrector, "For `recount reconcile --apply`, `apply` and `undo`."),
        },
        Planned {
            name: "migrator.env",
            mode: SECRET,
            text: env("recount_migrator", &migrator, "For `recount migrate`, `phase2` and `phase3`."),
        },
        Planned { name: "roles.sql", mode: SECRET, text: roles },
        Planned { name: "recount-nightly", mode: PROGRAM, text: filled(include_str!("nightly.sh")) },
        Planned { name: "recount.service", mode: OPEN, text: filled(include_str!("recount.service")) },
        Planned { name: "recount.timer", mode: OPEN, text: filled(include_str!("recount.timer")) },
        Planned { name: "recount.cron", mode: OPEN, text: filled(include_str!("recount.cron")) },
    ])
}

/// What root has to do besides, since the jobs are not to run as root.
fn of_root(folder: &Path) -> Option<String> {
    let shown = folder.display();
    let make = format!("useradd --system --home-dir {shown} {SYSTEM_USER}; chown -R {SYSTEM_USER} {shown}");
    user_name()
        .filter(|user| user == "root")
        .map(|_| format!("the jobs run as the user {SYSTEM_USER}, who has to own the files: {make}"))
}

/// What the database is like, as far as it can be reached.
fn look(url: Option<&str>) -> (Vec<Fact>, Vec<String>) {
    let Some(url) = url else {
        let note = "no database was looked at: neither --database-url nor the environment names one";
        return (Vec::new(), vec![note.to_owned()]);
    };
    match interruptible(survey(url)) {
        Ok(mut facts) => {
            facts.insert(2.min(facts.len()), Fact { what: "phase".to_owned(), found: doctor::phases(url).seen });
            (facts, Vec::new())
        }
        Err(error) => {
            let hint = error.hint_text().map_or(String::new(), |hint| format!(" ({hint})"));
            (Vec::new(), vec![format!("the database was not looked at: {error}{hint}")])
        }
    }
}

fn as_json(folder: &Path, planned: &[Planned], inherited: &[Inherited], facts: &[Fact], notes: &[String]) -> String {
    let taken =
        |found: &Inherited| json!({ "setting": found.flag.replace('-', "_"), "variable": found.variable, "value": found.value });
    let object = json!({
        "version": 1, "command": "init", "dir": folder.display().to_string(),
        "written": planned.iter().map(|file| file.name).collect::<Vec<_>>(),
        "taken_over": inherited.iter().map(taken).collect::<Vec<_>>(),
        "found": facts.iter().map(|fact| (fact.what.clone(), fact.found.clone().into())).collect::<serde_json::Map<_, _>>(),
        "notes": notes,
    });
    format!("{object:#}\n")
}

fn as_text(folder: &Path, planned: &[Planned], inherited: &[Inherited], facts: &[Fact], notes: &[String]) -> String {
    let names = planned.iter().map(|file| file.name).collect::<Vec<_>>().join(", ");
    let shown = folder.display();
    let program = std::env::current_exe().map_or("recount".to_owned(), |program| program.display().to_string());
    let mut text = format!("Written to {shown}: {names}.\n");
    for fact in facts {
        text += &format!("  {:<46}{}\n", fact.what, fact.found);
    }
    for found in inherited {
        text +=
            &format!("taken over: {} = {} ({} of {})\n", found.flag.replace('-', "_"), found.value, found.variable, found.origin);
    }
    for note in notes {
        text += &format!("note: {note}\n");
    }
    text + &format!(
        "Next:\n\
         1. make the roles, as the owner of the tables:  psql -X -v ON_ERROR_STOP=1 -1 -f {shown}/roles.sql \"$OWNER_URL\"\n\
         2. look whether all is well:                    cd {shown} && (set -a; . ./recount.env; {program} doctor)\n\
         3. one night by hand:                           {shown}/recount-nightly\n\
         4. every night, as root:                        cp {shown}/recount.service {shown}/recount.timer /etc/systemd/system && \
         systemctl enable --now recount.timer\n\
         \x20  or, without systemd:                         cp {shown}/recount.cron /etc/cron.d/recount\n"
    )
}
