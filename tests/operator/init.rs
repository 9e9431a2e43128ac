//! `recount init`: what it writes works, and nobody else can read what is secret of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use recount::internals::cli::keys::KEYS;
use recount::internals::cli::settings::{Layers, Settings, parse_file};

use super::{init, url_of};
use crate::support::cluster::PASSWORD;
use crate::support::repository::{blocks, read};
use crate::support::{Cluster, Database, conformance, execute_on, recount};

const FILES: [&str; 9] = [
    "corrector.env",
    "migrator.env",
    "recount-nightly",
    "recount.cron",
    "recount.env",
    "recount.service",
    "recount.timer",
    "recount.toml",
    "roles.sql",
];

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a file by psql, as its head says.
fn psql(url: &str, file: &Path) -> String {
    let output =
        Command::new("psql").args(["-X", "-v", "ON_ERROR_STOP=1", "-1", "-f"]).arg(file).arg(url).output().expect("psql runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

/// A validator's database whose tables belong to a role of their own, as the validator connects by it.
fn owned(cluster: &Cluster) -> (Database<'_>, String) {
    let db = Database::create(cluster);
    db.execute(&format!(
        "CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}'; ALTER DATABASE {0} OWNER TO owner; ALTER SCHEMA public OWNER TO owner;
         REVOKE ALL ON SCHEMA public FROM PUBLIC; ALTER ROLE validator IN DATABASE {0} SET role = 'owner'",
        db.name()
    ));
    conformance::load(&db, "small");
    execute_on(cluster, "postgres", &format!("ALTER ROLE validator IN DATABASE {} RESET role", db.name()));
    let url = db.url().replace("//validator:", "//owner:");
    (db, url)
}

#[test]
fn every_role_can_do_its_work_and_no_more() {
    // Roles belong to a whole server.
    let cluster = Cluster::start();
    let (db, owner) = owned(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let run = init(folder.path(), &["--database-url", &owner]).succeeds().never_says(PASSWORD);
    run.stdout_has("phase1 not applied").stdout_has("weather_forecast_steps.status").stdout_has("initialised from");
    let roles = folder.path().join("roles.sql");
    psql(&db.url(), &roles);

    let [reader, corrector, migrator] = ["recount.env", "corrector.env", "migrator.env"].map(|file| url_of(folder.path(), file));
    let at = |url: &str, args: &[&str]| recount(args).env("DATABASE_URL", url).folder(folder.path()).run();
    let works = |url: &str, args: &[&str]| {
        let run = at(url, args);
        assert!(run.status.is_some_and(|status| status < 2), "{run}");
    };
    works(&reader, &["reconcile"]);
    at(&reader, &["doctor"]).succeeds();
    at(&reader, &["reconcile", "--apply"]).ends_with(3).stdout_has("Phase 1 is not applied");
    at(&reader, &["migrate"]).ends_with(2);
    at(&corrector, &["migrate"]).ends_with(2);

    at(&migrator, &["migrate"]).succeeds();
    let owners =
        "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class WHERE relname ~ '^(rollup|recount|weather)_'";
    assert_eq!(db.psql(owners), "owner", "what is made belongs to whom all else belongs");
    let again = psql(&db.url(), &roles);
    assert!(again.contains("recount_reader is there already and keeps its password"), "{again}");
    at(&reader, &["doctor"]).succeeds().stdout_has("no job has written anything yet").stdout_has("as a reader should be");
    let _ = at(&reader, &["jobs"]).succeeds();
    let examined = at(&corrector, &["doctor", "--apply"]).succeeds();
    examined.stdout_has("the role may correct: reconcile --apply, apply, undo, --prune-extra");
    works(&corrector, &["reconcile", "--apply", "--max-fraction", "1"]);
    at(&migrator, &["phase3", "apply"]).succeeds();
    // What comes later can be read at once.
    works(&reader, &["reconcile"]);
    let rights =
        "SELECT string_agg(DISTINCT privilege_type, ' ' ORDER BY privilege_type) FROM information_schema.table_privileges
                  WHERE grantee = 'recount_reader'";
    assert_eq!(db.psql(rights), "SELECT");
    let stored = "SELECT string_agg(DISTINCT left(rolpassword, 14), ' ') FROM pg_authid WHERE rolname LIKE 'recount\\_%'";
    assert_eq!(db.psql(stored), "SCRAM-SHA-256$");
}

#[test]
fn no_role_stands_for_a_superuser() {
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    conformance::load(&db, "small");
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &["--database-url", &db.url()]).succeeds();
    let told = psql(&db.url(), &folder.path().join("roles.sql"));
    assert!(told.contains("the validator's tables belong to the superuser validator"), "{told}");
    assert_eq!(db.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'recount_migrator'"), "0");
    let empty = Database::create(&cluster);
    let refused = Command::new("psql")
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(folder.path().join("roles.sql"))
        .arg(empty.url())
        .output();
    let told = String::from_utf8(refused.unwrap().stderr).unwrap();
    assert!(told.contains("there is no table weather_forecast_runs: connect to the validator's database"), "{told}");
}

#[test]
fn nobody_else_can_read_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new/folder");
    let env = format!("DB_USER=u\nDB_PASSWORD={PASSWORD}\nDB_HOST=127.0.0.1\nDB_PORT=1\nDB_NAME=validator\n");
    let run =
        recount(["init", "--yes", "--dir", folder.to_str().unwrap(), "--env-file", ".env"]).file(".env", &env).run().succeeds();
    let run =
        run.never_says(PASSWORD).stdout_has("the database was not looked at: connecting to postgres://u@127.0.0.1:1/validator");
    assert_eq!(names(&folder), FILES);
    let mut passwords = Vec::new();
    for file in ["recount.env", "corrector.env", "migrator.env"] {
        let url = url_of(&folder, file);
        assert!(url.ends_with("@127.0.0.1:1/validator"), "{url}");
        passwords.push(url.split(':').nth(2).unwrap().split('@').next().unwrap().to_owned());
    }
    passwords.sort();
    passwords.dedup();
    assert!(passwords.len() == 3 && passwords.iter().all(|password| password.len() > 30), "{passwords:?}");
    for file in FILES {
        let mode = fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777;
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let secret = passwords.iter().any(|password| text.contains(password.as_str()));
        assert_eq!(secret, file.ends_with(".env"), "{file}");
        assert!(!text.contains(PASSWORD), "{file}");
        match file {
            "recount-nightly" => assert_eq!(mode & 0o700, 0o700, "{file}"),
            file if secret || file == "roles.sql" => assert_eq!(mode, 0o600, "{file}"),
            _ => assert_eq!(mode & 0o600, 0o600, "{file}"),
        }
        let _ = passwords.iter().fold(&run, |run, password| {
            assert!(!run.stdout.contains(password.as_str()) && !run.stderr.contains(password.as_str()));
            run
        });
    }
}

#[test]
fn nothing_is_written_over_and_nothing_without_a_yes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    recount(["init", "--dir", dir]).run().ends_with(3).stderr_has("there is no terminal to ask on").stderr_has("recount-nightly");
    assert!(names(folder.path()).is_empty());
    for file in ["recount.toml", "recount.cron"] {
        fs::write(folder.path().join(file), "mine").unwrap();
        init(folder.path(), &[])
            .ends_with(2)
            .stderr_has(&format!("writing {dir}/{file}: the file exists"))
            .stderr_has("another folder");
        assert_eq!(names(folder.path()), [file], "nothing beside it");
        assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), "mine");
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    std::os::unix::fs::symlink("/nowhere", folder.path().join("roles.sql")).unwrap();
    init(folder.path(), &[]).ends_with(2).stderr_has("roles.sql: the file exists");
    init(&folder.path().join("a b"), &[]).ends_with(2).stderr_has("other characters than letters");
    init(folder.path(), &["--database-url", "db.example/validator"]).ends_with(2).stderr_has("reading the database URL");
    init(folder.path(), &["--env-file", "no/such"]).ends_with(2).stderr_has("reading no/such");
}

