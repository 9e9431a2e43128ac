//! The one integration binary: a folder of modules, one harness, one throw-away server.

mod support;

mod archive;
mod cli;
mod conformance;
mod connections;
mod console;
mod corrections;
mod documents;
mod explain;
mod generate;
mod harness;
mod incremental;
mod invariance;
mod journey;
mod legacy;
mod living;
mod names;
mod operator;
mod ours;
mod peers;
mod phase2;
mod phase3;
mod properties;
mod rules_in_sql;
mod schema;
mod shapes;
mod show;
mod source;
mod step_log;
mod steps;
mod telling;
mod terminal;
mod tidy;
mod unproven;
mod watch;
