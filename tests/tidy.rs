//! The sources against the rules of docs/design.md: what may import what, and where libraries are at home.

use crate::support::repository::{quoted, read, rust_files, table_rows};

/// From the bottom to the top: a room imports rooms of the rows above its own, and none beside it.
const LAYERS: [&[&str]; 7] = [
    &["error"],
    &["postgres", "files", "model", "parallel"],
    &["archive"],
    &["source", "rollup", "diff", "sink", "schema"],
    &["generate"],
    &["pipeline"],
    &["cli"],
];
const STAGES: usize = 3;

/// The stages whose commands `cli` runs itself.
const SEEN_BY_CLI: [&str; 1] = ["schema"];

/// No stage that must be pure says any of this.
const IMPURE: [&str; 9] = ["sqlx", "tokio", "async", "Instant", "SystemTime", "rand", "rand_chacha", "env", "chrono"];

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// The code of a file: comments and blank lines left out.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.split(" // ").next().unwrap_or(line).to_owned() + "\n").collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a word stands on its own.
fn places<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let free = |c: Option<char>| c.is_none_or(|c| !is_word(c));
        free(text[..at].chars().next_back()) && free(text[at + word.len()..].chars().next())
    })
}

/// The paths behind every `crate::`; a group gives one for each of its members.
fn imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for at in places(code, "crate") {
        let Some(rest) = code[at..].strip_prefix("crate::") else { continue };
        if let Some(group) = rest.strip_prefix('{') {
            let end = group.find(';').unwrap_or(group.len());
            let mut depth = 0;
            let members = group[..end].split(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            });
            paths
                .extend(members.map(|member| member.trim().trim_end_matches('}').to_owned()).filter(|member| !member.is_empty()));
        } else {
            let end = rest.find(|c: char| !is_word(c) && c != ':').unwrap_or(rest.len());
            paths.push(rest[..end].to_owned());
        }
    }
    paths
}

