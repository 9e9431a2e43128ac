//! Typed columns over the batches of a run: slices and dictionary codes, nothing copied.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, TimestampMicrosecondType};
use arrow_array::{
    Array, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};

use super::repeated::{Ids, Repeated};
use crate::model::evidence::ID_LESS_ROW;
use crate::model::time::Micros;

/// Columns of one batch, by name. The source checked the schema, so a miss is a broken invariant.
pub struct Columns<'a>(pub &'a RecordBatch);

impl<'a> Columns<'a> {
    fn column(&self, name: &str) -> &'a dyn Array {
        let column = self.0.column_by_name(name);
        column.unwrap_or_else(|| panic!("invariant: a batch of evidence has the column {name} of its contract")).as_ref()
    }

    pub fn int32(&self, name: &str) -> &'a Int32Array {
        self.column(name).as_primitive()
    }

    pub fn id(&self, name: &str) -> &'a Int64Array {
        self.column(name).as_primitive()
    }

    pub fn float(&self, name: &str) -> &'a Float64Array {
        self.column(name).as_primitive()
    }

    pub fn boolean(&self, name: &str) -> &'a BooleanArray {
        self.column(name).as_boolean()
    }

    pub fn time(&self, name: &str) -> &'a TimestampMicrosecondArray {
        self.column(name).as_primitive::<TimestampMicrosecondType>()
    }

    pub fn text(&self, name: &str) -> &'a StringArray {
        self.column(name).as_string()
    }

    /// A column that may be in stretches.
    pub fn repeated<T: ArrowPrimitiveType>(&self, name: &str) -> Repeated<'a, T> {
        Repeated::of(self.column(name), |column| column.as_primitive())
    }

    /// The column `id`, which may be there as [`ID_LESS_ROW`].
    pub fn ids(&self) -> Ids<'a> {
        match self.0.column_by_name(ID_LESS_ROW) {
            Some(column) => Ids::of(column, true),
            None => Ids::of(self.column("id"), false),
        }
    }

    /// A dictionary column, which may be in stretches. The values of its dictionary are distinct: equal codes mean equal texts.
    pub fn codes(&self, name: &str) -> Codes<'a> {
        let column = self.column(name);
        let texts = column.as_run_opt::<Int32Type>().map_or(column, |stretches| stretches.values());
        Codes {
            keys: Repeated::of(column, |column| column.as_dictionary::<Int32Type>().keys()),
            values: texts.as_dictionary::<Int32Type>().values().as_string(),
        }
    }
}

/// Texts as codes into a dictionary of distinct values.
pub struct Codes<'a> {
    pub keys: Repeated<'a, Int32Type>,
    pub values: &'a StringArray,
}

/// The code of NULL.
pub const NO_CODE: i32 = -1;

impl<'a> Codes<'a> {
    pub fn code(&self, row: usize) -> i32 {
        self.keys.get(row).unwrap_or(NO_CODE)
    }

    pub fn of_code(&self, code: i32) -> &'a str {
        self.values.value(usize::try_from(code).expect("invariant: NULL has no text"))
    }

    pub fn get(&self, row: usize) -> Option<&'a str> {
        self.keys.get(row).map(|code| self.of_code(code))
    }
}

/// A nullable cell of a primitive column.
macro_rules! cell {
    ($name:ident, $array:ty, $value:ty, $wrap:expr) => {
        pub fn $name(column: &$array, row: usize) -> Option<$value> {
            (!column.is_null(row)).then(|| $wrap(column.value(row)))
        }
    };
}

cell!(int_at, Int32Array, i32, std::convert::identity);
cell!(float_at, Float64Array, f64, std::convert::identity);
cell!(bool_at, BooleanArray, bool, std::convert::identity);
cell!(time_at, TimestampMicrosecondArray, Micros, Micros);

pub fn text_at(column: &StringArray, row: usize) -> Option<&str> {
    (!column.is_null(row)).then(|| column.value(row))
}
