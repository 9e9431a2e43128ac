//! N2: the lists of miners that a row of the subnet has.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use arrayvec::ArrayVec;
use serde_json::{Value as Json, json};

use super::rows::parse_json;
use super::value::{Field, Value, canonical_json};

/// N2: the number of miners on a list.
pub const LISTED: usize = 10;

/// A list, for rows that a job holds to its end: as JSON it takes ten times as much. It lies within its row, since small things
/// that stay leave memory in pieces behind.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all lists are recomputed")]
pub enum MinerList {
    Recomputed(ArrayVec<Listed, LISTED>),
    /// As it was stored, which can be any JSON: its canonical text.
    Stored(Box<str>),
}

/// A miner on a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub miner: Arc<Named>,
    pub score: f64,
    pub rank: Option<i32>,
}

/// Who a miner is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Named {
    pub uid: i32,
    pub hotkey: Option<String>,
}

impl MinerList {
    /// Shares names with other lists: mostly the same miners are listed, run after run.
    pub fn share(&mut self, names: &mut HashSet<Arc<Named>>) {
        let MinerList::Recomputed(listed) = self else { return };
        for Listed { miner, .. } in listed {
            match names.get(miner) {
                Some(known) => *miner = known.clone(),
                None => drop(names.insert(miner.clone())),
            }
        }
    }

    fn json(&self) -> Json {
        let entry = |m: &Listed| {
            let Named { uid, hotkey } = &*m.miner;
            json!({"miner_uid": uid, "miner_hotkey": hotkey, "score": m.score, "rank": m.rank})
        };
        match self {
            MinerList::Recomputed(listed) => listed.iter().map(entry).collect(),
            MinerList::Stored(text) => parse_json(text),
        }
    }
}

impl From<Json> for MinerList {
    fn from(json: Json) -> MinerList {
        MinerList::Stored(canonical_json(&json).into())
    }
}

impl Field for MinerList {
    fn value(&self) -> Value<'_> {
        Value::Json(Cow::Owned(self.json()))
    }

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Json(json) => Some(json.into_owned().into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> MinerList {
        let miner = Arc::new(Named { uid: 3, hotkey: Some("5F…".to_owned()) });
        MinerList::Recomputed(ArrayVec::from_iter([Listed { miner, score: 0.5, rank: None }]))
    }

    #[test]
    fn a_list_is_the_json_of_its_miners() {
        let text = r#"[{"miner_hotkey":"5F…","miner_uid":3,"rank":null,"score":0.5}]"#;
        assert_eq!(canonical_json(&list().json()), text);
        assert_eq!(MinerList::from(list().json()).json(), list().json());
    }

    #[test]
    fn equal_names_are_one() {
        let (mut one, mut other, mut names) = (list(), list(), HashSet::new());
        one.share(&mut names);
        other.share(&mut names);
        let [MinerList::Recomputed(a), MinerList::Recomputed(b)] = [&one, &other] else { unreachable!("both are recomputed") };
        assert!(Arc::ptr_eq(&a[0].miner, &b[0].miner));
        assert_eq!(one, list());
    }
}
