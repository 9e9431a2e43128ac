//! One file of an archive, decoded as its reader does it, in memory: many more inputs a second than by whole archives.

use bytes::Bytes;
use recount::internals::archive::{Table, rows_of, table};

use super::{Target, files};

/// The first byte of an input says of which table it is, and by its highest bit whether one run is asked for; the rest is the file.
pub struct Tables {
    files: Vec<(&'static Table, Vec<u8>)>,
}

const ONE_RUN: u8 = 1 << 7;

impl Tables {
    pub fn new() -> Tables {
        let of_table = |(path, content): (String, _)| Some((table(path.split('/').next()?)?, content));
        Tables { files: files::parquet_of_an_archive().filter_map(of_table).collect() }
    }
}

impl Target for Tables {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let ways = |(at, content): (u8, &Vec<u8>)| [0, ONE_RUN].map(|way| [&[at | way], &content[..]].concat());
        (0u8..).zip(self.files.iter().map(|(_, content)| content)).flat_map(ways).collect()
    }

    fn run(&mut self, input: &[u8]) -> String {
        let Some((at, content)) = input.split_first() else { return String::new() };
        let (table, whole) = &self.files[usize::from(*at & !ONE_RUN) % self.files.len()];
        let run = (*at & ONE_RUN != 0).then_some(1);
        let read = rows_of(&Bytes::copy_from_slice(content), &table.schema(&[]), run);
        assert!(read.is_ok() || content != whole, "{} as it was written: {read:?}", table.name);
        read.map_or_else(|e| e.to_string(), |_| "rows".to_owned())
    }
}
