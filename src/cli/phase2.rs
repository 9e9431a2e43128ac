//! `recount phase2`: drop the wide columns behind a proof, and take it back.

use serde_json::{Value as Json, json};

use crate::error::Result;
use crate::model::filter::ColumnFilter;
use crate::model::job::Job;
use crate::model::time::Micros;
use crate::pipeline;
use crate::schema::phase2::{
    self, Change, Keep, Loss, Moved, Options, Proof, Proved, Remark, Stage, Standing, Statement, Watch, Way, Writer,
};

use super::args::Global;
use super::migrate::database;
use super::output::{self, Look};
use super::progress::{Monitor, interruptible};
use super::report::{elapsed, table::Grid};
use super::schema_args::{Phase2, Phase2Action, WayArg, WayArgs};
use super::settings::Settings;
use super::values::Format;
use super::{Status, resolve_whole};

const COMMAND: &str = "phase2 check";

pub fn run(phase2: &Phase2, global: &Global) -> Result<Status> {
    let flags = match &phase2.action {
        Phase2Action::Check { flags, .. } => Some(flags),
        _ => None,
    };
    let settings = resolve_whole(global, flags, phase2.database_url.as_deref())?;
    let url = database(&settings)?;
    match &phase2.action {
        Phase2Action::Status => output::print(&standing(&interruptible(phase2::status(url))?, &settings))?,
        Phase2Action::Watch { stop: true } => {
            interruptible(phase2::unwatch(url))?;
            output::print(&told("phase2 watch --stop", std::iter::empty(), &settings))?;
        }
        Phase2Action::Watch { stop: false } => {
            let watch = interruptible(phase2::watch(url, &settings.scoring))?;
            output::print(&watched(&watch, &settings))?;
        }
        Phase2Action::Check { way, quiet_for, writers_moved, .. } => {
            let options = Options { quiet_for: *quiet_for, moved: moved(writers_moved.as_deref()), ..options(way) };
            let proof = check(url, &options, &settings, global)?;
            output::print(&proved(&proof, &settings))?;
            return Ok(Status::done_if(proof.ready()));
        }
        Phase2Action::Plan { way } => {
            let options = options(way);
            let (search_path, change) = interruptible(phase2::plan(url, &options))?;
            output::print(&planned(&search_path, &change, options.way, &settings))?;
        }
        Phase2Action::Apply { way, proof_max_age, pause_validator } => {
            let options = Options { proof_max_age: *proof_max_age, pause_validator: *pause_validator, ..options(way) };
            let archived = match &options.keep {
                Keep::Archive(place) => pipeline::archive::legacy(place)?,
                Keep::Nowhere | Keep::Table => Vec::new(),
            };
            let (done, note) = interruptible(phase2::apply(url, &options, &archived))?;
            output::note(note.as_deref());
            output::print_done(&told("phase2 apply", done.iter().map(|s| s.sql.as_str()), &settings), "the change is committed")?;
        }
        Phase2Action::Revert => {
            let done = interruptible(phase2::revert(url))?;
            output::print_done(
                &told("phase2 revert", done.statements.iter().map(String::as_str), &settings),
                "the change is taken back",
            )?;
            if let Some(reason) = done.at_the_end.filter(|_| !global.quiet) {
                output::note(Some(&format!(
                    "the wide columns stand at the end of the table, since these cannot be moved: {reason}"
                )));
            }
        }
        Phase2Action::Finish { yes, min_age } => {
            let loss = interruptible(phase2::loss(url, *min_age))?;
            output::confirmed("finishing Phase 2", &lost(&loss), *yes)?;
            let done = interruptible(phase2::finish(url, *min_age))?;
            output::print_done(&told("phase2 finish", done.iter().map(String::as_str), &settings), "the change is final")?;
        }
    }
    Ok(Status::Done)
}

/// What `finish` takes away for good, in words.
fn lost(loss: &Loss) -> String {
    let Loss { relation, rows, values, bytes, applied_at, .. } = loss;
    let what = match loss.way {
        Way::Table => format!("{values} wide values in {rows} rows"),
        Way::View => format!("the table that weather_forecast_stats was, {rows} rows with ids, times and wide values"),
    };
    format!(
        "{what} ({relation}, {:.1} MB) are dropped for good. Since the change of {} they are what `recount phase2 revert` needs: \
         after this no command brings them back.",
        *bytes as f64 / 1e6,
        applied_at.iso()
    )
}

