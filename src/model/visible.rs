//! Texts of others on their way to a terminal, a log or a comment of SQL: what a terminal would obey, and what would make a text look like
//! another one, is written out.

use std::borrow::Cow;

/// Whether a character does something else than show itself: control characters (C0, C1), marks that turn the direction, and
/// what takes no room or ends a line unseen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text as one line in which every character shows: others are written `\u001b`, as JSON does it.
pub fn line(text: &str) -> Cow<'_, str> {
    shown(text, |_| 0)
}

/// The same for what has lines and columns already. Where `painted`, the colours in it stay: `ESC [ digits m`, and nothing else that
/// begins with ESC. JSON stays the same JSON.
pub fn lines(text: &str, painted: bool) -> Cow<'_, str> {
    shown(text, |rest| match rest.as_bytes() {
        [b'\n' | b'\t', ..] => 1,
        [0x1b, b'[', style @ ..] if painted => {
            let digits = style.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
            if style.get(digits) == Some(&b'm') { digits + 3 } else { 0 }
        }
        _ => 0,
    })
}

/// `kept` says how many bytes at the beginning of a rest, which begins with a hidden character, stay as they are.
fn shown(text: &str, kept: impl Fn(&str) -> usize) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, hidden)) = rest.char_indices().find(|(at, c)| is_hidden(*c) && kept(&rest[*at..]) == 0) {
        out += &rest[..at];
        // All of them are in the first plane, so four digits are enough.
        out += &format!("\\u{:04x}", u32::from(hidden));
        rest = &rest[at + hidden.len_utf8()..];
    }
    if out.is_empty() { Cow::Borrowed(rest) } else { Cow::Owned(out + rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;x\u{7}\r\u{85}\u{202e}b\u{200b}";

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        let shown = r"a\u001b]0;x\u0007\u000d\u0085\u202eb\u200b";
        assert_eq!(line(HOSTILE), shown);
        assert_eq!(lines(HOSTILE, true), shown);
        assert_eq!((line("a\n\tb"), lines("a\n\tb", false)), (r"a\u000a\u0009b".into(), "a\n\tb".into()));
        assert!(matches!(lines("caf\u{e9} \u{2603} \u{1f600}\n", false), Cow::Borrowed(_)), "what shows itself stays as it is");
    }

    #[test]
    fn colours_stay_where_there_are_some_and_nothing_else() {
        let painted = "\u{1b}[1;31mno\u{1b}[0m";
        assert_eq!(lines(painted, true), painted);
        assert_eq!(lines(painted, false), r"\u001b[1;31mno\u001b[0m");
        assert_eq!(lines("\u{1b}[2J\u{1b}[1", true), r"\u001b[2J\u001b[1");
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let json = serde_json::json!({ "name": HOSTILE });
        let text = format!("{json:#}\n");
        assert!(lines(&text, false).contains(r"\u202eb"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&lines(&text, false)).unwrap(), json);
    }
}
