//! How a connection leaves its loop: what it takes along, what its old protocol hears, and when it is refused.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{
    Above, DetachError, Detached, Flow, Gate, Layer, Layered, PeerCredentials, Protocol, Transport,
};
use tidegate_reactor::{EventLoop, LoopHandle};
use tidegate_testkit::{
    Callback, Event, Log, Recorder, Tripwire, alone, memory, open_descriptors, run, watched,
};
use tidegate_transports::{adopt, connect_accepted_socket, create_server};

mod support;
use support::{
    Idle, LOOPBACK, connect, has_ended, keep_reports, listener, messages, poll_once, recording,
    turns, until,
};

/// A connection of the running loop, and its peer.
async fn open(protocol: impl Protocol) -> (Transport, TcpStream) {
    let (listener, address) = listener();
    let peer = TcpStream::connect(address).expect("a listener");
    let (accepted, _) = listener.accept().expect("a client");
    (connect_accepted_socket(|| protocol, accepted).await.expect("a connection"), peer)
}

/// Reads exactly as many bytes as it has to.
fn expect(mut peer: &TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    peer.read_exact(&mut read).expect("bytes");
    assert_eq!(read, bytes);
}

/// Sees that a connection goes on in the running loop, in both directions.
async fn check_alive(detached: Detached, mut peer: &TcpStream) {
    let recorder = Recorder::new();
    let log = recorder.log();
    let transport = adopt(|| recorder, detached).await.expect("a connection");
    peer.write_all(b"ping").expect("a peer");
    log.until(|log| log.received().ends_with(b"ping")).await;
    transport.write(b"pong");
    transport.flush().await.expect("a connection");
    expect(peer, b"pong");
    transport.close();
    log.lost().await;
    log.assert_complete();
}

