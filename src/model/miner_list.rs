//! N2: the lists of miners that a row of the subnet has.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::rows::parse_json;
use super::value::{Field, Value, canonical_json};

/// A list, for rows that a job holds to its end: as JSON it takes ten times as much.
#[derive(Debug, Clone, PartialEq)]
pub enum MinerList {
    Recomputed(Box<[Listed]>),
    /// As it was stored, which can be any JSON: its canonical text.
    Stored(Box<str>),
}

/// A miner on a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub uid: i32,
    pub hotkey: Option<Arc<str>>,
    pub score: f64,
    pub rank: Option<i32>,
}

impl MinerList {
    /// Exchanges hotkeys for those of other lists that are equal: mostly the same miners are listed, run after run.
    pub fn share(&mut self, hotkeys: &mut HashSet<Arc<str>>) {
        let MinerList::Recomputed(miners) = self else { return };
        for hotkey in miners.iter_mut().filter_map(|miner| miner.hotkey.as_mut()) {
            match hotkeys.get(hotkey) {
                Some(known) => *hotkey = known.clone(),
                None => drop(hotkeys.insert(hotkey.clone())),
            }
        }
    }

    fn json(&self) -> Json {
        let entry =
            |m: &Listed| json!({"miner_uid": m.uid, "miner_hotkey": m.hotkey.as_deref(), "score": m.score, "rank": m.rank});
        match self {
            MinerList::Recomputed(miners) => miners.iter().map(entry).collect(),
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
        MinerList::Recomputed([Listed { uid: 3, hotkey: Some("5F…".into()), score: 0.5, rank: None }].into())
    }

    #[test]
    fn a_list_is_the_json_of_its_miners() {
        let text = r#"[{"miner_hotkey":"5F…","miner_uid":3,"rank":null,"score":0.5}]"#;
        assert_eq!(canonical_json(&list().json()), text);
        assert_eq!(MinerList::from(list().json()).json(), list().json());
    }

    #[test]
    fn equal_hotkeys_are_one() {
        let (mut one, mut other, mut hotkeys) = (list(), list(), HashSet::new());
        one.share(&mut hotkeys);
        other.share(&mut hotkeys);
        let [MinerList::Recomputed(a), MinerList::Recomputed(b)] = [&one, &other] else { unreachable!("both are recomputed") };
        assert!(a[0].hotkey.as_ref().zip(b[0].hotkey.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(one, list());
    }
}
