//! The door of `cargo xtask`: reads the command line and calls the task it names.

use std::process::ExitCode;

use clap::Parser;
use xtask::arguments::{Arguments, Task};
use xtask::{bench, ci, crates, interop, layers, mutants, semantics, stress, test};

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Ci(options) => ci::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Semantics(options) => semantics::run(&options),
        Task::Layers => layers::run(),
        Task::Crates => crates::run(),
        Task::Mutants(options) => mutants::run(&options),
        Task::Stress(options) => stress::run(&options),
        Task::Interop(options) => interop::run(&options),
        Task::Bench => bench::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
