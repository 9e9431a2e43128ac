//! Writes an archive: files are staged as their days complete, then published together.

mod publish;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use tempfile::TempDir;

use crate::archive::beside::{BesideEntry, VIEWS, newest_rows, newest_schema, path_of};
use crate::archive::encoding::{self, has_room};
use crate::archive::manifest::{FileEntry, Link};
use crate::archive::read::is_it;
use crate::archive::storage::Seen;
use crate::archive::tables::Table;
use crate::archive::{Manifest, STAGING, Storage, views};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::parquet::{ParquetFile, RowGroup};
use crate::files::path;
use crate::model::ids::LeadHours;
use crate::model::job::Encoding;
use crate::model::time::Micros;

pub use publish::{Pending, Published};

/// Digits of a file's hash that are in its name.
const NAME_DIGITS: usize = 16;

/// An archive in the making. What was archived before stays in force until [`ArchiveWriter::publish`] has done all its work.
#[derive(Debug)]
pub struct ArchiveWriter {
    storage: Storage,
    former: Option<(Link, Manifest)>,
    /// `_latest.json`, as it was when the job began.
    latest: Seen,
    /// What is there, with its size. A file that is gone or cut off is written again, though it did not change.
    there: BTreeMap<String, u64>,
    wide_leads: Vec<LeadHours>,
    staging: Staging,
    files: BTreeMap<String, FileEntry>,
    /// Files that are new, by the path that they will have.
    staged: BTreeMap<String, PathBuf>,
    /// Files beside the tables, and those of them that are new.
    beside: BTreeMap<String, BesideEntry>,
    staged_beside: BTreeMap<String, PathBuf>,
    /// What is replaced is not to stay for a while.
    forgets: bool,
    count: usize,
}

impl ArchiveWriter {
    /// Takes possession of the place, and sweeps what a killed job has left there.
    pub fn open(storage: Storage) -> Result<ArchiveWriter> {
        let (latest, former) = Manifest::latest(&storage)?;
        publish::check_place(&storage, former.as_ref())?;
        let staging = Staging::open(&storage)?;
        publish::recover(&storage, former.as_ref())?;
        let there = storage.list()?;
        Ok(ArchiveWriter {
            storage,
            former,
            latest,
            there,
            wide_leads: Vec::new(),
            staging,
            files: BTreeMap::new(),
            staged: BTreeMap::new(),
            beside: BTreeMap::new(),
            staged_beside: BTreeMap::new(),
            forgets: false,
            count: 0,
        })
    }

    /// The manifest in force.
    pub fn former(&self) -> Option<&Manifest> {
        self.former.as_ref().map(|(_, manifest)| manifest)
    }

    /// The leads for which stored rows have a wide column.
    pub fn set_wide_leads(&mut self, leads: &[LeadHours]) {
        self.wide_leads = leads.to_vec();
    }

    /// What is replaced is removed at once.
    pub fn forget(&mut self) {
        self.forgets = true;
    }

    /// Writes a partition from its row groups, in this order. A file that is there already, byte for byte, is not touched.
    pub fn write(&mut self, table: &Table, partition: &str, groups: impl IntoIterator<Item = RowGroup>) -> Result<()> {
        let schema = table.schema(&self.wide_leads);
        let mut groups = groups.into_iter().peekable();
        let mut part = 0;
        while groups.peek().is_some() {
            let (path, mut file) = self.create(table, &schema)?;
            while let Some(group) = groups.next_if(|group| has_room(&file, group)) {
                file.append(group)?;
            }
            self.stage(table, partition, part, path, file)?;
            part += 1;
        }
        Ok(())
    }

    /// Writes a partition without rows, so that readers of the table find its columns. A partition that has a file already keeps it.
    pub fn write_empty(&mut self, table: &Table, partition: &str) -> Result<()> {
        if self.has_files(table, Some(partition)) {
            return Ok(());
        }
        let schema = table.schema(&self.wide_leads);
        let (path, file) = self.create(table, &schema)?;
        self.stage(table, partition, 0, path, file)
    }

    /// Whether a table has a file so far, in this partition or in any.
    pub fn has_files(&self, table: &Table, partition: Option<&str>) -> bool {
        let is_it = |file: &FileEntry| partition.is_none_or(|partition| file.partition == partition);
        self.files.values().any(|file| file.table == table.name && is_it(file))
    }

    fn create(&mut self, table: &Table, schema: &SchemaRef) -> Result<(PathBuf, ParquetFile)> {
        self.count += 1;
        let path = self.staging.path.join(format!("{}.parquet", self.count));
        let file = encoding::create(&path, table, schema)?;
        Ok((path, file))
    }

    fn stage(&mut self, table: &Table, partition: &str, part: usize, from: PathBuf, file: ParquetFile) -> Result<()> {
        let doing = file.doing().to_owned();
        let done = file.finish()?;
        done.file.sync_all().doing(ErrorKind::Io, || doing)?;
        let path = format!("{}/part-{part}-{}.parquet", table.folder(partition), &done.blake3[..NAME_DIGITS]);
        let entry = FileEntry {
            table: table.name.to_owned(),
            partition: partition.to_owned(),
            rows: done.rows,
            bytes: done.bytes,
            blake3: done.blake3,
        };
        let in_force = self.former().and_then(|former| former.files.get(&path)) == Some(&entry);
        if in_force && self.there.get(&path) == Some(&entry.bytes) {
            fs::remove_file(&from).doing(ErrorKind::Io, || format!("removing {}", from.display()))?;
        } else {
            self.staged.insert(path.clone(), from);
        }
        self.files.insert(path, entry);
        Ok(())
    }

