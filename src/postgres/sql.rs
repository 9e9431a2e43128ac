//! Names and texts as SQL.

/// For a transaction: SQL, and the names that the catalogue gives, mean the same whatever the server, the database or the role sets.
pub const PLAIN_SQL: &str =
    "SET LOCAL standard_conforming_strings = on; SET LOCAL quote_all_identifiers = off; SET LOCAL transform_null_equals = off";

/// A name, quoted, as in `"weather_forecast_runs"`.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal that means the same whatever `standard_conforming_strings` says, and that stands on one line: no text can
/// begin a line of a file, where psql would take it for a command. A NUL cannot be part of any text.
pub fn literal(text: &str) -> String {
    if !text.contains(|c: char| c == '\\' || c.is_ascii_control()) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let escaped = text.chars().map(|c| match c {
        '\'' => "''".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("E'{}'", escaped.collect::<String>())
}

/// `json` keeps escapes that the server itself cannot read (a NUL, half of a surrogate pair; `jsonb` takes none): each is replaced by
/// U+FFFD, so that one of them does not end every read.
pub fn readable_json(name: &str) -> String {
    // Within E'…', four backslashes are two of the expression, and they are one of the text.
    let replace = |text: &str, before: &str, escape: &str| {
        format!(r"regexp_replace({text}, E'{before}(?<!\\\\)((?:\\\\\\\\)*)\\\\{escape}', E'\\1\\\\ufffd', 'g')")
    };
    let (high, low) = ("u[dD][89abAB][0-9a-fA-F]{2}", "u[dD][c-fC-F][0-9a-fA-F]{2}");
    let text = replace(&format!("{name}::text"), "", "u0000");
    let text = replace(&text, "", &format!(r"{high}(?!\\\\{low})"));
    format!("{}::json", replace(&text, &format!(r"(?<!\\\\{high})"), low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_backslashes_escaped() {
        assert_eq!(identifier(r#"a "b" c"#), r#""a ""b"" c""#);
        assert_eq!(literal("plain"), "'plain'");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"it's a \"), r"E'it''s a \\'");
        assert_eq!(literal("a\n\\! id"), r"E'a\x0a\\! id'");
    }
}
