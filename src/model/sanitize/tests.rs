use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// The lines of a file of the conformance set.
fn lines(name: &str) -> Vec<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(!text.is_empty());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn conformance_of_texts() {
    for case in lines("sanitize.jsonl") {
        let (text, out) = (case["in"].as_str().unwrap(), case["out"].as_str().unwrap());
        assert_eq!(sanitize(text), out, "{text}");
        assert_eq!(sanitize(out), out, "{text}");
        assert_eq!(matches!(sanitize_cow(text), Cow::Borrowed(_)), text == out, "{text}");
    }
}

#[test]
fn conformance_of_errors() {
    for case in lines("errors.jsonl") {
        let error = error_of(&case["error_json"]);
        assert_eq!(error.as_ref().map(|e| e.kind.as_str()), case["type"].as_str(), "{case}");
        assert_eq!(error.as_ref().and_then(|e| e.message.as_deref()), case["message"].as_str(), "{case}");
        assert_eq!(error.as_ref().map(SanitizedError::class), case["class"].as_str(), "{case}");
    }
}

#[test]
fn an_array_a_number_or_a_boolean_is_an_error_of_unknown_type() {
    for json in ["[\"timeout\"]", "404", "true"] {
        let error = error_of(&serde_json::from_str(json).unwrap());
        assert_eq!(error, Some(SanitizedError { kind: "unknown".into(), message: None }), "{json}");
    }
}

#[test]
fn ascii_folds_ascii_only() {
    // The Kelvin sign and the long s fold to k and s in Unicode.
    for text in ["to\u{212a}en=abc", "ba\u{17f}ic abcdefghij", "ho\u{17f}t n1"] {
        assert_eq!(sanitize(text), text);
    }
    assert_eq!(class_of("ha\u{17f}h"), "unknown");
}

#[test]
fn what_is_cut_off_an_address_stays_behind_it() {
    assert_eq!(sanitize("[::1.] ::1%lo] [::1%lo:"), "[REDACTED]. [REDACTED]] [[REDACTED]:");
}

#[test]
fn a_text_gets_eight_rounds_and_no_more() {
    // Each link hides the next one from the rules until it is replaced itself: two rounds a link. Such a text is made, not met.
    let done = sanitize(&"/a.b/:80:::%x".repeat(3));
    assert_eq!(sanitize(&done), done);
    let chained = sanitize(&"/a.b/:80:::%x".repeat(5));
    assert_eq!(
        chained,
        "[REDACTED]/[REDACTED][REDACTED]:[REDACTED]/[REDACTED][REDACTED]:[REDACTED]/[REDACTED][REDACTED]:[REDACTED]/[REDACTED]:::%x/a.b/:80:::%x"
    );
    assert_ne!(sanitize(&chained), chained);
}

#[test]
fn the_cut_counts_code_points() {
    for character in ["x", "é", "🌦"] {
        assert_eq!(sanitize(&character.repeat(501)), character.repeat(500));
        assert!(matches!(sanitize_cow(&character.repeat(500)), Cow::Borrowed(_)));
    }
}

/// What sanitizing looks at, in pieces that join into near misses.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "/", "//", "://", "http://", "s3://h", ":", "::", ":80", ":8080", ".", "..", "-", "_", "%", "?", "#", "=", "&", "\\",
    "C:\\", "[", "]", "[REDACTED]", "[REDACTED", "(", ")", "<", ">", "|", "`", "\"", "'", ",", ";", "{", "}", " ", "  ", "\t",
    "\n", "0", "1", "12", "8080", "1.2", "1.2.8.2", "a", "b", "F", "ab", "fe80", "x", "é", "\u{a0}", "\u{212a}", "🌦", "host",
    "hostname", "port",
];
/// Words that announce a credential.
const ANNOUNCEMENTS: &[&str] = &["Bearer", "basic ", "token", "pwd=", "PASSWORD", "api-key", "abcdefgh"];

fn text_of(pieces: impl Strategy<Value = &'static str>) -> impl Strategy<Value = String> {
    vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn tricky() -> impl Strategy<Value = String> {
    text_of(prop_oneof![9 => select(PIECES), 1 => select(ANNOUNCEMENTS)])
}

/// A text that announces no credential: one that does takes the next word for it, even where that is `api_key=`.
fn surroundings() -> impl Strategy<Value = String> {
    text_of(select(PIECES))
}

/// Letters and digits that are in no tricky piece, so that finding them in a result means that they came through.
fn secret() -> impl Strategy<Value = String> {
    "[G-Q3-7]{9,20}"
}

/// A text with a secret in it, and what must not be left of it.
fn planted() -> impl Strategy<Value = (String, Vec<String>)> {
    let ipv4 = ([13u8..=17, 33..=77, 43..=67, 3..=7], 33_333u16..=55_555).prop_map(|([a, b, c, d], port)| {
        let address = format!("{a}.{b}.{c}.{d}");
        (format!("{address}:{port}"), vec![address, port.to_string()])
    });
    let ipv6 = (0x3333u16..0x7777, 0x3333u16..0x7777, any::<bool>()).prop_map(|(a, b, port)| {
        let address = format!("{a:x}:db8::{b:x}");
        (if port { format!("[{address}]:4567") } else { address.clone() }, vec![address, format!("{a:x}:"), format!(":{b:x}")])
    });
    let url = (secret(), secret(), secret()).prop_map(|(host, folder, query)| {
        (format!("https://{host}.net:4567/{folder}/c.nc?sig={query}"), vec![host, folder, query])
    });
    let unix_path = (secret(), secret()).prop_map(|(a, b)| (format!("/{a}/{b}/c.nc"), vec![a, b]));
    let words =
        [("password=", ""), ("\"token\": \"", "\""), ("api_key='", "'"), ("PWD: ", ""), ("x.secret-v2 = ", ""), ("Bearer ", "")];
    let credential =
        (select(words.to_vec()), secret()).prop_map(|((open, close), secret)| (format!("{open}{secret}{close}"), vec![secret]));
    prop_oneof![ipv4, ipv6, url, unix_path, credential]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sanitizing_twice_changes_nothing(text in prop_oneof![4 => tricky(), 1 => any::<String>()]) {
        let once = sanitize(&text);
        prop_assert_eq!(sanitize(&once), once.clone());
        prop_assert!(once.chars().count() <= MAX_CODE_POINTS);
        prop_assert_eq!(matches!(sanitize_cow(&text), Cow::Borrowed(_)), once == text);
    }

    #[test]
    fn no_planted_secret_comes_through(before in surroundings(), (text, secrets) in planted(), after in surroundings()) {
        let clean = sanitize(&format!("{before} {text} {after}"));
        for secret in secrets {
            prop_assert!(!clean.contains(&secret), "{} is left in {}", secret, clean);
        }
    }
}
