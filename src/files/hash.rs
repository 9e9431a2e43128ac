//! BLAKE3 of whole files, with all threads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

/// BLAKE3 of the first bytes of a file, read and hashed with all threads, which never wait for one another: each takes subtrees of
/// the hash, through a buffer that stays in its cache.
pub fn of_file(file: &File, bytes: u64) -> io::Result<blake3::Hash> {
    if bytes <= SUBTREE_BYTES {
        return Ok(hash_part(file, 0, bytes)?.finalize());
    }
    let (left, right) = halves(file, 0, bytes)?;
    Ok(merge_subtrees_root(&left, &right, Mode::Hash))
}

/// What a thread hashes by itself: enough that sharing out costs nothing beside it.
const SUBTREE_BYTES: u64 = 1 << 20;
const READ_BYTES: usize = 1 << 17;

fn subtree(file: &File, at: u64, bytes: u64) -> io::Result<ChainingValue> {
    if bytes <= SUBTREE_BYTES {
        return Ok(hash_part(file, at, bytes)?.finalize_non_root());
    }
    let (left, right) = halves(file, at, bytes)?;
    Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn halves(file: &File, at: u64, bytes: u64) -> io::Result<(ChainingValue, ChainingValue)> {
    let left = left_subtree_len(bytes);
    let (left, right) = rayon::join(|| subtree(file, at, left), || subtree(file, at + left, bytes - left));
    Ok((left?, right?))
}

fn hash_part(file: &File, at: u64, bytes: u64) -> io::Result<blake3::Hasher> {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), [0; READ_BYTES]);
    hasher.set_input_offset(at);
    for done in (0..bytes).step_by(READ_BYTES) {
        let part = &mut buffer[..READ_BYTES.min((bytes - done) as usize)];
        file.read_exact_at(part, at + done)?;
        hasher.update(part);
    }
    Ok(hasher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_hashes_to_the_hash_of_its_bytes() {
        for length in [0, 1, (1 << 20) + 1, (9 << 20) + 5] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            assert_eq!(of_file(file.as_file(), length as u64).unwrap(), blake3::hash(&bytes));
            assert!(of_file(file.as_file(), length as u64 + 1).is_err());
        }
    }
}
