//! Many commands, a few at a time: `cargo run --example run_many -- [--jobs N] [COMMAND...]`.
//!
//! (Without the `--` before it, `--jobs` is one of cargo's.)
//!
//! What a command prints is shown when it has ended, and a line on standard error tells how far everything is. It ends
//! with exit code 0 if every command does, else with 1. Ctrl-C ends the commands that run.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use tidegate::CommunicateError;
use tidegate::prelude::*;

/// The most that a command may print.
const MOST_OUTPUT: usize = 1024 * 1024;

/// Runs shell commands, a few at a time.
#[derive(Parser)]
struct Arguments {
    /// How many commands run at a time.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// The commands; 200 of its own if there are none.
    #[arg(value_name = "COMMAND")]
    commands: Vec<String>,
}

fn main() -> io::Result<ExitCode> {
    let Arguments { jobs, mut commands } = Arguments::parse();
    if commands.is_empty() {
        commands = (1..=200).map(|number| format!("echo command {number}")).collect();
    }
    tidegate::run(async {
        let work = Rc::new(RefCell::new(Work::new(commands)));
        let workers = (0..jobs).map(|_| spawn(worker(Rc::clone(&work))));
        for worker in workers.collect::<Result<Vec<_>, _>>()? {
            worker.await??;
        }
        let work = work.borrow();
        work.show_end();
        Ok(if work.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Runs one command after another, as long as there are any.
async fn worker(work: Rc<RefCell<Work>>) -> io::Result<()> {
    loop {
        // A name of its own, so that nothing is borrowed while the command runs.
        let command = work.borrow_mut().begin();
        let Some(command) = command else { return Ok(()) };
        let outcome = run(&command).await?;
        work.borrow_mut().finish(command, outcome);
    }
}

/// What became of a command, and what it has printed.
struct Outcome {
    failure: Option<String>,
    printed: Vec<u8>,
}

async fn run(command: &str) -> io::Result<Outcome> {
    // Should this be given up, by Ctrl-C say, the command ends too.
    let child = create_subprocess_shell(command).kill_on_drop(true);
    let child = child.stdin(Stdio::Null).stdout(Stdio::Pipe).stderr(Stdio::Stdout);
    let mut process = child.await?;
    let (failure, printed) = match process.communicate("").limit(MOST_OUTPUT).await {
        Ok(output) => {
            let failed = !output.status.success();
            (failed.then(|| output.status.to_string()), output.stdout)
        }
        // It would go on printing; this drops it, which kills it.
        Err(CommunicateError::TooLong { limit, .. }) => {
            (Some(format!("killed: it printed more than {limit} bytes")), None)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Outcome { failure, printed: printed.unwrap_or_default().to_vec() })
}

/// What is to be done, and what has been.
struct Work {
    commands: std::vec::IntoIter<String>,
    all: usize,
    running: usize,
    most_running: usize,
    ended: usize,
    failed: Vec<String>,
}

impl Work {
    fn new(commands: Vec<String>) -> Work {
        let all = commands.len();
        let commands = commands.into_iter();
        Work { commands, all, running: 0, most_running: 0, ended: 0, failed: Vec::new() }
    }

    fn begin(&mut self) -> Option<String> {
        let command = self.commands.next()?;
        self.running += 1;
        self.most_running = self.most_running.max(self.running);
        Some(command)
    }

    fn finish(&mut self, command: String, outcome: Outcome) {
        self.running -= 1;
        self.ended += 1;
        // Whoever has closed our output does not want it.
        let _ = io::stdout().write_all(&outcome.printed);
        self.failed.extend(outcome.failure.map(|failure| format!("{command}: {failure}")));
        // Only a terminal can write a line anew.
        if io::stderr().is_terminal() {
            eprint!("\r{} of {} have ended, {} run ", self.ended, self.all, self.running);
        }
    }

    fn show_end(&self) {
        if io::stderr().is_terminal() {
            eprintln!();
        }
        for failure in &self.failed {
            eprintln!("{failure}");
        }
        eprintln!(
            "{} commands, at most {} at a time, {} failed",
            self.ended,
            self.most_running,
            self.failed.len()
        );
    }
}
