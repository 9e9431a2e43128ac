//! Which columns are compared: an operator adopts them group by group.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

use super::columns::{Column, Group, Type, wide_lead};
use super::job::redact;
use super::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};

/// The rollup tables of the database with their columns, wide ones aside.
pub const STORED_TABLES: [(&str, &[Column]); 3] = [
    (ForecastStat::TABLE, ForecastStat::COLUMNS),
    (MinerStat::TABLE, MinerStat::COLUMNS),
    (SubnetStat::TABLE, SubnetStat::COLUMNS),
];

/// The column of a rollup table of the database, wide ones included.
pub fn stored_column(table: &str, name: &str) -> Option<Column> {
    let (_, columns) = STORED_TABLES.iter().find(|(known, _)| *known == table)?;
    columns.iter().find(|column| column.name == name).cloned().or_else(|| {
        let wide = Column { name: name.to_owned().into(), kind: Type::Float64, group: Group::Scores };
        (table == ForecastStat::TABLE && is_wide(name)).then_some(wide)
    })
}

/// The columns to compare: all, or those named, less those ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnFilter {
    columns: Vec<Name>,
    ignore: Vec<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Group(Group),
    /// A column of one table, or of every table that has it.
    Column {
        table: Option<&'static str>,
        column: String,
    },
}

impl ColumnFilter {
    /// Takes group names, column names and `table.column`. An empty `columns` stands for all.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where a name is none of a stored column or group, or no column is left to compare.
    pub fn parse(columns: &[String], ignore: &[String]) -> Result<ColumnFilter> {
        let names = |key: &'static [&'static str; 1], texts: &[String]| {
            texts.iter().map(|text| Name::parse(key, text)).collect::<Result<_>>()
        };
        let filter = ColumnFilter { columns: names(&["columns"], columns)?, ignore: names(&["ignore"], ignore)? };
        let left = STORED_TABLES.iter().any(|(table, all)| all.iter().any(|column| filter.includes(table, column)));
        if left || filter.columns.iter().any(|name| name.is_wide() && !filter.ignore.contains(name)) {
            return Ok(filter);
        }
        Err(Error::new(ErrorKind::Usage, "settings columns and ignore", "leave no column to compare")
            .about(&["columns", "ignore"]))
    }

    /// Whether the column is compared. Key columns never are: rows are found by them.
    pub fn includes(&self, table: &str, column: &Column) -> bool {
        let named = |names: &[Name]| names.iter().any(|name| name.matches(table, column));
        column.group != Group::Key && (self.columns.is_empty() || named(&self.columns)) && !named(&self.ignore)
    }

    /// True where some column is left out.
    pub fn is_narrow(&self) -> bool {
        *self != ColumnFilter::default()
    }
}

/// What is compared, in words: `columns scores, ranks`, `columns without miner_rank`.
impl fmt::Display for ColumnFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Name]| names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ");
        match (self.columns.is_empty(), self.ignore.is_empty()) {
            (true, true) => f.write_str("all columns"),
            (true, false) => write!(f, "columns without {}", list(&self.ignore)),
            (false, true) => write!(f, "columns {}", list(&self.columns)),
            (false, false) => write!(f, "columns {} without {}", list(&self.columns), list(&self.ignore)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Group(group) => {
                let name = Group::NAMED.iter().find(|(_, known)| known == group).map(|(name, _)| *name);
                f.write_str(name.unwrap_or_default())
            }
            Name::Column { table: Some(table), column } => write!(f, "{table}.{column}"),
            Name::Column { table: None, column } => f.write_str(column),
        }
    }
}

impl Name {
    fn parse(key: &'static [&'static str; 1], text: &str) -> Result<Name> {
        if let Some((_, group)) = Group::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Name::Group(*group));
        }
        let (table, column) = match text.split_once('.') {
            Some((table, column)) => (Some(table), column),
            None => (None, text),
        };
        let known = STORED_TABLES
            .iter()
            .find(|(name, _)| table.is_none_or(|table| table == *name) && is_compared(name, column))
            .map(|(name, _)| table.and(Some(*name)));
        match known {
            Some(table) => Ok(Name::Column { table, column: column.to_owned() }),
            None => Err(unknown(key, text)),
        }
    }

    fn matches(&self, table: &str, column: &Column) -> bool {
        match self {
            Name::Group(group) => *group == column.group,
            Name::Column { table: only, column: name } => only.is_none_or(|only| only == table) && *name == column.name,
        }
    }

    fn is_wide(&self) -> bool {
        matches!(self, Name::Column { column, .. } if is_wide(column))
    }
}

