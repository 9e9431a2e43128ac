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

/// Rollup rows, each as the cells of its columns: what serde derives for them would not keep JSON.
pub mod rows {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Rollup, Value};

    pub fn serialize<R: Rollup, S: Serializer>(rows: &[R], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rows.iter().map(RowCells))
    }

    pub fn deserialize<'de, R: Rollup, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<R>, D::Error> {
        let rows = Vec::<Vec<Value<'static>>>::deserialize(deserializer)?;
        rows.into_iter().map(|cells| row(cells).ok_or_else(|| D::Error::custom("cells of other columns"))).collect()
    }

    struct RowCells<'a, R>(&'a R);

    impl<R: Rollup> Serialize for RowCells<'_, R> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq((0..R::COLUMNS.len()).map(|index| self.0.value(index)))
        }
    }

    /// `None` where the cells are not of the row's columns.
    fn row<R: Rollup>(cells: Vec<Value<'static>>) -> Option<R> {
        let mut row = R::default();
        let fits = cells.len() == R::COLUMNS.len() && cells.into_iter().enumerate().all(|(index, cell)| row.set(index, cell));
        fits.then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use crate::model::rollups::{MinerStat, Rollup, SubnetStat};

    #[derive(Serialize, Deserialize)]
    #[serde(bound = "")]
    struct Kept<R: Rollup>(#[serde(with = "super::rows")] Vec<R>);

    #[test]
    fn a_row_comes_back_with_every_bit() {
        let lists = json!([{"score": 0.1 + 0.2, "rank": 1, "none": null}]);
        let stat = SubnetStat {
            mean_score: Some(-0.0),
            top_miners: Some(lists.into()),
            scope: Some("run".into()),
            ..Default::default()
        };
        let bytes = postcard::to_stdvec(&Kept(vec![stat.clone()])).unwrap();
        let back = postcard::from_bytes::<Kept<SubnetStat>>(&bytes).unwrap().0;
        assert_eq!(back, [stat]);
        assert_eq!(back[0].mean_score.map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert!(postcard::from_bytes::<Kept<MinerStat>>(&bytes).is_err());
    }
}
