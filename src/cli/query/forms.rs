//! The forms of a result, written batch by batch: a table for people, CSV, JSON lines, one JSON text, Parquet.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::cli::args::QueryForm;
use crate::cli::output::{self, Look};
use crate::cli::report::table::Grid;
use crate::cli::report::text::counted;
use crate::error::{Context, ErrorKind, Result};

use super::cell::{Column, columns};

/// Rows that a table on the screen shows; the other forms have all.
const SHOWN_ROWS: usize = 200;

/// Where a result goes.
pub enum Out {
    Stdout,
    File(BufWriter<File>, PathBuf),
}

impl Out {
    fn put(&mut self, content: &[u8]) -> Result<()> {
        match self {
            Out::Stdout => output::print_bytes(content),
            Out::File(file, path) => file.write_all(content).doing(ErrorKind::Io, || format!("writing {}", path.display())),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Out::Stdout => Ok(()),
            Out::File(mut file, path) => file.flush().doing(ErrorKind::Io, || format!("writing {}", path.display())),
        }
    }
}

/// A result in the making.
pub trait Form {
    fn take(&mut self, batch: &RecordBatch) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Begins a result of these columns.
pub fn start(form: QueryForm, schema: &SchemaRef, mut out: Out, look: Look) -> Result<Box<dyn Form>> {
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    Ok(match form {
        QueryForm::Table => Box::new(Table { schema: schema.clone(), rows: Vec::new(), count: 0, look, out }),
        QueryForm::Csv => {
            out.put(csv_line(names.iter().map(|name| Some(name.clone()))).as_bytes())?;
            Box::new(Csv(out))
        }
        QueryForm::Jsonl => Box::new(JsonLines { names, out }),
        QueryForm::Json => {
            out.put(b"[")?;
            Box::new(JsonText { names, is_empty: true, out })
        }
        QueryForm::Parquet => {
            let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
            let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
            Box::new(Parquet { writer: writer.doing(ErrorKind::Data, writing)?, out })
        }
    })
}

fn writing() -> String {
    "writing the result".to_owned()
}

struct Table {
    schema: SchemaRef,
    rows: Vec<Vec<String>>,
    count: u64,
    look: Look,
    out: Out,
}

impl Form for Table {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = columns(batch)?;
        self.count += batch.num_rows() as u64;
        for row in 0..batch.num_rows().min(SHOWN_ROWS - self.rows.len()) {
            self.rows.push(columns.iter().map(|column| column.text(row).unwrap_or_else(|| "NULL".to_owned())).collect());
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let fields = self.schema.fields();
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let numbers = fields.iter().enumerate().filter(|(_, field)| field.data_type().is_numeric()).map(|(index, _)| index);
        let mut grid = Grid::new(&names, self.look).right(numbers);
        let shown = self.rows.len() as u64;
        for row in self.rows {
            grid.row(row);
        }
        let rest =
            if self.count > shown { format!("\n{shown} of {} shown\n", counted(self.count, "row")) } else { String::new() };
        self.out.put(format!("{grid}{rest}").as_bytes())?;
        self.out.finish()
    }
}

/// One header line, NULL as nothing, empty text as `""`, times as ISO text.
struct Csv(Out);

impl Form for Csv {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = columns(batch)?;
        let lines = (0..batch.num_rows()).map(|row| csv_line(columns.iter().map(|column| column.text(row))));
        self.0.put(lines.collect::<String>().as_bytes())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.finish()
    }
}

fn csv_line(cells: impl Iterator<Item = Option<String>>) -> String {
    let cell = |cell: Option<String>| match cell {
        None => String::new(),
        Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Some(text) => text,
    };
    let mut line = cells.map(cell).collect::<Vec<_>>().join(",");
    line.push('\n');
    line
}

struct JsonLines {
    names: Vec<String>,
    out: Out,
}

impl Form for JsonLines {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = columns(batch)?;
        let lines = (0..batch.num_rows()).map(|row| json_object(&self.names, &columns, row) + "\n");
        self.out.put(lines.collect::<String>().as_bytes())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.out.finish()
    }
}

struct JsonText {
    names: Vec<String>,
    is_empty: bool,
    out: Out,
}

impl Form for JsonText {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = columns(batch)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            text += if std::mem::take(&mut self.is_empty) { "\n" } else { ",\n" };
            text += &json_object(&self.names, &columns, row);
        }
        self.out.put(text.as_bytes())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.put(if self.is_empty { b"]\n" } else { b"\n]\n" })?;
        self.out.finish()
    }
}

/// The keys in the order of the columns.
fn json_object(names: &[String], columns: &[Column<'_>], row: usize) -> String {
    let member =
        |(name, column): (&String, &Column<'_>)| format!("{}:{}", serde_json::Value::from(name.as_str()), column.json(row));
    format!("{{{}}}", names.iter().zip(columns).map(member).collect::<Vec<_>>().join(","))
}

struct Parquet {
    writer: ArrowWriter<Vec<u8>>,
    out: Out,
}

impl Form for Parquet {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).doing(ErrorKind::Data, writing)?;
        let ready = std::mem::take(self.writer.inner_mut());
        self.out.put(&ready)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let rest = self.writer.into_inner().doing(ErrorKind::Data, writing)?;
        self.out.put(&rest)?;
        self.out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_text_differ_in_csv() {
        let cells = [None, Some(""), Some("a"), Some("b,c"), Some("say \"d\""), Some("e\nf")];
        let line = csv_line(cells.into_iter().map(|cell| cell.map(str::to_owned)));
        assert_eq!(line, ",\"\",a,\"b,c\",\"say \"\"d\"\"\",\"e\nf\"\n");
    }
}
