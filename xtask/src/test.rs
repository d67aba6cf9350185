//! The task that runs every test: of units, of the house, over real sockets, in the documentation.

use std::time::Instant;

use crate::arguments::TestOptions;
use crate::programs;
use crate::shell::{self, Failure};

/// Runs `cargo xtask test`.
///
/// # Errors
///
/// If something does not compile or a test fails; cargo has said which.
pub fn run(options: &TestOptions) -> Result<(), Failure> {
    let mut command = shell::cargo(["test", "--workspace"]);
    if options.portable {
        shell::portable(&mut command);
    }
    if options.filters.is_empty() {
        println!("Running every test of the workspace; the examples are built on the way.");
    } else {
        println!("Running the tests whose name contains {}.", options.filters.join(" or "));
        command.arg("--").args(&options.filters);
    }
    programs::report_missing();
    println!("$ {}", shell::spoken(&command));
    let start = Instant::now();
    shell::show(&mut command)?;
    println!("All of them passed, in {:.0?}.", start.elapsed());
    Ok(())
}
