//! The repository's own files, for tests that read sources and documents.

use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, by its path from the root.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The files below a folder whose names end so, as paths from the root with `/`, sorted. None where there is no such folder.
pub fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    let mut paths: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(root()).expect("below the root").to_str().expect("a name in UTF-8").replace('\\', "/"))
        .filter(|path| path.ends_with(ending))
        .collect();
    paths.sort();
    paths
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// All Rust sources of the package.
pub fn rust_files() -> Vec<String> {
    let mut paths: Vec<String> = ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, ".rs")).collect();
    paths.extend(root().join("build.rs").exists().then(|| "build.rs".to_owned()));
    paths
}

/// The pages for readers.
pub fn documents() -> Vec<String> {
    let mut paths = files("docs", ".md");
    paths.extend(["README.md", "CHANGELOG.md"].map(str::to_owned));
    paths
}

/// The rows of all tables of a page: cells, trimmed. Header and rule lines are rows too.
pub fn table_rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between backticks.
pub fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The contents of the fenced blocks of a page that have this word behind the fence, indentation removed.
pub fn blocks(page: &str, kind: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, usize, String)> = None;
    for line in page.lines() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim().strip_prefix("```"), open.take()) {
            (Some(word), None) => open = Some((word == kind, indent, String::new())),
            (Some(_), Some((wanted, _, text))) => blocks.extend(wanted.then_some(text)),
            (None, Some((wanted, start, mut text))) => {
                text.push_str(line.get(start.min(indent)..).unwrap_or_default());
                text.push('\n');
                open = Some((wanted, start, text));
            }
            (None, None) => {}
        }
    }
    blocks
}
