//! Everything that a change has to pass, in order, from the quickest check to the slowest.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cargo_metadata::Metadata;

use crate::arguments::CiOptions;
use crate::shell::{self, Failure};
use crate::{crates, layers, programs, semantics, workspace};

/// Systems that we compile for without testing there.
const FOREIGN: [&str; 2] = ["x86_64-apple-darwin", "x86_64-unknown-freebsd"];

/// What is switched on for the facade, each by itself; the other steps have everything.
const FEATURES: [&str; 6] = ["", "unix", "datagram", "tls", "tls-ring", "subprocess"];

/// How many lines of a failing step are shown; the log has them all.
const SHOWN_LINES: usize = 200;

/// Runs `cargo xtask ci`.
///
/// # Errors
///
/// At the first step that fails; the text says which command to run again.
pub fn run(options: &CiOptions) -> Result<(), Failure> {
    let metadata = workspace::metadata()?;
    let logs = metadata.target_directory.join("ci");
    fs::create_dir_all(&logs)
        .map_err(|error| Failure::new(format!("{logs} cannot be made: {error}")))?;
    programs::report_missing();
    let start = Instant::now();
    let steps = steps(&metadata);
    let count = steps.len();
    let mut passed = Vec::new();
    for (number, step) in (1..).zip(steps) {
        print!("{number:>2}/{count} {:<36} ", step.name);
        // The name shows at once; a terminal that cannot show it is no reason to stop.
        let _ = std::io::stdout().flush();
        let step_start = Instant::now();
        let log = logs.join(format!("{number:02}.log")).into();
        let note = match step.act {
            Act::Look(look) => look().map_err(|failure| again(step.again, &failure)),
            Act::Say(note) => Ok(note),
            Act::Call(mut command) => {
                // Nothing is compiled twice here with a change between: what that needs only fills the disk.
                command.env("CARGO_INCREMENTAL", "0");
                call(command, log, options.verbose)
            }
        };
        let time = Time(step_start.elapsed());
        match note {
            Ok(note) => println!("{time:>7}  {note}"),
            Err(failure) => {
                println!("{time:>7}  failed");
                return Err(failure);
            }
        }
        passed.push((step.name, time));
    }
    println!("\nAll {count} steps passed in {}.", Time(start.elapsed()));
    passed.sort_by_key(|(_, time)| std::cmp::Reverse(time.0));
    let slowest: Vec<String> =
        passed.iter().take(3).map(|(name, time)| format!("{name} {time}")).collect();
    println!("The slowest: {}.", slowest.join(", "));
    Ok(())
}

/// One thing to check.
struct Step {
    name: String,
    act: Act,
    /// The command that runs this check alone.
    again: &'static str,
}

/// How a step is done.
enum Act {
    /// By a task of ours, which answers with a note.
    Look(fn() -> Result<String, Failure>),
    /// By a program, whose output goes to a log.
    Call(Command),
    /// Not at all, for this reason.
    Say(String),
}

impl Step {
    fn call(name: &str, command: Command) -> Step {
        Step { name: name.to_owned(), act: Act::Call(command), again: "" }
    }

    fn look(name: &str, again: &'static str, look: fn() -> Result<String, Failure>) -> Step {
        Step { name: name.to_owned(), act: Act::Look(look), again }
    }
}

