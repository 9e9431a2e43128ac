//! Legacy lead scores: what a wide column alone still knew counts on in every rollup, whatever it is read from, and only where nothing was
//! measured.

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::phase2::validator;
use crate::support::command::Run;
use crate::support::{Database, recount};

/// A validator whose retention took the scores of a lead of the first run; its rollups are still what they were made of. Gives how many
/// wide values that leaves alone.
fn purged(seed: &str) -> (Database<'static>, usize) {
    let db = validator(seed);
    db.execute("DELETE FROM weather_miner_scores WHERE lead_hours = 48 AND run_id = 1");
    let alone = db.psql("SELECT count(era5_score_48h) FROM weather_forecast_stats WHERE run_id = 1").parse().unwrap();
    assert!(alone > 3);
    (db, alone)
}

fn reconcile(arguments: &[&str]) -> Json {
    recount([&["reconcile", "--format", "json"], arguments].concat()).run().json()
}

/// Rows that are not what is recomputed, whether their evidence is there or gone (D6).
fn drifted(report: &Json) -> u64 {
    let rows = &report["tables"]["weather_forecast_stats"]["rows"];
    ["drift", "unproven"].map(|class| rows[class].as_u64().unwrap()).iter().sum()
}

fn phase2(db: &Database, arguments: &[&str]) -> Run {
    let url = db.url();
    // Nobody writes beside these tests, and nobody has watched for a week.
    let moved: &[&str] = if arguments[0] == "check" { &["--writers-moved"] } else { &[] };
    recount([&["phase2"], arguments, moved, &["--database-url", &url]].concat()).run()
}

fn temporary() -> (TempDir, impl Fn(&str) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| path.join(name).to_str().unwrap().to_owned())
}

#[test]
fn a_kept_value_counts_wherever_it_is_read_from() {
    let (db, alone) = purged("21");
    let url = db.url();
    assert!(drifted(&reconcile(&[&url])) > 0, "without its scores the lead is missing (L1)");
    phase2(&db, &["check", "--keep-wide-in", "TABLE"]).succeeds().stdout_has("they are kept");
    assert_eq!(db.psql("SELECT count(*), count(run_id) FROM recount.weather_legacy_lead_scores"), format!("{alone}|{alone}"));

    let report = reconcile(&[&url]);
    assert_eq!(drifted(&report), 0, "every rollup is what it was made of when the scores were there");
    assert_eq!(report["findings"]["wide_without_narrow"], Json::Null, "{report:#}");
    let (_folder, at) = temporary();
    recount(["export", &url, "--out", &at("night")]).run().succeeds();
    recount(["archive", &at("night"), "--to", &at("archive")]).run().succeeds();
    recount(["verify", &at("archive")]).run().succeeds();
    for copy in ["night", "archive"] {
        let again = reconcile(&[&at(copy)]);
        assert_eq!((&again["digest"], drifted(&again)), (&report["digest"], 0), "{copy}");
    }
    if cfg!(feature = "query") {
        let counted = "SELECT count(*) FROM lead_scores WHERE era5_score IS NOT NULL AND skill IS NULL AND lead_hours = 48";
        recount(["query", &at("archive"), counted, "--as", "csv"]).run().succeeds().stdout_has(&alone.to_string());
    }

    // The views of the rules say the same.
    let differing =
        "SELECT count(*) FROM weather_placed_rollups d JOIN weather_forecast_stats s USING (miner_uid, forecast_run_id)
                     WHERE abs(d.era5_combined_score - s.era5_combined_score) > 1e-9 OR d.forecast_status <> s.forecast_status
                        OR d.miner_rank IS DISTINCT FROM s.miner_rank";
    assert_eq!(db.psql(differing), "0");
    phase2(&db, &["check", "--option", "view", "--keep-wide-in", "TABLE"]).succeeds();

    // The columns go; nothing moves.
    phase2(&db, &["check", "--keep-wide-in", "TABLE"]).succeeds();
    phase2(&db, &["apply", "--keep-wide-in", "TABLE"]).succeeds();
    let after = reconcile(&[&url]);
    assert_eq!((&after["digest"], drifted(&after)), (&report["digest"], 0));
}