/// The room of a source file: `src/model/value.rs` and `src/error.rs` are in `model` and `error`.
fn room(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// What of a file breaks the order of the rooms.
fn wrong_imports(path: &str, text: &str) -> Vec<String> {
    let own = room(path);
    let allowed = |import: &str| {
        let other = import.split("::").next().unwrap_or(import);
        match (layer(own), layer(other)) {
            _ if other == own => true,
            (None, _) => matches!(own, "lib") || (own == "main" && other == "cli"),
            (Some(_), None) => false,
            (Some(mine), Some(its)) if own == "cli" && its == STAGES => mine > its && SEEN_BY_CLI.contains(&other),
            (Some(mine), Some(its)) => mine > its,
        }
    };
    let code = code(text);
    let wrong = imports(&code).into_iter().filter(|import| !allowed(import));
    let climbs = climbs_out(path, &code).then(|| "super, up to the root".to_owned());
    wrong.chain(climbs).map(|import| format!("{path} imports {import}")).collect()
}

/// The code of a file before the module of tests at its end, and that module.
fn split_tests(code: &str) -> (&str, &str) {
    let starts = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub mod tests {"];
    code.split_at(starts.iter().filter_map(|start| code.find(start)).min().unwrap_or(code.len()))
}

/// Whether a chain of `super` leaves the room, so that the check of imports would not see where it leads.
fn climbs_out(path: &str, code: &str) -> bool {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let depth = inside.trim_end_matches("/mod").split('/').count();
    let (before, after) = split_tests(code);
    // A module of tests within the file is one level deeper.
    before.contains(&"super::".repeat(depth)) || after.contains(&"super::".repeat(depth + 1))
}

#[test]
fn rooms_import_only_what_is_below_them() {
    let wrong: Vec<String> = sources().iter().flat_map(|(path, text)| wrong_imports(path, text)).collect();
    assert!(wrong.is_empty(), "docs/design.md, \"What may import what\":\n{}", wrong.join("\n"));
    for (path, _) in sources() {
        assert!(layer(room(&path)).is_some() || ["lib", "main"].contains(&room(&path)), "{path}: which room is that?");
    }
}

/// The layers as the pages draw them, from the bottom to the top; `mark` stands around each name.
fn drawn(mark: &str) -> String {
    let row = |rooms: &&[&str]| rooms.iter().map(|room| format!("{mark}{room}{mark}")).collect::<Vec<_>>().join(", ");
    let brace = |rooms: &&[&str]| if rooms.len() > 1 { format!("{{{}}}", row(rooms)) } else { row(rooms) };
    LAYERS.iter().map(brace).chain([format!("{mark}main{mark}")]).collect::<Vec<_>>().join(" ← ")
}

#[test]
fn the_house_is_drawn_as_it_is() {
    assert!(read("docs/design.md").contains(&drawn("`")), "docs/design.md: {}", drawn("`"));
    assert!(read("src/lib.rs").contains(&format!("//!  {}\n", drawn(""))), "src/lib.rs: {}", drawn(""));
}

#[test]
fn a_wrong_import_is_seen() {
    let wrong = |path, text| wrong_imports(path, text).len();
    assert_eq!(wrong("src/rollup/a.rs", "use crate::diff::X;"), 1);
    assert_eq!(wrong("src/model/a.rs", "use crate::files::staging::Staging;"), 1);
    assert_eq!(wrong("src/rollup/a.rs", "use crate::{error::Result, model::{a, b}, source::Source};"), 1);
    assert_eq!(wrong("src/source/a.rs", "fn f() { crate::pipeline::open() }"), 1);
    assert_eq!(wrong("src/cli/a.rs", "use crate::rollup::Rules;"), 1);
    assert_eq!(wrong("src/sink/a.rs", "use crate::generate::Plan;"), 1);
    assert_eq!(wrong("src/files/a.rs", "use crate::postgres::Session;"), 1);
    assert_eq!(wrong("src/rollup/a.rs", "use super::super::diff::X;"), 1);
    assert_eq!(wrong("src/rollup/mod.rs", "use super::diff::X;"), 1);
    assert_eq!(wrong("src/rollup/a.rs", "#[cfg(test)]\nmod tests {\n    use super::super::super::diff::X;\n}"), 1);
    assert_eq!(wrong("src/main.rs", "use crate::model::X;"), 1);
    for (path, text) in [
        ("src/rollup/a.rs", "use crate::model::X; use super::exact::sum; // crate::diff\n/// [`crate::diff`]"),
        ("src/cli/a.rs", "use crate::schema::status; use crate::pipeline;"),
        ("src/generate/a.rs", "use crate::source::folder::SnapshotWriter;"),
        ("src/model/filter.rs", "#[cfg(test)]\nmod tests { use super::super::ids::X; }"),
    ] {
        assert_eq!(wrong_imports(path, text), [""; 0]);
    }
}

fn sources() -> Vec<(String, String)> {
    let paths = rust_files().into_iter().filter(|path| path.starts_with("src/"));
    paths.map(|path| (path.clone(), read(&path))).collect()
}

/// What a stage that must be pure may not say.
fn impurities(text: &str) -> Vec<&'static str> {
    let code = code(text);
    IMPURE
        .into_iter()
        // `env!` is of the compiler.
        .filter(|word| places(&code, word).any(|at| !code[at + word.len()..].starts_with('!')))
        .collect()
}

#[test]
fn rollup_and_diff_are_pure() {
    for (path, text) in sources().iter().filter(|(path, _)| ["rollup", "diff"].contains(&room(path))) {
        assert_eq!(impurities(text), [""; 0], "{path}");
    }
    assert_eq!(impurities("use std::time::{Duration, Instant};"), ["Instant"]);
    assert_eq!(impurities("let x = std::env::var(name);"), ["env"]);
    assert_eq!(impurities("async fn f() {}\n// tokio\nlet brand = env!(\"X\");"), ["async"]);
}

/// Crates of docs/design.md with the homes it gives them, and those that Cargo.toml names.
fn homes(page: &str) -> Vec<(String, Vec<String>)> {
    let rows = table_rows(page).into_iter().skip_while(|row| row[0] != "crate").skip(2).take_while(|row| row.len() == 3);
    rows.map(|row| {
        let homes = quoted(&row[1]).into_iter().map(str::to_owned).collect();
        (row[0].trim_matches('`').to_owned(), homes)
    })
    .collect()
}

fn dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let of = |table: &str| manifest[table].as_table().into_iter().flat_map(|table| table.keys().cloned()).collect::<Vec<_>>();
    [of("dependencies"), of("dev-dependencies")].concat()
}

