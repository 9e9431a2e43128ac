//! Where an archive lies: a folder, or a bucket of an object store. Plain blocking calls; paths are relative, with slashes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig, UpdateVersion, WriteMultipart};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Context, Error, ErrorKind, Result};

/// The schemes of object stores.
pub const BUCKETS: [&str; 3] = ["s3", "gs", "az"];
/// A larger object goes up in parts of this size, so that a failed part is tried again and not the whole.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way at a time: few, so that a slow line carries each within the store's time for a request (30 s).
const PARTS_AT_ONCE: usize = 2;
const RETRIES: usize = 8;
const RETRY_FOR: Duration = Duration::from_secs(120);

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

#[derive(Debug)]
struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    runtime: Runtime,
}

/// Which content a small file had when it was read: what [`Place::replace`] holds against.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub content: Option<Bytes>,
    version: Option<UpdateVersion>,
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
                Ok(content) => Ok(Seen { content: Some(content.into()), version: None }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Seen::default()),
                Err(e) => Err(e).doing(ErrorKind::Io, || self.doing("reading", path)),
            },
            Kind::Bucket(bucket) => bucket.look(path).map_err(|e| self.refused("reading", path, e)),
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
            Kind::Bucket(bucket) => bucket.list().map_err(|e| self.refused("listing", "", e)),
        }
    }

    /// Writes a small file, whole or not at all.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => put(root, path, content).doing(ErrorKind::Io, || self.doing("writing", path)),
            Kind::Bucket(bucket) => {
                bucket.put(path, content.to_vec(), PutMode::Overwrite).map_err(|e| self.refused("writing", path, e))
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
            Kind::Bucket(bucket) => {
                let mode = seen.version.clone().map_or(PutMode::Create, PutMode::Update);
                match bucket.put(path, content.to_vec(), mode) {
                    Ok(()) => Ok(()),
                    // A store without conditional puts: look, then write.
                    Err(object_store::Error::NotImplemented { .. }) => {
                        if self.read(path)? == seen.content {
                            self.write(path, content)
                        } else {
                            Err(overtaken())
                        }
                    }
                    // Where the answer to a put was lost, the next one is held against it, or none comes: what is there tells.
                    Err(error) => match (self.read(path), error) {
                        (Ok(Some(found)), _) if found == content => Ok(()),
                        (_, object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                            Err(overtaken())
                        }
                        (_, error) => Err(self.refused("writing", path, error)),
                    },
                }
            }
        }
    }

    /// Gives a finished file its place: a rename within a folder, an upload to a bucket. The file is gone afterwards.
    pub fn publish(&self, file: &Path, path: &str) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => rename(file, &root.join(path)).doing(ErrorKind::Io, || self.doing("publishing", path)),
            Kind::Bucket(bucket) => {
                let content = fs::read(file).doing(ErrorKind::Io, || self.doing("publishing", path))?;
                bucket.put(path, content, PutMode::Overwrite).map_err(|e| self.refused("publishing", path, e))?;
                fs::remove_file(file).doing(ErrorKind::Io, || self.doing("publishing", path))
            }
        }
    }

    /// Removes a file, if it is there, and the folders that it leaves empty.
    pub fn remove(&self, path: &str) -> Result<()> {
        match &self.kind {
            Kind::Folder(root) => remove(root, path).doing(ErrorKind::Io, || self.doing("removing", path)),
            Kind::Bucket(bucket) => match bucket.delete(path) {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                result => result.map_err(|e| self.refused("removing", path, e)),
            },
        }
    }

    fn doing(&self, what: &str, path: &str) -> String {
        format!("{what} {}/{path}", self.shown)
    }

    fn refused(&self, what: &str, path: &str, error: object_store::Error) -> Error {
        let hint = match &error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                "check the credentials in the environment, and that they may read, write, list and delete here"
            }
            _ => "what was archived before is untouched; run it again when the store answers",
        };
        Error::new(ErrorKind::Io, self.doing(what, path), plain(&error)).hint(hint).caused_by(error)
    }
}

/// The innermost message: the outer ones repeat it between the store's own words.
fn plain(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        texts.push(inner.to_string());
        source = inner.source();
    }
    match texts.as_slice() {
        [first, .., last] if !first.contains(last.as_str()) => format!("{first} ({last})"),
        _ => texts.swap_remove(0),
    }
}

impl Bucket {
    fn open(url: &str, scheme: &str) -> Result<Bucket> {
        let doing = || format!("opening the archive {url}");
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_FOR };
        let built = match scheme {
            "s3" => AmazonS3Builder::from_env().with_url(url).with_retry(retry).build().map(shared),
            "gs" => GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(retry).build().map(shared),
            _ => MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry).build().map(shared),
        };
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        Ok(Bucket {
            store: built.doing(ErrorKind::Usage, doing)?,
            prefix: Key::parse(path.trim_matches('/')).doing(ErrorKind::Usage, doing)?,
            runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build().doing(ErrorKind::Io, doing)?,
        })
    }

    fn key(&self, path: &str) -> Key {
        path.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    fn look(&self, path: &str) -> object_store::Result<Seen> {
        let found = self.runtime.block_on(async {
            let found = self.store.get(&self.key(path)).await?;
            let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            Ok((found.bytes().await?, version))
        });
        match found {
            Ok((content, version)) => Ok(Seen { content: Some(content), version: Some(version) }),
            Err(object_store::Error::NotFound { .. }) => Ok(Seen::default()),
            Err(e) => Err(e),
        }
    }

    fn list(&self) -> object_store::Result<BTreeMap<String, u64>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let found: Vec<_> = self.runtime.block_on(self.store.list(prefix).try_collect())?;
        let below = |key: &Key| -> Option<String> {
            let parts: Vec<_> = key.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        Ok(found.into_iter().filter_map(|meta| Some((below(&meta.location)?, meta.size))).collect())
    }

    fn put(&self, path: &str, content: Vec<u8>, mode: PutMode) -> object_store::Result<()> {
        let key = self.key(path);
        self.runtime.block_on(async {
            if content.len() <= PART_BYTES || mode != PutMode::Overwrite {
                return self.store.put_opts(&key, content.into(), PutOptions::from(mode)).await.map(drop);
            }
            let mut parts = WriteMultipart::new_with_chunk_size(self.store.put_multipart(&key).await?, PART_BYTES);
            for part in content.chunks(PART_BYTES) {
                if let Err(error) = parts.wait_for_capacity(PARTS_AT_ONCE).await {
                    // What went up already would be kept, and paid for, without a name; that it failed is what matters.
                    let _ = parts.abort().await;
                    return Err(error);
                }
                parts.write(part);
            }
            parts.finish().await.map(drop)
        })
    }

    fn delete(&self, path: &str) -> object_store::Result<()> {
        self.runtime.block_on(self.store.delete(&self.key(path)))
    }
}

fn shared<S: ObjectStore>(store: S) -> Arc<dyn ObjectStore> {
    Arc::new(store)
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
