//! An archive in a bucket: a real server that speaks S3, behind a proxy that fails and dawdles.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::command::Recount;
use crate::support::{python, recount};

use super::sample;

/// moto's server, for one test.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    pub fn start() -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(python::program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server { child: command.spawn().expect("moto_server starts"), port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "moto_server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server.ask("PUT /bucket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        server
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the proxy does to puts.
#[derive(Default)]
pub struct Faults {
    /// One put in this many is answered with 503 and thrown away; 0: none.
    fail_every: AtomicUsize,
    /// One put in this many is done, but late.
    slow_every: AtomicUsize,
    /// This put and all after it fail; 0: none.
    dead_from: AtomicUsize,
    /// This put is done, and its answer is lost on the way; 0: none.
    lost_at: AtomicUsize,
    puts: AtomicUsize,
    failed: AtomicUsize,
    /// What was asked for besides puts.
    pub reads: Mutex<Vec<String>>,
}

/// Passes requests on, one connection each.
pub fn proxy(to: u16, faults: Arc<Faults>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let faults = faults.clone();
            std::thread::spawn(move || drop(pass_on(client, to, &faults)));
        }
    });
    port
}

fn pass_on(mut client: TcpStream, to: u16, faults: &Faults) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head += &line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let fate = if head.starts_with("PUT") { fate(faults) } else { Fate::Answered };
    if !head.starts_with("PUT") {
        faults.reads.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
    }
    if fate == Fate::Refused {
        return client.write_all(BUSY);
    }
    let mut server = TcpStream::connect(("127.0.0.1", to))?;
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(if fate == Fate::Lost { BUSY } else { &answer })?;
    client.shutdown(std::net::Shutdown::Write)
}

const BUSY: &[u8] = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[derive(PartialEq)]
enum Fate {
    Answered,
    /// Done, and yet it looks as if it were not.
    Lost,
    Refused,
}

fn fate(faults: &Faults) -> Fate {
    let put = faults.puts.fetch_add(1, Ordering::Relaxed) + 1;
    let turn = |every: &AtomicUsize| match every.load(Ordering::Relaxed) {
        0 => false,
        every => put.is_multiple_of(every),
    };
    if turn(&faults.slow_every) {
        std::thread::sleep(Duration::from_millis(700));
    }
    let dead = (1..=put).contains(&faults.dead_from.load(Ordering::Relaxed));
    let refused = dead || turn(&faults.fail_every);
    faults.failed.fetch_add(usize::from(refused), Ordering::Relaxed);
    match refused {
        true => Fate::Refused,
        false if faults.lost_at.load(Ordering::Relaxed) == put => Fate::Lost,
        false => Fate::Answered,
    }
}

pub fn at(port: u16, args: &[&str]) -> Recount {
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut job = recount(args).env("AWS_ENDPOINT", endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        job = job.env(name, "testing");
    }
    job
}

pub const DEST: &str = "s3://bucket/validator/one";

#[test]
fn a_bucket_holds_an_archive_through_failing_and_slow_puts() {
    let server = Server::start();
    let faults = Arc::new(Faults::default());
    let port = proxy(server.port, faults.clone());
    faults.fail_every.store(5, Ordering::Relaxed);
    faults.slow_every.store(23, Ordering::Relaxed);
    at(port, &["archive", &sample(), "--to", DEST, "--runs", "1..5"]).run().succeeds();
    assert!(faults.failed.load(Ordering::Relaxed) > 5, "puts did fail");
    at(port, &["verify", DEST]).run().succeeds().stdout_has("of 5 runs");

    let doctor = |dest: &str| at(port, &["doctor", &sample(), "--archive", dest]).run();
    doctor(DEST).succeeds().stdout_has("has 5 runs, as of");
    doctor("s3://bucket/elsewhere").ends_with(1).stdout_has("there is no _latest.json in it");

    // A store that dies in the midst of the next archiving: a clear error, and the former archive stands.
    faults.dead_from.store(faults.puts.load(Ordering::Relaxed) + 12, Ordering::Relaxed);
    let told = at(port, &["archive", &sample(), "--to", DEST, "--era5-weight", "0.5"]).run().ends_with(2);
    assert!(told.stderr.contains(DEST) && told.stderr.contains("hint:"), "{told}");
    assert!(!told.stderr.contains("testing"), "{told}");
    faults.dead_from.store(0, Ordering::Relaxed);
    at(port, &["verify", DEST]).run().succeeds().stdout_has("of 5 runs").stdout_has("cut off");

    // The next one completes, and sweeps.
    at(port, &["archive", &sample(), "--to", DEST]).run().succeeds();
    let verified = at(port, &["verify", DEST]).run().succeeds();
    assert!(!verified.stdout.contains("cut off"), "{verified}");
    let digest = |run: crate::support::command::Run| run.json()["digest"].clone();
    let from_bucket = digest(at(port, &["reconcile", DEST, "--format", "json"]).run());
    assert_eq!(from_bucket, digest(recount(["reconcile", &sample(), "--format", "json"]).run()));
    let count = "SELECT COUNT(*) AS n FROM weather_forecast_stats";
    let asked = at(port, &["query", DEST, count, "--as", "csv"]).run().succeeds();
    assert_eq!(asked.stdout, "n\n80\n");
}