fn moved(names: Option<&[String]>) -> Moved {
    match names {
        None => Moved::Nobody,
        Some(names) if names.iter().all(String::is_empty) => Moved::All,
        Some(names) => Moved::Named(names.to_vec()),
    }
}

/// Where Phase 2 stands, and what comes next.
fn standing(standing: &Standing, settings: &Settings) -> String {
    let Standing { stage, watch, proofs } = standing;
    let (way, at) = match stage {
        Stage::Wide => (None, None),
        Stage::Applied { way, at } | Stage::Finished { way, at } => (Some(way.name()), Some(at.iso())),
    };
    if settings.format == Format::Json {
        let proof = |p: &Proved| json!({"id": p.id, "option": p.way.name(), "ready": p.ready, "at": p.at.iso()});
        let proofs: Vec<Json> = proofs.iter().map(proof).collect();
        return format!(
            "{:#}\n",
            json!({"version": 1, "command": "phase2 status", "state": stage.name(), "option": way, "at": at,
                   "watched_since": watch.since.map(Micros::iso), "kinds_of_writes": watch.writers.len(), "proofs": proofs})
        );
    }
    let done = match (stage, way.zip(at)) {
        (Stage::Finished { .. }, Some((way, at))) => format!("option {way}, final since {at}"),
        (_, Some((way, at))) => {
            format!("option {way}, applied at {at}; `recount phase2 revert` takes it back, `finish` makes it final")
        }
        (_, None) => "the columns are wide".to_owned(),
    };
    let mut text = format!("phase2 status: {done}\n");
    if *stage == Stage::Wide {
        text += &match watch.since {
            Some(at) => format!("writers: watched since {}; {} kinds of writes were noted\n", at.iso(), watch.writers.len()),
            None => "writers: nobody is watched; `recount phase2 watch` begins it\n".to_owned(),
        };
        if proofs.is_empty() {
            text += "proof: none; `recount phase2 check` makes one\n";
        }
    }
    for Proved { id, way, ready, at } in proofs {
        let found = if *ready { "ready" } else { "not ready" };
        text += &format!("proof {id}: option {}, {found}, {}\n", way.name(), at.iso());
    }
    text
}

/// Since when the table is watched, and who wrote it.
fn watched(watch: &Watch, settings: &Settings) -> String {
    if settings.format == Format::Json {
        let line = |w: &Writer| {
            json!({"role": w.role, "application_name": w.application, "statement": w.statement, "names_wide_columns": w.wide,
                   "last_at": Micros(w.last_at).iso()})
        };
        let writers: Vec<Json> = watch.writers.iter().map(line).collect();
        let since = watch.since.map(Micros::iso);
        return format!("{:#}\n", json!({"version": 1, "command": "phase2 watch", "since": since, "writers": writers}));
    }
    let since = watch.since.map_or_else(|| "nobody watches".to_owned(), |at| format!("watching since {}", at.iso()));
    let headline = format!("phase2 watch: {since}; {} kinds of writes were noted\n", watch.writers.len());
    if watch.writers.is_empty() {
        return headline;
    }
    let mut grid = Grid::new(&["role", "application_name", "statement", "wide columns", "last"], Look::of(settings.color));
    for w in &watch.writers {
        let wide = if w.wide { "named" } else { "" };
        let (application, statement) = (w.application.clone(), w.statement.clone());
        grid.row([w.role.clone(), application, statement, wide.to_owned(), Micros(w.last_at).iso()]);
    }
    format!("{headline}\n{grid}")
}

fn options(args: &WayArgs) -> Options {
    let way = match args.option {
        WayArg::Table => Way::Table,
        WayArg::View => Way::View,
    };
    let keep = match args.keep_wide_in.as_deref() {
        None => Keep::Nowhere,
        Some("TABLE" | "table") => Keep::Table,
        Some(place) => Keep::Archive(place.to_owned()),
    };
    Options { way, keep, ..Options::default() }
}

