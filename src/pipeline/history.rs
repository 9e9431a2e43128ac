//! Miners over all runs, in two passes: what the second takes of each row waits on disk once it is more than memory should hold.
//!
//! Where a stored row is another than the recomputed one, its miner's history goes on twice from there: as recomputed, and as stored.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::{SpooledTempFile, spooled_tempfile_in};

use crate::error::{Error, ErrorKind, Result};
use crate::model::ids::{MinerUid, RunId};
use crate::model::rollups::{MinerStat, SubnetStat};
use crate::model::time::Micros;
use crate::rollup::{FirstPass, MinerRun, Rules, SecondPassRow};

/// What waits in memory: 20 runs of 256 miners.
const HELD_BYTES: usize = 1 << 17;
const ROW_BYTES: usize = 25;

/// The rows so far.
pub struct History {
    pub seen: FirstPass,
    rows: u64,
    stored: FirstPass,
    /// What the second pass takes of stored rows: in the place of recomputed ones (none where none is stored), and beside them.
    instead: BTreeMap<(RunId, MinerUid), Option<SecondPassRow>>,
    beside: Vec<SecondPassRow>,
    waiting: BufWriter<SpooledTempFile>,
    folder: PathBuf,
}

impl History {
    pub fn new() -> Self {
        History::holding(HELD_BYTES, &std::env::temp_dir())
    }

    /// A file in `folder` takes what does not fit. It has no name, so it is gone with the process, however that ends.
    fn holding(bytes: usize, folder: &Path) -> Self {
        let waiting = BufWriter::new(spooled_tempfile_in(bytes, folder));
        History {
            seen: FirstPass::default(),
            rows: 0,
            stored: FirstPass::default(),
            instead: BTreeMap::new(),
            beside: Vec::new(),
            waiting,
            folder: folder.to_owned(),
        }
    }

    /// Rows of a unit; `stored` are those in whose place another row is stored, or none.
    pub fn absorb(&mut self, rows: Vec<MinerRun>, stored: Vec<(RunId, MinerUid, Option<MinerRun>)>) -> Result<()> {
        let mut stored: BTreeMap<(RunId, MinerUid), Option<MinerRun>> =
            stored.into_iter().map(|(run, miner, row)| ((run, miner), row)).collect();
        for row in rows {
            match stored.remove(&(row.run, row.miner)) {
                Some(instead) => {
                    self.seen.branch(row.miner, &mut self.stored);
                    let again = instead.map(|instead| self.stored.absorb(instead));
                    self.instead.insert((row.run, row.miner), again);
                }
                None if self.stored.has(row.miner) => {
                    self.stored.absorb(row.clone());
                }
                None => {}
            }
            let again = self.seen.absorb(row);
            self.waiting.write_all(&bytes_of(&again)).map_err(|e| unkept(&self.folder, e))?;
            self.rows += 1;
        }
        Ok(())
    }

    /// Rows that are stored beside the recomputed ones.
    pub fn extra(&mut self, rows: impl IntoIterator<Item = MinerRun>) {
        for row in rows {
            self.seen.branch(row.miner, &mut self.stored);
            self.beside.push(self.stored.absorb(row));
        }
    }

    /// The rows so far, as recomputed.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// M and N1 over all of them.
    pub fn finish(self, rules: &Rules) -> Result<LifetimeRollups> {
        let (mut second, mut stored) = (self.seen.end(), self.stored.end());
        let read_back = || -> io::Result<()> {
            let mut waiting = self.waiting.into_inner()?;
            waiting.rewind()?;
            let (mut waiting, mut bytes) = (BufReader::new(waiting), [0; ROW_BYTES]);
            for _ in 0..self.rows {
                waiting.read_exact(&mut bytes)?;
                let row = row_of(&bytes);
                second.absorb(row);
                if stored.has(row.miner) {
                    let row = self.instead.get(&(row.run, row.miner)).copied().unwrap_or(Some(row));
                    row.into_iter().for_each(|row| stored.absorb(row));
                }
            }
            self.beside.into_iter().for_each(|row| stored.absorb(row));
            Ok(())
        };
        read_back().map_err(|e| unkept(&self.folder, e))?;
        let (miners, subnet) = second.finish(rules);
        let (stored, _) = stored.finish(rules);
        Ok(LifetimeRollups { miners, subnet, stored: stored.into_iter().filter_map(|row| Some((row.miner_uid?, row))).collect() })
    }
}

/// The lifetime rollups.
#[derive(Debug, PartialEq)]
pub struct LifetimeRollups {
    /// As recomputed, ascending.
    pub miners: Vec<MinerStat>,
    pub subnet: SubnetStat,
    /// As the stored rows of the runs give them, of the miners for whom that is another thing.
    pub stored: BTreeMap<i32, MinerStat>,
}

fn unkept(folder: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("keeping scores in a temporary file in {}", folder.display()), &error)
        .hint(format!("it takes {ROW_BYTES} bytes for each miner of each run; TMPDIR names another folder"))
        .caused_by(error)
}

