//! Streams that leave their loop with what was not read, and go on in another one.

#![cfg(not(windows))]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use tidegate_protocols::{DetachError, Detached, Flow};
use tidegate_reactor::EventLoop;
use tidegate_streams::{
    LimitError, StreamLimit, StreamPair, StreamReader, StreamWriter, adopt_streams,
    open_connection, start_server,
};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{alone, open_descriptors, run, turns, watched};

mod support;
use support::{LOOPBACK, Read, address_of, begun, data, ended, inner, joined, keep_reports};

/// The streams of a connection, and its peer.
async fn open() -> (StreamPair, TcpStream) {
    let listener = TcpListener::bind(LOOPBACK).expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("an address")).expect("a listener");
    let (ours, _) = listener.accept().expect("a client");
    (open_connection(()).sock(ours).await.expect("a connection").into(), peer)
}

#[test]
fn the_reader_gives_along_what_it_holds() {
    run(async {
        let (mut pair, mut peer) = open().await;
        peer.write_all(b"one\ntwo\nthr").expect("a peer");
        assert_eq!(pair.reader.readline().await.expect("a line"), "one\n");
        peer.write_all(b"ee\nfour").expect("a peer");
        // Some of it is held by the reader, some lies in the inbox, and some was not received.
        turns(2).await;
        peer.write_all(b"\n").expect("a peer");
        peer.shutdown(Shutdown::Write).expect("a peer");
        let detached = pair.detach().expect("an open connection");
        assert_eq!(detached.unread, "two\nthree\nfour");

        let (mut reader, writer) = adopt_streams(detached).limit(4).await.expect("open");
        assert_eq!(reader.limit(), 4);
        for line in ["two\n", "three", "\n", "four\n"] {
            assert_eq!(reader.readexactly(line.len()).await.expect("a line"), line);
        }
        assert_eq!(reader.read_to_end().await.expect("the end"), "");
        writer.write(b"answer");
        writer.close().await.expect("a connection");
        let mut answer = String::new();
        peer.read_to_string(&mut answer).expect("a connection");
        assert_eq!(answer, "answer");
    });
}

#[test]
fn an_end_that_was_received_is_received_again() {
    run(async {
        let (mut pair, mut peer) = open().await;
        peer.write_all(b"all").expect("a peer");
        peer.shutdown(Shutdown::Write).expect("a peer");
        support::until(|| pair.writer.transport().statistics().bytes_received == 3).await;
        turns(3).await;
        let detached = pair.detach().expect("an open connection");
        let (mut reader, _writer) = adopt_streams(detached).await.expect("a connection");
        assert_eq!(reader.read_to_end().await.expect("the end"), "all");
        assert!(reader.at_eof());
    });
}

#[test]
fn the_old_streams_are_at_their_end_and_leave_the_connection_alone() {
    run(async {
        let (mut pair, mut peer) = open().await;
        let reports = keep_reports();
        tidegate_reactor::LoopHandle::current().expect("this loop").set_debug(true);
        let other = pair.writer.clone();
        let closed = pair.writer.wait_closed();
        let detached = pair.detach().expect("an open connection");
        let kind = |error: io::Error| error.kind();
        for _ in 0..2 {
            assert_eq!(pair.writer.write(b"dropped"), Flow::Closed);
            assert_eq!(other.flow(), Flow::Closed);
            assert_eq!(other.drain().await.map_err(kind), Err(io::ErrorKind::NotConnected));
            assert_eq!(pair.reader.read(1).await.map_err(kind), Err(io::ErrorKind::NotConnected));
            turns(3).await;
        }
        closed.await.expect("an end without an error");
        assert_eq!(pair.detach().err(), Some(DetachError::Closing));
        drop((pair, other));
        turns(3).await;
        assert!(reports.borrow().is_empty(), "{reports:?}");

        let (mut reader, writer) = adopt_streams(detached).await.expect("a connection");
        peer.write_all(b"ping").expect("a peer");
        assert_eq!(reader.readexactly(4).await.expect("a connection"), "ping");
        writer.write(b"pong");
        writer.close().await.expect("a connection");
        let mut answer = String::new();
        peer.read_to_string(&mut answer).expect("a connection");
        assert_eq!(answer, "pong");
    });
}

#[test]
fn who_waits_for_a_drain_is_told() {
    run(async {
        let (mut pair, _peer) = open().await;
        let other = pair.writer.clone();
        assert_eq!(pair.writer.write(&vec![b'x'; 32 << 20]), Flow::Paused);
        let draining = tidegate_reactor::spawn(async move { other.drain().await });
        turns(3).await;
        let detached = pair.detach().expect("an open connection");
        assert!(!detached.unsent.is_empty());
        let error = ended(draining.expect("a loop")).await.expect_err("it was not sent");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    });
}

