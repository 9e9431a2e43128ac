//! The documents against the code: links, rules, findings, columns. The settings are held in operator/init.rs.

use std::collections::BTreeMap;
use std::path::Path;

use recount::internals::model::finding::Code;
use recount::internals::model::rollups::{DifferenceRow, FindingRow, ForecastStat, LeadScore, MinerStat, Rollup, SubnetStat};

use crate::support::repository::{documents, quoted, read, root, rust_files, table_rows};

/// The targets of the links of a page.
fn links(page: &str) -> Vec<&str> {
    let parts = page.split("](").skip(1);
    parts.filter_map(|part| part.split_once(')').map(|(target, _)| target)).collect()
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What is wrong with a link of a page, if anything is.
fn broken(page: &str, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let target = if file.is_empty() { Path::new(page).to_owned() } else { folder.join(file) };
    if !root().join(&target).exists() {
        return Some(format!("{page}: {link} leads nowhere"));
    }
    let text = (!fragment.is_empty()).then(|| read(target.to_str().expect("a name in UTF-8")));
    let known = text.is_none_or(|text| text.lines().any(|line| line.starts_with('#') && anchor(line) == fragment));
    (!known).then(|| format!("{page}: {link} has no such heading"))
}

#[test]
fn every_link_leads_somewhere() {
    for page in documents() {
        let text = read(&page);
        let wrong: Vec<String> = links(&text).into_iter().filter_map(|link| broken(&page, link)).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    assert!(links(&read("README.md")).len() > 5);
    assert!(broken("docs/design.md", "nowhere.md").is_some());
    assert!(broken("docs/design.md", "semantics.md#nothing").is_some());
    assert_eq!(broken("docs/design.md", "../README.md#build"), None);
}

/// The rules, by the letter of their section and how many there are.
const RULES: [(&str, u32); 10] =
    [("A", 6), ("I", 8), ("C", 0), ("L", 4), ("R", 12), ("M", 10), ("N", 2), ("E", 3), ("F", 0), ("D", 7)];

fn rules() -> Vec<String> {
    let named = |(letter, count): (&str, u32)| match count {
        0 => vec![letter.to_owned()],
        count => (1..=count).map(|number| format!("{letter}{number}")).collect(),
    };
    RULES.into_iter().flat_map(named).collect()
}

#[test]
fn every_rule_is_written_down_and_has_a_home_and_a_test() {
    let page = read("docs/semantics.md");
    let sources: String = rust_files().iter().map(|path| read(path)).collect();
    let rows: BTreeMap<String, Vec<String>> =
        table_rows(&page).into_iter().filter(|row| row.len() == 4).map(|row| (row[0].clone(), row)).collect();
    for rule in rules() {
        assert!(page.contains(&format!("**{rule}** ")) || page.contains(&format!("**{rule} ")), "{rule} is not written down");
        let row = rows.get(&rule).unwrap_or_else(|| panic!("section 10 has no row for {rule}"));
        let homes = functions(&row[2]);
        assert!(!homes.is_empty(), "{rule} names no function");
        for (file, function) in homes {
            let source = read(&file);
            let defined = ["(", "<"].map(|next| source.contains(&format!("fn {function}{next}")));
            assert!(defined.contains(&true), "{rule}: there is no function {function} in {file}");
        }
        let tests = quoted(&row[3]);
        assert!(!tests.is_empty(), "{rule} has no test");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "{rule}: there is no test {test}");
        }
    }
}

/// The functions of a cell like "`sum`, `mean` in [exact.rs](../src/rollup/exact.rs); `score` in …", each with its file.
fn functions(cell: &str) -> Vec<(String, String)> {
    let of_file = |part: &str| {
        let file = links(part).first().expect("a link to a file").trim_start_matches("../").to_owned();
        quoted(part).into_iter().map(move |function| (file.clone(), function.to_owned())).collect::<Vec<_>>()
    };
    cell.split(';').flat_map(of_file).collect()
}

#[test]
fn every_finding_is_explained_with_its_severity() {
    let rows = table_rows(&read("docs/operations.md"));
    let semantics = read("docs/semantics.md");
    for code in Code::ALL {
        let row = rows.iter().find(|row| row[0] == format!("`{}`", code.name()));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md does not explain {}", code.name()));
        assert_eq!(row[1], code.severity().name(), "{}", code.name());
        assert_eq!(row.len(), 4, "{}", code.name());
        assert!(semantics.contains(&format!("`{}`", code.name())), "{}", code.name());
    }
}

/// The columns of a section of docs/analysts.md: name and type.
fn columns(page: &str, section: &str) -> Vec<[String; 2]> {
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("there is no section {section}"));
    let text = rest.split("\n## ").next().unwrap_or_default();
    let rows = table_rows(text).into_iter().skip(2);
    rows.map(|row| [row[0].trim_matches('`').to_owned(), row[1].clone()]).collect()
}

fn assert_columns<R: Rollup>(page: &str) {
    use recount::internals::model::columns::Type;
    let name = |kind| match kind {
        Type::Bool => "boolean",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Float64 => "float64",
        Type::Time => "timestamp",
        Type::Text => "text",
        Type::Json => "JSON text",
    };
    let expected: Vec<[String; 2]> =
        R::COLUMNS.iter().map(|column| [column.name.to_string(), name(column.kind).to_owned()]).collect();
    assert_eq!(columns(page, R::TABLE), expected, "docs/analysts.md, {}", R::TABLE);
}

#[test]
fn every_column_is_described_with_its_type() {
    let page = read("docs/analysts.md");
    assert_columns::<LeadScore>(&page);
    assert_columns::<ForecastStat>(&page);
    assert_columns::<MinerStat>(&page);
    assert_columns::<SubnetStat>(&page);
    assert_columns::<FindingRow>(&page);
    assert_columns::<DifferenceRow>(&page);
    let rules = rules();
    for row in table_rows(&page).iter().filter(|row| row.len() == 5 && row[0].starts_with('`')) {
        assert!(rules.contains(&row[4]), "{}: there is no rule {}", row[0], row[4]);
    }
}

/// What PostgreSQL says itself.
const OF_THE_SERVER: &str = "canceling statement";

/// The constant parts of a message: what stands between its joints and what is filled in.
fn parts(message: &str) -> impl Iterator<Item = &str> {
    message.split('…').flat_map(|part| part.split(": ")).map(str::trim).filter(|part| part.len() > 2)
}

#[test]
fn messages_of_the_troubleshooting_are_those_of_the_code() {
    let page = read("docs/operations.md");
    let (_, rest) = page.split_once("\n## Troubleshooting\n").expect("a section");
    let sources: String = rust_files().iter().filter(|path| path.starts_with("src/")).map(|path| read(path)).collect();
    let messages: Vec<Vec<String>> = table_rows(rest).into_iter().skip(2).collect();
    assert!(messages.len() > 10);
    for message in messages.iter().flat_map(|row| quoted(&row[0])).filter(|message| !message.starts_with(OF_THE_SERVER)) {
        for part in parts(message) {
            assert!(sources.contains(part), "no message has {part:?} of {message}");
        }
    }
}

#[test]
fn groups_of_columns_are_listed() {
    let page = read("docs/operations.md");
    for (name, _) in recount::internals::model::columns::Group::NAMED {
        assert!(page.contains(&format!("| `{name}` |")), "the first night does not tell of the group {name}");
    }
}
