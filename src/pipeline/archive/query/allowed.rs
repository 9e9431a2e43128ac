//! What may be asked: SELECT, EXPLAIN, DESCRIBE and SHOW TABLES, and of tables that are there.

use datafusion::common::{Column, SchemaError};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;

use crate::error::{Error, ErrorKind, Result};

/// Schemas whose tables the engine makes up itself.
const BUILT_IN: &str = "information_schema";

/// SHOW TABLES in the engine's own words also lists what describes the engine.
const SHOW_TABLES: &str = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name";

/// The one statement of a text.
pub fn parse(sql: &str) -> Result<Statement> {
    let wrong = |e: datafusion::common::DataFusionError| {
        Error::new(ErrorKind::Usage, "reading the statement", e.find_root().strip_backtrace())
    };
    let mut statements = DFParser::parse_sql(sql).map_err(wrong)?;
    let (Some(statement), true) = (statements.pop_front(), statements.is_empty()) else {
        return Err(Error::new(ErrorKind::Usage, "reading the statement", "there is not exactly one statement"));
    };
    match statement {
        Statement::Statement(sql) if matches!(*sql, Sql::ShowTables { .. }) => parse(SHOW_TABLES),
        statement if is_reading(&statement) => Ok(statement),
        _ => Err(refusal()),
    }
}

fn is_reading(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(sql) => matches!(**sql, Sql::Query(_) | Sql::ExplainTable { .. }),
        Statement::Explain(explain) => is_reading(&explain.statement),
        _ => false,
    }
}

pub fn refusal() -> Error {
    let error = Error::new(ErrorKind::Usage, "running the query", "the statement does more than to read");
    error.hint("an archive is asked with SELECT (also WITH and VALUES), EXPLAIN, DESCRIBE and SHOW TABLES; nothing changes it")
}

/// Names the nearest table where one is not there.
pub fn check_tables(context: &SessionContext, statement: &Statement, names: &[String]) -> Result<()> {
    let Ok(wanted) = context.state().resolve_table_references(statement) else { return Ok(()) };
    let is_known = |name: &str| names.iter().any(|known| known == name);
    match wanted.iter().find(|wanted| wanted.schema() != Some(BUILT_IN) && !is_known(wanted.table())) {
        None => Ok(()),
        Some(unknown) => Err(no_such("table", unknown.table(), &names.iter().map(String::as_str).collect::<Vec<_>>())),
    }
}

/// Names the nearest column where one is not there.
pub fn unknown_column(error: &SchemaError) -> Error {
    let SchemaError::FieldNotFound { field, valid_fields } = error else {
        return Error::new(ErrorKind::Usage, "running the query", error);
    };
    no_such("column", field.name(), &valid_fields.iter().map(Column::name).collect::<Vec<_>>())
}

fn no_such(what: &str, wanted: &str, names: &[&str]) -> Error {
    let near = nearest(wanted, names.iter().copied()).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
    Error::new(ErrorKind::Usage, "running the query", format!("there is no {what} {wanted:?}"))
        .hint(format!("{near}the {what}s are {}", names.join(", ")))
}

/// The name that is most like another, if any is.
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// As alike as a name with a letter or two mistyped.
    const ALIKE: f64 = 0.75;
    let scored = names.map(|name| (strsim::jaro_winkler(wanted, name), name)).filter(|(score, _)| *score >= ALIKE);
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_is_a_statement() {
        for sql in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "VALUES (1)",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "DESCRIBE runs",
            "SHOW TABLES",
            "SELECT 1;",
        ] {
            assert!(parse(sql).is_ok(), "{sql}");
        }
        for sql in [
            "DROP TABLE runs",
            "DELETE FROM runs",
            "UPDATE runs SET id = 1",
            "INSERT INTO runs SELECT * FROM runs",
            "CREATE TABLE a AS SELECT 1",
            "CREATE VIEW a AS SELECT 1",
            "CREATE EXTERNAL TABLE a STORED AS CSV LOCATION '/etc/passwd'",
            "COPY (SELECT 1) TO '/tmp/a.csv'",
            "EXPLAIN COPY (SELECT 1) TO '/tmp/a.csv'",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "SHOW ALL",
            "BEGIN",
            "PREPARE a AS SELECT 1",
            "SELECT 1; SELECT 2",
            "",
        ] {
            assert!(parse(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn the_nearest_name_is_one_with_a_letter_mistyped() {
        let names = ["scores", "lead_scores", "runs"];
        assert_eq!(nearest("lead_score", names.into_iter()), Some("lead_scores"));
        assert_eq!(nearest("moon", names.into_iter()), None);
    }
}
