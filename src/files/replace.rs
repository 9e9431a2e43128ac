//! One file that is there whole or not at all: written beside its name, then renamed; or made anew, and never over another.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Context, Error, ErrorKind, Result};

/// Puts a text into the place of a file, whether there was one or not. Others may read it, as far as the user's mask lets them. What is
/// not finished has the ending `.partial`, so that nobody who looks for files by their ending takes it up.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let doing = || format!("writing {}", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut builder = tempfile::Builder::new();
    let prefix = format!(".{name}.");
    builder.prefix(&prefix).suffix(".partial").permissions(fs::Permissions::from_mode(0o666));
    let mut file = builder.tempfile_in(super::folder_of(path)).doing(ErrorKind::Io, doing)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).doing(ErrorKind::Io, doing)?;
    file.persist(path).map_err(|failed| failed.error).doing(ErrorKind::Io, doing)?;
    Ok(())
}

/// Writes a file that must not be there yet, with these permissions from its first byte on.
pub fn create(path: &Path, text: &str, mode: u32) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => Error::new(ErrorKind::Io, format!("writing {}", path.display()), &error).caused_by(error),
    })
}

/// The error for a file that is there already.
pub fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Usage, format!("writing {}", path.display()), "the file exists")
        .hint("nothing is ever written over it: name another folder, or move it away first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prom");
        for text in ["one\n", "two, and longer\n", ""] {
            replace(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444, "node exporter is another user");
        assert!(replace(&folder.path().join("no/such.prom"), "").is_err());
    }
}
