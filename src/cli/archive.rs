//! `recount archive`: results and evidence as Parquet; and what an archive holds.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::archive::day::NO_DAY;
use crate::error::{Error, ErrorKind, Result};
use crate::model::job::Watch;
use crate::pipeline;
use crate::pipeline::archive::{Archived, Listing};

use super::afterwards::{self, Account};
use super::args::{Archive, ArchiveAction, Global};
use super::output::{self, Look};
use super::report::table::Grid;
use super::report::text::{counted, grouped};
use super::settings::Settings;
use super::values::Format;
use super::{Status, prepare, print, resolve};

pub fn run(args: &Archive, global: &Global) -> Result<Status> {
    if let Some(ArchiveAction::Ls { dest }) = &args.action {
        output::print(&list(dest, &resolve(global, None)?)?)?;
        return Ok(Status::Done);
    }
    afterwards::tell(&args.afterwards, "archive", |account| {
        let (settings, monitor) = prepare(global, &args.reading)?;
        print(&archive(&settings, args, account, &monitor)?, monitor)?;
        Ok(Status::Done)
    })
}

/// Archives, and gives what is to be printed.
fn archive(settings: &Settings, archive: &Archive, account: &mut Account, watch: &dyn Watch) -> Result<String> {
    let narrowing = &settings.narrowing;
    if narrowing.miner.is_some() || !narrowing.lifetime {
        let detail = "an archive has all miners and all rollups; --runs and --since narrow it";
        return Err(Error::new(ErrorKind::Usage, "reading the command line", detail).hint("leave --miner and --no-lifetime out"));
    }
    let dest = archive.to.as_deref().expect("invariant: clap asks for it");
    let (tables, forget) = (archive.tables.as_deref(), archive.forget);
    let archived =
        pipeline::archive::archive_but(&settings.job(), settings.open()?, dest, tables, forget, archive.rewrite, watch)?;
    account.archived(&archived, sentence(&archived));
    Ok(match settings.format {
        Format::Json => format!("{:#}\n", as_json(&archived)),
        Format::Terminal => sentence(&archived) + "\n",
    })
}

/// What was done, in one sentence.
pub fn sentence(archived: &Archived) -> String {
    let published = &archived.published;
    let gone = match archived.archived_runs {
        0 => String::new(),
        kept => format!(" and kept {kept} more"),
    };
    let retained = match archived.retained_rows {
        0 => String::new(),
        rows => format!(", with {} of evidence that the source no longer has", counted(rows, "row")),
    };
    format!(
        "Archived {}{gone}{retained} as of {} to {}: {} written ({}), {} unchanged, {} replaced; in all {}, {}, in {:.1} s.",
        counted(archived.live_runs, "run"),
        archived.as_of.iso(),
        archived.dest,
        counted(published.written, "file"),
        megabytes(published.bytes),
        grouped(published.unchanged),
        grouped(published.removed),
        counted(published.total_rows, "row"),
        megabytes(published.total_bytes),
        archived.elapsed.as_secs_f64()
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn as_json(archived: &Archived) -> Json {
    let published = &archived.published;
    json!({
        "version": 1, "command": "archive", "as_of": archived.as_of.iso(), "dest": archived.dest, "digest": archived.digest,
        "runs": {"source": archived.live_runs, "archive": archived.archived_runs}, "retained_rows": archived.retained_rows,
        "files": {"written": published.written, "unchanged": published.unchanged, "removed": published.removed},
        "bytes": {"written": published.bytes, "total": published.total_bytes}, "rows": published.total_rows,
        "elapsed_ms": archived.elapsed.as_millis() as u64,
    })
}

/// `recount archive ls`.
fn list(dest: &str, settings: &Settings) -> Result<String> {
    let listing = pipeline::archive::list(dest)?;
    Ok(match settings.format {
        Format::Json => format!("{:#}\n", listing_json(&listing)),
        Format::Terminal => listing_text(&listing, Look::of(settings.color)),
    })
}

fn listing_text(listing: &Listing, look: Look) -> String {
    let mut grid = Grid::new(&["table", "partitions", "from", "to", "rows", "size"], look).right([1, 4, 5]);
    for (table, lines) in &listing.tables {
        let cells = [
            (*table).to_owned(),
            grouped(lines.partitions),
            shown(&lines.first),
            shown(&lines.last),
            grouped(lines.rows),
            megabytes(lines.bytes),
        ];
        grid.row(cells);
    }
    let head = format!("{}, as of {}, {}\n\n", listing.dest, listing.as_of.iso(), counted(listing.runs, "run"));
    format!("{head}{grid}")
}

/// A partition for the eye: a day as it is, a moment to the minute.
fn shown(partition: &str) -> String {
    let moment =
        |digits: &str| format!("{}-{}-{} {}:{}", &digits[..4], &digits[4..6], &digits[6..8], &digits[9..11], &digits[11..13]);
    match partition {
        NO_DAY => "no day".to_owned(),
        stamp if stamp.is_ascii() && stamp.ends_with('Z') && stamp.find('T') == Some(8) && stamp.len() > 13 => moment(stamp),
        day => day.to_owned(),
    }
}

fn listing_json(listing: &Listing) -> Json {
    let table = |t: &pipeline::archive::TableLine| json!({"partitions": t.partitions, "first": t.first, "last": t.last, "files": t.files, "rows": t.rows, "bytes": t.bytes});
    let tables: BTreeMap<_, _> = listing.tables.iter().map(|(name, line)| (*name, table(line))).collect();
    json!({
        "version": 1, "command": "archive ls", "dest": listing.dest, "as_of": listing.as_of.iso(), "runs": listing.runs,
        "digest": listing.digest, "tables": tables,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_short_to_the_eye() {
        let all = ["2025-08-07", "20250808T060000123456Z", NO_DAY, "-77"].map(shown);
        assert_eq!(all, ["2025-08-07", "2025-08-08 06:00", "no day", "-77"]);
    }
}