/// Whether code names a crate: `sqlx::…` or `use sqlx;`, but not `other::sqlx::…`.
fn names_crate(code: &str, name: &str) -> bool {
    places(code, name).any(|at| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        !before.ends_with("::") && (after.starts_with("::") || before.ends_with("use ") && after.starts_with([';', ' ']))
    })
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs")
}

fn outside_home(path: &str, text: &str, name: &str, homes: &[String]) -> bool {
    let code = code(text);
    let (shipped, _) = split_tests(&code);
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let at_home = homes.iter().any(|home| inside == home || inside.starts_with(&format!("{home}/")));
    // The crate's own name for itself is another than that of its package.
    let name = if name == "md-5" { "md5" } else { name };
    !at_home && !is_test(path) && names_crate(shipped, &name.replace('-', "_"))
}

/// Named in Cargo.toml alone, to choose its features.
const UNNAMED: [&str; 1] = ["reqwest"];

/// Whether anything in a home of docs/design.md names the crate. `tests` is the home of those that only tests use.
fn uses(home: &str, name: &str) -> bool {
    let elsewhere =
        |path: &str, text: &str| outside_home(path, text, name, &[]) && outside_home(path, text, name, &[home.to_owned()]);
    let all = |path: &str, text: &str| outside_home(path, text, name, &[]);
    home == "tests" || UNNAMED.contains(&name) || sources().iter().any(|(path, text)| all(path, text) && !elsewhere(path, text))
}

#[test]
fn every_library_stays_in_its_homes() {
    let homes = homes(&read("docs/design.md"));
    let mut listed: Vec<&str> = homes.iter().map(|(name, _)| name.as_str()).collect();
    let mut named = dependencies(&read("Cargo.toml"));
    listed.sort_unstable();
    named.sort_unstable();
    assert_eq!(listed, named, "the crates of docs/design.md and of Cargo.toml");
    for (name, homes) in &homes {
        for (path, text) in sources() {
            assert!(!outside_home(&path, &text, name, homes), "{path} uses {name}, whose homes are {homes:?}");
        }
    }
    let unused =
        homes.iter().flat_map(|(name, homes)| homes.iter().filter(|home| !uses(home, name)).map(move |home| (home, name)));
    assert_eq!(unused.collect::<Vec<_>>(), [], "docs/design.md: homes in which nothing uses the crate");
}

#[test]
fn a_library_away_from_home_is_seen() {
    let homes = ["cli".to_owned(), "parallel.rs".to_owned()];
    let outside = |path, text| outside_home(path, text, "futures-util", &homes);
    assert!(outside("src/model/a.rs", "use futures_util::StreamExt;"));
    assert!(outside("src/client/a.rs", "fn f() { futures_util::pin!() }"));
    assert!(outside("src/rollup/a.rs", "use futures_util;"));
    assert!(!outside("src/parallel.rs", "use futures_util::StreamExt;"));
    assert!(!outside("src/cli/a.rs", "use futures_util::StreamExt;"));
    assert!(!outside("src/model/a.rs", "use other::futures_util::X; // futures_util::Y"));
    assert!(!outside("src/model/a.rs", "#[cfg(test)]\nmod tests {\n    use futures_util::Z;"));
    assert!(outside("src/model/a.rs", "#[cfg(test)]\nmod tests;\nuse futures_util::Z;"));
}
