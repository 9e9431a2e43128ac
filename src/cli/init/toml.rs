//! `recount.toml` with every key explained and commented out, but for what is taken over.

use std::fmt::Write;

use crate::cli::keys::{KEYS, Key, KeyScope};
use crate::cli::settings::Settings;

use super::inherited::Inherited;

const HEAD: &str = "\
# Settings of recount. A flag beats the environment, the environment beats this file, this file beats the defaults.
# Each key stands here with its default, or, where it says so, with an example. `recount config` shows what is in force.
";

/// What stands for a default that is none, or that is another on the next machine.
const EXAMPLES: [(&str, &str); 10] = [
    ("source", "\"postgres://recount_reader@db.example/validator\""),
    ("password-file", "\"/etc/recount/password\""),
    ("threads", "4"),
    ("columns", "[\"scores\", \"ranks\"]"),
    ("ignore", "[\"era5_completeness\"]"),
    ("validator-hotkey", "\"5F…\""),
    ("state", "\"state\""),
    ("profile", "\"gaia-2.9\""),
    ("baseline", "\"baseline.json\""),
    ("snapshot-time", "2025-01-31T06:00:00Z"),
];

/// What a key's help does not say, since on the command line nobody would do it by mistake.
const WARNINGS: [(&str, &str); 3] = [
    ("columns", "What is left out here is compared on no night: better on the command line, for a look"),
    ("ignore", "Say behind each name why it is ignored, and take it out when its writer is mended"),
    ("snapshot-time", "Only to replay a past night: as long as it stands here, every report is of that time"),
];

fn of<'v>(list: &[(&str, &'v str)], key: &Key) -> Option<&'v str> {
    list.iter().find(|(flag, _)| *flag == key.flag).map(|(_, value)| *value)
}

/// The text of the file.
pub fn render(inherited: &[Inherited]) -> String {
    let mut text = HEAD.to_owned();
    let (scoring, top): (Vec<&Key>, Vec<&Key>) = KEYS.iter().partition(|key| key.scope == KeyScope::Scoring);
    top.iter().for_each(|key| lines(&mut text, key, inherited));
    text += "\n# What the numbers are made of: docs/semantics.md, section 3. They must be those of the validator.\n[scoring]\n";
    scoring.iter().for_each(|key| lines(&mut text, key, inherited));
    text
}

fn lines(text: &mut String, key: &Key, inherited: &[Inherited]) {
    let _ = writeln!(text, "\n# {}.", key.help);
    if let Some(warning) = of(&WARNINGS, key) {
        let _ = writeln!(text, "# {warning}.");
    }
    let name = key.name();
    let _ = match (inherited.iter().find(|inherited| inherited.flag == key.flag), of(&EXAMPLES, key)) {
        (Some(found), _) => writeln!(text, "{name} = {}  # {} of {}", found.value, found.variable, found.origin),
        (None, Some(example)) => writeln!(text, "# {name} = {example}  # for example"),
        (None, None) => writeln!(text, "# {name} = {}", default(key)),
    };
}

fn default(key: &Key) -> String {
    let mut settings = Settings::default();
    let value =
        toml::Value::try_from((key.slot)(&mut settings).show()).expect("invariant: a key without a default has an example");
    value.to_string()
}
