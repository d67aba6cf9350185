//! How a detached connection goes on: in order, with nothing lost or doubled, in whichever loop it comes to.

#![cfg(not(windows))]

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use rustix::net::sockopt;
use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{
    Address, AtEof, Detached, Flow, Layered, Protocol, Transport, WriteLimits,
};
use tidegate_reactor::{EventLoop, LoopError, LoopHandle, Remote, spawn};
use tidegate_testkit::{
    Callback, Event, Recorder, Tripwire, alone, open_descriptors, run, turns, watched,
};
use tidegate_transports::{ArgumentError, adopt, connect_accepted_socket};

mod support;
use support::{Idle, has_ended, inner, listener, never, poll_once};

/// The accepted end of a connection that holds little, and its peer.
fn sockets() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let peer = TcpStream::connect(address).expect("a listener");
    let (accepted, _) = listener.accept().expect("a client");
    sockopt::set_socket_send_buffer_size(&accepted, 128 << 10).expect("a socket");
    (accepted, peer)
}

async fn open(protocol: impl Protocol) -> (Transport, TcpStream) {
    let (accepted, peer) = sockets();
    (connect_accepted_socket(|| protocol, accepted).await.expect("a connection"), peer)
}

/// Runs a future in a loop of another thread.
fn elsewhere<F: Future<Output: Send>>(
    main: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<F::Output>
where
    F::Output: 'static,
{
    thread::spawn(move || {
        let event_loop = EventLoop::new().expect("an event loop");
        let answer = event_loop.run_until_complete(main()).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        answer
    })
}

/// Bytes of which no piece is like its neighbours.
fn numbered(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(length).collect()
}

#[track_caller]
fn assert_same(received: &[u8], sent: &[u8]) {
    let differs = received.iter().zip(sent).position(|(one, other)| one != other);
    assert_eq!((received.len(), differs), (sent.len(), None));
}

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
fn what_was_unread_comes_first_and_waits_while_reading_is_paused() {
    run(async {
        let (accepted, mut peer) = sockets();
        peer.write_all(b"ghi").expect("a peer");
        peer.shutdown(Shutdown::Write).expect("a peer");
        let tripwire = Tripwire::new();
        let recorder = Recorder::new()
            .on(Callback::ConnectionMade, Transport::pause_reading)
            .on(Callback::DataReceived, Transport::pause_reading)
            .on(Callback::BufferUpdated, Transport::pause_reading)
            .buffered(4);
        let log = recorder.log();
        let detached = Detached::new(accepted).with_unread(b"abcdef");
        let transport = adopt(|| tripwire.guard(recorder), detached).await.expect("open");
        // T-10, T-11
        let mut expected = vec![Event::Made];
        for piece in ["abcd", "ef", "ghi"] {
            turns(3).await;
            assert_eq!(without_asking(&log.events()), expected);
            transport.resume_reading();
            transport.resume_reading();
            expected.push(Event::updated(piece));
            log.until(|log| without_asking(&log.events()) == expected).await;
        }
        assert_eq!(transport.statistics().bytes_received, 9);
        transport.resume_reading();
        log.lost().await;
        expected.extend([Event::Eof, Event::Lost(None)]);
        assert_eq!(without_asking(&log.events()), expected);
        tripwire.assert_intact();
    });
}

fn without_asking(events: &[Event]) -> Vec<Event> {
    let asking = |event: &&Event| matches!(event, Event::BufferAsked(_));
    events.iter().filter(|event| !asking(event)).cloned().collect()
}

#[test]
fn what_is_still_unread_goes_along_again() {
    run(async {
        let (accepted, mut peer) = sockets();
        peer.write_all(b"!").expect("a peer");
        let held = Recorder::new().on(Callback::ConnectionMade, Transport::pause_reading);
        let detached = Detached::new(accepted).with_unread(b"abcdef");
        let transport = adopt(|| held, detached).await.expect("a connection");
        let detached = transport.detach().expect("an open connection");
        assert_eq!(detached.unread, "abcdef");

        let place = Rc::new(Cell::new(None));
        let kept = place.clone();
        let leave = move |transport: &Transport| kept.set(transport.detach().ok());
        let recorder = Recorder::new().once(Callback::BufferUpdated, leave).buffered(4);
        let log = recorder.log();
        adopt(|| recorder, detached).await.expect("a connection");
        log.lost().await;
        assert_eq!(log.received(), b"abcd");
        let detached = place.take().expect("detached");
        assert_eq!(detached.unread, "ef");

        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = adopt(|| recorder, detached.with_unread(b"d")).await.expect("open");
        log.received_at_least(4).await;
        assert_eq!(log.received(), b"def!");
        // All of it was read: the socket is as any other.
        assert!(transport.detach().expect("an open connection").unread.is_empty());
    });
}

#[test]
fn a_connection_that_closes_drops_what_was_unread() {
    run(async {
        let (accepted, peer) = sockets();
        let recorder = Recorder::new().on(Callback::ConnectionMade, Transport::close);
        let log = recorder.log();
        let detached = Detached::new(accepted).with_unread(b"abc");
        adopt(|| recorder, detached).await.expect("a connection");
        log.lost().await;
        turns(3).await;
        // T-17
        log.assert(&[Event::Made, Event::Lost(None)]);
        assert!(has_ended(&peer));
    });
}

#[test]
fn what_was_unsent_pauses_the_flow() {
    run(async {
        let (accepted, mut peer) = sockets();
        let sent = numbered(2 << 20);
        let mut detached = Detached::new(accepted);
        detached.unsent.push(&sent);
        let flow = Rc::new(Cell::new(None));
        let seen = flow.clone();
        let recorder = Recorder::new().on(Callback::ConnectionMade, move |transport| {
            seen.set(Some((transport.get_write_buffer_size(), transport.flow())));
        });
        let log = recorder.log();
        let limits = WriteLimits::new(Some(1000), None).expect("good limits");
        let transport = adopt(|| recorder, detached).write_buffer_limits(limits).await.unwrap();
        assert_eq!(flow.get(), Some((sent.len(), Flow::Paused)));
        log.until(|log| log.has(Callback::PauseWriting)).await;
        assert!(transport.statistics().paused_for.is_some());
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        transport.flush().await.expect("a connection");
        log.until(|log| log.has(Callback::ResumeWriting)).await;
        transport.close();
        log.lost().await;
        // T-47, T-48
        log.assert(&[Event::Made, Event::Paused, Event::Resumed, Event::Lost(None)]);
        assert_same(&reader.join().expect("a reader").expect("all"), &sent);
    });
}

#[test]
fn too_much_that_is_unsent_ends_the_connection_with_the_next_write() {
    run(async {
        let mut detached = Detached::new(sockets().0);
        detached.unsent.push(&[b'x'; 1000]);
        let recorder = Recorder::new();
        let log = recorder.log();
        let open = adopt(|| recorder, detached).abort_above(999);
        LoopHandle::current().expect("this loop").set_exception_handler(Some(|_: &_| ()));
        let transport = open.await.expect("a connection");
        assert_eq!(transport.write(b"!"), Flow::Closed);
        log.lost().await;
        assert!(log.cause().expect("a cause").to_string().contains("more than 999 bytes"));
    });
}

#[test]
fn an_ended_writing_direction_stays_ended() {
    for unsent in [0, 2 << 20] {
        run(async {
            let (transport, mut peer) = open(Idle).await;
            let sent = numbered(unsent);
            transport.write(&sent);
            transport.write_eof().expect("a socket");
            let detached = transport.detach().expect("an open connection");
            assert!(detached.write_eof);
            assert_eq!(detached.unsent.is_empty(), unsent == 0);

            let recorder = Recorder::new();
            let log = recorder.log();
            let transport = adopt(|| recorder, detached).await.expect("a connection");
            assert_eq!(transport.write(b"dropped"), Flow::Closed);
            // T-55: once is enough, and reading goes on
            transport.write_eof().expect("a socket");
            let reader = thread::spawn(move || {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).expect("a connection");
                peer.write_all(b"answer").expect("a connection");
                received
            });
            log.lost().await;
            assert_eq!(log.received(), b"answer");
            assert!(log.cause().is_none());
            assert_same(&reader.join().expect("a reader"), &sent);
        });
    }
}

