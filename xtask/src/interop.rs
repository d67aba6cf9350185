//! The task that lets our TLS talk to other people's programs, and tells of each case how it went.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::arguments::InteropOptions;
use crate::programs;
use crate::shell::{self, Failure};

/// Has each case write a line about itself to the standard error.
const LINES: &str = "TIDEGATE_INTEROP_LINES";

/// The programs that are talked to, and how each tells its version.
const PEERS: [(&str, &str); 3] =
    [("openssl", "version"), ("curl", "--version"), ("python3", "--version")];

/// Runs `cargo xtask interop`.
///
/// # Errors
///
/// If the tests do not compile, no case fits the filters, or one fails; what it has said is shown.
pub fn run(options: &InteropOptions) -> Result<(), Failure> {
    let words = ["test", "--package", "tidegate-tests", "--test", "interop"];
    let mut build = shell::cargo(words);
    let mut cases = shell::cargo(words);
    for command in [&mut build, &mut cases] {
        command.arg("--quiet");
        if options.portable {
            shell::portable(command);
        }
    }
    shell::show(build.arg("--no-run"))?;
    for (program, word) in PEERS {
        match version(program, word) {
            Some(version) => println!("{program}: {version}"),
            None => println!("skipped: the cases of {program}, which is not installed"),
        }
    }
    println!();
    let start = Instant::now();
    let tally = tell(cases.arg("--").args(&options.filters))?;
    if tally.cases() == 0 {
        let filters = options.filters.join(" or ");
        return Err(Failure::new(format!("no case has a name that contains {filters}")));
    }
    println!(
        "\n{} ok, {} failed, {} skipped, in {:.0?}.",
        tally.ok,
        tally.failed,
        tally.skipped,
        start.elapsed()
    );
    match tally.failed {
        0 => Ok(()),
        failed => Err(Failure::new(format!("cases that failed: {failed}"))),
    }
}

/// The first line of what a program tells of itself.
fn version(program: &str, word: &str) -> Option<String> {
    if !programs::is_installed(program) {
        return None;
    }
    let told = shell::read(Command::new(program).arg(word)).ok()?;
    told.lines().next().map(str::to_owned)
}

/// How many cases have ended how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    ok: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn cases(&self) -> usize {
        self.ok + self.failed + self.skipped
    }

    /// Counts what the line of a case says; other lines count for nothing.
    fn count(&mut self, line: &str) {
        let Some((_, outcome)) = line.rsplit_once(" s  ") else {
            return;
        };
        if outcome == "ok" {
            self.ok += 1;
        } else if outcome == "failed" {
            self.failed += 1;
        } else if outcome.starts_with("skipped: ") {
            self.skipped += 1;
        }
    }
}

/// Runs the cases, shows each line as it comes, and what failing ones have said at the end.
fn tell(command: &mut Command) -> Result<Tally, Failure> {
    let mut tests = command
        .env(LINES, "yes")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| shell::not_started(command, &error))?;
    let mut said = tests.stdout.take().expect("it is piped");
    let lines = tests.stderr.take().expect("it is piped");
    let said = thread::spawn(move || {
        let mut text = Vec::new();
        // What could not be read is missing from what is shown, and nothing else.
        let _ = said.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut tally = Tally::default();
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        println!("{line}");
        tally.count(&line);
    }
    let status = tests.wait().map_err(|error| shell::not_started(command, &error))?;
    let said = said.join().unwrap_or_default();
    if status.success() {
        return Ok(tally);
    }
    let failures = said.find("\nfailures:").map_or(said.as_str(), |place| &said[place..]);
    println!("{}", failures.trim_end());
    if tally.failed > 0 {
        return Ok(tally);
    }
    Err(Failure::new(format!("`{}` failed ({status})", shell::spoken(command))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_cases_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "curl              TLSv1.2  shakes hands   0.20 s  ok",
            "curl              TLSv1.3  shakes hands  12.20 s  failed",
            "openssl s_client  TLSv1.3  is killed      0.00 s  skipped: openssl is not installed",
            "error: test failed, to rerun pass `--test interop`",
            "",
        ] {
            tally.count(line);
        }
        assert_eq!(tally, Tally { ok: 1, failed: 1, skipped: 1 });
        assert_eq!(tally.cases(), 3);
    }
}
