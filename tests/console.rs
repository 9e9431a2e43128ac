//! Every command line that a document shows is one that recount takes. Those that need no server are run, and what they are
//! shown to print is what they print.

use std::path::Path;

use clap::Parser;
use recount::internals::cli::args::{Archive, ArchiveAction, Cli, Command, Reading};
use recount::internals::cli::settings::{Layers, Settings};
use serde_json::Value as Json;

use crate::support::recount;
use crate::support::repository::{blocks, documents, read, root};

/// Stands in the README until data/sample is there to fill it.
const UNFILLED: &str = "<!-- sample:begin";
/// Programs that a document may call beside recount.
const OTHERS: [&str; 4] = ["make", "cargo", "target/release/recount", "export"];

/// A command line of a document and the lines shown below it.
#[derive(Debug)]
struct Shown {
    words: Vec<String>,
    output: Vec<String>,
}

/// The commands of a page: those behind `$` in console blocks, and lines that start with `recount` in scripts.
fn commands(page: &str) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    for block in blocks(page, "console") {
        for line in block.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push(Shown { words: words(command), output: Vec::new() }),
                (None, Some(shown)) => shown.output.push(line.to_owned()),
                (None, None) => panic!("a console block starts with \"$ \": {line}"),
            }
        }
    }
    let scripts = blocks(page, "sh");
    let lines = scripts.iter().flat_map(|script| script.lines()).filter(|line| line.starts_with("recount "));
    commands.extend(lines.map(|line| Shown { words: words(line), output: Vec::new() }));
    commands
}

/// The words of a command, up to a redirection or a second command. Assignments before it are left out.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            (_, c) => word.push(c),
        }
    }
    let ends = |word: &String| [">", "2>", ">>", "|", "||", "&&", ";", "#"].contains(&word.as_str());
    let assigns =
        |word: &String| word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    words.into_iter().skip_while(assigns).take_while(|word| !ends(word)).collect()
}

/// Holds a command line against the program's own: subcommand, flags, and the values of settings.
fn check(words: &[String]) -> Result<Cli, String> {
    let cli = Cli::try_parse_from(words).or_else(|error| match error.exit_code() {
        // Help and version.
        0 => Cli::try_parse_from(["recount", "config"]),
        _ => Err(error),
    });
    let cli = cli.map_err(|error| error.to_string())?;
    let mut flags = cli.global.flags.0.clone();
    flags.extend(reading(&cli.command).iter().flat_map(|reading| reading.flags.0.clone()));
    if let Command::Explain(explain) = &cli.command {
        flags.extend(explain.flags.0.clone());
    }
    let settings = Settings::resolve(&Layers { flags, ..Layers::default() });
    settings.map_err(|error| error.to_string()).map(|_| cli)
}

fn reading(command: &Command) -> Option<&Reading> {
    match command {
        Command::Reconcile(reconcile) => Some(&reconcile.reading),
        Command::Config(reading) => Some(reading),
        Command::Baseline(baseline) => Some(baseline.reading()),
        Command::Diff(diff) => Some(&diff.reading),
        Command::Recompute(with_out) | Command::Export(with_out) => Some(&with_out.reading),
        Command::Archive(archive) => Some(&archive.reading),
        Command::Verify(_) | Command::Query(_) | Command::Explain(_) | Command::Show(_) => None,
        Command::Generate(_)
        | Command::Migrate(_)
        | Command::Apply(_)
        | Command::Undo(_)
        | Command::Jobs(_)
        | Command::Phase2(_)
        | Command::Phase3(_)
        | Command::Steps(_)
        | Command::Doctor(_)
        | Command::Init(_)
        | Command::Completions(_)
        | Command::Man(_) => None,
    }
}

/// Whether a command can be run here: it reads a folder below data, writes one, or only shows settings.
fn needs_no_server(command: &Command) -> bool {
    match command {
        Command::Config(_) => true,
        Command::Generate(generate) => generate.target.out.is_some(),
        Command::Archive(Archive { to: Some(to), .. }) if to.contains("://") => false,
        // What an earlier command of the page has archived.
        Command::Verify(verify) => verify.dest == "archive",
        Command::Query(query) => query.dest == "archive" || query.dest.starts_with("data/"),
        // What an earlier command of the page has written.
        Command::Show(show) => show.path.starts_with("tonight") || show.path == Path::new("tonight.json"),
        Command::Explain(explain) => explain.source.as_deref().is_some_and(|source| source.starts_with("data/")),
        Command::Archive(Archive { action: Some(ArchiveAction::Ls { dest }), .. }) => dest == "archive",
        Command::Migrate(_)
        | Command::Apply(_)
        | Command::Undo(_)
        | Command::Jobs(_)
        | Command::Phase2(_)
        | Command::Phase3(_)
        | Command::Steps(_)
        | Command::Doctor(_)
        | Command::Init(_)
        | Command::Completions(_)
        | Command::Man(_) => false,
        other => reading(other).and_then(|reading| reading.source.as_deref()).is_some_and(|source| source.starts_with("data/")),
    }
}