/// Whether this is the name of a wide column, whatever its lead.
pub fn is_wide(column: &str) -> bool {
    wide_lead(column).is_some()
}

fn is_compared(table: &str, name: &str) -> bool {
    stored_column(table, name).is_some_and(|column| column.group != Group::Key)
}

/// The error for a name that is neither: it lists what exists.
fn unknown(key: &'static [&'static str; 1], text: &str) -> Error {
    let groups = Group::NAMED.map(|(name, _)| name).join(", ");
    let tables = STORED_TABLES.map(|(table, columns)| {
        let names = columns.iter().filter(|column| column.group != Group::Key).map(|column| column.name.as_ref());
        let wide = (table == ForecastStat::TABLE).then_some("era5_score_{lead}h");
        format!("of {table}: {}", names.chain(wide).collect::<Vec<_>>().join(", "))
    });
    Error::new(
        ErrorKind::Usage,
        format!("setting {}", key[0]),
        format!("{:?} is neither a group nor a column that is compared", redact(text)),
    )
    .about(key)
    .hint(format!("groups: {groups}\ncolumns {}", tables.join("\ncolumns ")))
}

#[cfg(test)]
mod tests {
    use super::super::ids::LeadHours;
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn included(columns: &[&str], ignore: &[&str]) -> Vec<String> {
        let filter = ColumnFilter::parse(&texts(columns), &texts(ignore)).unwrap();
        let mut names = Vec::new();
        for (table, all) in STORED_TABLES {
            names.extend(all.iter().filter(|c| filter.includes(table, c)).map(|c| format!("{table}.{}", c.name)));
        }
        names
    }

    #[test]
    fn without_names_every_column_but_the_keys_is_compared() {
        let all = included(&[], &[]);
        assert!(all.contains(&"weather_forecast_stats.run_id".to_owned()));
        assert!(!all.iter().any(|name| name.ends_with(".miner_uid") || name == "weather_subnet_stats.run_id"));
        assert!(!ColumnFilter::default().is_narrow());
    }

    #[test]
    fn groups_columns_and_columns_of_one_table_are_named() {
        assert_eq!(
            included(&["ranks"], &["top_miners", "weather_forecast_stats.miner_rank"]),
            ["miner_stats.miner_rank", "weather_subnet_stats.bottom_miners"]
        );
        assert_eq!(included(&["miner_stats.score_std_dev"], &[]), ["miner_stats.score_std_dev"]);
        assert_eq!(included(&["score_std_dev"], &[]).len(), 2);
    }

    #[test]
    fn wide_columns_are_scores_and_can_be_named() {
        let wide = Column::wide(LeadHours(24));
        let includes = |columns: &[&str], ignore: &[&str]| {
            ColumnFilter::parse(&texts(columns), &texts(ignore)).unwrap().includes(ForecastStat::TABLE, &wide)
        };
        assert!(includes(&["scores"], &[]));
        assert!(includes(&["era5_score_24h"], &[]));
        assert!(!includes(&[], &["era5_score_24h"]));
        assert!(!includes(&["era5_score_48h"], &[]));
        assert!(!includes(&["ranks"], &[]));
    }

    #[test]
    fn an_unknown_name_lists_what_exists() {
        for name in ["score", "miner_uid", "miner_stats.run_id", "miner_stats.era5_score_24h", "era5_score_h", "nodes.scores", ""]
        {
            let error = ColumnFilter::parse(&texts(&[name]), &[]).unwrap_err();
            assert_eq!(error.to_string(), format!("setting columns: {name:?} is neither a group nor a column that is compared"));
            let hint = error.hint_text().unwrap();
            assert!(hint.starts_with("groups: scores, ranks,"), "{hint}");
            assert!(hint.contains("columns of miner_stats: miner_hotkey, "), "{hint}");
        }
    }

    #[test]
    fn a_filter_that_leaves_nothing_is_refused() {
        let error = ColumnFilter::parse(&texts(&["ranks"]), &texts(&["ranks"])).unwrap_err();
        assert_eq!(error.to_string(), "settings columns and ignore: leave no column to compare");
    }
}
