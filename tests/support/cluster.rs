//! A throw-away PostgreSQL server: one for the whole test process, or one of its own for a test that has to stop it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The password of the superuser over TCP: a word that no message of ours may ever contain.
pub const PASSWORD: &str = "Kept-Secret-7";

/// Another test process may take the port between our choice of it and the server's start.
const ATTEMPTS_MAX: u32 = 5;

/// A running server. Dropping it, or the end of this process in any manner, stops the server and removes its folder.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    keeper: Mutex<Keeper>,
}

/// The shell that starts and stops the server, see `cluster.sh`; it cleans up when its standard input closes.
struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Cluster {
    /// The server that all tests of this process share, started when first asked for.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Cluster::start)
    }

    /// A server of the test's own.
    pub fn start() -> Cluster {
        let mut report = String::new();
        for _ in 0..ATTEMPTS_MAX {
            match Self::attempt() {
                Ok(cluster) => return cluster,
                Err(log) => report = log,
            }
        }
        panic!("no PostgreSQL server after {ATTEMPTS_MAX} attempts; the log of the last one:\n{report}");
    }

    fn attempt() -> Result<Cluster, String> {
        let folder = tempfile::Builder::new().prefix("recount-pg-").tempdir().expect("a temporary folder").keep();
        let port = free_port();
        let cluster = Cluster { keeper: Mutex::new(Keeper::spawn(&folder, port)), folder, port };
        if cluster.order("init") && cluster.order("start") { Ok(cluster) } else { Err(cluster.log()) }
    }

    /// The URL of a database over TCP, with the superuser's password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://validator:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a database over the Unix socket, where no password is asked for.
    pub fn socket_url(&self, database: &str) -> String {
        let folder = self.folder.to_str().expect("a folder name in UTF-8").replace('/', "%2F");
        format!("postgres://validator@{folder}:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops the server: `fast` ends every session in good order, `immediate` is a crash.
    pub fn stop(&self, mode: &str) {
        assert!(self.order(&format!("stop {mode}")), "the server did not stop:\n{}", self.log());
    }

    /// Starts the server again after [`Cluster::stop`].
    pub fn start_again(&self) {
        assert!(self.order("start"), "the server did not start again:\n{}", self.log());
    }

    /// What the tools and the server wrote so far.
    pub fn log(&self) -> String {
        ["cluster.log", "server.log"]
            .map(|name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default())
            .join("-- server.log\n")
    }

    fn order(&self, order: &str) -> bool {
        self.keeper.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).order(order)
    }
}

impl Keeper {
    fn spawn(folder: &Path, port: u16) -> Keeper {
        let mut child = Command::new("sh")
            .args(["-c", include_str!("cluster.sh"), "sh"])
            .args([binaries(), folder])
            .args([&port.to_string(), PASSWORD])
            // A group of its own: an interrupt at the terminal must not take the keeper with it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Keeper { child, orders, answers }
    }

    fn order(&mut self, order: &str) -> bool {
        let orders = self.orders.as_mut().expect("open until dropped");
        let mut answer = String::new();
        writeln!(orders, "{order}").is_ok() && self.answers.read_line(&mut answer).is_ok() && answer == "ok\n"
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// The folder of the server's binaries: the one in PATH, else the newest that Debian's packages installed.
fn binaries() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .find(|folder| is_server_folder(folder))
            .or_else(newest_packaged)
            .expect("PostgreSQL's server binaries (package `postgresql`) in PATH or under /usr/lib/postgresql")
    })
}

/// A wrapper for initdb alone does not count: both programs must be there.
fn is_server_folder(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file())
}

fn newest_packaged() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| is_server_folder(folder))
        .max()
        .map(|(_, folder)| folder)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
