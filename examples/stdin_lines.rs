//! Lines of standard input are answered on standard output, while a clock goes on and signals are heeded:
//! `cargo run --example stdin_lines`.
//!
//! Type lines; Ctrl-D, Ctrl-C or a SIGTERM ends it in good order. It does the same with a file or in a pipeline, as in
//! `ls | cargo run --example stdin_lines | cat`, and leaves the terminal and whatever it shares with others as they were.

use std::io;

use futures_lite::future;
use tidegate::Signal;
use tidegate::prelude::*;
use tidegate_examples::no_arguments;

fn main() -> io::Result<()> {
    no_arguments("Answers the lines of standard input");
    tidegate::run(async {
        let stdout = open_stdout().await?;

        // Whatever ends first ends both. Standard input is left as it was found.
        let asked_to_end = future::or(received(Signal::SIGINT), received(Signal::SIGTERM));
        let why = match future::or(answer(&stdout), asked_to_end).await {
            // Whoever read what we write has seen enough, as `head` does.
            Err(error) if stdout.is_closing() && is_gone(&error) => return Ok(()),
            ended => ended?,
        };
        stdout.write(format!("that was all: {why}\n").as_bytes());

        // A reader that is slower than we are may not have taken it all. What waits would be lost with the program.
        stdout.close().await
    })
}

/// Answers line by line, for as long as there are any.
async fn answer(stdout: &StreamWriter) -> io::Result<String> {
    let mut stdin = open_stdin().await?;
    let started = LoopHandle::current()?.time();
    let mut lines = 0;
    loop {
        let line = stdin.readline().await?;
        if line.is_empty() {
            return Ok(format!("the end of the input, after {lines} lines"));
        }
        lines += 1;
        let length = String::from_utf8_lossy(&line).trim_end_matches('\n').chars().count();
        let seconds = (LoopHandle::current()?.time() - started).as_secs();
        stdout.write(format!("line {lines}, after {seconds} s: {length} characters\n").as_bytes());
        // Does not wait unless more than 64 KiB have not been taken.
        stdout.drain().await?;
    }
}

/// Whether the error says that nobody reads any more: while something waited for the reader, or nothing did.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Waits for a signal.
async fn received(signal: Signal) -> io::Result<String> {
    let (promise, came) = create_future();
    LoopHandle::current()?.add_signal_handler(signal, move || {
        // It is refused if the task was told before, or has been dropped meanwhile.
        let _ = promise.set_result(signal);
    })?;
    Ok(came.await?.to_string())
}
