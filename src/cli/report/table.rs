//! A plain table: a rule under the header, no boxes.

use std::fmt;

use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use comfy_table::{ContentLineStyle, LineStyle, TableStyle};

use crate::cli::output::Look;
use crate::model::visible;

const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none())
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .content_lines(ContentLineStyle::none());

/// A cell up to this long is never wrapped, though it has blanks.
const WHOLE_CHARS: usize = 16;
/// What a column takes beside its text.
const PADDING: usize = 3;

/// Rows of text under a header; as wide as its content, at most as wide as the reader's window. Text is wrapped at blanks alone: no
/// number, name or identifier is ever broken. Where that does not fit, the least columns go, and then each row is a record of its
/// own.
pub struct Grid {
    table: Table,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    width: usize,
    /// Columns that may go, the least first.
    least: Vec<usize>,
}

impl Grid {
    pub fn new(header: &[&str], look: Look) -> Grid {
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_width(look.width);
        if look.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
        let header = header.iter().map(|&name| name.to_owned()).collect();
        Grid { table, header, rows: Vec::new(), width: look.width.into(), least: Vec::new() }
    }

    /// Aligns these columns, which hold numbers, to the right.
    pub fn right(mut self, columns: impl IntoIterator<Item = usize>) -> Grid {
        for index in columns {
            if let Some(column) = self.table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// Names the columns that may be left out where the window is narrow, the least first.
    pub fn least(mut self, columns: impl IntoIterator<Item = usize>) -> Grid {
        self.least = columns.into_iter().collect();
        self
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // No cell brings colours of its own.
        self.rows.push(cells.into_iter().map(|cell| visible::lines(&cell, false).into_owned()).collect());
    }

    /// The least width of each column in which nothing is broken.
    fn floors(&self) -> Vec<usize> {
        let of_cell = |cell: &str| match cell.chars().count() {
            short if short <= WHOLE_CHARS => short,
            _ => cell.split_whitespace().map(|word| word.chars().count()).max().unwrap_or_default(),
        };
        let column = |index: usize| {
            let cells = self.rows.iter().filter_map(move |row| row.get(index)).chain(self.header.get(index));
            cells.map(|cell| of_cell(cell)).max().unwrap_or_default()
        };
        (0..self.header.len()).map(column).collect()
    }

    fn as_records(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.header.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        for row in &self.rows {
            for (name, cell) in self.header.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
                writeln!(f, " {name:width$}  {cell}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floors = self.floors();
        let mut width: usize = floors.iter().map(|floor| floor + PADDING).sum();
        let mut hidden = Vec::new();
        for &index in &self.least {
            if width > self.width {
                width -= floors[index] + PADDING;
                hidden.push(index);
            }
        }
        if width > self.width {
            return self.as_records(f);
        }
        let mut table = self.table.clone();
        for row in &self.rows {
            table.add_row(row.clone());
        }
        for (index, (column, floor)) in table.column_iter_mut().zip(floors).enumerate() {
            if hidden.contains(&index) {
                column.set_constraint(ColumnConstraint::Hidden);
                continue;
            }
            // The boundary counts the blanks on both sides.
            let floor = u16::try_from(floor + PADDING - 1).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(floor)));
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(width: u16, cells: [&str; 3]) -> String {
        let mut grid = Grid::new(&["column", "stored", "row"], Look { color: false, width });
        grid.row(cells.map(str::to_owned));
        grid.to_string()
    }

    #[test]
    fn a_table_that_fits_is_a_table() {
        insta::assert_snapshot!(grid(60, ["avg_rmse", "2.278945983904225", "run 3, miner 2"]), @r"
         column     stored              row
        ───────────────────────────────────────────────
         avg_rmse   2.278945983904225   run 3, miner 2
        ");
    }

    #[test]
    fn text_is_wrapped_at_blanks_and_numbers_stay_whole() {
        insta::assert_snapshot!(grid(46, ["a text of many short words", "2.278945983904225", "run 3, miner 2"]), @r"
         column   stored              row
        ─────────────────────────────────────────────
         a text   2.278945983904225   run 3, miner 2
         of
         many
         short
         words
        ");
    }

    #[test]
    fn the_least_column_goes_first() {
        let mut grid = Grid::new(&["table", "column", "stored"], Look { color: false, width: 40 }).least([0, 2]);
        grid.row(["forecast", "era5_combined_score", "2.27894598"].map(str::to_owned));
        insta::assert_snapshot!(grid, @r"
         column                stored
        ──────────────────────────────────
         era5_combined_score   2.27894598
        ");
    }

    #[test]
    fn what_does_not_fit_is_a_record() {
        insta::assert_snapshot!(grid(40, ["forecast_inference_duration_seconds", "2.278945983904225", "run 3"]), @r"
        column  forecast_inference_duration_seconds
        stored  2.278945983904225
        row     run 3
        ");
    }
}
