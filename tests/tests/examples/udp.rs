//! The examples of datagrams.

use std::net::UdpSocket;

use super::programs::{Serving, check, output, printed, text, watched_with_examples};

#[test]
fn the_udp_client_is_answered_by_the_udp_server() {
    watched_with_examples(|| {
        let mut server = Serving::start("udp_echo_server", &["127.0.0.1:0"], "serving on ");
        let address = server.address.to_string();
        check(
            &printed("udp_echo_client", &[&address]),
            &[r#"sent "Hello World!""#, r#"received "Hello World!""#],
        );
        let line = server.line();
        let start = r#"received and sent back "Hello World!", from 127.0.0.1:"#;
        assert!(line.starts_with(start), "{line}");

        // One server serves everybody, and an empty datagram is one too.
        check(
            &printed("udp_echo_client", &[&address, "one", "", "three four"]),
            &[r#"sent "three four""#, r#"received "one""#, r#"received """#, r#""three four""#],
        );
        for text in ["one", "", "three four"] {
            let line = server.line();
            assert!(line.starts_with(&format!("received and sent back {text:?}, from ")), "{line}");
        }
    });
}

#[test]
fn the_udp_client_says_when_nobody_receives() {
    watched_with_examples(|| {
        // This socket hears of nobody but itself, and so nobody receives at its port.
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = taken.local_addr().unwrap();
        taken.connect(nobody).unwrap();
        fails(&[&nobody.to_string()], &format!("nobody receives at {nobody}: "));
        fails(&[&nobody.to_string(), "a", "b", "cc"], &format!("nobody receives at {nobody}: "));
    });
}

#[test]
fn the_udp_client_gives_up_when_nobody_answers() {
    watched_with_examples(|| {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let hurried = ["--patience", "10", &address, "a", "b"];
        fails(&hurried, "gave up after 10 ms: 0 of 2 came back\n");
        let (length, _) = silent.recv_from(&mut [0; 2]).unwrap();
        assert_eq!(length, 1);
    });
}

#[test]
fn a_line_that_is_too_long_for_a_datagram_is_refused() {
    let line = "x".repeat(70_000);
    watched_with_examples(|| {
        fails(&["127.0.0.1:9", &line], "a datagram of 70000 bytes is too long: ");
    });
}

/// Runs a client that must end with a complaint that begins so, and with nothing received.
fn fails(arguments: &[&str], complaint: &str) {
    let ended = output("udp_echo_client", arguments);
    let (printed, complaints) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!(ended.status.code(), Some(1), "{printed}\n{complaints}");
    assert!(complaints.starts_with(&format!("error: {complaint}")), "{complaints}");
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
    assert!(!printed.contains("received"), "{printed}");
}
