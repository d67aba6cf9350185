//! The examples as a newcomer runs them: as programs, judged by what they print and how they end.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

use tidegate_testkit::watched;

/// Runs a test that may take a minute, not counting the time in which the examples are built.
fn watched_with_examples<R>(test: impl FnOnce() -> R) -> R {
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
fn output(name: &str, arguments: &[&str]) -> Output {
    example(name).args(arguments).output().expect("the example starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs an example that must succeed and complain of nothing; answers with what it prints.
fn printed(name: &str, arguments: &[&str]) -> String {
    let output = watched_with_examples(|| output(name, arguments));
    let (printed, complaints) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{printed}\n{complaints}", output.status);
    assert_eq!(complaints, "", "{name}");
    printed
}

/// These lines must be there in this order, perhaps among others.
fn check(printed: &str, lines: &[&str]) {
    let mut rest = printed.lines();
    for line in lines {
        assert!(
            rest.any(|printed| printed.contains(line)),
            "{line:?} is not printed where it is expected:\n{printed}"
        );
    }
}

/// An example that serves until it is dropped.
struct Serving {
    process: Child,
    printed: BufReader<ChildStdout>,
    complaints: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Serving {
    /// Starts it; the first line it prints must name its address behind `before`.
    fn start(name: &str, arguments: &[&str], before: &str) -> Serving {
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

    fn line(&mut self) -> String {
        next_line(&mut self.printed)
    }

    fn complaint(&mut self) -> String {
        next_line(&mut self.complaints)
    }
}

impl Drop for Serving {
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

#[test]
fn the_tour_goes_as_announced() {
    check(
        &printed("tour", &[]),
        &[
            "1. An echo",
            "client   connection_made with 127.0.0.1:",
            "server   data_received, 30 bytes",
            "2. 64 MiB to a slow reader",
            "source   pause_writing",
            "source   resume_writing",
            "as announced: all 64 MiB arrived",
            "3. A half close",
            "4. An abort",
            "5. A refused connection",
            "6. Timers",
            "7. A signal",
            "The end: 7 scenes",
        ],
    );
}

#[test]
fn the_echo_client_is_answered_by_the_echo_server() {
    watched_with_examples(|| {
        let mut server = Serving::start("tcp_echo_server", &["127.0.0.1:0"], "serving on ");
        let address = server.address.to_string();
        for _ in 0..2 {
            check(
                &printed("tcp_echo_client", &[&address]),
                &[
                    r#"sent "Hello World!""#,
                    r#"received "Hello World!""#,
                    "the server closed the connection",
                ],
            );
            assert!(server.line().starts_with("connection from 127.0.0.1:"));
            assert_eq!(server.line(), r#"received and sent back "Hello World!""#);
            assert_eq!(server.line(), "connection closed");
        }
    });
}

#[test]
fn a_socket_that_exists_gets_a_protocol() {
    check(&printed("wait_for_data", &[]), &[r#"received "abc""#, "the socket is closed"]);
}

#[test]
fn a_descriptor_is_watched() {
    check(&printed("watch_fd", &[]), &["watching", r#"received "abc""#, "no longer watching"]);
}

#[test]
fn timers_come_in_order_and_a_signal_ends_the_program() {
    let printed = printed("timers_and_signals", &[]);
    check(
        &printed,
        &[
            "150 ms: called later",
            "250 ms: a task has slept",
            "350 ms: gave up what never ends",
            "350 ms: the task is well rested",
            "500 ms: a signal to ourselves",
            "ending in good order because of SIGTERM",
        ],
    );
    check(&printed, &["100 ms: tick 1", "200 ms: tick 2", "300 ms: tick 3"]);
    assert!(!printed.contains("never seen"), "{printed}");
}

#[test]
fn the_proxy_carries_both_directions_and_their_ends() {
    watched_with_examples(|| {
        let behind = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = behind.local_addr().unwrap().to_string();
        let proxy = Serving::start("proxy", &["127.0.0.1:0", &upstream], "proxy from ");
        // More than all buffers on the way hold, so that both sides of the proxy have to pause.
        let sent: Vec<u8> = (0..24 << 20).map(|position| (position % 251) as u8).collect();
        let mirror = thread::spawn(move || {
            let (mut stream, _) = behind.accept().unwrap();
            let mut received = Vec::new();
            // The end of one direction arrives while the other is open.
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });

        let mut client = TcpStream::connect(proxy.address).unwrap();
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
        mirror.join().unwrap();
    });
}

#[test]
fn the_proxy_closes_the_client_when_the_server_behind_is_gone() {
    watched_with_examples(|| {
        let behind = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = behind.local_addr().unwrap().to_string();
        let mut proxy = Serving::start("proxy", &["127.0.0.1:0", &upstream], "proxy from ");

        let mut client = TcpStream::connect(proxy.address).unwrap();
        let (stream, _) = behind.accept().unwrap();
        drop(stream);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);

        // Nobody listens behind it any more: the client is let go, and the proxy goes on.
        drop(behind);
        for _ in 0..2 {
            let mut client = TcpStream::connect(proxy.address).unwrap();
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
            assert!(proxy.complaint().starts_with("no connection for a client: "));
        }
    });
}

#[test]
fn help_and_wrong_arguments_are_answered() {
    watched_with_examples(|| {
        for name in ["tcp_echo_server", "tcp_echo_client", "proxy"] {
            let help = output(name, &["--help"]);
            assert!(help.status.success(), "{name}");
            assert!(text(&help.stdout).contains("HOST:PORT"), "{name}");
        }
        let refused = |name: &str, arguments: &[&str], complaint: &str| {
            let ended = output(name, arguments);
            assert_eq!(ended.status.code(), Some(2), "{name} {arguments:?}");
            let complaints = text(&ended.stderr);
            assert!(complaints.contains(complaint), "{name} {arguments:?}: {complaints}");
            assert_eq!(text(&ended.stdout), "", "{name} {arguments:?}");
        };
        refused("tcp_echo_server", &["localhost"], "HOST:PORT is expected");
        refused("tcp_echo_server", &["localhost:http"], "is not a port");
        refused("tcp_echo_client", &["localhost:65536"], "is not a port");
        refused("tcp_echo_client", &["::1"], "needs brackets");
        refused("tcp_echo_client", &["--port", "1"], "unexpected argument");
        refused("proxy", &[], "UPSTREAM");
        refused("proxy", &["127.0.0.1:0"], "UPSTREAM");
    });
}
