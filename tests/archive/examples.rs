//! The data dictionary of docs/analysts.md, and its forms for programs, are those of the code.

use recount::internals::archive::docs::{dictionary, entries};

use crate::support::repository::read;

const PAGE: &str = "docs/analysts.md";
/// Between these the page has what the code generates.
const MARKS: [&str; 2] = ["<!-- generated: dictionary -->\n\n", "<!-- end of dictionary -->"];

#[test]
fn the_page_has_the_dictionary_of_the_code() {
    let page = read(PAGE);
    let start = page.find(MARKS[0]).expect("the mark before the dictionary") + MARKS[0].len();
    let end = page.find(MARKS[1]).expect("the mark after it");
    let (found, expected) = (&page[start..end], dictionary());
    if found != expected {
        let path = std::env::temp_dir().join("recount-dictionary.md");
        std::fs::write(&path, &expected).unwrap();
        panic!("the dictionary in {PAGE} is not that of src/archive/docs.rs; what it should be is in {}", path.display());
    }
}

/// The same for programs. `RECOUNT_WRITE_DOCS=1` writes them anew.
#[test]
fn the_dictionaries_for_programs_are_those_of_the_code() {
    let entries = entries();
    let line = |fields: [&str; 7]| fields.map(|field| format!("\"{}\"", field.replace('"', "\"\""))).join(",") + "\n";
    let mut csv = line(["table", "column", "type", "nullable", "unit", "meaning", "rule"]);
    for entry in &entries {
        let nullable = if entry.nullable { "true" } else { "false" };
        csv += &line([entry.table, &entry.column, entry.kind, nullable, entry.unit, entry.meaning, entry.rule]);
    }
    let json = serde_json::to_string_pretty(&entries).unwrap() + "\n";
    for (name, expected) in [("dictionary.csv", csv), ("dictionary.json", json)] {
        let path = crate::support::repository::root().join("docs").join(name);
        if std::env::var_os("RECOUNT_WRITE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap_or_default() == expected, "docs/{name} is not that of src/archive/docs.rs");
    }
}
