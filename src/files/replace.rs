//! One file that is there whole or not at all: written beside its name, then renamed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Context, ErrorKind, Result};

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
