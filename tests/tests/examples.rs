//! The examples as a newcomer runs them: as programs, judged by what they print and how they end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

use examples::programs::{Serving, check, output, printed, refused, text, watched_with_examples};

/// How programs are run, and the examples of children, of streams, of HTTP, of TLS and of many threads.
mod examples {
    mod children;
    mod multicore;
    pub(crate) mod programs;
    mod send_file;
    mod streams;
    mod tls;
    mod udp;
    mod unix;
    mod web;
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
            "6. A file between two writes",
            "task     sendfile answers that 1.0 MiB were sent",
            "as announced: it arrived between the two writes",
            "7. A Unix socket passes a file",
            r#"server   has taken a file and read "the tide table""#,
            "client   data_received, 14 bytes",
            "8. A pipe",
            "sink     data_received, 19 bytes",
            "sink     eof_received",
            "9. Datagrams",
            r#"server   datagram_received "spring tide""#,
            r#"client   datagram_received "slack water""#,
            "stranger error_received: Connection refused",
            "as announced: each came back as it was sent",
            "10. A conversation over streams",
            r#"server   readline answers "Time and tide\n""#,
            r#"client   readline answers "TIME AND TIDE\n""#,
            "as announced: each line was answered",
            "11. An echo over TLS",
            "client   it is TLSv1.3, TLS_",
            "12. STARTTLS",
            r#"client   in clear: "go ahead\n""#,
            r#"client   in TLS: "password\n""#,
            "13. A stream that is cut short",
            "strict   connection_lost: the connection was closed without close_notify",
            "lenient  eof_received",
            "14. A refused certificate",
            "client   create_connection answers: the peer's certificate is not accepted: UnknownIssuer",
            "as announced: the server heard nothing",
            "15. A child",
            "greeter  pipe_data_received from 1, 12 bytes",
            "greeter  connection_lost",
            "as announced: the line came back",
            "16. A stubborn child",
            r#"task     readline answers "still here\n""#,
            "as announced: it died of SIGKILL",
            "17. Timers",
            "18. A signal",
            "The end: 18 scenes",
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

/// Every example, with all the arguments that it takes; none if it takes any number.
const EXAMPLES: [(&str, Option<&[&str]>); 25] = [
    ("chat", Some(&["127.0.0.1:0"])),
    ("http_headers", Some(&["http://127.0.0.1:1/"])),
    ("hyper_server", Some(&["127.0.0.1:0"])),
    ("multicore_echo", Some(&["127.0.0.1:0"])),
    ("proxy", Some(&["127.0.0.1:0", "127.0.0.1:1"])),
    ("run_many", None),
    ("send_file", Some(&["file", "127.0.0.1:0"])),
    ("starttls_smtp", Some(&["127.0.0.1:0"])),
    ("stdin_lines", Some(&[])),
    ("streams_echo_client", Some(&["127.0.0.1:1"])),
    ("streams_echo_server", Some(&["127.0.0.1:0"])),
    ("subprocess_date", Some(&[])),
    ("subprocess_pipeline", Some(&["1"])),
    ("tcp_echo_client", Some(&["127.0.0.1:1"])),
    ("tcp_echo_server", Some(&["127.0.0.1:0"])),
    ("timers_and_signals", Some(&[])),
    ("tls_echo_client", Some(&["127.0.0.1:1"])),
    ("tls_echo_server", Some(&["127.0.0.1:0"])),
    ("tour", Some(&[])),
    ("udp_echo_client", None),
    ("udp_echo_server", Some(&["127.0.0.1:0"])),
    ("unix_echo", Some(&["client", "path"])),
    ("wait_for_data", Some(&[])),
    ("wait_for_data_streams", Some(&[])),
    ("watch_fd", Some(&[])),
];

#[test]
fn every_example_explains_itself_and_takes_nothing_that_it_does_not_know() {
    watched_with_examples(|| {
        let readme = include_str!("../../README.md");
        let listed = readme.lines().filter(|line| line.contains("](examples/")).count();
        assert_eq!(listed, EXAMPLES.len(), "all of them");
        for (name, arguments) in EXAMPLES {
            let help = output(name, &["--help"]);
            assert!(help.status.success(), "{name}");
            assert!(text(&help.stdout).contains(&format!("Usage: {name}")), "{name}");
            assert_eq!(text(&help.stderr), "", "{name}");
            refused(name, &["--unknown"], "unexpected argument '--unknown'");
            if let Some(arguments) = arguments {
                let surplus = [arguments, &["surplus"]].concat();
                refused(name, &surplus, "unexpected argument 'surplus'");
            }
        }
    });
}

#[test]
fn whoever_cannot_be_reached_is_named() {
    let fails = |name: &str, arguments: &[&str], complaint: &str| {
        let ended = output(name, arguments);
        assert_eq!(ended.status.code(), Some(1), "{name}");
        assert_eq!(text(&ended.stderr), format!("error: {complaint}\n"), "{name}");
        assert_eq!(text(&ended.stdout), "", "{name}");
    };
    watched_with_examples(|| {
        // One that is bound and does not listen is nobody else's, and refuses.
        let nobody = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&nobody, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let nobody = SocketAddr::try_from(getsockname(&nobody).unwrap()).unwrap();
        let refusal = io::Error::from(Errno::CONNREFUSED);
        let refusal = format!("Connect call failed {nobody}: {refusal}");
        for name in ["tcp_echo_client", "streams_echo_client", "tls_echo_client"] {
            fails(name, &[&nobody.to_string()], &refusal);
        }
        fails("http_headers", &[&format!("http://{nobody}/")], &refusal);
        let refusal = io::Error::from(Errno::NOENT);
        let refusal = format!("Connect call failed /nobody/is/here: {refusal}");
        fails("unix_echo", &["client", "/nobody/is/here"], &refusal);

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = &*taken.local_addr().unwrap().to_string();
        let refusal =
            format!("error while attempting to bind on address {taken}: address already in use");
        for (name, arguments) in [
            ("chat", &[taken][..]),
            ("hyper_server", &[taken]),
            ("proxy", &[taken, "127.0.0.1:1"]),
            ("send_file", &[concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), taken]),
            ("starttls_smtp", &[taken]),
            ("streams_echo_server", &[taken]),
            ("tcp_echo_server", &[taken]),
            ("tls_echo_server", &[taken]),
        ] {
            fails(name, arguments, &refusal);
        }
    });
}

#[test]
fn wrong_arguments_are_answered() {
    watched_with_examples(|| {
        refused("tcp_echo_server", &["localhost"], "HOST:PORT is expected");
        refused("tcp_echo_server", &["localhost:http"], "is not a port");
        refused("tcp_echo_client", &["localhost:65536"], "is not a port");
        refused("tcp_echo_client", &["::1"], "needs brackets");
        refused("tcp_echo_client", &["--port", "1"], "unexpected argument");
        refused("udp_echo_server", &["localhost"], "HOST:PORT is expected");
        refused("udp_echo_client", &["::1", "line"], "needs brackets");
        refused("udp_echo_client", &["--patience", "-1"], "unexpected argument");
        refused("chat", &["localhost"], "HOST:PORT is expected");
        refused("hyper_server", &["localhost:-1"], "is not a port");
        refused("proxy", &[], "UPSTREAM");
        refused("proxy", &["127.0.0.1:0"], "UPSTREAM");
    });
}
