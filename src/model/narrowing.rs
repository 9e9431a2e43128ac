//! Which part of the rollups is compared.

use std::fmt;
use std::str::FromStr;

use super::evidence::Run;
use super::ids::{MinerUid, RunId};
use super::rollups::ForecastStat;
use super::time::Micros;

/// What part of the rollups is compared. Evidence is read whole all the same where lifetime rollups need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowing {
    pub runs: RunRange,
    /// Only runs initialised at this time or later.
    pub since: Option<Micros>,
    pub miner: Option<MinerUid>,
    /// False: `miner_stats` and `weather_subnet_stats` over everything are left out.
    pub lifetime: bool,
}

impl Default for Narrowing {
    fn default() -> Self {
        Narrowing { runs: RunRange::default(), since: None, miner: None, lifetime: true }
    }
}

impl Narrowing {
    /// Whether rollups of this run are compared.
    pub fn includes_run(&self, run: &Run) -> bool {
        self.runs.contains(run.id) && self.since.is_none_or(|since| run.gfs_init >= since)
    }

    /// Whether rollups of this miner are compared.
    pub fn includes_miner(&self, miner: MinerUid) -> bool {
        self.miner.is_none_or(|only| only == miner)
    }

    /// Whether what is about this run and this miner is compared; none of either: all of them. `runs` are those of the source.
    pub fn includes(&self, run: Option<RunId>, miner: Option<MinerUid>, runs: &[Run]) -> bool {
        if !self.is_narrow() {
            return true;
        }
        let run_included = run.is_none_or(|id| match runs.iter().find(|run| run.id == id) {
            Some(run) => self.includes_run(run),
            None => self.runs.contains(id),
        });
        run_included && miner.is_none_or(|miner| self.includes_miner(miner))
    }

    /// Whether the rollup of a miner in a run is compared.
    pub fn includes_row(&self, row: &ForecastStat, runs: &[Run]) -> bool {
        self.includes(row.run_id.map(RunId), row.miner_uid.map(MinerUid), runs)
            && (row.run_id.is_some() || self.runs == RunRange::default())
            && self.since.is_none_or(|since| row.forecast_init_time >= Some(since))
    }

    /// True where anything is left out.
    pub fn is_narrow(&self) -> bool {
        *self != Narrowing::default()
    }

    /// Whether runs are chosen.
    pub fn names_runs(&self) -> bool {
        self.runs != RunRange::default() || self.since.is_some()
    }
}

/// What is compared, in words: `runs 7..12, miner 3, without lifetime rollups`.
impl fmt::Display for Narrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = (self.runs != RunRange::default()).then(|| format!("runs {}", self.runs));
        let since = self.since.map(|since| format!("runs initialised since {}", since.iso()));
        let miner = self.miner.map(|miner| format!("miner {miner}"));
        let lifetime = (!self.lifetime).then(|| "no lifetime rollups".to_owned());
        f.write_str(&[runs, since, miner, lifetime].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Runs by id, both ends included: `7`, `7..12`, `7..`, `..12`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunRange {
    pub first: Option<RunId>,
    pub last: Option<RunId>,
}

impl RunRange {
    pub fn contains(&self, run: RunId) -> bool {
        self.first.is_none_or(|first| first <= run) && self.last.is_none_or(|last| run <= last)
    }
}

impl fmt::Display for RunRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |run: Option<RunId>| run.map(|run| run.to_string()).unwrap_or_default();
        match (self.first, self.last) {
            (first, last) if first == last => f.write_str(&end(first)),
            (first, last) => write!(f, "{}..{}", end(first), end(last)),
        }
    }
}

impl FromStr for RunRange {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = "expected a run or a range of runs, both ends included: 7, 7..12, 7.. or ..12";
        let end = |text: &str| match text.trim() {
            "" => Ok(None),
            id => id.parse().map(|id| Some(RunId(id))).map_err(|_| expected.to_owned()),
        };
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (end(first)?, end(last)?),
            None => (end(text)?, end(text)?),
        };
        match (first, last) {
            (None, None) => Err(expected.to_owned()),
            (Some(first), Some(last)) if first > last => Err(format!("starts at {first} and ends before it, at {last}")),
            _ => Ok(RunRange { first, last }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_runs_includes_both_ends() {
        let range: RunRange = "7..12".parse().unwrap();
        assert!(range.contains(RunId(7)) && range.contains(RunId(12)) && !range.contains(RunId(13)));
        assert!("..12".parse::<RunRange>().unwrap().contains(RunId(-1)));
        assert!(!"7..".parse::<RunRange>().unwrap().contains(RunId(6)));
        assert_eq!("7".parse::<RunRange>(), "7..7".parse());
        for bad in ["", "..", "a..b", "12..7", "1...3"] {
            assert!(bad.parse::<RunRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_is_named_in_words() {
        let words = |narrowing: Narrowing| narrowing.to_string();
        let runs = |text: &str| Narrowing { runs: text.parse().unwrap(), ..Narrowing::default() };
        assert_eq!([words(runs("7")), words(runs("7..")), words(runs("..12"))], ["runs 7", "runs 7..", "runs ..12"]);
        let miner = Narrowing { miner: Some(MinerUid(3)), lifetime: false, ..runs("7..12") };
        assert_eq!(words(miner), "runs 7..12, miner 3, no lifetime rollups");
    }
}