#[test]
fn an_endpoint_without_tls_is_refused_by_the_name_of_what_allows_it() {
    // Nobody is asked, so nobody need be there.
    for command in [vec!["verify", DEST], vec!["archive", "ARCHIVE", "--to", DEST]] {
        let sample = sample();
        let args: Vec<&str> = command.iter().map(|word| if *word == "ARCHIVE" { sample.as_str() } else { word }).collect();
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
        let job = keys.iter().fold(recount(args), |job, key| job.env(key, "testing"));
        let told = job.env("AWS_ENDPOINT", "http://127.0.0.1:9").run().ends_with(2);
        assert!(told.stderr.contains("AWS_ALLOW_HTTP=true"), "{told}");
    }
}

#[test]
fn a_bucket_that_marks_its_folders_holds_an_archive_all_the_same() {
    let server = Server::start();
    let mark = |key: &str| {
        server.ask(&format!("PUT /bucket/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    };
    mark("marked/");
    at(server.port, &["archive", &sample(), "--to", "s3://bucket/marked"]).run().succeeds();
    for key in ["marked/scores/", "marked/scores/init_date=2025-01-02/", "marked/scores_$folder$"] {
        mark(key);
    }
    at(server.port, &["verify", "s3://bucket/marked"]).run().succeeds().stdout_has("Intact").stdout_has("passed over");
    at(server.port, &["archive", &sample(), "--to", "s3://bucket/marked", "--era5-weight", "0.5"]).run().succeeds();
    at(server.port, &["verify", "s3://bucket/marked"]).run().succeeds().stdout_has("Intact");
}

/// From this archive of five runs to one of all ten.
fn grow(port: u16, dest: &str) -> Recount {
    at(port, &["archive", &sample(), "--to", dest])
}

fn begun(server: &Server, dest: &str) -> (Arc<Faults>, u16) {
    let faults = Arc::new(Faults::default());
    let port = proxy(server.port, faults.clone());
    at(port, &["archive", &sample(), "--to", dest, "--runs", "1..5"]).run().succeeds();
    (faults, port)
}

#[test]
fn no_manifest_names_a_missing_file_wherever_the_store_dies() {
    let server = Server::start();
    let (faults, port) = begun(&server, "s3://bucket/count");
    let before = faults.puts.load(Ordering::Relaxed);
    let grown = at(port, &["archive", &sample(), "--to", "s3://bucket/count", "--format", "json"]).run().succeeds().json();
    let puts = faults.puts.load(Ordering::Relaxed) - before;
    // The first put announces; after the files come a sheet, the manifest and what names it, then what stands beside the tables (its views
    // stay the same), and last the copies of what was replaced.
    const BESIDE: usize = 2;
    // One of them is a sheet of the manifest.
    let beside = puts - grown["files"]["removed"].as_u64().unwrap() as usize - 1;
    let named = beside - BESIDE;
    std::thread::scope(|scope| {
        for dies_at in [1, 2, named / 2, named - 2, named - 1, named, named + 1, beside, puts] {
            let server = &server;
            scope.spawn(move || {
                let dest = format!("s3://bucket/dies-at-{dies_at}");
                let (faults, port) = begun(server, &dest);
                faults.dead_from.store(faults.puts.load(Ordering::Relaxed) + dies_at, Ordering::Relaxed);
                grow(port, &dest).run().ends_with(2).stderr_has(&dest);
                faults.dead_from.store(0, Ordering::Relaxed);
                let state = match dies_at {
                    at if at <= named => "of 5 runs",
                    at if at <= beside => "of an earlier state",
                    _ => "of 10 runs",
                };
                at(port, &["verify", &dest]).run().succeeds().stdout_has(state);
                grow(port, &dest).run().succeeds();
                let verified = at(port, &["verify", &dest]).run().succeeds().stdout_has("of 10 runs");
                assert!(!verified.stdout.contains("note"), "{verified}");
            });
        }
        // The put of what names the manifest is done, and its answer never comes: tried again, it finds itself.
        scope.spawn(|| {
            let dest = "s3://bucket/lost";
            let (faults, port) = begun(&server, dest);
            faults.lost_at.store(faults.puts.load(Ordering::Relaxed) + named, Ordering::Relaxed);
            grow(port, dest).run().succeeds();
            assert!(faults.puts.load(Ordering::Relaxed) >= faults.lost_at.load(Ordering::Relaxed), "it was lost");
            at(port, &["verify", dest]).run().succeeds().stdout_has("of 10 runs");
        });
    });
}
