//! A program between recount and its server lets the login and the catalogue pass, and then sends rows that never end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::corrections::drifted;
use crate::support::{Database, Run, database, recount};

/// What recount may hold at its peak.
const MEGABYTES_MAX: u64 = 500;
/// What is sent if nobody stops it.
const SENT_BYTES_MAX: u64 = 8 << 30;

/// Writes to the client until that has gone.
type Flood = fn(&mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()>;

/// Passes everything on, until the client asks for rows by a statement with these words; its answer is the flood. Gives the port.
fn between(server: u16, words: &'static str, flood: Flood) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let flooded = Arc::new(AtomicBool::new(false));
            let is_flooded = flooded.clone();
            thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                while let Ok(length @ 1..) = from_server.read(&mut buffer) {
                    if is_flooded.load(Ordering::SeqCst) || to_client.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
            thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    let asked = &buffer[..length];
                    if !asked.windows(words.len()).any(|part| part == words.as_bytes()) {
                        (&server).write_all(asked).unwrap();
                        continue;
                    }
                    flooded.store(true, Ordering::SeqCst);
                    let mut left = SENT_BYTES_MAX;
                    let mut send = |bytes: &[u8]| {
                        left = left.checked_sub(bytes.len() as u64).ok_or(std::io::ErrorKind::QuotaExceeded)?;
                        client.write_all(bytes)
                    };
                    let begun = send(&message(b'H', &[1, 0, 0])).and_then(|()| send(&message(b'd', &HEADER)));
                    let stopped = begun.and_then(|()| flood(&mut send)).unwrap_err();
                    assert_ne!(stopped.kind(), std::io::ErrorKind::QuotaExceeded, "all of it was taken");
                    break;
                }
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

/// The beginning of COPY's binary format.
const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn flooded(db: &Database, words: &'static str, flood: Flood) -> Run {
    let server = db.cluster().port();
    let url = db.url().replace(&format!(":{server}/"), &format!(":{}/", between(server, words, flood)));
    let (run, peak) = recount(["reconcile", "-q", &url]).run_measured();

    assert!(peak < MEGABYTES_MAX, "{peak} MB\n{run}");
    run.ends_with(2).never_says("panicked")
}

const SCORES: &str = "FROM weather_miner_scores WHERE run_id";
const RUNS: &str = "FROM weather_forecast_runs) TO STDOUT";

#[test]
fn rows_that_never_end_are_an_error_before_they_take_the_memory() {
    let db = database();
    drifted(&db, 2, 3, 0);

    // A field of a group that says it has 2 GB.
    flooded(&db, SCORES, |send| {
        send(&message(b'd', &[&[0, 10][..], &0x7fff_0000u32.to_be_bytes()].concat()))?;
        loop {
            send(&message(b'd', &[0; 1 << 16]))?;
        }
    })
    .stderr_has("reading weather_miner_scores of run")
    .stderr_has("2147418112 bytes, expected at most");

    // One whose every field may be as long as it says, in small messages.
    flooded(&db, SCORES, |send| {
        send(&message(b'd', &[&[0, 10][..], &(90u32 << 20).to_be_bytes()].concat()))?;
        loop {
            send(&message(b'd', &[0; 1 << 16]))?;
        }
    })
    .stderr_has("row 1 has reached 32 MB, and does not end");

    // The same in messages that are as long as any may be.
    flooded(&db, SCORES, |send| {
        loop {
            let body: u32 = 95 << 20;
            send(&[&b"d"[..], &(body + 4).to_be_bytes(), &[0, 10], &(body + 9).to_be_bytes(), &[0; 58]].concat())?;
            let rest = vec![0; (body - 64) as usize];
            rest.chunks(1 << 20).try_for_each(&mut *send)?;
        }
    })
    .stderr_has("row 1 has reached 32 MB, and does not end");

    // A message that says it has half a gigabyte.
    flooded(&db, SCORES, |send| {
        send(&[&b"d"[..], &(511u32 << 20).to_be_bytes()].concat())?;
        loop {
            send(&[0; 1 << 16])?;
        }
    })
    .stderr_has("this is no PostgreSQL server");

    // Rows that are as they must be, more than any database has of this table.
    flooded(&db, RUNS, |send| {
        let number = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let fields = [number(&7u32.to_be_bytes()), number(&[0; 8]), number(&[0; 8])];
        let row = message(b'd', &[&[0, 3][..], &fields.concat()].concat());
        let many: Vec<u8> = std::iter::repeat_n(row, 4096).flatten().collect();
        loop {
            send(&many)?;
        }
    })
    .stderr_has("reading weather_forecast_runs: the server has sent more than 128 MB and does not end");
}
