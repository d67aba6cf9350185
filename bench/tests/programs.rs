//! What is measured does what it is said to do: the modes of `peer`, and the output of the other programs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;

use tidegate::prelude::*;
use tidegate_testkit::watched;
use tidegate_tls::{Client, ClientTls};

/// A running `peer`.
struct Peer {
    process: Child,
    address: SocketAddr,
}

impl Peer {
    fn start(api: &str, mode: &str) -> Peer {
        Peer::start_with(&["--api", api, "--mode", mode])
    }

    fn start_with(arguments: &[&str]) -> Peer {
        let (process, address) = start(&[&["--port", "0"], arguments].concat());
        Peer { process, address: address.parse().expect("it is an address") }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("peer listens")
    }
}

/// Starts `peer` and waits until it listens; answers where.
fn start(arguments: &[&str]) -> (Child, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_peer"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("peer starts");
    let output = BufReader::new(process.stdout.take().expect("its output is piped"));
    let mut lines = output.lines().map(|line| line.expect("peer prints text"));
    assert_eq!(lines.next().as_deref(), Some("READY"));
    let line = lines.next().expect("peer prints its address");
    let address = line.strip_prefix("listening on ").expect("peer prints its address");
    (process, address.to_owned())
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.process.kill().expect("peer serves until it is killed");
        self.process.wait().expect("it has been killed");
    }
}

/// Sends all of it, in pieces of odd sizes, and answers with what comes back until the end.
fn exchange(peer: &Peer, sent: &[u8]) -> Vec<u8> {
    let stream = peer.connect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut rest, mut writer) = (sent, &stream);
            for size in (1..).step_by(997) {
                let (piece, later) = rest.split_at(rest.len().min(size % 70_000));
                writer.write_all(piece).expect("peer reads");
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
        });
        let mut received = vec![0; sent.len()];
        (&stream).read_exact(&mut received).expect("peer answers");
        received
    })
}

/// Runs a test of a mode by each interface.
fn with_each_api(mode: &str, test: impl Fn(&Peer)) {
    for api in ["protocol", "streams"] {
        watched(|| test(&Peer::start(api, mode)));
    }
}

#[test]
fn echo_sends_back_what_comes() {
    with_each_api("echo", |peer| {
        let sent: Vec<u8> = (0..8_000_000).map(|position: u32| (position % 251) as u8).collect();
        assert!(exchange(peer, &sent) == sent);
    });
}

#[test]
fn line_sends_back_complete_lines_only() {
    with_each_api("line", |peer| {
        let lines: Vec<String> = (0..20_000).map(|number| "x".repeat(number % 300)).collect();
        let sent = lines.join("\n") + "\n";
        assert!(exchange(peer, sent.as_bytes()) == sent.as_bytes());

        // At the end of the stream the beginning of a line is dropped.
        let mut stream = peer.connect();
        stream.write_all(b"whole\nbegun").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).unwrap();
        assert_eq!(received, "whole\n");
    });
}

