//! What single operations of the loop cost: `micro TEST`, which prints one line of JSON.
//!
//! The tests are those of the programs for other runtimes, with the same counts and the same meaning.

mod children;
mod tests;

use std::io;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use rustix::time::{ClockId, clock_gettime};

/// Measures one operation of the loop and prints a line of JSON.
#[derive(Parser)]
#[command(name = "micro")]
struct Arguments {
    /// One of: spawn_await, spawn_batch, yield, call_soon, timer_cancel, timer_fire, cross_wake,
    /// shared_writer, shared_writer_flushed, subprocess, subprocess_8, pipe, pipe_both.
    test: String,
}

fn main() -> io::Result<()> {
    let Arguments { test } = Arguments::parse();
    let (started, processor_time) = (Instant::now(), processor_time());
    let Some(ended) = tests::run(&test) else {
        let refusal = format!("there is no test {test}");
        Arguments::command().error(ErrorKind::InvalidValue, refusal).exit();
    };
    let count = ended?;
    println!(
        r#"{{"runtime":"tidegate","test":"{test}","n":{count},"wall_s":{:.6},"cpu_s":{:.6}}}"#,
        started.elapsed().as_secs_f64(),
        (self::processor_time() - processor_time).as_secs_f64(),
    );
    Ok(())
}

/// The time that all threads of this process have computed so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("this clock starts at zero")
}
