//! Where an archive lies: a folder, or a bucket of an object store. Plain blocking calls; paths are relative, with slashes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
#[cfg(feature = "query")]
use std::io::{Read, Seek, SeekFrom};
#[cfg(feature = "query")]
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::files::path;

use super::paths::replaced;

#[cfg(feature = "cloud")]
use self::bucket::Bucket;
#[cfg(not(feature = "cloud"))]
use self::no_bucket::Bucket;

#[cfg(feature = "cloud")]
mod bucket;
#[cfg(not(feature = "cloud"))]
mod no_bucket;

/// Bytes of a file: an archive writes none of more.
pub const FILE_BYTES: u64 = 512 << 20;

/// The schemes of object stores.
pub const BUCKETS: [&str; 3] = ["s3", "gs", "az"];

/// A folder or bucket.
#[derive(Debug)]
pub struct Storage {
    shown: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// Which content a small file had when it was read: what [`Storage::replace`] holds against.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub content: Option<Bytes>,
    /// Of a bucket: what its store calls this state of the file.
    #[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "only the store of a bucket asks"))]
    tag: Option<Tag>,
}

/// A state of an object, in its store's words.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "only a bucket's store gives one"))]
struct Tag {
    e_tag: Option<String>,
    version: Option<String>,
}

impl Storage {
    /// A path, `file://`, `s3://`, `gs://` or `az://`; credentials come from each cloud's usual environment.
    pub fn open(dest: &str) -> Result<Storage> {
        check_secrets(dest)?;
        let kind = match dest.split_once("://") {
            None => Kind::Folder(PathBuf::from(dest)),
            Some(("file", path)) => Kind::Folder(PathBuf::from(path)),
            Some((scheme, _)) if BUCKETS.contains(&scheme) => Kind::Bucket(Bucket::open(dest, scheme)?),
            Some((scheme, _)) => {
                let detail = format!("no such kind of archive: {scheme}://");
                let error = Error::new(ErrorKind::Usage, "opening the archive", detail);
                return Err(error.hint("give a folder, or a URL that starts with file://, s3://, gs:// or az://"));
            }
        };
        Ok(Storage { shown: dest.trim_end_matches('/').to_owned(), kind })
    }

    /// As a user may see it.
    pub fn display(&self) -> &str {
        &self.shown
    }

    /// The folder, where the archive is in one.
    pub fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(root) => Some(root),
            Kind::Bucket(_) => None,
        }
    }

    /// The whole content of a file; `None` where there is none.
    pub fn read(&self, path: &str) -> Result<Option<Bytes>> {
        self.look(path).map(|seen| seen.content)
    }

    /// The whole content of a file that a manifest names, even where an archiving has replaced it meanwhile.
    pub fn read_or_replaced(&self, path: &str) -> Result<Option<Bytes>> {
        match self.read(path)? {
            None => self.read(&replaced(path)),
            found => Ok(found),
        }
    }

    /// Parts of a file that a manifest names, even where an archiving has replaced it meanwhile; all of them lie within it.
    #[cfg(feature = "query")]
    pub fn read_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match &self.kind {
            Kind::Folder(root) => {
                let opened = match path::open(root, path, FILE_BYTES) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => path::open(root, &replaced(path), FILE_BYTES).map_err(|_| e),
                    opened => opened,
                };
                let read =
                    opened.and_then(|(file, _)| ranges.iter().map(|range| part(&file, range)).collect::<io::Result<Vec<_>>>());
                read.map_err(|e| self.failed("reading", path, e))
            }
            Kind::Bucket(bucket) => {
                self.check(path)?;
                bucket.read_ranges(path, &replaced(path), ranges)
            }
        }
    }

    /// The content of a file, with what tells later whether it is still the same.
    pub fn look(&self, path: &str) -> Result<Seen> {
        match &self.kind {
            Kind::Folder(root) => match path::read(root, path, FILE_BYTES) {
                Ok(content) => Ok(Seen { content: Some(content.into()), tag: None }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Seen::default()),
                Err(e) => Err(self.failed("reading", path, e)),
            },
            Kind::Bucket(bucket) => {
                self.check(path)?;
                bucket.look(path)
            }
        }
    }

    /// Every file, with its size.
    pub fn list(&self) -> Result<BTreeMap<String, u64>> {
        match &self.kind {
            Kind::Folder(root) => {
                let mut files = BTreeMap::new();
                walk(root, "", &mut files).map_err(|e| self.failed("listing", "", e))?;
                Ok(files)
            }
            Kind::Bucket(bucket) => bucket.list(),
        }
    }

    /// Writes a small file, whole or not at all.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => put(root, path, content).map_err(|e| self.failed("writing", path, e)),
            Kind::Bucket(bucket) => {
                self.check(path)?;
                bucket.write("writing", path, content.to_vec())
            }
        }
    }

    /// Replaces a small file, unless somebody else has done so since it was seen.
    pub fn replace(&self, path: &str, seen: &Seen, content: &[u8]) -> Result<()> {
        let overtaken = || {
            let detail = format!("{path} was changed by another job meanwhile");
            Error::new(ErrorKind::Refused, self.doing("writing", path), detail).hint("nothing was published; run it again")
        };
        match &self.kind {
            Kind::Folder(_) => {
                if self.read(path)? != seen.content {
                    return Err(overtaken());
                }
                self.write(path, content)
            }
            Kind::Bucket(bucket) if bucket.replace(path, seen, content)? => Ok(()),
            Kind::Bucket(_) => Err(overtaken()),
        }
    }

    /// Gives a finished file its place: a rename within a folder, an upload to a bucket. The file is gone afterwards.
    pub fn publish(&self, file: &Path, path: &str) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => rename(file, root, path).map_err(|e| self.failed("publishing", path, e)),
            Kind::Bucket(bucket) => {
                self.check(path)?;
                let failed = |e| self.failed("publishing", path, e);
                bucket.write("publishing", path, fs::read(file).map_err(failed)?)?;
                fs::remove_file(file).map_err(failed)
            }
        }
    }

    /// Puts a replaced file aside, if it is there, for readers that hold the previous manifest.
    pub fn set_aside(&self, path: &str) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => set_aside(root, path).map_err(|e| self.failed("setting aside", path, e)),
            Kind::Bucket(bucket) => {
                self.check(path)?;
                bucket.set_aside(path, &replaced(path))
            }
        }
    }

    /// Removes a file, if it is there, and the folders that it leaves empty.
    pub fn remove(&self, path: &str) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => remove(root, path).map_err(|e| self.failed("removing", path, e)),
            Kind::Bucket(bucket) => {
                self.check(path)?;
                bucket.remove(path)
            }
        }
    }

    fn doing(&self, what: &str, path: &str) -> String {
        format!("{what} {}/{path}", self.shown)
    }

    /// An object store knows no links, but a key that leads up is none of an archive there either.
    fn check(&self, path: &str) -> Result<()> {
        if path::is_plain(path) {
            return Ok(());
        }
        let detail = format!("{path:?} is not a path below its place");
        Err(Error::new(ErrorKind::Snapshot, format!("opening archive {}", self.shown), detail))
    }

    fn failed(&self, what: &str, path: &str, error: io::Error) -> Error {
        if path::is_refusal(&error) {
            let error = Error::new(ErrorKind::Snapshot, format!("opening archive {}", self.shown), format!("{path:?} {error}"));
            return error.hint("nothing was touched; an archive has regular files and folders only");
        }
        Error::new(ErrorKind::Io, self.doing(what, path), &error).caused_by(error)
    }
}