#[test]
fn discard_reads_and_says_nothing() {
    with_each_api("discard", |peer| {
        let mut stream = peer.connect();
        stream.write_all(&vec![0; 8 << 20]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn stream_sends_zeros_for_as_long_as_somebody_reads() {
    with_each_api("stream", |peer| {
        let mut received = vec![1; 32 << 20];
        peer.connect().read_exact(&mut received).unwrap();
        assert!(received.iter().all(|byte| *byte == 0));
        // The next one is served as well.
        peer.connect().read_exact(&mut received).unwrap();
    });
}

#[test]
fn stream_sends_a_file_of_zeros_and_closes() {
    watched(|| {
        let arguments = ["--api", "streams", "--mode", "stream", "--sendfile", "5000000"];
        let peer = Peer::start_with(&arguments);
        for _ in 0..2 {
            let mut received = Vec::new();
            peer.connect().read_to_end(&mut received).unwrap();
            assert!(received == vec![0; 5_000_000]);
        }
    });
}

#[test]
fn tls_has_the_cryptography_that_is_named() {
    for (tls, api) in [
        (&["--tls"][..], "protocol"),
        (&["--tls", "aws-lc-rs"], "streams"),
        (&["--tls", "ring"], "protocol"),
        (&["--tls", "ring"], "streams"),
    ] {
        watched(|| {
            let arguments = [&["--api", api, "--mode", "echo"], tls].concat();
            let peer = Peer::start_with(&arguments);
            let client = Client::builder().danger_accept_any_certificate().build();
            let client = client.expect("a client");
            let sent: Vec<u8> = (0..500_000).map(|position: u32| (position % 251) as u8).collect();
            let received = tidegate::run(async {
                let (mut reader, writer) =
                    open_connection(peer.address).tls(client, "localhost").await?;
                writer.write(&sent);
                let received = reader.readexactly(sent.len()).await?;
                writer.close().await?;
                io::Result::Ok(received)
            });
            assert!(received.expect("peer answers") == sent, "{tls:?} {api}");
        });
    }
}

#[test]
fn idle_tls_connections_are_measured() {
    let output = watched(|| {
        let arguments = ["--connections", "300", "--echo", "--beside", "/no/such/program"];
        Command::new(env!("CARGO_BIN_EXE_tls_idle")).args(arguments).output().expect("it starts")
    });
    let printed = String::from_utf8(output.stdout).expect("it prints text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["| tidegate | ", "| tidegate-streams | "] {
        let row = printed.lines().find_map(|line| line.strip_prefix(name));
        let allocated = row.and_then(|row| row.split_whitespace().next()?.parse::<u64>().ok());
        // More than keys and less than a record; where malloc cannot tell, it is none.
        let allocated = allocated.unwrap_or_else(|| panic!("{printed}"));
        let can_tell = cfg!(all(target_os = "linux", target_env = "gnu"));
        assert!((1_000..16_000).contains(&allocated) || !can_tell, "{printed}");
    }
    assert!(printed.contains("/no/such/program is not there"), "{printed}");
}

#[test]
fn a_unix_socket_is_served_like_a_port() {
    for api in ["protocol", "streams"] {
        watched(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("s");
            let place = path.to_str().expect("a readable path");
            let (mut process, address) = start(&["--unix", place, "--api", api, "--mode", "echo"]);
            assert_eq!(address, place);
            let mut stream = UnixStream::connect(&path).expect("peer listens");
            for _ in 0..3 {
                stream.write_all(&[7; 1000]).unwrap();
                let mut received = [0; 1000];
                stream.read_exact(&mut received).unwrap();
                assert_eq!(received, [7; 1000]);
            }
            process.kill().expect("peer serves until it is killed");
            process.wait().expect("it has been killed");
        });
    }
}

#[test]
fn udp_sends_back_each_datagram() {
    with_each_api("udp", |peer| {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.connect(peer.address).unwrap();
        for length in [0, 64, 1200] {
            let sent = vec![length as u8; length];
            socket.send(&sent).unwrap();
            let mut received = [0; 2000];
            assert_eq!(socket.recv(&mut received).unwrap(), length);
            assert_eq!(received[..length], sent);
        }
    });
}

#[test]
fn datagrams_are_counted_on_both_sides() {
    let program = env!("CARGO_BIN_EXE_datagrams");
    let (sent, received) = watched(|| {
        let mut receiver =
            Command::new(program).arg("receive").stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(receiver.stdout.take().expect("its output is piped"));
        let mut lines = output.lines().map(|line| line.expect("it prints text"));
        assert_eq!(lines.next().as_deref(), Some("READY"));
        let line = lines.next().expect("it prints its address");
        let address = line.strip_prefix("listening on ").expect("it prints its address").to_owned();
        let arguments = ["send", "--megabytes", "6", "--to", &address];
        let sender = Command::new(program).args(arguments).output().expect("it starts");
        let received = lines.next().expect("it prints what was delivered");
        assert!(receiver.wait().expect("it ends").success());
        (String::from_utf8(sender.stdout).expect("it prints text"), received)
    });
    assert!(sent.starts_with(r#"{"sent": 5000, "cpu_s": "#), "{sent}");
    let delivered =
        received.strip_prefix(r#"{"delivered": "#).and_then(|rest| rest.split_once(','));
    let delivered: u32 = delivered.expect("a count").0.parse().expect("a number");
    assert!((1..=5000).contains(&delivered), "{received}");
}

#[test]
fn what_is_not_there_yet_is_refused() {
    let check = |program: &str, arguments: &[&str], complaint: &str| {
        let refused = watched(|| Command::new(program).args(arguments).output().unwrap());
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let complaints = String::from_utf8_lossy(&refused.stderr);
        assert!(complaints.contains(complaint), "{arguments:?}: {complaints}");
    };
    let peer = env!("CARGO_BIN_EXE_peer");
    let echo = ["--port", "0", "--mode", "echo"];
    check(peer, &[&echo[..], &["--api", "pipes"]].concat(), "invalid value 'pipes'");
    check(peer, &[&echo[..], &["--tls", "openssl"]].concat(), "invalid value 'openssl'");
    check(peer, &["--port", "0", "--mode", "udp", "--tls"], "--mode udp has no TLS");
    check(peer, &["--mode", "udp", "--unix", "/s"], "--mode udp needs --port");
    check(peer, &[&echo[..], &["--unix", "/s"]].concat(), "cannot be used with");
    check(peer, &["--mode", "echo"], "--port <PORT>");
    let micro = env!("CARGO_BIN_EXE_micro");
    check(micro, &["spawn"], "there is no test spawn");
    check(micro, &[], "<TEST>");
}

#[test]
fn micro_prints_one_line_of_json() {
    let check = |test: &str, count: usize| {
        let micro = || Command::new(env!("CARGO_BIN_EXE_micro")).arg(test).output();
        let output = watched(micro).expect("micro starts");
        let printed = String::from_utf8(output.stdout).unwrap();
        let before = format!(r#"{{"runtime":"tidegate","test":"{test}","n":{count},"wall_s":"#);
        let numbers = printed
            .strip_prefix(&before)
            .and_then(|rest| rest.strip_suffix("}\n"))
            .and_then(|rest| rest.split_once(r#","cpu_s":"#));
        let (wall, processor) = numbers.unwrap_or_else(|| panic!("{test}: {printed}"));
        assert!(wall.parse::<f64>().unwrap() > 0.0, "{printed}");
        assert!(processor.parse::<f64>().unwrap() > 0.0, "{printed}");
    };
    check("call_soon", 1_000_000);
    check("subprocess_8", 500);
    check("pipe", 256);
    check("pipe_both", 256);
}
