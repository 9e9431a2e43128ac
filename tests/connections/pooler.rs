//! Behind pgbouncer: a pool of sessions works as it comes out of the box, a pool of transactions is refused before anything is set.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cluster::PASSWORD;
use crate::support::{Database, conformance, database, recount};

/// pgbouncer before a database, with the settings of its own defaults but for the mode, and that it puts no setting back.
pub struct Pooler {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn pooler(database: &Database<'_>, mode: &str) -> Pooler {
    let folder = tempfile::Builder::new().prefix("recount-pool-").tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let users = folder.path().join("users");
    std::fs::write(&users, format!("\"validator\" \"{PASSWORD}\"\n")).unwrap();
    let settings = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={} user=validator password={PASSWORD}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n\
         unix_socket_dir=\nauth_type=scram-sha-256\nauth_file={}\npool_mode={mode}\nserver_reset_query=DEALLOCATE ALL\n",
        database.cluster().port(),
        users.display()
    );
    std::fs::write(&settings, text).unwrap();
    let run = "chmod -R a+rX \"$1\"; if [ \"$(id -u)\" = 0 ]; then exec setpriv --reuid=postgres --regid=postgres --init-groups \"$0\" -q \"$2\"; \
               else exec \"$0\" -q \"$2\"; fi";
    let program = if Path::new("/usr/sbin/pgbouncer").exists() { "/usr/sbin/pgbouncer" } else { "pgbouncer" };
    let mut command = Command::new("sh");
    command
        .args(["-c", run, program])
        .args([folder.path(), &settings])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = command.spawn().expect("pgbouncer (package `pgbouncer`) starts");
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < Duration::from_secs(20), "pgbouncer does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Pooler { process, port, _folder: folder }
}

pub fn through(pooler: &Pooler, database: &Database<'_>) -> String {
    format!("postgres://validator:{PASSWORD}@127.0.0.1:{}/{}", pooler.port, database.name())
}

fn psql(url: &str, sql: &str) -> String {
    let told = Command::new("psql").args(["-X", url, "-Atc", sql]).output().expect("psql runs");
    String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr)
}

#[test]
fn a_pool_of_sessions_serves_every_command() {
    let database = database();
    let pooler = pooler(&database, "session");
    let url = through(&pooler, &database);
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "3", "--miners", "4", "--seed", "1", "--drift", "5", "--database-url", &url]).run().succeeds();
    recount(["reconcile", "-q", &url]).run().ends_with(1);
    recount(["reconcile", "-q", &url, "--apply", "--max-fraction", "1"]).run();
    recount(["jobs", "--database-url", &url]).run().succeeds();
    for command in [
        &["migrate", "--track-changes"][..],
        &["phase3", "apply"],
        &["phase3", "refresh"],
        &["phase2", "watch"],
        &["phase2", "check", "--writers-moved"],
        &["phase2", "plan"],
        &["steps", "due"],
        &["migrate", "status"],
    ] {
        recount(command.iter().chain(&["--database-url", &url])).run();
    }
    // What a session of the pool has, the next client gets: nothing may be left in it.
    let set = psql(&url, "SELECT string_agg(name, ' ') FROM pg_settings WHERE source = 'session' AND name <> 'application_name'");
    assert_eq!(set, "\n", "what is set in the pooled session");
    let left = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname = current_database()";
    assert_eq!(database.rows(left), [[Some("0".to_owned())]]);
}

#[test]
fn a_pool_of_transactions_is_refused_before_anything_is_set() {
    let database = database();
    conformance::create_tables(&database);
    let pooler = pooler(&database, "transaction");
    let url = through(&pooler, &database);
    for command in [
        &["jobs", "--database-url", &url][..],
        &["reconcile", &url],
        &["migrate", "--standalone", "--database-url", &url],
        &["migrate", "status", "--database-url", &url],
        &["steps", "due", "--database-url", &url],
        &["phase2", "check", "--database-url", &url],
    ] {
        let run = recount(command).run().ends_with(2);
        run.stderr_has("pool_mode=transaction").stderr_has("connect to the server itself");
    }
    // The pooled session is as it was: it writes, and has no lock.
    let pid = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname = current_database()";
    assert_eq!(database.rows(pid), [[Some("0".to_owned())]]);
    let told = psql(&url, "SHOW default_transaction_read_only; CREATE TABLE pooled (x int)");
    assert!(told.starts_with("off\n"), "{told}");
    assert_eq!(database.rows("SELECT to_regclass('pooled')::text"), [[Some("pooled".to_owned())]]);
}
