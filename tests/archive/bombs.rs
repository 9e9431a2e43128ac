//! Files of an archive that are small and say, or unpack to, more than memory has. Their hashes are made for them.

use std::path::Path;

use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter};

use crate::support::recount;

use super::{archived_sample, files, forge};

/// What any command may take, whatever the file.
const MEGABYTES_MAX: u64 = 500;
/// The size of a page of the forged files, unpacked.
const GIGABYTES: u64 = 2;
/// Bytes of a block in a frame of zstd.
const BLOCK_BYTES: u32 = 128 << 10;

/// Zeros as a frame of zstd: blocks that say "this byte, repeated".
fn zeros(bytes: u64) -> Vec<u8> {
    // The magic number, no size and no checksum, a window of 128 kB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let blocks = bytes.div_ceil(u64::from(BLOCK_BYTES));
    for block in 1..=blocks {
        let header = BLOCK_BYTES << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend([&header.to_le_bytes()[..3], &[0]].concat());
    }
    frame
}

/// A number of a page header.
fn number(number: u64) -> Vec<u8> {
    let mut rest = number << 1;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A page of values, or of a dictionary, that unpacks to this many bytes.
fn page(is_dictionary: bool, bytes: u64, values: u64) -> Vec<u8> {
    let body = zeros(bytes);
    let (kind, own): (u64, &[u8]) = match is_dictionary {
        true => (2, &[0x4c, 0x15]),
        false => (0, &[0x2c, 0x15]),
    };
    let levels: &[u8] = if is_dictionary { &[] } else { &[0x15, 0x06, 0x15, 0x06] };
    let sizes = [&[0x15][..], &number(kind), &[0x15], &number(bytes), &[0x15], &number(body.len() as u64)].concat();
    [&sizes, own, &number(values), &[0x15, 0x00], levels, &[0, 0], &body].concat()
}

/// The file with a column of each row group exchanged for this chunk; the footer says nothing of how far it unpacks.
fn forged(content: &[u8], column: &str, is_dictionary: bool, chunk: &[u8]) -> Vec<u8> {
    let old = ParquetMetaDataReader::new().parse_and_finish(&Bytes::copy_from_slice(content)).unwrap();
    let footer_bytes = u32::from_le_bytes(content[content.len() - 8..][..4].try_into().unwrap()) as usize;
    let mut file = content[..content.len() - 8 - footer_bytes].to_vec();
    let at = file.len() as i64;
    file.extend(chunk);
    let groups = old.row_groups().iter().map(|group| {
        let columns = group.columns().iter().map(|known| {
            let mut new = known.clone().into_builder();
            if known.column_path().string() == column {
                new = new.set_total_compressed_size(chunk.len() as i64).set_data_page_offset(at);
                new = new.set_dictionary_page_offset(is_dictionary.then_some(at));
            }
            new.set_column_index_offset(None)
                .set_column_index_length(None)
                .set_offset_index_offset(None)
                .set_offset_index_length(None)
                .build()
                .unwrap()
        });
        group.clone().into_builder().set_column_metadata(columns.collect()).build().unwrap()
    });
    let new = ParquetMetaData::new(old.file_metadata().clone(), groups.collect());
    ParquetMetaDataWriter::new(&mut file, &new).finish().unwrap();
    file
}

/// Puts a file into an archive as if it had been written so.
fn plant(dest: &str, name: &str, content: &[u8]) {
    std::fs::write(Path::new(dest).join(name), content).unwrap();
    forge(dest, |manifest, _| {
        manifest["files"][name]["blake3"] = blake3::hash(content).to_hex().to_string().into();
        manifest["files"][name]["bytes"] = content.len().into();
    });
}

fn bounded(args: &[&str], status: i32) -> crate::support::Run {
    let (run, peak) = recount(args).run_measured();
    assert!(peak < MEGABYTES_MAX, "{peak} MB\n{run}");
    run.ends_with(status).never_says("panicked")
}

#[test]
fn a_page_that_lies_about_its_size_is_not_unpacked() {
    let (_folder, dest) = archived_sample();
    let (name, content) = files(&dest).into_iter().find(|(name, _)| name.starts_with("scores/init_date=2")).unwrap();
    let bytes = GIGABYTES << 30;
    let honest = page(false, bytes - 1, 100);
    // The same, in pages that are each within what the column may have.
    let many: Vec<u8> = (0..GIGABYTES << 7).flat_map(|_| page(false, 8 << 20, 8)).collect();
    for (is_dictionary, chunk) in [(false, honest), (true, page(true, bytes - 1, 100)), (false, many)] {
        let file = forged(&content, "score", is_dictionary, &chunk);
        assert!(file.len() < 400_000, "{}", file.len());
        plant(&dest, &name, &file);
        let said = format!("{name} is damaged: ");
        bounded(&["verify", &dest], 1).stdout_has("the column score has pages that say they have");
        bounded(&["reconcile", &dest], 2).stderr_has(&said).stderr_has("the column score");
        #[cfg(feature = "query")]
        bounded(&["query", &dest, "SELECT sum(score) FROM scores"], 2).stderr_has(&said).stderr_has("the column score");
    }
}
