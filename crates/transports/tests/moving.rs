//! Connections that move between loops: of the same thread, and of others.

#![cfg(not(windows))]

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tidegate_protocols::{AtEof, Detached, Protocol, Transport};
use tidegate_reactor::{EventLoop, LoopHandle, Remote, spawn};
use tidegate_testkit::{Event, Recorder, run, turns, watched};
use tidegate_transports::{adopt, connect_accepted_socket};

mod support;
use support::Idle;
use support::moves::{assert_same, elsewhere, numbered, open, sockets};

#[test]
fn what_was_unsent_arrives_once_and_in_order() {
    const BEFORE: usize = 3 << 20;
    let check = |chunk: usize, kept: bool| {
        watched(|| {
            let sent = numbered(BEFORE + (1 << 20));
            let whole = sent.clone();
            let (accepted, mut peer) = sockets();
            let (sender, receiver) = mpsc::channel();
            let first = elsewhere(move || async move {
                let transport = connect_accepted_socket(|| Idle, accepted).await.expect("open");
                for piece in whole[..BEFORE].chunks(chunk) {
                    match kept {
                        true => transport.write_bytes(piece.to_vec().into()),
                        false => transport.write(piece),
                    };
                }
                let detached = transport.detach().expect("an open connection");
                let statistics = transport.statistics();
                assert!(!detached.unsent.is_empty(), "the peer does not read");
                assert_eq!(statistics.bytes_sent as usize + detached.unsent.len(), BEFORE);
                sender.send((detached, whole)).expect("a receiver");
                transport.closed().await;
            });
            let second = elsewhere(move || async move {
                let (detached, whole) = receiver.recv().expect("a connection");
                let waiting = detached.unsent.len();
                let transport = adopt(|| Idle, detached).await.expect("a connection");
                assert_eq!(transport.get_write_buffer_size(), waiting);
                for piece in whole[BEFORE..].chunks(chunk) {
                    transport.write(piece);
                }
                transport.close();
                transport.closed().await.map(|cause| cause.to_string())
            });
            first.join().expect("the first loop");
            let mut received = Vec::new();
            peer.read_to_end(&mut received).expect("a connection");
            assert_same(&received, &sent);
            assert_eq!(second.join().expect("the second loop"), None);
        });
    };
    for chunk in [97, 1_000, 5_000, 70_000, 1 << 20] {
        check(chunk, false);
        check(chunk, true);
    }
}

/// Loops in threads of their own, between which a connection wanders.
struct Ring(Arc<Vec<Remote>>, Vec<JoinHandle<()>>);

impl Ring {
    fn new(count: usize) -> Ring {
        let (sender, receiver) = mpsc::channel();
        let threads = (0..count).map(|_| {
            let sender = sender.clone();
            thread::spawn(move || {
                let event_loop = EventLoop::new().expect("an event loop");
                sender.send(event_loop.handle().remote()).expect("a test");
                event_loop.run_forever().expect("a loop");
                event_loop.close().expect("a loop that does not run");
            })
        });
        let threads = threads.collect();
        let remotes = receiver.iter().take(count).collect();
        Ring(Arc::new(remotes), threads)
    }

    fn send(ring: &Arc<Vec<Remote>>, place: usize, detached: Detached) {
        let share = Arc::clone(ring);
        let go_on = move || {
            let wanderer = Wanderer { ring: share, place, reads: 0 };
            spawn(async { adopt(|| wanderer, detached).await.expect("a connection") })
                .expect("a running loop");
        };
        ring[place % ring.len()].call_soon_threadsafe(go_on).expect("an open loop");
    }

    /// Ends it.
    fn stop(self) {
        for remote in &*self.0 {
            let stop = || LoopHandle::current().expect("this loop").stop();
            remote.call_soon_threadsafe(stop).expect("an open loop");
        }
        for thread in self.1 {
            thread.join().expect("a loop");
        }
    }
}

/// An echo that moves on in the middle of every third read.
struct Wanderer {
    ring: Arc<Vec<Remote>>,
    place: usize,
    reads: usize,
}

