//! The headers of a Parquet file's pages, looked at before any page is unpacked. The library makes room for as many bytes as a header
//! says, and unpacks them; a header that lies lets a file of some hundred kilobytes take gigabytes. So what the pages of a column
//! say is held against what the footer says of it, which is [bounded](super::bounds).
//!
//! A header is a struct in Thrift's compact protocol; only sizes, counts and the encoding are picked out of it.

use std::fmt;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;

/// What is read at first for a header, and at most: it may have the least and the greatest text of a page in it.
const HEADER_BYTES: u64 = 1 << 10;
const HEADER_BYTES_MAX: u64 = 64 << 20;
/// Structs within structs; a page header has two.
const DEPTH: u8 = 8;
/// Encodings of texts that tell the number of values anew within the page, where no header bounds it. recount never writes them.
const UNBOUNDED: [i32; 2] = [6, 7];

/// Holds the pages of every column of a file against the footer.
pub fn check(footer: &ParquetMetaData, content: &impl ChunkReader) -> Result<()> {
    for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
        let (start, end) = range_of(chunk).filter(|(_, end)| *end <= content.len()).ok_or_else(|| outside(chunk))?;
        walk(chunk, start, end, |at, bytes| content.get_bytes(at, bytes as usize))?;
    }
    Ok(())
}

/// Holds the pages in bytes that were read from here in a file against its footer. Bytes that belong to no column have no pages.
#[cfg(any(test, feature = "query"))]
pub fn check_part(footer: &ParquetMetaData, start: u64, content: &Bytes) -> Result<()> {
    let is_within = |chunk: &&ColumnChunkMetaData| range_of(chunk).is_some_and(|(from, to)| (from..to).contains(&start));
    let Some(chunk) = footer.row_groups().iter().flat_map(|group| group.columns()).find(is_within) else { return Ok(()) };
    walk(chunk, start, start + content.len() as u64, |at, bytes| {
        let at = (at - start) as usize;
        Ok(content.slice(at..at + bytes as usize))
    })
}

/// Where a column lies. The library's own method panics on what cannot be.
fn range_of(chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let first = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let start = u64::try_from(first).ok()?;
    let end = start.checked_add(u64::try_from(chunk.compressed_size()).ok()?)?;
    Some((start, end))
}

fn walk(chunk: &ColumnChunkMetaData, start: u64, end: u64, read: impl Fn(u64, u64) -> Result<Bytes>) -> Result<()> {
    match chunk.compression() {
        Compression::UNCOMPRESSED | Compression::ZSTD(_) | Compression::SNAPPY | Compression::LZ4_RAW => {}
        // How far these unpack, no header bounds.
        other => return Err(wrong(chunk, format_args!("is compressed by {other}, which recount never uses"))),
    }
    let (mut bytes, mut values) = (0u64, 0u64);
    let mut at = start;
    while at < end {
        let header = header(at, end, &read).map_err(|what| wrong(chunk, what))?;
        bytes = bytes.saturating_add(header.bytes).saturating_add(header.unpacked);
        values = values.saturating_add(if header.is_dictionary { 0 } else { header.values });
        hold(chunk, "bytes", bytes, chunk.uncompressed_size())?;
        hold(chunk, "values", values.max(header.values), chunk.num_values())?;
        if header.encoding.is_some_and(|encoding| UNBOUNDED.contains(&encoding)) {
            return Err(wrong(chunk, "has an encoding that recount never uses"));
        }
        at = at.saturating_add(header.bytes).saturating_add(header.packed);
    }
    Ok(())
}

fn hold(chunk: &ColumnChunkMetaData, what: &str, said: u64, expected: i64) -> Result<()> {
    match u64::try_from(expected) {
        Ok(expected) if said <= expected => Ok(()),
        _ => Err(wrong(chunk, format_args!("has pages that say they have {said} {what}, and by the footer it has {expected}"))),
    }
}

fn outside(chunk: &ColumnChunkMetaData) -> ParquetError {
    wrong(chunk, "lies outside of the file")
}

fn wrong(chunk: &ColumnChunkMetaData, what: impl fmt::Display) -> ParquetError {
    ParquetError::General(format!("the column {} {what}", chunk.column_path().string()))
}

