//! SQL as psql reads it, as far as it decides where a text ends and a command of psql would begin.

/// What is wrong with a script whose texts must stay texts: a backslash of psql's, or a text or comment without end.
pub fn flaw(sql: &str) -> Option<String> {
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let wrong = |what: &str| Some(format!("{what}: {:?}", rest.chars().take(80).collect::<String>()));
        let line_end = |text: &str| text.find('\n').unwrap_or(text.len());
        let taken = if rest.starts_with("--") {
            let line = &rest[..line_end(rest)];
            if line.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)) {
                return wrong("a control character in a comment");
            }
            Some(line.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|end| end + 2)
        } else if rest.starts_with("E'") {
            quoted(&rest[1..], true).map(|end| end + 1)
        } else if first == '\'' {
            quoted(rest, false)
        } else if first == '"' {
            rest[1..].find('"').map(|end| end + 2)
        } else if first == '$' {
            match tag(rest) {
                Some(tag) => rest[tag.len()..].find(tag).map(|end| 2 * tag.len() + end),
                None => Some(1),
            }
        } else if first == '\\' {
            return wrong("a command of psql");
        } else {
            Some(first.len_utf8())
        };
        match taken {
            Some(taken) => rest = &rest[taken..],
            None => return wrong("a text without end"),
        }
    }
    None
}

/// Where a literal ends that begins here. (`standard_conforming_strings` is on: the script sets it.)
fn quoted(text: &str, escapes: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if escapes => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn tag(text: &str) -> Option<&str> {
    let name = &text[1..];
    let end = name.find('$')?;
    name[..end].chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| &text[..end + 2])
}
