//! A validator's database, read through one snapshot that all connections share.
//!
//! One connection opens a read-only transaction and exports its snapshot; each reader imports it. So all that is read, on
//! however many connections, is what the database held at one moment.

mod catalogue;
mod changes;
mod connect;
mod contract;
mod known;
mod plan;
mod pool;
mod search;
mod spool;
mod tracking;
mod weighing;

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;

use self::connect::{GRACE, NO_TRANSACTION_TIMEOUT, SMALL_TABLE_BYTES_MAX, begin, connect, copy_bytes_max, execute, failed};
use self::contract::{Contract, Selection};
use self::plan::Access;
use self::pool::{Pool, Reader};
use self::spool::{Spool, SpoolWriter};
use super::decode::Decoder;
use super::{Counters, Options, small};
use crate::error::{Error, ErrorKind, Result};
use crate::model::changes::Position;
use crate::model::evidence::{COMPONENTS, RESPONSES, Run, RunEvidence, SCORES, STEPS, Snapshot, StoredStat, Unit, UnitEvidence};
use crate::model::ids::RunId;
use crate::model::rollups::{ForecastStat, LegacyScore, Rollup};
use crate::model::rows::{rows_from_batch, stats_from_batch, stats_schema};
use crate::model::time::Micros;
use crate::postgres::{Target, guarded, literal, schema_of, set_search_path};

/// Rows of a spool that are decoded before they are written.
const SPOOL_BATCH_ROWS: usize = 1 << 16;

/// A database, its schema checked, its snapshot pinned on every connection.
#[derive(Debug)]
pub struct Postgres {
    /// Its transaction keeps the snapshot alive; it is used again only to be closed. Taken in `drop`.
    exporter: Mutex<Option<Reader>>,
    readers: Pool,
    contract: Contract,
    snapshot: Snapshot,
    /// Who has stored rows.
    stored_miners: Vec<i32>,
    shown: String,
    options: Options,
    spools: HashMap<&'static str, Mutex<Option<Arc<Spool>>>>,
    /// The rows of the run that was read last, by table: the next one has about as many.
    usual_rows: HashMap<&'static str, AtomicUsize>,
    counters: Counters,
    position: Option<Position>,
}

/// What the exporter says of its transaction.
struct Exported {
    id: String,
    /// The transactions that it sees, to be compared with what a reader sees.
    sees: String,
    taken_at: Micros,
    server_version: String,
    /// The validator's schema.
    schema: Option<String>,
}

