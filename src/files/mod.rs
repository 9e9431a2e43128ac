//! The ground floor for files: how they are written, sealed, hashed and read, whatever stage they belong to.

pub mod bounds;
pub mod decode;
pub mod hash;
pub mod hashed;
pub mod manifest;
pub mod pages;
pub mod parquet;
pub mod path;
pub mod replace;
pub mod seal;
pub mod staging;

use std::path::Path;

/// The folder that a file or folder lies in, by its name alone.
pub fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
