//! The project's own tasks, one file each; `cargo xtask` runs them and the house tests read their rules.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod bench;
pub mod ci;
pub mod crates;
pub mod interop;
pub mod layers;
pub mod mutants;
pub mod programs;
pub mod semantics;
pub mod shell;
pub mod stress;
pub mod test;
pub mod workspace;
