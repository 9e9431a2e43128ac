//! Archives in the bucket of an object store: S3, Google Cloud or Azure.

use std::collections::BTreeMap;
#[cfg(feature = "query")]
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "query")]
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig, UpdateVersion, WriteMultipart};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Context, Error, ErrorKind, Result};

use super::{Seen, Tag};

/// A larger object goes up in parts of this size, so that a failed part is tried again and not the whole.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way at a time: few, so that a slow line carries each within the store's time for a request (30 s).
const PARTS_AT_ONCE: usize = 2;
/// The words of the HTTP client for an address without TLS, where that was not allowed.
const HTTP_REFUSED: &str = "URL scheme is not allowed";
const RETRIES: usize = 8;
const RETRY_FOR: Duration = Duration::from_secs(120);

/// A bucket, and where in it the archive is.
#[derive(Debug)]
pub struct Bucket {
    /// As a user may see it.
    shown: String,
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    runtime: Runtime,
}

impl Bucket {
    /// A URL that starts with one of [`super::BUCKETS`], and which of them.
    pub fn open(url: &str, scheme: &str) -> Result<Bucket> {
        let doing = || format!("opening the archive {url}");
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_FOR };
        let built = match scheme {
            "s3" => AmazonS3Builder::from_env().with_url(url).with_retry(retry).build().map(shared),
            "gs" => GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(retry).build().map(shared),
            _ => MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry).build().map(shared),
        };
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        Ok(Bucket {
            shown: url.trim_end_matches('/').to_owned(),
            store: built.doing(ErrorKind::Usage, doing)?,
            prefix: Key::parse(path.trim_matches('/')).doing(ErrorKind::Usage, doing)?,
            runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build().doing(ErrorKind::Io, doing)?,
        })
    }

    fn key(&self, path: &str) -> Key {
        path.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    pub fn look(&self, path: &str) -> Result<Seen> {
        let found = self.runtime.block_on(async {
            let found = self.store.get(&self.key(path)).await?;
            let tag = Tag { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            Ok((found.bytes().await?, tag))
        });
        match found {
            Ok((content, tag)) => Ok(Seen { content: Some(content), tag: Some(tag) }),
            Err(object_store::Error::NotFound { .. }) => Ok(Seen::default()),
            Err(error) => Err(self.refused("reading", path, error)),
        }
    }

    /// Parts of a file, which may stand `otherwise` by now; those that are near each other come in one request.
    #[cfg(feature = "query")]
    pub fn read_ranges(&self, path: &str, otherwise: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = |path: &str| self.runtime.block_on(self.store.get_ranges(&self.key(path), ranges));
        let read = match read(path) {
            Err(error @ object_store::Error::NotFound { .. }) => read(otherwise).map_err(|_| error),
            read => read,
        };
        read.map_err(|e| self.refused("reading", path, e))
    }

    pub fn list(&self) -> Result<BTreeMap<String, u64>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let found: Vec<_> =
            self.runtime.block_on(self.store.list(prefix).try_collect()).map_err(|e| self.refused("listing", "", e))?;
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

    /// Writes a file, whole or not at all. `what` is being done goes into the error.
    pub fn write(&self, what: &str, path: &str, content: Vec<u8>) -> Result<()> {
        self.put(path, content, PutMode::Overwrite).map_err(|e| self.refused(what, path, e))
    }

    /// Replaces a file; false where somebody else has done so since it was seen.
    pub fn replace(&self, path: &str, seen: &Seen, content: &[u8]) -> Result<bool> {
        let version = seen.tag.clone().map(|Tag { e_tag, version }| UpdateVersion { e_tag, version });
        match self.put(path, content.to_vec(), version.map_or(PutMode::Create, PutMode::Update)) {
            Ok(()) => Ok(true),
            // A store without conditional puts: look, then write.
            Err(object_store::Error::NotImplemented { .. }) => {
                let same = self.look(path)?.content == seen.content;
                if same {
                    self.write("writing", path, content.to_vec())?;
                }
                Ok(same)
            }
            // Where the answer to a put was lost, the next one is held against it, or none comes: what is there tells.
            Err(error) => match (self.look(path), error) {
                (Ok(Seen { content: Some(found), .. }), _) if found == content => Ok(true),
                (_, object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => Ok(false),
                (_, error) => Err(self.refused("writing", path, error)),
            },
        }
    }

    /// Gives a file another key, if it is there. There are two of it for a moment, and never none.
    pub fn set_aside(&self, path: &str, to: &str) -> Result<()> {
        match self.runtime.block_on(self.store.copy(&self.key(path), &self.key(to))) {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            copied => {
                copied.map_err(|e| self.refused("setting aside", path, e))?;
                self.remove(path)
            }
        }
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, path: &str) -> Result<()> {
        match self.runtime.block_on(self.store.delete(&self.key(path))) {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            result => result.map_err(|e| self.refused("removing", path, e)),
        }
    }

    fn refused(&self, what: &str, path: &str, error: object_store::Error) -> Error {
        let detail = plain(&error);
        let hint = match &error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                "check the credentials in the environment, and that they may read, write, list and delete here".to_owned()
            }
            _ if detail.contains(HTTP_REFUSED) => {
                let allow = match self.shown.split_once("://") {
                    Some(("s3", _)) => "AWS_ALLOW_HTTP",
                    Some(("gs", _)) => "GOOGLE_ALLOW_HTTP",
                    _ => "AZURE_ALLOW_HTTP",
                };
                format!("the endpoint begins with http://: set {allow}=true if what is sent may be read on the way")
            }
            _ => "what was archived before is untouched; run it again when the store answers".to_owned(),
        };
        Error::new(ErrorKind::Io, format!("{what} {}/{path}", self.shown), detail).hint(hint).caused_by(error)
    }
}

fn shared<S: ObjectStore>(store: S) -> Arc<dyn ObjectStore> {
    Arc::new(store)
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
