//! An archive as a source: the database as it was, read from Parquet.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::decode::Interner;
use super::{Counters, ipc, retained, small};
use crate::archive::read::Reader;
use crate::archive::tables::{
    COMPONENTS_TABLE, EVIDENCE, LEGACY_TABLE, NODES_TABLE, RESPONSES_TABLE, RETAINED_TABLE, SCORES_TABLE, STEPS_TABLE,
    STORED_MINERS, STORED_STATS, STORED_SUBNET, STRAY_STATS, Table,
};
use crate::archive::{Day, Manifest, Storage, day, manifest};
use crate::error::{Context, ErrorKind, Result};
use crate::files::decode::decoding;
use crate::model::evidence::{
    COMPONENTS, InputTable, NODES, RESPONSES, RUNS, Run, RunEvidence, SCORES, STEPS, Snapshot, StoredStat, Unit, UnitEvidence,
};
use crate::model::ids::RunId;
use crate::model::rollups::{ForecastStat, LegacyScore, MinerStat, RetainedRow, Rollup, SubnetStat};
use crate::model::rows::{rows_from_batch, schema_of, stats_from_batch, stats_schema};
use crate::model::time::Micros;

/// How rows are read: [`Reader::rows`] or [`Reader::rows_there`].
type ReadRows = fn(&Reader, &Table, &str, &SchemaRef, Option<i32>) -> Result<RecordBatch>;

/// An opened archive: the state that its latest manifest names.
#[derive(Debug)]
pub struct Archive {
    reader: Reader,
    snapshot: Snapshot,
    gone: BTreeSet<RunId>,
    counters: Counters,
}

impl Archive {
    /// Opens a folder or bucket that holds an archive.
    pub fn open(dest: &str) -> Result<Archive> {
        let storage = Storage::open(dest)?;
        match Manifest::latest(&storage)?.1 {
            Some((_, manifest)) => Archive::of(storage, manifest),
            None => Err(manifest::refused(&storage, format!("there is no {} in it", crate::archive::LATEST))
                .hint("`recount archive SOURCE --to DEST` makes an archive")),
        }
    }