#[test]
fn the_validators_own_settings_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap().to_owned();
    let env = "WEATHER_FINAL_SCORING_LEAD_HOURS=24,48,72\nexport WEATHER_SCORE_ERA5_WEIGHT=\"0.9\"\nWEATHER_SCORE_DAY1_WEIGHT=0.1 # a tenth\n\
               WEATHER_DAY1_BINARY_THRESHOLD='0.2'\n";
    let run =
        recount(["init", "--yes", "--dir", &dir, "--env-file", ".env", "--format", "json"]).file(".env", env).run().succeeds();
    let report = run.json();
    assert_eq!((report["version"].as_i64(), report["taken_over"].as_array().unwrap().len()), (Some(1), 4));
    assert!(report["notes"][0].as_str().unwrap().contains("no database was looked at"), "{run}");
    let settings = recount(["config", "--format", "json"]).folder(folder.path()).run().succeeds().json()["settings"].clone();
    for (name, value) in [
        ("scoring.expected_leads", serde_json::json!([24, 48, 72])),
        ("scoring.era5_weight", 0.9.into()),
        ("scoring.day1_weight", 0.1.into()),
        ("scoring.day1_pass_threshold", 0.2.into()),
    ] {
        assert_eq!((&settings[name]["value"], settings[name]["from"].as_str()), (&value, Some("recount.toml")), "{name}");
    }
    let from_environment = tempfile::tempdir().unwrap();
    let dir = from_environment.path().to_str().unwrap();
    recount(["init", "--yes", "--dir", dir])
        .env("WEATHER_SCORE_ERA5_WEIGHT", "0.8")
        .run()
        .succeeds()
        .stdout_has("era5_weight = 0.8");
    recount(["init", "--yes", "--dir", "other"])
        .env("WEATHER_SCORE_ERA5_WEIGHT", "much")
        .run()
        .ends_with(2)
        .stderr_has("error: reading the environment: WEATHER_SCORE_ERA5_WEIGHT: found \"much\"; expected a number");
}

