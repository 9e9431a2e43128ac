//! Pythons of the tests' own, with the tools that analysts use, installed from PyPI into virtual environments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use serde_json::Value as Json;

use super::repository::{read, root};

const REQUIREMENTS: &str = "tests/archive/requirements.txt";
const SPARK: &str = "tests/archive/requirements-spark.txt";

/// The interpreter for scripts that read archives.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| environment(REQUIREMENTS))
}

/// The interpreter for scripts that ask Spark, in an environment of its own: few tests need its 500 MB.
pub fn spark() -> PathBuf {
    let java = Command::new("java").arg("-version").output();
    assert!(java.is_ok_and(|java| java.status.success()), "Spark needs a Java runtime (Debian: default-jre-headless)");
    environment(SPARK)
}

/// A program that came with a package: `moto_server`.
pub fn program(name: &str) -> PathBuf {
    python().with_file_name(name)
}

/// The interpreter of an environment with these packages; made on first use, and kept for later runs of the tests.
pub fn environment(requirements: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _making = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let wanted = read(requirements);
    let name = format!("python-{}", &blake3::hash(wanted.as_bytes()).to_hex()[..12]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join("bin/python");
    if folder.join("complete").exists() {
        return python;
    }
    let _ = fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(pip).arg(root().join(requirements)));
    fs::write(folder.join("complete"), "").expect("a writable environment");
    python
}

fn run(command: &mut Command) {
    let help = "these tests need python3 with its module venv (Debian: python3-venv) and a way to PyPI";
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}\n{help}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed\n{told}\n{help}");
}

/// Runs a script with arguments in a folder; gives what it prints, and fails with all that it says where it fails.
fn script(python: &Path, text: &str, folder: &Path, args: &[&str]) -> String {
    // Spark makes two hundred tasks of a small table, and a page about them, unless it is told not to.
    let spark = "--conf spark.sql.shuffle.partitions=1 --conf spark.ui.enabled=false pyspark-shell";
    let mut command = Command::new(python);
    command.arg("-c").arg(text).args(args).current_dir(folder).env("PYSPARK_SUBMIT_ARGS", spark);
    let output = command.output().expect("python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "python failed\n-- script\n{text}\n-- stdout\n{out}\n-- stderr\n{err}");
    out.into_owned()
}

/// What a script prints last, as JSON. Before it, a slow machine may be shown a progress bar.
pub fn answer(text: &str, folder: &Path, args: &[&str]) -> Json {
    answer_with(python(), text, folder, args)
}

/// The same by the interpreter of an [`environment`].
pub fn answer_with(python: &Path, text: &str, folder: &Path, args: &[&str]) -> Json {
    let out = script(python, text, folder, args);
    let last = out.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {out}"))
}
