//! The server and the way to it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::postgres::PgConnection;

use super::Asked;
use crate::error::Result;
use crate::model::checkup::{Check, age};
use crate::postgres::{JOBS_LOCK, Judged, PAUSE_LOCK, Target, Task, from_row};

/// The oldest that has what recount uses, and the newest that it was tried with.
const SERVER_MIN: i32 = 140_000;
const SERVER_TRIED: i32 = 18;
/// Above this, what one machine calls now is long ago for the other.
const SKEW_NOTE: f64 = 5.0;
const SKEW_FAULT: f64 = 300.0;
/// A standby that is further behind shows yesterday's rows.
const LAG_NOTE: f64 = 600.0;
/// A password that ends sooner should be renewed now.
const PASSWORD_NOTE: f64 = 14.0 * 86_400.0;

pub fn pooler(pooled: bool) -> Check {
    match pooled {
        true => Check::note(
            "pooler",
            "a pooler is in between, and each connection keeps its session",
            "it works as long as pool_mode stays session; the server's own address is simpler",
        ),
        false => Check::ok("pooler", "no pooler is in between"),
    }
}

pub async fn tls(connection: &mut PgConnection, target: &Target, pooled: bool) -> Result<Vec<Check>> {
    let seen: Option<(bool, Option<String>)> =
        sqlx::query_as("SELECT ssl, version::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .persistent(false)
            .fetch_optional(connection)
            .await
            .judged(Task::Read, || "looking at the connection's TLS".to_owned())?;
    let (encrypted, version) = seen.unwrap_or_default();
    let version = version.unwrap_or_else(|| "TLS".to_owned());
    const REMEDY: &str = "sslmode=verify-full in the URL, with sslrootcert where the authority is your own";
    let secret = if pooled { target.needs_tls() } else { encrypted };
    Ok(vec![if target.is_local() {
        Check::ok("tls", "the server is on this machine, where nobody listens in")
    } else if secret && target.knows_the_server() {
        Check::ok("tls", format!("{version}, and nobody else can be taken for the server"))
    } else if secret {
        Check::note("tls", format!("{version}, but a man in the middle could be taken for the server"), REMEDY)
    } else if pooled {
        Check::note("tls", "whether the way to the pooler is encrypted cannot be seen from here", REMEDY)
    } else {
        Check::fault("tls", "the connection is not encrypted, and leaves this machine", REMEDY)
    }])
}

struct Server {
    number: i32,
    version: String,
    encoding: String,
    standby: bool,
    lag: Option<f64>,
    clock: f64,
    read_only: bool,
    fsync: bool,
}
from_row!(Server { number, version, encoding, standby, lag, clock, read_only, fsync });

pub async fn server(connection: &mut PgConnection, asked: Asked) -> Result<Vec<Check>> {
    let before = now();
    let server: Server = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int4 AS number, split_part(current_setting('server_version'), ' ', 1) AS version,
                current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby,
                extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS lag,
                extract(epoch FROM clock_timestamp())::float8 AS clock,
                current_setting('default_transaction_read_only')::bool AS read_only, current_setting('fsync')::bool AS fsync",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
    .judged(Task::Read, || "asking the server what it is".to_owned())?;
    let between = Duration::from_secs_f64(((now() - before) / 2.0).max(0.0));
    let mut checks = vec![version(&server), encoding(&server), standby(&server, asked)];
    checks.push(clock(server.clock - before - between.as_secs_f64()));
    if asked.corrects {
        checks.push(match server.read_only && !server.standby {
            true => Check::fault(
                "read_only",
                "default_transaction_read_only is on for this role or database: nothing can be corrected",
                "correct as recount_corrector (docs/corrections.md), for which it is off",
            ),
            false => Check::ok("read_only", "the role's transactions may write"),
        });
        if !server.fsync {
            checks.push(Check::note("fsync", "fsync is off: what was committed can be lost with the machine", "SET fsync = on"));
        }
    }
    Ok(checks)
}

fn version(server: &Server) -> Check {
    let (name, major) = ("version", server.number / 10_000);
    match server.number {
        old if old < SERVER_MIN => {
            Check::fault(name, format!("PostgreSQL {}", server.version), "PostgreSQL 14 is the oldest that works")
        }
        _ if major > SERVER_TRIED => Check::note(
            name,
            format!("PostgreSQL {}, which this version of recount was not tried with", server.version),
            "see whether there is a newer recount",
        ),
        _ => Check::ok(name, format!("PostgreSQL {}", server.version)),
    }
}

fn encoding(server: &Server) -> Check {
    match server.encoding.as_str() {
        "UTF8" => Check::ok("encoding", "the database is in UTF8"),
        other => Check::note(
            "encoding",
            format!("the database is in {other}"),
            "a text that is no UTF-8, or that the encoding lacks, ends a job: restore into a database in UTF8",
        ),
    }
}

fn standby(server: &Server, asked: Asked) -> Check {
    if !server.standby {
        return Check::ok("standby", "it is the primary");
    }
    let lag = server.lag.unwrap_or_default();
    let seen = format!("it is a standby, {} behind", age(lag));
    match asked.corrects {
        true => Check::fault("standby", seen, "connect to the primary to correct"),
        false if lag > LAG_NOTE => {
            Check::note("standby", seen, "its report is of that time; if the primary writes, see why the standby lags")
        }
        false => Check::note(
            "standby",
            seen,
            "long reads may be cancelled: hot_standby_feedback = on, or a greater max_standby_streaming_delay, on the standby",
        ),
    }
}

/// `skew`: how much later it is on the server than here, in seconds.
fn clock(skew: f64) -> Check {
    let seen = format!("the server's clock and this machine's are {} apart", age(skew.abs()));
    let remedy = "see to the time service (chrony, systemd-timesyncd) on both: ages, metrics and retention go by these clocks";
    match skew.abs() {
        skew if skew > SKEW_FAULT => Check::fault("clock", seen, remedy),
        skew if skew > SKEW_NOTE => Check::note("clock", seen, remedy),
        _ => Check::ok("clock", seen),
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

struct Room {
    role: String,
    role_limit: i32,
    role_uses: i64,
    database_limit: i32,
    database_uses: i64,
    server_free: i64,
    password_ends: Option<f64>,
}
from_row!(Room { role, role_limit, role_uses, database_limit, database_uses, server_free, password_ends });

pub async fn connections(connection: &mut PgConnection, asked: Asked) -> Result<Vec<Check>> {
    let room: Room = sqlx::query_as(
        "SELECT current_user::text AS role, CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END AS role_limit,
                CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END AS database_limit,
                (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid AND a.pid <> pg_backend_pid()) AS role_uses,
                (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.pid <> pg_backend_pid()) AS database_uses,
                current_setting('max_connections')::int8 - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int8 END
                  - (SELECT count(*) FROM pg_stat_activity a WHERE a.datid IS NOT NULL AND a.pid <> pg_backend_pid()) AS server_free,
                nullif(extract(epoch FROM r.rolvaliduntil - now()), 'Infinity')::float8 AS password_ends
         FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
    .judged(Task::Read, || "counting connections".to_owned())?;
    let needed = i64::from(asked.connections);
    let left = |limit: i32, uses: i64| if limit < 0 { i64::MAX } else { i64::from(limit) - uses };
    let too_few = [
        (left(room.role_limit, room.role_uses), format!("the CONNECTION LIMIT of the role {}", room.role)),
        (left(room.database_limit, room.database_uses), "the CONNECTION LIMIT of the database".to_owned()),
        (room.server_free, "max_connections of the server".to_owned()),
    ];
    let mut checks: Vec<Check> = too_few
        .into_iter()
        .filter(|(left, _)| *left < needed)
        .map(|(left, whose)| {
            let seen = format!("a job opens {needed} connections, and {whose} leaves {}", left.max(0));
            Check::fault("connections", seen, "raise the limit, or use fewer --connections")
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok("connections", format!("there is room for the {needed} connections of a job")));
    }
    if let Some(seconds) = room.password_ends.filter(|seconds| *seconds < PASSWORD_NOTE) {
        let seen = format!("the password of the role {} ends in {}", room.role, age(seconds));
        checks.push(Check::note("password", seen, "ALTER ROLE … VALID UNTIL …, before the nights fail"));
    }
    Ok(checks)
}

pub async fn locks(connection: &mut PgConnection) -> Result<Vec<Check>> {
    let held: Vec<(i64, Option<String>)> = sqlx::query_as(
        "SELECT (l.classid::int8 << 32) | l.objid::int8, a.application_name
         FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.mode = 'ExclusiveLock'
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .persistent(false)
    .fetch_all(connection)
    .await
    .judged(Task::Read, || "looking for locks".to_owned())?;
    let by = |name: &Option<String>| name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "another session".to_owned());
    let checks = held.iter().filter_map(|(lock, name)| match *lock {
        PAUSE_LOCK => Some(Check::note(
            "locks",
            format!("the validator's pause lock is held by {}", by(name)),
            "its maintenance is under way: what writes is refused until it is over",
        )),
        JOBS_LOCK => Some(Check::note(
            "locks",
            format!("a job that writes is at work ({})", by(name)),
            "a second one is refused until it ends",
        )),
        _ => None,
    });
    let checks: Vec<Check> = checks.collect();
    Ok(if checks.is_empty() {
        vec![Check::ok("locks", "nobody holds the validator's pause lock, and no job writes")]
    } else {
        checks
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkup::Standing;

    fn server(number: i32, standby: bool) -> Server {
        let version = (number / 10_000).to_string();
        Server {
            number,
            version,
            encoding: "UTF8".to_owned(),
            standby,
            lag: Some(3.0),
            clock: 0.0,
            read_only: false,
            fsync: true,
        }
    }

    #[test]
    fn old_and_unknown_servers_are_told() {
        let standing = |number| version(&server(number, false)).standing;
        assert_eq!(
            [130_011, 140_000, 180_001, 200_000].map(standing),
            [Standing::Fault, Standing::Ok, Standing::Ok, Standing::Note]
        );
    }

    #[test]
    fn a_standby_serves_readers_alone() {
        let asked = |corrects| Asked { corrects, connections: 3, keeps_updated_at: true };
        assert_eq!(standby(&server(160_000, true), asked(false)).standing, Standing::Note);
        assert_eq!(standby(&server(160_000, true), asked(true)).standing, Standing::Fault);
        assert_eq!(standby(&server(160_000, false), asked(true)).standing, Standing::Ok);
        let late = Server { lag: Some(7_300.0), ..server(160_000, true) };
        assert!(standby(&late, asked(false)).seen.contains("2 hours behind"));
    }

    #[test]
    fn clocks_may_differ_by_seconds() {
        let standing = |skew| clock(skew).standing;
        assert_eq!([0.4, -3.0, 20.0, -3_600.0].map(standing), [Standing::Ok, Standing::Ok, Standing::Note, Standing::Fault]);
        assert!(clock(-3_600.0).seen.contains("60 minutes apart"));
    }
}
