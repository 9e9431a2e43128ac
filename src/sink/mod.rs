//! Where results go.

pub mod correct;
pub mod folder;
pub mod tables;