#[test]
fn streams_that_are_refused_go_on() {
    run(async {
        // Not a pair.
        let (first, mut first_peer) = open().await;
        let (second, mut second_peer) = open().await;
        let mut mixed = StreamPair::new(first.reader, second.writer);
        assert_eq!(mixed.detach().err(), Some(DetachError::Unpaired));
        first_peer.write_all(b"abc").expect("a peer");
        assert_eq!(mixed.reader.readexactly(3).await.expect("a connection"), "abc");
        mixed.writer.write(b"def");
        mixed.writer.flush().await.expect("a connection");
        let mut received = [0; 3];
        second_peer.read_exact(&mut received).expect("a connection");
        assert_eq!(received, *b"def");

        // No descriptor.
        let memory = joined(64, PairOptions::default()).await;
        let mut pair = StreamPair::from(memory.left);
        memory.right.1.write(b"abc");
        turns(3).await;
        assert_eq!(pair.detach().err(), Some(DetachError::NoDescriptor));
        let StreamPair { reader, writer } = pair;
        let reading = begun(reader, Read::Exactly(3)).await;
        assert_eq!(ended(reading).await, data("abc"));

        // Closing.
        let _closing = writer.close();
        let reader = StreamReader::new(1).expect("a limit");
        assert_eq!(StreamPair::new(reader, writer).detach().err(), Some(DetachError::Unpaired));
        let (mut pair, _peer) = open().await;
        let _closing = pair.writer.close();
        assert_eq!(pair.detach().err(), Some(DetachError::Closing));
    });
}

#[test]
fn a_limit_of_nothing_is_refused() {
    run(async {
        let (mut pair, mut peer) = open().await;
        let detached = pair.detach().expect("an open connection");
        let error = adopt_streams(detached).limit(0).await.expect_err("it is no limit");
        assert!(inner::<LimitError>(&error).is_some());
        assert_eq!(peer.read(&mut [0]).expect("a connection"), 0);
    });
}

#[test]
fn a_server_hands_its_clients_to_another_loop() {
    const LINES: usize = 200;
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let (sender, receiver) = std::sync::mpsc::channel::<Detached>();
        let worker = thread::spawn(move || {
            let event_loop = EventLoop::new().expect("an event loop");
            for detached in receiver {
                let echo = async {
                    let (mut reader, writer) = adopt_streams(detached).await?;
                    loop {
                        let line = reader.readline().await?;
                        if line.is_empty() {
                            return writer.close().await;
                        }
                        writer.write(&line);
                        writer.drain().await?;
                    }
                };
                event_loop.run_until_complete(echo).expect("a loop").expect("a client");
            }
            event_loop.close().expect("a loop that does not run");
        });

        let event_loop = EventLoop::new().expect("an event loop");
        let serve = async {
            let hand_on = move |reader: StreamReader, writer: StreamWriter| {
                let sender = sender.clone();
                let mut pair = StreamPair::new(reader, writer);
                async move {
                    for number in 0..2 {
                        let line = pair.reader.readline().await?;
                        assert_eq!(line, format!("line {number}\n"));
                        pair.writer.write(&line);
                    }
                    sender.send(pair.detach()?).map_err(io::Error::other)
                }
            };
            let server = start_server(hand_on, LOOPBACK).max_connections(1).await.expect("a port");
            let address = address_of(&server);
            let client = move || {
                let mut client = TcpStream::connect(address).expect("a server");
                let said: String = (0..LINES).map(|number| format!("line {number}\n")).collect();
                client.write_all(said.as_bytes()).expect("a server");
                client.shutdown(Shutdown::Write).expect("a server");
                let mut heard = String::new();
                client.read_to_string(&mut heard).expect("a server");
                assert_eq!(heard, said);
            };
            let clients: Vec<_> = (0..3).map(|_| thread::spawn(client)).collect();
            support::until(|| clients.iter().all(thread::JoinHandle::is_finished)).await;
            clients.into_iter().for_each(|client| client.join().expect("a client"));
            server.close();
            server.wait_closed().await;
            assert_eq!(server.statistics().accepted, 3);
        };
        event_loop.run_until_complete(serve).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        drop(event_loop);
        worker.join().expect("a worker");
        assert_eq!(open_descriptors(), before);
    });
}
