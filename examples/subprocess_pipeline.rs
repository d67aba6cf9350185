//! `seq | sort | head` by hand, with back-pressure: `cargo run --example subprocess_pipeline -- [LINES]`.
//!
//! Each child's output is carried to the next one's input. A child that does not keep up makes the one before it wait,
//! and one that has seen enough, as `head` has, ends the ones before it. So no more than a few hundred KiB are ever in
//! this program, however many lines there are. (Where nobody needs to look at what flows, hand the end of a pipe to a
//! child as its standard stream, and the system does all of this.)

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::told;

/// Sorts numbers downwards and shows the first five.
#[derive(Parser)]
struct Arguments {
    /// How many numbers.
    #[arg(default_value = "200000")]
    lines: u32,
}

fn main() -> ExitCode {
    let Arguments { lines } = Arguments::parse();
    told(tidegate::run(async {
        let producer = create_subprocess_exec("seq").arg(lines.to_string()).stdout(Stdio::Pipe);
        let sorter = create_subprocess_exec("sort").args(["-n", "-r"]).env("LC_ALL", "C");
        let sorter = sorter.stdin(Stdio::Pipe).stdout(Stdio::Pipe);
        // What it prints comes out where this program's own output does.
        let consumer = create_subprocess_exec("head").args(["-n", "5"]).stdin(Stdio::Pipe);

        // Should this go wrong half-way, no child is left running.
        let mut producer = producer.kill_on_drop(true).await?;
        let mut sorter = sorter.kill_on_drop(true).await?;
        let mut consumer = consumer.kill_on_drop(true).await?;

        let first = spawn(carry(producer.stdout.take(), sorter.stdin.take()))?;
        let second = spawn(carry(sorter.stdout.take(), consumer.stdin.take()))?;
        let (sorted, shown) = (first.await??, second.await??);

        let children = [("seq", &producer), ("sort", &sorter), ("head", &consumer)];
        for (name, process) in children {
            process.wait().await;
            // The negative number of a signal, if it died of one: -13 is SIGPIPE.
            eprintln!("{name} ended with {}", process.returncode().unwrap_or_default());
        }
        eprintln!("{sorted} bytes were sorted, {shown} went on to head");
        Ok(())
    }))
}

/// Carries one child's output to another one's input, and answers how many bytes that was.
async fn carry(from: Option<StreamReader>, to: Option<StreamWriter>) -> io::Result<usize> {
    let (mut from, to) = from.zip(to).expect("both are piped");
    let mut carried = 0;
    while let Some(chunk) = from.read_chunk().await? {
        carried += chunk.len();
        to.write_bytes(chunk);
        // While this waits nothing is read, so the child before has to wait as well.
        match to.drain().await {
            // The one behind has seen enough. Dropping the reader tells the one before.
            Err(error) if is_gone(&error) => return Ok(carried),
            drained => drained?,
        }
    }
    match to.close().await {
        Err(error) if is_gone(&error) => Ok(carried),
        closed => closed.map(|()| carried),
    }
}

/// Whether the error says that nobody reads any more: while something waited for the reader, or nothing did.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
