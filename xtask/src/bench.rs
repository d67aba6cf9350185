//! The page that says how to measure.

use crate::shell::Failure;

const PAGE: &str = "\
Measure with a release build, the server on one processor and the load on another:

  cargo build --release --package tidegate-bench
  taskset -c 0 target/release/peer --port 9000 --mode echo --api protocol

`peer` prints READY once it listens on 127.0.0.1. Its modes:

  echo      sends back what comes
  line      answers each line
  discard   reads and forgets
  stream    sends as fast as the client reads

The programs of other libraries that it is compared with speak the same command line, so that one load generator drives
them all. Run them in turn, a few seconds each, for at least 11 rounds, and compare the processor time of the server
(user and system) for a request: within a round first, then the median over the rounds.

How many system calls a round trip costs:

  strace -f -c -p \"$(pgrep -n peer)\"
";

/// Runs `cargo xtask bench`.
///
/// # Errors
///
/// None.
pub fn run() -> Result<(), Failure> {
    print!("{PAGE}");
    Ok(())
}
