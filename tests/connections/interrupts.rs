//! What an interrupt leaves behind, and what is said of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Database, conformance, database, recount};

/// Sends a signal to a process of ours.
#[allow(unsafe_code)]
pub fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: kill has no effect on memory.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Where the tests run under `nohup`, their children would ignore the end of the terminal too.
#[allow(unsafe_code)]
fn hears_hangups(command: &mut Command) {
    // SAFETY: signal may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
}

/// Waits until somebody waits for a lock in the database.
pub fn someone_waits(database: &Database<'_>) {
    let waiting = "SELECT count(*)::text FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT granted AND datname = current_database()";
    let since = Instant::now();
    while database.rows(waiting)[0][0].as_deref() == Some("0") {
        assert!(since.elapsed() < Duration::from_secs(30), "nobody waits");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Each signal that asks to stop ends a job that waits for a lock, at once and not when its time is over.
#[test]
fn a_job_that_waits_is_interrupted_in_the_server() {
    for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let database = database();
        conformance::create_tables(&database);
        let mut holder = crate::support::block_on(database.connect());
        crate::support::block_on(async {
            let locked = sqlx::raw_sql("BEGIN; LOCK TABLE weather_miner_scores IN ACCESS EXCLUSIVE MODE");
            locked.execute(&mut holder).await.unwrap();
        });
        let mut command = recount(["reconcile", &database.url()]);
        hears_hangups(command.command());
        let mut child = command.command().stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        someone_waits(&database);
        signal(&child, number);
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
        assert!(told.contains("interrupted"), "{told}");
        drop(holder);
    }
}

/// Passes everything on, and holds the answer to the COMMIT that ends the change back until the child has had its signal; gives its port.
/// Other transactions of the command end with a COMMIT too: what they have read is no change, and an interrupt after them ends it.
fn slow_commit(server: u16, seen: std::sync::mpsc::Sender<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let held = Arc::new(AtomicBool::new(false));
            let (holds, seen) = (held.clone(), seen.clone());
            thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                let mut changed = false;
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    let sends = |text: &[u8]| buffer[..length].windows(text.len()).any(|part| part == text);
                    changed |= sends(b"SET finished_at");
                    if changed && sends(b"COMMIT\0") {
                        holds.store(true, Ordering::SeqCst);
                    }
                    if server.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(std::net::Shutdown::Write);
            });
            thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                while let Ok(length @ 1..) = from_server.read(&mut buffer) {
                    if held.swap(false, Ordering::SeqCst) {
                        let _ = seen.send(());
                        thread::sleep(Duration::from_secs(1));
                    }
                    if to_client.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// A migration whose COMMIT the server has done is reported as done, however soon the signal comes.
#[test]
fn what_is_committed_is_told_as_done() {
    let database = database();
    recount(["migrate", "--standalone", "--database-url", &database.url()]).run().succeeds();
    recount(["phase2", "check", "--writers-moved", "--database-url", &database.url()]).run().succeeds();
    recount(["phase2", "apply", "--database-url", &database.url()]).run().succeeds();
    let (send, seen) = std::sync::mpsc::channel();
    let port = slow_commit(database.cluster().port(), send);
    let url = database.url().replace(&format!(":{}/", database.cluster().port()), &format!(":{port}/"));
    let mut command = recount(["phase2", "finish", "--yes", "--min-age", "0m", "--database-url", &url]);
    let mut child = command.command().stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    seen.recv_timeout(Duration::from_secs(60)).expect("a COMMIT");
    signal(&child, libc::SIGTERM);
    let mut told = String::new();
    child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}");
    recount(["migrate", "status", "--database-url", &database.url()]).run().succeeds().stdout_has("finished");
}

/// Nobody reads what is written to stderr: a full disk, a closed pipe.
#[test]
fn an_unwritable_stderr_stops_nothing() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let database = database();
    recount(["migrate", "--standalone", "--database-url", &database.url()]).run().succeeds();
    recount(["generate", "--runs", "3", "--miners", "6", "--seed", "1", "--drift", "5", "--database-url", &database.url()])
        .run()
        .succeeds();
    let status = |args: &[&str]| {
        let mut command = recount(args);
        command.command().stdout(Stdio::null()).stderr(full()).status().unwrap().code()
    };
    assert_eq!(status(&["reconcile", "nowhere"]), Some(2));
    assert_eq!(status(&["reconcile", &database.url(), "-v"]), Some(1));
    assert_eq!(status(&["reconcile", &database.url(), "--apply", "-vv", "--max-fraction", "1"]), Some(0));
    assert_eq!(database.rows("SELECT count(*)::text FROM recount.rollup_jobs"), [[Some("1".to_owned())]]);
}

/// A report that cannot be printed is an error; that its job was committed is part of it.
#[test]
fn a_job_whose_report_is_lost_is_named() {
    let database = database();
    recount(["migrate", "--standalone", "--database-url", &database.url()]).run().succeeds();
    recount(["generate", "--runs", "3", "--miners", "6", "--seed", "1", "--drift", "5", "--database-url", &database.url()])
        .run()
        .succeeds();
    let mut command = recount(["reconcile", &database.url(), "--apply", "--max-fraction", "1"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = command.command().stdout(full).output().unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    let job = database.rows("SELECT id::text FROM recount.rollup_jobs")[0][0].clone().unwrap();
    assert_eq!(done.status.code(), Some(2), "{told}");
    assert!(told.contains(&format!("job {job} is committed")), "{told}");
}
