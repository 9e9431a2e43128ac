//! Manifests: JSON of a named format and a numbered version. One reader for all kinds; what each has in it is its own affair.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::seal::{is_intact, seal};

/// A kind of manifest.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub name: &'static str,
    /// The version that this recount writes; it reads this one and all before it.
    pub newest: u64,
    /// Whether its last field is its own hash.
    pub is_sealed: bool,
}

/// Why a manifest is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// What is wrong, in words that follow the name of the file.
    Damaged(String),
    /// It has this version, which only a newer recount knows.
    Newer(u64),
}

/// What is looked at first; all else may be of a format that is not known.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(default)]
    format: Json,
    #[serde(default)]
    version: Json,
}

impl Format {
    /// Reads a manifest of this format.
    pub fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Fault> {
        let damaged = |detail: String| Err(Fault::Damaged(detail));
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => return damaged(format!("is not text: {e}")),
        };
        let head: Head = match serde_json::from_str(text) {
            Ok(head) => head,
            Err(e) => return damaged(format!("is not JSON with a format and a version: {e}")),
        };
        if head.format.as_str() != Some(self.name) {
            return damaged(format!("is not of a {}", self.name));
        }
        match head.version.as_u64() {
            Some(version) if (1..=self.newest).contains(&version) => {}
            Some(newer) if newer > self.newest => return Err(Fault::Newer(newer)),
            _ => return damaged("has no format version that was ever written".to_owned()),
        }
        if self.is_sealed && !is_intact(text) {
            return damaged("does not match its own hash: it was edited or damaged".to_owned());
        }
        serde_json::from_str(text).or_else(|e| damaged(format!("does not have its fields: {e}")))
    }

    /// The text of a manifest, sealed where the format says so.
    pub fn text<T: Serialize>(&self, manifest: &T) -> String {
        let text = serde_json::to_string_pretty(manifest).expect("plain data") + "\n";
        if self.is_sealed { seal(&text) } else { text }
    }
}
