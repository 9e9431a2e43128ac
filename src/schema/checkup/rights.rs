//! What the role may do, command by command, and what others may do to it.

use sqlx::postgres::PgConnection;

use super::Asked;
use crate::error::Result;
use crate::model::checkup::Check;
use crate::postgres::{Judged, OURS, Task, from_row, identifier};

const EVIDENCE: [&str; 5] = [
    "node_table",
    "weather_forecast_runs",
    "weather_miner_responses",
    "weather_miner_scores",
    "weather_forecast_component_scores",
];
/// May be absent; steps are evidence where they are there.
const STEPS: &str = "weather_forecast_steps";
const ROLLUPS: [&str; 3] = ["weather_forecast_stats", "miner_stats", "weather_subnet_stats"];
const AUDIT: [&str; 2] = ["rollup_jobs", "rollup_corrections"];

/// What reads, as `recount --help` names it.
const READERS: &str = "reconcile, diff, explain, recompute, export, archive";
const CORRECTORS: &str = "reconcile --apply, apply, undo";

struct Role {
    name: String,
    superuser: bool,
    owner: bool,
}
from_row!(Role { name, superuser, owner });

/// A role with more rights than its work needs.
pub async fn role(connection: &mut PgConnection, schema: &str, asked: Asked) -> Result<Vec<Check>> {
    let role: Role = sqlx::query_as(
        "SELECT current_user::text AS name, r.rolsuper AS superuser, coalesce(bool_or(pg_has_role(c.relowner, 'MEMBER')), false) AS owner
         FROM pg_roles r LEFT JOIN pg_class c
           ON c.relname = 'weather_forecast_runs' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1::text)
         WHERE r.rolname = current_user GROUP BY r.rolsuper",
    )
    .bind(schema)
    .persistent(false)
    .fetch_one(connection)
    .await
    .judged(Task::Read, || "asking who we are".to_owned())?;
    let named = format!("the role {}", role.name);
    let remedy = match asked.corrects {
        true => "correct as recount_corrector (docs/corrections.md), which can change the rollups and nothing else",
        false => "read as recount_reader (docs/operations.md), which can change nothing",
    };
    let migrates = "and may run migrate, phase2 and phase3";
    Ok(vec![match (role.superuser, role.owner) {
        (true, _) => Check::note("role", format!("{named} is a superuser, {migrates}"), remedy),
        (false, true) => Check::note("role", format!("{named} owns the validator's tables, {migrates}"), remedy),
        (false, false) => {
            Check::ok("role", format!("{named} is no owner: migrate, phase2 and phase3 are not for it, as it should be"))
        }
    }])
}

/// A table or another thing, and whether we have a right on it.
#[derive(Debug)]
struct Right {
    name: String,
    /// Of a table.
    schema: Option<String>,
    right: String,
    held: bool,
}
from_row!(Right { name, schema, right, held });

/// Rights on tables that are there, in the validator's schema or in ours; by whole table, or for SELECT by any column, since columns are looked at by the schema's contract.
const TABLE_RIGHTS: &str = "
    SELECT t.name, n.nspname::text AS schema, r.name AS right,
           CASE WHEN r.name = 'SELECT' THEN has_any_column_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, r.name) END AS held
    FROM unnest($2::text[]) WITH ORDINALITY AS t (name, place)
    CROSS JOIN unnest($3::text[]) WITH ORDINALITY AS r (name, place)
    JOIN pg_namespace n ON n.nspname IN ($1::text, $4::text)
    JOIN pg_class c ON c.relname = t.name AND c.relnamespace = n.oid AND (c.relkind IN ('r', 'p') OR r.name = 'SELECT')
      AND (n.nspname = $4::text OR NOT EXISTS (SELECT FROM pg_class o JOIN pg_namespace m ON m.oid = o.relnamespace
                                               WHERE o.relname = t.name AND m.nspname = $4::text))
    ORDER BY t.place, r.place";

async fn table_rights(connection: &mut PgConnection, schema: &str, tables: &[&str], rights: &[&str]) -> Result<Vec<Right>> {
    sqlx::query_as(TABLE_RIGHTS)
        .bind(schema)
        .bind(tables)
        .bind(rights)
        .bind(OURS)
        .persistent(false)
        .fetch_all(connection)
        .await
        .judged(Task::Read, || "asking for the role's rights".to_owned())
}

/// What is missing, as one list and as the statements that give it.
fn missing(rights: &[&Right]) -> (String, String) {
    let list = rights.iter().map(|right| format!("{} on {}", right.right, right.name)).collect::<Vec<_>>().join(", ");
    let grant = |right: &&Right| match (right.right.as_str(), right.name.as_str(), &right.schema) {
        ("USAGE", name, Some(_)) => format!("GRANT USAGE ON SCHEMA {}", identifier(name)),
        ("USAGE", name, None) => format!("GRANT USAGE ON SEQUENCE {name}"),
        ("EXECUTE", name, _) => format!("GRANT EXECUTE ON FUNCTION {name}"),
        ("TEMPORARY", name, _) => format!("GRANT TEMPORARY ON DATABASE {}", identifier(name)),
        (of, name, schema) => {
            let schema = schema.iter().map(|schema| identifier(schema) + ".").collect::<String>();
            format!("GRANT {of} ON {schema}{}", identifier(name))
        }
    };
    let grants = rights.iter().map(|right| grant(right) + " TO …").collect::<Vec<_>>().join("; ");
    (list, format!("as the owner: {grants}"))
}

