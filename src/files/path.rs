//! Paths that a file names, and the files behind them. What a manifest says is no more to be trusted than any other input: a
//! path must be relative and of plain parts, must stay below its place, and must not lead through a symbolic link. The place
//! itself is the user's choice and may be a link.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of a manifest or another small file; a year of nights has a few megabytes.
pub const SMALL_BYTES: u64 = 256 << 20;
const PATH_BYTES: usize = 1024;

/// Whether a path has only parts of ASCII letters, digits, `.`, `_`, `-` and `=`, and none of them leads up.
pub fn is_plain(path: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'=');
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(known);
    path.len() <= PATH_BYTES && path.split('/').all(plain)
}

/// Where a path leads below `root`. Nothing needs to be there.
///
/// # Errors
///
/// `InvalidInput` where the path is not plain or a part of it is a symbolic link: see [`is_refusal`].
pub fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    if !is_plain(path) {
        return Err(refusal("is not a path below its place"));
    }
    let mut at = root.to_owned();
    for part in path.split('/') {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_symlink() => return Err(refusal("leads through a symbolic link")),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            Err(e) => return Err(e),
        }
    }
    Ok(root.join(path))
}

/// Opens a file below `root` and gives its size. A pipe, a socket or a device is refused before it is opened.
pub fn open(root: &Path, path: &str, bytes_max: u64) -> io::Result<(File, u64)> {
    let place = below(root, path)?;
    open_regular(&place, bytes_max)
}

/// The whole content of a file below `root`.
pub fn read(root: &Path, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    whole(open(root, path, bytes_max)?, bytes_max)
}

/// The whole content of a file that the user names.
pub fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    whole(open_regular(path, bytes_max)?, bytes_max)
}

fn whole((file, bytes): (File, u64), bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(bytes as usize);
    file.take(bytes_max).read_to_end(&mut content)?;
    Ok(content)
}

fn open_regular(path: &Path, bytes_max: u64) -> io::Result<(File, u64)> {
    // To open a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(refusal("is not a regular file"));
    }
    let file = File::open(path)?;
    let found = file.metadata()?;
    match found.len() {
        _ if !found.is_file() => Err(refusal("is not a regular file")),
        bytes if bytes > bytes_max => Err(refusal(&format!("has {bytes} bytes, more than the {bytes_max} it may have"))),
        bytes => Ok((file, bytes)),
    }
}

fn refusal(detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, detail)
}

/// Whether a file was refused for what it is or where its path leads, and not because the system could not read it.
pub fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Whether a text is a BLAKE3 hash in hexadecimal digits.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_plain_paths_are_followed() {
        for path in ["a", "_latest.json", "scores/init_date=2025-01-01/part-0-00ff.parquet"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a b", "a\nb", "a\0b", "ä", "~", "C:a"]
        {
            assert!(!is_plain(path), "{path:?}");
            assert!(is_refusal(&below(Path::new("."), path).unwrap_err()), "{path:?}");
        }
        assert!(!is_plain(&"a".repeat(PATH_BYTES + 1)));
    }

    #[test]
    fn no_symbolic_link_is_followed_below_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let (place, outside) = (folder.path().join("place"), folder.path().join("outside"));
        fs::create_dir(&place).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("a"), "1").unwrap();
        fs::write(place.join("b"), "2").unwrap();
        symlink(&outside, place.join("folder")).unwrap();
        symlink(outside.join("a"), place.join("a")).unwrap();
        symlink(folder.path().join("nowhere"), place.join("c")).unwrap();
        for path in ["folder/a", "folder", "a", "c", "folder/new"] {
            assert!(is_refusal(&read(&place, path, 9).unwrap_err()), "{path}");
        }
        assert_eq!(read(&place, "b", 9).unwrap(), b"2");
        assert_eq!(read(&place, "missing/b", 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        // The place itself may be a link.
        symlink(&place, folder.path().join("link")).unwrap();
        assert_eq!(read(&folder.path().join("link"), "b", 9).unwrap(), b"2");
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
        fs::write(folder.path().join("large"), "12345").unwrap();
        for path in ["folder", "socket", "large"] {
            assert!(is_refusal(&read(folder.path(), path, 4).unwrap_err()), "{path}");
        }
        assert!(is_refusal(&read(Path::new("/dev"), "zero", 4).unwrap_err()));
        assert_eq!(read(folder.path(), "large", 5).unwrap(), b"12345");
    }
}
