//! The benchmarks beside other tools, at a small size: they run, and all tools compute the same. Times are nobody's business here.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::python::environment;
use crate::support::repository::{read, root, table_rows};

/// Runs `benches/peers` with a few runs and miners, and gives what it prints.
fn peers(args: &[&str]) -> String {
    let mut command = Command::new(environment("benches/peers/requirements.txt"));
    command.arg("-B").arg(root().join("benches/peers")).arg(env!("CARGO_BIN_EXE_recount"));
    let size = ["--runs", "3", "--miners", "4", "--growth", "1,2", "--growth-database", "1,2", "--year-runs", "2"];
    let output = command.args(size).args(["--rounds", "1", "--growth-rounds", "1"]).args(args).output().expect("python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}\n-- stdout\n{out}\n-- stderr\n{err}");
    out.into_owned()
}

/// The last cells of the rows whose first has one of these words in it.
fn digests(rows: &[Vec<String>], words: &[&str]) -> Vec<String> {
    let of = |row: &&Vec<String>| words.iter().any(|word| row[0].contains(word));
    rows.iter().filter(of).filter_map(|row| row.last().cloned()).collect()
}

#[test]
fn all_peers_read_the_same_rows_and_compute_the_same_scores() {
    let printed = peers(&["--parts", "peers"]);
    assert!(printed.contains("3 complete runs × 4 miners, 3,252 scores"), "3 × 4 × 271\n{printed}");
    let rows = table_rows(&printed);
    for (words, count) in [
        (&["recompute", "reconcile"][..], 5),
        (&["combined score", "with I3"], 5),
        (&["export`", "COPY", "2 streams", "ADBC", "ConnectorX"], 6),
    ] {
        let timed: Vec<_> = rows.iter().filter(|row| row.len() == 9).cloned().collect();
        let found = digests(&timed, words);
        assert_eq!(found.len(), count, "{words:?}\n{printed}");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 1, "{words:?}\n{printed}");
    }
    let lines: BTreeSet<&str> = rows.iter().filter(|row| row.len() == 5).map(|row| row[0].as_str()).collect();
    assert_eq!(lines, BTreeSet::from(["line", "---:", "1", "2", "3", "4", "5"]), "{printed}");
}

#[test]
fn peers_with_rule_i3_agree_where_scores_are_repeated_and_the_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    std::fs::write(&page, read("docs/performance.md").replace("927 of", "nothing of")).unwrap();
    let printed = peers(&["--parts", "duplicates", "--into", page.to_str().unwrap()]);
    assert!(printed.contains("927 of 4,183 scores are repeated"), "two of seven\n{printed}");
    assert_eq!(printed.matches("\n- ").count(), 5, "{printed}");
    let (_, text) = printed.split_once("## duplicates\n\n").unwrap();
    assert!(std::fs::read_to_string(page).unwrap().contains(text.trim_end()), "{printed}");
}

#[cfg(feature = "query")]
#[test]
fn ten_questions_have_the_answers_that_duckdb_gives() {
    let printed = peers(&["--parts", "questions", "--runs", "12", "--miners", "8"]);
    let rows: Vec<Vec<String>> = table_rows(&printed).into_iter().filter(|row| row.len() == 8).collect();
    let asked: Vec<&Vec<String>> = rows.iter().filter(|row| row[0].ends_with('?')).collect();
    assert_eq!(asked.len(), 10, "{printed}");
    assert!(asked.iter().all(|row| row[1] != "0"), "answers without rows show little\n{printed}");
}

#[test]
fn the_page_has_a_place_for_every_part() {
    let page = read("docs/performance.md");
    for part in ["peers", "duplicates", "questions", "growth", "corrections", "year"] {
        let marks = [format!("<!-- measured: {part} -->\n"), format!("<!-- measured: {part}, end -->\n")];
        assert!(marks.iter().all(|mark| page.matches(mark).count() == 1), "{part}");
    }
}

#[test]
fn corrections_growth_and_a_year_are_measured() {
    let printed = peers(&["--parts", "corrections,growth,year"]);
    assert!(printed.contains("`--apply`: 5 wrong cells put right"), "one row of twelve\n{printed}");
    let growth: Vec<Vec<String>> = table_rows(&printed).into_iter().filter(|row| row.len() == 7).collect();
    for what in ["`recount recompute`, folder", "`recount reconcile`, folder", "`recount reconcile`, PostgreSQL"] {
        let sizes: Vec<&String> = growth.iter().filter(|row| row[0] == what).map(|row| &row[1]).collect();
        assert_eq!(sizes, ["1", "2"], "{what}\n{printed}");
    }
    assert_eq!(printed.matches("\nDigest `").count(), 2, "one digest for corrections and one for the year\n{printed}");
}
