//! Loads what is generated into a database whose tables are there and empty.
//!
//! One transaction: either all of it is there in the end, or the database is as it was. A thread of its own talks to the
//! server, so that the next unit is made while the server takes this one in; a bounded channel keeps the two together.

mod indexes;
mod steps;
mod tables;
mod tuples;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::evidence::{COMPONENTS, NODES, Node, RESPONSES, RUNS, SCORES, STEPS};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::postgres::{Judged, Target, Task, guarded};

use self::indexes::Dropped;
use self::tables::{Of, RunRow, Table};
use self::tuples::Tuples;

use super::rows::{RunRows, Vocabulary};
use super::sink::{Part, Sink};
use super::{Generator, StoredUnit};

/// The tables that are filled, in the order of their foreign keys.
const TABLES: [&str; 8] =
    [NODES.name, RUNS.name, RESPONSES.name, SCORES.name, COMPONENTS.name, STEPS.name, ForecastStat::TABLE, MinerStat::TABLE];

/// Units made ahead of the server: enough that neither waits for the other's odd slow one.
const UNITS_AHEAD: usize = 2;

const CHUNK_BYTES: usize = 1 << 20;

/// Set for the transaction: an index over millions of rows is sorted in memory, and a lock held by others ends the job.
const SETTINGS: &str =
    "SET LOCAL maintenance_work_mem = '512MB'; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0";

enum Order {
    Load(Vec<RunRows>, StoredUnit),
    Finish(Vec<MinerStat>),
}

/// A database that is being filled. Dropped before [`Sink::finish`], it leaves the database as it was.
pub struct Loader {
    /// `None` once the thread has gone.
    link: Option<(SyncSender<Order>, JoinHandle<Result<()>>)>,
}

impl Loader {
    /// Connects, checks the tables and makes them ready.
    pub fn start(url: &str, generator: &Generator) -> Result<Self> {
        let target = Target::parse(url)?;
        let task =
            Loading { target, vocabulary: generator.shared_vocabulary(), nodes: generator.nodes(), runs: run_rows(generator) };
        let (orders, inbox) = sync_channel(UNITS_AHEAD);
        let (ready, started) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.doing(ErrorKind::Io, || "starting the loader".to_owned())?;
        let work = move || runtime.block_on(async { guarded("loading the database", task.run(&inbox, &ready)).await? });
        let thread = std::thread::spawn(work);
        let mut loader = Loader { link: Some((orders, thread)) };
        // The thread says that it is ready, or ends with the reason why not.
        if started.recv().is_err() {
            loader.outcome()?;
        }
        Ok(loader)
    }

    fn send(&mut self, order: Order) -> Result<()> {
        let sent = self.link.as_ref().is_some_and(|(orders, _)| orders.send(order).is_ok());
        if sent { Ok(()) } else { self.outcome() }
    }

    /// Waits for the thread; a thread that has gone too early has an error to tell.
    fn outcome(&mut self) -> Result<()> {
        let Some((orders, thread)) = self.link.take() else { return Ok(()) };
        drop(orders);
        thread.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::Database, "loading the database", "the loader panicked")))
    }
}

impl Sink for Loader {
    fn unit(&mut self, part: Part) -> Result<()> {
        self.send(Order::Load(part.rows, part.stored))
    }

    fn finish(mut self: Box<Self>, miners: Vec<MinerStat>) -> Result<()> {
        self.send(Order::Finish(miners))?;
        self.outcome()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Without the order to finish, the thread rolls back.
        let _ = self.outcome();
    }
}

fn run_rows(generator: &Generator) -> Vec<RunRow> {
    let row = |run: crate::model::evidence::Run| {
        let (initiated, completed) = generator.run_times(run.id);
        RunRow { id: run.id.0, initiated, target: run.target, gfs_init: run.gfs_init, completed }
    };
    generator.runs().into_iter().map(row).collect()
}

/// What the thread does.
struct Loading {
    target: Target,
    vocabulary: Arc<Vocabulary>,
    nodes: Vec<Node>,
    runs: Vec<RunRow>,
}

impl Loading {
    async fn run(self, inbox: &Receiver<Order>, ready: &SyncSender<()>) -> Result<()> {
        let connecting = || "connecting to the database".to_owned();
        let mut connection = self.target.connect(Task::Load, "recount generate", "loading").await?;
        check(&mut connection).await?;
        let mut transaction = connection.begin().await.judged(Task::Load, connecting)?;
        let one_per_key = one_per_key(&mut transaction).await?;
        execute(&mut transaction, SETTINGS, "preparing the tables").await?;
        execute(&mut transaction, "ALTER TABLE weather_forecast_steps DISABLE TRIGGER USER", "preparing the tables").await?;
        let preparing = || "preparing the tables".to_owned();
        let dropped = Dropped::from(&mut transaction).await.judged(Task::Load, preparing)?;
        copy(&mut transaction, &tables::nodes(), self.nodes.iter()).await?;
        copy(&mut transaction, &tables::runs(), self.runs.iter()).await?;
        let _ = ready.send(());
        loop {
            match inbox.recv() {
                Ok(Order::Load(rows, stored)) => self.load(&mut transaction, rows, &stored, one_per_key).await?,
                Ok(Order::Finish(miners)) => {
                    copy(&mut transaction, &tables::miners(), miners.iter()).await?;
                    break;
                }
                // The generator has given up; so the transaction is rolled back.
                Err(_) => return Ok(()),
            }
        }
        let indexing = || "building the indexes".to_owned();
        dropped.restore(&mut transaction).await.judged(Task::Load, indexing)?;
        execute(&mut transaction, "ALTER TABLE weather_forecast_steps ENABLE TRIGGER USER", "building the indexes").await?;
        execute(&mut transaction, NEXT_IDS, "moving the sequences on").await?;
        transaction.commit().await.judged(Task::Load, || "committing what was loaded".to_owned())?;
        // Now, and not by the autovacuum while somebody measures what was loaded.
        let vacuum = format!("VACUUM (ANALYZE) {}", TABLES.join(", "));
        let done = sqlx::raw_sql(AssertSqlSafe(vacuum)).execute(&mut connection).await;
        done.map(drop).judged(Task::Load, || "analyzing the tables".to_owned())
    }

