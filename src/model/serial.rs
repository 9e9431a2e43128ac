//! How a state keeps what serde cannot derive: names of tables, JSON, rollup rows.

use super::evidence::TABLES;
use super::rollups::Rollup;
use super::value::Value;

/// The name of one of [`TABLES`].
pub type TableName = &'static str;

/// A table by its place in the list of all.
pub mod table {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{TABLES, TableName};

    pub fn serialize<S: Serializer>(name: &TableName, serializer: S) -> Result<S::Ok, S::Error> {
        let index = TABLES.iter().position(|known| known == name).expect("invariant: a table that recount knows");
        serializer.serialize_u8(index as u8)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TableName, D::Error> {
        let index = u8::deserialize(deserializer)?;
        TABLES.get(usize::from(index)).copied().ok_or_else(|| D::Error::custom("no such table"))
    }
}

/// JSON as its text, in which every double has the digits that read back to its bits.
pub mod json {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_json::Value as Json;

    pub fn serialize<S: Serializer>(json: &Json, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&json.to_string())
    }

    pub fn deserialize<'de, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, Json>, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(Cow::Owned).map_err(D::Error::custom)
    }
}

/// The cells of a rollup row, wide ones aside.
pub fn cells<R: Rollup>(row: &R) -> Vec<Value<'static>> {
    (0..R::COLUMNS.len()).map(|index| row.value(index).into_owned()).collect()
}

/// The row that has these cells; `None` where they are not of its columns.
pub fn row<R: Rollup>(cells: Vec<Value<'static>>) -> Option<R> {
    let mut row = R::default();
    let fits = cells.len() == R::COLUMNS.len() && cells.into_iter().enumerate().all(|(index, cell)| row.set(index, cell));
    fits.then_some(row)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::rollups::{MinerStat, SubnetStat};

    #[test]
    fn a_row_comes_back_with_every_bit() {
        let lists = json!([{"score": 0.1 + 0.2, "rank": 1, "none": null}]);
        let stat = SubnetStat {
            mean_score: Some(-0.0),
            top_miners: Some(lists.into()),
            scope: Some("run".into()),
            ..Default::default()
        };
        let back: SubnetStat = row(cells(&stat)).unwrap();
        assert_eq!(back, stat);
        assert_eq!(back.mean_score.map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert_eq!(row::<MinerStat>(cells(&stat)), None);
    }
}
