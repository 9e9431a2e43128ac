//! What stands in the way of jobs on a database, looked at one thing after the other; each by a transaction of its own that cannot write.
//!
//! A check that fails is itself a finding: the others go on.

mod rights;
mod server;
pub mod survey;
mod tables;

use std::time::Instant;

use sqlx::postgres::PgConnection;

use crate::error::Result;
use crate::model::checkup::Check;
use crate::postgres::{Judged, PLAIN_SQL, Reached, Target, Task, close, execute, schema_of};

/// No look takes long; one that does stands behind a lock, which is worth telling.
const STATEMENT_TIMEOUT_S: u32 = 30;

/// What is to be possible.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// `--apply`, `apply`, `undo`.
    pub corrects: bool,
    /// Connections that a job opens.
    pub connections: u32,
    /// A correction leaves `updated_at` alone in most rows, which a trigger that stamps it makes impossible.
    pub keeps_updated_at: bool,
}

/// What was seen of a database.
#[derive(Debug, Default)]
pub struct Examined {
    pub checks: Vec<Check>,
    /// It can be connected to.
    pub reached: bool,
    /// What tables without an index take in the temporary folder.
    pub spooled_bytes: u64,
}

/// Looks at a database; what cannot be looked at is among the checks.
pub async fn examine(url: &str, asked: Asked) -> Examined {
    let mut found = Examined::default();
    let target = match Target::parse(url) {
        Ok(target) => target,
        Err(error) => {
            found.checks.push(Check::failed("connection", &error));
            return found;
        }
    };
    let started = Instant::now();
    let Reached { connection, pooled } = match target.reach(Task::Read, "recount doctor", "doctor").await {
        Ok(reached) => reached,
        Err(error) => {
            let name = if error.to_string().contains("a pooler is in between") { "pooler" } else { "connection" };
            found.checks.push(Check::failed(name, &error));
            return found;
        }
    };
    found.reached = true;
    found.checks.push(Check::ok("connection", format!("{} answers within {} ms", target.shown, started.elapsed().as_millis())));
    found.checks.push(server::pooler(pooled));
    let mut look = Look { connection, checks: found.checks };
    look.at("tls", async |connection| server::tls(connection, &target, pooled).await).await;
    look.at("server", async |connection| server::server(connection, asked).await).await;
    look.at("connections", async |connection| server::connections(connection, asked).await).await;
    look.at("locks", server::locks).await;
    let schema = look.schema().await;
    if let Some(schema) = schema {
        look.at("role", async |connection| rights::role(connection, &schema, asked).await).await;
        look.at("reading", async |connection| rights::reading(connection, &schema).await).await;
        look.at("correcting", async |connection| rights::correcting(connection, &schema, asked).await).await;
        look.at("schema", async |connection| rights::others(connection, &schema).await).await;
        let spooled = &mut found.spooled_bytes;
        look.at("indexes", async |connection| tables::indexes(connection, &schema, spooled).await).await;
        look.at("keys", async |connection| tables::keys(connection, &schema).await).await;
        look.at("triggers", async |connection| tables::triggers(connection, &schema, asked).await).await;
        look.at("policies", async |connection| tables::policies(connection, &schema).await).await;
        look.at("statistics", async |connection| tables::statistics(connection, &schema).await).await;
        look.at("jobs", async |connection| tables::jobs(connection, &schema).await).await;
    }
    found.checks = look.checks;
    close(look.connection).await;
    found
}

struct Look {
    connection: PgConnection,
    checks: Vec<Check>,
}

impl Look {
    async fn at(&mut self, name: &'static str, check: impl AsyncFnOnce(&mut PgConnection) -> Result<Vec<Check>>) {
        let seen = match self.begin().await {
            Ok(()) => check(&mut self.connection).await,
            Err(error) => Err(error),
        };
        // Where the connection is lost, the next look says so.
        let _ = execute(&mut self.connection, "ROLLBACK").await;
        match seen {
            Ok(checks) => self.checks.extend(checks),
            Err(error) => self.checks.push(Check::failed(name, &error)),
        }
    }

    async fn begin(&mut self) -> Result<()> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'; \
             SET LOCAL search_path = pg_catalog, pg_temp; {PLAIN_SQL}"
        );
        execute(&mut self.connection, begin).await.judged(Task::Read, || "starting a transaction".to_owned())
    }

    /// The validator's schema, where there is one and nothing is wrong with it.
    async fn schema(&mut self) -> Option<String> {
        let mut found = None;
        self.at("schema", async |connection| {
            found = schema_of(connection).await?;
            Ok(match &found {
                Some(schema) => vec![Check::ok("schema", format!("the validator's tables are in the schema {schema}"))],
                None => vec![Check::fault(
                    "schema",
                    "there is no table weather_forecast_runs in any schema that the role sees",
                    "name the validator's database in the URL; `recount migrate --standalone` makes the tables in one of your own",
                )],
            })
        })
        .await;
        found
    }
}