#[test]
fn what_was_measured_always_wins() {
    let (db, _) = purged("22");
    let url = db.url();
    phase2(&db, &["check", "--keep-wide-in", "TABLE"]).succeeds();
    let digest = reconcile(&[&url])["digest"].clone();
    // A legacy score beside scores is not looked at, nor one of a lead that nobody expects, nor one that is no number.
    db.execute(
        "INSERT INTO recount.weather_legacy_lead_scores (run_id, miner_uid, forecast_run_id, lead_hours, era5_score)
         SELECT s.run_id, s.miner_uid, s.forecast_run_id, v.lead, v.score FROM weather_forecast_stats s,
             (VALUES (24, 0.123), (7, 0.5), (72, 'NaN')) AS v (lead, score)
         WHERE s.run_id = 1 AND s.era5_score_24h IS NOT NULL AND s.era5_score_72h IS NOT NULL",
    );
    assert_eq!(reconcile(&[&url])["digest"], digest);
    let before = db.psql("SELECT era5_combined_score FROM weather_placed_rollups WHERE run_id = 1 ORDER BY miner_uid");
    // A single score comes back: now the lead is partial, and a partial lead is missing (L1).
    db.execute(
        "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level)
         SELECT id, run_id, miner_uid, miner_hotkey, 'era5_rmse_2t_48h', now(), 1.0, 48, '2t' FROM weather_miner_responses WHERE run_id = 1",
    );
    let partial = reconcile(&[&url]);
    assert!(drifted(&partial) > 0 && partial["findings"]["wide_without_narrow"].as_u64() > Some(3), "{partial:#}");
    assert_ne!(db.psql("SELECT era5_combined_score FROM weather_placed_rollups WHERE run_id = 1 ORDER BY miner_uid"), before);
}

#[test]
fn an_archive_keeps_them_as_well() {
    let (db, alone) = purged("23");
    let url = db.url();
    db.execute(
        "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status, era5_score_24h)
         VALUES (2, 'gone', 'forecast_20200101_00_to_20200101_00', '2020-01-01', 'completed', 0.75)",
    );
    let (_folder, at) = temporary();
    let dest = at("archive");
    // It was begun before; what it has stays.
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    phase2(&db, &["check", "--keep-wide-in", &dest]).succeeds().stdout_has("they are kept");
    assert_eq!(db.psql("SELECT count(*) FROM recount.weather_legacy_lead_scores"), "0");
    if cfg!(feature = "query") {
        let latest = "SELECT count(*) AS kept, count(run_id) AS of_runs FROM legacy_lead_scores";
        recount(["query", &dest, latest, "--as", "csv"]).run().succeeds().stdout_has(&format!("{},{alone}", alone + 1));
    }
    recount(["verify", &dest]).run().succeeds();

    phase2(&db, &["apply"]).ends_with(3).stderr_has("--keep-wide-in");
    phase2(&db, &["apply", "--keep-wide-in", "TABLE"]).ends_with(3).stderr_has("--keep-wide-in");
    let moved = at("elsewhere");
    std::fs::rename(&dest, &moved).unwrap();
    phase2(&db, &["apply", "--keep-wide-in", &dest]).ends_with(3).stderr_has("are not in the archive");
    std::fs::rename(&moved, &dest).unwrap();
    phase2(&db, &["apply", "--keep-wide-in", &dest]).succeeds();

    // With the archive the rollups are what they were; without it, the lead is missing.
    assert_eq!(drifted(&reconcile(&[&url, "--history", &dest])), 0);
    assert!(drifted(&reconcile(&[&url])) > 0);
    // Archiving goes on without the columns, and loses nothing.
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    recount(["verify", &dest]).run().succeeds();
    let again = reconcile(&[&url, "--history", &dest]);
    assert_eq!((drifted(&again), &again["digest"]), (0, &reconcile(&[&dest])["digest"]));

    // A view could not read them there.
    phase2(&db, &["revert"]).succeeds();
    phase2(&db, &["check", "--option", "view", "--keep-wide-in", &dest]).ends_with(1).stdout_has("a view cannot");
}
