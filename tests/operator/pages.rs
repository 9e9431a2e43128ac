//! Completions and man pages: shells take them, and they say what the help says.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use recount::internals::cli::args::Cli;

use crate::support::recount;
use crate::support::repository::root;

/// Every command with its parents, as it is typed.
fn commands(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let mut all = vec![(path.to_owned(), command.clone())];
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        all.extend(commands(sub, &format!("{path}-{}", sub.get_name())));
    }
    all
}

#[test]
fn every_command_has_a_page_with_its_flags() {
    let run = recount(["man", "--out", "man1"]).run().succeeds();
    let folder = run.folder().join("man1");
    let all = commands(&Cli::command(), "recount");
    assert!(all.len() > 25, "{}", all.len());
    for (name, command) in &all {
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let page = page.replace("\\-", "-");
        for flag in command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| arg.get_long()) {
            assert!(page.contains(&format!("--{flag}")), "{name} says nothing of --{flag}");
        }
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), all.len(), "and there are no others");
    let page = std::fs::read_to_string(folder.join("recount-reconcile.1")).unwrap();
    assert!(page.contains("Examples:"), "{page}");
    recount(["man", "--out", folder.to_str().unwrap()]).run().ends_with(2).stderr_has("it exists and is not empty");
    has_no_warnings(&folder.join("recount-reconcile.1"));
}

/// Where groff is, it takes the page as it is.
fn has_no_warnings(page: &Path) {
    let Ok(output) = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(page).output() else { return };
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !told.contains("error"), "{told}");
}

#[test]
fn shells_complete_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = recount(["completions", shell]).run().succeeds();
        for word in ["doctor", "reconcile", "metrics", "max-fraction"] {
            assert!(run.stdout.contains(word), "{shell} {word}");
        }
    }
    recount(["completions", "tcsh"]).run().ends_with(2).stderr_has("possible values: bash");
    let script = recount(["completions", "bash"]).run().stdout;
    let asked = "complete -p recount >/dev/null || exit 1
        words() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _recount recount \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"; }
        words recount rec; words recount doctor --max-a; words recount completions fi";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("asked.bash");
    std::fs::write(&file, format!("{script}\n{asked}")).unwrap();
    let output = Command::new("bash").arg(&file).output().expect("bash runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "reconcile recompute\n--max-age\nfish\n", "{told}");
}

#[test]
fn what_is_packed_is_whole_and_has_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().to_str().unwrap();
    let program = format!("RECOUNT={}", env!("CARGO_BIN_EXE_recount"));
    let mut make = Command::new("make");
    make.args(["--silent", "dist", &program, &format!("DIST={dist}")]).current_dir(root());
    let output = make.output().expect("make runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let check = Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(folder.path()).status().unwrap();
    assert!(check.success());
    let packed = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let packed = packed.filter(|path| path.extension().is_some_and(|ending| ending == "gz")).collect::<Vec<_>>();
    let [packed] = &packed[..] else { panic!("one archive: {packed:?}") };
    assert!(Command::new("tar").arg("-xzf").arg(packed).current_dir(folder.path()).status().unwrap().success());
    let name = packed.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.gz").unwrap();
    assert!(name.starts_with(concat!("recount-", env!("CARGO_PKG_VERSION"), "-")), "{name}");
    let inside = folder.path().join(name);
    for file in [
        "recount",
        "man1/recount.1",
        "completions/recount.bash",
        "completions/recount.fish",
        "completions/_recount",
        "LICENSE-MIT",
        "README.md",
        "packages.txt",
    ] {
        assert!(inside.join(file).is_file(), "{file}");
    }
    let packages = std::fs::read_to_string(inside.join("packages.txt")).unwrap();
    assert!(packages.lines().any(|line| line.starts_with("sqlx v") && line.contains("MIT")), "{packages}");
    assert!(Command::new(inside.join("recount")).arg("--version").status().unwrap().success());
}