    async fn load(
        &self,
        connection: &mut PgConnection,
        runs: Vec<RunRows>,
        stored: &StoredUnit,
        one_per_key: bool,
    ) -> Result<()> {
        for mut rows in runs {
            if one_per_key {
                rows.steps = steps::one_per_key(rows.steps);
            }
            let run_id = rows.run.id.0;
            copy(connection, &tables::responses(), self.of(run_id, &rows.responses)).await?;
            copy(connection, &tables::scores(), self.of(run_id, &rows.scores)).await?;
            copy(connection, &tables::components(), self.of(run_id, &rows.components)).await?;
            copy(connection, &tables::steps(), self.of(run_id, &rows.steps)).await?;
        }
        copy(connection, &tables::stats(), stored.rows.iter().chain(&stored.strays)).await
    }

    fn of<'a, R>(&'a self, run_id: i32, rows: &'a [R]) -> impl Iterator<Item = Of<'a, R>> {
        rows.iter().map(move |row| Of { run_id, vocabulary: &self.vocabulary, row })
    }
}

/// Sequences go on after the rows that came with their ids.
const NEXT_IDS: &str = "
DO $$
DECLARE
    t text;
    s text;
BEGIN
    FOREACH t IN ARRAY '{weather_forecast_runs,weather_miner_responses,weather_miner_scores,weather_forecast_component_scores,
                         weather_forecast_steps,weather_forecast_stats}'::text[] LOOP
        s := pg_get_serial_sequence(t, 'id');
        IF s IS NOT NULL THEN
            EXECUTE format('SELECT setval(%L, coalesce(max(id), 0) + 1, false) FROM %I', s, t);
        END IF;
    END LOOP;
END $$";

/// Refuses a database without the tables, or with rows in them.
async fn check(connection: &mut PgConnection) -> Result<()> {
    let doing = "checking that the tables are there and empty";
    let query = |sql: String| sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql));
    let mut missing = Vec::new();
    let mut filled = Vec::new();
    for table in TABLES {
        let there = query(format!("SELECT to_regclass('{table}') IS NOT NULL")).fetch_one(&mut *connection).await;
        if !there.judged(Task::Load, || doing.to_owned())? {
            missing.push(table);
            continue;
        }
        let rows = query(format!("SELECT EXISTS (SELECT FROM {table})")).fetch_one(&mut *connection).await;
        if rows.judged(Task::Load, || doing.to_owned())? {
            filled.push(table);
        }
    }
    if !missing.is_empty() {
        return Err(Error::new(ErrorKind::Contract, doing, format!("missing: {}", missing.join(", ")))
            .hint("run `recount migrate` on the database first"));
    }
    if !filled.is_empty() {
        return Err(Error::new(ErrorKind::Refused, doing, format!("not empty: {}", filled.join(", ")))
            .hint("give a database of its own: generated rows are never mixed with others"));
    }
    Ok(())
}

/// Whether Phase 1 holds the steps to one row per key, NULL equal to NULL.
async fn one_per_key(connection: &mut PgConnection) -> Result<bool> {
    const GUARD: &str = "SELECT EXISTS (SELECT FROM pg_trigger
        WHERE tgrelid = 'weather_forecast_steps'::regclass AND tgname = 'recount_steps_row')";
    let found = sqlx::query_scalar(GUARD).fetch_one(connection).await;
    found.judged(Task::Load, || "looking for the key of the steps".to_owned())
}

async fn execute(connection: &mut PgConnection, sql: &'static str, doing: &str) -> Result<()> {
    let done = sqlx::raw_sql(sql).execute(connection).await;
    done.map(drop).judged(Task::Load, || doing.to_owned())
}

/// Sends rows in the binary format, a chunk at a time.
async fn copy<R>(
    connection: &mut PgConnection,
    table: &Table<R>,
    rows: impl Iterator<Item = impl std::borrow::Borrow<R>>,
) -> Result<()> {
    let doing = || format!("loading {}", table.name);
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut copy = connection.copy_in_raw(&table.statement()).await.judged(Task::Load, doing)?;
    let mut tuples = Tuples::new();
    for row in rows {
        tuples.row(table.columns.len());
        (table.write)(&mut tuples, row.borrow());
        if tuples.len() >= CHUNK_BYTES {
            copy.send(tuples.part()).await.judged(Task::Load, doing)?;
            tuples.clear();
        }
    }
    tuples.end();
    copy.send(tuples.part()).await.judged(Task::Load, doing)?;
    copy.finish().await.map(drop).judged(Task::Load, doing)
}
