//! Ten days beside a validator at work: what recount does each night, and what of it the validator's readers see.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::archive::rows;
use crate::support::{Database, database, recount};

/// A database in which a validator is played, day by day.
struct Validator {
    db: Database<'static>,
    /// Midnight of day 0, as SQL.
    start: String,
}

impl Validator {
    /// Five miners, a run that will soon be ninety days old, and twenty days of history.
    fn new() -> Validator {
        let db = database();
        recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
        recount(["phase3", "apply", "--database-url", &db.url()]).run().succeeds();
        db.execute(include_str!("validator.sql"));
        db.execute("INSERT INTO node_table (uid, hotkey) SELECT u, 'hotkey-' || u FROM generate_series(0, 4) u");
        let start = db.psql("SELECT date_trunc('day', now() AT TIME ZONE 'UTC') - interval '10 days'");
        let validator = Validator { db, start: format!("'{start}+00'::timestamptz") };
        validator.run(-90);
        (-20..0).for_each(|day| validator.run(day));
        validator.work(-1);
        validator
    }

    fn midnight(&self, day: i32) -> String {
        format!("{} + interval '{day} days'", self.start)
    }

    /// One run: seeded, polled, scored for its first day.
    fn run(&self, day: i32) {
        let init = self.midnight(day);
        self.db.execute(&format!(
            "DO $$ DECLARE run int := played.seed({init}); BEGIN
                 PERFORM played.respond(run, {init}); PERFORM played.score_day1(run, {init});
             END $$"
        ));
    }

    /// What comes round on a day.
    fn work(&self, day: i32) {
        let now = self.midnight(day);
        for call in [&format!("score_era5({now})"), "aggregate()", "recompute()", "aggregate()"] {
            self.db.execute(&format!("SELECT played.{call}"));
        }
    }

    fn day(&self, day: i32) {
        self.db.execute(&format!("SELECT played.retain({})", self.midnight(day)));
        match day {
            // Before anything of the day is written: all that goes was there last night.
            4 => self.db.execute("SELECT played.change_hotkey(3)"),
            // The run of this day is seeded a second time, after it was scored for its first day.
            6 => self.run(day),
            _ => {}
        }
        self.run(day);
        self.work(day);
    }

    /// Of each hotkey the rows that the weight setter's query can return: the newest, ties and all, with their score.
    fn weights(&self) -> BTreeMap<(String, String), BTreeSet<(String, String)>> {
        let rows = self.db.rows(
            "SELECT miner_uid, miner_hotkey, forecast_run_id, overall_forecast_score FROM (
                 SELECT *, rank() OVER (PARTITION BY miner_uid, miner_hotkey ORDER BY updated_at DESC NULLS LAST) AS position
                 FROM weather_forecast_stats) newest WHERE position = 1",
        );
        let mut weights = BTreeMap::<_, BTreeSet<_>>::new();
        for row in rows {
            let [uid, hotkey, run, score] = row.try_into().expect("four columns");
            let of = (uid.expect("a uid"), hotkey.expect("a hotkey"));
            weights.entry(of).or_default().insert((run.expect("a run"), score.unwrap_or_else(|| "NULL".to_owned())));
        }
        weights
    }

    /// Adds the ids of all evidence that is there now, by its table's name in an archive.
    fn note_evidence(&self, seen: &mut BTreeMap<&'static str, BTreeSet<String>>) {
        for (table, archived) in EVIDENCE {
            let ids = self.db.rows(&format!("SELECT id FROM {table}"));
            seen.entry(archived).or_default().extend(ids.into_iter().flatten().flatten());
        }
    }
}

const EVIDENCE: [(&str, &str); 4] = [
    ("weather_miner_responses", "responses"),
    ("weather_miner_scores", "scores"),
    ("weather_forecast_component_scores", "component_scores"),
    ("weather_forecast_steps", "steps"),
];

/// Drifted cells by column.
fn drifted(report: &Json, table: &str) -> BTreeMap<String, u64> {
    let columns = report["tables"][table]["columns"].as_object().into_iter().flatten();
    columns.map(|(name, tally)| (name.clone(), tally["drift"].as_u64().unwrap())).filter(|(_, cells)| *cells > 0).collect()
}

