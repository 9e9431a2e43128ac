//! The statements that read the tables: pure text, made from what the catalogue check let pass.

use super::contract::Selection;
use super::contract::type_id::{BPCHAR, JSON, JSONB};
use crate::model::columns::Type;
use crate::model::evidence::{COMPONENTS, RUNS, SCORES, Wire};
use crate::model::ids::RunId;
use crate::postgres::{literal, readable_json};
use crate::source::decode::{MISSING_FLOAT, MISSING_INT, MISSING_TEXT, SEPARATOR, WITH_ID, is_key};
use crate::source::layout::LayoutColumn;

/// A table of at most this many rows is scanned for each run where it has no index on it.
pub const SCANNED_ROWS_MAX: f64 = 100_000.0;

/// How the rows of one run are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// One statement for each run.
    ByRun,
    /// The table is copied once, in order of runs, into a temporary file.
    Spool,
}

/// A big table without an index on its run must not be scanned once for each run.
pub fn access(selection: &Selection) -> Access {
    let small = selection.rows.is_some_and(|rows| rows <= SCANNED_ROWS_MAX);
    if selection.run_index || small { Access::ByRun } else { Access::Spool }
}

/// The expression by which a column leaves the database: nothing of an error but what the rules read.
pub fn expression(name: &str, wire: Wire, type_id: i64) -> String {
    let json = if type_id == JSONB { "jsonb" } else { "json" };
    let name = if type_id == JSON { &readable_json(name) } else { name };
    match wire {
        Wire::Error if matches!(type_id, JSON | JSONB) => error_parts(name, json),
        Wire::Error => format!("to_json({name})::text"),
        Wire::ErrorObject => format!(
            "CASE {json}_typeof({name}) WHEN 'object' THEN {json}_build_object('type', {name} -> 'type', \
             'message', {name} -> 'message')::text ELSE {name}::text END"
        ),
        Wire::Plain(Type::Json) => format!("{name}::text"),
        // Padding is no part of a text.
        _ if type_id == BPCHAR => format!("{name}::text"),
        _ => name.to_owned(),
    }
}

/// Type, message and error of an error where they are texts; `0` stands for anything else, since a rule may have to know
/// that there was something, but never what. Arrays, numbers and booleans come without their content.
fn error_parts(name: &str, json: &str) -> String {
    let part = |key: &str| {
        let part = format!("{name} -> '{key}'");
        let kind = format!("coalesce({json}_typeof({part}), 'null')");
        format!("'{key}', CASE {kind} WHEN 'string' THEN {part} WHEN 'null' THEN NULL ELSE '0'::{json} END")
    };
    let parts = ["type", "message", "error"].map(part).join(", ");
    format!(
        "CASE WHEN {name} IS NOT NULL THEN CASE {json}_typeof({name}) WHEN 'object' THEN {json}_build_object({parts})::text \
         WHEN 'string' THEN {name}::text WHEN 'null' THEN NULL ELSE '[]' END END"
    )
}

/// The rows of one run.
pub fn run(selection: &Selection, run: RunId) -> String {
    copy(selection, &format!(" WHERE run_id = {run}"))
}

/// The rows of one run of a large table, packed into groups by the server; the form is that of the decoder's groups.
pub fn groups(selection: &Selection, run: RunId) -> Option<String> {
    let table = selection.layout.table;
    if (table != SCORES.name && table != COMPONENTS.name) || !selection.groups {
        return None;
    }
    let columns = || selection.layout.columns.iter().zip(&selection.expressions);
    let of = |name: &str| columns().find(|(column, _)| column.name == name).expect("invariant: the large tables have it");
    let fields = columns().filter(|(column, _)| column.name != WITH_ID).map(|(column, expression)| match column.name.as_ref() {
        "run_id" => format!("{run}::int"),
        "id" => format!("string_agg(int8send({}::int8 * 4294967296 + {expression}), NULL)", or_marker(of(WITH_ID))),
        name if is_key(name) => expression.clone(),
        _ => packed(column, expression),
    });
    let nullable = columns().filter(|(column, _)| column.nullable).map(|(_, expression)| expression.as_str());
    let missing = format!("sum(num_nulls({}))", nullable.collect::<Vec<_>>().join(", "));
    let fields = fields.chain([missing]).collect::<Vec<_>>().join(", ");
    let keys = columns().filter(|(column, _)| is_key(&column.name) && column.name != "run_id");
    let keys = keys.map(|(_, expression)| expression.as_str()).collect::<Vec<_>>().join(", ");
    Some(format!("COPY (SELECT {fields} FROM {table} WHERE run_id = {run} GROUP BY {keys}) TO STDOUT (FORMAT binary)"))
}

