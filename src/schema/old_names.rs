//! Views under the names that tables of ours had beside the validator's, so that queries which operators have go on.

use sqlx::migrate::Migration;

use super::grants;
use super::session::{Session, is_there};
use crate::error::Result;
use crate::postgres::{Judged, Task, execute};

/// Each view, and the table that it shows: who may read the one may read the other.
const VIEWS: [(&str, &str); 2] = [("rollup_jobs", "recount.rollup_jobs"), ("rollup_corrections", "recount.rollup_corrections")];

/// Drops the views before a migration that names the tables: it was written when there were none.
pub(super) async fn make_way(session: &mut Session, migration: &Migration) -> Result<()> {
    if !VIEWS.iter().any(|(view, _)| migration.sql.as_str().contains(view)) {
        return Ok(());
    }
    session.begin().await?;
    for name in VIEWS.map(|(view, _)| session.qualified(view)) {
        let query = sqlx::query_scalar("SELECT relkind = 'v' FROM pg_class WHERE oid = to_regclass($1)").bind(&name);
        let is_view: Option<bool> = query.fetch_optional(&mut session.connection).await.judged(Task::Migrate, doing)?;
        if is_view == Some(true) {
            execute(&mut session.connection, format!("DROP VIEW {name}")).await.judged(Task::Migrate, doing)?;
        }
    }
    session.commit().await
}

/// Makes the views that are not there, with the readers of their tables. They can be dropped at any time; the next run of the migrations
/// makes them again.
pub(super) async fn keep(session: &mut Session) -> Result<()> {
    session.begin().await?;
    let mut made = Vec::new();
    for (view, table) in VIEWS {
        let name = session.qualified(view);
        let connection = &mut session.connection;
        let has_table = is_there(connection, table).await.judged(Task::Migrate, doing)?;
        if has_table && !is_there(connection, &name).await.judged(Task::Migrate, doing)? {
            let make =
                format!("CREATE VIEW {name} AS SELECT * FROM {table}; COMMENT ON VIEW {name} IS 'the old name of {table}'");
            execute(connection, make).await.judged(Task::Migrate, doing)?;
            made.push((view, table));
        }
    }
    grants::carry_to(&mut session.connection, &made).await?;
    session.commit().await
}

fn doing() -> String {
    "seeing to the old names of tables".to_owned()
}
