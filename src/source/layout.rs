//! The columns of one table as they are read: a contract of the model, or a stored rollup table with its wide columns.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use crate::model::columns::{Column, Group};
use crate::model::evidence::{InputTable, Wire};
use crate::model::ids::LeadHours;
use crate::model::rollups::{ForecastStat, Rollup};

/// One column on its way from the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutColumn {
    pub name: Cow<'static, str>,
    pub wire: Wire,
    pub nullable: bool,
}

/// The columns of a table, in the order in which they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub table: &'static str,
    pub columns: Vec<LayoutColumn>,
}

impl From<&InputTable> for Layout {
    fn from(table: &InputTable) -> Self {
        let column =
            |c: &crate::model::evidence::Input| LayoutColumn { name: Cow::Borrowed(c.name), wire: c.wire, nullable: c.nullable };
        Layout { table: table.name, columns: table.columns.iter().map(column).collect() }
    }
}

impl Layout {
    /// A stored rollup table; only its keys may not be NULL.
    pub fn stored<R: Rollup>() -> Layout {
        Layout { table: R::TABLE, columns: R::COLUMNS.iter().map(stored_column).collect() }
    }

    /// The stored `weather_forecast_stats`: its id, the rollup's columns, and a wide column for each lead.
    pub fn stats(wide_leads: &[LeadHours]) -> Layout {
        let mut layout = Layout::stored::<ForecastStat>();
        layout.columns.insert(0, LayoutColumn { name: "id".into(), wire: Wire::Id, nullable: false });
        layout.columns.extend(wide_leads.iter().map(|lead| stored_column(&Column::wide(*lead))));
        layout
    }

    /// The Arrow schema of a batch in this layout.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().flat_map(|c| c.wire.fields(&c.name, c.nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// A batch without rows.
    pub fn empty(&self) -> RecordBatch {
        empty_batch(&self.schema())
    }
}

/// A batch without rows.
pub fn empty_batch(schema: &SchemaRef) -> RecordBatch {
    RecordBatch::new_empty(schema.clone())
}

fn stored_column(column: &Column) -> LayoutColumn {
    let wire = match (column.name.as_ref(), column.kind) {
        ("last_error_message", _) => Wire::Sanitized,
        ("forecast_error_msg", _) => Wire::ErrorObject,
        (_, kind) => Wire::Plain(kind),
    };
    // `run_id` is part of the subnet's key, and NULL there for the lifetime row.
    let nullable = column.group != Group::Key || column.name == "run_id";
    LayoutColumn { name: column.name.clone(), wire, nullable }
}
