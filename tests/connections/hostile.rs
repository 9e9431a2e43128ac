//! Servers that say nothing, nonsense, or ask for what must not be given.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Run, recount};

/// A server that does this with each client; gives its port.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = std::sync::Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming() {
            let serve = serve.clone();
            thread::spawn(move || serve(client.unwrap()));
        }
    });
    port
}

/// Reads a message without a type, as sessions begin with.
fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut body).ok()?;
    Some(body)
}

/// The startup packet, whatever was asked for before it.
fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
    loop {
        let body = request(client)?;
        if body.len() > 4 {
            return Some(body);
        }
        client.write_all(b"N").ok()?;
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// A session that is ready, of the process 7.
fn ready(client: &mut TcpStream) {
    let greeting = [
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0016.0\0"),
        message(b'K', &[0, 0, 0, 7, 0, 0, 0, 7]),
        message(b'Z', b"I"),
    ];
    let _ = client.write_all(&greeting.concat());
}

/// The answer to the first statement: which process it is.
fn backend(client: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let _ = client.read(&mut buffer);
    let column =
        [&b"\0\x01pid\0"[..], &[0; 6], &23u32.to_be_bytes(), &4u16.to_be_bytes(), &(-1i32).to_be_bytes(), &[0, 0]].concat();
    let answer = [message(b'T', &column), message(b'D', b"\0\x01\0\0\0\x017"), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")];
    let _ = client.write_all(&answer.concat());
}

fn asks(port: u16, parameters: &str) -> Run {
    recount(["reconcile", "-q", &format!("postgres://ann:Kept-Secret-7@127.0.0.1:{port}/v?{parameters}")]).run()
}

#[test]
fn a_server_that_says_nothing_is_given_up_by_every_command() {
    let port = server(|mut client| {
        let _ = client.read(&mut [0; 1]);
        thread::sleep(Duration::from_secs(60));
    });
    let url = format!("postgres://ann@127.0.0.1:{port}/v?connect_timeout=2");
    let commands: [&[&str]; 6] = [
        &["reconcile", &url],
        &["jobs", "--database-url", &url],
        &["migrate", "status", "--database-url", &url],
        &["steps", "due", "--database-url", &url],
        &["phase2", "check", "--database-url", &url],
        &["phase3", "apply", "--database-url", &url],
    ];
    thread::scope(|scope| {
        for command in commands {
            scope.spawn(move || recount(command).run().ends_with(2).stderr_has("no answer within 2 s"));
        }
    });
}

#[test]
fn a_stream_that_stops_is_given_up_and_one_signal_ends_the_wait() {
    // The first statement is answered; the next one never.
    let port = server(|mut client| {
        if startup(&mut client).is_some() {
            ready(&mut client);
            backend(&mut client);
            thread::sleep(Duration::from_secs(60));
        }
    });
    let url = format!("postgres://ann@127.0.0.1:{port}/v");
    for command in
        [&["reconcile", url.as_str()][..], &["migrate", "status", "--database-url", &url], &["jobs", "--database-url", &url]]
    {
        let mut command = recount(command);
        let since = Instant::now();
        let mut child = command.command().stderr(std::process::Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(700));
        super::interrupts::signal(&child, libc::SIGTERM);
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
        assert!(since.elapsed() < Duration::from_secs(40), "{told}");
    }
}

#[test]
fn nonsense_is_an_error_and_nothing_worse() {
    let bad_lengths = [0u32, 3, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    for (kind, length) in b"RSDZ".iter().flat_map(|kind| bad_lengths.map(|length| (*kind, length))) {
        // Before the session is ready, and as the answer to a statement.
        for late in [false, true] {
            let port = server(move |mut client| {
                if startup(&mut client).is_none() {
                    return;
                }
                if late {
                    ready(&mut client);
                    let _ = client.read(&mut [0; 4096]);
                }
                let _ = client.write_all(&[&[kind][..], &length.to_be_bytes(), &[0; 64]].concat());
                thread::sleep(Duration::from_secs(20));
            });
            let run = asks(port, "").ends_with(2);
            assert!(run.stderr.starts_with("error: ") && !run.stderr.contains("panicked"), "{kind} {length} {late}: {run}");
        }
    }
}

#[test]
fn a_row_with_lengths_that_lie_is_an_error() {
    // Fields that go beyond their message, and rows with fewer fields than were announced.
    for row in [&b"\0\x01\0\0\0\x20short"[..], b"\0\0", b"\0\x01", b"\xff\xff\0\0\0\0"] {
        let port = server(move |mut client| {
            if startup(&mut client).is_none() {
                return;
            }
            ready(&mut client);
            let _ = client.read(&mut [0; 4096]);
            let column =
                [&b"\0\x01pid\0"[..], &[0; 6], &23u32.to_be_bytes(), &4u16.to_be_bytes(), &(-1i32).to_be_bytes(), &[0, 0]]
                    .concat();
            let answer = [message(b'T', &column), message(b'D', row), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")];
            let _ = client.write_all(&answer.concat());
            thread::sleep(Duration::from_secs(20));
        });
        let run = asks(port, "").ends_with(2);
        assert!(run.stderr.starts_with("error: ") && !run.stderr.contains("panicked"), "{row:?}: {run}");
    }
}

/// What a server that asks for a password by this method gets of it.
fn gets(request: &'static [u8], host: &str, flags: &[&str]) -> (Run, Vec<u8>) {
    let (send, got) = std::sync::mpsc::channel();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            if startup(&mut client).is_none() {
                continue;
            }
            let _ = client.write_all(&message(b'R', request));
            let mut buffer = [0; 256];
            let length = client.read(&mut buffer).unwrap_or(0);
            let _ = send.send(buffer[..length].to_vec());
        }
    });
    let url = format!("postgres://ann:Kept-Secret-7@{host}:{port}/v");
    let run = recount(["reconcile", "-q", &url].iter().chain(flags)).run().ends_with(2);
    (run, got.try_iter().flatten().collect())
}

#[test]
fn a_password_is_not_shown_to_who_may_listen() {
    // An address of this machine that is not the loopback; a machine without a network has none.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let own = probe.map(|address| address.ip().to_string()).ok().filter(|own| !own.starts_with("127.") && own != "0.0.0.0");
    let clear: &[u8] = &[0, 0, 0, 3];
    let md5: &[u8] = &[0, 0, 0, 5, 1, 2, 3, 4];
    if let Some(own) = own {
        for (request, what) in [(clear, "in clear text"), (md5, "as an MD5 hash")] {
            let (run, got) = gets(request, &own, &[]);
            run.stderr_has(what).stderr_has("it was not sent").stderr_has("sslmode=verify-full");
            assert!(got.is_empty(), "{got:?}");
            let (_, got) = gets(request, &own, &["--allow-cleartext-password"]);
            assert_eq!(got.first(), Some(&b'p'));
        }
    }
    // Over the loopback nobody listens.
    let (_, got) = gets(clear, "127.0.0.1", &[]);
    assert_eq!(got, message(b'p', b"Kept-Secret-7\0"));
}

#[test]
fn the_startup_packet_has_nothing_that_a_pooler_refuses() {
    let (send, got) = std::sync::mpsc::channel();
    let port = server(move |mut client| {
        let _ = startup(&mut client).map(|body| send.send(body));
    });
    asks(port, "").ends_with(2);
    let packet = String::from_utf8(got.recv().unwrap()[4..].to_vec()).unwrap();
    let words: Vec<&str> = packet.trim_end_matches('\0').split('\0').collect();
    let names: Vec<&str> = words.iter().step_by(2).copied().collect();
    // pgbouncer takes these without ignore_startup_parameters.
    assert_eq!(names, ["user", "database", "application_name", "client_encoding", "DateStyle", "TimeZone"]);
}
