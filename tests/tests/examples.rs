//! The examples as a newcomer runs them: as programs, judged by what they print and how they end.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

use tidegate_testkit::watched;

/// The program of an example, built if it is not yet.
fn example(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
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
    });
    let mut command = Command::new(folder.join(name));
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

/// Runs an example that must succeed, print these lines in this order, perhaps among others, and complain of nothing.
fn check(name: &str, arguments: &[&str], lines: &[&str]) {
    watched(|| {
        let output = output(name, arguments);
        let (printed, complaints) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{name}: {}\n{printed}\n{complaints}", output.status);
        assert_eq!(complaints, "", "{name}");
        let mut printed_lines = printed.lines();
        for line in lines {
            assert!(
                printed_lines.any(|printed| printed.contains(line)),
                "{name} does not print {line:?} where it is expected:\n{printed}"
            );
        }
    });
}

/// An example that serves until it is dropped.
struct Serving {
    process: Child,
    printed: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Serving {
    /// Starts it; the first line it prints must name its address behind `before`.
    fn start(name: &str, arguments: &[&str], before: &str) -> Serving {
        let mut command = example(name);
        let mut process =
            command.args(arguments).stdout(Stdio::piped()).spawn().expect("the example starts");
        let mut printed = BufReader::new(process.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        printed.read_line(&mut line).expect("the example prints text");
        let address = line
            .strip_prefix(before)
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{name} does not print its address but {line:?}"));
        Serving { process, printed, address }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.printed.read_line(&mut line).expect("the example prints text");
        line.trim_end().to_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen if it cares.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_tour_goes_as_announced() {
    check(
        "tour",
        &[],
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
    watched(|| {
        let mut server = Serving::start("tcp_echo_server", &["127.0.0.1:0"], "serving on ");
        let address = server.address.to_string();
        for _ in 0..2 {
            check(
                "tcp_echo_client",
                &[&address],
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
    check("wait_for_data", &[], &[r#"received "abc""#, "the socket is closed"]);
}

#[test]
fn a_descriptor_is_watched() {
    check("watch_fd", &[], &["watching", r#"received "abc""#, "no longer watching"]);
}

#[test]
fn timers_come_in_order_and_a_signal_ends_the_program() {
    check(
        "timers_and_signals",
        &[],
        &[
            "100 ms: tick 1",
            "150 ms: called later",
            "200 ms: tick 2",
            "250 ms: a task has slept",
            "300 ms: tick 3",
            "350 ms: gave up what never ends",
            "350 ms: the task is well rested",
            "500 ms: a signal to ourselves",
            "ending in good order because of SIGTERM",
        ],
    );
    let printed = watched(|| text(&output("timers_and_signals", &[]).stdout));
    assert!(!printed.contains("never seen"), "{printed}");
}

#[test]
fn the_proxy_carries_both_directions_and_their_ends() {
    watched(|| {
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
    watched(|| {
        let behind = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = behind.local_addr().unwrap().to_string();
        let proxy = Serving::start("proxy", &["127.0.0.1:0", &upstream], "proxy from ");

        let mut client = TcpStream::connect(proxy.address).unwrap();
        let (stream, _) = behind.accept().unwrap();
        drop(stream);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);

        // Nobody listens behind it any more: the client is let go, and the proxy goes on.
        drop(behind);
        for _ in 0..2 {
            let mut client = TcpStream::connect(proxy.address).unwrap();
            assert!(matches!(client.read(&mut [0; 8]), Ok(0) | Err(_)));
        }
    });
}

#[test]
fn help_and_wrong_arguments_are_answered() {
    watched(|| {
        for name in ["tcp_echo_server", "tcp_echo_client", "proxy"] {
            let help = output(name, &["--help"]);
            assert!(help.status.success(), "{name}");
            assert!(text(&help.stdout).contains("HOST:PORT"), "{name}");
        }
        let check = |name: &str, arguments: &[&str], complaint: &str| {
            let refused = output(name, arguments);
            assert_eq!(refused.status.code(), Some(2), "{name} {arguments:?}");
            let complaints = text(&refused.stderr);
            assert!(complaints.contains(complaint), "{name} {arguments:?}: {complaints}");
            assert_eq!(text(&refused.stdout), "", "{name} {arguments:?}");
        };
        check("tcp_echo_server", &["localhost"], "HOST:PORT is expected");
        check("tcp_echo_server", &["localhost:http"], "is not a port");
        check("tcp_echo_client", &["localhost:65536"], "is not a port");
        check("tcp_echo_client", &["::1"], "needs brackets");
        check("tcp_echo_client", &["--port", "1"], "unexpected argument");
        check("proxy", &[], "UPSTREAM");
        check("proxy", &["127.0.0.1:0"], "UPSTREAM");
    });
}
