//! The same snapshot, the same bytes.

use crate::support::recount;

use super::{files, sample};

/// BLAKE3 over the names and contents of the files of an archive of `data/sample`. It changes with the sample, with what a
/// rollup means, or with how files are written; the last needs a reason, since every archive is then written anew.
const SAMPLE: &str = "a3b64d294bd6a2d5985f94ae2e49940d3f272c6771dd5093ba781b1553445915";

fn digest(dest: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in files(dest).into_iter().filter(|(name, _)| !name.starts_with('_')) {
        hasher.update(name.as_bytes()).update(&(content.len() as u64).to_le_bytes()).update(&content);
    }
    hasher.finalize().to_hex().to_string()
}

#[test]
fn the_bytes_are_the_same_whatever_the_threads_and_are_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for threads in ["1", "2", "3", "8"] {
        let dest = folder.path().join(threads).to_str().unwrap().to_owned();
        recount(["archive", &sample(), "--to", &dest, "--threads", threads]).run().succeeds();
        all.push(files(&dest));
        assert_eq!(digest(&dest), SAMPLE, "with {threads} threads");
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "manifests too");
}
