//! How servers are reached: encryption as libpq has it, login, poolers, and servers that are silent or hostile.

mod encodings;
mod endless;
mod hostile;
pub mod interrupts;
pub mod pooler;
mod tls;
