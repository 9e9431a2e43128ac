//! The pages of Parquet files, whose footers stay as they were: what is looked at before a page is unpacked, and the library that
//! unpacks what passes. All in memory, so that there are many inputs a second.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use recount::internals::files::{check_pages, decoding};

use super::{Target, files};

/// The first byte of an input says of which file it is; the rest is that file without its footer.
pub struct Pages {
    files: Vec<File>,
}

struct File {
    columns: Bytes,
    /// With the length and the magic word at its end.
    footer: Bytes,
    found: ArrowReaderMetadata,
}

impl Pages {
    pub fn new() -> Pages {
        Pages { files: written().chain(files::parquet_of_an_archive().map(|(_, content)| content)).map(File::of).collect() }
    }
}

/// Files with several pages in every form that headers have.
fn written() -> impl Iterator<Item = Vec<u8>> {
    let forms = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0].into_iter();
    forms.flat_map(|version| [true, false].map(|dictionary| form(version, dictionary)))
}

fn form(version: WriterVersion, dictionary: bool) -> Vec<u8> {
    let texts: StringArray = (0..90).map(|n| (n % 9 > 0).then(|| format!("{} {}", n % 7, "x".repeat(n % 50)))).collect();
    let numbers: Int32Array = (0..90).map(|n| (n % 7 > 0).then_some(n)).collect();
    let columns = [("texts", Arc::new(texts) as ArrayRef, true), ("numbers", Arc::new(numbers) as _, true)];
    let rows = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_dictionary_enabled(dictionary)
        .set_encoding(Encoding::PLAIN)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(10)
        .set_max_row_group_row_count(Some(50))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_write_page_header_statistics(true);
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties.build())).expect("a writer");
    writer.write(&rows).expect("rows that are written");
    writer.into_inner().expect("a file")
}

impl File {
    fn of(content: Vec<u8>) -> File {
        let content = Bytes::from(content);
        let found = ArrowReaderMetadata::load(&content, ArrowReaderOptions::new()).expect("a footer");
        let chunks = found.metadata().row_groups().iter().flat_map(|group| group.columns());
        let end = chunks.map(|chunk| chunk.byte_range()).map(|(start, bytes)| start + bytes).max().unwrap_or(4) as usize;
        File { columns: content.slice(..end), footer: content.slice(end..), found }
    }

    /// The footer tells where columns lie from the file's beginning, so what stands before it may have another length.
    fn unpacked(&self, columns: &[u8]) -> Result<usize, ParquetError> {
        let content = Bytes::from([columns, &self.footer].concat());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(content, self.found.clone()).build()?;
        reader.map(|batch| Ok(batch?.num_rows())).sum()
    }
}

impl Target for Pages {
    fn seeds(&self) -> Vec<Vec<u8>> {
        (0u8..).zip(&self.files).map(|(at, file)| [&[at], &file.columns[..]].concat()).collect()
    }

    fn run(&mut self, input: &[u8]) -> String {
        let Some((at, columns)) = input.split_first() else { return String::new() };
        let file = &self.files[usize::from(*at) % self.files.len()];
        let checked = check_pages(file.found.metadata(), &Bytes::copy_from_slice(columns));
        let is_whole = columns == file.columns;
        let read = checked.and_then(|()| decoding(|| file.unpacked(columns), ParquetError::General));
        assert!(read.is_ok() || !is_whole, "{read:?} of a file as it was written");
        read.map_or_else(|e| e.to_string(), |_| "rows".to_owned())
    }
}
