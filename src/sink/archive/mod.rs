//! Writes an archive: files are staged as their days complete, then published together.

mod publish;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use tempfile::TempDir;

use crate::archive::encoding::{MAX_FILE_BYTES, RowGroup, TableFile};
use crate::archive::manifest::{FileEntry, Link};
use crate::archive::place::Seen;
use crate::archive::tables::Table;
use crate::archive::{Manifest, Place, STAGING};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::ids::LeadHours;

pub use publish::{Pending, Published};

/// Digits of a file's hash that are in its name.
const NAME_DIGITS: usize = 16;

/// An archive in the making. What was archived before stays in force until [`ArchiveWriter::publish`] has done all its work.
#[derive(Debug)]
pub struct ArchiveWriter {
    place: Place,
    former: Option<(Link, Manifest)>,
    /// `_latest.json`, as it was when the job began.
    latest: Seen,
    wide_leads: Vec<LeadHours>,
    staging: Staging,
    files: BTreeMap<String, FileEntry>,
    /// Files that are new, by the path that they will have.
    staged: BTreeMap<String, PathBuf>,
    count: usize,
}

impl ArchiveWriter {
    /// Takes possession of the place, and sweeps what a killed job has left there.
    pub fn open(place: Place) -> Result<ArchiveWriter> {
        let (latest, former) = Manifest::latest(&place)?;
        publish::check_place(&place, former.as_ref())?;
        let staging = Staging::open(&place)?;
        publish::recover(&place, former.as_ref())?;
        let (wide_leads, files, staged) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Ok(ArchiveWriter { place, former, latest, wide_leads, staging, files, staged, count: 0 })
    }

    /// The manifest in force.
    pub fn former(&self) -> Option<&Manifest> {
        self.former.as_ref().map(|(_, manifest)| manifest)
    }

    /// The leads for which stored rows have a wide column.
    pub fn set_wide_leads(&mut self, leads: &[LeadHours]) {
        self.wide_leads = leads.to_vec();
    }

    /// Writes a partition from its row groups, in this order. A file that is there already, byte for byte, is not touched.
    pub fn write(&mut self, table: &Table, partition: &str, groups: impl IntoIterator<Item = RowGroup>) -> Result<()> {
        let schema = table.schema(&self.wide_leads);
        let mut groups = groups.into_iter().filter(|group| group.rows > 0).peekable();
        let mut part = 0;
        while groups.peek().is_some() {
            let (path, mut file) = self.create(table, &schema)?;
            while file.bytes() < MAX_FILE_BYTES
                && let Some(group) = groups.next()
            {
                file.append(group)?;
            }
            self.stage(table, partition, part, path, file)?;
            part += 1;
        }
        Ok(())
    }

    fn create(&mut self, table: &Table, schema: &SchemaRef) -> Result<(PathBuf, TableFile)> {
        self.count += 1;
        let path = self.staging.path.join(format!("{}.parquet", self.count));
        let file = TableFile::create(&path, table, schema)?;
        Ok((path, file))
    }

    fn stage(&mut self, table: &Table, partition: &str, part: usize, from: PathBuf, file: TableFile) -> Result<()> {
        let done = file.finish()?;
        let path = format!("{}/part-{part}-{}.parquet", table.folder(partition), &done.blake3[..NAME_DIGITS]);
        let entry = FileEntry {
            table: table.name.to_owned(),
            partition: partition.to_owned(),
            rows: done.rows,
            bytes: done.bytes,
            blake3: done.blake3,
        };
        if self.former().and_then(|former| former.files.get(&path)) == Some(&entry) {
            fs::remove_file(&from).doing(ErrorKind::Io, || format!("removing {}", from.display()))?;
        } else {
            self.staged.insert(path.clone(), from);
        }
        self.files.insert(path, entry);
        Ok(())
    }

    /// Keeps a partition as it was archived before.
    pub fn keep(&mut self, table: &Table, partition: &str) {
        let former = self.former.iter().flat_map(|(_, former)| former.partition(table, partition));
        self.files.extend(former.map(|(path, entry)| (path.clone(), entry.clone())));
    }

    /// Keeps every moment of a table that was archived before, but this one.
    pub fn keep_moments(&mut self, table: &Table, but: &str) {
        let former = self.former.iter().flat_map(|(_, former)| &former.files);
        let kept = former.filter(|(_, entry)| entry.table == table.name && entry.partition != but);
        self.files.extend(kept.map(|(path, entry)| (path.clone(), entry.clone())));
    }
}

/// Where files grow: inside a folder that is archived to, so that a rename publishes them; else a temporary folder.
#[derive(Debug)]
struct Staging {
    path: PathBuf,
    /// Locked as long as the job lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
    _temporary: Option<TempDir>,
}

impl Staging {
    /// An empty folder that no other job uses.
    fn open(place: &Place) -> Result<Staging> {
        let doing = || format!("archiving to {}", place.display());
        let (path, temporary) = match place.folder() {
            Some(root) => (root.join(STAGING), None),
            None => {
                let temporary = tempfile::tempdir().doing(ErrorKind::Io, doing)?;
                (temporary.path().join(STAGING), Some(temporary))
            }
        };
        fs::create_dir_all(&path).doing(ErrorKind::Io, doing)?;
        let lock = File::create(path.join("lock")).doing(ErrorKind::Io, doing)?;
        lock.try_lock().map_err(|_| {
            Error::new(ErrorKind::Refused, doing(), "another job is archiving there").hint("wait until it is done")
        })?;
        for entry in fs::read_dir(&path).doing(ErrorKind::Io, doing)? {
            let entry = entry.doing(ErrorKind::Io, doing)?;
            if entry.file_name() != "lock" {
                fs::remove_file(entry.path()).doing(ErrorKind::Io, doing)?;
            }
        }
        Ok(Staging { path, _lock: lock, _temporary: temporary })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next job.
        let _ = fs::remove_dir_all(&self.path);
    }
}
