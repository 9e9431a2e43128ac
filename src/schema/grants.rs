//! Who may read what the migrations make: those who may read what it stands beside.
//!
//! A job with a role of its own reads the stored rollups every night. Where a view of the subnet is made beside them, that job finds
//! it, and must be allowed to read it.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::Result;
use crate::postgres::{Judged, Task};

/// What is made, and the table of the validator that it stands beside: it tells nothing that this one does not tell. The owner of that
/// table reads it too, since a materialized view is refreshed with its owner's rights.
const BESIDE: [(&str, &str); 17] = [
    ("recount_migrations", "weather_forecast_stats"),
    ("rollup_phase2_proofs", "weather_forecast_stats"),
    ("rollup_phase2_changes", "weather_forecast_stats"),
    ("weather_subnet_stats", "weather_forecast_stats"),
    ("weather_forecast_rollups", "weather_forecast_stats"),
    ("weather_placed_rollups", "weather_forecast_stats"),
    ("weather_retry_policies", "weather_forecast_steps"),
    ("weather_miner_timeline", "weather_forecast_steps"),
    ("weather_counted_steps", "weather_forecast_steps"),
    ("weather_scoring_rules", "weather_miner_scores"),
    ("weather_latest_scores", "weather_miner_scores"),
    ("weather_counted_scores", "weather_miner_scores"),
    ("weather_day1_scores", "weather_miner_scores"),
    ("weather_era5_scores", "weather_miner_scores"),
    ("weather_lead_scores", "weather_miner_scores"),
    ("weather_lead_scores_with_legacy", "weather_miner_scores"),
    ("weather_legacy_lead_scores", "weather_miner_scores"),
];

/// $1 and $2: what is made, and what it stands beside. The grants that are not there yet.
const MISSING: &str = "
    SELECT format('GRANT SELECT ON %s TO %s%s', made.oid::regclass, CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE r.grantee::regrole::text END,
                  CASE WHEN bool_or(r.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM unnest($1::text[], $2::text[]) AS p (made, beside)
    JOIN pg_class made ON made.oid = to_regclass(p.made)
    JOIN pg_class beside ON beside.oid = to_regclass(p.beside)
    CROSS JOIN LATERAL (
        SELECT a.grantee, a.is_grantable FROM aclexplode(beside.relacl) a WHERE a.privilege_type = 'SELECT'
        UNION ALL SELECT beside.relowner, false
    ) r
    WHERE r.grantee <> made.relowner
    GROUP BY made.oid, made.relacl, r.grantee
    HAVING NOT EXISTS (SELECT FROM aclexplode(made.relacl) g
                       WHERE g.grantee = r.grantee AND g.privilege_type = 'SELECT' AND g.is_grantable >= bool_or(r.is_grantable))
    ORDER BY 1";

/// Gives what is made the readers of what it stands beside, as far as they lack. A later run carries over what was granted since.
pub(super) async fn carry(connection: &mut PgConnection) -> Result<()> {
    carry_to(connection, &BESIDE).await
}

/// The same for these: what is made, and what it stands beside.
pub(super) async fn carry_to(connection: &mut PgConnection, pairs: &[(&str, &str)]) -> Result<()> {
    let doing = || "giving the readers of tables the right to read what stands beside them".to_owned();
    let (made, beside): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    let grants: Vec<String> =
        sqlx::query_scalar(MISSING).bind(made).bind(beside).fetch_all(&mut *connection).await.judged(Task::Migrate, doing)?;
    for grant in grants {
        // Names in it come from the catalogue, quoted there.
        sqlx::raw_sql(AssertSqlSafe(grant)).execute(&mut *connection).await.judged(Task::Migrate, doing)?;
    }
    Ok(())
}
