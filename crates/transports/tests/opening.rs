//! From a connected socket to a greeted protocol: order, ownership, failures and layers.

#![cfg(not(windows))]

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use rustix::net::sockopt;
use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{Layered, Protocol, Transport, WriteLimits};
use tidegate_reactor::LoopHandle;
use tidegate_testkit::{Callback, Event, Recorder, alone, open_descriptors, run, watched};
use tidegate_transports::{Target, connect_accepted_socket, create_connection};

mod support;
use support::{
    BlackHole, Fate, Idle, Shut, has_ended, keep_reports, listener, never, poll_once, read_all,
    turns, until,
};

#[test]
fn the_factory_the_callback_and_the_caller_come_in_order() {
    run(async {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(b"early")?;
        let recorder = Recorder::new();
        let log = recorder.log();
        let noted = log.clone();
        let factory = move || {
            noted.note("factory");
            recorder
        };
        // C-12: bytes that were there before are delivered after the caller has resumed
        // C-11: a Unix socket is welcome
        let transport = create_connection(factory, ()).sock(ours).await?;
        log.note("caller");
        log.received_at_least(5).await;
        assert!(transport.is_reading());
        log.assert(&[
            Event::note("factory"),
            Event::Made,
            Event::note("caller"),
            Event::data("early"),
        ]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn small_writes_leave_at_once() {
    run(async {
        let (listener, address) = listener();
        let no_delay = |transport: &Transport| {
            transport.with_socket(|socket| sockopt::tcp_nodelay(socket)).expect("open").unwrap()
        };
        // C-13: connected, given and accepted elsewhere
        let connected = create_connection(|| Idle, address).await?;
        assert!(no_delay(&connected));
        let given = TcpStream::connect(address)?;
        assert!(!given.nodelay()?);
        let given = create_connection(|| Idle, ()).sock(given).await?;
        assert!(no_delay(&given));
        let accepted = connect_accepted_socket(|| Idle, listener.accept()?.0).await?;
        assert!(no_delay(&accepted));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_given_socket_becomes_the_transports_own() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let (listener, address) = listener();
            let (recorder, accepting) = (Recorder::new(), Recorder::new());
            let (log, accepting_log) = (recorder.log(), accepting.log());
            // C-11 C-16
            let given = TcpStream::connect(address)?;
            let transport = create_connection(move || recorder, ()).sock(given).await?;
            let (accepted, _) = listener.accept()?;
            let other = connect_accepted_socket(move || accepting, accepted).await?;
            assert_eq!(transport.peername(), other.sockname());
            assert_eq!(transport.sockname(), other.peername());
            transport.write(b"ping");
            accepting_log.received_at_least(4).await;
            other.write(b"pong");
            log.received_at_least(4).await;
            transport.close();
            log.lost().await;
            accepting_log.lost().await;
            log.assert(&[Event::Made, Event::data("pong"), Event::Lost(None)]);
            let heard = [Event::Made, Event::data("ping"), Event::Eof, Event::Lost(None)];
            accepting_log.assert(&heard);
            drop(listener);
            turns(2).await;
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn dropping_the_future_while_it_is_set_up_closes_the_transport() {
    run(async {
        let (ours, mut theirs) = UnixStream::pair()?;
        let recorder = Recorder::new();
        let log = recorder.log();
        let mut connecting = create_connection(move || recorder, ()).sock(ours).into_future();
        assert!(poll_once(&mut connecting).await.is_none());
        assert!(log.events().is_empty());
        drop(connecting);
        // C-11
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
        assert_eq!(theirs.read(&mut [0])?, 0);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn closing_in_connection_made_still_answers_a_transport() {
    for abort in [false, true] {
        run(async {
            let (listener, address) = listener();
            let recorder = Recorder::new().on(Callback::ConnectionMade, move |transport| {
                if abort { transport.abort() } else { transport.close() }
            });
            let log = recorder.log();
            // C-15
            let transport = create_connection(move || recorder, address).await?;
            assert!(transport.is_closing());
            let (mut peer, _) = listener.accept()?;
            let _ = peer.write_all(b"too late");
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(None)]);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    }
}

#[test]
fn a_panic_in_connection_made_ends_the_connection_and_is_reported() {
    run(async {
        let reports = keep_reports();
        let (listener, address) = listener();
        let recorder = Recorder::new().panicking(Callback::ConnectionMade);
        let log = recorder.log();
        // replaced: C-14
        let transport = create_connection(move || recorder, address).await?;
        assert!(transport.is_closing());
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(Some(io::ErrorKind::Other))]);
        assert_eq!(reports.borrow().len(), 1);
        assert!(read_all(listener.accept()?.0).is_empty());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_factory_that_panics_closes_the_connection() {
    watched(|| {
        let _alone = alone();
        run(async {
            let (listener, address) = listener();
            let before = open_descriptors();
            let mut connecting = pin!(create_connection(never, address).into_future());
            // C-10
            let unwound = poll_fn(|context| {
                let polled = catch_unwind(AssertUnwindSafe(|| connecting.as_mut().poll(context)));
                match polled {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(_)) => Poll::Ready(false),
                    Err(_) => Poll::Ready(true),
                }
            });
            assert!(unwound.await);
            assert_eq!(open_descriptors(), before);
            drop(listener);
        });
    });
}

#[test]
fn limits_reach_the_transport() {
    run(async {
        let reports = keep_reports();
        let (listener, address) = listener();
        let limits = WriteLimits::new(Some(1000), None).expect("limits");
        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = create_connection(move || recorder, address)
            .write_buffer_limits(limits)
            .abort_above(1 << 20)
            .await?;
        assert_eq!(transport.get_write_buffer_limits(), limits);
        let (_peer, _) = listener.accept()?;
        // More than the system takes, and then more than is allowed.
        while !transport.is_closing() {
            transport.write(&[0; 1 << 20]);
        }
        log.lost().await;
        assert!(log.cause().is_some());
        assert_eq!(reports.borrow().len(), 1);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn with_a_layer_the_answer_is_what_the_protocol_sees() {
    run(async {
        let (listener, address) = listener();
        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = create_connection(move || recorder, address)
            .layer(Transparent)
            .layer(Transparent)
            .await?;
        log.assert(&[Event::Made]);
        let (mut peer, _) = listener.accept()?;
        transport.write(b"through two layers");
        transport.flush().await?;
        let mut heard = [0; 18];
        peer.read_exact(&mut heard)?;
        assert_eq!(&heard, b"through two layers");
        assert!(transport.with_protocol(|_: &mut Recorder| ()).is_ok());
        transport.close();
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_layer_is_told_the_host() {
    run(async {
        let (_listener, address) = listener();
        let check = async |target: Target, expected: Option<&str>| {
            let layer = Shut::new(Fate::Failed);
            let hosts = layer.hosts.clone();
            let failed = create_connection(|| Idle, target).layer(layer).await;
            assert!(failed.is_err());
            assert_eq!(*hosts.borrow(), [expected.map(str::to_owned)]);
        };
        check(("localhost", address.port()).into(), Some("localhost")).await;
        check(("127.0.0.1", address.port()).into(), Some("127.0.0.1")).await;
        check(address.into(), Some("127.0.0.1")).await;
    });
}

#[test]
fn a_layer_that_does_not_open_fails_the_call() {
    for (fate, kind) in [
        (Fate::Failed, io::ErrorKind::InvalidData),
        (Fate::Dropped, io::ErrorKind::ConnectionAborted),
        (Fate::DroppedEarly, io::ErrorKind::ConnectionAborted),
    ] {
        run(async {
            let (listener, address) = listener();
            let layer = Shut::new(fate);
            let error = create_connection(|| Idle, address).layer(layer).await;
            assert_eq!(error.expect_err("a shut layer").kind(), kind);
            // Nothing is left open below.
            let (peer, _) = listener.accept()?;
            until(|| has_ended(&peer)).await;
            Ok::<(), io::Error>(())
        })
        .unwrap();
    }
}

#[test]
fn dropping_the_future_while_a_layer_opens_aborts_the_wire() {
    run(async {
        let (listener, address) = listener();
        let layer = Shut::new(Fate::Kept);
        let gates = layer.gates.clone();
        let mut connecting = create_connection(|| Idle, address).layer(layer).into_future();
        while gates.get() == 0 {
            assert!(poll_once(&mut connecting).await.is_none());
            turns(1).await;
        }
        let (peer, _) = listener.accept()?;
        turns(3).await;
        assert!(!has_ended(&peer));
        // C-11
        drop(connecting);
        turns(3).await;
        assert!(has_ended(&peer));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A protocol whose drop is noticed.
struct Noticed(Rc<Cell<bool>>);

impl Protocol for Noticed {}

impl Drop for Noticed {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_loop_that_closes_while_connections_are_made_leaves_nothing() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let hole = BlackHole::new();
        let nowhere = hole.address;
        let held = open_descriptors();
        let dropped = Rc::new(Cell::new(false));
        let notice = dropped.clone();
        run(async move {
            let handle = LoopHandle::current()?;
            let connecting = create_connection(never, nowhere).into_future();
            let _dialling = handle.spawn(async move { drop(connecting.await) })?;
            let (ours, theirs) = UnixStream::pair()?;
            let opening = create_connection(move || Noticed(notice), ()).sock(ours);
            let opening = opening.layer(Shut::new(Fate::Kept)).into_future();
            let _opening = handle.spawn(async move { drop(opening.await) })?;
            turns(5).await;
            assert!(open_descriptors() > held);
            drop(theirs);
            // Leaving here closes the loop while both are pending.
            Ok::<(), io::Error>(())
        })
        .unwrap();
        assert!(dropped.get());
        drop(hole);
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn descriptors_convert() {
    // A socket can be given as any type that owns one.
    run(async {
        let (ours, theirs) = UnixStream::pair()?;
        let ours: OwnedFd = ours.into();
        let transport = create_connection(|| Idle, ()).sock(ours).await?;
        let accepted = connect_accepted_socket(|| Idle, theirs).await?;
        transport.close();
        assert!(accepted.closed().await.is_none());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
