//! The main job, and the only place that sees all stages.

pub mod archive;
mod causes;
pub mod checkup;
mod compare;
mod correct;
mod explain;
mod history;
mod incremental;
pub mod legacy;
mod pass;
mod recompute;
mod state;
mod sums;

use std::path::Path;

use serde_json::Value as Json;

use crate::error::Result;
use crate::model::evidence::{UnitEvidence, units};
use crate::model::job::{Job, Location, Watch};
use crate::model::outcome::Outcome;
use crate::parallel;
use crate::source::folder::SnapshotWriter;
pub use crate::source::{Options as SourceOptions, Source};

/// What writes: the stage itself, for the commands that do nothing else.
pub use crate::sink::correct::{apply, jobs, prunable, prune, show, sql_file_exists, undo, write_sql};
pub use crate::sink::folder::{differences as diff_rows, read as read_diff};
pub use correct::{corrections, diff};
pub use explain::{EvidenceRow, Explained, Explanation, What, explain, explain_lifetime, explain_subnet, rested_on_beyond};
pub use incremental::{Incremental, Keeping};
use pass::Pass;
pub use recompute::{recompute, write_rollups};

/// Opens the source at a location.
pub fn open(location: &Location, options: &SourceOptions) -> Result<Source> {
    let source = Source::open(location, options)?;
    let snapshot = source.snapshot();
    tracing::info!(source = source.display(), taken_at = snapshot.taken_at.iso(), runs = snapshot.runs.len(), "opened");
    Ok(source)
}

/// Recomputes and compares.
pub fn reconcile(command: &'static str, job: &Job, source: &Source, watch: &dyn Watch) -> Result<Outcome> {
    Pass::new(command, job, source, watch).run(&mut ())
}

/// As [`reconcile`], without the units that have not changed since the last job.
pub fn reconcile_incremental(job: &Job, source: &Source, state: Incremental, watch: &dyn Watch) -> Result<Outcome> {
    let mut outcome = Pass::new("reconcile", job, source, watch).with_state(Some(&state)).run(&mut ())?;
    state.finish(&mut outcome)?;
    Ok(outcome)
}

/// Copies the snapshot into a folder that stands for the database.
pub fn export(source: &Source, out: &Path, threads: usize, settings: &Json, watch: &dyn Watch) -> Result<()> {
    let snapshot = source.snapshot();
    let mut writer = SnapshotWriter::create(out, snapshot)?;
    let units = units(&snapshot.runs);
    let mut done = 0;
    parallel::in_order(
        threads,
        &units,
        |unit| {
            watch.check()?;
            source.read(unit)
        },
        |evidence: UnitEvidence| {
            writer.append(&evidence)?;
            done += 1;
            watch.progress("export", done, units.len() as u64);
            Ok(())
        },
    )?;
    writer.finish(&source.strays()?, settings)
}
