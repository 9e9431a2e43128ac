//! The statements of Phase 2, as text: what `plan` prints is what `apply` runs. Pure.
//!
//! Option `table`: the wide columns go, their values stay aside until `finish`. Option `view`: a materialized view over scores and steps
//! takes the name, the table stays aside until `finish`. Either way readers of the old shape have `weather_forecast_stats_wide`.

use std::time::Duration;

use super::table::{Column, STATS, StatsTable, is_derived_column};
use super::{Way, keep, watch};

/// The old shape, for readers that are not moved yet.
pub(super) const WIDE_VIEW: &str = "weather_forecast_stats_wide";
/// Option `table`: the values of the wide columns, until `finish`.
pub(super) const WIDE_VALUES: &str = "weather_forecast_stats_wide_values";
/// Option `view`: the table, until `finish`.
pub(super) const BEFORE: &str = "weather_forecast_stats_before";
/// Option `view`: what cannot be derived.
pub(super) const KEPT: &str = "weather_forecast_stats_kept";
/// Option `view`: the materialized view while it is made.
const NEXT: &str = "weather_forecast_stats_next";

/// One statement of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub sql: String,
    /// The lock it takes, and on what.
    pub lock: &'static str,
    pub estimate: Duration,
}

/// A change of the schema: what is made beforehand, what is done once nobody else can touch the table, and what undoes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub before_lock: Vec<Statement>,
    pub under_lock: Vec<Statement>,
    pub undo: Vec<String>,
}

/// What must be known to write the statements.
pub(super) struct Facts<'f> {
    pub table: &'f StatsTable,
    /// Grants of the table, as `GRANT … ON {}`, the relation left open.
    pub grants: &'f [String],
    /// Grants of the wide columns, in the same form.
    pub wide_grants: &'f [String],
    /// What else goes with them, as statements that bring it back: indexes, defaults, comments, statistics targets.
    pub trimmings: &'f [String],
    pub keep_in_table: bool,
    /// How long the view took when it was proved.
    pub view_time: Duration,
}

const EXCLUSIVE: &str = "ACCESS EXCLUSIVE on weather_forecast_stats, held to the end";
const NONE: &str = "none that readers or writers meet";

fn statement(sql: String, lock: &'static str, estimate: Duration) -> Statement {
    Statement { sql, lock, estimate }
}