fn steps(metadata: &Metadata) -> Vec<Step> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let mut docs = shell::cargo(["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let mut portable = shell::cargo(["test", "--workspace"]);
    shell::portable(&mut portable);
    let mut steps = vec![
        Step::call("format", shell::cargo(["fmt", "--all", "--check"])),
        Step::look("layers", "cargo xtask layers", layers::check),
        Step::look("crates", "cargo xtask crates", crates::check),
        Step::look("semantics", "cargo xtask semantics --deny", semantics::check),
        Step::call("lints", shell::cargo(clippy)),
        Step::call("docs", docs),
    ];
    steps.extend(FEATURES.map(features));
    steps.extend(FOREIGN.map(|target| foreign(metadata, target)));
    steps.push(Step::call("tests", shell::cargo(["test", "--workspace"])));
    steps.push(Step::call("tests, portable", portable));
    steps
}

/// The check that the facade compiles with these features alone.
fn features(names: &'static str) -> Step {
    let lints = ["clippy", "--package", "tidegate", "--no-default-features", "--features", names];
    let mut command = shell::cargo(lints);
    command.args(["--", "-D", "warnings"]);
    let name = if names.is_empty() { "no features".to_owned() } else { format!("feature {names}") };
    Step::call(&name, command)
}

/// The check that our crates and their tests compile for another system, if its standard library is installed.
fn foreign(metadata: &Metadata, target: &str) -> Step {
    let installed = shell::read(Command::new("rustup").args(["target", "list", "--installed"]))
        .is_ok_and(|list| list.lines().any(|line| line == target));
    if !installed {
        return Step {
            name: target.to_owned(),
            act: Act::Say("not checked: target not installed".to_owned()),
            again: "",
        };
    }
    let mut command = shell::cargo(["check", "--tests", "--target", target]);
    let house = workspace::root().join("crates");
    for package in &metadata.packages {
        // The cryptography of TLS is C, and would need a compiler for that system as well.
        if package.manifest_path.starts_with(&house) && package.name != "tidegate-tls" {
            command.args(["-p", package.name.as_str()]);
        }
    }
    Step::call(target, command)
}

/// Calls the program of a step and keeps its output in `log`; answers with what the tests counted.
fn call(mut command: Command, log: PathBuf, verbose: bool) -> Result<String, Failure> {
    if verbose {
        println!("\n$ {}", shell::spoken(&command));
        return shell::show(&mut command)
            .map(|()| String::new())
            .map_err(|failure| again(&shell::spoken(&command), &failure));
    }
    let unwritable = |error: std::io::Error| {
        Failure::new(format!("{} cannot be written: {error}", log.display()))
    };
    let file = File::create(&log).map_err(unwritable)?;
    let twin = file.try_clone().map_err(unwritable)?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(twin)
        .status()
        .map_err(|error| shell::not_started(&command, &error))?;
    let output = fs::read(&log).unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    if status.success() {
        return Ok(counted(&output));
    }
    Err(again(
        &shell::spoken(&command),
        &Failure::new(format!("the step failed ({status}):\n{}", end_of(&output, &log))),
    ))
}

fn again(command: &str, failure: &Failure) -> Failure {
    Failure::new(format!("{failure}\nTo run this step again: {command}"))
}

/// The last lines of a log, with a word about those before.
fn end_of(output: &str, log: &Path) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let first = lines.len().saturating_sub(SHOWN_LINES);
    let mut text = String::new();
    if first > 0 {
        text.push_str(&format!("({first} lines before these in {})\n", log.display()));
    }
    for line in &lines[first..] {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// How many tests passed, if the output is that of tests.
fn counted(output: &str) -> String {
    let passed: usize = output
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .filter_map(|line| line.split(' ').next()?.parse::<usize>().ok())
        .sum();
    match passed {
        0 => "ok".to_owned(),
        passed => format!("{passed} passed"),
    }
}

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 20 s`.
struct Time(Duration);

impl std::fmt::Display for Time {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0..10 => format!("{:.1} s", self.0.as_secs_f64()),
            10..120 => format!("{seconds} s"),
            _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
        };
        formatter.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        for (millis, expected) in [(440, "0.4 s"), (12_900, "12 s"), (200_000, "3 min 20 s")] {
            assert_eq!(Time(Duration::from_millis(millis)).to_string(), expected);
        }
    }

    #[test]
    fn the_tests_of_all_binaries_are_counted() {
        let output = "running\ntest result: ok. 3 passed; 0 failed;\nx\ntest result: ok. 40 passed; 0 failed;\n";
        assert_eq!(counted(output), "43 passed");
        assert_eq!(counted("Finished"), "ok");
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let output: String = (1..=SHOWN_LINES + 5).map(|n| format!("line {n}\n")).collect();
        let text = end_of(&output, Path::new("a.log"));
        assert!(text.starts_with("(5 lines before these in a.log)\nline 6\n"));
    }

    #[test]
    fn a_failing_step_says_how_to_run_it_again() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken; exit 1"]);
        let log = std::env::temp_dir().join(format!("tidegate-ci-{}.log", std::process::id()));
        let failure = call(command, log.clone(), false).expect_err("it fails").to_string();
        // A log that cannot be removed does not matter to what is tested.
        let _ = fs::remove_file(log);
        assert!(failure.contains("broken"), "{failure}");
        assert!(
            failure.ends_with("To run this step again: sh -c 'echo broken; exit 1'"),
            "{failure}"
        );
    }
}
