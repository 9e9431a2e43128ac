//! What a diff folder says, anyone could have written: its texts never become statements.

use std::path::Path;

use super::script::psql;
use super::{command, diff, drifted, dump, jobs, last_job, on};
use crate::support::database;

const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Changes the manifest of a diff folder, and seals it again.
fn forge(diff: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = diff.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    change(&mut manifest);
    let seal = manifest.as_object_mut().unwrap().remove("manifest_blake3").unwrap();
    let forged = serde_json::to_string_pretty(&manifest).unwrap();
    let open = forged.strip_suffix("\n}").unwrap();
    let sealed = |hash: &str| format!("{open},\n  \"manifest_blake3\": \"{hash}\"\n}}\n");
    let hash = blake3::hash(sealed(NO_HASH).as_bytes()).to_hex();
    assert_ne!(seal, hash.as_str());
    std::fs::write(&path, sealed(&hash)).unwrap();
}

#[test]
fn a_text_of_a_diff_never_becomes_a_line_of_its_own() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    drifted(&db, 4, 8, 0);
    db.execute("UPDATE weather_forecast_stats SET era5_completeness = 0.125 WHERE miner_uid = 3");
    let (out, witness) = (folder.path().join("diff"), folder.path().join("witness"));
    diff(&db, &out);
    let attack = format!("x\n\\! touch {}\n'; DROP TABLE miner_stats; --\r\u{202e}", witness.display());
    for (at, key) in ["digest", "source", "settings"].into_iter().enumerate() {
        forge(&out, |manifest| match key {
            "settings" => manifest["settings"] = serde_json::json!({"leads": attack}),
            key => manifest[key] = attack.clone().into(),
        });
        let file = folder.path().join(format!("{at}.sql"));
        let file = file.to_str().unwrap();
        let run = on(&db, &["apply", out.to_str().unwrap(), "--sql", file]);
        if Path::new(file).exists() {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.lines().all(|line| !line.contains("\\!") || !line.trim_start().starts_with('\\')), "{text}");
            assert!(!text.contains('\u{202e}') || !text.lines().any(|line| line.starts_with("--") && line.contains('\u{202e}')));
            let done = psql(&db, file);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            on(&db, &["undo", &last_job(&db)]).succeeds();
        } else {
            let _ = run.ends_with(2).stderr_has("manifest.json");
        }
        assert!(!witness.exists(), "psql ran a command of {key}");
    }
    assert_eq!(db.psql("SELECT count(*) > 0 FROM miner_stats"), "t");
}

#[test]
fn the_file_means_the_same_whatever_psql_and_server_are_set_to() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    drifted(&db, 4, 8, 0);
    // A text beyond ASCII, with a quote and a backslash, in rows that are missing.
    db.execute(
        "UPDATE weather_miner_responses SET status = 'failed', error_message = E'caf\u{e9} \u{2603} it''s \\\\ a timeout' WHERE run_id = 3;
         DELETE FROM weather_forecast_stats WHERE run_id = 3",
    );
    let file = folder.path().join("night.sql");
    let file = file.to_str().unwrap();
    on(&db, &["reconcile", "--apply", "--sql", file]).ends_with(1);
    db.execute(&format!(
        "ALTER DATABASE {0} SET standard_conforming_strings = off; ALTER DATABASE {0} SET quote_all_identifiers = on;
         ALTER DATABASE {0} SET search_path = nowhere, public; CREATE SCHEMA nowhere; CREATE TABLE nowhere.miner_stats (x int)",
        db.name()
    ));
    let mut run = std::process::Command::new("psql");
    run.args(["--no-psqlrc", "--quiet", "--single-line", "--file", file, &db.url()]).env("PGCLIENTENCODING", "LATIN1");
    let done = run.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    db.execute(&format!("ALTER DATABASE {} RESET ALL", db.name()));
    let stored = "SELECT DISTINCT forecast_error_msg ->> 'message' FROM weather_forecast_stats WHERE forecast_error_msg ->> 'message' LIKE 'caf%'";
    assert_eq!(db.psql(stored), "caf\u{e9} \u{2603} it's \\ a timeout");
    on(&db, &["reconcile"]).succeeds();
}

