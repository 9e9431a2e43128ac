//! Arrow IPC files with one batch for each run: written front to back, read at any batch.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions};
use arrow_ipc::{Block, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use bytes::Bytes;
use twox_hash::XxHash3_128;

use super::decode::Interner;
use super::parts::Parts;
use super::stretches::{check_stretches, decoded, encoded};
use crate::files::decode::decoding;

type Result<T> = std::result::Result<T, ArrowError>;

/// Length of the footer and the closing magic word.
const TRAILER_BYTES: usize = 10;
/// Continuation mark and length in front of the metadata of a message.
const MESSAGE_PREFIX_BYTES: usize = 8;

/// Writes batches of one schema. Such a file has one dictionary for each text column, so the codes of each batch are
/// exchanged for codes of a dictionary that only ever grows, in order of appearance: equal batches give equal files.
pub struct IpcWriter<W: Write> {
    writer: FileWriter<W>,
    dictionaries: Vec<Interner>,
    rows: u64,
}

impl<W: Write> IpcWriter<W> {
    /// `schema` is that of the file; its columns in stretches come as rows.
    pub fn new(writer: W, schema: &SchemaRef) -> Result<IpcWriter<W>> {
        let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
        let dictionaries = schema.fields().iter().map(|_| Interner::default()).collect();
        Ok(IpcWriter { writer: FileWriter::try_new_with_options(writer, schema, options)?, dictionaries, rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().zip(&mut self.dictionaries);
        let columns = columns.map(|(column, dictionary)| match column.data_type() {
            DataType::Dictionary(..) => recode(column, dictionary),
            _ => Ok(column.clone()),
        });
        let schema = self.writer.schema().clone();
        let columns = columns.zip(schema.fields()).map(|(column, field)| encoded(field, column?));
        let batch = RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch)
    }

    /// What is written to.
    pub fn file(&mut self) -> &mut W {
        self.writer.get_mut()
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer and gives the writer back.
    pub fn finish(self) -> Result<W> {
        self.writer.into_inner()
    }
}

pub fn recode(column: &ArrayRef, dictionary: &mut Interner) -> Result<ArrayRef> {
    let coded = column.as_dictionary::<Int32Type>();
    let texts = coded.values().as_string::<i32>();
    let mut known: Vec<Option<i32>> = vec![None; texts.len()];
    let mut code = |old: i32| -> Result<i32> {
        let slot = &mut known[old as usize];
        match *slot {
            Some(code) => Ok(code),
            None => {
                let code = dictionary.code(texts.value(old as usize).as_bytes())?;
                *slot = Some(code);
                Ok(code)
            }
        }
    };
    let codes = coded.keys().iter().map(|old| old.map(&mut code).transpose()).collect::<Result<Int32Array>>()?;
    Ok(Arc::new(DictionaryArray::try_new(codes, dictionary.values())?))
}

/// An IPC file, read batch by batch: what is not being worked on takes no memory.
#[derive(Debug)]
pub struct IpcFile {
    file: File,
    bytes: u64,
    decoder: FileDecoder,
    schema: SchemaRef,
    batches: Vec<Block>,
    dictionaries: Vec<Block>,
    /// What stands before the batches, each of them, and what stands behind them, where they are checked.
    parts: Option<Parts>,
    spare: Spare,
}

/// What is wrong with bytes that have another hash than they must.
pub const NO_MATCH: &str = "does not match its hash";

/// The hash of the texts of all dictionaries, as they stand in a file; each batch needs them.
pub fn texts_hash(file: File) -> Result<u128> {
    Ok(hash_of(&IpcFile::of(file)?.texts()?))
}

impl IpcFile {
    /// Reads the footer and the dictionaries.
    pub fn open(file: File) -> Result<IpcFile> {
        let open = || {
            let mut opened = IpcFile::of(file)?;
            let texts = opened.texts()?;
            opened.take(&texts)?;
            Ok(opened)
        };
        decoding(open, ArrowError::ParseError)
    }

    /// As [`IpcFile::open`], so that nothing is made of bytes that are not as they were written; batches are checked as they are read.
    pub fn open_checked(file: File, parts: Parts) -> Result<IpcFile> {
        decoding(|| IpcFile::checked_by(file, parts), ArrowError::ParseError)
    }

    fn checked_by(file: File, parts: Parts) -> Result<IpcFile> {
        for index in [0, parts.parts.len().saturating_sub(1)] {
            let (range, hash) = parts.part(index).ok_or_else(damaged)?;
            check(&file, range, hash, &Spare::default())?;
        }
        let mut opened = IpcFile::of(file)?;
        let texts = opened.texts()?;
        if hash_of(&texts) != parts.texts_xxh3 {
            return Err(ArrowError::ParseError(NO_MATCH.to_owned()));
        }
        opened.take(&texts)?;
        Ok(IpcFile { parts: Some(parts), ..opened })
    }

    /// Reads the footer.
    fn of(file: File) -> Result<IpcFile> {
        let bytes = file.metadata()?.len();
        let trailer_at = bytes.checked_sub(TRAILER_BYTES as u64).ok_or_else(damaged)?;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(&mut trailer, trailer_at)?;
        let footer_length = read_footer_length(trailer)?;
        let footer_at = trailer_at.checked_sub(footer_length as u64).ok_or_else(damaged)?;
        let footer = read(&file, footer_at, footer_length, &Spare::default())?;
        let footer = root_as_footer(&footer).map_err(|e| ArrowError::ParseError(e.to_string()))?;
        let schema = Arc::new(fb_to_schema(footer.schema().ok_or_else(damaged)?));
        let decoder = FileDecoder::new(schema.clone(), footer.version());
        let batches = footer.recordBatches().map_or_else(Vec::new, |blocks| blocks.iter().copied().collect());
        let dictionaries = footer.dictionaries().map_or_else(Vec::new, |blocks| blocks.iter().copied().collect());
        Ok(IpcFile { file, bytes, decoder, schema, batches, dictionaries, parts: None, spare: Spare::default() })
    }

    /// The messages of the dictionaries.
    fn texts(&self) -> Result<Vec<Buffer>> {
        self.dictionaries.iter().map(|block| self.block(block)).collect()
    }

    fn take(&mut self, texts: &[Buffer]) -> Result<()> {
        self.dictionaries.iter().zip(texts).try_for_each(|(block, message)| self.decoder.read_dictionary(block, message))
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Rows of all batches, from their headers.
    pub fn rows(&self) -> Result<u64> {
        let count = || {
            self.batches.iter().try_fold(0u64, |sum, block| {
                let rows = rows_of(&self.part(block, false)?)?;
                sum.checked_add(rows).ok_or_else(damaged)
            })
        };
        decoding(count, ArrowError::ParseError)
    }

    /// One batch, in this schema, which must equal the file's but for columns in stretches that it has as rows.
    pub fn batch(&self, index: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        decoding(|| self.decode(index, schema), ArrowError::ParseError)
    }

    fn decode(&self, index: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        let absent = || ArrowError::ParseError(format!("there is no batch {index}"));
        let block = self.batches.get(index).ok_or_else(absent)?;
        let message = match &self.parts {
            Some(parts) => self.checked(parts.part(index + 1).ok_or_else(absent)?, block)?,
            None => self.block(block)?,
        };
        let batch = self.decoder.read_record_batch(block, &message)?;
        let batch = batch.ok_or_else(absent)?;
        batch.columns().iter().try_for_each(check_stretches)?;
        let fields = self.schema.fields().iter().zip(schema.fields());
        let columns = batch.columns().iter().zip(fields).map(|(column, (own, wanted))| match wanted.data_type() {
            DataType::RunEndEncoded(..) => Ok(column.clone()),
            _ => decoded(own, column),
        });
        // The file's own fields carry ids of dictionaries, which no reader needs.
        RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)
    }

    fn block(&self, block: &Block) -> Result<Buffer> {
        self.part(block, true)
    }

    /// A block, from a part that has its hash.
    fn checked(&self, (part, hash): (Range<u64>, u128), block: &Block) -> Result<Buffer> {
        let (offset, _, length) = self.place(block)?;
        let at = offset.checked_sub(part.start).ok_or_else(outside)?;
        if offset + length as u64 > part.end {
            return Err(outside());
        }
        Ok(check(&self.file, part, hash, &self.spare)?.slice_with_length(at as usize, length))
    }

    /// The header of a block, with its body or without.
    fn part(&self, block: &Block, with_body: bool) -> Result<Buffer> {
        let (offset, header, whole) = self.place(block)?;
        read(&self.file, offset, if with_body { whole } else { header }, &self.spare)
    }

    /// Where a block begins, and how long its header and all of it are.
    fn place(&self, block: &Block) -> Result<(u64, usize, usize)> {
        let offset = u64::try_from(block.offset()).map_err(|_| outside())?;
        let header = usize::try_from(block.metaDataLength()).map_err(|_| outside())?;
        let body = usize::try_from(block.bodyLength()).map_err(|_| outside())?;
        let whole = header.checked_add(body).filter(|_| header >= MESSAGE_PREFIX_BYTES).ok_or_else(outside)?;
        match offset.checked_add(whole as u64) {
            Some(end) if end <= self.bytes => Ok((offset, header, whole)),
            _ => Err(outside()),
        }
    }
}

fn hash_of(messages: &[Buffer]) -> u128 {
    let mut hasher = XxHash3_128::new();
    for message in messages {
        hasher.write(message);
    }
    hasher.finish_128()
}

fn outside() -> ArrowError {
    ArrowError::ParseError("a block lies outside of the file or of its part".to_owned())
}

/// The bytes of a part, which must have its hash.
fn check(file: &File, part: Range<u64>, hash: u128, spare: &Spare) -> Result<Buffer> {
    let bytes = read(file, part.start, (part.end - part.start) as usize, spare)?;
    match XxHash3_128::oneshot(&bytes) == hash {
        true => Ok(bytes),
        false => Err(ArrowError::ParseError(NO_MATCH.to_owned())),
    }
}

fn damaged() -> ArrowError {
    ArrowError::ParseError("it is not a complete Arrow file".to_owned())
}

/// Memory that earlier batches no longer need: the next one takes it over, so that no page is fresh and has to be cleared.
type Spare = Arc<Mutex<Vec<MutableBuffer>>>;

/// The bytes of a batch; their memory goes back when the last column is dropped.
struct Lent {
    memory: MutableBuffer,
    length: usize,
    spare: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

/// A part of a file, aligned as Arrow wants it. Many threads may read at once.
fn read(file: &File, offset: u64, length: usize, spare: &Spare) -> Result<Buffer> {
    let known = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
    // To grow would double it.
    let memory = known.filter(|memory| memory.len() >= length).unwrap_or_else(|| MutableBuffer::from_len_zeroed(length));
    let mut lent = Lent { memory, length, spare: spare.clone() };
    file.read_exact_at(&mut lent.memory[..length], offset)?;
    Ok(Bytes::from_owner(lent).into())
}

fn rows_of(message: &[u8]) -> Result<u64> {
    let message = root_as_message(&message[MESSAGE_PREFIX_BYTES..]).map_err(|e| ArrowError::ParseError(e.to_string()))?;
    let rows = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch().map(|batch| batch.length()),
        _ => None,
    };
    rows.and_then(|rows| u64::try_from(rows).ok()).ok_or_else(|| ArrowError::ParseError("a block is not a batch".to_owned()))
}

#[cfg(test)]
mod tests {
    use arrow_schema::{Field, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new_dictionary("name", DataType::Int32, DataType::Utf8, true),
            Field::new("n", DataType::Int32, false),
        ]))
    }

    fn batch(names: &[Option<&str>]) -> RecordBatch {
        let coded: DictionaryArray<Int32Type> = names.iter().copied().collect();
        let numbers: Int32Array = (0..names.len() as i32).collect();
        RecordBatch::try_new(schema(), vec![Arc::new(coded), Arc::new(numbers)]).unwrap()
    }

    fn write(batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = IpcWriter::new(Vec::new(), &schema()).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<IpcFile> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        IpcFile::open(file)
    }

    fn names(batch: &RecordBatch) -> Vec<Option<String>> {
        let coded = batch.column(0).as_dictionary::<Int32Type>();
        let texts = coded.values().as_string::<i32>();
        coded.keys().iter().map(|code| code.map(|code| texts.value(code as usize).to_owned())).collect()
    }

    #[test]
    fn batches_with_their_own_dictionaries_come_back() {
        let batches =
            [batch(&[]), batch(&[Some("a"), None, Some("b")]), batch(&[None]), batch(&[Some("c"), Some("b"), Some("a")])];
        let file = open(&write(&batches)).unwrap();
        assert_eq!((file.batches(), file.rows().unwrap()), (4, 7));
        assert_eq!(file.schema().fields(), schema().fields());
        for index in [3, 0, 1, 2] {
            let back = file.batch(index, &schema()).unwrap();
            assert_eq!(names(&back), names(&batches[index]));
            assert_eq!(back.column(1), batches[index].column(1));
        }
    }

    #[test]
    fn a_file_depends_on_its_rows_and_not_on_the_codes() {
        let rows = [Some("x"), Some("y"), Some("x")];
        let coded = |codes: [i32; 3], texts: &[&str]| {
            let texts = arrow_array::StringArray::from(texts.to_vec());
            let coded = DictionaryArray::new(Int32Array::from(codes.to_vec()), Arc::new(texts));
            RecordBatch::try_new(schema(), vec![Arc::new(coded), batch(&rows).column(1).clone()]).unwrap()
        };
        assert_eq!(write(&[coded([0, 1, 0], &["x", "y"])]), write(&[coded([2, 1, 2], &["unused", "y", "x"])]));
    }

    #[test]
    fn a_truncated_file_is_refused_at_every_length() {
        let bytes = write(&[batch(&[Some("a")])]);
        for length in 0..bytes.len() {
            assert!(open(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}
