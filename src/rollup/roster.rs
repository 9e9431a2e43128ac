//! I8: who has a row in a run, and the response each has.

use crate::model::evidence::RunEvidence;
use crate::model::ids::MinerUid;
use crate::model::time::Micros;

use super::views::{Codes, Columns, bool_at, text_at, time_at};

/// A miner's response in a run.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    pub id: i64,
    pub hotkey: &'a str,
    pub time: Micros,
    pub verification_passed: Option<bool>,
    pub status: &'a str,
    pub error: Option<ErrorText<'a>>,
    pub inference_started: Option<Micros>,
    pub inference_completed: Option<Micros>,
}

/// An error as it was read: sanitized type and message (E2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorText<'a> {
    pub kind: &'a str,
    pub message: Option<&'a str>,
}

/// Reads the two columns of an error: no type, no error.
pub struct Errors<'a> {
    kind: &'a arrow_array::StringArray,
    message: &'a arrow_array::StringArray,
}

impl<'a> Errors<'a> {
    pub fn of(columns: &Columns<'a>, name: &str) -> Self {
        Errors { kind: columns.text(&format!("{name}_type")), message: columns.text(&format!("{name}_message")) }
    }

    pub fn get(&self, row: usize) -> Option<ErrorText<'a>> {
        text_at(self.kind, row).map(|kind| ErrorText { kind, message: text_at(self.message, row) })
    }
}

/// The miners of a run, ascending, each with a dense index; and their responses.
pub struct Roster<'a> {
    pub uids: Vec<i32>,
    pub responses: Vec<Option<Response<'a>>>,
    /// Index by uid for small uids (a subnet has 256), so that a row costs no search.
    direct: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;
const DIRECT_UIDS: i32 = 4096;

impl<'a> Roster<'a> {
    /// Miners with a response or with one of the miners' steps given.
    pub fn new(evidence: &'a RunEvidence, with_steps: impl Iterator<Item = i32>) -> Self {
        let columns = Columns(&evidence.responses);
        let miner = columns.int32("miner_uid").values();
        let mut uids: Vec<i32> = miner.iter().copied().chain(with_steps).collect();
        uids.sort_unstable();
        uids.dedup();
        let mut direct = vec![ABSENT; DIRECT_UIDS as usize];
        for (index, &uid) in uids.iter().enumerate() {
            if (0..DIRECT_UIDS).contains(&uid) {
                direct[uid as usize] = index as u32;
            }
        }
        let mut roster = Roster { responses: vec![None; uids.len()], uids, direct };
        roster.read_responses(&columns, miner);
        roster
    }

    fn read_responses(&mut self, columns: &Columns<'a>, miner: &[i32]) {
        let (id, time) = (columns.id("id").values(), columns.time("response_time").values());
        let (hotkey, status): (Codes<'a>, Codes<'a>) = (columns.codes("miner_hotkey"), columns.codes("status"));
        let (started, completed) = (columns.time("inference_started_at"), columns.time("inference_completed_at"));
        let passed = columns.boolean("verification_passed");
        let errors = Errors::of(columns, "error_message");
        for row in 0..miner.len() {
            let index = self.index(miner[row]).expect("invariant: a response puts its miner on the roster");
            let known = &mut self.responses[index];
            // The table allows one response for each (run, miner); without its constraint the latest id stands.
            if known.is_some_and(|response| response.id > id[row]) {
                continue;
            }
            *known = Some(Response {
                id: id[row],
                hotkey: hotkey.get(row).unwrap_or_default(),
                time: Micros(time[row]),
                verification_passed: bool_at(passed, row),
                status: status.get(row).unwrap_or_default(),
                error: errors.get(row),
                inference_started: time_at(started, row),
                inference_completed: time_at(completed, row),
            });
        }
    }

    pub fn len(&self) -> usize {
        self.uids.len()
    }

    #[inline]
    pub fn index(&self, uid: i32) -> Option<usize> {
        if (0..DIRECT_UIDS).contains(&uid) {
            let index = self.direct[uid as usize];
            (index != ABSENT).then_some(index as usize)
        } else {
            self.uids.binary_search(&uid).ok()
        }
    }

    /// I2: the dense index of the miner, where the row's response is the miner's own.
    #[inline]
    pub fn isolated(&self, uid: i32, response_id: i64) -> Option<usize> {
        let index = self.index(uid)?;
        self.responses[index].is_some_and(|response| response.id == response_id).then_some(index)
    }

    pub fn uid(&self, index: usize) -> MinerUid {
        MinerUid(self.uids[index])
    }
}