pub async fn reading(connection: &mut PgConnection, schema: &str) -> Result<Vec<Check>> {
    let mut rights = vec![usage(connection, schema).await?];
    let evidence: Vec<&str> = EVIDENCE.into_iter().chain([STEPS]).collect();
    rights.extend(table_rights(connection, schema, &evidence, &["SELECT"]).await?);
    let lacking: Vec<&Right> = rights.iter().filter(|right| !right.held).collect();
    let mut checks = vec![match lacking.is_empty() {
        true => Check::ok("reading", format!("the role may read all evidence: {READERS}")),
        false => {
            let (list, remedy) = missing(&lacking);
            Check::fault("reading", format!("{READERS} need {list}"), remedy)
        }
    }];
    let rollups = table_rights(connection, schema, &ROLLUPS, &["SELECT"]).await?;
    let lacking: Vec<&Right> = rollups.iter().filter(|right| !right.held).collect();
    if !lacking.is_empty() {
        let (list, remedy) = missing(&lacking);
        checks.push(Check::fault(
            "reading_rollups",
            format!("what is stored there is not compared: the role lacks {list}"),
            remedy,
        ));
    }
    let absent: Vec<&str> =
        ROLLUPS[..2].iter().copied().filter(|table| !rollups.iter().any(|right| right.name == **table)).collect();
    if !absent.is_empty() {
        let seen = format!("there is no {}: nothing of it is compared", absent.join(" and no "));
        checks.push(Check::note("reading_rollups", seen, "is this the right database?"));
    }
    Ok(checks)
}

async fn usage(connection: &mut PgConnection, schema: &str) -> Result<Right> {
    sqlx::query_as(
        "SELECT $1::text AS name, $1::text AS schema, 'USAGE' AS right, has_schema_privilege($1::text, 'USAGE') AS held",
    )
    .bind(schema)
    .persistent(false)
    .fetch_one(connection)
    .await
    .judged(Task::Read, || "asking for the role's rights".to_owned())
}

/// What is no table: the sequence of new rows, the function that locks parents, and the database itself.
const OTHER_RIGHTS: &str = "
    WITH place AS (SELECT oid FROM pg_namespace WHERE nspname = $1::text)
    SELECT current_database()::text AS name, NULL::text AS schema, 'TEMPORARY' AS right, has_database_privilege(current_database(), 'TEMPORARY') AS held
    UNION ALL
    SELECT c.oid::regclass::text, NULL, 'USAGE', has_sequence_privilege(c.oid, 'USAGE')
    FROM pg_class c WHERE c.relkind = 'S' AND c.relnamespace = (SELECT oid FROM place) AND EXISTS (
        SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid
        WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND t.relname = 'weather_forecast_stats')
    UNION ALL
    SELECT p.oid::regprocedure::text, NULL, 'EXECUTE', has_function_privilege(p.oid, 'EXECUTE')
    FROM pg_proc p WHERE p.proname = 'recount_lock_parents' AND p.pronamespace = (SELECT oid FROM place)";

pub async fn correcting(connection: &mut PgConnection, schema: &str, asked: Asked) -> Result<Vec<Check>> {
    let mut rights = table_rights(connection, schema, &ROLLUPS, &["SELECT", "INSERT", "UPDATE"]).await?;
    let audit = table_rights(connection, schema, &AUDIT, &["SELECT", "INSERT"]).await?;
    if audit.len() < AUDIT.len() * 2 {
        let seen = "there are no tables rollup_jobs and rollup_corrections, where corrections are written down";
        return Ok(vec![Check::fault_if(asked.corrects, "correcting", seen, "run `recount migrate` once, as the owner")]);
    }
    rights.extend(audit);
    let others: Vec<Right> = sqlx::query_as(OTHER_RIGHTS)
        .bind(schema)
        .persistent(false)
        .fetch_all(&mut *connection)
        .await
        .judged(Task::Read, || "asking for the role's rights".to_owned())?;
    rights.extend(others);
    let lacking: Vec<&Right> = rights.iter().filter(|right| !right.held).collect();
    if lacking.is_empty() {
        let deletes = table_rights(connection, schema, &ROLLUPS[..2], &["DELETE"]).await?;
        return Ok(vec![match deletes.iter().all(|right| right.held) {
            true => Check::ok("correcting", format!("the role may correct: {CORRECTORS}, --prune-extra")),
            false => Check::note(
                "correcting",
                format!("the role may correct ({CORRECTORS}), but not delete: neither --prune-extra nor undo of inserted rows"),
                "GRANT DELETE on the rollups where that is wanted",
            ),
        }]);
    }
    let (list, remedy) = missing(&lacking);
    Ok(vec![match asked.corrects {
        true => Check::fault("correcting", format!("{CORRECTORS} need {list}"), remedy),
        false => {
            Check::ok("correcting", "the role cannot correct, as a reader should be; --apply looks at what a corrector needs")
        }
    }])
}

/// Who else can make things where ours are.
pub async fn others(connection: &mut PgConnection, schema: &str) -> Result<Vec<Check>> {
    let open: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
         WHERE n.nspname = $1::text AND a.grantee = 0 AND a.privilege_type = 'CREATE')",
    )
    .bind(schema)
    .persistent(false)
    .fetch_one(connection)
    .await
    .judged(Task::Read, || "asking who may create in the schema".to_owned())?;
    Ok(match open {
        true => vec![Check::note(
            "schema",
            format!("everybody may create in the schema {schema}: what somebody puts there could stop every job"),
            format!("REVOKE CREATE ON SCHEMA {} FROM PUBLIC", identifier(schema)),
        )],
        false => Vec::new(),
    })
}
