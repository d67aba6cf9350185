//! A server in a process of its own, whose system calls strace counts.
//!
//! It is the test program itself, started again under strace with the name of its part in the environment.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};

/// What is set in the environment of the server.
pub(crate) const PART: &str = "TIDEGATE_TESTS_SERVER";

/// Starts `test` again as a server under strace, lets `clients` talk to it and end it, and counts its system calls.
///
/// The server says where it is by "serving on …". None if there is no strace, which is said.
pub(crate) fn count(test: &str, clients: impl FnOnce(&str)) -> Option<HashMap<String, usize>> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let started = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(trace.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PART, test)
        .stdout(Stdio::piped())
        .spawn();
    let mut server = match started {
        Ok(server) => server,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: {test}: strace is not installed");
            return None;
        }
        Err(error) => panic!("strace: {error}"),
    };
    let output = BufReader::new(server.stdout.take().unwrap());
    let mut lines = output.lines().map(|line| line.unwrap());
    let address = lines.find_map(|line| Some(line.split_once("serving on ")?.1.to_owned()));
    clients(&address.expect("the server says where it is"));
    assert!(server.wait().unwrap().success());

    let mut calls = HashMap::new();
    for line in BufReader::new(trace.reopen().unwrap()).lines() {
        let line = line.unwrap();
        // "123 sendto(4, ...": a line that only tells the end of a call has another form.
        let Some((_, call)) = line.split_once(' ') else { continue };
        if let Some((name, _)) = call.trim_start().split_once('(') {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    Some(calls)
}
