//! The one integration binary: a folder of modules, one harness, one throw-away server.

mod support;

mod cli;
mod conformance;
mod console;
mod documents;
mod generate;
mod harness;
mod invariance;
mod properties;
mod schema;
mod source;
mod steps;
mod tidy;