/// The values of a column, one behind the other.
fn packed(column: &LayoutColumn, expression: &String) -> String {
    let value = or_marker((column, expression));
    let values = match column.wire {
        Wire::Plain(Type::Int32) => format!("int4send({value}::int4), NULL"),
        Wire::Plain(Type::Float64) => format!("float8send({value}), NULL"),
        Wire::Plain(Type::Time) => format!("timestamptz_send({value}), NULL"),
        Wire::Plain(Type::Text) => format!("{value}, chr({SEPARATOR})"),
        _ => unreachable!("invariant: the large tables have numbers, times and names"),
    };
    format!("string_agg({values})")
}

/// A value, or what stands for NULL.
fn or_marker((column, expression): (&LayoutColumn, &String)) -> String {
    let marker = match column.wire {
        _ if !column.nullable => return expression.clone(),
        Wire::Plain(Type::Int32) => format!("'{MISSING_INT}'::int4"),
        Wire::Plain(Type::Float64) => format!("'{MISSING_FLOAT:e}'::float8"),
        _ => format!("chr({MISSING_TEXT})"),
    };
    format!("coalesce({expression}, {marker})")
}

/// All rows in order of their runs.
pub fn by_runs(selection: &Selection) -> String {
    copy(selection, " ORDER BY run_id")
}

/// All rows.
pub fn whole(selection: &Selection) -> String {
    copy(selection, "")
}

/// The miners that have stored rows.
pub fn stored_miners(selection: &Selection) -> String {
    format!("SELECT DISTINCT miner_uid::int4 FROM {} ORDER BY 1", selection.layout.table)
}

/// The stored rows of a unit. All miners are listed so that the unique index (`miner_uid`, `forecast_run_id`) serves.
pub fn stored(selection: &Selection, forecast_run_id: &str, miners: &[i32]) -> String {
    let unit = literal(forecast_run_id);
    let miners = miners.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    copy(selection, &format!(" WHERE forecast_run_id = {unit} AND miner_uid = ANY (ARRAY[{miners}]::int[])"))
}

/// The stored rows that [`stored`] gives for none of these units.
pub fn strays<'a>(selection: &Selection, units: impl Iterator<Item = &'a str>) -> String {
    let units = units.map(literal).collect::<Vec<_>>().join(", ");
    copy(selection, &format!(" WHERE (forecast_run_id = ANY (ARRAY[{units}]::text[])) IS NOT TRUE"))
}

/// How many rows refer to a run that does not exist; no unit would ever read them.
pub fn orphans(table: &str) -> String {
    format!("SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT FROM {} r WHERE r.id = t.run_id)", RUNS.name)
}

fn copy(selection: &Selection, clause: &str) -> String {
    let (columns, table) = (selection.expressions.join(", "), selection.layout.table);
    format!("COPY (SELECT {columns} FROM {table}{clause}) TO STDOUT (FORMAT binary)")
}

#[cfg(test)]
mod tests {
    use super::super::contract::{check, tests::fitting};
    use super::*;

    #[test]
    fn only_what_a_rule_reads_is_selected() {
        let contract = check(&fitting()).unwrap();
        insta::assert_snapshot!(run(&contract.scores, RunId(7)), @"COPY (SELECT id, response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level FROM weather_miner_scores WHERE run_id = 7) TO STDOUT (FORMAT binary)");
        insta::assert_snapshot!(groups(&contract.scores, RunId(7)).unwrap(), @"COPY (SELECT string_agg(int8send(coalesce(lead_hours, '-2147483647'::int4)::int8 * 4294967296 + id), NULL), response_id, 7::int, miner_uid, miner_hotkey, string_agg(score_type, chr(1)), string_agg(timestamptz_send(calculation_time), NULL), string_agg(float8send(coalesce(score, '-1.7976931348623157e308'::float8)), NULL), string_agg(coalesce(variable_level, chr(2)), chr(1)), sum(num_nulls(score, lead_hours, variable_level)) FROM weather_miner_scores WHERE run_id = 7 GROUP BY response_id, miner_uid, miner_hotkey) TO STDOUT (FORMAT binary)");
        insta::assert_snapshot!(groups(&contract.components, RunId(7)).unwrap(), @"COPY (SELECT string_agg(int8send(lead_hours::int8 * 4294967296 + id), NULL), response_id, 7::int, miner_uid, string_agg(score_type, chr(1)), string_agg(variable_name, chr(1)), string_agg(int4send(coalesce(pressure_level, '-2147483647'::int4)::int4), NULL), string_agg(float8send(coalesce(rmse, '-1.7976931348623157e308'::float8)), NULL), string_agg(float8send(coalesce(acc, '-1.7976931348623157e308'::float8)), NULL), string_agg(float8send(coalesce(skill_score, '-1.7976931348623157e308'::float8)), NULL), string_agg(timestamptz_send(calculated_at), NULL), sum(num_nulls(pressure_level, rmse, acc, skill_score)) FROM weather_forecast_component_scores WHERE run_id = 7 GROUP BY response_id, miner_uid) TO STDOUT (FORMAT binary)");
        assert_eq!(groups(&contract.responses, RunId(7)), None);
        let wide_ids = Selection { groups: false, ..contract.scores };
        assert_eq!(groups(&wide_ids, RunId(7)), None);
        insta::assert_snapshot!(by_runs(&contract.components), @"COPY (SELECT id, response_id, run_id, miner_uid, score_type, lead_hours, variable_name, pressure_level, rmse, acc, skill_score, calculated_at FROM weather_forecast_component_scores ORDER BY run_id) TO STDOUT (FORMAT binary)");
        insta::assert_snapshot!(whole(&contract.nodes), @"COPY (SELECT uid, hotkey FROM node_table) TO STDOUT (FORMAT binary)");
    }

