//! Rows that are made of other rollup rows: M, one miner over all its runs, and N, the subnet.

use crate::model::finding::Code;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};
use crate::model::value::Value;
use crate::rollup::MinerRun;
use crate::rollup::exact::{mean, sum, sum_of};

use super::{EvidenceRow, Explained, by};

/// How a column is made of a cell of the rows below.
#[derive(Clone, Copy)]
enum Make {
    Key,
    /// M1: the cell of the newest row.
    Newest,
    Mean,
    /// As [`Make::Mean`], where a row without a value counts as 0.
    MeanOfAll,
    Deviation,
    Least,
    Greatest,
    /// A4
    Quantile(&'static str),
    Sum,
    /// Rows whose cell is one of these.
    Count(&'static [&'static str]),
    /// All rows but those.
    Others(&'static [&'static str]),
    Rows,
    /// Rows with a value in one of the cells.
    Any,
    /// Rows with the text, of all rows.
    Share(&'static str),
    /// M4
    Reliability,
    /// M5: of rows with this status.
    LastEnd(&'static str),
    /// M6
    Leading(&'static str),
    Errors,
    Listed,
    Rank,
}

/// A column, its rule, how it is made, and the cells that it takes of each row below.
type Recipe = (&'static str, &'static str, Make, &'static [&'static str]);

const COMBINED: &[&str] = &["era5_combined_score"];
const DAY1: &[&str] = &["forecast_score_initial"];
const STATUS: &[&str] = &["forecast_status"];
const HOSTING: &[&str] = &["hosting_status"];
const INFERENCE: &[&str] = &["forecast_inference_duration_seconds"];
const ENDED: &[&str] = &["forecast_status", "end_time"];
const AVERAGE: &[&str] = &["avg_forecast_score"];
const FAULTS: &[&str] = &["inaccessible", "timeout", "error"];

/// `miner_stats`, of rows of `weather_forecast_stats`. `end_time` is M5's, `response_time` that of the response.
const OF_MINER: &[Recipe] = &[
    ("miner_hotkey", "M1", Make::Newest, &["miner_hotkey"]),
    ("miner_rank", "M10", Make::Rank, AVERAGE),
    ("avg_forecast_score", "M2", Make::Mean, COMBINED),
    ("successful_forecasts", "M3", Make::Count(&["completed"]), STATUS),
    ("failed_forecasts", "M3", Make::Count(&["failed"]), STATUS),
    ("forecast_success_ratio", "M3", Make::Share("completed"), STATUS),
    ("hosting_successes", "M4", Make::Count(&["accessible"]), HOSTING),
    ("hosting_failures", "M4", Make::Count(FAULTS), HOSTING),
    ("host_reliability_ratio", "M4", Make::Reliability, HOSTING),
    ("avg_hosting_latency_ms", "M4", Make::Mean, &["hosting_latency_ms"]),
    ("avg_day1_score", "M2", Make::Mean, DAY1),
    ("avg_era5_score", "M2", Make::MeanOfAll, COMBINED),
    ("avg_era5_completeness", "M2", Make::Mean, &["era5_completeness"]),
    ("best_forecast_score", "M2", Make::Greatest, COMBINED),
    ("worst_forecast_score", "M2", Make::Least, COMBINED),
    ("score_std_dev", "M2", Make::Deviation, COMBINED),
    ("last_successful_forecast", "M5", Make::LastEnd("completed"), ENDED),
    ("last_failed_forecast", "M5", Make::LastEnd("failed"), ENDED),
    ("consecutive_successes", "M6", Make::Leading("completed"), STATUS),
    ("consecutive_failures", "M6", Make::Leading("failed"), STATUS),
    ("total_inference_time", "M7", Make::Sum, INFERENCE),
    ("avg_inference_time", "M7", Make::Mean, INFERENCE),
    ("common_errors", "M8", Make::Errors, &["error_type"]),
    ("error_rate_by_type", "M8", Make::Errors, &["error_type"]),
    ("first_seen", "M9", Make::Least, &["response_time"]),
    ("last_active", "M9", Make::Greatest, &["response_time"]),
];

/// `weather_subnet_stats` of a run, of its rows of `weather_forecast_stats`.
const OF_RUN: &[Recipe] = &[
    ("miners", "N1", Make::Rows, &[]),
    ("active_miners", "N1", Make::Any, &["forecast_score_initial", "era5_combined_score"]),
    ("completed", "N1", Make::Count(&["completed"]), STATUS),
    ("failed", "N1", Make::Count(&["failed"]), STATUS),
    ("in_progress", "N1", Make::Others(&["completed", "failed"]), STATUS),
    ("mean_score", "N1", Make::Mean, COMBINED),
    ("score_std_dev", "N1", Make::Deviation, COMBINED),
    ("min_score", "N1", Make::Least, COMBINED),
    ("p10_score", "N1", Make::Quantile("0.1"), COMBINED),
    ("median_score", "N1", Make::Quantile("0.5"), COMBINED),
    ("p90_score", "N1", Make::Quantile("0.9"), COMBINED),
    ("max_score", "N1", Make::Greatest, COMBINED),
    ("mean_day1_score", "N1", Make::Mean, DAY1),
    ("mean_overall_score", "N1", Make::Mean, &["overall_forecast_score"]),
    ("mean_completeness", "N1", Make::Mean, &["era5_completeness"]),
    ("mean_hosting_latency_ms", "N1", Make::Mean, &["hosting_latency_ms"]),
    ("host_reliability_ratio", "N1", Make::Reliability, HOSTING),
    ("top_miners", "N2", Make::Listed, &["era5_combined_score", "miner_rank", "miner_hotkey"]),
    ("bottom_miners", "N2", Make::Listed, &["era5_combined_score", "miner_rank", "miner_hotkey"]),
];

/// `weather_subnet_stats` over everything, of rows of `miner_stats`.
const OF_LIFE: &[Recipe] = &[
    ("miners", "N1", Make::Rows, &[]),
    ("active_miners", "N1", Make::Any, &["avg_forecast_score", "avg_day1_score"]),
    ("completed", "N1", Make::Sum, &["successful_forecasts"]),
    ("failed", "N1", Make::Sum, &["failed_forecasts"]),
    ("in_progress", "N1", Make::Others(&[]), &["successful_forecasts", "failed_forecasts"]),
    ("mean_score", "N1", Make::Mean, AVERAGE),
    ("score_std_dev", "N1", Make::Deviation, AVERAGE),
    ("min_score", "N1", Make::Least, AVERAGE),
    ("p10_score", "N1", Make::Quantile("0.1"), AVERAGE),
    ("median_score", "N1", Make::Quantile("0.5"), AVERAGE),
    ("p90_score", "N1", Make::Quantile("0.9"), AVERAGE),
    ("max_score", "N1", Make::Greatest, AVERAGE),
    ("mean_day1_score", "N1", Make::Mean, &["avg_day1_score"]),
    ("mean_overall_score", "N1", Make::Key, &[]),
    ("mean_completeness", "N1", Make::Mean, &["avg_era5_completeness"]),
    ("mean_hosting_latency_ms", "N1", Make::Mean, &["avg_hosting_latency_ms"]),
    ("host_reliability_ratio", "N1", Make::Mean, &["host_reliability_ratio"]),
    ("top_miners", "N2", Make::Listed, &["avg_forecast_score", "miner_rank", "miner_hotkey"]),
    ("bottom_miners", "N2", Make::Listed, &["avg_forecast_score", "miner_rank", "miner_hotkey"]),
];

/// Cells of other tables that are made from a column, in full; `run`: where it is of `weather_forecast_stats`.
pub fn rested_on_beyond(table: &str, column: &str) -> Vec<String> {
    let above: &[(&str, &[Recipe])] = match table {
        ForecastStat::TABLE => &[(MinerStat::TABLE, OF_MINER), (SubnetStat::TABLE, OF_RUN)],
        MinerStat::TABLE => &[(SubnetStat::TABLE, OF_LIFE)],
        _ => &[],
    };
    let source = if column == "forecast_error_msg" { "error_type" } else { column };
    let rank = |recipe: &Recipe| matches!(recipe.2, Make::Rank);
    let taking = above.iter().flat_map(|(table, recipes)| {
        let on = recipes.iter().filter(|recipe| recipe.3.contains(&source) && !rank(recipe));
        on.map(move |recipe| format!("{table}.{}", recipe.0))
    });
    taking.collect()
}

/// A row below, of a miner in a run.
pub struct RunRow {
    pub stat: ForecastStat,
    /// What the lifetime takes of it; `None` where a later run has its place (D1).
    pub placed: Option<MinerRun>,
}

/// A row below, with all its cells.
struct Below {
    table: &'static str,
    /// Cells that name it.
    key: Vec<(&'static str, Value<'static>)>,
    cells: Box<dyn Fn(&str) -> Value<'static>>,
    aside: Option<(Code, &'static str)>,
}

fn cell<R: Rollup>(row: &R, column: &str) -> Value<'static> {
    let at = R::COLUMNS.iter().position(|known| known.name == column);
    at.map_or(Value::Null, |at| row.value(at).into_owned())
}

impl Below {
    fn of_run(row: RunRow) -> Self {
        let (stat, taken) = (row.stat, row.placed);
        let key = ["run_id", "miner_uid", "forecast_init_time"].map(|name| (name, cell(&stat, name))).to_vec();
        let aside = taken.is_none().then_some((Code::ForecastRunIdCollision, "a later run has its place (D1)"));
        let cells = move |name: &str| match (name, &taken) {
            ("end_time", run) => run.as_ref().and_then(|run| run.end).map_or(Value::Null, Value::Time),
            ("response_time", run) => run.as_ref().and_then(|run| run.response_time).map_or(Value::Null, Value::Time),
            ("error_type", run) => {
                run.as_ref().and_then(|run| run.error_type.clone()).map_or(Value::Null, |kind| Value::Text(kind.into()))
            }
            _ => cell(&stat, name),
        };
        Below { table: ForecastStat::TABLE, key, cells: Box::new(cells), aside }
    }

    fn of_miner(stat: MinerStat) -> Self {
        let key = vec![("miner_uid", cell(&stat, "miner_uid"))];
        Below { table: MinerStat::TABLE, key, cells: Box::new(move |name| cell(&stat, name)), aside: None }
    }

    /// The row as a column sees it.
    fn seen(&self, make: Make, takes: &'static [&'static str]) -> EvidenceRow {
        let taken: Vec<_> = takes.iter().map(|name| (*name, (self.cells)(name))).collect();
        let why = self.aside.map(|(_, why)| why).or_else(|| without(make, &taken));
        let cells = self.key.iter().cloned().chain(taken).collect();
        let findings = self.aside.iter().map(|(code, _)| *code).collect();
        EvidenceRow { table: self.table, id: None, cells, counts: why.is_none(), findings, why }
    }
}

