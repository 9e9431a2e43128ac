//! The ground floor for files: how they are written, sealed, hashed and read, whatever stage they belong to.

pub mod bounds;
pub mod decode;
pub mod hash;
pub mod hashed;
pub mod manifest;
pub mod parquet;
pub mod path;
pub mod seal;
pub mod staging;