#[test]
fn ten_days_beside_a_living_validator() {
    let (helped, alone) = (Validator::new(), Validator::new());
    let url = helped.db.url();
    let folder = tempfile::tempdir().unwrap();
    let [archive, state] = ["archive", "state"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let mut seen = BTreeMap::new();
    for day in -1..10 {
        if day >= 0 {
            helped.day(day);
            alone.day(day);
        }
        helped.note_evidence(&mut seen);
        // The server's clock is that of the evening of day 10: truth comes out as much later as the play is behind it.
        let delay = format!("{}d", 5 + 10 - day);
        let recovered = recount(["steps", "recover", "--apply", "--era5-delay", &delay, "--database-url", &url]).run();
        assert!(matches!(recovered.status, Some(0 | 1)), "day {day}\n{recovered}");
        let nightly =
            ["reconcile", &url, "--apply", "--incremental", "--state", &state, "--max-fraction", "1", "--format", "json"];
        let night = recount(nightly).run();
        assert!(matches!(night.status, Some(0 | 1)), "day {day}\n{night}");
        // What the validator writes by habit differs again each day; what weights rest on never does.
        assert_eq!(drifted(&night.json(), "weather_forecast_stats").get("overall_forecast_score"), None, "day {day}\n{night}");
        assert_eq!(helped.weights(), alone.weights(), "day {day}");
        recount(["archive", &url, "--to", &archive]).run().succeeds();
        recount(["verify", &archive]).run().succeeds();
        // Nothing is left to do in the same night, but for what the view over the stored rows makes of a 0.0 without any score:
        // D6 calls that cell unproven, and lists nothing of the subnet that follows from it.
        let again = recount(["reconcile", &url, "--format", "json"]).run().json();
        for table in ["weather_forecast_stats", "miner_stats", "weather_subnet_stats"] {
            let mut left = drifted(&again, table);
            left.remove("mean_overall_score");
            assert_eq!(left, BTreeMap::new(), "day {day}, {table}\n{night}");
        }
    }
    for (table, ids) in seen {
        assert_eq!(rows(&archive, table), ids.len() as u64, "{table}");
    }
}

/// Under the profile of its code, what the validator stores by habit is no drift, and is left as it is: what remains is what somebody
/// else got wrong, and what follows from that.
#[test]
fn under_its_profile_only_planted_errors_remain() {
    let played = Validator::new();
    let url = played.db.url();
    // By night: what is written over a score or a rank, and in how many cells of run rows.
    let planted: BTreeMap<i32, (&str, &str)> = BTreeMap::from([
        (
            2,
            (
                "overall_forecast_score",
                "SET overall_forecast_score = overall_forecast_score + 0.01 WHERE miner_uid = 1 AND run_id = 5",
            ),
        ),
        (5, ("era5_score_48h", "SET era5_score_48h = 0.5 WHERE miner_uid = 2 AND run_id = 9")),
        (8, ("avg_rmse", "SET avg_rmse = avg_rmse * 2 WHERE miner_uid = 0 AND run_id = 12")),
    ]);
    let habits = |night: &Json| night["tables"]["weather_forecast_stats"]["cells"]["habit"].as_u64().unwrap();
    for day in 0..10 {
        played.day(day);
        if let Some((_, change)) = planted.get(&day) {
            played.db.execute(&format!("UPDATE weather_forecast_stats {change}"));
        }
        recount(["phase3", "refresh", "--database-url", &url]).run().succeeds();
        let night = ["reconcile", &url, "--profile", "gaia-2.9", "--format", "json"];
        let found = recount(night).run();
        let wrong = drifted(&found.json(), "weather_forecast_stats");
        let expected = planted.get(&day).map(|(column, _)| ((*column).to_owned(), 1)).into_iter().collect();
        assert_eq!(wrong, expected, "day {day}\n{found}");
        if wrong.is_empty() {
            for table in ["miner_stats", "weather_subnet_stats"] {
                assert_eq!(drifted(&found.json(), table), BTreeMap::new(), "day {day}, {table}");
            }
            assert_eq!(found.status, Some(0), "day {day}\n{found}");
        } else {
            assert_eq!(found.status, Some(1), "day {day}\n{found}");
            recount(night.into_iter().chain(["--apply", "--max-fraction", "1"])).run().succeeds();
        }
        // What was wrong is right in the same night, and the habits are as they were.
        let again = recount(night).run().succeeds();
        assert_eq!(habits(&again.json()), habits(&found.json()), "day {day}");
    }
}