const NO_SCORE: u8 = 0b100;

fn bytes_of(row: &SecondPassRow) -> [u8; ROW_BYTES] {
    let ended = match row.success {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    };
    let mut bytes = [0; ROW_BYTES];
    bytes[..8].copy_from_slice(&row.init.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&row.combined.unwrap_or_default().to_le_bytes());
    bytes[16..20].copy_from_slice(&row.run.0.to_le_bytes());
    bytes[20..24].copy_from_slice(&row.miner.0.to_le_bytes());
    bytes[24] = ended | if row.combined.is_none() { NO_SCORE } else { 0 };
    bytes
}

fn row_of(bytes: &[u8; ROW_BYTES]) -> SecondPassRow {
    let part = |at: usize| bytes[at..at + 8].try_into().expect("invariant: eight bytes");
    let id = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("invariant: four bytes"));
    SecondPassRow {
        init: Micros(i64::from_le_bytes(part(0))),
        combined: (bytes[24] & NO_SCORE == 0).then(|| f64::from_le_bytes(part(8))),
        run: RunId(id(16)),
        miner: MinerUid(id(20)),
        success: match bytes[24] & !NO_SCORE {
            0 => None,
            ended => Some(ended == 2),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::settings::Scoring;

    fn row(run: i32, miner: i32, combined: Option<f64>, success: Option<bool>) -> MinerRun {
        MinerRun {
            run: RunId(run),
            init: Micros(i64::from(run)),
            miner: MinerUid(miner),
            hotkey: "5F…".to_owned(),
            combined,
            completeness: 1.0,
            day1: None,
            success,
            end: None,
            hosting: None,
            latency_ms: None,
            inference_seconds: None,
            error_type: None,
            response_time: None,
        }
    }

    proptest! {
        #[test]
        fn rows_are_what_they_were(
            init in any::<i64>(),
            (run, miner) in any::<(i32, i32)>(),
            combined in any::<Option<f64>>(),
            success in any::<Option<bool>>(),
        ) {
            let row = SecondPassRow { miner: MinerUid(miner), init: Micros(init), run: RunId(run), combined, success };
            prop_assert_eq!(row_of(&bytes_of(&row)), row);
        }
    }

    #[test]
    fn a_life_is_the_same_from_memory_and_from_disk() {
        let (folder, rules) = (tempfile::tempdir().unwrap(), Rules::new(Scoring::default(), Micros(0)));
        let [held, on_disk] = [HELD_BYTES, 0].map(|bytes| {
            let mut history = History::holding(bytes, folder.path());
            for run in 0..1000 {
                let score = (run % 3 > 0).then(|| f64::from(run) / 7.0);
                history.absorb(vec![row(run, 1, score, Some(run < 996)), row(run, 2, None, None)], Vec::new()).unwrap();
            }
            history.finish(&rules).unwrap()
        });
        assert_eq!(held, on_disk);
        assert_eq!(held.miners[0].consecutive_failures, Some(4));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn stored_rows_make_a_history_of_their_own_from_where_they_differ() {
        let (folder, rules) = (tempfile::tempdir().unwrap(), Rules::new(Scoring::default(), Micros(0)));
        let right = |run| row(run, 1, Some(f64::from(run) / 8.0), Some(true));
        let mut history = History::holding(0, folder.path());
        for run in 1..=4 {
            let stored = match run {
                2 => vec![(RunId(2), MinerUid(1), Some(row(2, 1, Some(0.75), Some(false))))],
                3 => vec![(RunId(3), MinerUid(1), None)],
                _ => Vec::new(),
            };
            history.absorb(vec![right(run), row(run, 2, None, None)], stored).unwrap();
        }
        history.extra([row(9, 3, Some(0.5), None)]);
        let whole = history.finish(&rules).unwrap();
        let mut alone = History::holding(0, folder.path());
        let stored = vec![right(1), row(2, 1, Some(0.75), Some(false)), right(4), row(9, 3, Some(0.5), None)];
        alone.absorb(stored, Vec::new()).unwrap();
        let expected = alone.finish(&rules).unwrap().miners;
        assert_eq!(whole.stored.into_values().collect::<Vec<_>>(), expected);
        assert_eq!(whole.miners.len(), 2, "what is stored beside changes nothing of what is recomputed");
    }

    #[test]
    fn without_room_on_disk_it_says_where() {
        let mut history = History::holding(0, Path::new("/no/such/folder"));
        let rows = (0..1000).map(|run| row(run, 1, Some(0.5), None)).collect();
        let error = history.absorb(rows, Vec::new()).unwrap_err();
        insta::assert_snapshot!(error.to_string().split(": No").next().unwrap(), @"keeping scores in a temporary file in /no/such/folder");
        insta::assert_snapshot!(error.hint_text().unwrap(), @"it takes 25 bytes for each miner of each run; TMPDIR names another folder");
    }
}
