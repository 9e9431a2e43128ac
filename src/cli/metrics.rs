//! `--metrics FILE`: a job in numbers, as node exporter's textfile collector reads them.
//!
//! Every series has the labels `command` and `name`, the latter after the file: so several commands and several databases can lie in one
//! folder, where the collector takes no series twice. All are gauges, since each is of one job and starts anew with the next.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, Opts, Registry, TextEncoder};

use crate::error::{Context, ErrorKind, Result};
use crate::files::replace::replace;
use crate::model::finding::Code;

use super::afterwards::Account;

/// Of an old file, as much is read as one of ours can have.
const OLD_FILE_MAX: u64 = 1 << 20;
const LAST_SUCCESS: &str = "recount_last_success_timestamp_seconds";

/// What is told of a job that is not of its result.
#[derive(Debug)]
pub struct Run {
    pub command: &'static str,
    pub begun: SystemTime,
    pub elapsed: Duration,
    pub exit_status: u8,
    pub refused: bool,
}

impl Run {
    /// It finished, whether it found differences or not.
    fn succeeded(&self) -> bool {
        self.exit_status < 2
    }
}

/// Puts the metrics of a job into the place of those of the one before.
pub fn write(path: &Path, run: &Run, account: &Account) -> Result<()> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let before = Before::read(path, run.command, &name);
    let page = Page::new(run.command, name);
    page.of_job(run, before.last_success);
    page.of_result(account);
    let digest = account.digest.as_ref().or(before.digest.as_ref());
    if let (Some(now), Some(before)) = (&account.digest, &before.digest) {
        let help = "1 where the recomputed rollups are other ones than those of the job before.";
        page.one("recount_digest_changed", help, f64::from(u8::from(now != before)));
    }
    // The collector passes over comments; a label would make a series of each night.
    let digest = digest.map_or(String::new(), |digest| format!("{}{digest}\n", digest_line(run.command)));
    let text = TextEncoder::new().encode_to_string(&page.registry.gather());
    replace(path, &(digest + &text.doing(ErrorKind::Io, || format!("writing {}", path.display()))?))
}

/// When the job of this file last finished, in seconds since 1970. None where the file does not say.
pub fn last_success(path: &Path) -> std::io::Result<Option<f64>> {
    let mut text = String::new();
    File::open(path)?.take(OLD_FILE_MAX).read_to_string(&mut text)?;
    let of = |line: &str| line.strip_prefix(LAST_SUCCESS)?.rsplit_once(' ')?.1.parse().ok();
    Ok(text.lines().filter_map(of).next_back())
}

fn digest_line(command: &str) -> String {
    format!("# digest of {command}: ")
}

/// What the next job has to know of the one before.
#[derive(Default)]
struct Before {
    last_success: Option<f64>,
    digest: Option<String>,
}

impl Before {
    /// What is in the file, as far as it is one of ours. Anything else is about to be replaced all the same.
    fn read(path: &Path, command: &str, name: &str) -> Before {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(OLD_FILE_MAX).read_to_string(&mut text));
        if read.is_err() {
            return Before::default();
        }
        let of = |line: &str, start: &str| line.strip_prefix(start).map(|rest| rest.trim().to_owned());
        let series = format!("{LAST_SUCCESS}{{command=\"{command}\",name=\"{}\"}}", escaped(name));
        Before {
            last_success: text.lines().find_map(|line| of(line, &series)?.parse().ok()),
            digest: text.lines().find_map(|line| of(line, &digest_line(command))),
        }
    }
}

/// A value of a label, as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The metrics in the making.
struct Page {
    registry: Registry,
    labels: HashMap<String, String>,
}

impl Page {
    fn new(command: &str, name: String) -> Page {
        let labels = HashMap::from([("command".to_owned(), command.to_owned()), ("name".to_owned(), name)]);
        Page { registry: Registry::new(), labels }
    }

    fn family(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let family = GaugeVec::new(Opts::new(name, help).const_labels(self.labels.clone()), labels);
        let family = family.expect("invariant: names and labels are of this file");
        self.registry.register(Box::new(family.clone())).expect("invariant: each name is used once");
        family
    }

    fn one(&self, name: &str, help: &str, value: f64) {
        self.family(name, help, &[]).with_label_values::<&str>(&[]).set(value);
    }

