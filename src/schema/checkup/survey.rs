//! What a database is like, for somebody who sets recount up on it.

use sqlx::postgres::PgConnection;

use crate::error::{Error, ErrorKind, Result};
use crate::model::checkup::megabytes;
use crate::postgres::{Judged, PLAIN_SQL, Target, Task, close, execute, from_row, identifier, schema_of, set_search_path};

/// Rows that a vocabulary is taken from: a year of steps is millions.
const SAMPLE: u32 = 100_000;
/// Words of a vocabulary that are told.
const WORDS_MAX: i64 = 12;

/// Columns whose words are the validator's own, and which recount has to know.
const VOCABULARY: [(&str, &str); 5] = [
    ("weather_miner_responses", "status"),
    ("weather_forecast_steps", "step_name"),
    ("weather_forecast_steps", "status"),
    ("weather_forecast_stats", "forecast_status"),
    ("weather_forecast_stats", "current_forecast_status"),
];

/// One thing that was found.
#[derive(Debug)]
pub struct Fact {
    pub what: String,
    pub found: String,
}

/// Looks at a database without a change to it.
///
/// # Errors
/// Where it cannot be reached, or has no validator's tables. What the role may not read is left out.
pub async fn survey(url: &str) -> Result<Vec<Fact>> {
    let target = Target::parse(url)?;
    let mut connection = target.connect(Task::Read, "recount init", "init").await?;
    let found = look(&mut connection).await;
    close(connection).await;
    found
}

async fn look(connection: &mut PgConnection) -> Result<Vec<Fact>> {
    let doing = || "looking at the database".to_owned();
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = '60s'; SET LOCAL TimeZone = 'UTC'; {PLAIN_SQL}");
    execute(connection, begin).await.judged(Task::Read, doing)?;
    let Some(schema) = schema_of(connection).await? else {
        return Err(Error::new(ErrorKind::Contract, doing(), "it has no table weather_forecast_runs")
            .hint("is this the validator's database?"));
    };
    set_search_path(connection, &schema).await?;
    let server: String = sqlx::query_scalar(
        "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)
                || CASE WHEN pg_is_in_recovery() THEN ', a standby' ELSE ', the primary' END",
    )
    .fetch_one(&mut *connection)
    .await
    .judged(Task::Read, doing)?;
    let mut facts = vec![fact("server", server), fact("schema", schema.clone())];
    let tables = tables(connection, &schema).await?;
    facts.extend(tables.iter().map(|table| fact(table.name.clone(), sizes(table))));
    let readable = |name: &str| tables.iter().any(|table| table.name == name && table.readable);
    if readable("weather_forecast_runs") {
        facts.push(runs(connection).await?);
    }
    for (table, column) in VOCABULARY.into_iter().filter(|(table, _)| readable(table)) {
        if let Some(words) = words(connection, &schema, table, column).await? {
            facts.push(fact(format!("{table}.{column}"), words));
        }
    }
    execute(connection, "ROLLBACK").await.judged(Task::Read, doing)?;
    Ok(facts)
}

fn fact(what: impl Into<String>, found: impl Into<String>) -> Fact {
    Fact { what: what.into(), found: found.into() }
}

struct Table {
    name: String,
    rows: f64,
    bytes: i64,
    readable: bool,
}
from_row!(Table { name, rows, bytes, readable });

async fn tables(connection: &mut PgConnection, schema: &str) -> Result<Vec<Table>> {
    sqlx::query_as(
        "SELECT c.relname::text AS name, c.reltuples::float8 AS rows, pg_total_relation_size(c.oid) AS bytes,
                has_table_privilege(c.oid, 'SELECT') AS readable
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p', 'm') AND c.relname = ANY (ARRAY['node_table', 'weather_forecast_runs',
             'weather_miner_responses', 'weather_miner_scores', 'weather_forecast_component_scores', 'weather_forecast_steps',
             'weather_forecast_stats', 'miner_stats', 'weather_subnet_stats'])
         ORDER BY c.relname",
    )
    .bind(schema)
    .fetch_all(connection)
    .await
    .judged(Task::Read, || "looking at the tables".to_owned())
}

fn sizes(table: &Table) -> String {
    let bytes = megabytes(u64::try_from(table.bytes).unwrap_or_default());
    let rows = if table.rows < 0.0 { "rows never counted".to_owned() } else { format!("about {:.0} rows", table.rows) };
    let readable = if table.readable { "" } else { ", which this role may not read" };
    format!("{rows}, {bytes} with its indexes{readable}")
}

async fn runs(connection: &mut PgConnection) -> Result<Fact> {
    let (count, first, last): (i64, Option<String>, Option<String>) = sqlx::query_as(
        "SELECT count(*), min(gfs_init_time_utc)::date::text, max(gfs_init_time_utc)::date::text FROM weather_forecast_runs",
    )
    .fetch_one(connection)
    .await
    .judged(Task::Read, || "counting runs".to_owned())?;
    let between = first.zip(last).map_or(String::new(), |(first, last)| format!(", initialised from {first} to {last}"));
    Ok(fact("runs", format!("{count}{between}")))
}

/// The words of a column, the most frequent first; none where the column is not there.
async fn words(connection: &mut PgConnection, schema: &str, table: &str, column: &str) -> Result<Option<String>> {
    let doing = || format!("looking at the words of {table}.{column}");
    let there: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1::text AND c.relname = $2::text AND a.attname = $3::text AND NOT a.attisdropped)",
    )
    .bind(schema)
    .bind(table)
    .bind(column)
    .fetch_one(&mut *connection)
    .await
    .judged(Task::Read, doing)?;
    if !there {
        return Ok(None);
    }
    let place = format!("{}.{}", identifier(schema), identifier(table));
    let column = identifier(column);
    let sql = format!(
        "SELECT {column}::text, count(*) FROM (SELECT {column} FROM {place} LIMIT {SAMPLE}) sample
         WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {WORDS_MAX}"
    );
    let words: Vec<(String, i64)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await.judged(Task::Read, doing)?;
    let words = words.iter().map(|(word, count)| format!("{word} ({count})")).collect::<Vec<_>>();
    Ok(Some(if words.is_empty() { "nothing yet".to_owned() } else { words.join(", ") }))
}