/// Refuses a URL that carries credentials, without repeating it: it would stand in reports, in logs and in the list of processes.
fn check_secrets(dest: &str) -> Result<()> {
    let Some((scheme, rest)) = dest.split_once("://") else { return Ok(()) };
    let host = rest.split('/').next().unwrap_or(rest);
    // A folder may have these characters in its name, a bucket or a key of an archive has them not.
    let has_parameters = scheme != "file" && rest.contains(['?', '#']);
    if !host.contains('@') && !has_parameters {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Usage, "opening the archive", "its URL has credentials or parameters in it");
    Err(error.hint("give the bucket and the path alone; credentials come from the environment of the cloud"))
}

fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, u64>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && prefix.is_empty() => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, entry.metadata()?.len());
        }
    }
    Ok(())
}

#[cfg(feature = "query")]
fn part(mut file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(range.start))?;
    let wanted = range.end.saturating_sub(range.start);
    let mut content = Vec::with_capacity(usize::try_from(wanted.min(FILE_BYTES)).unwrap_or_default());
    match file.take(wanted).read_to_end(&mut content)? as u64 {
        found if found == wanted => Ok(content.into()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "is shorter than the manifest says")),
    }
}

/// Under a name that no engine reads, then renamed.
fn put(root: &Path, path: &str, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path::below(root, super::STAGING)?)?;
    let temporary = path::below(root, &format!("{}/{}", super::STAGING, path.replace('/', "-")))?;
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&temporary, root, path)
}

fn rename(from: &Path, root: &Path, path: &str) -> io::Result<()> {
    let to = path::below(root, path)?;
    let parent = to.parent().expect("invariant: a file of an archive is in a folder");
    fs::create_dir_all(parent)?;
    fs::rename(from, &to)?;
    File::open(parent)?.sync_all()
}

fn set_aside(root: &Path, path: &str) -> io::Result<()> {
    match rename(&path::below(root, path)?, root, &replaced(path)) {
        // What was lost before needs no place, and its folders go.
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => remove(root, path),
    }
}

fn remove(root: &Path, path: &str) -> io::Result<()> {
    let file = path::below(root, path)?;
    match fs::remove_file(&file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Folders that still hold something stay, and say so by refusing.
    let folders = file.ancestors().skip(1).take_while(|folder| *folder != root);
    folders.map(fs::remove_dir).take_while(io::Result::is_ok).for_each(drop);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_credentials_is_refused_and_not_repeated() {
        for dest in [
            "s3://AKIA:hushhush@bucket/a",
            "gs://user:hushhush@bucket",
            "az://account/a?sig=hushhush",
            "file://user:hushhush@host/a",
            "ftp://user:hushhush@host/a",
        ] {
            let error = Storage::open(dest).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            let said = format!("{error} {error:?} {}", error.hint_text().unwrap_or_default());
            assert!(!said.contains("hushhush") && !said.contains("user"), "{said}");
        }
        for dest in ["folder", "a@b/c", "file:///a@b/c?d", "/tmp/x#y"] {
            assert!(Storage::open(dest).is_ok(), "{dest}");
        }
    }
}