/// The file as `recount init` writes it where nothing is to be taken over.
fn written() -> String {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &[]).succeeds();
    fs::read_to_string(folder.path().join("recount.toml")).unwrap()
}

#[test]
fn the_documents_recount_toml_is_the_one_that_is_written_and_changes_nothing() {
    let page = read("docs/operations.md");
    let [example] = &blocks(&page, "toml")[..] else { panic!("docs/operations.md has one recount.toml") };
    let written = written();
    assert_eq!(example.trim(), written.trim());
    let of = |text: &str| {
        let file = parse_file(Path::new("recount.toml"), text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Settings::resolve(&Layers { file: Some(file), ..Layers::default() }).unwrap_or_else(|e| panic!("{e}"))
    };
    let same = |settings: &Settings| KEYS.iter().all(|key| settings.origin(key).to_string() == "default");
    assert!(same(&of(&written)), "pasted as it is, it changes nothing");
    // Every key is there to be taken: with all of them in force, each comes from the file.
    let keys: Vec<String> = KEYS.iter().map(|key| format!("# {} = ", key.name())).collect();
    let is_key = |line: &&str| keys.iter().any(|key| line.starts_with(key.as_str()));
    assert_eq!(written.lines().filter(is_key).count(), KEYS.len());
    let taken: Vec<&str> = written.lines().map(|line| if is_key(&line) { &line[2..] } else { line }).collect();
    let settings = of(&taken.join("\n"));
    assert!(KEYS.iter().all(|key| settings.origin(key).to_string() == "recount.toml"));
}

#[test]
fn units_are_what_systemd_takes() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &[]).succeeds();
    let units = ["recount.service", "recount.timer"].map(|name| folder.path().join(name));
    let Ok(output) = Command::new("systemd-analyze").arg("verify").args(&units).output() else {
        eprintln!("systemd-analyze is not here: the units are not checked");
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("recount")).collect();
    assert!(ours.is_empty(), "{told}");
    let service = fs::read_to_string(&units[0]).unwrap();
    assert!(service.contains(&format!("ExecStart={}/recount-nightly\n", folder.path().display())), "{service}");
    let calendar = Command::new("systemd-analyze").args(["calendar", "*-*-* 03:30:00"]).output().unwrap();
    assert!(calendar.status.success(), "{}", String::from_utf8_lossy(&calendar.stderr));
    let cron = fs::read_to_string(folder.path().join("recount.cron")).unwrap();
    let line = cron.lines().find(|line| !line.starts_with('#')).unwrap();
    assert_eq!(line.split_whitespace().count(), 7, "five times, a user, a command: {line}");
}