impl Facts<'_> {
    pub fn change(&self, option: Way) -> Change {
        match option {
            Way::Table => self.to_table(),
            Way::View => self.to_view(),
        }
    }

    /// Rows a second that are copied and hashed on a small machine.
    fn copy_time(&self) -> Duration {
        Duration::from_secs_f64(self.table.rows as f64 / 50_000.0)
    }

    fn to_table(&self) -> Change {
        let wide = self.table.wide_names();
        let mut under_lock: Vec<Statement> = watch::dropped().map(quick).collect();
        under_lock.push(statement(
            format!("CREATE TABLE {WIDE_VALUES} AS\nSELECT miner_uid, forecast_run_id, {}\nFROM {STATS}", wide.join(", ")),
            NONE,
            self.copy_time(),
        ));
        under_lock.push(quick(format!("ALTER TABLE {WIDE_VALUES} ADD PRIMARY KEY (miner_uid, forecast_run_id)")));
        under_lock.extend(self.given(WIDE_VALUES));
        let drops: Vec<String> = wide.iter().map(|name| format!("DROP COLUMN {name}")).collect();
        under_lock.push(quick(format!("ALTER TABLE {STATS}\n    {}", drops.join(",\n    "))));
        under_lock.extend(self.wide_view());
        Change { before_lock: self.legacy(), under_lock, undo: self.undo_table() }
    }

    /// The columns come back at the end of the table; `order.rs` sees to their place. Rows that are new since get what the narrow store
    /// says.
    fn undo_table(&self) -> Vec<String> {
        let wide: Vec<&Column> = self.table.wide().map(|(column, _)| column).collect();
        let adds: Vec<String> = wide.iter().map(|c| format!("ADD COLUMN {} {}", c.name, c.type_name)).collect();
        let list = |make: &dyn Fn(&Column, i32) -> String| {
            self.table.wide().map(|(column, lead)| make(column, lead)).collect::<Vec<_>>().join(",\n    ")
        };
        let mut undo = vec![
            // What was never looked at is joined row by row.
            format!("ANALYZE {STATS}, {WIDE_VALUES}"),
            format!("DROP VIEW {WIDE_VIEW}"),
            format!("ALTER TABLE {STATS}\n    {}", adds.join(",\n    ")),
            format!(
                "UPDATE {STATS} s\nSET {}\nFROM {WIDE_VALUES} v\nWHERE (v.miner_uid, v.forecast_run_id) = (s.miner_uid, s.forecast_run_id)",
                list(&|column, _| format!("{0} = v.{0}", column.name))
            ),
            format!(
                "UPDATE {STATS} s\nSET {}\nWHERE NOT EXISTS (SELECT FROM {WIDE_VALUES} v \
                 WHERE (v.miner_uid, v.forecast_run_id) = (s.miner_uid, s.forecast_run_id))",
                list(&|column, lead| format!("{} = {}", column.name, lead_score(lead))),
            ),
            format!("DROP TABLE {WIDE_VALUES}"),
        ];
        undo.extend(self.trimmings.iter().cloned());
        undo.extend(self.wide_grants.iter().map(|grant| grant.replace("{}", STATS)));
        undo
    }

    fn to_view(&self) -> Change {
        let narrow = names(self.table.narrow());
        let mut before_lock = self.legacy();
        before_lock.extend([
            statement(format!("CREATE TABLE {KEPT} AS\nSELECT {narrow}\nFROM {STATS}"), NONE, self.copy_time()),
            quick(format!(
                "ALTER TABLE {KEPT}\n    ADD PRIMARY KEY (miner_uid, forecast_run_id),\n    \
                 ADD FOREIGN KEY (run_id) REFERENCES weather_forecast_runs (id) ON DELETE CASCADE,\n    \
                 ADD FOREIGN KEY (miner_uid) REFERENCES node_table (uid) ON DELETE CASCADE"
            )),
            statement(self.materialized(), NONE, self.view_time),
            // What ON CONFLICT of a reader's own copy and REFRESH CONCURRENTLY need.
            statement(format!("CREATE UNIQUE INDEX {STATS}_key ON {NEXT} (miner_uid, forecast_run_id)"), NONE, self.copy_time()),
            statement(format!("CREATE INDEX {STATS}_run ON {NEXT} (run_id)"), NONE, self.copy_time()),
            quick(format!("ALTER MATERIALIZED VIEW {NEXT} OWNER TO {}", self.table.owner)),
        ]);
        before_lock.extend(self.given(KEPT));
        let mut under_lock: Vec<Statement> = watch::dropped().map(quick).collect();
        under_lock.extend([
            quick(format!("ALTER TABLE {STATS} RENAME TO {BEFORE}")),
            quick(format!("ALTER MATERIALIZED VIEW {NEXT} RENAME TO {STATS}")),
        ]);
        under_lock.extend(self.reading().map(|grant| quick(grant.replace("{}", STATS))));
        under_lock.extend(self.wide_view());
        Change { before_lock, under_lock, undo: self.undo_view() }
    }

    /// The table takes its name again, with its own bits; rows that only the view has are put into it.
    fn undo_view(&self) -> Vec<String> {
        let narrow: Vec<&Column> = self.table.narrow().filter(|column| column.name != "id").collect();
        let wide: Vec<String> = self.table.wide().map(|(_, lead)| lead_score(lead)).collect();
        let targets = [names(narrow.iter().copied()), self.table.wide_names().join(", ")].join(", ");
        let values = [names(narrow.iter().copied()), wide.join(", ")].join(", ");
        vec![
            format!("ANALYZE {STATS}, {BEFORE}"),
            format!("DROP VIEW {WIDE_VIEW}"),
            format!(
                "INSERT INTO {BEFORE}\n    ({targets})\nSELECT {values}\nFROM {STATS} s\nWHERE NOT EXISTS (SELECT FROM {BEFORE} b \
                 WHERE (b.miner_uid, b.forecast_run_id) = (s.miner_uid, s.forecast_run_id))"
            ),
            format!("DROP MATERIALIZED VIEW {STATS}"),
            format!("DROP TABLE {KEPT}"),
            format!("ALTER TABLE {BEFORE} RENAME TO {STATS}"),
        ]
    }

    /// The grants that let somebody read.
    fn reading(&self) -> impl Iterator<Item = &String> {
        self.grants.iter().filter(|grant| grant.starts_with("GRANT SELECT"))
    }

    /// Owner and readers of the table, for what holds a part of its rows. A grant of single columns stays with the table.
    fn given(&self, relation: &str) -> Vec<Statement> {
        let readers = self.reading().filter(|grant| grant.starts_with("GRANT SELECT ON"));
        let grants = readers.map(|grant| quick(grant.replace("{}", relation)));
        std::iter::once(quick(format!("ALTER TABLE {relation} OWNER TO {}", self.table.owner))).chain(grants).collect()
    }

    /// Every column from the rules where they say it, else from what was kept; rows without evidence whole.
    fn materialized(&self) -> String {
        let columns: Vec<String> = self.table.narrow().map(|column| format!("    {}", derived(column))).collect();
        format!(
            "CREATE MATERIALIZED VIEW {NEXT} AS\nSELECT\n{}\nFROM weather_placed_rollups d\n\
             LEFT JOIN weather_forecast_runs w ON w.id = d.run_id\n\
             FULL JOIN {KEPT} k ON k.miner_uid = d.miner_uid AND k.forecast_run_id = d.forecast_run_id",
            columns.join(",\n")
        )
    }

    /// What only the wide columns know moves into the narrow table for it: the values without a scored lead behind them. This asks an
    /// index for each value, so it is done before the lock; under it, the proof says that the values are still the same.
    fn legacy(&self) -> Vec<Statement> {
        if !self.keep_in_table {
            return Vec::new();
        }
        vec![statement(
            keep::into_table(self.table),
            "ROW EXCLUSIVE on weather_legacy_lead_scores",
            // Each value asks an index for its lead.
            Duration::from_secs_f64(self.table.rows as f64 * 0.005),
        )]
    }

    /// The old columns in the old order, the wide ones computed from the narrow store when they are asked for.
    fn wide_view(&self) -> Vec<Statement> {
        let column = |column: &Column| match column.lead {
            None => format!("    s.{}", column.name),
            Some(lead) => format!(
                "    coalesce({}, (SELECT k.era5_score FROM weather_legacy_lead_scores k \
                 WHERE k.miner_uid = s.miner_uid AND k.forecast_run_id = s.forecast_run_id AND k.lead_hours = {lead}))::{} AS {}",
                lead_score(lead),
                column.type_name,
                column.name
            ),
        };
        let columns: Vec<String> = self.table.columns.iter().map(column).collect();
        let mut statements = vec![
            quick(format!("CREATE VIEW {WIDE_VIEW} AS\nSELECT\n{}\nFROM {STATS} s", columns.join(",\n"))),
            quick(format!("ALTER VIEW {WIDE_VIEW} OWNER TO {}", self.table.owner)),
        ];
        statements.extend(self.grants.iter().chain(self.wide_grants).map(|grant| quick(grant.replace("{}", WIDE_VIEW))));
        statements
    }
}

