//! Where results go.

pub mod tables;
