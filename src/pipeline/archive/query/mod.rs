//! `recount query`: SQL over the tables of an archive or a snapshot, by DataFusion. It reads what the manifest in force names, and
//! nothing else.

mod allowed;
mod files;
mod reader;
mod snapshot;
mod table;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures_util::TryStreamExt;
use tokio::runtime::Builder;

use crate::archive::Storage;
use crate::archive::manifest::damaged;
use crate::archive::read::fault_of;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::decode::{decodes_only, decoding};

use self::table::Table;

/// Rows that the engine handles at a time.
const BATCH_ROWS: usize = 8192;

/// What a statement may take of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub threads: NonZeroUsize,
    /// Bytes for sorts, joins and groups; what needs more goes to the temporary folder.
    pub memory: u64,
}

/// Runs one statement, and gives its result batch by batch: first one without rows, which tells the columns.
pub fn query(source: &str, sql: &str, limits: Limits, take: &mut dyn FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let storage = Arc::new(Storage::open(source)?);
    let tables = files::tables(&storage)?;
    let known: BTreeMap<String, Vec<String>> = tables.iter().map(|table| (table.name.clone(), table.paths.clone())).collect();
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let threads =
        Builder::new_multi_thread().worker_threads(limits.threads.get()).on_thread_start(decodes_only).enable_all().build();
    let threads = threads.doing(ErrorKind::Io, || "starting threads".to_owned())?;
    let mut read = Vec::new();
    let asked = || {
        threads.block_on(async {
            let context = session(limits, tables).map_err(|e| failed(e, &names))?;
            let statement = allowed::parse(sql)?;
            allowed::check_tables(&context, &statement, &names)?;
            read = context.state().resolve_table_references(&statement).unwrap_or_default();
            let plan = context.state().statement_to_plan(statement).await.map_err(|e| failed(e, &names))?;
            let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
            reading.verify_plan(&plan).map_err(|_| allowed::refusal())?;
            let frame = context.execute_logical_plan(plan).await.map_err(|e| failed(e, &names))?;
            let mut batches = frame.execute_stream().await.map_err(|e| failed(e, &names))?;
            take(&RecordBatch::new_empty(batches.schema()))?;
            while let Some(batch) = batches.try_next().await.map_err(|e| failed(e, &names))? {
                take(&batch)?;
            }
            Ok(())
        })
    };
    // The engine decodes files in threads of its own, and a panic in one of them comes out here.
    let asked = decoding(asked, |panic| undecoded(&panic));
    asked.map_err(|error| match error.kind() {
        ErrorKind::Data => named(&storage, read.iter().filter_map(|table| known.get(table.table())).flatten()).unwrap_or(error),
        _ => error,
    })
}

/// The first of these files that is damaged. The engine does not say which file it failed on.
fn named<'p>(storage: &Storage, paths: impl Iterator<Item = &'p String>) -> Option<Error> {
    let fault = |path: &str| {
        let content = storage.read_or_replaced(path).ok().flatten()?;
        fault_of(&content).map(|fault| damaged(storage, path, &format!("is damaged: {fault}")))
    };
    paths.map(String::as_str).find_map(fault)
}

fn session(limits: Limits, tables: Vec<Table>) -> datafusion::common::Result<SessionContext> {
    let config = SessionConfig::new()
        .with_target_partitions(limits.threads.get())
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(true)
        .set_bool("datafusion.execution.parquet.pushdown_filters", true);
    let memory = usize::try_from(limits.memory).unwrap_or(usize::MAX);
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory))).build_arc()?;
    let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    for table in tables {
        context.register_table(table.name, table.rows)?;
    }
    Ok(context)
}

/// The engine's error in recount's words: what is wrong with the statement, with memory, or with a file.
fn failed(error: DataFusionError, tables: &[String]) -> Error {
    let root = error.find_root();
    if let DataFusionError::External(own) = root
        && let Some(own) = own.downcast_ref::<Error>()
    {
        return own.copied();
    }
    match root {
        DataFusionError::ResourcesExhausted(detail) => {
            let error = Error::new(ErrorKind::Io, "running the query", first_line(detail));
            error.hint("give it more with --memory, for example --memory 4096")
        }
        DataFusionError::SchemaError(unknown, _) => allowed::unknown_column(unknown),
        DataFusionError::External(_)
        | DataFusionError::ParquetError(_)
        | DataFusionError::IoError(_)
        | DataFusionError::ArrowError(..) => undecoded(&root.to_string()),
        root => {
            let error = Error::new(ErrorKind::Usage, "running the query", first_line(&root.strip_backtrace()));
            error.hint(format!("the tables are {}", tables.join(", ")))
        }
    }
}

/// Files that could not be decoded, for whatever reason the engine has.
fn undecoded(detail: &str) -> Error {
    Error::new(ErrorKind::Data, "running the query", detail)
        .hint("`recount verify` names everything that is wrong with an archive")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}
