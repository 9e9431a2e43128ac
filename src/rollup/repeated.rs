//! Columns whose values mostly repeat from row to row: with a value for each row, or for each stretch of rows, as a snapshot folder
//! has them. Both are asked alike; rows are best asked for one after the other.

use std::cell::Cell;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type};
use arrow_array::{Array, PrimitiveArray};

/// A column that may be in stretches.
#[derive(Debug)]
pub struct Repeated<'a, T: ArrowPrimitiveType> {
    values: &'a PrimitiveArray<T>,
    stretches: Option<Stretches<'a>>,
}

#[derive(Debug)]
struct Stretches<'a> {
    ends: &'a [i32],
    /// The one that was asked for last.
    last: Cell<usize>,
}

impl<'a, T: ArrowPrimitiveType> Repeated<'a, T> {
    /// `primitive` gives the values where the column has others about them, such as a dictionary.
    pub fn of(column: &'a dyn Array, primitive: impl FnOnce(&'a dyn Array) -> &'a PrimitiveArray<T>) -> Self {
        let Some(run) = column.as_run_opt::<Int32Type>() else {
            return Repeated { values: primitive(column), stretches: None };
        };
        assert!(run.offset() == 0, "invariant: a batch of evidence is whole");
        let stretches = Stretches { ends: run.run_ends().values(), last: Cell::new(0) };
        Repeated { values: primitive(run.values()), stretches: Some(stretches) }
    }

    /// The value of a row, whatever is under a NULL.
    #[inline]
    pub fn value(&self, row: usize) -> T::Native {
        self.values.value(self.index_of(row))
    }

    #[inline]
    pub fn get(&self, row: usize) -> Option<T::Native> {
        let place = self.index_of(row);
        self.values.is_valid(place).then(|| self.values.value(place))
    }

    pub fn has_nulls(&self) -> bool {
        self.values.null_count() > 0
    }

    /// Where the rows end that follow this one and have its value. NULLs are not asked for.
    pub fn end(&self, row: usize) -> usize {
        match &self.stretches {
            Some(stretches) => stretches.end(self.index_of(row)),
            None => {
                let rest = &self.values.values()[row..];
                row + rest.iter().position(|value| *value != rest[0]).unwrap_or(rest.len())
            }
        }
    }

    /// The values of these rows, each once at least. NULLs are not asked for.
    pub fn within(&self, rows: Range<usize>) -> &'a [T::Native] {
        if rows.is_empty() {
            return &[];
        }
        &self.values.values()[self.index_of(rows.start)..=self.index_of(rows.end - 1)]
    }

    /// Whether the `rows` rows from one row on equal those from another on. May be false where a run of equal values was cut.
    pub fn same(&self, one: usize, other: usize, rows: usize) -> bool {
        let Some(stretches) = &self.stretches else { return self.equal(one, other, rows) };
        let (mut a, mut b) = (self.index_of(one), self.index_of(other));
        let mut done = 0;
        while done < rows {
            done = (stretches.end(a) - one).min(rows);
            if (stretches.end(b) - other).min(rows) != done || !self.equal(a, b, 1) {
                return false;
            }
            (a, b) = (a + 1, b + 1);
        }
        true
    }

    fn equal(&self, one: usize, other: usize, places: usize) -> bool {
        let values = |start: usize| &self.values.values()[start..][..places];
        let valid = |start: usize| self.values.nulls().map(|nulls| nulls.inner().slice(start, places));
        values(one) == values(other) && valid(one) == valid(other)
    }

    /// Where the value of a row stands.
    #[inline]
    fn index_of(&self, row: usize) -> usize {
        self.stretches.as_ref().map_or(row, |stretches| stretches.index_of(row))
    }
}

impl Stretches<'_> {
    fn index_of(&self, row: usize) -> usize {
        let has = |place: usize| self.start(place) <= row && self.ends.get(place).is_some_and(|&end| row < end as usize);
        let last = self.last.get();
        let place = match (has(last), has(last + 1)) {
            (true, _) => last,
            (_, true) => last + 1,
            _ => self.ends.partition_point(|&end| end as usize <= row),
        };
        self.last.set(place);
        place
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.end(before))
    }

    fn end(&self, place: usize) -> usize {
        self.ends[place] as usize
    }
}

/// The ids of rows.
#[derive(Debug)]
pub struct Ids<'a> {
    ids: Repeated<'a, Int64Type>,
    less_row: bool,
}

impl<'a> Ids<'a> {
    /// `less_row`: each is less by the number of its row.
    pub fn of(column: &'a dyn Array, less_row: bool) -> Self {
        Ids { ids: Repeated::of(column, |column| column.as_primitive()), less_row }
    }

    pub fn id(&self, row: usize) -> i64 {
        if self.less_row { self.ids.value(row).wrapping_add(row as i64) } else { self.ids.value(row) }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int32Array, RunArray};
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn stretches(rows: &[Option<i32>]) -> RunArray<Int32Type> {
        let ends: Vec<usize> = (1..=rows.len()).filter(|&end| end == rows.len() || rows[end] != rows[end - 1]).collect();
        let values: Int32Array = ends.iter().map(|&end| rows[end - 1]).collect();
        RunArray::try_new(&ends.iter().map(|&end| end as i32).collect::<Int32Array>(), &values).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn stretches_answer_as_rows_do(rows in vec(option::weighted(0.8, 0..2), 1..12), asked in vec(0..12usize, 0..12)) {
            let (flat, run) = (rows.iter().copied().collect::<Int32Array>(), stretches(&rows));
            let [flat, run]: [Repeated<'_, Int32Type>; 2] =
                [&flat as &dyn Array, &run].map(|column| Repeated::of(column, |column| column.as_primitive()));
            for row in asked.into_iter().filter(|row| *row < rows.len()) {
                prop_assert_eq!((run.get(row), flat.get(row)), (rows[row], rows[row]));
            }
            for (one, other) in (0..rows.len()).flat_map(|one| (0..rows.len()).map(move |other| (one, other))) {
                for count in 0..=rows.len() - one.max(other) {
                    prop_assert_eq!(run.same(one, other, count), rows[one..one + count] == rows[other..other + count]);
                    prop_assert_eq!(run.same(one, other, count), flat.same(one, other, count));
                }
            }
            if !run.has_nulls() {
                for start in 0..rows.len() {
                    prop_assert_eq!(run.end(start), flat.end(start));
                    for end in start..=rows.len() {
                        prop_assert_eq!(run.within(start..end).iter().max(), flat.within(start..end).iter().max());
                    }
                }
            }
        }
    }
}