/// What a header says.
#[derive(Debug, Default, PartialEq)]
struct Header {
    /// Its own length.
    bytes: u64,
    packed: u64,
    unpacked: u64,
    values: u64,
    is_dictionary: bool,
    encoding: Option<i32>,
}

/// Reads the header that begins here, of which no more is fetched than it needs.
fn header(at: u64, end: u64, read: impl Fn(u64, u64) -> Result<Bytes>) -> std::result::Result<Header, String> {
    let there = end - at;
    let mut length = HEADER_BYTES;
    loop {
        let bytes = read(at, length.min(there)).map_err(|e| e.to_string())?;
        match parse(&bytes) {
            Some(header) => return Ok(header),
            None if length >= there || length >= HEADER_BYTES_MAX => {
                return Err("has a page without a header that makes sense".to_owned());
            }
            None => length *= 2,
        }
    }
}

/// `None` where it does not make sense, or is not whole.
fn parse(bytes: &[u8]) -> Option<Header> {
    let mut thrift = Thrift { bytes };
    let mut header = Header::default();
    let (mut packed, mut unpacked, mut values) = (None, None, None);
    let mut field = 0;
    while let Some(kind) = thrift.field(&mut field)? {
        match (field, kind) {
            // Said twice, a reader could take either.
            (2, I32) if unpacked.is_none() => unpacked = Some(thrift.size()?),
            (3, I32) if packed.is_none() => packed = Some(thrift.size()?),
            (5 | 7 | 8, STRUCT) if values.is_none() => {
                header.is_dictionary = field == 7;
                let at = if field == 8 { 4 } else { 2 };
                let mut inner = 0;
                while let Some(kind) = thrift.field(&mut inner)? {
                    match (inner, kind) {
                        (1, I32) if values.is_none() => values = Some(thrift.size()?),
                        (inner, I32) if inner == at && header.encoding.is_none() => {
                            header.encoding = Some(i32::try_from(thrift.size()?).ok()?);
                        }
                        (1, _) => return None,
                        (inner, _) if inner == at => return None,
                        (_, kind) => thrift.skip(kind, DEPTH)?,
                    }
                }
            }
            (2 | 3 | 5 | 7 | 8, _) => return None,
            (_, kind) => thrift.skip(kind, DEPTH)?,
        }
    }
    (header.packed, header.unpacked, header.values) = (packed?, unpacked?, values.unwrap_or(0));
    header.bytes = (bytes.len() - thrift.bytes.len()) as u64;
    Some(header)
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

/// The rest of a struct in Thrift's compact protocol.
struct Thrift<'b> {
    bytes: &'b [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn number(&mut self) -> Option<i64> {
        let coded = self.varint()?;
        Some((coded >> 1) as i64 ^ -((coded & 1) as i64))
    }

    /// A size or count, which is never negative.
    fn size(&mut self) -> Option<u64> {
        let number = self.number()?;
        i32::try_from(number).ok().and_then(|number| u64::try_from(number).ok())
    }

    /// The type of the next field, whose number goes into `field`; `Some(None)` at the end of the struct.
    fn field(&mut self, field: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        *field = match i64::from(byte >> 4) {
            0 => self.number()?,
            step => field.checked_add(step)?,
        };
        Some(Some(byte & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        match kind {
            TRUE | FALSE => Some(()),
            I8 => self.pass(1),
            4..=I64 => self.varint().map(drop),
            DOUBLE => self.pass(8),
            BINARY => {
                let bytes = self.varint()?;
                self.pass(bytes)
            }
            LIST | SET => {
                let head = self.byte()?;
                let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                let kind = if matches!(head & 0x0f, TRUE | FALSE) { I8 } else { head & 0x0f };
                let depth = depth.checked_sub(1)?;
                // Each element has a byte at least, so the bytes end the loop.
                (0..length).try_for_each(|_| self.skip(kind, depth))
            }
            STRUCT => {
                let depth = depth.checked_sub(1)?;
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::basic::{Encoding, ZstdLevel};
    use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

    use super::*;

    /// A file of texts and numbers in several pages and row groups.
    fn file(
        change: impl FnOnce(parquet::file::properties::WriterPropertiesBuilder) -> parquet::file::properties::WriterPropertiesBuilder,
    ) -> Bytes {
        let texts: StringArray = (0..5000).map(|n| Some(format!("{} {}", n % 700, "x".repeat(n % 50)))).collect();
        let numbers: Int32Array = (0..5000).map(|n| (n % 7 > 0).then_some(n)).collect();
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("texts", Arc::new(texts) as arrow_array::ArrayRef, true),
            ("numbers", Arc::new(numbers) as _, true),
        ])
        .unwrap();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_data_page_row_count_limit(900)
            .set_write_batch_size(300)
            .set_max_row_group_row_count(Some(3000))
            .set_statistics_enabled(EnabledStatistics::Page);
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(change(properties).build())).unwrap();
        writer.write(&rows).unwrap();
        writer.into_inner().unwrap().into()
    }

    fn footer(content: &Bytes) -> Arc<ParquetMetaData> {
        ArrowReaderMetadata::load(content, ArrowReaderOptions::new()).unwrap().metadata().clone()
    }

    #[test]
    fn what_is_written_adds_up() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                let content = file(|properties| {
                    let properties = properties.set_writer_version(version).set_dictionary_enabled(dictionary);
                    properties.set_encoding(Encoding::PLAIN).set_write_page_header_statistics(true)
                });
                let footer = footer(&content);
                check(&footer, &content).unwrap();
                let chunks = footer.row_groups().iter().flat_map(|group| group.columns());
                for (start, end) in chunks.map(|chunk| range_of(chunk).unwrap()) {
                    check_part(&footer, start, &content.slice(start as usize..end as usize)).unwrap();
                }
                let end = content.len() as u64;
                check_part(&footer, end - 8, &content.slice(content.len() - 8..)).unwrap();
            }
        }
    }

    /// The number as Thrift writes it, in this many bytes.
    fn varint(number: u64, bytes: usize) -> Vec<u8> {
        let coded = number << 1;
        (0..bytes).map(|at| (coded >> (7 * at)) as u8 & 0x7f | if at + 1 < bytes { 0x80 } else { 0 }).collect()
    }

    #[test]
    fn a_header_that_says_more_than_the_footer_is_found() {
        let content = file(|properties| properties.set_dictionary_enabled(false));
        let footer = footer(&content);
        let chunk = footer.row_group(0).column(0);
        let (start, _) = range_of(chunk).unwrap();
        let (from, first) = (start as usize, parse(&content[start as usize..]).unwrap());
        // Type, then the size: a varint of as many bytes as the true one has.
        let size = from + 3;
        let written = varint(first.unpacked, 3);
        assert_eq!(content[size..size + 3], written, "{:?}", &content[from..from + 16]);
        let mut forged = content.to_vec();
        forged[size..size + 3].copy_from_slice(&varint((1 << 20) - 1, 3));
        let error = check(&footer, &Bytes::from(forged)).unwrap_err().to_string();
        assert!(error.contains("the column texts has pages that say they have 1048"), "{error}");
    }

    #[test]
    fn encodings_and_codecs_that_no_header_bounds_are_refused() {
        let delta = file(|properties| {
            properties
                .set_dictionary_enabled(false)
                .set_encoding(Encoding::PLAIN)
                .set_column_encoding("texts".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        });
        let error = check(&footer(&delta), &delta).unwrap_err().to_string();
        assert!(error.ends_with("the column texts has an encoding that recount never uses"), "{error}");
    }

    #[test]
    fn headers_cut_anywhere_and_nonsense_make_no_sense() {
        let content = file(|properties| properties);
        let footer = footer(&content);
        let (start, _) = range_of(footer.row_group(0).column(0)).unwrap();
        let whole = parse(&content[start as usize..]).unwrap();
        assert!(whole.is_dictionary);
        let header = &content[start as usize..start as usize + whole.bytes as usize];
        assert_eq!(parse(header), Some(whole));
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), None, "cut at {cut}");
        }
        let negative = [&[0x25, 0x01][..], &header[4..]].concat();
        assert_eq!(parse(&negative), None);
        assert_eq!(parse(&[0x1c; 100]), None, "structs within structs");
    }
}
