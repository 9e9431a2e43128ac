//! Sanitized errors (E): nothing that leaves the database carries an address, a port, a path or a credential.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde_json::{Map, Value as Json};

use super::rows::parse_json;
use super::value::canonical_json;

/// E1: code points that are kept of a text.
const MAX_CODE_POINTS: usize = 500;
/// E1: a text that the replacements still change in this round is withheld as a whole.
const MAX_ROUNDS: usize = 8;
const REDACTED: &str = "[REDACTED]";

/// The replacements of E1, in order, as the specification writes them.
///
/// They run over bytes, where classes, word boundaries and case folding are ASCII. A negated class then takes the bytes of
/// other characters one by one. No replacement can split a character by that: such a class is either repeated greedily and
/// followed by an ASCII character or by nothing, or it takes a single byte that its replacement puts back.
const RULES: [(&str, &str); 20] = [
    (r"-----BEGIN [A-Z0-9 ]+-----[^-]*(?:-----END [A-Z0-9 ]+-----)?", "[REDACTED]"),
    (
        r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)?|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|xox[a-z]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|AIza[0-9A-Za-z_-]{30,})",
        "[REDACTED]",
    ),
    (
        r#"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|mnemonic|seed[ _-]?phrase)(\\?["']?\s*[=:]\s*\\?["']?)[^\r\n"']+"#,
        "$1$2[REDACTED]",
    ),
    (r#"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'<>]*"#, "$1[REDACTED]"),
    (r#"(://\[REDACTED\][^\s?#"'<>]*)\?[^\s#"'<>]*"#, "$1?[REDACTED]"),
    (r#"(://\[REDACTED\])/(?:[^\s/?#"'<>]+/)+([^\s/?#"'<>]*)"#, "$1/[REDACTED]/$2"),
    (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", "$1 [REDACTED]"),
    (
        r#"(?i)([\w.-]*(?:password|passphrase|passwd|pwd|token|secret|credential|api[_-]?key|access[_-]?key|private[_-]?key)[\w.-]*\\?["']?\s*[=:]\s*|\bpass\\?["']?\s*[=:]\s*)(\\?"[^"]*"?|\\?'[^']*'?|[^\s,;&"'}]+)"#,
        "$1[REDACTED]",
    ),
    (r#"[^\s"'<>()@,;=/]+@(?:\[REDACTED\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)"#, "[REDACTED]"),
    // Rule 10 is `without_ipv6`. This pattern is in every IPv6 address, and in little else.
    (r":[0-9A-Fa-f]{0,4}:", ""),
    (r"(^|[^0-9A-Za-z_.]|%[0-9A-Fa-f]{2})(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b", "$1[REDACTED]"),
    (r#"(?i)\b(host(?:name)?\\?["']?[ =:]+\\?["']?)[^\s,;"'\\]+"#, "$1[REDACTED]"),
    (
        r"(?i)\b(?:[a-z0-9_-]+\.)+(?:com|net|org|io|ai|dev|app|xyz|cloud|internal|local|lan|edu|gov|info|tech|network|eu|uk|de|fr|nl|us|ca|ch|se|pl|ru|cn|jp|kr|br|au|sg|hk|co|me)([^a-z0-9._-]|\.[^a-z0-9]|\.?$)",
        "[REDACTED]$1",
    ),
    (r"(?:\[REDACTED\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]{1,5}\b)+", "[REDACTED]"),
    (r"\b[A-Za-z][A-Za-z0-9-]*:[0-9]{4,5}\b", "[REDACTED]"),
    (r#"(?i)\b(port\\?["']?[ =:]+)[0-9]{1,5}\b"#, "$1[REDACTED]"),
    (r#"(\[REDACTED\]["'],\s*)[0-9]{1,5}\b"#, "$1[REDACTED]"),
    (r#"(^|[\s"'(=,:\[<>|`~])/+(?:[^\s/"'`,;:()<>|=\[\]]+/)*([^\s/"'`,;:()<>|=\[\]]+)/?"#, "$1[REDACTED]/$2"),
    (r#"\\/(?:[^\s\\"']+\\/)*([^\s\\"']+)"#, "[REDACTED]/$1"),
    (r#"(?:\b[A-Za-z]:|\\)\\(?:[^\s\\"']+\\)*([^\s\\"']+)"#, "[REDACTED]/$1"),
];
/// Where rule 10 stands in [`RULES`].
const IPV6_RULE: usize = 9;

/// All patterns in one automaton: one pass tells which rules have any work.
static ANY_RULE: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = RULES.iter().map(|(pattern, _)| pattern);
    RegexSetBuilder::new(patterns).unicode(false).build().expect("the patterns are constants")
});
static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| RULES.iter().map(|(pattern, _)| compile(pattern)).collect());
static IPV6_CANDIDATE: LazyLock<Regex> = LazyLock::new(|| compile(r"\[?([0-9A-Za-z_:.]+)(%[0-9A-Za-z]+)?\]?"));

fn compile(pattern: &str) -> Regex {
    RegexBuilder::new(pattern).unicode(false).build().expect("the patterns are constants")
}

/// The type and message of an error (E2), both sanitized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanitizedError {
    pub kind: String,
    pub message: Option<String>,
}

impl SanitizedError {
    /// E3 of type and message joined with a blank (R11).
    pub fn class(&self) -> &'static str {
        match &self.message {
            Some(message) => class_of(&format!("{} {message}", self.kind)),
            None => class_of(&self.kind),
        }
    }
}

/// E1: the text without addresses, ports, paths and credentials.
pub fn sanitize(text: &str) -> String {
    sanitize_cow(text).into_owned()
}

/// E1: borrowed exactly where it changes nothing.
pub fn sanitize_cow(text: &str) -> Cow<'_, str> {
    let Some(mut clean) = round(text.as_bytes()) else { return Cow::Borrowed(text) };
    for _ in 1..MAX_ROUNDS {
        let Some(next) = round(&clean) else {
            // The rules keep UTF-8 whole, as `RULES` says: nothing is lost here.
            return Cow::Owned(String::from_utf8_lossy(&clean).into_owned());
        };
        clean = next;
    }
    Cow::Owned(REDACTED.to_owned())
}

/// All replacements once, and the cut; `None` where nothing changes.
///
/// A rule is left out where its pattern is nowhere in the text, for then it changes nothing; as soon as one has changed the
/// text, the rules that have work are asked for anew. So a harmless text costs one pass.
fn round(text: &[u8]) -> Option<Vec<u8>> {
    let mut clean = Cow::Borrowed(text);
    let mut with_work = ANY_RULE.matches(text);
    for rule in 0..RULES.len() {
        if !with_work.matched(rule) {
            continue;
        }
        let next = apply(rule, &clean);
        if *next != *clean {
            with_work = ANY_RULE.matches(&next);
            clean = Cow::Owned(next.into_owned());
        }
    }
    let kept = &clean[..cut(&clean)];
    (kept != text).then(|| kept.to_vec())
}

fn apply(rule: usize, text: &[u8]) -> Cow<'_, [u8]> {
    match rule {
        IPV6_RULE => IPV6_CANDIDATE.replace_all(text, without_ipv6),
        _ => PATTERNS[rule].replace_all(text, RULES[rule].1.as_bytes()),
    }
}

/// Rule 10, for one match: an address goes with its zone, and with the brackets where both are there; what was cut off to
/// find it stays.
fn without_ipv6(found: &Captures) -> Vec<u8> {
    let (whole, run) = (&found[0], &found[1]);
    let Some(address) = ipv6_length(run) else { return whole.to_vec() };
    let (opened, closed) = (whole.starts_with(b"["), whole.ends_with(b"]"));
    let open: &[u8] = if opened && !closed { b"[" } else { b"" };
    let close: &[u8] = if closed && !opened { b"]" } else { b"" };
    [open, REDACTED.as_bytes(), &run[address..], close].concat()
}

/// The length of the longest IPv6 address that `run` is, but for up to two `.` or `:` at its end.
fn ipv6_length(run: &[u8]) -> Option<usize> {
    let run = std::str::from_utf8(run).ok()?;
    let spare = run.bytes().rev().take(2).take_while(|b| matches!(b, b'.' | b':')).count();
    (run.len() - spare..=run.len()).rev().find(|&length| run[..length].parse::<Ipv6Addr>().is_ok())
}

/// How many bytes the first [`MAX_CODE_POINTS`] characters of a UTF-8 text take.
fn cut(text: &[u8]) -> usize {
    if text.len() <= MAX_CODE_POINTS {
        return text.len();
    }
    let starts = text.iter().enumerate().filter(|(_, byte)| *byte & 0xc0 != 0x80);
    starts.map(|(at, _)| at).nth(MAX_CODE_POINTS).unwrap_or(text.len())
}

/// E2: `None` where there is no error.
pub fn error_of(error_json: &Json) -> Option<SanitizedError> {
    match error_json {
        Json::Null => None,
        Json::String(text) if text.is_empty() => None,
        Json::String(text) => Some(error_from(None, Some(text))),
        Json::Object(fields) => {
            let text = |key| fields.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
            Some(error_from(text("type"), text("message").or_else(|| text("error"))))
        }
        _ => Some(error_from(None, None)),
    }
}

fn error_from(kind: Option<&str>, message: Option<&str>) -> SanitizedError {
    let message = message.map(sanitize);
    let kind = kind.map_or_else(|| class_of(message.as_deref().unwrap_or_default()).to_owned(), sanitize);
    SanitizedError { kind, message }
}

/// E3: words and the class that they tell, the first that holds.
const CLASSES: [(&[&str], &str); 5] = [
    (&["timeout", "timed out"], "timeout"),
    (&["connection"], "connection"),
    (&["404", "not found"], "not_found"),
    (&["hash", "verification"], "verification_failed"),
    (&["inference"], "inference_error"),
];

/// E3: the class of a sanitized text.
pub fn class_of(sanitized: &str) -> &'static str {
    let text = sanitized.to_ascii_lowercase();
    let told = |(words, _): &&(&[&str], &str)| words.iter().any(|word| text.contains(word));
    CLASSES.iter().find(told).map_or("unknown", |(_, class)| class)
}

/// Stored JSON as canonical text, every text in it sanitized, and whether that changed any. JSON null is no value.
pub fn stored_json(text: &str) -> (Option<String>, bool) {
    let stored = parse_json(text);
    if stored.is_null() {
        return (None, false);
    }
    let clean = sanitized(&stored);
    (Some(canonical_json(&clean)), clean != stored)
}

/// JSON with every text and key in it sanitized.
pub fn sanitized(json: &Json) -> Json {
    match json {
        Json::String(text) => Json::String(sanitize(text)),
        Json::Array(items) => Json::Array(items.iter().map(sanitized).collect()),
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| (sanitize(key), sanitized(value));
            Json::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        scalar => scalar.clone(),
    }
}
