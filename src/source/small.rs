//! The small tables, whole: runs and nodes as batches and back.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, TimestampMicrosecondArray};

use crate::model::evidence::{NODES, Node, RUNS, Run, Snapshot};
use crate::model::ids::{MinerUid, RunId};
use crate::model::time::Micros;

/// Runs in the schema of [`RUNS`].
pub fn runs_batch(runs: &[Run]) -> RecordBatch {
    let times = |time: fn(&Run) -> Micros| {
        let times = runs.iter().map(|run| time(run).0).collect::<Vec<_>>();
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as ArrayRef
    };
    let ids = Arc::new(runs.iter().map(|run| run.id.0).collect::<Int32Array>());
    let columns = vec![ids, times(|run| run.gfs_init), times(|run| run.target)];
    RecordBatch::try_new(RUNS.schema(), columns).expect("the columns of the contract")
}

/// Runs from a batch in the schema of [`RUNS`], ascending by id.
pub fn runs_of(batch: &RecordBatch) -> Vec<Run> {
    let time = |column: usize, row: usize| Micros(batch.column(column).as_primitive::<TimestampMicrosecondType>().value(row));
    let id = |row: usize| RunId(batch.column(0).as_primitive::<Int32Type>().value(row));
    let mut runs: Vec<Run> = (0..batch.num_rows()).map(|row| Run::new(id(row), time(1, row), time(2, row))).collect();
    runs.sort_by_key(|run| run.id);
    runs
}

/// Nodes in the schema of [`NODES`].
pub fn nodes_batch(nodes: &[Node]) -> RecordBatch {
    let uids = Arc::new(nodes.iter().map(|node| node.uid.0).collect::<Int32Array>());
    let hotkeys: DictionaryArray<Int32Type> = nodes.iter().map(|node| node.hotkey.as_deref()).collect();
    RecordBatch::try_new(NODES.schema(), vec![uids, Arc::new(hotkeys)]).expect("the columns of the contract")
}

/// Nodes from a batch in the schema of [`NODES`], ascending by uid.
pub fn nodes_of(batch: &RecordBatch) -> Vec<Node> {
    let uids = batch.column(0).as_primitive::<Int32Type>();
    let hotkeys = batch.column(1).as_dictionary::<Int32Type>();
    let texts = hotkeys.values().as_string::<i32>();
    let hotkey = |row: usize| hotkeys.is_valid(row).then(|| texts.value(hotkeys.keys().value(row) as usize).to_owned());
    let mut nodes: Vec<Node> =
        (0..batch.num_rows()).map(|row| Node { uid: MinerUid(uids.value(row)), hotkey: hotkey(row) }).collect();
    nodes.sort_by_key(|node| node.uid);
    nodes
}

/// Puts the stored rollups into the order of their keys, so that a database and its snapshot give equal lists.
pub fn sort_stored(snapshot: &mut Snapshot) {
    if let Some(miners) = &mut snapshot.stored_miners {
        miners.sort_by_key(|row| row.miner_uid);
    }
    if let Some(subnet) = &mut snapshot.stored_subnet {
        subnet.sort_by(|a, b| (&a.scope, a.run_id).cmp(&(&b.scope, b.run_id)));
    }
}