impl Postgres {
    pub fn open(url: &str, options: &Options) -> Result<Postgres> {
        let target = Target::parse(url)?;
        let counters = Counters::default();
        let mut exporter = Reader::open(connect(&target, options, "snapshot"))?;
        let looked =
            exporter.run(async |exporter| guarded("opening the database", look(exporter, options, &counters)).await?)?;
        let Looked { exported, contract, snapshot, stored_miners, position } = looked;
        let readers = std::thread::scope(|scope| {
            let open = |number| Reader::open(pinned(&target, options, number, &exported));
            let opening: Vec<_> = (1..=options.connections.max(1)).map(|number| scope.spawn(move || open(number))).collect();
            let opened = opening.into_iter().map(|reader| reader.join().unwrap_or_else(|panic| resume_unwind(panic)));
            opened.collect::<Result<Vec<_>>>()
        })?;
        let run_tables = [&RESPONSES, &SCORES, &COMPONENTS, &STEPS];
        Ok(Postgres {
            exporter: Mutex::new(Some(exporter)),
            readers: Pool::new(readers),
            contract,
            snapshot,
            stored_miners,
            shown: target.shown,
            options: options.clone(),
            spools: run_tables.into_iter().map(|table| (table.name, Mutex::default())).collect(),
            usual_rows: run_tables.into_iter().map(|table| (table.name, AtomicUsize::default())).collect(),
            counters,
            position,
        })
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    pub fn display(&self) -> String {
        self.shown.clone()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn read(&self, unit: &Unit) -> Result<UnitEvidence> {
        let (runs, stored) = self.read_columns(unit)?;
        Ok(UnitEvidence { runs, stored: self.rows(&stored)? })
    }

    /// The runs of a unit, and the stored rows in the columns of [`stats_schema`].
    pub fn read_columns(&self, unit: &Unit) -> Result<(Vec<RunEvidence>, RecordBatch)> {
        let mut reader = self.readers.take()?;
        let runs = unit.runs.iter().map(|run| self.read_run(&mut reader, run)).collect::<Result<_>>()?;
        let stored = match &self.contract.stats {
            Some(stats) => {
                self.read_stored(&mut reader, stats, &plan::stored(stats, &unit.forecast_run_id, &self.stored_miners))?
            }
            None => RecordBatch::new_empty(stats_schema(&self.snapshot.wide_leads)),
        };
        reader.give_back();
        Ok((runs, stored))
    }

    pub fn strays(&self) -> Result<Vec<StoredStat>> {
        let Some(stats) = &self.contract.stats else { return Ok(Vec::new()) };
        let units = self.snapshot.runs.iter().map(|run| run.forecast_run_id.as_str());
        let mut reader = self.readers.take()?;
        let stored = self.read_stored(&mut reader, stats, &plan::strays(stats, units))?;
        reader.give_back();
        self.rows(&stored)
    }

    fn read_run(&self, reader: &mut Reader, run: &Run) -> Result<RunEvidence> {
        Ok(RunEvidence {
            run: run.clone(),
            responses: self.read_table(reader, &self.contract.responses, run)?,
            scores: self.read_table(reader, &self.contract.scores, run)?,
            components: self.read_table(reader, &self.contract.components, run)?,
            steps: match &self.contract.steps {
                Some(steps) => self.read_table(reader, steps, run)?,
                None => RecordBatch::new_empty(STEPS.schema()),
            },
            legacy: Vec::new(),
        })
    }

    fn read_table(&self, reader: &mut Reader, selection: &Selection, run: &Run) -> Result<RecordBatch> {
        let table = selection.layout.table;
        let batch = match plan::access(selection) {
            Access::Spool => self.spool(reader, selection)?.read(run.id)?,
            Access::ByRun => {
                let usual = &self.usual_rows[table];
                let room = usual.load(Ordering::Relaxed);
                let batch = self.wait(reader, async |reader| copy_run(reader, selection, run.id, room).await)?;
                usual.store(batch.num_rows(), Ordering::Relaxed);
                batch
            }
        };
        self.counters.add(table, batch.num_rows());
        Ok(batch)
    }

    fn read_stored(&self, reader: &mut Reader, stats: &Selection, sql: &str) -> Result<RecordBatch> {
        let batch = self.wait(reader, async |reader| copy(reader, sql, stats, ForecastStat::TABLE.to_owned()).await)?;
        self.counters.add(ForecastStat::TABLE, batch.num_rows());
        Ok(batch)
    }

    /// In order of miner and `forecast_run_id`.
    fn rows(&self, stored: &RecordBatch) -> Result<Vec<StoredStat>> {
        let mut rows = stats_from_batch(stored, &self.snapshot.wide_leads)?;
        rows.sort_by_cached_key(|stored| (stored.row.miner_uid, stored.row.forecast_run_id.clone(), stored.id));
        Ok(rows)
    }

    /// The spool of a table, made by the first thread that needs it, while the others wait.
    fn spool(&self, reader: &mut Reader, selection: &Selection) -> Result<Arc<Spool>> {
        let slot = self.spools.get(selection.layout.table).expect("one for each table of runs");
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spool) = &*slot {
            return Ok(spool.clone());
        }
        let spool = Arc::new(self.wait(reader, async |reader| fill_spool(reader, selection, &self.options).await)?);
        *slot = Some(spool.clone());
        Ok(spool)
    }

    /// Waits for a statement; no longer than the server itself should let it run, since a server can vanish silently.
    fn wait<T>(&self, reader: &mut Reader, statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
        let bound = self.options.statement_timeout;
        reader.run(async |connection| {
            if bound.is_zero() {
                return guarded("reading the database", statement(connection)).await?;
            }
            let work = guarded("reading the database", statement(connection));
            tokio::time::timeout(bound + GRACE, work).await.unwrap_or_else(|_| {
                let detail = format!("no answer within {} s", (bound + GRACE).as_secs());
                Err(Error::new(ErrorKind::Database, "reading the database", detail).hint("is the server still there?"))
            })?
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let exporter = self.exporter.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        self.readers.drain().into_iter().chain(exporter).for_each(Reader::close);
    }
}

/// What is read before any run.
struct Looked {
    exported: Exported,
    contract: Contract,
    snapshot: Snapshot,
    stored_miners: Vec<i32>,
    position: Option<Position>,
}

/// Exports the snapshot, checks the schema, and reads the small tables.
async fn look(exporter: &mut PgConnection, options: &Options, counters: &Counters) -> Result<Looked> {
    let before = if options.position { Some(count_before(exporter, options).await?) } else { None };
    let exported = export(exporter, options).await?;
    let contract = contract::check(&catalogue::read(exporter).await?)?;
    check_runs(exporter, &contract).await?;
    let mut snapshot = read_small(exporter, &contract, &exported, counters).await?;
    if options.weights && contract.stats.is_some() {
        snapshot.weighing = Some(weighing::read(exporter).await?);
    }
    let stored_miners = read_stored_miners(exporter, &contract).await?;
    let position = match before {
        Some(before) => Some(changes::position(exporter, before, &contract, &exported).await?),
        None => None,
    };
    Ok(Looked { exported, contract, snapshot, stored_miners, position })
}

async fn pinned(target: &Target, options: &Options, number: usize, exported: &Exported) -> Result<PgConnection> {
    let mut reader = connect(target, options, &format!("reader {number}")).await?;
    pin(&mut reader, options, number, exported).await?;
    Ok(reader)
}

/// The clock is read after the snapshot was taken: nothing in it is later. The transaction's own time is that of its BEGIN.
const EXPORT: &str = "SELECT pg_export_snapshot(), pg_current_snapshot()::text,
                             (extract(epoch FROM clock_timestamp()) * 1000000)::int8,
                             split_part(current_setting('server_version'), ' ', 1)";

/// The counters of the server, in a transaction that ends before the snapshot is taken.
async fn count_before(exporter: &mut PgConnection, options: &Options) -> Result<changes::Before> {
    let cannot = |e| failed("reading the server's counters", e);
    execute(exporter, begin(options, "")).await.map_err(cannot)?;
    find_schema(exporter).await?;
    let before = changes::before(exporter).await?;
    execute(exporter, "COMMIT").await.map_err(cannot)?;
    Ok(before)
}

async fn export(exporter: &mut PgConnection, options: &Options) -> Result<Exported> {
    let cannot = |e| failed("exporting a snapshot", e);
    execute(exporter, begin(options, "")).await.map_err(cannot)?;
    let row: (String, String, i64, String) = sqlx::query_as(EXPORT).fetch_one(&mut *exporter).await.map_err(cannot)?;
    let (id, sees, taken_at, server_version) = row;
    execute(exporter, NO_TRANSACTION_TIMEOUT).await.map_err(cannot)?;
    let schema = find_schema(exporter).await?;
    Ok(Exported { id, sees, taken_at: Micros(taken_at), server_version, schema })
}

/// Finds the validator's schema and sets the search path of the transaction. Where no schema has a run, the check of the catalogue
/// will say what is missing.
async fn find_schema(connection: &mut PgConnection) -> Result<Option<String>> {
    let schema = schema_of(connection).await?;
    if let Some(schema) = &schema {
        set_search_path(connection, schema).await?;
    }
    Ok(schema)
}

/// Imports the snapshot; a reader that sees anything else must not read.
async fn pin(reader: &mut PgConnection, options: &Options, number: usize, exported: &Exported) -> Result<()> {
    const HINT: &str = "all connections must reach one server: with a connection pooler or a load balancer in between, give the \
                        server's own address";
    let doing = || format!("pinning the snapshot on reader {number}");
    let pin = begin(options, &format!("SET TRANSACTION SNAPSHOT {};", literal(&exported.id)));
    execute(reader, pin).await.map_err(|e| failed(doing(), e).hint(HINT))?;
    execute(reader, NO_TRANSACTION_TIMEOUT).await.map_err(|e| failed(doing(), e))?;
    if let Some(schema) = &exported.schema {
        set_search_path(reader, schema).await?;
    }
    let sees: String =
        sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(reader).await.map_err(|e| failed(doing(), e))?;
    if sees == exported.sees {
        return Ok(());
    }
    let detail = format!("it sees {sees}, the exported snapshot is {}", exported.sees);
    Err(Error::new(ErrorKind::Database, doing(), detail).hint(HINT))
}

/// Where no foreign key does it, we see to it that every row belongs to a run; else rows would be left out without a word.
async fn check_runs(exporter: &mut PgConnection, contract: &Contract) -> Result<()> {
    for selection in run_tables(contract).filter(|selection| !selection.run_key) {
        let table = selection.layout.table;
        let doing = format!("checking that every row of {table} belongs to a run");
        let sql = sqlx::AssertSqlSafe(plan::orphans(table));
        let orphans: i64 = sqlx::query_scalar(sql).fetch_one(&mut *exporter).await.map_err(|e| failed(doing.clone(), e))?;
        if orphans > 0 {
            let detail = format!("{orphans} rows refer to runs that do not exist");
            let hint = format!("{table} has no valid foreign key on run_id; restore the runs, or delete these rows");
            return Err(Error::new(ErrorKind::Data, doing, detail).hint(hint));
        }
    }
    Ok(())
}

async fn read_stored_miners(exporter: &mut PgConnection, contract: &Contract) -> Result<Vec<i32>> {
    let Some(stats) = &contract.stats else { return Ok(Vec::new()) };
    let sql = sqlx::AssertSqlSafe(plan::stored_miners(stats));
    let miners = sqlx::query_scalar(sql).fetch_all(exporter).await;
    miners.map_err(|e| failed(format!("reading the miners of {}", stats.layout.table), e))
}

async fn read_small(
    exporter: &mut PgConnection,
    contract: &Contract,
    exported: &Exported,
    counters: &Counters,
) -> Result<Snapshot> {
    let runs = whole(exporter, &contract.runs, counters).await?;
    let nodes = whole(exporter, &contract.nodes, counters).await?;
    let stored_miners = match &contract.miners {
        Some(miners) => Some(rows_from_batch(&whole(exporter, miners, counters).await?)?),
        None => None,
    };
    let stored_subnet = match &contract.subnet {
        Some(subnet) => Some(rows_from_batch(&whole(exporter, subnet, counters).await?)?),
        None => None,
    };
    let legacy = match &contract.legacy {
        Some(legacy) => rows_from_batch(&whole(exporter, legacy, counters).await?)?,
        None => Vec::new(),
    };
    let mut snapshot = Snapshot {
        taken_at: exported.taken_at,
        server_version: exported.server_version.clone(),
        runs: small::runs_of(&runs),
        nodes: small::nodes_of(&nodes),
        stored_miners,
        stored_subnet,
        legacy: Vec::new(),
        wide_leads: contract.wide_leads.clone(),
        has_steps: contract.steps.is_some(),
        has_stored_stats: contract.stats.is_some(),
        weighing: None,
        notes: contract.notes.iter().cloned().chain(spooled(contract)).collect(),
    };
    small::sort_stored(&mut snapshot);
    snapshot.add_legacy(legacy);
    Ok(snapshot)
}

/// What to say of tables that are copied before they are read.
fn spooled(contract: &Contract) -> impl Iterator<Item = String> {
    let spooled = run_tables(contract).filter(|selection| plan::access(selection) == Access::Spool);
    spooled.map(|selection| {
        format!("{} has no index on run_id: all of it is copied into a temporary file first", selection.layout.table)
    })
}

fn run_tables(contract: &Contract) -> impl Iterator<Item = &Selection> {
    [&contract.responses, &contract.scores, &contract.components].into_iter().chain(&contract.steps)
}

async fn whole(connection: &mut PgConnection, selection: &Selection, counters: &Counters) -> Result<RecordBatch> {
    let table = selection.layout.table;
    // Wide values that were kept are as many as the scores of all runs that ever were.
    let most = if table == LegacyScore::TABLE { copy_bytes_max() } else { SMALL_TABLE_BYTES_MAX };
    let decoder = Decoder::new(&selection.layout, table);
    let batch = receive(connection, &plan::whole(selection), decoder, table, most).await?.finish()?;
    counters.add(table, batch.num_rows());
    Ok(batch)
}

/// The rows of one run: of a large table in groups, unless those are ambiguous. `room` is for how many rows it likely has.
async fn copy_run(connection: &mut PgConnection, selection: &Selection, run: RunId, room: usize) -> Result<RecordBatch> {
    let what = format!("{} of run {run}", selection.layout.table);
    if let Some(sql) = plan::groups(selection, run) {
        let decoder = Decoder::of_groups(&selection.layout, what.as_str()).reserve(room);
        let decoder = receive(connection, &sql, decoder, &what, copy_bytes_max()).await?;
        if !decoder.is_ambiguous() {
            return decoder.finish();
        }
        tracing::debug!(what, "not in groups: a value looks like a missing one");
    }
    copy(connection, &plan::run(selection, run), selection, what).await
}

/// Runs a `COPY … TO STDOUT` and decodes what it sends. `what` names the rows in messages.
async fn copy(connection: &mut PgConnection, sql: &str, selection: &Selection, what: String) -> Result<RecordBatch> {
    let decoder = Decoder::new(&selection.layout, what.as_str());
    receive(connection, sql, decoder, &what, copy_bytes_max()).await?.finish()
}

async fn receive(connection: &mut PgConnection, sql: &str, mut decoder: Decoder, what: &str, most: u64) -> Result<Decoder> {
    let cannot = |e| failed(format!("reading {what}"), e);
    let mut stream = connection.copy_out_raw(sql).await.map_err(cannot)?;
    let mut sent = 0;
    while let Some(bytes) = stream.try_next().await.map_err(cannot)? {
        sent += bytes.len() as u64;
        if sent > most {
            let detail = format!("the server has sent more than {} MB and does not end", most >> 20);
            return Err(Error::new(ErrorKind::Database, format!("reading {what}"), detail)
                .hint("the rows of one run have to fit into half of the memory that is free, a small table into 128 MB; is this the right server?"));
        }
        decoder.push(&bytes)?;
    }
    Ok(decoder)
}

async fn fill_spool(connection: &mut PgConnection, selection: &Selection, options: &Options) -> Result<Spool> {
    let table = selection.layout.table;
    let cannot = |e| failed(format!("reading {table}"), e);
    let mut spool = SpoolWriter::create(&selection.layout, &options.spool_dir)?;
    let mut decoder = Decoder::new(&selection.layout, table);
    let mut stream = connection.copy_out_raw(&plan::by_runs(selection)).await.map_err(cannot)?;
    while let Some(bytes) = stream.try_next().await.map_err(cannot)? {
        decoder.push(&bytes)?;
        if decoder.rows() >= SPOOL_BATCH_ROWS {
            spool.append(&decoder.take_batch()?)?;
        }
    }
    spool.append(&decoder.finish()?)?;
    spool.finish()
}
