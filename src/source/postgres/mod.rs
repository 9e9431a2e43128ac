//! A validator's database, read through one snapshot that all connections share.
//!
//! One connection opens a read-only transaction and exports its snapshot; each reader imports it. So all that is read, on
//! however many connections, is what the database held at one moment.

mod catalogue;
mod connect;
mod contract;
mod known;
mod plan;
mod pool;
mod spool;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use futures_util::TryStreamExt;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::runtime::{Builder, Handle, Runtime};

use self::connect::{Target, execute, failed};
use self::contract::{Contract, Selection};
use self::plan::Access;
use self::pool::{Lease, Pool};
use self::spool::{Spool, SpoolWriter};
use super::decode::Decoder;
use super::{Counters, Options, small};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::evidence::{COMPONENTS, RESPONSES, Run, RunEvidence, SCORES, STEPS, Snapshot, StoredStat, Unit, UnitEvidence};
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::rows::{rows_from_batch, stats_from_batch};
use crate::model::time::Micros;

/// So many rows of a spool are decoded before they are written.
const SPOOL_BATCH_ROWS: usize = 1 << 16;
/// Beyond the server's own bound of a statement, so that its message comes first.
const GRACE: Duration = Duration::from_secs(30);
/// Good-bye to a server that may have gone already.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A database, its schema checked, its snapshot pinned on every connection.
#[derive(Debug)]
pub struct Postgres {
    /// Taken in `drop`.
    runtime: Option<Runtime>,
    /// Its transaction keeps the snapshot alive; it is used again only to be closed.
    exporter: Mutex<Option<PgConnection>>,
    readers: Pool,
    contract: Contract,
    snapshot: Snapshot,
    /// Who has stored rows.
    stored_miners: Vec<i32>,
    shown: String,
    options: Options,
    spools: HashMap<&'static str, Mutex<Option<Arc<Spool>>>>,
    counters: Counters,
}

/// What the exporter says of its transaction.
struct Exported {
    id: String,
    /// The transactions that it sees, to be compared with what a reader sees.
    sees: String,
    taken_at: Micros,
    server_version: String,
}