fn is_one_of(value: &Value<'_>, names: &[&str]) -> bool {
    matches!(value, Value::Text(text) if names.contains(&text.as_ref()))
}

/// Why a row with these cells adds nothing.
fn without(make: Make, taken: &[(&str, Value<'static>)]) -> Option<&'static str> {
    let first = taken.first().map_or(&Value::Null, |(_, value)| value);
    let null = || first.is_null().then_some("no value");
    match make {
        Make::Key | Make::Rows | Make::Newest | Make::MeanOfAll | Make::Share(_) => None,
        Make::Count(names) => (!is_one_of(first, names)).then_some("another value"),
        Make::Others(names) => is_one_of(first, names).then_some("another value"),
        Make::Any => taken.iter().all(|(_, value)| value.is_null()).then_some("no value"),
        Make::LastEnd(name) => {
            if is_one_of(first, &[name]) {
                taken.get(1).is_some_and(|(_, end)| end.is_null()).then_some("no end time")
            } else {
                Some("another value")
            }
        }
        Make::Leading(_) => (!is_one_of(first, &["completed", "failed"])).then_some("neither completed nor failed"),
        _ => null(),
    }
}

/// So many numbers are written out.
const NUMBERS_MAX: usize = 10;

fn numbers(rows: &[EvidenceRow], column: &str) -> Vec<f64> {
    let of_row = |row: &EvidenceRow| match row.cells.iter().find(|(name, _)| *name == column) {
        Some((_, Value::Float(x))) => Some(*x),
        Some((_, Value::Int(n))) => Some(*n as f64),
        _ => None,
    };
    rows.iter().filter(|row| row.counts).filter_map(of_row).collect()
}

fn listed(values: &[f64]) -> String {
    if values.len() > NUMBERS_MAX {
        return format!("{}, the sum of {} values,", sum(values), values.len());
    }
    format!("sum({})", values.iter().map(f64::to_string).collect::<Vec<_>>().join(", "))
}

/// The expression with its numbers.
fn how(make: Make, takes: &[&str], rows: &[EvidenceRow]) -> String {
    let column = takes.first().copied().unwrap_or_default();
    let (values, counted) = (numbers(rows, column), rows.iter().filter(|row| row.counts).count());
    let standing = rows.iter().filter(|row| row.findings.is_empty()).count();
    let with = |names: &[&str]| {
        let is = |row: &&EvidenceRow| row.findings.is_empty() && row.cells.iter().any(|(_, value)| is_one_of(value, names));
        rows.iter().filter(is).count()
    };
    match make {
        Make::Key => "the key of the row, or what it has no rule for".to_owned(),
        Make::Newest => format!("{column} of the row with the greatest forecast_init_time, then run_id"),
        Make::Mean if values.is_empty() => format!("no row has {column}"),
        Make::Mean => format!("{} / {}", listed(&values), values.len()),
        Make::MeanOfAll => format!("{} / {standing} rows, a row without a score as 0", listed(&values)),
        Make::Deviation => match mean(&values).filter(|_| values.len() > 1) {
            Some(middle) => {
                let squares = sum_of(values.iter().map(|x| (x - middle) * (x - middle)));
                format!("sqrt({squares} / ({} - 1)), the squared distances of {column} from {middle}", values.len())
            }
            None => format!("fewer than two rows have {column}"),
        },
        Make::Least => format!("the least {column} of {counted} rows"),
        Make::Greatest => format!("the greatest {column} of {counted} rows"),
        Make::Quantile(p) => format!("the {p} quantile of {column} of {counted} rows, linear between neighbours (A4)"),
        Make::Sum => format!("the sum of {column} of {counted} rows"),
        Make::Count(names) => format!("{counted} rows with {column} {}", names.join(" or ")),
        Make::Others(names) => format!("{counted} rows with {column} neither {}", names.join(" nor ")),
        Make::Rows => format!("{counted} rows"),
        Make::Any => format!("{counted} rows with {}", takes.join(" or ")),
        Make::Share(name) => format!("{} / {standing} rows", with(&[name])),
        Make::Reliability => match (with(&["accessible"]), with(FAULTS)) {
            (0, 0) => "0, since no row has a hosting status".to_owned(),
            (good, bad) => format!("{good} / ({good} + {bad})"),
        },
        Make::LastEnd(name) => format!("the greatest end time (M5) of {counted} {name} rows"),
        Make::Leading(name) => format!("{name} rows before any other, newest first, of {counted} that are over"),
        Make::Errors => format!("types of the errors of {counted} rows, of {standing} in all"),
        Make::Listed => format!("up to ten of {counted} rows by {column}, then miner_uid"),
        Make::Rank => format!("rank by {column} among the {counted} averages"),
    }
}

/// Columns of the same row that it is made from as well.
fn within(table: &str, make: Make) -> &'static [&'static str] {
    match (table, make) {
        (MinerStat::TABLE, Make::Rank) => &["avg_forecast_score"],
        (MinerStat::TABLE, Make::Deviation) => &["avg_forecast_score"],
        (MinerStat::TABLE, Make::Share(_)) => &["successful_forecasts"],
        (MinerStat::TABLE, Make::Reliability) => &["hosting_successes", "hosting_failures"],
        (SubnetStat::TABLE, Make::Deviation) => &["mean_score"],
        (SubnetStat::TABLE, Make::Others(_)) => &["completed", "failed"],
        _ => &[],
    }
}

fn columns<R: Rollup>(row: &R, recipes: &'static [Recipe], below: &[Below], peers: &[Below]) -> Vec<Explained> {
    let of_column = |(at, column): (usize, &crate::model::columns::Column)| {
        let recipe = recipes.iter().find(|recipe| column.name == recipe.0);
        let (rule, make, takes) = recipe.map_or(("the key", Make::Key, &[] as &[_]), |recipe| (recipe.1, recipe.2, recipe.3));
        let from = if matches!(make, Make::Rank) { peers } else { below };
        let rows: Vec<EvidenceRow> = match make {
            Make::Key => Vec::new(),
            _ => from.iter().map(|row| row.seen(make, takes)).collect(),
        };
        let told = by(rule, how(make, takes, &rows)).on(within(R::TABLE, make).iter().copied()).from(rows);
        Explained { name: column.name.to_string(), value: row.value(at).into_owned(), ..told }
    };
    R::COLUMNS.iter().enumerate().map(of_column).collect()
}

/// The row of a miner: `rows` are all of its runs, newest first; `miners` are all rows of the table.
pub fn explain_miner(stat: &MinerStat, mut rows: Vec<RunRow>, miners: &[MinerStat]) -> Vec<Explained> {
    rows.sort_by_key(|row| std::cmp::Reverse((row.stat.forecast_init_time, row.stat.run_id)));
    let below: Vec<Below> = rows.into_iter().map(Below::of_run).collect();
    let peers: Vec<Below> = miners.iter().cloned().map(Below::of_miner).collect();
    columns(stat, OF_MINER, &below, &peers)
}

/// The row of the subnet in a run. All rows of a run count in it, those without a place too.
pub fn explain_subnet_of_run(stat: &SubnetStat, rows: Vec<ForecastStat>) -> Vec<Explained> {
    let below = |stat| Below { aside: None, ..Below::of_run(RunRow { stat, placed: None }) };
    columns(stat, OF_RUN, &rows.into_iter().map(below).collect::<Vec<_>>(), &[])
}

/// The row of the subnet over everything; `rows` is the number of rollup rows of runs that have a place.
pub fn explain_subnet_for_life(stat: &SubnetStat, miners: &[MinerStat], rows: u64) -> Vec<Explained> {
    let mut columns = columns(stat, OF_LIFE, &miners.iter().cloned().map(Below::of_miner).collect::<Vec<_>>(), &[]);
    if let (Some(column), Some(done), Some(failed)) =
        (columns.iter_mut().find(|column| column.name == "in_progress"), stat.completed, stat.failed)
    {
        column.how = format!("{rows} rows of runs that have a place - {done} completed - {failed} failed");
    }
    columns
}
