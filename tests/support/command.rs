//! Runs the built program in a folder and an environment of its own; a failed assertion shows all there is to see.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tempfile::TempDir;

/// The variables that a run inherits. Everything else, `DATABASE_URL` and `RECOUNT_*` above all, stays outside.
const INHERITED: [&str; 3] = ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"];

/// A run of `recount` in the making.
pub struct Recount {
    command: Command,
    folder: PathBuf,
    own: Option<TempDir>,
}

/// A finished run.
pub struct Run {
    command: String,
    folder: PathBuf,
    /// The temporary folder of the run, kept as long as its outcome.
    own: Option<TempDir>,
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// `recount(["diff", "data/sample"]).env("…", "…").run().succeeds()`
pub fn recount<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Recount {
    let own = tempfile::Builder::new().prefix("recount-test-").tempdir().expect("a temporary folder");
    let folder = own.path().to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_recount"));
    command.args(args).env_clear().env("HOME", &folder).env("LANG", "C.UTF-8").current_dir(&folder);
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    Recount { command, folder, own: Some(own) }
}

impl Recount {
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in this folder, not in a temporary one.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self.folder = folder.to_owned();
        self
    }

    /// Puts a file into the folder of the run, with the folders that its name asks for.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        let path = self.folder.join(name);
        let parent = path.parent().expect("a file lies in a folder");
        std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, content)).expect("the folder of a run is writable");
        self
    }

    /// The command itself, for a test that starts it in a way of its own (a signal, a closed pipe).
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    pub fn run(mut self) -> Run {
        let output = self.command.output().expect("the program starts");
        self.ended(output)
    }

    /// Runs, and gives the megabytes that the program held at its peak, as the system saw it at intervals of a few milliseconds.
    pub fn run_measured(mut self) -> (Run, u64) {
        let streams = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = streams.spawn().expect("the program starts");
        let status = format!("/proc/{}/status", child.id());
        let (send, ended) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            let mut peak = 0;
            while ended.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
                // Of the program alone: before it is there, the process is a copy of this one.
                let told = std::fs::read_to_string(&status).unwrap_or_default();
                let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
                if line("Name:") == "recount" {
                    let kilobytes = line("VmHWM:").trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
                    peak = peak.max(kilobytes >> 10);
                }
            }
            peak
        });
        let output = child.wait_with_output().expect("the program ends");
        drop(send);
        (self.ended(output), watch.join().expect("a number"))
    }

    fn ended(self, Output { status, stdout, stderr }: Output) -> Run {
        Run {
            command: format!("{:?}", self.command),
            folder: self.folder,
            own: self.own,
            status: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Run {
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    #[track_caller]
    pub fn ends_with(self, status: i32) -> Self {
        assert!(self.status == Some(status), "expected exit status {status}\n{self}");
        self
    }

    #[track_caller]
    pub fn stdout_has(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "expected in stdout: {part}\n{self}");
        self
    }

    #[track_caller]
    pub fn stderr_has(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "expected in stderr: {part}\n{self}");
        self
    }

    /// Neither stream may have it: a password, an address.
    #[track_caller]
    pub fn never_says(self, part: &str) -> Self {
        assert!(!self.stdout.contains(part) && !self.stderr.contains(part), "expected nowhere: {part}\n{self}");
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("expected JSON in stdout: {error}\n{self}"))
    }

    /// The folder that the program ran in; a temporary one goes with this value.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names in the folder of the run, sorted: what the program left behind.
    pub fn left_behind(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).expect("the folder of the run");
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}", self.command)?;
        writeln!(f, "folder:  {}", self.folder.display())?;
        writeln!(f, "status:  {}", self.status.map_or("ended by a signal".to_owned(), |code| code.to_string()))?;
        writeln!(f, "-- stdout\n{}\n-- stderr\n{}\n--", self.stdout.trim_end(), self.stderr.trim_end())
    }
}