impl Postgres {
    pub fn open(url: &str, options: &Options) -> Result<Postgres> {
        let target = Target::parse(url)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("recount-io").enable_all().build();
        let runtime = runtime.doing(ErrorKind::Io, || "starting the connections' runtime".to_owned())?;
        let counters = Counters::default();
        let (exporter, contract, snapshot, stored_miners, readers) = runtime.block_on(open(&target, options, &counters))?;
        let run_tables = [&RESPONSES, &SCORES, &COMPONENTS, &STEPS];
        Ok(Postgres {
            runtime: Some(runtime),
            exporter: Mutex::new(Some(exporter)),
            readers: Pool::new(readers),
            contract,
            snapshot,
            stored_miners,
            shown: target.shown,
            options: options.clone(),
            spools: run_tables.into_iter().map(|table| (table.name, Mutex::default())).collect(),
            counters,
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
        let mut reader = self.readers.take()?;
        let runs = unit.runs.iter().map(|run| self.read_run(&mut reader, run)).collect::<Result<_>>()?;
        let stored = match &self.contract.stats {
            Some(stats) => {
                self.read_stored(&mut reader, stats, &plan::stored(stats, &unit.forecast_run_id, &self.stored_miners))?
            }
            None => Vec::new(),
        };
        reader.give_back();
        Ok(UnitEvidence { runs, stored })
    }

    pub fn strays(&self) -> Result<Vec<StoredStat>> {
        let Some(stats) = &self.contract.stats else { return Ok(Vec::new()) };
        let units = self.snapshot.runs.iter().map(|run| run.forecast_run_id.as_str());
        let mut reader = self.readers.take()?;
        let rows = self.read_stored(&mut reader, stats, &plan::strays(stats, units))?;
        reader.give_back();
        Ok(rows)
    }

    fn read_run(&self, reader: &mut Lease<'_>, run: &Run) -> Result<RunEvidence> {
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

    fn read_table(&self, reader: &mut Lease<'_>, selection: &Selection, run: &Run) -> Result<RecordBatch> {
        let table = selection.layout.table;
        let batch = match plan::access(selection) {
            Access::Spool => self.spool(reader, selection)?.read(run.id)?,
            Access::ByRun => {
                let what = format!("{table} of run {}", run.id);
                self.block_on(copy(reader, &plan::run(selection, run.id), selection, what))?
            }
        };
        self.counters.add(table, batch.num_rows());
        Ok(batch)
    }

    fn read_stored(&self, reader: &mut Lease<'_>, stats: &Selection, sql: &str) -> Result<Vec<StoredStat>> {
        let batch = self.block_on(copy(reader, sql, stats, ForecastStat::TABLE.to_owned()))?;
        self.counters.add(ForecastStat::TABLE, batch.num_rows());
        let mut rows = stats_from_batch(&batch, &self.snapshot.wide_leads)?;
        rows.sort_by(|a, b| {
            let key = |stored: &StoredStat| (stored.row.miner_uid, stored.row.forecast_run_id.clone(), stored.id);
            key(a).cmp(&key(b))
        });
        Ok(rows)
    }

    /// The spool of a table, made by whoever needs it first while the others wait.
    fn spool(&self, reader: &mut Lease<'_>, selection: &Selection) -> Result<Arc<Spool>> {
        let slot = self.spools.get(selection.layout.table).expect("one for each table of runs");
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spool) = &*slot {
            return Ok(spool.clone());
        }
        let spool = Arc::new(self.block_on(fill_spool(reader, selection, &self.options))?);
        *slot = Some(spool.clone());
        Ok(spool)
    }

    /// Waits for a statement; no longer than the server itself should let it run, since a server can vanish silently.
    fn block_on<T>(&self, statement: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = self.runtime.as_ref().expect("there until dropped");
        let bound = self.options.statement_timeout;
        runtime.block_on(async {
            if bound.is_zero() {
                return statement.await;
            }
            tokio::time::timeout(bound + GRACE, statement).await.unwrap_or_else(|_| {
                let detail = format!("no answer within {} s", (bound + GRACE).as_secs());
                Err(Error::new(ErrorKind::Database, "reading the database", detail).hint("is the server still there?"))
            })
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // From within another runtime there is no waiting; the server then notices by itself that we are gone.
        if Handle::try_current().is_err() {
            let exporter = self.exporter.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            let connections = self.readers.drain().into_iter().chain(exporter);
            let close_all = async {
                for connection in connections {
                    let _ = connection.close().await;
                }
            };
            let _ = runtime.block_on(async { tokio::time::timeout(CLOSE_TIMEOUT, close_all).await });
        }
        runtime.shutdown_background();
    }
}

type Opened = (PgConnection, Contract, Snapshot, Vec<i32>, Vec<PgConnection>);

async fn open(target: &Target, options: &Options, counters: &Counters) -> Result<Opened> {
    let mut exporter = target.connect("snapshot", options).await?;
    let exported = export(&mut exporter).await?;
    let contract = contract::check(&catalogue::read(&mut exporter).await?)?;
    check_runs(&mut exporter, &contract).await?;
    let snapshot = read_small(&mut exporter, &contract, &exported, counters).await?;
    let stored_miners = read_stored_miners(&mut exporter, &contract).await?;
    let mut readers = Vec::new();
    for number in 1..=options.connections.max(1) {
        let mut reader = target.connect(&format!("reader {number}"), options).await?;
        pin(&mut reader, number, &exported).await?;
        readers.push(reader);
    }
    Ok((exporter, contract, snapshot, stored_miners, readers))
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The clock is read after the snapshot was taken: nothing in it is later. The transaction's own time is that of its BEGIN.
const EXPORT: &str = "SELECT pg_export_snapshot(), pg_current_snapshot()::text,
                             (extract(epoch FROM clock_timestamp()) * 1000000)::int8,
                             split_part(current_setting('server_version'), ' ', 1)";

async fn export(exporter: &mut PgConnection) -> Result<Exported> {
    let cannot = |e| failed("exporting a snapshot", e);
    execute(exporter, BEGIN).await.map_err(cannot)?;
    let row: (String, String, i64, String) = sqlx::query_as(EXPORT).fetch_one(exporter).await.map_err(cannot)?;
    let (id, sees, taken_at, server_version) = row;
    Ok(Exported { id, sees, taken_at: Micros(taken_at), server_version })
}

/// Imports the snapshot; a reader that sees anything else must not read.
async fn pin(reader: &mut PgConnection, number: usize, exported: &Exported) -> Result<()> {
    const HINT: &str = "all connections must reach one server: with a connection pooler or a load balancer in between, give the \
                        server's own address";
    let doing = || format!("pinning the snapshot on reader {number}");
    let pin = format!("{BEGIN}; SET TRANSACTION SNAPSHOT '{}'", exported.id.replace('\'', "''"));
    execute(reader, pin).await.map_err(|e| failed(doing(), e).hint(HINT))?;
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
    let batch = copy(connection, &plan::whole(selection), selection, table.to_owned()).await?;
    counters.add(table, batch.num_rows());
    Ok(batch)
}

/// Runs a `COPY … TO STDOUT` and decodes what it sends. `what` names the rows in messages.
async fn copy(connection: &mut PgConnection, sql: &str, selection: &Selection, what: String) -> Result<RecordBatch> {
    let cannot = |e| failed(format!("reading {what}"), e);
    let mut decoder = Decoder::new(&selection.layout, what.as_str());
    let mut stream = connection.copy_out_raw(sql).await.map_err(cannot)?;
    while let Some(bytes) = stream.try_next().await.map_err(cannot)? {
        decoder.push(&bytes)?;
    }
    decoder.finish()
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
