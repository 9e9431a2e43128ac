//! What happens once a job has ended, however it has ended: whoever watches is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::files::folder_of;
use crate::model::finding::Code;
use crate::model::outcome::{Outcome, TableTally};
use crate::model::time::Micros;
use crate::model::writing::Applied;
use crate::pipeline::archive::Archived;
use crate::pipeline::archive::verify::Verified;

use super::operator_args::Afterwards;
use super::{Status, metrics, output};

/// What a job has come to, as far as it came.
#[derive(Debug, Default)]
pub struct Account {
    pub snapshot: Option<Micros>,
    pub digest: Option<String>,
    pub stages: Vec<(&'static str, Duration)>,
    /// Rows read, by table.
    pub read: BTreeMap<&'static str, u64>,
    /// The tables that were compared.
    pub tables: BTreeMap<&'static str, TableTally>,
    /// None where the job did not come so far as to find any.
    pub findings: Option<BTreeMap<Code, u64>>,
    /// Cells that were corrected, by table; none where nobody asked for it.
    pub corrected: Option<BTreeMap<String, u64>>,
    /// What only one command has to tell.
    pub figures: Vec<Figure>,
}

/// A number with its name and what it means.
#[derive(Debug)]
pub struct Figure {
    pub name: &'static str,
    pub help: &'static str,
    pub value: u64,
}

impl Account {
    /// What a comparison found.
    pub fn found(&mut self, outcome: &Outcome) {
        self.snapshot = Some(outcome.taken_at);
        self.digest = Some(outcome.digest.clone());
        self.stages = outcome.elapsed.clone();
        self.read = outcome.rows.clone();
        self.tables = outcome.tables.clone();
        self.findings = Some(outcome.findings.clone());
    }

    /// What was done about it. `planned`: it was only written down.
    pub fn corrected(&mut self, applied: &Applied, planned: bool) {
        let cells = |planned: bool, cells| if planned { 0 } else { cells };
        let tables = applied.tables.iter().map(|(table, counts)| (table.clone(), cells(planned, counts.cells)));
        self.corrected = Some(tables.collect());
    }

    pub fn archived(&mut self, archived: &Archived) {
        self.snapshot = Some(archived.as_of);
        self.digest = Some(archived.digest.clone());
        let published = &archived.published;
        self.figures = vec![
            Figure { name: "recount_archive_rows", help: "Rows that the archive holds.", value: published.total_rows },
            Figure { name: "recount_archive_bytes", help: "Size of the archive.", value: published.total_bytes },
            Figure { name: "recount_archive_written_bytes", help: "What this job has written.", value: published.bytes },
        ];
    }

    pub fn verified(&mut self, verified: &Verified) {
        self.snapshot = verified.as_of;
        self.digest = Some(verified.digest.clone());
        let problems = verified.problems.len() as u64;
        let help = "What of the archive is not as it should be.";
        self.figures = vec![Figure { name: "recount_archive_problems", help, value: problems }];
    }
}

/// Runs a job and then tells of it, whether it came to its end or not. The exit status is the job's own: that somebody could not be told
/// is a warning.
pub fn tell(afterwards: &Afterwards, command: &'static str, job: impl FnOnce(&mut Account) -> Result<Status>) -> Result<Status> {
    check(afterwards)?;
    let (begun, started, mut account) = (SystemTime::now(), Instant::now(), Account::default());
    let ended = job(&mut account);
    if let Some(path) = &afterwards.metrics {
        let exit_status = ended.as_ref().map_or_else(Error::exit_status, |status| status.exit_status());
        let refused = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::Refused);
        let run = metrics::Run { command, begun, elapsed: started.elapsed(), exit_status, refused };
        if let Err(error) = metrics::write(path, &run, &account) {
            output::complain(&format!("warning: {error}; the job itself is done as its status says\n"));
        }
    }
    ended
}

/// Refuses before the work what could not be done after it.
fn check(afterwards: &Afterwards) -> Result<()> {
    let Some(path) = &afterwards.metrics else { return Ok(()) };
    let refuse = |detail: String, hint: &str| {
        Err(Error::new(ErrorKind::Usage, format!("--metrics {}", path.display()), detail).hint(hint))
    };
    if path.extension().is_none_or(|ending| ending != "prom") {
        return refuse(
            "the name does not end in .prom".to_owned(),
            "node exporter's textfile collector reads *.prom and no other file",
        );
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return refuse(
            format!("{} is no folder", folder.display()),
            "name a file in the folder of --collector.textfile.directory",
        );
    }
    Ok(())
}
