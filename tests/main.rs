//! The one integration binary: a folder of modules, one harness, one throw-away server.

mod support;

mod generate;
mod harness;
mod schema;
mod steps;
