use serde_json::json;

use super::*;

fn layers(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Layers {
    Layers {
        file: (!file.is_empty()).then(|| parse_file(Path::new("recount.toml"), file).unwrap()),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        narrowing: Narrowing::default(),
    }
}

fn resolve(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Settings> {
    Settings::resolve(&layers(file, env, flags))
}

/// The value of a key and where it came from.
fn entry(settings: &Settings, flag: &str) -> (serde_json::Value, String) {
    let key = KEYS.iter().find(|key| key.flag == flag).unwrap();
    ((key.slot)(&mut settings.clone()).show(), settings.origin(key).to_string())
}

/// The message and the hint of the error.
fn refusal(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> (String, String) {
    let error = resolve(file, env, flags).unwrap_err();
    assert_eq!((error.kind(), error.exit_status()), (ErrorKind::Usage, 2));
    (error.to_string(), error.hint_text().unwrap_or_default().to_owned())
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let file = "threads = 2\nconnections = 3\natol = 1e-6\n[scoring]\nrank_method = 'dense'";
    let env = [("RECOUNT_THREADS", "5"), ("RECOUNT_CONNECTIONS", "6"), ("RECOUNT_RTOL", "")];
    let settings = resolve(file, &env, &[("threads", "7")]).unwrap();
    assert_eq!(entry(&settings, "threads"), (json!(7), "--threads".to_owned()));
    assert_eq!(entry(&settings, "connections"), (json!(6), "RECOUNT_CONNECTIONS".to_owned()));
    assert_eq!(entry(&settings, "atol"), (json!(1e-6), "recount.toml".to_owned()));
    assert_eq!(entry(&settings, "rank-method"), (json!("dense"), "recount.toml".to_owned()));
    assert_eq!(entry(&settings, "rtol"), (json!(1e-9), "default".to_owned()), "an empty variable is none");
}

#[test]
fn the_defaults_are_those_of_the_rules() {
    let settings = resolve("", &[], &[]).unwrap();
    assert_eq!(settings.scoring, Scoring::default());
    assert_eq!(settings.connections.get(), 2);
    for key in KEYS {
        assert_eq!(settings.origin(key), &Origin::Default);
    }
}

#[test]
fn every_key_has_its_own_names_and_reads_what_it_shows() {
    let settings = resolve("", &[], &[]).unwrap();
    for (i, key) in KEYS.iter().enumerate() {
        assert!(KEYS[..i].iter().all(|other| other.flag != key.flag && other.env() != key.env()), "{}", key.flag);
        let shown = entry(&settings, key.flag).0;
        let text = match &shown {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            list => list.to_string().replace(['[', ']', '"'], ""),
        };
        let again = resolve("", &[(&key.env(), &text)], &[]).unwrap();
        assert_eq!(entry(&again, key.flag).0, shown, "{}", key.flag);
    }
}

#[test]
fn the_source_is_typed_or_database_url() {
    let env = [("DATABASE_URL", "postgres://u:secret@h/db")];
    let settings = resolve("source = 'data/sample'", &env, &[]).unwrap();
    assert_eq!(entry(&settings, "source"), (json!("postgres://u:***@h/db"), "DATABASE_URL".to_owned()));
    assert!(!format!("{settings:?}").contains("secret"));
    let settings = resolve("", &env, &[("source", "data/sample")]).unwrap();
    assert_eq!(entry(&settings, "source"), (json!("data/sample"), "SOURCE".to_owned()));
    let error = resolve("", &[], &[]).unwrap().source().unwrap_err();
    assert_eq!(error.to_string(), "choosing a source: no SOURCE is given and DATABASE_URL is not set");
}

#[test]
fn a_wrong_source_is_named_without_its_password() {
    let (message, _) = refusal("", &[("DATABASE_URL", "mysql://u:secret@h/db")], &[]);
    assert_eq!(
        message,
        "DATABASE_URL: found a URL of another scheme; expected a URL such as postgres://user@host/database, or a snapshot folder"
    );
}

#[test]
fn an_unknown_key_names_the_nearest() {
    for (file, message, nearest) in [
        ("thread = 2", "recount.toml: unknown key thread", "threads"),
        ("[scoring]\nexpected_lead = [24]", "recount.toml: unknown key scoring.expected_lead", "scoring.expected_leads"),
        ("expected_leads = [24]", "recount.toml: unknown key expected_leads", "scoring.expected_leads"),
        ("[scoring]\nthreads = 2", "recount.toml: unknown key scoring.threads", "threads"),
        ("[skoring]\nthreads = 2", "recount.toml: unknown key skoring", "scoring"),
        ("scoring = 1", "recount.toml: key scoring: found the integer 1; expected a table", ""),
    ] {
        let hint = if nearest.is_empty() { String::new() } else { format!("the nearest known key is {nearest}") };
        assert_eq!(refusal(file, &[], &[]), (message.to_owned(), hint));
    }
}

#[test]
fn a_wrong_type_names_key_found_and_expected() {
    for (file, message) in [
        ("threads = 'two'", "recount.toml, key threads: found the string \"two\"; expected a whole number, at least 1"),
        ("threads = 0", "recount.toml, key threads: found the integer 0; expected a whole number, at least 1"),
        ("[scoring]\nera5_weight = true", "recount.toml, key scoring.era5_weight: found the boolean true; expected a number"),
        (
            "[scoring]\nrank_method = 'olympic'",
            "recount.toml, key scoring.rank_method: found the string \"olympic\"; expected competition or dense",
        ),
    ] {
        assert_eq!(refusal(file, &[], &[]).0, message);
    }
    assert_eq!(
        refusal("", &[("RECOUNT_EXPECTED_LEADS", "24,x")], &[]).0,
        "RECOUNT_EXPECTED_LEADS: found \"24,x\"; expected a list of whole hours, such as 24,48,72"
    );
    assert_eq!(refusal("", &[], &[("format", "html")]).0, "--format: found \"html\"; expected terminal or json");
}

#[test]
fn what_makes_no_sense_together_is_refused_with_its_origin() {
    for (file, flag, message, hint) in [
        (
            "",
            ("expected-leads", "24,72,48"),
            "setting expected_leads: has 72 before 48; leads must be strictly ascending",
            "expected_leads is set by --expected-leads",
        ),
        ("", ("expected-leads", "24,24"), "setting expected_leads: has 24 before 24; leads must be strictly ascending", ""),
        (
            "[scoring]\nera5_weight = 0",
            ("day1-weight", "0"),
            "setting era5_weight + day1_weight: is 0; the sum must be above zero and finite",
            "era5_weight is set by recount.toml\nday1_weight is set by --day1-weight",
        ),
        ("", ("day1-weight", "-1"), "setting day1_weight: is -1; expected a finite number that is not negative", ""),
        ("", ("atol", "NaN"), "setting atol: is NaN; expected a finite number that is not negative", "atol is set by --atol"),
        ("", ("expected-variables", ""), "setting expected_variables: is empty; expected at least one variable", ""),
        ("", ("columns", "score"), "setting columns: \"score\" is neither a group nor a column that is compared", ""),
    ] {
        let (said, hinted) = refusal(file, &[], &[flag]);
        assert_eq!(said, message);
        assert!(hinted.contains(hint), "{hinted}");
    }
}

#[test]
fn a_variable_with_our_prefix_that_nothing_reads_is_mentioned() {
    let settings = resolve("", &[("RECOUNT_THREAD", "2"), ("RECOUNT_CONFIG", "x"), ("OTHER", "y")], &[]).unwrap();
    assert_eq!(settings.warnings, ["RECOUNT_THREAD is set, but there is no such setting"]);
}

#[test]
fn broken_toml_says_where() {
    let error = parse_file(Path::new("recount.toml"), "threads = 1\nsource = 'postgres://u:secret@h/db\n").unwrap_err();
    assert_eq!(error.to_string(), "reading recount.toml: line 2: invalid literal string, expected `'`");
}

#[test]
fn a_named_file_must_exist() {
    let error = read_file(Some(Path::new("no/such.toml"))).unwrap_err();
    assert_eq!(error.to_string(), "reading no/such.toml: No such file or directory (os error 2)");
}

#[test]
fn more_threads_than_a_machine_has_use_for_are_not_taken() {
    let settings = resolve("", &[("RECOUNT_CONNECTIONS", "1000")], &[("threads", "100000")]).unwrap();
    let most = std::thread::available_parallelism().unwrap().get().saturating_mul(4).min(256);
    assert_eq!((settings.threads.get(), settings.connections.get()), (most, most));
    let told = settings.warnings.join("\n");
    assert!(told.contains(&format!("threads: 100000 is more than this machine has use for; {most} are taken")), "{told}");
    assert!(told.contains("connections: 1000 is more"), "{told}");
    assert!(resolve("", &[], &[("threads", "1")]).unwrap().warnings.is_empty());
}
