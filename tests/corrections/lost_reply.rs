//! The connection is lost while COMMIT is under way: the job finds out what happened, and says so.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{at, diff, drifted, dump, dump_values, jobs, on};
use crate::support::{Database, database};

/// What becomes of the first COMMIT.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// It reaches the server, its answer is lost.
    Answered,
    /// It is lost itself.
    Lost,
}

/// COMMIT as a message of the simple protocol.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Passes everything on, until the first COMMIT; gives its port.
fn proxy(server: u16, fate: Fate) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let cut = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
            let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let (mine, deaf) = (cut.clone(), Arc::new(AtomicBool::new(false)));
            let quiet = deaf.clone();
            thread::spawn(move || pass_on(from_server, to_client, |_| !quiet.load(Ordering::SeqCst)));
            thread::spawn(move || {
                let outer = client.try_clone().unwrap();
                pass_on(client, server.try_clone().unwrap(), |bytes| {
                    let commits = bytes.windows(COMMIT.len()).any(|part| part == COMMIT);
                    if !commits || mine.swap(true, Ordering::SeqCst) {
                        return true;
                    }
                    deaf.store(true, Ordering::SeqCst);
                    if fate == Fate::Answered {
                        (&server).write_all(bytes).unwrap();
                    }
                    let _ = outer.shutdown(Shutdown::Both);
                    false
                });
                let _ = server.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, mut may_pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !may_pass(&buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn through_proxy(db: &Database, fate: Fate, args: &[&str]) -> crate::support::command::Run {
    let server = db.cluster().port();
    let url = db.url().replace(&format!(":{server}/"), &format!(":{}/", proxy(server, fate)));
    at(&url, args).run()
}

#[test]
fn a_commit_whose_answer_is_lost_is_told_as_it_was() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    drifted(&db, 4, 8, 20);
    let out = folder.path().join("diff");
    diff(&db, &out);
    let before = dump(&db);
    let apply = ["apply", out.to_str().unwrap(), "--prune-extra", "--max-fraction", "1"];

    through_proxy(&db, Fate::Lost, &apply).ends_with(2).stderr_has("it did not go through").stderr_has("nothing was written");
    assert_eq!((dump(&db), jobs(&db)), (before, "0".to_owned()));

    through_proxy(&db, Fate::Answered, &apply).succeeds().stdout_has("it went through");
    let after = dump_values(&db);
    assert_eq!(jobs(&db), "1");

    // Once more, by the same diff: that was done already; and a fresh look finds nothing.
    on(&db, &apply[..3]).succeeds().stdout_has("has done this already");
    assert_eq!(dump_values(&db), after);
    on(&db, &["reconcile", "--apply"]).succeeds().stdout_has("Nothing to correct");
}