    #[test]
    fn stored_rows_are_those_of_units_and_the_rest() {
        let mut stats = check(&fitting()).unwrap().stats.unwrap();
        stats.expressions = vec!["id".to_owned()];
        insta::assert_snapshot!(stored(&stats, "forecast_20250101_00_to_20250111_00", &[3, 7]), @"COPY (SELECT id FROM weather_forecast_stats WHERE forecast_run_id = 'forecast_20250101_00_to_20250111_00' AND miner_uid = ANY (ARRAY[3, 7]::int[])) TO STDOUT (FORMAT binary)");
        insta::assert_snapshot!(strays(&stats, ["a", "it's"].into_iter()), @"COPY (SELECT id FROM weather_forecast_stats WHERE (forecast_run_id = ANY (ARRAY['a', 'it''s']::text[])) IS NOT TRUE) TO STDOUT (FORMAT binary)");
        insta::assert_snapshot!(strays(&stats, [].into_iter()), @"COPY (SELECT id FROM weather_forecast_stats WHERE (forecast_run_id = ANY (ARRAY[]::text[])) IS NOT TRUE) TO STDOUT (FORMAT binary)");
    }

    #[test]
    fn errors_leave_without_what_no_rule_reads() {
        let steps = check(&fitting()).unwrap().steps.unwrap();
        insta::assert_snapshot!(steps.expressions[13], @"CASE WHEN error_json IS NOT NULL THEN CASE jsonb_typeof(error_json) WHEN 'object' THEN jsonb_build_object('type', CASE coalesce(jsonb_typeof(error_json -> 'type'), 'null') WHEN 'string' THEN error_json -> 'type' WHEN 'null' THEN NULL ELSE '0'::jsonb END, 'message', CASE coalesce(jsonb_typeof(error_json -> 'message'), 'null') WHEN 'string' THEN error_json -> 'message' WHEN 'null' THEN NULL ELSE '0'::jsonb END, 'error', CASE coalesce(jsonb_typeof(error_json -> 'error'), 'null') WHEN 'string' THEN error_json -> 'error' WHEN 'null' THEN NULL ELSE '0'::jsonb END)::text WHEN 'string' THEN error_json::text WHEN 'null' THEN NULL ELSE '[]' END END");
        insta::assert_snapshot!(expression("e", Wire::Error, 25), @"to_json(e)::text");
        let e = readable_json("e");
        let parts = format!("json_build_object('type', {e} -> 'type', 'message', {e} -> 'message')");
        let expected = format!("CASE json_typeof({e}) WHEN 'object' THEN {parts}::text ELSE {e}::text END");
        assert_eq!(expression("e", Wire::ErrorObject, JSON), expected);
        insta::assert_snapshot!(expression("status", Wire::Plain(Type::Text), BPCHAR), @"status::text");
    }

    #[test]
    fn a_big_table_without_an_index_on_its_run_is_spooled() {
        let mut scores = check(&fitting()).unwrap().scores;
        assert_eq!(access(&scores), Access::ByRun);
        scores.run_index = false;
        assert_eq!(access(&scores), Access::Spool);
        scores.rows = None;
        assert_eq!(access(&scores), Access::Spool);
        scores.rows = Some(SCANNED_ROWS_MAX);
        assert_eq!(access(&scores), Access::ByRun);
    }
}