impl Protocol for Wanderer {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.reads += 1;
        if !self.reads.is_multiple_of(3) {
            transport.write(data);
            return Ok(());
        }
        let (here, there) = data.split_at(data.len() / 3);
        transport.write(here);
        let detached = transport.detach()?.with_unread(there);
        Ring::send(&self.ring, self.place + 1, detached);
        Ok(())
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        assert!(self.place > 10, "it has stayed in loop {}", self.place);
        transport.close();
        Ok(AtEof::Close)
    }
}

#[test]
fn an_echo_that_wanders_between_loops_loses_and_doubles_nothing() {
    watched(|| {
        let ring = Ring::new(3);
        let (accepted, mut peer) = sockets();
        Ring::send(&ring.0, 0, Detached::new(accepted));
        let sent = numbered(6 << 20);
        let whole = sent.clone();
        let mut writing = peer.try_clone().expect("a socket");
        let writer = thread::spawn(move || {
            for piece in whole.chunks(50_001) {
                writing.write_all(piece).expect("a peer");
            }
            writing.shutdown(Shutdown::Write).expect("a peer");
        });
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("a connection");
        assert_same(&received, &sent);
        writer.join().expect("all was written");
        ring.stop();
    });
}

#[test]
fn what_comes_between_the_loops_is_found() {
    watched(|| {
        let first = EventLoop::new().expect("an event loop");
        let second = EventLoop::new().expect("an event loop");
        let ((transport, mut peer), log) = first
            .run_until_complete(async {
                let recorder = Recorder::new();
                let log = recorder.log();
                let (transport, mut peer) = open(recorder).await;
                peer.write_all(b"before").expect("a peer");
                log.received_at_least(6).await;
                ((transport, peer), log)
            })
            .expect("a loop that is not stopped");

        peer.write_all(b"untold").expect("a peer");
        let mut detached = Some(transport.detach().expect("an open connection"));
        peer.write_all(b"between").expect("a peer");
        // The first loop has nothing to do with it any more.
        first.run_until_complete(turns(3)).expect("a loop that is not stopped");
        log.assert(&[Event::Made, Event::data("before"), Event::Lost(None)]);

        // And again: a loop that has had it finds nothing of the first time.
        for event_loop in [&second, &first] {
            let went_on = event_loop.run_until_complete(async {
                let recorder = Recorder::new();
                let log = recorder.log();
                let detached = detached.take().expect("detached");
                let transport = adopt(|| recorder, detached).await.expect("a connection");
                peer.write_all(b"after").expect("a peer");
                log.until(|log| log.received().ends_with(b"after")).await;
                // Both directions are ready again after they were not.
                peer.write_all(b"wards").expect("a peer");
                log.until(|log| log.received().ends_with(b"wards")).await;
                (transport.detach().expect("an open connection"), log.received())
            });
            let (detached_again, received) = went_on.expect("a loop that is not stopped");
            detached = Some(detached_again);
            let before: &[u8] = if received.len() > 10 { b"untoldbetween" } else { b"" };
            assert_eq!(received, [before, b"afterwards"].concat());
        }
        first.close().expect("a loop that does not run");
        second.close().expect("a loop that does not run");
    });
}

#[test]
fn a_unix_socket_moves_as_well() {
    run(async {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let transport = connect_accepted_socket(|| Idle, ours).await.expect("a connection");
        let sent = numbered(3 << 20);
        transport.write(&sent);
        theirs.write_all(b"between").expect("a peer");
        let detached = transport.detach().expect("an open connection");
        assert!(!detached.unsent.is_empty());
        let reader = elsewhere(|| async move {
            let recorder = Recorder::new();
            let log = recorder.log();
            adopt(|| recorder, detached).await.expect("a connection");
            log.lost().await;
            (log.received(), log.cause().is_none())
        });
        let mut received = vec![0; sent.len()];
        theirs.read_exact(&mut received).expect("a peer");
        assert_same(&received, &sent);
        theirs.shutdown(Shutdown::Both).expect("a peer");
        assert_eq!(reader.join().expect("a loop"), (b"between".to_vec(), true));
    });
}