#[test]
fn to_the_old_end_a_detached_connection_has_ended() {
    run(async {
        let (tripwire, recorder) = (Tripwire::new(), Recorder::new());
        let log = recorder.log();
        let (transport, peer) = open(tripwire.guard(recorder)).await;
        let (peername, sockname) = (transport.peername(), transport.sockname());
        let number = transport.with_socket(|socket| socket.as_raw_fd());
        transport.write(b"offered");

        let detached = transport.detach()?;
        assert_eq!(number, Some(detached.as_fd().as_raw_fd()));
        assert_eq!(detached.peername, peername);
        assert!(detached.unread.is_empty() && detached.unsent.is_empty() && !detached.write_eof);
        expect(&peer, b"offered");
        // T-02: the loss comes from the loop
        log.assert(&[Event::Made]);
        assert!(transport.is_closing() && !transport.is_reading());
        assert_eq!((transport.write(b"dropped"), transport.flow()), (Flow::Closed, Flow::Closed));
        assert_eq!(transport.get_write_buffer_size(), 0);
        assert!(transport.with_socket(|_| ()).is_none());
        transport.flush().await?;
        transport.write_eof()?;
        transport.resume_reading();
        transport.abort();
        transport.close();

        assert!(transport.closed().await.is_none());
        log.assert(&[Event::Made, Event::Lost(None)]);
        log.assert_complete();
        assert_eq!((transport.peername(), transport.sockname()), (peername, sockname));
        assert_eq!(transport.statistics().bytes_sent, 7);
        check_alive(detached, &peer).await;
        assert_eq!(log.events().len(), 2);
        tripwire.assert_intact();
        assert!(tripwire.calls().contains(&"detach"));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A recorder that detaches at a callback, with what it gives to the next one.
fn leaving(at: Callback, rest: &'static [u8]) -> (Recorder, Rc<RefCell<Option<Detached>>>) {
    let place = Rc::new(RefCell::new(None));
    let kept = place.clone();
    let leave = move |transport: &Transport| {
        let detached = transport.detach().expect("an open connection").with_unread(rest);
        assert!(kept.borrow_mut().replace(detached).is_none());
    };
    (Recorder::new().once(at, leave), place)
}

#[test]
fn a_callback_may_detach_and_is_the_last_one_before_the_loss() {
    let check = |at, rest: &'static [u8], events: &[Event]| {
        run(async {
            let (recorder, place) = leaving(at, rest);
            let (tripwire, log) = (Tripwire::new(), recorder.log());
            let (_transport, mut peer) = open(tripwire.guard(recorder)).await;
            peer.write_all(b"abcdef").expect("a peer");
            if at == Callback::EofReceived {
                peer.shutdown(Shutdown::Write).expect("a peer");
            }
            log.lost().await;
            assert_eq!(log.joined(), events);
            log.assert_complete();
            tripwire.assert_intact();

            let detached = place.take().expect("detached");
            let recorder = Recorder::new();
            let log = recorder.log();
            adopt(|| recorder, detached).await.expect("a connection");
            peer.shutdown(Shutdown::Write).expect("a peer");
            log.lost().await;
            let received = match at {
                Callback::ConnectionMade => b"abcdef",
                _ => rest,
            };
            let mut expected = vec![Event::Made, Event::data(received)];
            expected.retain(|event| *event != Event::data(b""));
            expected.extend([Event::Eof, Event::Lost(None)]);
            assert_eq!(log.joined(), expected);
        });
    };
    let data = || Event::data(b"abcdef");
    check(Callback::ConnectionMade, b"", &[Event::Made, Event::Lost(None)]);
    check(Callback::DataReceived, b"ef", &[Event::Made, data(), Event::Lost(None)]);
    check(Callback::EofReceived, b"ef", &[Event::Made, data(), Event::Eof, Event::Lost(None)]);
    check(Callback::EofReceived, b"", &[Event::Made, data(), Event::Eof, Event::Lost(None)]);
}

#[test]
fn a_protocol_that_receives_into_its_own_memory_may_detach() {
    // The read is made after get_buffer has detached, and finds nothing any more.
    for at in [Callback::GetBuffer, Callback::BufferUpdated] {
        run(async {
            let (recorder, place) = leaving(at, b"");
            let log = recorder.log();
            let (_transport, mut peer) = open(recorder.buffered(3)).await;
            peer.write_all(b"abc").expect("a peer");
            log.lost().await;
            let told = log.count(Callback::BufferUpdated);
            assert_eq!(told, usize::from(at == Callback::BufferUpdated));

            let recorder = Recorder::new();
            let log = recorder.log();
            adopt(|| recorder, place.take().expect("detached")).await.expect("a connection");
            peer.shutdown(Shutdown::Write).expect("a peer");
            log.lost().await;
            assert_eq!(log.received(), b"abc"[3 * told..]);
        });
    }
}

#[test]
fn a_notice_that_was_owed_is_not_delivered() {
    run(async {
        let recorder = Recorder::new();
        let log = recorder.log();
        let (transport, _peer) = open(recorder).await;
        // More than both ends of loopback hold.
        assert_eq!(transport.write(&vec![b'x'; 32 << 20]), Flow::Paused);
        let detached = transport.detach()?;
        assert!(!detached.unsent.is_empty());
        // A flush that had something to send has failed.
        assert_eq!(
            transport.flush().await.map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionAborted)
        );
        log.lost().await;
        // T-51
        log.assert(&[Event::Made, Event::Lost(None)]);
        assert!(transport.statistics().paused_for.is_none());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn who_waits_for_a_flush_is_told() {
    run(async {
        let (transport, _peer) = open(Idle).await;
        transport.write(&vec![b'x'; 32 << 20]);
        let mut flush = transport.flush();
        assert!(poll_once(&mut flush).await.is_none());
        let _detached = transport.detach()?;
        let error = flush.await.expect_err("not everything was sent");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// What a refused connection can still do.
async fn check_unharmed(transport: &Transport, log: &Log, mut peer: &TcpStream) {
    peer.write_all(b"still").expect("a peer");
    log.received_at_least(5).await;
    transport.write(b"here");
    transport.flush().await.expect("a connection");
    expect(peer, b"here");
}

#[test]
fn what_cannot_be_detached_goes_on() {
    run(async {
        // While somebody looks at the socket.
        let recorder = Recorder::new();
        let log = recorder.log();
        let (transport, peer) = open(recorder).await;
        let refused = transport.with_socket(|_| transport.detach().err());
        assert_eq!(refused, Some(Some(DetachError::Busy)));
        check_unharmed(&transport, &log, &peer).await;

        // While it closes, and when it is lost.
        transport.close();
        assert_eq!(transport.detach().err(), Some(DetachError::Closing));
        transport.closed().await;
        assert_eq!(transport.detach().err(), Some(DetachError::Closing));

        // A second time.
        let (transport, _peer) = open(Idle).await;
        let _detached = transport.detach()?;
        assert_eq!(transport.detach().err(), Some(DetachError::Closing));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn what_is_sent_last_may_meet_the_end_of_the_connection() {
    run(async {
        let recorder = Recorder::new();
        let log = recorder.log();
        let (transport, peer) = open(recorder).await;
        transport.with_socket(|socket| rustix::net::shutdown(socket, rustix::net::Shutdown::Write));
        transport.write(b"refused by the system");
        assert_eq!(transport.detach().err(), Some(DetachError::Closing));
        // T-34: the error goes to the protocol
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(Some(io::ErrorKind::BrokenPipe))]);
        drop(peer);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A layer that keeps the transport below it and steps aside.
struct Spy(Rc<RefCell<Option<Transport>>>);

impl Layer for Spy {
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        Box::new(SpyProtocol { below: self.0.clone(), next: Some((above.protocol, gate)) })
    }
}

struct SpyProtocol {
    below: Rc<RefCell<Option<Transport>>>,
    next: Option<(Box<dyn Protocol>, Gate)>,
}

impl Protocol for SpyProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        self.below.replace(Some(transport.clone()));
        if let Some((mut next, gate)) = self.next.take() {
            next.connection_made(transport);
            gate.open(transport);
            transport.wrap_protocol(|_| next);
        }
    }
}

#[test]
fn a_layer_keeps_its_connection() {
    run(async {
        let below = Rc::new(RefCell::new(None));
        let recorder = Recorder::new();
        let log = recorder.log();
        let (listener, address) = listener();
        let peer = TcpStream::connect(address)?;
        let (accepted, _) = listener.accept()?;
        let builder = connect_accepted_socket(|| recorder, accepted);
        let transport = builder.layer(Spy(below.clone())).layer(Transparent).await?;
        assert_eq!(transport.detach().err(), Some(DetachError::Layered));
        let wire = below.take().expect("a layer");
        assert_eq!(wire.detach().err(), Some(DetachError::Layered));
        check_unharmed(&transport, &log, &peer).await;

        // One that was put under a connection later.
        let recorder = Recorder::new();
        let log = recorder.log();
        let (transport, peer) = open(recorder).await;
        let mut private = None;
        transport.raise(|below| {
            private = Some(below.clone());
            below.raw()
        });
        assert_eq!(transport.detach().err(), Some(DetachError::Layered));
        assert_eq!(private.and_then(|wire| wire.detach().err()), Some(DetachError::Layered));
        check_unharmed(&transport, &log, &peer).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_layer_of_a_server_keeps_its_connections() {
    run(async {
        let below = Rc::new(RefCell::new(None));
        let (server, logs) = recording(LOOPBACK);
        let server = server.layer(Spy(below.clone())).await?;
        let peer = connect(&server);
        until(|| below.borrow().is_some()).await;
        let wire = below.take().expect("a layer");
        assert_eq!(wire.detach().err(), Some(DetachError::Layered));
        let log = logs.borrow()[0].clone();
        check_unharmed(&wire, &log, &peer).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn memory_has_nothing_to_detach() {
    run(async {
        let (left, right) = (Recorder::new(), Recorder::new());
        let log = right.log();
        let handle = LoopHandle::current()?;
        let (left, _right) = memory::pair(&handle, left, right, memory::PairOptions::default());
        // connection_made is still to come.
        assert_eq!(left.detach().err(), Some(DetachError::Opening));
        log.made().await;
        left.write(b"one ");
        assert_eq!(left.detach().err(), Some(DetachError::NoDescriptor));
        left.write(b"two");
        log.received_at_least(7).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_server_sees_a_connection_leave() {
    run(async {
        let (recorder, place) = leaving(Callback::DataReceived, b"hello");
        let (log, mut first) = (recorder.log(), Some(recorder));
        let factory = move || first.take().unwrap_or_default();
        let server = create_server(factory, LOOPBACK).max_connections(1).await?;
        let mut client = connect(&server);
        let second = connect(&server);
        log.made().await;
        turns(3).await;
        assert_eq!((server.statistics().open, server.statistics().accepted), (1, 1));

        client.write_all(b"hello")?;
        // S-32: it has left when connection_lost was delivered
        log.lost().await;
        until(|| server.statistics().accepted == 2).await;
        server.close();
        drop(second);
        server.wait_closed().await;
        assert_eq!(server.statistics().open, 0);
        check_alive(place.take().expect("detached"), &client).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_callback_that_fails_after_it_has_detached_is_reported() {
    run(async {
        let reports = keep_reports();
        let (recorder, place) = leaving(Callback::DataReceived, b"");
        let recorder = recorder.failing(Callback::DataReceived).panicking(Callback::ConnectionLost);
        let log = recorder.log();
        let (transport, mut peer) = open(recorder).await;
        peer.write_all(b"!").expect("a peer");
        assert!(transport.closed().await.is_none());
        assert!(transport.closed().await.is_none());
        // T-03: connection_lost has come, and once, though it panicked
        log.assert(&[Event::Made, Event::data("!"), Event::Lost(None)]);
        assert_eq!(
            messages(&reports),
            [
                "Fatal error: protocol.data_received() call failed.",
                "Fatal error: protocol.connection_lost() call failed."
            ]
        );
        check_alive(place.take().expect("detached"), &peer).await;
    });
}

#[test]
fn dropping_it_closes_the_descriptor() {
    watched(|| {
        let _alone = alone();
        let event_loop = EventLoop::new().expect("an event loop");
        let main = async {
            let before = open_descriptors();
            let (transport, peer) = open(Idle).await;
            let detached = transport.detach().expect("an open connection");
            transport.closed().await;
            assert!(!has_ended(&peer));
            assert_eq!(open_descriptors(), before + 2);
            drop(detached);
            assert!(has_ended(&peer));
            assert_eq!(open_descriptors(), before + 1);
        };
        event_loop.run_until_complete(main).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
    });
}

#[test]
fn a_loop_that_closes_before_the_loss_forgets_the_old_protocol() {
    watched(|| {
        let dropped = Rc::new(Cell::new(false));
        let note = dropped.clone();
        let recorder = Recorder::new().at_drop(move || note.set(true));
        let log = recorder.log();
        let event_loop = EventLoop::new().expect("an event loop");
        let opened = event_loop.run_until_complete(open(recorder));
        let (transport, peer) = opened.expect("a loop that is not stopped");
        let detached = transport.detach().expect("an open connection");
        event_loop.close().expect("a loop that does not run");

        // No callback comes any more.
        log.assert(&[Event::Made]);
        assert!(dropped.get());
        let other = EventLoop::new().expect("an event loop");
        let closed = async { transport.closed().await.is_none() };
        assert!(other.run_until_complete(closed).expect("a loop that is not stopped"));
        other.run_until_complete(check_alive(detached, &peer)).expect("a loop");
        other.close().expect("a loop that does not run");
    });
}

#[test]
fn what_was_known_of_the_peer_is_known_still() {
    run(async {
        let (ours, theirs) = UnixStream::pair()?;
        let transport = connect_accepted_socket(|| Idle, ours).await?;
        let known = transport.get_extra_info::<PeerCredentials>();
        assert_eq!(known.is_some(), cfg!(all(target_os = "linux", not(tidegate_portable))));
        let _detached = transport.detach()?;
        assert_eq!(transport.get_extra_info(), known);
        transport.closed().await;
        assert_eq!(transport.get_extra_info(), known);
        drop(theirs);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
