//! Phase 3: retry policies, the timeline of a miner, the subnet's statistics; and the refresh of what is materialized.

use sqlx::PgConnection;

use crate::error::{Error, ErrorKind, Result};
use crate::model::settings::Scoring;
use crate::postgres::{Judged, Task, execute};

use super::phase2::write_rules;
use super::session::Session;
use super::{PHASE3, RULES, Report, grants, migrate_phase};

/// The materialized views, in the order in which one stands on the other.
const MATERIALIZED: [&str; 2] = ["weather_forecast_stats", "weather_subnet_stats"];

/// Applies what is pending of Phase 3, and tells the views the settings of scoring.
pub async fn apply(url: &str, scoring: &Scoring) -> Result<Report> {
    let mut session = Session::open(url).await?;
    let note = session.prepare(false).await?;
    session.begin_reading().await?;
    needs_phase1(&mut session.connection).await?;
    session.commit().await?;
    let mut migrations = migrate_phase(&mut session, &RULES).await?;
    session.begin().await?;
    write_rules(&mut session.connection, scoring).await?;
    session.commit().await?;
    migrations.extend(migrate_phase(&mut session, &PHASE3).await?);
    session.begin().await?;
    grants::carry(&mut session.connection).await?;
    session.commit().await?;
    session.close().await;
    Ok(Report { phase: "phase3", migrations, note })
}

/// Refreshes every materialized view of ours that is there, without keeping its readers out, and gives their names.
pub async fn refresh(url: &str) -> Result<Vec<&'static str>> {
    let mut session = Session::open(url).await?;
    session.prepare(false).await?;
    let mut refreshed = Vec::new();
    for name in MATERIALIZED {
        session.begin().await?;
        let doing = || format!("refreshing {name}");
        let there: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'm')")
                .bind(name)
                .fetch_one(&mut session.connection)
                .await
                .judged(Task::Migrate, doing)?;
        if there {
            let refresh = format!("REFRESH MATERIALIZED VIEW CONCURRENTLY {name}");
            execute(&mut session.connection, refresh).await.judged(Task::Migrate, doing)?;
            refreshed.push(name);
        }
        session.commit().await?;
    }
    session.close().await;
    Ok(refreshed)
}

async fn needs_phase1(connection: &mut PgConnection) -> Result<()> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('weather_forecast_steps') IS NOT NULL AND to_regclass('rollup_jobs') IS NOT NULL")
            .fetch_one(connection)
            .await
            .judged(Task::Migrate, || "looking for the tables of Phase 1".to_owned())?;
    if there {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, "applying Phase 3", "Phase 1 is not applied").hint("run `recount migrate` first"))
}
