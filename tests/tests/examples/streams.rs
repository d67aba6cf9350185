//! The examples of streams: the echoes, a socket that exists, and the chat.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::programs::{Serving, check, output_for, printed, text, watched_with_examples};

#[test]
fn the_echo_clients_are_answered_by_the_echo_server_over_streams() {
    watched_with_examples(|| {
        let mut server = Serving::start("streams_echo_server", &["127.0.0.1:0"], "serving on ");
        let address = server.address.to_string();
        for client in ["streams_echo_client", "tcp_echo_client"] {
            check(
                &printed(client, &[&address]),
                &[r#"sent "Hello World!""#, r#"received "Hello World!""#, "close"],
            );
            assert!(server.line().starts_with("connection from 127.0.0.1:"));
            assert_eq!(server.line(), r#"received and sent back "Hello World!""#);
            assert_eq!(server.line(), "connection closed");
        }
    });
}

#[test]
fn the_echo_server_over_streams_sends_back_100_bytes_at_most() {
    watched_with_examples(|| {
        let server = Serving::start("streams_echo_server", &["127.0.0.1:0"], "serving on ");
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(&[b'a'; 150]).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [b'a'; 100]);
    });
}

#[test]
fn a_socket_that_exists_gets_streams() {
    check(&printed("wait_for_data_streams", &[]), &[r#"received "abc""#, "the socket is closed"]);
}

#[test]
fn lines_of_standard_input_are_answered() {
    watched_with_examples(|| {
        let ended = output_for("stdin_lines", "one\nthree\nzwölf".as_bytes());
        assert!(ended.status.success(), "{}", ended.status);
        check(
            &text(&ended.stdout),
            &[
                "line 1, after 0 s: 3 characters",
                "line 2,",
                "line 3,",
                "that was all: the end of the input, after 3 lines",
            ],
        );
        assert_eq!(text(&ended.stderr), "");
        // Its input is /dev/null.
        check(&printed("stdin_lines", &[]), &["that was all: the end of the input, after 0 lines"]);
    });
}

/// A client of the chat.
struct Guest(BufReader<TcpStream>);

impl Guest {
    /// Joins under a name.
    fn join(server: SocketAddr, name: &str) -> Guest {
        let mut guest = Guest(BufReader::new(TcpStream::connect(server).unwrap()));
        guest.hears("* what is your name?");
        guest.says(name);
        guest.hears(&format!("* welcome, {name}"));
        guest
    }

    fn says(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn the_chat_tells_everybody_who_comes_speaks_and_leaves() {
    watched_with_examples(|| {
        let mut server = Serving::start("chat", &["127.0.0.1:0"], "serving on ");
        let mut alice = Guest::join(server.address, "alice");
        assert_eq!(server.line(), "alice has come");
        let mut bob = Guest::join(server.address, "bob");
        alice.hears("* bob has come");
        assert_eq!(server.line(), "bob has come");

        bob.says("good \u{7}evening\r");
        alice.hears("bob: good evening");
        bob.says(&"z".repeat(2000));
        bob.hears("* this line was too long");
        bob.says("so shorter");
        alice.hears("bob: so shorter");

        // A name is nobody else's.
        let mut third = Guest(BufReader::new(TcpStream::connect(server.address).unwrap()));
        third.hears("* what is your name?");
        third.says("bob");
        third.hears("* this name is taken; what is yours?");
        third.says("");
        third.hears("* a name is not empty; what is yours?");
        third.says("carol");
        third.hears("* welcome, carol");
        for guest in [&mut alice, &mut bob] {
            guest.hears("* carol has come");
        }
        assert_eq!(server.line(), "carol has come");

        drop(bob);
        for guest in [&mut alice, &mut third] {
            guest.hears("* bob has left");
        }
        let farewell = server.line();
        assert!(farewell.starts_with("bob has left; at most "), "{farewell}");
        // The name is free again.
        Guest::join(server.address, "bob");
    });
}

#[test]
fn the_chat_drops_a_slow_reader_and_the_others_miss_nothing() {
    watched_with_examples(|| {
        /// Less than what may wait for a client, so that one that reads is never dropped.
        const BATCH: usize = 50;
        /// 100 MB, which is some ten times more than all buffers on the way to a client hold.
        const ENOUGH: usize = 100_000;
        let mut server = Serving::start("chat", &["127.0.0.1:0"], "serving on ");
        let mut alice = Guest::join(server.address, "alice");
        let mut bob = Guest::join(server.address, "bob");
        let mut carol = Guest::join(server.address, "carol");
        alice.hears("* bob has come");
        alice.hears("* carol has come");
        bob.hears("* carol has come");

        // Carol reads nothing from here on.
        let text = "x".repeat(1000);
        let mut said = 0;
        let mut carol_is_there = true;
        while carol_is_there {
            assert!(said < ENOUGH, "a client that never reads is not dropped");
            let batch: Vec<String> =
                (said..said + BATCH).map(|number| format!("{number} {text}\n")).collect();
            alice.0.get_mut().write_all(batch.concat().as_bytes()).unwrap();
            for _ in 0..BATCH {
                let mut line = bob.line();
                if carol_is_there && line == "* carol has left" {
                    carol_is_there = false;
                    line = bob.line();
                }
                assert_eq!(line, format!("alice: {said} {text}"));
                said += 1;
            }
            // It may stand behind the last line of the batch.
            if carol_is_there && !bob.0.buffer().is_empty() {
                bob.hears("* carol has left");
                carol_is_there = false;
            }
        }
        alice.hears("* carol has left");

        for name in ["alice", "bob", "carol"] {
            assert_eq!(server.line(), format!("{name} has come"));
        }
        let farewell = server.line();
        let waited = farewell
            .strip_prefix("carol is lost: ")
            .and_then(|rest| rest.strip_suffix(" bytes waited for it"))
            .and_then(|rest| rest.rsplit_once("; at most "))
            .and_then(|(_, waited)| waited.parse::<usize>().ok());
        let waited = waited.unwrap_or_else(|| panic!("carol was not dropped: {farewell}"));
        assert!((1..=64 << 10).contains(&waited), "{farewell}");
        assert!(farewell.contains("the peer reads too slowly"), "{farewell}");

        // Her connection is ended, in good order or not, behind what the system held for her.
        let mut rest = Vec::new();
        let _ended = carol.0.read_to_end(&mut rest);
        let missed = format!("alice: {} ", said - 1);
        assert!(!String::from_utf8_lossy(&rest).contains(&missed), "she was not behind");
        // The others go on.
        bob.says("that was a lot");
        alice.hears("bob: that was a lot");
    });
}