    /// The archive that this manifest describes.
    pub fn of(storage: Storage, manifest: Manifest) -> Result<Archive> {
        let missing: Vec<_> = EVIDENCE.iter().map(|table| table.name).filter(|name| !manifest.has_table(name)).collect();
        if !missing.is_empty() {
            let detail = format!("it was made without {} (--tables), so nothing can be recomputed from it", missing.join(", "));
            return Err(manifest::refused(&storage, detail));
        }
        let reader = Reader::new(storage, manifest);
        let counters = Counters::default();
        let snapshot = snapshot(&reader, &counters)?;
        let gone = reader.manifest().gone();
        Ok(Archive { reader, snapshot, gone, counters })
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    pub fn is_gone(&self, run: RunId) -> bool {
        self.gone.contains(&run)
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    pub fn display(&self) -> String {
        self.reader.storage().display().to_owned()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn read(&self, unit: &Unit) -> Result<UnitEvidence> {
        let broken = |panic: String| manifest::refused(self.reader.storage(), format!("a file is damaged: {panic}"));
        decoding(|| self.rows_of(unit), broken)
    }

    fn rows_of(&self, unit: &Unit) -> Result<UnitEvidence> {
        let runs = unit.runs.iter().map(|run| self.read_run(run)).collect::<Result<_>>()?;
        let days: BTreeSet<String> = unit.runs.iter().map(|run| Day::of(run.gfs_init).to_string()).collect();
        let mut stored = Vec::new();
        for day in days {
            stored.extend(self.stored(&STORED_STATS, &day)?);
        }
        stored.retain(|row| row.row.forecast_run_id.as_deref() == Some(&unit.forecast_run_id));
        self.counters.add(ForecastStat::TABLE, stored.len());
        Ok(UnitEvidence { runs, stored })
    }

    /// The evidence that counts.
    pub(super) fn read_run(&self, run: &Run) -> Result<RunEvidence> {
        let (mut evidence, marks) = self.everything(run, Reader::rows)?;
        if !marks.is_empty() {
            retained::set_aside(&mut evidence, marks)?;
        }
        Ok(evidence)
    }

    /// All that it has of a run, and which rows of that are gone from the database. `rows` says what a missing file is.
    pub(super) fn everything(&self, run: &Run, rows: ReadRows) -> Result<(RunEvidence, Vec<RetainedRow>)> {
        let day = Day::of(run.gfs_init).to_string();
        let schema = schema_of(RetainedRow::COLUMNS);
        let mut marks: Vec<RetainedRow> = rows_from_batch(&rows(&self.reader, &RETAINED_TABLE, &day, &schema, Some(run.id.0))?)?;
        marks.retain(|mark| mark.run_id == Some(run.id.0));
        let evidence = RunEvidence {
            run: run.clone(),
            responses: self.evidence(&RESPONSES_TABLE, &RESPONSES, run, rows)?,
            scores: self.evidence(&SCORES_TABLE, &SCORES, run, rows)?,
            components: self.evidence(&COMPONENTS_TABLE, &COMPONENTS, run, rows)?,
            steps: self.evidence(&STEPS_TABLE, &STEPS, run, rows)?,
            legacy: Vec::new(),
        };
        Ok((evidence, marks))
    }

    /// Whether it has a row of the run that the source has not, by the ids alone. A file that is missing has none: it is written
    /// again from the source.
    pub(super) fn has_more(&self, live: &RunEvidence) -> Result<bool> {
        let day = Day::of(live.run.gfs_init).to_string();
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        for (table, batch) in retained::TABLES.into_iter().zip(retained::batches(live)) {
            if retained::lacks(batch, &self.reader.rows_there(table, &day, &schema, Some(live.run.id.0))?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn evidence(&self, table: &Table, contract: &InputTable, run: &Run, rows: ReadRows) -> Result<RecordBatch> {
        let day = Day::of(run.gfs_init).to_string();
        let batch = recoded(&rows(&self.reader, table, &day, &contract.schema(), Some(run.id.0))?)?;
        self.counters.add(contract.name, batch.num_rows());
        Ok(batch)
    }

    fn stored(&self, table: &Table, partition: &str) -> Result<Vec<StoredStat>> {
        let wide_leads = &self.snapshot.wide_leads;
        let batch = self.reader.rows(table, partition, &stats_schema(wide_leads), None)?;
        stats_from_batch(&batch, wide_leads)
    }

    pub fn strays(&self) -> Result<Vec<StoredStat>> {
        let strays = self.stored(&STRAY_STATS, &day::stamp(self.snapshot.taken_at))?;
        self.counters.add(ForecastStat::TABLE, strays.len());
        Ok(strays)
    }
}

fn snapshot(reader: &Reader, counters: &Counters) -> Result<Snapshot> {
    let manifest = reader.manifest();
    let taken_at = Micros(manifest.as_of);
    let moment = day::stamp(taken_at);
    let nodes = recoded(&reader.rows(&NODES_TABLE, &moment, &NODES.schema(), None)?)?;
    let stored_miners = stored_rollup::<MinerStat>(reader, &STORED_MINERS, &moment, manifest.has_stored_miners)?;
    let stored_subnet = stored_rollup::<SubnetStat>(reader, &STORED_SUBNET, &moment, manifest.has_stored_subnet)?;
    // An archive of before has no file of them where there were none.
    let legacy = rows_from_batch(&reader.rows(&LEGACY_TABLE, &moment, &schema_of(LegacyScore::COLUMNS), None)?)?;
    let runs = manifest.runs();
    counters.add(RUNS.name, runs.len());
    counters.add(NODES.name, nodes.num_rows());
    counters.add(MinerStat::TABLE, stored_miners.as_ref().map_or(0, Vec::len));
    counters.add(LegacyScore::TABLE, legacy.len());
    counters.add(SubnetStat::TABLE, stored_subnet.as_ref().map_or(0, Vec::len));
    Ok(Snapshot {
        taken_at,
        server_version: manifest.server_version.clone(),
        runs,
        nodes: small::nodes_of(&nodes),
        stored_miners,
        stored_subnet,
        legacy,
        wide_leads: manifest.wide_leads.clone(),
        has_steps: manifest.has_steps,
        has_stored_stats: manifest.has_stored_stats,
        weighing: None,
        notes: Vec::new(),
    })
}

fn stored_rollup<R: Rollup>(reader: &Reader, table: &Table, moment: &str, present: bool) -> Result<Option<Vec<R>>> {
    if !present {
        return Ok(None);
    }
    let batch = reader.rows(table, moment, &schema_of(R::COLUMNS), None)?;
    rows_from_batch(&batch).map(Some)
}

/// Coded text whose texts are distinct, which the rollups rely on; parts of a file each bring their own.
pub(super) fn recoded(batch: &RecordBatch) -> Result<RecordBatch> {
    let recode = |column: &ArrayRef| match column.data_type() {
        DataType::Dictionary(..) => ipc::recode(column, &mut Interner::default()),
        _ => Ok(column.clone()),
    };
    let columns = batch.columns().iter().map(recode).collect::<std::result::Result<Vec<_>, _>>();
    let batch = columns.and_then(|columns| RecordBatch::try_new(batch.schema(), columns));
    batch.doing(ErrorKind::Data, || "reading an archive".to_owned())
}

/// Whether a folder or bucket holds an archive.
pub fn is_archive(dest: &str) -> bool {
    let seen = Storage::open(dest).and_then(|storage| storage.read(crate::archive::LATEST));
    matches!(seen, Ok(Some(_)))
}
