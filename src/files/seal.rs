//! A text that carries the BLAKE3 hash of itself as its last field, so that any changed byte is found.

/// What stands for the hash while that is computed.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const KEY: &str = "\"manifest_blake3\": \"";

/// Puts the hash of the text in the place of the [`NO_HASH`] in its last field, `manifest_blake3`.
pub fn seal(text: &str) -> String {
    let at = hash_at(text).expect("invariant: the hash is the last field");
    let hash = blake3::hash(text.as_bytes()).to_hex();
    [&text[..at], hash.as_str(), &text[at + NO_HASH.len()..]].concat()
}

/// Whether the text is as it was sealed.
pub fn is_intact(text: &str) -> bool {
    let Some(at) = hash_at(text) else { return false };
    let (Some(stated), Some(rest)) = (text.get(at..at + NO_HASH.len()), text.get(at + NO_HASH.len()..)) else { return false };
    let mut hasher = blake3::Hasher::new();
    for part in [&text[..at], NO_HASH, rest] {
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().as_str() == stated
}

fn hash_at(text: &str) -> Option<usize> {
    text.rfind(KEY).map(|at| at + KEY.len())
}
