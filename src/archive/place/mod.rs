//! Where an archive lies: a folder, or a bucket of an object store. Plain blocking calls; paths are relative, with slashes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Context, Error, ErrorKind, Result};

#[cfg(feature = "cloud")]
use self::bucket::Bucket;
#[cfg(not(feature = "cloud"))]
use self::no_bucket::Bucket;

#[cfg(feature = "cloud")]
mod bucket;
#[cfg(not(feature = "cloud"))]
mod no_bucket;

/// The schemes of object stores.
pub const BUCKETS: [&str; 3] = ["s3", "gs", "az"];

/// A folder or bucket.
#[derive(Debug)]
pub struct Place {
    shown: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// Which content a small file had when it was read: what [`Place::replace`] holds against.
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

impl Place {
    /// A path, `file://`, `s3://`, `gs://` or `az://`; credentials come from each cloud's usual environment.
    pub fn open(dest: &str) -> Result<Place> {
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
        Ok(Place { shown: dest.trim_end_matches('/').to_owned(), kind })
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

    /// The content of a file, with what tells later whether it is still the same.
    pub fn look(&self, path: &str) -> Result<Seen> {
        match &self.kind {
            Kind::Folder(root) => match fs::read(root.join(path)) {
                Ok(content) => Ok(Seen { content: Some(content.into()), tag: None }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Seen::default()),
                Err(e) => Err(e).doing(ErrorKind::Io, || self.doing("reading", path)),
            },
            Kind::Bucket(bucket) => bucket.look(path),
        }
    }

    /// Every file, with its size.
    pub fn list(&self) -> Result<BTreeMap<String, u64>> {
        match &self.kind {
            Kind::Folder(root) => {
                let mut files = BTreeMap::new();
                walk(root, "", &mut files).doing(ErrorKind::Io, || self.doing("listing", ""))?;
                Ok(files)
            }
            Kind::Bucket(bucket) => bucket.list(),
        }
    }

    /// Writes a small file, whole or not at all.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => put(root, path, content).doing(ErrorKind::Io, || self.doing("writing", path)),
            Kind::Bucket(bucket) => bucket.write("writing", path, content.to_vec()),
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
            Kind::Folder(root) => rename(file, &root.join(path)).doing(ErrorKind::Io, || self.doing("publishing", path)),
            Kind::Bucket(bucket) => {
                let content = fs::read(file).doing(ErrorKind::Io, || self.doing("publishing", path))?;
                bucket.write("publishing", path, content)?;
                fs::remove_file(file).doing(ErrorKind::Io, || self.doing("publishing", path))
            }
        }
    }

    /// Removes a file, if it is there, and the folders that it leaves empty.
    pub fn remove(&self, path: &str) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => remove(root, path).doing(ErrorKind::Io, || self.doing("removing", path)),
            Kind::Bucket(bucket) => bucket.remove(path),
        }
    }

    fn doing(&self, what: &str, path: &str) -> String {
        format!("{what} {}/{path}", self.shown)
    }
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

/// Under a name that no engine reads, then renamed.
fn put(root: &Path, path: &str, content: &[u8]) -> io::Result<()> {
    let staging = root.join(super::STAGING);
    fs::create_dir_all(&staging)?;
    let temporary = staging.join(path.replace('/', "-"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&temporary, &root.join(path))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().expect("invariant: a file of an archive is in a folder");
    fs::create_dir_all(parent)?;
    fs::rename(from, to)?;
    File::open(parent)?.sync_all()
}

fn remove(root: &Path, path: &str) -> io::Result<()> {
    let file = root.join(path);
    match fs::remove_file(&file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Folders that still hold something stay, and say so by refusing.
    let folders = file.ancestors().skip(1).take_while(|folder| *folder != root);
    folders.map(fs::remove_dir).take_while(io::Result::is_ok).for_each(drop);
    Ok(())
}
