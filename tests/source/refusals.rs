//! What cannot be read is refused with one clear message, which never has a password in it.

use std::io::copy;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use recount::internals::model::evidence::units;
use recount::internals::source::folder::SnapshotWriter;
use recount::{Error, ErrorKind};

use super::{one_run, open, open_with, refusal};
use crate::support::{Cluster, Database, conformance, database, recount};

/// The message and the hint; neither has a line break, and no part of them the password.
#[track_caller]
fn said(error: &Error, kind: ErrorKind) -> String {
    assert_eq!(error.kind(), kind, "{error}");
    let said = format!("{error}\n{}", error.hint_text().expect("a hint"));
    assert!(!said.contains(crate::support::cluster::PASSWORD), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    said
}

fn port_of(database: &Database<'_>) -> String {
    format!(":{}/", database.cluster().port())
}

#[test]
fn servers_that_cannot_be_reached() {
    let database = database();
    let port = port_of(&database);
    let plain = |said: String| said.replace(&port, ":PORT/").replace(database.name(), "NAME");
    let wrong_password = refusal(&database.url().replace("Kept-Secret-7", "Kept-Secret-8"));
    insta::assert_snapshot!(plain(said(&wrong_password, ErrorKind::Database)), @r#"
    connecting to postgres://validator@127.0.0.1:PORT/NAME (snapshot): password authentication failed for user "validator"
    check user and password in the URL (or PGPASSWORD, or ~/.pgpass)
    "#);
    let no_database = refusal(&database.url().replace(database.name(), "nowhere"));
    insta::assert_snapshot!(plain(said(&no_database, ErrorKind::Database)), @r#"
    connecting to postgres://validator@127.0.0.1:PORT/nowhere (snapshot): database "nowhere" does not exist
    check the name of the database in the URL
    "#);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = refusal(&database.url().replace(&port, &format!(":{free}/")));
    let nobody = plain(said(&nobody, ErrorKind::Database)).replace(&free.to_string(), "FREE");
    insta::assert_snapshot!(nobody, @r"
    connecting to postgres://validator@127.0.0.1:FREE/NAME (snapshot): Connection refused (os error 111)
    is the server up, and are host and port right?
    ");
}

#[test]
fn a_schema_that_does_not_fit_is_told_in_one_message() {
    let database = database();
    one_run(&database);
    database.execute(
        "DROP TABLE weather_forecast_component_scores;
         ALTER TABLE weather_miner_scores DROP score, DROP variable_level, ALTER calculation_time TYPE timestamp;
         ALTER TABLE weather_miner_responses ALTER verification_passed TYPE int USING 1;
         ALTER TABLE weather_forecast_stats ALTER era5_score_24h TYPE real;
         ALTER TABLE miner_stats ALTER common_errors TYPE text",
    );
    insta::assert_snapshot!(said(&refusal(&database.url()), ErrorKind::Contract), @r"
    checking the database's schema: it does not fit what recount reads: weather_miner_responses.verification_passed: expected boolean, found integer; weather_miner_scores.calculation_time: expected timestamp with time zone, found timestamp without time zone; weather_miner_scores.score: expected double precision, found no such column; weather_miner_scores.variable_level: expected text or character varying, found no such column; weather_forecast_component_scores: there is no such table; weather_forecast_stats.era5_score_24h: expected double precision, found real; miner_stats.common_errors: expected jsonb or json, found text
    is this a validator's database, with all its tables in one schema?
    ");
}

/// A role of its own, with `SELECT` on these columns.
fn role(database: &Database<'_>, grants: &str) -> String {
    let role = format!("role_{}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'Kept-Secret-7'; {}", grants.replace("ROLE", &role)));
    database.url().replace("//validator:", &format!("//{role}:"))
}

fn drop_role(database: &Database<'_>) {
    let role = format!("role_{}", database.name());
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn tables_that_may_not_be_read_are_named() {
    let database = database();
    one_run(&database);
    let url = role(
        &database,
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ROLE; REVOKE SELECT ON weather_miner_scores, miner_stats FROM ROLE;
         REVOKE SELECT ON node_table FROM ROLE; GRANT SELECT (uid, hotkey) ON node_table TO ROLE",
    );
    insta::assert_snapshot!(said(&refusal(&url), ErrorKind::Database), @r"
    checking permissions: permission denied to read weather_miner_scores
    GRANT SELECT ON weather_miner_scores TO the role in the URL
    ");
    // What is not compared is told; evidence must all be read.
    database.execute(&format!("GRANT SELECT ON weather_miner_scores TO role_{}", database.name()));
    let told = recount(["reconcile", &url]).run();
    told.stdout_has("note: miner_stats may not be read, and is not compared: GRANT SELECT ON miner_stats TO the role in the URL");
    database.execute(&format!("REVOKE SELECT ON weather_forecast_steps FROM role_{}", database.name()));
    assert!(said(&refusal(&url), ErrorKind::Database).contains("permission denied to read weather_forecast_steps"));
    database.execute(&format!("GRANT SELECT ON weather_forecast_steps, miner_stats TO role_{}", database.name()));
    drop(open_with(&url, 1));
    drop_role(&database);
}

#[test]
fn rows_hidden_by_a_policy_are_an_error() {
    let database = database();
    one_run(&database);
    let url = role(
        &database,
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ROLE; ALTER TABLE node_table ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON node_table USING (uid < 3)",
    );
    let error = refusal(&url);
    assert!(said(&error, ErrorKind::Database).contains("row-level security policy for table \"node_table\""), "{error}");
    assert!(error.hint_text().unwrap().contains("BYPASSRLS"), "{error:?}");
    drop_role(&database);
}

#[test]
fn rows_of_runs_that_do_not_exist_are_counted_and_refused() {
    let database = database();
    one_run(&database);
    database.execute(
        "ALTER TABLE weather_miner_scores DROP CONSTRAINT weather_miner_scores_run_id_fkey, ALTER run_id DROP NOT NULL;
         INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time)
         VALUES (1, 1, 5, 'hk', 'x', now()), (1, 99, 5, 'hk', 'x', now()), (1, NULL, 5, 'hk', 'x', now())",
    );
    insta::assert_snapshot!(said(&refusal(&database.url()), ErrorKind::Data), @r"
    checking that every row of weather_miner_scores belongs to a run: 2 rows refer to runs that do not exist
    weather_miner_scores has no valid foreign key on run_id; restore the runs, or delete these rows
    ");
    database.execute("DELETE FROM weather_miner_scores WHERE run_id IS DISTINCT FROM 1");
    open(&database);
}

#[test]
fn null_where_none_may_be() {
    let database = database();
    one_run(&database);
    database.execute(
        "ALTER TABLE weather_miner_responses ALTER status DROP NOT NULL; UPDATE weather_miner_responses SET status = NULL",
    );
    let source = open(&database);
    let error = source.read(&units(&source.snapshot().runs)[0]).unwrap_err();
    insta::assert_snapshot!(error, @"reading weather_miner_responses of run 1: row 1, column status: found NULL, expected text in UTF-8, never NULL");
}

#[test]
fn a_server_that_dies_in_mid_export_leaves_nothing_behind() {
    let cluster = Cluster::start();
    let database = Database::create(&cluster);
    one_run(&database);
    database.execute(
        "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score)
         SELECT 1, 1, 5, 'hk', 'x', now(), i FROM generate_series(1, 200000) i",
    );
    let source = open_with(&database.url(), 2);
    let unit = &units(&source.snapshot().runs)[0];
    let parent = tempfile::tempdir().unwrap();
    let mut writer = SnapshotWriter::create(&parent.path().join("night"), source.snapshot()).unwrap();
    let errors: Vec<Error> = thread::scope(|scope| {
        // Reading goes on in two threads until the server is gone, so that it dies under a stream of rows.
        let read = || loop {
            if let Err(error) = source.read(unit) {
                return error;
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        thread::sleep(Duration::from_millis(500));
        cluster.stop("immediate");
        readers.map(|reader| reader.join().unwrap()).into()
    });
    for error in &errors {
        let said = said(error, ErrorKind::Database);
        assert!(said.starts_with("reading weather_"), "{said}");
        assert!(said.ends_with("simply run it again once it is back"), "{said}");
    }
    // A later connection is told at once.
    assert!(source.read(unit).is_err());
    writer.append(&recount::internals::model::evidence::UnitEvidence { runs: Vec::new(), stored: Vec::new() }).unwrap_err();
    drop(writer);
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

/// Passes each connection on to the next of these ports, as a load balancer would.
fn balancer(ports: Vec<u16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (client, port) in listener.incoming().zip(ports) {
            let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (mut from_server, mut to_client) = (server, client);
            thread::spawn(move || copy(&mut from_client, &mut to_server));
            thread::spawn(move || copy(&mut from_server, &mut to_client));
        }
    });
    own
}

#[test]
fn a_reader_that_cannot_pin_the_snapshot_stops_the_job() {
    let (database, other) = (database(), Cluster::start());
    one_run(&database);
    let ports = vec![database.cluster().port(), database.cluster().port(), other.port()];
    let port = balancer(ports);
    let url = other.url("postgres").replace(&format!(":{}/postgres", other.port()), &format!(":{port}/{}", database.name()));
    let twin = Database::create(&other);
    let rename = format!("ALTER DATABASE {} RENAME TO {}", twin.name(), database.name());
    let admin = other.socket_url("postgres");
    crate::support::block_on(async move {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(&admin).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(rename)).execute(&mut connection).await.unwrap();
    });
    let said = said(&refusal(&url), ErrorKind::Database);
    // Readers connect side by side: either may be the one that is led astray.
    let of = |reader: u8| format!("pinning the snapshot on reader {reader}: ");
    assert!(said.starts_with(&of(1)) || said.starts_with(&of(2)), "{said}");
    assert!(said.contains("with a connection pooler or a load balancer in between"), "{said}");
}

#[test]
fn conformance_folders_are_no_snapshots() {
    let folder = conformance::folder("small");
    let said = said(&refusal(folder.to_str().unwrap()), ErrorKind::Snapshot);
    assert!(said.contains("there is no manifest.json in it"), "{said}");
}