#[test]
fn every_command_shown_is_a_command() {
    let mut seen = 0;
    for page in documents() {
        for shown in commands(&read(&page)) {
            let line = shown.words.join(" ");
            match shown.words.first().map(String::as_str) {
                Some("recount") => {
                    seen += usize::from(check(&shown.words).inspect_err(|e| panic!("{page}: {line}\n{e}")).is_ok())
                }
                Some("make") => assert!(read("Makefile").contains(&format!("\n{}:", shown.words[1])), "{page}: {line}"),
                Some(program) => assert!(OTHERS.contains(&program), "{page}: {line}"),
                None => panic!("{page}: an empty command"),
            }
        }
    }
    assert!(seen > 5, "only {seen} commands were found");
}

#[test]
fn a_wrong_command_is_seen() {
    for wrong in [
        "recount reconcil x",
        "recount diff x --ot y",
        "recount export x",
        "recount reconcile --columns score",
        "recount --atol 1",
    ] {
        assert!(check(&words(wrong)).is_err(), "{wrong}");
    }
    let page = "```console\n$ A_B=1 recount diff 'a b' > c\nline\n```\n```sh\nif x\nrecount config\n```\n";
    let found = commands(page);
    assert_eq!(found.iter().map(|shown| shown.words.join("·")).collect::<Vec<_>>(), ["recount·diff·a b", "recount·config"]);
    assert_eq!(found[0].output, ["line"]);
}

/// The first line of what is shown that was not printed, in order. "…" stands for lines left out; times are never equal.
fn not_printed<'s>(shown: &'s [String], printed: &str) -> Option<&'s String> {
    let mut printed = printed.lines();
    let mut skipping = false;
    shown.iter().find(|line| {
        if line.trim() == "…" {
            skipping = true;
            return false;
        }
        let equal = |found: &str| found == *line || (line.starts_with("time: ") && found.starts_with("time: "));
        let found = if std::mem::take(&mut skipping) { printed.any(equal) } else { printed.next().is_some_and(equal) };
        !found
    })
}

#[test]
fn what_is_not_printed_is_seen() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let printed = "a\nb\nc\ntime: 1 s\n";
    assert_eq!(not_printed(&shown("a\nb"), printed), None);
    assert_eq!(not_printed(&shown("a\n…\ntime: 2 s"), printed), None);
    assert_eq!(not_printed(&shown("a\nc"), printed), Some(&"c".to_owned()));
    assert_eq!(not_printed(&shown("…\nd"), printed), Some(&"d".to_owned()));
}

fn run(page: &str, shown: &Shown, folder: &Path) {
    let run = recount(&shown.words[1..]).folder(folder).run();
    if shown.words[1] == "query" && !cfg!(feature = "query") {
        run.ends_with(2).stderr_has("hint: it comes with the feature query");
        return;
    }
    assert!(matches!(run.status, Some(0 | 1)), "{page}: {run}");
    if let Some(line) = not_printed(&shown.output, &run.stdout) {
        panic!("{page} shows a line that was not printed: {line}\n{run}");
    }
}

#[test]
fn what_needs_no_server_runs_as_shown() {
    let sample = root().join("data/sample").exists();
    let unfilled = read("README.md").contains(UNFILLED);
    assert_ne!(sample, unfilled, "the README's example is filled in when data/sample is there, and not before");
    for page in documents() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root().join("data"), folder.path().join("data")).unwrap();
        for shown in commands(&read(&page)).iter().filter(|shown| shown.words[0] == "recount") {
            let command = check(&shown.words).unwrap().command;
            if needs_no_server(&command) && (sample || matches!(command, Command::Config(_))) {
                run(&page, shown, folder.path());
            }
        }
    }
}

/// The keys of the report whose names are fixed, as docs/operations.md writes them.
fn keys(report: &Json) -> Vec<String> {
    let of = |path: &str, value: &Json| -> Vec<String> {
        let names = value.as_object().into_iter().flat_map(|object| object.keys().cloned());
        names.map(|name| if path.is_empty() { name } else { format!("{path}.{name}") }).collect()
    };
    let tables = report["tables"].as_object().into_iter().flat_map(|tables| tables.values());
    let mut keys = [of("", report), of("snapshot", &report["snapshot"])].concat();
    keys.extend(tables.flat_map(|table| of("tables.*", table)));
    keys
}

#[test]
fn every_key_of_the_json_report_is_described() {
    let page = read("docs/operations.md");
    let folder = tempfile::tempdir().unwrap();
    let generate = ["generate", "--runs", "2", "--miners", "3", "--seed", "1", "--drift", "2", "--no-components", "--out", "s"];
    recount(generate).folder(folder.path()).run().succeeds();
    let report = recount(["reconcile", "s", "--format", "json"]).folder(folder.path()).run().ends_with(1).json();
    assert!(keys(&report).len() > 10);
    for key in keys(&report) {
        assert!(page.contains(&format!("| `{key}` |")), "docs/operations.md does not describe {key}");
    }
    for path in ["/patterns/0", "/patterns/0/example"] {
        for name in report.pointer(path).and_then(Json::as_object).unwrap_or_else(|| panic!("{path}")).keys() {
            assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not describe {name} of {path}");
        }
    }
}
