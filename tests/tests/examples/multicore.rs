//! The example that serves on all cores: every client is answered, by more than one thread, and Ctrl-C ends it well.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::programs::{Serving, output, refused, text, watched_with_examples};

const CLIENTS: usize = 24;
const BYTES: usize = 1 << 20;

/// What a client says: each something else.
fn speech(number: usize) -> Vec<u8> {
    (0..BYTES).map(|position| ((position * 31 + number) % 251) as u8).collect()
}

/// Clients that all talk at once, each of them twice.
fn talk(server: &Serving) {
    let address = server.address;
    let client = move |number| {
        let speech = speech(number);
        let mut client = TcpStream::connect(address).expect("a server");
        // The first bytes may come before the connection has moved, and these while it is there.
        for part in speech.chunks(BYTES / 2) {
            let mut writing = client.try_clone().expect("a socket");
            let mut heard = vec![0; part.len()];
            thread::scope(|scope| {
                scope.spawn(move || writing.write_all(part).expect("a server"));
                client.read_exact(&mut heard).expect("a server");
            });
            assert!(heard == part, "client {number} has heard something else");
        }
        client.shutdown(Shutdown::Write).expect("a server");
        assert_eq!(client.read_to_end(&mut Vec::new()).expect("a server"), 0, "all was heard");
    };
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| thread::spawn(move || client(number))).collect();
    clients.into_iter().for_each(|client| client.join().expect("a client"));
}

/// How many connections each thread has served, as is told at the end.
fn served(printed: &str) -> Vec<usize> {
    let count = |line: &str| {
        let rest = line.strip_prefix("thread ")?.split_once(" has served ")?.1;
        rest.strip_suffix(" connections")?.parse().ok()
    };
    printed.lines().filter_map(count).collect()
}

#[test]
fn every_thread_serves_and_all_end_together() {
    let check = |arguments: &[&str]| {
        watched_with_examples(|| {
            let server = Serving::start("multicore_echo", arguments, "serving on ");
            let before = server.open_descriptors();
            talk(&server);
            // Nothing waits for a client that has gone.
            while server.open_descriptors() != before {
                thread::yield_now();
            }
            // The example that it names for trying it, which ends by itself.
            let client = output("streams_echo_client", &[&server.address.to_string()]);
            assert_eq!(text(&client.stderr), "");
            assert!(text(&client.stdout).ends_with("the connection is closed\n"));
            // One that is still there when the end comes is let go.
            let mut stays = TcpStream::connect(server.address).expect("a server");
            stays.write_all(b"hello\n").expect("a server");
            let mut stays = BufReader::new(stays);
            let mut line = String::new();
            stays.read_line(&mut line).expect("a server");
            assert_eq!(line, "hello\n");

            let (status, printed, complaints) = server.interrupted();
            assert!(status.success(), "{status}: {printed}\n{complaints}");
            assert_eq!(complaints, "");
            assert_eq!(stays.read(&mut [0]).expect("an end"), 0);
            let served = served(&printed);
            assert_eq!((served.len(), served.iter().sum()), (3, CLIENTS + 2), "{printed}");
            assert!(served.iter().filter(|count| **count > 0).count() > 1, "{printed}");
            if !arguments.contains(&"--reuse-port") {
                assert!(served.iter().all(|count| *count >= CLIENTS / 3), "{printed}");
            }
        });
    };
    check(&["127.0.0.1:0", "--threads", "3"]);
    check(&["127.0.0.1:0", "--threads", "3", "--reuse-port"]);
}

#[test]
fn a_port_that_is_taken_ends_all_threads() {
    watched_with_examples(|| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        for more in [&[][..], &["--reuse-port"]] {
            let arguments = [&[&*address, "--threads", "2"], more].concat();
            let ended = output("multicore_echo", &arguments);
            assert_eq!(ended.status.code(), Some(1), "{more:?}");
            let complaint = text(&ended.stderr);
            assert!(complaint.contains("address already in use"), "{complaint}");
        }
        refused("multicore_echo", &["--threads", "0"], "0 is not in 1..");
        refused("multicore_echo", &["localhost"], "HOST:PORT is expected");
    });
}
