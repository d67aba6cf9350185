//! How a detached connection goes on: what comes first, what stays, and what is refused.

#![cfg(not(windows))]

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::pin::pin;
use std::rc::Rc;
use std::thread;

use rustix::net::sockopt;
use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{Address, AtEof, Detached, Flow, Layered, Transport, WriteLimits};
use tidegate_reactor::{EventLoop, LoopError, LoopHandle};
use tidegate_testkit::{
    Callback, Event, Recorder, Tripwire, alone, open_descriptors, run, turns, watched,
};
use tidegate_transports::{ArgumentError, adopt};

mod support;
use support::moves::{assert_same, numbered, open, sockets};
use support::{Idle, has_ended, inner, never, poll_once};

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
fn what_was_unread_is_read_once_a_turn() {
    run(async {
        let again = |transport: &Transport| {
            transport.pause_reading();
            transport.resume_reading();
        };
        let recorder = Recorder::new().buffered(1).on(Callback::BufferUpdated, again);
        let log = recorder.log();
        let detached = Detached::new(sockets().0).with_unread(b"abcdefgh");
        adopt(|| recorder, detached).await.expect("a connection");
        // T-22
        let mut before = log.received_len();
        while before < 8 {
            turns(1).await;
            assert!(log.received_len() <= before + 1);
            before = log.received_len();
        }
    });
}

#[test]
fn what_is_unread_and_not_wanted_keeps_the_loop_from_nothing() {
    run(async {
        let handle = LoopHandle::current().expect("this loop");
        let idle = async || {
            turns(3).await;
            assert_eq!(handle.statistics().ready, 0);
        };
        let detached = Detached::new(sockets().0).with_unread(b"abcdef");
        let held = Recorder::new().on(Callback::ConnectionMade, Transport::pause_reading);
        let transport = adopt(|| held, detached).await.expect("a connection");
        idle().await;
        let detached = transport.detach().expect("an open connection");
        idle().await;

        // Wanted, and taken away in the middle.
        let bit_by_bit = || Recorder::new().buffered(1);
        let transport = adopt(bit_by_bit, detached).await.expect("a connection");
        let detached = transport.detach().expect("an open connection");
        assert!((1..6).contains(&detached.unread.len()));
        idle().await;
        let transport = adopt(bit_by_bit, detached).await.expect("a connection");
        transport.close();
        idle().await;
        transport.closed().await;
        idle().await;
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