#[test]
fn the_end_of_the_peer_is_found_again() {
    run(async {
        let recorder = Recorder::new().at_eof(AtEof::KeepWriting);
        let log = recorder.log();
        let (transport, mut peer) = open(recorder).await;
        peer.shutdown(Shutdown::Write).expect("a peer");
        log.until(|log| log.has(Callback::EofReceived)).await;
        let mut detached = transport.detach().expect("an open connection");

        // With both directions ended, too.
        for ended in [false, true] {
            let recorder = Recorder::new().at_eof(AtEof::KeepWriting);
            let log = recorder.log();
            let transport = adopt(|| recorder, detached).await.expect("a connection");
            log.until(|log| log.has(Callback::EofReceived)).await;
            let flow = if ended { Flow::Closed } else { Flow::Open };
            assert_eq!(transport.write(b"!"), flow);
            transport.write_eof().expect("a socket");
            // T-16
            transport.pause_reading();
            transport.resume_reading();
            turns(3).await;
            log.assert(&[Event::Made, Event::Eof]);
            detached = transport.detach().expect("an open connection");
        }
        drop(detached);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("a connection");
        assert_eq!(received, b"!");
    });
}

#[test]
fn a_peer_that_is_gone_is_noticed() {
    run(async {
        let (transport, peer) = open(Idle).await;
        sockopt::set_socket_linger(&peer, Some(std::time::Duration::ZERO)).expect("a socket");
        drop(peer);
        let detached = transport.detach().expect("nobody has noticed yet");
        let recorder = Recorder::new();
        let log = recorder.log();
        adopt(|| recorder, detached.with_unread(b"last words")).await.expect("a connection");
        log.lost().await;
        let reset = Event::Lost(Some(io::ErrorKind::ConnectionReset));
        log.assert(&[Event::Made, Event::data("last words"), reset]);
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

#[test]
fn a_layer_is_given_what_was_unread() {
    run(async {
        let (accepted, mut peer) = sockets();
        let mut detached = Detached::new(accepted).with_unread(b"unread");
        detached.unsent.push(b"unsent");
        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = adopt(|| recorder, detached).layer(Transparent).await.expect("open");
        log.received_at_least(6).await;
        log.assert(&[Event::Made, Event::data("unread")]);
        transport.close();
        log.lost().await;
        let mut received = String::new();
        peer.read_to_string(&mut received).expect("a connection");
        assert_eq!(received, "unsent");
    });
}

#[test]
fn options_and_addresses_stay() {
    run(async {
        let (transport, peer) = open(Idle).await;
        transport.with_socket(|socket| sockopt::set_tcp_nodelay(socket, false));
        let detached = transport.detach().expect("an open connection");
        let transport = adopt(|| Idle, detached).await.expect("a connection");
        let nodelay = transport.with_socket(|socket| sockopt::tcp_nodelay(socket));
        assert_eq!(nodelay, Some(Ok(false)));
        let address = peer.local_addr().expect("an address");
        assert_eq!(transport.peername(), Some(Address::Inet(address)));
        assert_eq!(transport.sockname(), peer.peer_addr().ok().map(Address::Inet));
    });
}

#[test]
fn what_is_refused_or_given_up_is_closed() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        // Outside of a loop.
        let (accepted, peer) = sockets();
        let mut opening = pin!(adopt(never, Detached::new(accepted)).into_future());
        let nobody = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let refused = opening.as_mut().poll(nobody);
        let std::task::Poll::Ready(Err(error)) = refused else { panic!("it is refused at once") };
        assert_eq!(inner(&error), Some(&LoopError::NotRunning));
        assert!(has_ended(&peer));
        drop(peer);

        let event_loop = EventLoop::new().expect("an event loop");
        let main = async {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let error = adopt(never, Detached::new(socket)).await.expect_err("no stream");
            assert_eq!(inner(&error), Some(&ArgumentError::NotAStreamSocket));

            // The builder, and the future at each of its stages.
            let (accepted, peer) = sockets();
            drop(adopt(never, Detached::new(accepted)));
            assert!(has_ended(&peer));
            for polls in 0..2 {
                let (accepted, peer) = sockets();
                let recorder = Recorder::new();
                let log = recorder.log();
                let detached = Detached::new(accepted).with_unread(b"dropped");
                let mut opening = adopt(|| recorder, detached).into_future();
                for _ in 0..polls {
                    assert!(poll_once(&mut opening).await.is_none());
                }
                drop(opening);
                turns(3).await;
                assert!(has_ended(&peer));
                // C-11
                let events = [Event::Made, Event::Lost(None)];
                log.assert(if polls == 0 { &[] } else { &events });
            }
        };
        event_loop.run_until_complete(main).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        drop(event_loop);
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_loop_that_closes_drops_what_is_unread() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let event_loop = EventLoop::new().expect("an event loop");
        let dropped = Rc::new(Cell::new(0));
        let main = async {
            let mut peers = Vec::new();
            for pause in [false, true] {
                let (accepted, peer) = sockets();
                let note = dropped.clone();
                let recorder = Recorder::new()
                    .on(Callback::ConnectionMade, move |transport| {
                        if pause {
                            transport.pause_reading();
                        }
                    })
                    .at_drop(move || note.set(note.get() + 1))
                    .buffered(1);
                let detached = Detached::new(accepted).with_unread(&numbered(10_000));
                adopt(|| recorder, detached).await.expect("a connection");
                peers.push(peer);
            }
            peers
        };
        let peers = event_loop.run_until_complete(main).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        drop(event_loop);
        assert_eq!(dropped.get(), 2);
        assert!(peers.iter().all(has_ended));
        drop(peers);
        assert_eq!(open_descriptors(), before);
    });
}
