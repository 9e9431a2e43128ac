//! Where results go.

pub mod archive;
pub mod correct;
pub mod folder;
pub mod tables;