/// Everything is recomputed and compared, whatever `--columns` of a file says.
fn check(url: &str, options: &Options, settings: &Settings, global: &Global) -> Result<Proof> {
    let baseline = interruptible(phase2::prepare(url, &settings.scoring))?;
    let monitor = Monitor::start(global.quiet)?;
    let job = Job { filter: ColumnFilter::default(), profile: None, ..settings.job() };
    let mut source = settings.open()?;
    let (outcome, kept) = match options.keep {
        Keep::Nowhere => (pipeline::reconcile(COMMAND, &job, &source, &monitor)?, Vec::new()),
        Keep::Table | Keep::Archive(_) => pipeline::legacy::keep(COMMAND, &job, &mut source, &monitor)?,
    };
    if let Keep::Archive(place) = &options.keep
        && !kept.is_empty()
    {
        pipeline::archive::archive(&job, source, place, None, &monitor)?;
    }
    monitor.finish();
    interruptible(phase2::prove(url, options, &baseline, &outcome, &kept, &settings.scoring))
}

fn proved(proof: &Proof, settings: &Settings) -> String {
    let Proof { id, rows, wide_values, .. } = proof;
    if settings.format == Format::Json {
        let remarks = proof.remarks.iter().map(Remark::json).collect::<Vec<_>>();
        let proof = json!({
            "version": 1, "command": "phase2 check", "ready": proof.ready(), "proof": id, "option": proof.way.name(),
            "taken_at": proof.taken_at.iso(), "rows": rows, "wide_values": wide_values, "digest": proof.recomputed_digest,
            "remarks": remarks,
        });
        return format!("{proof:#}\n");
    }
    let headline = if proof.ready() {
        format!(
            "ready: all {wide_values} wide values in {rows} rows are what the scores say (proof {id}, option {})",
            proof.way.name()
        )
    } else {
        let blocking = proof.remarks.iter().filter(|remark| remark.blocks).count();
        format!("not ready: {blocking} in the way (proof {id}, option {})", proof.way.name())
    };
    if proof.remarks.is_empty() {
        return format!("{headline}\n");
    }
    let mut grid = Grid::new(&["", "code", "object", ""], Look::of(settings.color));
    for remark in &proof.remarks {
        let weight = if remark.blocks { "in the way" } else { "to know" };
        grid.row([weight.to_owned(), remark.code.clone(), remark.object.clone(), remark.detail.clone()]);
    }
    format!("{headline}\n\n{grid}")
}

/// SQL that can be read, and run by hand; what is not SQL is a comment.
fn planned(search_path: &str, change: &Change, way: Way, settings: &Settings) -> String {
    if settings.format == Format::Json {
        let list = |statements: &[Statement]| -> Vec<Json> {
            let line = |s: &Statement| json!({"sql": s.sql, "lock": s.lock, "estimate_seconds": s.estimate.as_secs_f64()});
            statements.iter().map(line).collect()
        };
        let plan = json!({
            "version": 1, "command": "phase2 plan", "search_path": search_path, "before_lock": list(&change.before_lock),
            "under_lock": list(&change.under_lock), "revert": change.undo,
        });
        return format!("{plan:#}\n");
    }
    let text = |statements: &[Statement]| {
        let line = |s: &Statement| format!("-- {}; about {}\n{};\n", s.lock, elapsed(s.estimate), s.sql);
        statements.iter().map(line).collect::<String>()
    };
    format!(
        "BEGIN;\nSET LOCAL search_path = {search_path};\n{}-- ACCESS EXCLUSIVE on weather_forecast_stats from here on; the proof is held against it once more\n\
         SET LOCAL lock_timeout = '2s';\nLOCK TABLE weather_forecast_stats IN ACCESS EXCLUSIVE MODE;\n{}COMMIT;\n\n\
         -- `recount phase2 revert` would run:\n{}{}",
        text(&change.before_lock),
        text(&change.under_lock),
        change.undo.iter().map(|sql| format!("--   {};\n", sql.replace('\n', "\n--   "))).collect::<String>(),
        if way == Way::Table { "-- and would move the columns that came after the wide ones behind them\n" } else { "" },
    )
}

fn told<'s>(command: &str, statements: impl Iterator<Item = &'s str>, settings: &Settings) -> String {
    let statements: Vec<&str> = statements.collect();
    match settings.format {
        Format::Json => format!("{:#}\n", json!({"version": 1, "command": command, "statements": statements})),
        Format::Terminal => {
            let first = |sql: &&str| format!("  {}\n", sql.lines().next().unwrap_or_default());
            format!("{command}: done, in one transaction\n{}", statements.iter().map(first).collect::<String>())
        }
    }
}
