//! What happens once a job has ended, however it has ended: those who watch are told.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::files::folder_of;
use crate::model::finding::Code;
use crate::model::outcome::{Outcome, TableTally};
use crate::model::time::Micros;
use crate::model::visible;
use crate::model::writing::Applied;
use crate::pipeline::archive::Archived;
use crate::pipeline::archive::verify::Verified;

use super::operator_args::Afterwards;
use super::output::{self, Look, Message};
use super::{Status, correct, metrics, report};

/// The result of a job, as far as it got.
#[derive(Debug, Default)]
pub struct Account {
    pub snapshot: Option<Micros>,
    pub digest: Option<String>,
    pub stages: Vec<(&'static str, Duration)>,
    /// Rows read, by table.
    pub read: BTreeMap<&'static str, u64>,
    /// The tables that were compared.
    pub tables: BTreeMap<&'static str, TableTally>,
    /// Drifted cells that follow from no other, by group of columns.
    pub groups: BTreeMap<&'static str, u64>,
    pub causes: BTreeMap<&'static str, u64>,
    /// None where the job did not come so far as to find any.
    pub findings: Option<BTreeMap<Code, u64>>,
    /// Cells that were corrected, by table; none where nobody asked for it.
    pub corrected: Option<BTreeMap<String, u64>>,
    /// The result in one sentence.
    pub headline: String,
    /// What only one command has to tell.
    pub figures: Vec<Figure>,
}

/// For a headline that goes into a variable of the environment.
const PLAIN: Look = Look { color: false, width: u16::MAX };

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
        self.headline = report::headline(outcome);
        self.groups = report::roots_by_group(outcome);
        self.causes = report::by_cause(outcome);
    }

    /// What was done about it. `planned`: it was only written down.
    pub fn corrected(&mut self, applied: &Applied, planned: bool) {
        let cells = |planned: bool, cells| if planned { 0 } else { cells };
        let tables = applied.tables.iter().map(|(table, counts)| (table.clone(), cells(planned, counts.cells)));
        self.corrected = Some(tables.collect());
        self.headline += &format!(" {}", correct::as_text(applied, planned, PLAIN).lines().next().unwrap_or_default());
    }

    pub fn archived(&mut self, archived: &Archived, headline: String) {
        self.headline = headline;
        self.snapshot = Some(archived.as_of);
        self.digest = Some(archived.digest.clone());
        let published = &archived.published;
        self.figures = vec![
            Figure { name: "recount_archive_rows", help: "Rows that the archive holds.", value: published.total_rows },
            Figure { name: "recount_archive_bytes", help: "Size of the archive.", value: published.total_bytes },
            Figure { name: "recount_archive_written_bytes", help: "What this job has written.", value: published.bytes },
        ];
    }

    pub fn verified(&mut self, verified: &Verified, headline: &str) {
        self.headline = headline.to_owned();
        self.snapshot = verified.as_of;
        self.digest = Some(verified.digest.clone());
        let problems = verified.problems.len() as u64;
        let help = "What of the archive is not as it should be.";
        self.figures = vec![Figure { name: "recount_archive_problems", help, value: problems }];
    }
}

/// Runs a job and then tells of it, whether it finished or not. The exit status is the job's own: that somebody could not be told
/// is a warning.
pub fn tell(afterwards: &Afterwards, command: &'static str, job: impl FnOnce(&mut Account) -> Result<Status>) -> Result<Status> {
    check(afterwards)?;
    let (begun, started, mut account) = (SystemTime::now(), Instant::now(), Account::default());
    let ended = job(&mut account);
    let exit_status = ended.as_ref().map_or_else(Error::exit_status, |status| status.exit_status());
    if let Some(path) = &afterwards.metrics {
        let refused = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::Refused);
        let run = metrics::Run { command, begun, elapsed: started.elapsed(), exit_status, refused };
        if let Err(error) = metrics::write(path, &run, &account) {
            output::tell(Message::Warning, &format!("{error}; the job itself is done as its status says"), None);
        }
    }
    if let Some(command) = &afterwards.on_result {
        let headline = ended.as_ref().map_or_else(|error| format!("error: {error}"), |_| account.headline.clone());
        run(command, exit_status, &headline);
    }
    ended
}

/// Runs a command of the operator's. Its standard output goes to ours for messages: the other one has the report and nothing else.
fn run(command: &str, exit_status: u8, headline: &str) {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command]).env("RECOUNT_STATUS", exit_status.to_string());
    shell.env("RECOUNT_HEADLINE", visible::line(headline).as_ref()).stdin(Stdio::null()).stdout(std::io::stderr());
    let failed = match shell.status() {
        Ok(status) if status.success() => return,
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let text = format!("the command of --on-result failed ({failed}); the job itself is done as its status says");
    output::tell(Message::Note, &text, None);
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
