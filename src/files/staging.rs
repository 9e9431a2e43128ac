//! Output folders that are there whole or not at all: written under a temporary name beside the target, then renamed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use super::folder_of;
use crate::error::{Context, Error, ErrorKind, Result};

/// A folder in the making. Dropped before [`Staging::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Staging {
    target: PathBuf,
    folder: TempDir,
}

impl Staging {
    /// Refuses a target that exists and is not an empty folder, before any work is done.
    pub fn create(target: &Path) -> Result<Staging> {
        // Such a path is a URL that was meant for something else, and may carry a password.
        if target.to_string_lossy().contains("://") {
            let error = Error::new(ErrorKind::Usage, "creating the output folder", "it is given by a URL");
            return Err(error.hint("give the path of a folder on this machine"));
        }
        let doing = || format!("creating the folder {}", target.display());
        // The finished folder takes this name by a rename, which neither a link nor `.` gives way to.
        let is_link = fs::symlink_metadata(target).is_ok_and(|found| found.is_symlink());
        if is_link || target.file_name().is_none() {
            let detail = if is_link { "it is a symbolic link" } else { "it has no name of its own" };
            return Err(Error::new(ErrorKind::Usage, doing(), detail).hint("give the name of a new folder"));
        }
        if fs::exists(target).doing(ErrorKind::Io, doing)? {
            let mut entries = fs::read_dir(target).doing(ErrorKind::Io, doing)?;
            if entries.next().is_some() {
                return Err(Error::new(ErrorKind::Io, doing(), "it exists and is not empty")
                    .hint("remove it, or give the name of a new folder"));
            }
        }
        let parent = folder_of(target);
        fs::create_dir_all(parent).doing(ErrorKind::Io, doing)?;
        let prefix = format!(".{}.", target.file_name().unwrap_or_default().to_string_lossy());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        builder.permissions(usual());
        let folder = builder.tempdir_in(parent);
        Ok(Staging { target: target.to_owned(), folder: folder.doing(ErrorKind::Io, doing)? })
    }

    /// Where a file of the folder is written for now.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Makes everything durable, then gives the folder its name.
    pub fn commit(self) -> Result<()> {
        let doing = || format!("finishing the folder {}", self.target.display());
        sync_files(self.folder.path()).doing(ErrorKind::Io, doing)?;
        sync(self.folder.path()).doing(ErrorKind::Io, doing)?;
        // A rename takes the place of an empty folder.
        fs::rename(self.folder.path(), &self.target).doing(ErrorKind::Io, doing)?;
        let _ = self.folder.keep();
        sync(folder_of(&self.target)).doing(ErrorKind::Io, doing)
    }
}

/// Makes the files of a folder durable, all at once: the system waits for the disk, and not for us.
fn sync_files(folder: &Path) -> io::Result<()> {
    let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let started: Vec<_> = files.iter().map(|file| scope.spawn(|| sync(file))).collect();
        started.into_iter().try_for_each(|sync| sync.join().expect("invariant: making a file durable does not panic"))
    })
}

/// Makes a file or folder durable.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What a folder has that is made without a word about it: everything but what the user's mask takes away.
#[cfg(unix)]
fn usual() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_folder_is_there_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        let abandoned = Staging::create(&target).unwrap();
        fs::write(abandoned.path("a"), "1").unwrap();
        drop(abandoned);
        assert!(entries(parent.path()).is_empty());

        let kept = Staging::create(&target).unwrap();
        fs::write(kept.path("a"), "1").unwrap();
        kept.commit().unwrap();
        assert_eq!(entries(parent.path()), ["out"]);
        assert_eq!(entries(&target), ["a"]);
        let error = Staging::create(&target).unwrap_err();
        assert!(error.to_string().ends_with("it exists and is not empty"), "{error}");
    }
    #[test]
    fn what_no_rename_can_replace_is_refused_before_the_work() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("real")).unwrap();
        std::os::unix::fs::symlink(parent.path().join("real"), parent.path().join("link")).unwrap();
        std::os::unix::fs::symlink(parent.path().join("nowhere"), parent.path().join("dangling")).unwrap();
        for target in [parent.path().join("link"), parent.path().join("dangling"), parent.path().join("real/.."), ".".into()] {
            let error = Staging::create(&target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        }
        assert_eq!(entries(parent.path()).len(), 3);
        assert!(entries(&parent.path().join("real")).is_empty());
    }
}
