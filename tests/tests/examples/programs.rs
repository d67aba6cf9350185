//! How a test runs an example as a program, and what it asks of it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use tidegate_testkit::watched;

/// Runs a test that may take a minute, not counting the time in which the examples are built.
pub(crate) fn watched_with_examples<R>(test: impl FnOnce() -> R) -> R {
    folder();
    watched(test)
}

/// Where the programs of the examples are. They are built if they are not yet.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let this = env::current_exe().expect("a test has a program");
        let profile = this.ancestors().nth(2).expect("target/debug/deps/this");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--examples", "--target-dir"]);
        build.arg(profile.parent().expect("target/debug"));
        if profile.file_name() == Some(OsStr::new("release")) {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo starts").success(), "the examples do not build");
        profile.join("examples")
    })
}

fn example(name: &str) -> Command {
    let mut command = Command::new(folder().join(name));
    command.stdin(Stdio::null());
    command
}

/// Runs an example that ends by itself.
pub(crate) fn output(name: &str, arguments: &[&str]) -> Output {
    example(name).args(arguments).output().expect("the example starts")
}

/// The same, of one that is given this on its standard input.
pub(crate) fn output_for(name: &str, input: &[u8]) -> Output {
    let mut command = example(name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the example starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("the example reads");
    drop(stdin);
    process.wait_with_output().expect("the example ends")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs an example that must succeed and complain of nothing; answers with what it prints.
pub(crate) fn printed(name: &str, arguments: &[&str]) -> String {
    let output = watched_with_examples(|| output(name, arguments));
    let (printed, complaints) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{printed}\n{complaints}", output.status);
    assert_eq!(complaints, "", "{name}");
    printed
}

/// Runs an example that must refuse its arguments, with this complaint and before it does anything.
pub(crate) fn refused(name: &str, arguments: &[&str], complaint: &str) {
    let ended = output(name, arguments);
    assert_eq!(ended.status.code(), Some(2), "{name} {arguments:?}");
    let complaints = text(&ended.stderr);
    assert!(complaints.contains(complaint), "{name} {arguments:?}: {complaints}");
    assert_eq!(text(&ended.stdout), "", "{name} {arguments:?}");
}

/// These lines must be there in this order, perhaps among others.
pub(crate) fn check(printed: &str, lines: &[&str]) {
    let mut rest = printed.lines();
    for line in lines {
        assert!(
            rest.any(|printed| printed.contains(line)),
            "{line:?} is not printed where it is expected:\n{printed}"
        );
    }
}

/// An example that serves until it is dropped, on an address of that kind.
pub(crate) struct Serving<A = SocketAddr> {
    process: Child,
    printed: BufReader<ChildStdout>,
    complaints: BufReader<ChildStderr>,
    pub(crate) address: A,
}

impl Serving {
    /// Starts it; the first line it prints must name its address behind `before`.
    pub(crate) fn start(name: &str, arguments: &[&str], before: &str) -> Serving {
        Serving::start_on(name, arguments, before)
    }
}

impl<A: FromStr> Serving<A> {
    /// The same, on another kind of address.
    pub(crate) fn start_on(name: &str, arguments: &[&str], before: &str) -> Serving<A> {
        let mut process = example(name)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut printed = BufReader::new(process.stdout.take().expect("its output is piped"));
        let complaints = BufReader::new(process.stderr.take().expect("its errors are piped"));
        let line = next_line(&mut printed);
        let address = line
            .strip_prefix(before)
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{name} does not print its address but {line:?}"));
        Serving { process, printed, complaints, address }
    }

    pub(crate) fn line(&mut self) -> String {
        next_line(&mut self.printed)
    }

    pub(crate) fn complaint(&mut self) -> String {
        next_line(&mut self.complaints)
    }

    /// How many descriptors it has open, where the system tells that.
    pub(crate) fn open_descriptors(&self) -> Option<usize> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id())).ok()?;
        Some(open.count())
    }

    /// Ends it as Ctrl-C does; answers how it ended, what else it has printed, and its complaints.
    pub(crate) fn interrupted(mut self) -> (ExitStatus, String, String) {
        let number = self.process.id().try_into().ok().and_then(Pid::from_raw);
        kill_process(number.expect("a process"), Signal::INT).expect("it runs");
        let (mut printed, mut complaints) = (String::new(), String::new());
        self.printed.read_to_string(&mut printed).expect("the example prints text");
        self.complaints.read_to_string(&mut complaints).expect("the example prints text");
        (self.process.wait().expect("it has ended"), printed, complaints)
    }

    /// The most memory that it has had, in KiB, where the system tells that.
    pub(crate) fn most_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }
}

impl<A> Drop for Serving<A> {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen if it cares.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn next_line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("the example prints text");
    line.trim_end().to_owned()
}
