//! The task that runs the test binaries many times in a row and stops at the first failure.

use std::fmt;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use cargo_metadata::Message;

use crate::arguments::StressOptions;
use crate::shell::{self, Failure};

/// A test binary, and the folder of its package, in which cargo would run it.
struct Binary {
    name: String,
    path: PathBuf,
    package: PathBuf,
}

/// Runs `cargo xtask stress`.
///
/// # Errors
///
/// If the tests do not compile, none fits the filters, or a run fails; its output is shown and its command named.
pub fn run(options: &StressOptions) -> Result<(), Failure> {
    let mut binaries = build(options.portable)?;
    if !options.filters.is_empty() {
        binaries = with_tests(binaries, &options.filters)?;
    }
    if binaries.is_empty() {
        return Err(Failure::new(format!(
            "no test has a name that contains {}",
            options.filters.join(" or ")
        )));
    }
    for binary in &binaries {
        let start = Instant::now();
        print!("{:<44} ", binary.name);
        // The name shows at once; a terminal that cannot show it is no reason to stop.
        let _ = std::io::stdout().flush();
        for run in 1..=options.runs {
            run_once(binary, &options.filters, Run(run, options.runs))?;
        }
        println!("{} runs in {:.1?}", options.runs, start.elapsed());
    }
    println!("No run failed.");
    Ok(())
}

/// Which run of how many.
struct Run(u32, u32);

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "run {} of {}", self.0, self.1)
    }
}

fn run_once(binary: &Binary, filters: &[String], run: Run) -> Result<(), Failure> {
    let mut command = Command::new(&binary.path);
    command.args(filters).current_dir(&binary.package);
    let output = command.output().map_err(|error| shell::not_started(&command, &error))?;
    if output.status.success() {
        return Ok(());
    }
    println!("{run} failed");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
    eprintln!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Err(Failure::new(format!(
        "{} failed in {run} ({}). To run it again:\n  cd {} && {}",
        binary.name,
        output.status,
        binary.package.display(),
        shell::spoken(&command)
    )))
}

/// Builds every test binary of the workspace and tells where they are.
fn build(portable: bool) -> Result<Vec<Binary>, Failure> {
    let mut command = shell::cargo(["test", "--workspace", "--no-run", "--quiet"]);
    command.args(["--lib", "--bins", "--tests"]);
    command.arg("--message-format=json-render-diagnostics");
    if portable {
        shell::portable(&mut command);
    }
    println!("$ {}", shell::spoken(&command));
    let mut cargo = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| shell::not_started(&command, &error))?;
    let answers = cargo.stdout.take().expect("the output is piped");
    let mut binaries = Vec::new();
    for message in Message::parse_stream(BufReader::new(answers)) {
        let message = message
            .map_err(|error| Failure::new(format!("cargo's answer cannot be read: {error}")))?;
        let Message::CompilerArtifact(artifact) = message else {
            continue;
        };
        let Some(path) = artifact.executable.filter(|_| artifact.profile.test) else {
            continue;
        };
        let package = artifact.manifest_path.parent().expect("a manifest lies in a folder");
        let package_name = package.file_name().unwrap_or("tidegate");
        binaries.push(Binary {
            name: format!("{package_name}: {}", artifact.target.name),
            path: path.into(),
            package: package.into(),
        });
    }
    let status = cargo.wait().map_err(|error| shell::not_started(&command, &error))?;
    if status.success() {
        return Ok(binaries);
    }
    Err(Failure::new(format!("`{}` failed ({status})", shell::spoken(&command))))
}

/// Keeps the binaries in which at least one test fits the filters.
fn with_tests(binaries: Vec<Binary>, filters: &[String]) -> Result<Vec<Binary>, Failure> {
    let mut kept = Vec::new();
    for binary in binaries {
        let mut command = Command::new(&binary.path);
        command.args(["--list", "--format", "terse"]).args(filters);
        let list = shell::read(command.current_dir(&binary.package))?;
        if list.lines().any(|line| line.ends_with(": test")) {
            kept.push(binary);
        }
    }
    Ok(kept)
}
