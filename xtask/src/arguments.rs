//! The command line of `cargo xtask`: its tasks and what each may be told.

use clap::{Args, Parser, Subcommand};

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Arguments {
    /// The task to run.
    #[command(subcommand)]
    pub task: Task,
}

/// What `cargo xtask` can do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run every check that a change has to pass: format, lints, all tests twice, docs, layers, crates, semantics
    Ci(CiOptions),
    /// Run every test: units, integration, documentation; the examples are built
    Test(TestOptions),
    /// List the statements of docs/semantics.md that no test cites
    Semantics(SemanticsOptions),
    /// Check that the crates depend on each other downwards only
    Layers,
    /// Count the crates that a user of the loop, the contract and the transports compiles
    Crates,
    /// Change the code at one place after another and print the changes that no test notices (needs cargo-mutants)
    Mutants(MutantsOptions),
    /// Run the test binaries many times in a row and stop at the first failure
    Stress(StressOptions),
    /// Let our TLS talk to openssl, curl and Python's asyncio, and tell of each case how it went
    Interop(InteropOptions),
    /// Say how to measure
    Bench,
}

/// What `cargo xtask ci` may be told.
#[derive(Args, Debug)]
pub struct CiOptions {
    /// Show the output of every step, not only that of a failing one
    #[arg(long, short)]
    pub verbose: bool,
}

/// What `cargo xtask test` may be told.
#[derive(Args, Debug)]
pub struct TestOptions {
    /// Only tests whose name contains one of these
    pub filters: Vec<String>,
    /// Test the portable twins instead of the Linux rooms
    #[arg(long)]
    pub portable: bool,
}

/// What `cargo xtask semantics` may be told.
#[derive(Args, Debug)]
pub struct SemanticsOptions {
    /// Only the statements of this section, "3" or "3.4"; may be given several times
    #[arg(long, value_name = "N")]
    pub section: Vec<String>,
    /// Fail if anything is listed
    #[arg(long)]
    pub deny: bool,
}

/// What `cargo xtask mutants` may be told.
#[derive(Args, Debug)]
pub struct MutantsOptions {
    /// The rooms to change, by the name of their file or folder
    #[arg(default_values = ["slot", "flow", "lifecycle", "write_buffer", "timers"])]
    pub rooms: Vec<String>,
    /// Only list the changes that would be tried
    #[arg(long)]
    pub list: bool,
    /// Test every change with all tests of the workspace, not only with those of its own crate
    #[arg(long)]
    pub all_tests: bool,
}

/// What `cargo xtask stress` may be told.
#[derive(Args, Debug)]
pub struct StressOptions {
    /// Only tests whose name contains one of these
    pub filters: Vec<String>,
    /// How many times each test binary runs
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Test the portable twins instead of the Linux rooms
    #[arg(long)]
    pub portable: bool,
}

/// What `cargo xtask interop` may be told.
#[derive(Args, Debug)]
pub struct InteropOptions {
    /// Only cases whose name contains one of these: "s_client", "asyncio", "tls12", "resumes"
    pub filters: Vec<String>,
    /// Test the portable twins instead of the Linux rooms
    #[arg(long)]
    pub portable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_rooms_and_runs_have_defaults() {
        let Task::Mutants(mutants) = parse(&["mutants"]) else {
            panic!("mutants was read as another task");
        };
        assert_eq!(mutants.rooms, ["slot", "flow", "lifecycle", "write_buffer", "timers"]);
        let Task::Stress(stress) = parse(&["stress", "wakes", "--runs", "3"]) else {
            panic!("stress was read as another task");
        };
        assert_eq!((stress.runs, stress.filters.len()), (3, 1));
    }

    #[test]
    fn no_runs_at_all_are_refused() {
        assert!(Arguments::try_parse_from(["cargo xtask", "stress", "--runs", "0"]).is_err());
    }

    fn parse(words: &[&str]) -> Task {
        let line = [&["cargo xtask"], words].concat();
        Arguments::try_parse_from(line).expect("a line that the task accepts").task
    }
}
