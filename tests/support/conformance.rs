//! Loads a conformance set into a database, as tests/conformance/README.md says under "Loading".

use super::database::{Database, block_on};
use flate2::read::GzDecoder;
use sqlx::postgres::PgConnection;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The sets, by the names of their folders.
pub const SETS: [&str; 5] = ["small", "leads", "clean", "purged", "production"];

/// The tables of a set, in the order of their foreign keys.
pub const TABLES: [&str; 8] = [
    "node_table",
    "weather_forecast_runs",
    "weather_miner_responses",
    "weather_miner_scores",
    "weather_forecast_component_scores",
    "weather_forecast_steps",
    "weather_forecast_stats",
    "miner_stats",
];

/// The folder of a set.
pub fn folder(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(set)
}

/// Creates the tables as a validator has them today, and the steps under their plain unique constraint: repeated NULL keys get in.
pub fn create_tables(database: &Database) {
    database.execute(include_str!("phase0.sql"));
}

/// Makes the tables look like those of another tool: other names, steps with `job_id` and a `retry_count` that is never NULL.
pub fn make_production_shaped(database: &Database) {
    database.execute(include_str!("production.sql"));
}

/// Creates the tables and fills them with a set.
pub fn load(database: &Database, set: &str) {
    create_tables(database);
    if set == "production" {
        make_production_shaped(database);
    }
    fill(database, set);
}

/// Fills tables that are there and empty.
pub fn fill(database: &Database, set: &str) {
    let tables = folder(set).join("tables");
    block_on(async {
        let mut connection = database.connect().await;
        for table in TABLES {
            copy_in(&mut connection, table, &unpack(&tables.join(format!("{table}.csv.gz")))).await;
        }
    });
    database.execute(NEXT_IDS);
    database.execute("ANALYZE");
}

/// The rows came with their ids, so the sequences have to be moved on by hand.
const NEXT_IDS: &str = "
DO $$
DECLARE t record;
BEGIN
    FOR t IN SELECT table_name AS name, pg_get_serial_sequence(quote_ident(table_name), column_name) AS sequence
             FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'id' LOOP
        EXECUTE format('SELECT setval(%L, coalesce(max(id), 0) + 1, false) FROM %I', t.sequence, t.name);
    END LOOP;
END $$";

async fn copy_in(connection: &mut PgConnection, table: &str, csv: &[u8]) {
    let end = csv.iter().position(|&byte| byte == b'\n').expect("a header");
    let columns = std::str::from_utf8(&csv[..end]).expect("a header in UTF-8").trim_end();
    let statement = format!("COPY {table} ({columns}) FROM STDIN WITH (FORMAT csv, HEADER)");
    let mut copy = connection.copy_in_raw(&statement).await.unwrap_or_else(|e| panic!("COPY {table}: {e}"));
    copy.send(csv).await.unwrap_or_else(|e| panic!("COPY {table}: {e}"));
    copy.finish().await.unwrap_or_else(|e| panic!("COPY {table}: {e}"));
}

fn unpack(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes
}
