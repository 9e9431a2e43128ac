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
fn e1_conformance_of_texts() {
    for case in lines("sanitize.jsonl") {
        let (text, out) = (case["in"].as_str().unwrap(), case["out"].as_str().unwrap());
        assert_eq!(sanitize(text), out, "{text}");
        assert_eq!(sanitize(out), out, "{text}");
        assert_eq!(matches!(sanitize_cow(text), Cow::Borrowed(_)), text == out, "{text}");
    }
}

#[test]
fn e2_and_e3_conformance_of_errors() {
    for case in lines("errors.jsonl") {
        let error = error_of(&case["error_json"]);
        assert_eq!(error.as_ref().map(|e| e.kind.as_str()), case["type"].as_str(), "{case}");
        assert_eq!(error.as_ref().and_then(|e| e.message.as_deref()), case["message"].as_str(), "{case}");
        assert_eq!(error.as_ref().map(SanitizedError::class), case["class"].as_str(), "{case}");
    }
}

/// Texts and what E1 makes of them, worked out by hand: an arrow between both.
fn assert_texts(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (text, clean) = line.split_once(" → ").expect("an arrow");
        assert_eq!(sanitize(&text.replace("␤", "\n")), clean.replace("␤", "\n"), "{text}");
    }
}

#[test]
fn e1_each_replacement_by_its_number() {
    // 1 to 3: keys, tokens, headers.
    assert_texts(
        "-----BEGIN RSA KEY-----␤MIIB␤-----END RSA KEY-----, x → [REDACTED], x
         a -----BEGIN KEY-----MIIB → a [REDACTED]
         AKIA0123456789ABCDEF0 ASIAABCDEFGHIJKLMNOP → [REDACTED]0 [REDACTED]
         AKIA0123456789ABCDE xAKIA0123456789ABCDEF → AKIA0123456789ABCDE xAKIA0123456789ABCDEF
         eyJabcde.f eyJabcde.f.g eyJabcd.f → [REDACTED] [REDACTED] eyJabcd.f
         Set-Cookie: a=b; c=d␤next → Set-Cookie: [REDACTED]␤next
         {\"Authorization\": \"Bearer x\", \"n\": 1} → {\"Authorization\": \"[REDACTED]\", \"n\": 1}
         seed_phrase = a b c → seed_phrase = [REDACTED]",
    );
    // 4 to 6: URLs.
    assert_texts(
        "GET s3://u:p@h:1/x → GET s3://[REDACTED]/x
         http://h?a=b#c → http://[REDACTED]?[REDACTED]#c
         http://h/a/b/c.nc → http://[REDACTED]/[REDACTED]/c.nc",
    );
    // 7 to 9: credentials, mailboxes.
    assert_texts(
        "Basic abcdefgh basic abcdefg → Basic [REDACTED] basic abcdefg
         my.token-2 = x, y → my.token-2 = [REDACTED], y
         pass: x; bypass: x → pass: [REDACTED]; bypass: x
         {\\\"pwd\\\": \\\"a b\\\"} → {\\\"pwd\\\": [REDACTED]}
         secret='a b → secret=[REDACTED]
         a.b@c.d-e: x → [REDACTED]: x",
    );
    // 10 to 13: addresses and names of hosts.
    assert_texts(
        "[fe80::1%lo]. → [REDACTED].
         1.2.3.4, v1.2.3.4, 0.1.2.3.4 → [REDACTED], v1.2.3.4, [REDACTED].4
         %201.2.3.4 %2F1.2.3.4 → %[REDACTED] %2F[REDACTED]
         host: 'n1' hostname=n2\\x → host: '[REDACTED]' hostname=[REDACTED]\\x
         n1.example.NET. a.b.com é → [REDACTED]. [REDACTED] é
         a.community a.com_ a.com.b → a.community a.com_ a.com.b",
    );
    // 14 to 17: ports.
    assert_texts(
        "n1.example:80:1 → [REDACTED]
         n1:8091 n1:809 → [REDACTED] n1:809
         \"port\": 80, port = 123456 → \"port\": [REDACTED], port = 123456
         ('1.2.3.4', 80) → ('[REDACTED]', [REDACTED])",
    );
    // 18 to 20: paths.
    assert_texts(
        "/a ~/b/c //d/e/, f/g → [REDACTED]/a ~[REDACTED]/c [REDACTED]/e, f/g
         \\/a\\/b.nc → [REDACTED]/b.nc
         C:\\a\\b \\\\n\\c → [REDACTED]/b [REDACTED]/c",
    );
}

#[test]
fn e2_an_array_a_number_or_a_boolean_is_of_unknown_type() {
    for json in ["[\"timeout\"]", "404", "true"] {
        let error = error_of(&serde_json::from_str(json).unwrap());
        assert_eq!(error, Some(SanitizedError { kind: "unknown".into(), message: None }), "{json}");
    }
}

#[test]
fn e2_type_and_message_of_an_error() {
    // error | type | message
    let table = r#"
        {"type": "t", "message": "m", "error": "e", "traceback": "b"} | t          | m
        {"type": "", "message": "404"}                                | not_found  | 404
        {"error": "timed out"}                                        | timeout    | timed out
        {"message": "", "error": "e"}                                 | unknown    | e
        {"message": 5, "error": "e"}                                  | unknown    | e
        {"type": "t"}                                                 | t          | -
        {"type": "1.2.3.4", "message": "on 1.2.3.4"}                  | [REDACTED] | on [REDACTED]
        {"traceback": "b"}                                            | unknown    | -
        {}                                                            | unknown    | -
        "connection lost"                                             | connection | connection lost
        ""                                                            | none       | -
        null                                                          | none       | -"#;
    for line in table.trim().lines() {
        let [json, kind, message] = line.split(" | ").map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        let expected = (kind != "none")
            .then(|| SanitizedError { kind: kind.to_owned(), message: (message != "-").then(|| message.to_owned()) });
        assert_eq!(error_of(&serde_json::from_str(json).unwrap()), expected, "{line}");
    }
}

#[test]
fn d5_stored_json_is_sanitized_in_every_text_and_key() {
    let clean = |json: &str| stored_json(json);
    assert_eq!(clean("null"), (None, false));
    assert_eq!(
        clean(r#"{"type": "t", "message": "m", "n": 1}"#),
        (Some(r#"{"message":"m","n":1,"type":"t"}"#.to_owned()), false)
    );
    assert_eq!(clean(r#"["on 1.2.3.4"]"#), (Some(r#"["on [REDACTED]"]"#.to_owned()), true));
    assert_eq!(clean(r#"{"1.2.3.4": 1}"#), (Some(r#"{"[REDACTED]":1}"#.to_owned()), true));
}

#[test]
fn e3_the_first_class_that_holds() {
    let table = "
        Timeout, connection lost    | timeout
        request TIMED OUT           | timeout
        Connection: 404             | connection
        404 hash                    | not_found
        verification: not found     | not_found
        bad hash of inference       | verification_failed
        Verification inference      | verification_failed
        INFERENCE died              | inference_error
        time out, conection, 40 4   | unknown
                                    | unknown";
    for line in table.trim_end().lines().skip(1) {
        let (text, class) = line.split_once('|').unwrap();
        assert_eq!(class_of(text.trim()), class.trim(), "{line}");
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
fn e1_what_the_eighth_round_still_changes_is_withheld() {
    // Each link hides the next one from the rules until it is replaced itself: two rounds a link. Such a text is made, not met.
    let link = "/a.b/:80:::%x";
    let done = sanitize(&link.repeat(3));
    assert_ne!(done, REDACTED);
    assert_eq!(sanitize(&done), done);
    assert_eq!(sanitize(&link.repeat(5)), REDACTED);
}

#[test]
fn e1_the_cut_counts_code_points() {
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
    "hostname", "port", "@", "~", "\\/", "\\\\", "\\\"", "n.net", ".io", ".com.", "%41", "'[REDACTED]', ",
];
/// Words that announce a credential, and credentials that would be mistaken for a part of another one.
#[rustfmt::skip]
const ANNOUNCEMENTS: &[&str] = &[
    "Bearer", "basic ", "token", "pwd=", "PASSWORD", "api-key", "abcdefgh", "pass:", "Cookie", "seed phrase=", "passphrase",
    "-----BEGIN X-----", "-----END X-----", "AKIA0123456789ABCDEF", "eyJabcde.f", "ghp_0123456789abcdefghij",
];

fn text_of(pieces: impl Strategy<Value = &'static str>) -> impl Strategy<Value = String> {
    vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn tricky() -> impl Strategy<Value = String> {
    text_of(prop_oneof![9 => select(PIECES), 1 => select(ANNOUNCEMENTS)])
}

/// A text that announces no credential: one that does takes the next word for it, even where that is `api_key=`. So does one that
/// ends by announcing a host (rule 12): `host host='…'`.
fn surroundings() -> impl Strategy<Value = String> {
    let announces_host = |text: &str| {
        let word = text.trim_end_matches([' ', '=', ':', '\\', '"', '\'']);
        word.ends_with("host") || word.ends_with("hostname")
    };
    text_of(select(PIECES)).prop_filter("ends by announcing a host", move |text| !announces_host(text))
}

/// Letters and digits that are in no tricky piece, so that finding them in a result means that they came through.
fn secret() -> impl Strategy<Value = String> {
    "[G-Q3-7]{9,20}"
}

/// Octets that are in no tricky piece.
fn ipv4_octets() -> impl Strategy<Value = String> {
    [13u8..=17, 33..=77, 43..=67, 3..=7].prop_map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}"))
}

/// A text with a secret in it, and what must not be left of it.
fn planted() -> impl Strategy<Value = (String, Vec<String>)> {
    let ipv4 = (ipv4_octets(), 33_333u16..=55_555)
        .prop_map(|(address, port)| (format!("{address}:{port}"), vec![address, port.to_string()]));
    let ipv6 = (0x3333u16..0x7777, 0x3333u16..0x7777, any::<bool>()).prop_map(|(a, b, port)| {
        let address = format!("{a:x}:db8::{b:x}");
        (if port { format!("[{address}]:4567") } else { address.clone() }, vec![address, format!("{a:x}:"), format!(":{b:x}")])
    });
    let url = (secret(), secret(), secret()).prop_map(|(host, folder, query)| {
        (format!("https://{host}.net:4567/{folder}/c.nc?sig={query}"), vec![host, folder, query])
    });
    let tuple = (ipv4_octets(), 33_333u16..=55_555)
        .prop_map(|(address, port)| (format!("('{address}', {port})"), vec![address, port.to_string()]));
    let paths = [("/", "/"), ("~/", "/"), ("C:\\", "\\"), ("\\\\", "\\"), ("\\/", "\\/")];
    let path = (select(paths.to_vec()), secret(), secret())
        .prop_map(|((root, slash), a, b)| (format!("{root}{a}{slash}{b}{slash}c.nc"), vec![a, b]));
    let words = [
        ("password=", ""),
        ("\"token\": \"", "\""),
        ("api_key='", "'"),
        ("PWD: ", ""),
        ("x.secret-v2 = ", ""),
        ("Bearer ", ""),
        ("pass: ", ""),
        ("{\\\"passphrase\\\": \\\"a ", "\\\"}"),
        ("credential='", ""),
        ("Cookie: a=", "; b"),
        ("Proxy-Authorization: x ", ""),
        ("mnemonic: a ", " b"),
        ("seed phrase=", ""),
        ("host='", "'"),
        ("\"hostname\": \"", "\""),
        ("anna@", ""),
        ("anna@", ".lan"),
        ("n.", ".example.com."),
        ("", ".eu"),
        ("ghp_0123456789a", ""),
        ("github_pat_0123456789_", ""),
        ("xoxb-", "-x"),
        ("sk-0123456", ""),
        ("hf_0123456789a", ""),
        ("AIza01234567890_-01234567890", ""),
        ("eyJhbGci.", ".x"),
        ("eyJhbGci.x.", ""),
        ("-----BEGIN EC PRIVATE KEY-----\n", "\n-----END EC PRIVATE KEY-----"),
        ("-----BEGIN KEY-----", ""),
    ];
    let credential =
        (select(words.to_vec()), secret()).prop_map(|((open, close), secret)| (format!("{open}{secret}{close}"), vec![secret]));
    let cloud_key = "AKIA[G-Q3-7]{16}".prop_map(|key| (key.clone(), vec![key]));
    prop_oneof![1 => ipv4, 1 => ipv6, 1 => url, 1 => tuple, 1 => path, 6 => credential, 1 => cloud_key]
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

#[test]
fn e1_docs_semantics_lists_the_replacements_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/semantics.md");
    let page = std::fs::read_to_string(path).unwrap();
    for (rule, (pattern, _)) in RULES.iter().enumerate().filter(|(rule, _)| *rule != IPV6_RULE) {
        assert!(page.lines().any(|line| line.get(4..) == Some(*pattern)), "{}: {pattern}", rule + 1);
    }
}