#[test]
fn what_is_not_written_down_is_not_done() {
    for table in ["rollup_corrections", "rollup_jobs"] {
        let db = database();
        drifted(&db, 4, 8, 20);
        db.execute(&format!(
            "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER forget BEFORE INSERT ON recount.{table} FOR EACH ROW EXECUTE FUNCTION forget()"
        ));
        let before = dump(&db);
        on(&db, &["reconcile", "--apply"]).ends_with(2).stderr_has(table).stderr_has("nothing was written");
        assert_eq!((dump(&db), jobs(&db)), (before, "0".to_owned()));
    }
    // Some of it is as bad as all of it.
    let db = database();
    drifted(&db, 4, 8, 20);
    db.execute(
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.miner_uid = 3 THEN NULL ELSE NEW END; END';
         CREATE TRIGGER forget BEFORE INSERT ON recount.rollup_corrections FOR EACH ROW EXECUTE FUNCTION forget();
         UPDATE weather_forecast_stats SET era5_completeness = 0.125 WHERE miner_uid = 3",
    );
    on(&db, &["reconcile", "--apply"]).ends_with(2).stderr_has("rollup_corrections, with ");
}

#[test]
fn a_message_of_a_trigger_is_sanitized() {
    let db = database();
    drifted(&db, 4, 8, 20);
    db.execute(
        "CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'no: https://ann:pw@db.example:5432/a from 10.1.2.3'; END $$;
         CREATE TRIGGER quote BEFORE UPDATE ON weather_forecast_stats FOR EACH ROW EXECUTE FUNCTION quote()",
    );
    on(&db, &["reconcile", "--apply"]).ends_with(2).stderr_has("[REDACTED]").never_says("10.1.2.3").never_says("ann:pw");
}

#[test]
fn the_validators_pause_lock_is_heeded_and_taken() {
    use sqlx::Connection;
    let db = database();
    drifted(&db, 4, 8, 20);
    let lock = "SELECT pg_advisory_lock(746227728439)";
    let unlock = "SELECT pg_advisory_unlock(746227728439)";
    crate::support::block_on(async {
        let mut maintenance = db.connect().await;
        sqlx::query(lock).execute(&mut maintenance).await.unwrap();
        let mut started = command(&db, &["reconcile", "--apply"]);
        let child = started.command().stdout(std::process::Stdio::piped()).spawn().unwrap();
        let asking =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'recount reconcile'
             AND query LIKE '%746227728439%'";
        while db.psql(asking) == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(jobs(&db), "0");
        sqlx::query(unlock).execute(&mut maintenance).await.unwrap();
        let ended = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
        let told = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(told.contains("for the validator's pause lock"), "{told}");
        maintenance.close().await.unwrap();
    });
    // Taken, it stops the validator's workers, who ask for it while the job writes.
    db.execute(
        "CREATE TABLE seen (free bool);
         CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.seen SELECT mode <> 'ExclusiveLock' FROM pg_locks
                      WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objid = (746227728439 & 4294967295)::oid; RETURN NULL; END $$;
         CREATE TRIGGER ask AFTER INSERT ON recount.rollup_corrections FOR EACH STATEMENT EXECUTE FUNCTION ask()",
    );
    on(&db, &["undo", &last_job(&db), "--pause-validator"]).stdout_has("the validator was paused");
    assert_eq!(db.psql("SELECT DISTINCT free FROM seen"), "f");
    db.execute("TRUNCATE seen");
    on(&db, &["undo", &last_job(&db)]).succeeds();
    assert_eq!(db.psql("SELECT DISTINCT free FROM seen"), "t");
}