    fn many<'v>(&self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (&'v str, f64)>) {
        let family = self.family(name, help, &[label]);
        values.into_iter().for_each(|(value, number)| family.with_label_values(&[value]).set(number));
    }

    fn of_job(&self, run: &Run, last_success: Option<f64>) {
        let build = self.family("recount_build_info", "The program, by its version; always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let ended = seconds_since_1970(run.begun + run.elapsed);
        self.one("recount_last_run_timestamp_seconds", "When the last job ended.", ended);
        if let Some(at) = if run.succeeded() { Some(ended) } else { last_success } {
            self.one(LAST_SUCCESS, "When a job last finished, whether it found differences or not.", at);
        }
        self.one("recount_duration_seconds", "How long the job took on the clock.", run.elapsed.as_secs_f64());
        self.one(
            "recount_exit_status",
            "Exit status of the job: 0, 1 (differences), 2 (error), 3 (refused), 130.",
            run.exit_status.into(),
        );
        self.one(
            "recount_refused",
            "1 where a guard stopped the job before it wrote anything.",
            f64::from(u8::from(run.refused)),
        );
    }

    fn of_result(&self, account: &Account) {
        if let Some(at) = account.snapshot {
            self.one("recount_snapshot_timestamp_seconds", "The moment of the database that was read.", at.0 as f64 / 1e6);
        }
        let stages = account.stages.iter().filter(|(stage, _)| *stage != "total");
        let stages = stages.map(|(stage, time)| (*stage, time.as_secs_f64()));
        let help = "Time by stage of the job; read, fold and diff are summed over its threads.";
        self.many("recount_stage_duration_seconds", help, "stage", stages);
        let read = account.read.iter().map(|(table, rows)| (*table, *rows as f64));
        self.many("recount_rows_read", "Rows that were read, by table.", "table", read);
        self.of_tables(account);
        if let Some(findings) = &account.findings {
            let all = Code::ALL.iter().map(|code| (code.name(), findings.get(code).copied().unwrap_or_default() as f64));
            self.many("recount_findings", "What is wrong in the evidence itself, by code.", "code", all);
        }
        if let Some(corrected) = &account.corrected {
            let cells = corrected.iter().map(|(table, cells)| (table.as_str(), *cells as f64));
            self.many("recount_corrected_cells", "Stored cells that the job has corrected.", "table", cells);
        }
        account.figures.iter().for_each(|figure| self.one(figure.name, figure.help, figure.value as f64));
    }

    fn of_tables(&self, account: &Account) {
        let help = "Stored cells that differ and follow from no other, by group of columns; whole rows in the group rows.";
        let groups = account.groups.iter().map(|(group, cells)| (*group, *cells as f64));
        self.many("recount_drifted_cells_by_group", help, "group", groups);
        let help = "Drifted cells for which a cause was sought, by cause.";
        let causes = account.causes.iter().map(|(cause, cells)| (*cause, *cells as f64));
        self.many("recount_drifted_cells_by_cause", help, "cause", causes);
        let rows = self.family("recount_rows", "Stored rows held against their recomputation, by class.", &["table", "class"]);
        let drift = self.family("recount_drifted_cells", "Stored cells that differ beyond tolerance.", &["table", "column"]);
        let unproven = self.family("recount_unproven_cells", "Stored cells whose evidence is gone.", &["table", "column"]);
        for (table, tally) in &account.tables {
            let counts = tally.rows;
            let classes = [
                ("match", counts.matching),
                ("drift", counts.drift),
                ("unproven", counts.unproven),
                ("habit", counts.habit),
                ("accepted", counts.accepted),
                ("missing", counts.missing),
                ("extra", counts.extra),
            ];
            classes.iter().for_each(|(class, count)| rows.with_label_values(&[table, class]).set(*count as f64));
            for (column, tally) in &tally.columns {
                drift.with_label_values(&[table, column.as_str()]).set(tally.drift as f64);
                unproven.with_label_values(&[table, column.as_str()]).set(tally.unproven as f64);
            }
        }
    }
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(exit_status: u8) -> Run {
        let begun = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(exit_status));
        Run { command: "reconcile", begun, elapsed: Duration::from_millis(1500), exit_status, refused: exit_status == 3 }
    }

    #[test]
    fn a_failed_job_keeps_what_is_known_of_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a\"b.prom");
        let account = |digest: &str| Account { digest: Some(digest.to_owned()), ..Account::default() };
        let text = || std::fs::read_to_string(&path).unwrap();
        let success = r#"recount_last_success_timestamp_seconds{command="reconcile",name="a\"b"} 1700000002.5"#;

        write(&path, &run(1), &account("one")).unwrap();
        assert!(text().contains(success) && !text().contains("digest_changed"), "{}", text());
        for failed in [2, 3] {
            write(&path, &run(failed), &Account::default()).unwrap();
            assert!(text().contains(success) && text().contains("# digest of reconcile: one\n"), "{}", text());
            assert!(text().contains(&format!(r#"recount_refused{{command="reconcile",name="a\"b"}} {}"#, failed - 2)));
        }
        write(&path, &run(0), &account("two")).unwrap();
        assert!(text().contains(r#"recount_digest_changed{command="reconcile",name="a\"b"} 1"#), "{}", text());
        assert!(text().contains("recount_last_success_timestamp_seconds{command=\"reconcile\",name=\"a\\\"b\"} 1700000001.5"));
    }

    #[test]
    fn another_file_in_its_place_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recount.prom");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        write(&path, &run(2), &Account::default()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(LAST_SUCCESS) && text.contains("recount_exit_status"), "{text}");
    }
}
