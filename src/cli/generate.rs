//! `recount generate`: make a plausible validator to try things on.

use crate::error::Result;
use crate::model::job::Watch;

use super::args::Generate;

pub fn run(generate: &Generate, watch: &dyn Watch) -> Result<()> {
    todo!("pipeline: generate {generate:?} {}", watch.check().is_ok())
}
