//! Least privilege: every command runs under the two roles of the documents, and they can change nothing else.

use super::{at, drifted, dump, last_job};
use crate::support::cluster::PASSWORD;
use crate::support::repository::read;
use crate::support::{Cluster, Database};

/// The SQL of a page, for this database and with the password of the tests.
fn roles(db: &Database, page: &str) -> String {
    let page = read(page);
    let (_, rest) = page.split_once("```sql\n").expect("SQL in the page");
    let (sql, _) = rest.split_once("```").expect("the end of the SQL");
    let sql = sql.replace("DATABASE validator", &format!("DATABASE {}", db.name()));
    sql.replace("choose one", PASSWORD).replace("choose another", PASSWORD).replace("choose a third", PASSWORD)
}

fn url(db: &Database, role: &str) -> String {
    db.url().replace("//validator:", &format!("//{role}:"))
}

#[test]
fn every_command_runs_under_the_two_roles() {
    // Roles belong to a whole server.
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    drifted(&db, 4, 8, 20);
    db.execute("DELETE FROM weather_forecast_stats WHERE miner_uid = 3");
    db.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC");
    db.execute(&roles(&db, "docs/operations.md"));
    db.execute(&roles(&db, "docs/corrections.md"));
    let (reader, corrector) = (url(&db, "recount_reader"), url(&db, "recount_corrector"));
    let folder = tempfile::tempdir().unwrap();
    let [diff, export, recomputed, sql] =
        ["diff", "export", "recomputed", "night.sql"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());

    let before = dump(&db);
    at(&reader, &["reconcile"]).run().ends_with(1);
    at(&reader, &["diff", "--out", &diff]).run().ends_with(1);
    at(&reader, &["export", "--out", &export]).run().succeeds();
    at(&reader, &["recompute", "--out", &recomputed]).run().succeeds();
    at(&reader, &["apply", &diff, "--max-fraction", "1", "--sql", &sql]).run();
    at(&reader, &["jobs"]).run().succeeds().stdout_has("No job has written anything");
    at(&reader, &["migrate", "status"]).run().succeeds();
    at(&reader, &["reconcile", "--apply", "--max-fraction", "1"]).run().ends_with(2);
    assert_eq!(dump(&db), before);

    at(&corrector, &["reconcile"]).run().ends_with(1);
    at(&corrector, &["apply", &diff, "--prune-extra", "--max-fraction", "1"]).run().succeeds();
    at(&corrector, &["reconcile"]).run().succeeds();
    at(&corrector, &["undo", &last_job(&db)]).run().succeeds();
    assert_eq!(dump(&db), before);
    at(&corrector, &["reconcile", "--apply", "--prune-extra", "--max-fraction", "1"]).run().succeeds();
    at(&corrector, &["jobs"]).run().succeeds();
    at(&reader, &["jobs", "show", &last_job(&db)]).run().succeeds().stdout_has("miner_stats");
    // Who corrects can add to what is written down, and erase or change none of it.
    let rights =
        "SELECT string_agg(DISTINCT privilege_type, ' ' ORDER BY privilege_type) FROM information_schema.table_privileges
                  WHERE grantee = 'recount_corrector' AND table_name IN ('rollup_jobs', 'rollup_corrections')";
    assert_eq!(db.psql(rights), "INSERT SELECT");
    at(&corrector, &["jobs", "prune", "--keep", "0s", "--yes"]).run().ends_with(2).stderr_has("recount_pruner");
    let pruner = url(&db, "recount_pruner");
    at(&pruner, &["reconcile"]).run().ends_with(2);
    at(&pruner, &["jobs", "prune", "--keep", "90d"]).run().succeeds().stdout_has("Deleted 0 jobs");
    at(&pruner, &["jobs", "prune", "--keep", "0s"]).run().ends_with(3).stderr_has("3 jobs would be deleted").stderr_has("--yes");
    at(&pruner, &["jobs", "prune", "--keep", "0s", "--yes"]).run().succeeds().stdout_has("Deleted 3 jobs");
    assert_eq!(db.psql("SELECT count(*) FROM recount.rollup_corrections"), "0");

    for table in ["node_table", "weather_forecast_runs", "weather_miner_scores", "weather_forecast_steps"] {
        let right = format!("SELECT has_table_privilege('recount_corrector', '{table}', 'UPDATE, DELETE, TRUNCATE')");
        assert_eq!(db.psql(&right), "f", "{table}");
    }
    let writes = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                  AND has_table_privilege('recount_reader', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')";
    assert_eq!(db.psql(writes), "0");
}