fn quick(sql: String) -> Statement {
    statement(sql, EXCLUSIVE, Duration::from_millis(10))
}

/// The score of a lead of the row `s`, from the narrow store.
fn lead_score(lead: i32) -> String {
    format!(
        "(SELECT l.era5_score FROM weather_lead_scores l \
         WHERE l.run_id = s.run_id AND l.miner_uid = s.miner_uid AND l.lead_hours = {lead})"
    )
}

fn names<'c>(columns: impl Iterator<Item = &'c Column>) -> String {
    columns.map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// What the rules do not say (D4), by column; everything else that the rollup view lacks is kept as it is.
fn derived(column: &Column) -> String {
    let name = &column.name;
    let value = match name.as_str() {
        // No sequence counts the rows of a view: below zero no id that was given out is met, and a row keeps its own.
        "id" => "coalesce(k.id, -1 - (d.run_id * 256 + d.miner_uid))".to_owned(),
        "miner_uid" | "forecast_run_id" => format!("coalesce(d.{name}, k.{name})"),
        "forecast_type" => "coalesce(k.forecast_type, (SELECT forecast_type FROM weather_scoring_rules))".to_owned(),
        "created_at" | "updated_at" => format!("coalesce(k.{name}, w.run_initiation_time)"),
        "validator_hotkey" => format!(
            "CASE WHEN k.id IS NULL THEN (SELECT n.{name} FROM {KEPT} n ORDER BY n.created_at DESC, n.id DESC LIMIT 1) ELSE k.{name} END"
        ),
        name if is_derived_column(name) => format!("CASE WHEN d.miner_uid IS NOT NULL THEN d.{name} ELSE k.{name} END"),
        name => format!("k.{name}"),
    };
    format!("({value})::{} AS {name}", column.type_name)
}