    /// Writes the file that has the newest state of a table, where the table has one.
    pub fn write_newest(&mut self, table: &Table, rows: &RecordBatch, as_of: Micros, doubles: Encoding) -> Result<()> {
        let Some(path) = path_of(table) else { return Ok(()) };
        let schema = newest_schema(table);
        let (from, mut file) = self.create(table, &schema)?;
        for group in encoding::row_groups(table, &schema, &newest_rows(table, rows, as_of), doubles)? {
            file.append(group)?;
        }
        let doing = file.doing().to_owned();
        let done = file.finish()?;
        done.file.sync_all().doing(ErrorKind::Io, || doing)?;
        self.stage_beside(path, from, BesideEntry { bytes: done.bytes, blake3: done.blake3 })
    }

    /// Writes the tables of a manifest as views, beside them.
    fn write_views(&mut self, manifest: &Manifest) -> Result<()> {
        let text = views::text(manifest);
        let from = self.staging.path.join(VIEWS);
        let doing = || format!("writing {}", from.display());
        let mut file = File::create(&from).doing(ErrorKind::Io, doing)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).doing(ErrorKind::Io, doing)?;
        let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
        self.stage_beside(VIEWS, from, BesideEntry { bytes: text.len() as u64, blake3 })
    }

    /// Its name says nothing of its content, so what is there is looked at.
    fn stage_beside(&mut self, path: &str, from: PathBuf, entry: BesideEntry) -> Result<()> {
        let is_there = self.storage.read(path)?.is_some_and(|content| is_it(&content, entry.bytes, &entry.blake3));
        if is_there {
            fs::remove_file(&from).doing(ErrorKind::Io, || format!("removing {}", from.display()))?;
        } else {
            self.staged_beside.insert(path.to_owned(), from);
        }
        self.beside.insert(path.to_owned(), entry);
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
    /// Locked while the job runs; the system releases it when the process ends, however it ends.
    _lock: File,
    _temporary: Option<TempDir>,
}

impl Staging {
    /// An empty folder that no other job uses.
    fn open(storage: &Storage) -> Result<Staging> {
        let doing = || format!("archiving to {}", storage.display());
        let temporary = match storage.folder() {
            Some(_) => None,
            None => Some(tempfile::tempdir().doing(ErrorKind::Io, doing)?),
        };
        let root = storage.folder().or(temporary.as_ref().map(TempDir::path)).expect("invariant: one of the two is there");
        let (path, lock) = folder_and_lock(root).map_err(|e| {
            let error = Error::new(ErrorKind::Io, doing(), format!("{STAGING} cannot be used: {e}"));
            error.hint("it must be a folder, or not be there").caused_by(e)
        })?;
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

/// The folder and its lock file, neither of them by way of a symbolic link.
fn folder_and_lock(root: &Path) -> io::Result<(PathBuf, File)> {
    let folder = path::below(root, STAGING)?;
    fs::create_dir_all(&folder)?;
    let lock = path::below(root, &format!("{STAGING}/lock"))?;
    if fs::symlink_metadata(&lock).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its lock is not a regular file"));
    }
    let lock = OpenOptions::new().create(true).write(true).truncate(false).open(lock)?;
    Ok((folder, lock))
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next job.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::encoding::{MAX_FILE_BYTES, row_groups};
    use crate::archive::read::Reader;
    use crate::archive::tables::{LEAD_SCORES, with_keys};
    use crate::model::rollups::LeadScore;
    use crate::model::rows::batch_of;
    use crate::model::settings::Scoring;

    fn run(id: i32) -> RowGroup {
        let row = LeadScore { run_id: Some(id), miner_uid: Some(1), lead_hours: Some(24), ..LeadScore::default() };
        row_groups(&LEAD_SCORES, &LEAD_SCORES.schema(&[]), &with_keys(&LEAD_SCORES, &batch_of(&[row])), Encoding::Plain)
            .unwrap()
            .remove(0)
    }

    fn archive(dest: &str, groups: Vec<RowGroup>) -> Published {
        let mut writer = ArchiveWriter::open(Storage::open(dest).unwrap()).unwrap();
        writer.write(&LEAD_SCORES, "2025-01-01", groups).unwrap();
        writer.publish(Manifest::new(Micros(0), Scoring::default())).unwrap()
    }

    fn rows(dest: &str, run: Option<i32>) -> usize {
        let storage = Storage::open(dest).unwrap();
        let (_, manifest) = Manifest::latest(&storage).unwrap().1.unwrap();
        Reader::new(storage, manifest).rows(&LEAD_SCORES, "2025-01-01", &LEAD_SCORES.schema(&[]), run).unwrap().num_rows()
    }

    #[test]
    fn a_day_that_is_too_large_goes_on_in_a_further_file() {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().to_str().unwrap();
        let mut groups: Vec<RowGroup> = (1..=5).map(run).collect();
        groups[2].bytes = MAX_FILE_BYTES;
        assert_eq!(archive(dest, groups).written, 3, "the third run would not fit beside the first two; and views.sql");
        assert_eq!((rows(dest, None), rows(dest, Some(5)), rows(dest, Some(6))), (5, 1, 0));
    }

    #[test]
    fn what_is_gone_or_cut_off_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().to_str().unwrap();
        archive(dest, vec![run(1)]);
        assert_eq!(archive(dest, vec![run(1)]).written, 0);
        let day = folder.path().join("lead_scores/init_date=2025-01-01");
        let file = fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
        let content = fs::read(&file).unwrap();
        fs::write(&file, &content[..content.len() / 2]).unwrap();
        assert_eq!(archive(dest, vec![run(1)]).written, 1);
        assert_eq!(fs::read(&file).unwrap(), content);
        fs::remove_file(&file).unwrap();
        assert_eq!(archive(dest, vec![run(1)]).written, 1);
        assert_eq!(rows(dest, Some(1)), 1);
    }
}
