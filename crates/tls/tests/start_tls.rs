//! STARTTLS: a connection goes on in TLS with the same protocol, and nothing leaks through the switch.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidegate_protocols::{Flow, Transport, WithProtocolError};
use tidegate_reactor::spawn;
use tidegate_testkit::memory::{PairOptions, pair};
use tidegate_testkit::{Callback, Event, Log, Recorder, run, turns, until};
use tidegate_tls::{Cipher, Server, Upgrade, start_tls};
use tidegate_transports::{
    create_connection, create_server, create_unix_connection, create_unix_server,
};

mod authority;
mod support;

use support::upgrading::{as_client, as_server, clear, close, line};
use support::{Both, Peer, handle, jumping, keep_reports, narrow, pass, pattern, poll_once};

/// A recorder that starts TLS when `STARTTLS` comes.
fn mail(server: Server, log: &Log) -> Recorder {
    let kept = log.clone();
    Recorder::writing_to(log).on(Callback::DataReceived, move |transport| {
        if kept.received().ends_with(b"STARTTLS\r\n") {
            transport.write(b"220 go ahead\r\n");
            start_tls(transport, &server).expect("it can start");
            transport.write(b"220 welcome in TLS\r\n");
        }
    })
}

// TLS-50: inside of a callback as a server, from a task as a client
#[test]
fn both_roles_start_in_callbacks_and_from_tasks() {
    jumping(async {
        let reports = keep_reports();
        let tls = Both::new();
        let log = Log::new();
        let (left, right, _line) =
            clear(PairOptions::default(), Recorder::new(), mail(tls.server.clone(), &log)).await;
        let log_right = right.log.clone();
        left.write(b"STARTTLS\r\n");
        left.log.received_at_least(14).await;
        // TLS-50: the answer is the same connection
        let secure = as_client(&tls, &left).await.expect("a handshake");
        assert!(secure.ptr_eq(&left));
        assert!(secure.get_extra_info::<Cipher>().is_some());
        assert_eq!(secure.with_protocol(|_: &mut Recorder| true), Ok(true));
        left.write(b"secret");
        log_right.received_at_least(16).await;
        left.log.received_at_least(34).await;
        assert_eq!(left.log.received(), b"220 go ahead\r\n220 welcome in TLS\r\n");
        assert_eq!(right.log.received(), b"STARTTLS\r\nsecret");
        close(&left, &right).await;
        // TLS-50: one connection_made
        assert_eq!(left.log.count(Callback::ConnectionMade), 1);
        assert!(reports.borrow().is_empty());
    });
}

// TLS-50: inside of a callback as a client, from a task as a server
#[test]
fn a_client_starts_in_a_callback() {
    jumping(async {
        let tls = Both::new();
        let client = tls.client.clone();
        let left = Recorder::new().once(Callback::DataReceived, move |transport| {
            start_tls(transport, (&client, "localhost")).expect("it can start");
            transport.write(b"password");
        });
        let (left, right, _line) = clear(PairOptions::default(), left, Recorder::new()).await;
        right.write(b"go ahead");
        as_server(&tls, &right).await.expect("a handshake");
        right.log.received_at_least(8).await;
        assert_eq!(right.log.received(), b"password");
        close(&left, &right).await;
    });
}

// TLS-50: a callback of any kind
#[test]
fn it_starts_in_connection_made() {
    jumping(async {
        let tls = Both::new();
        let client = tls.client.clone();
        let left = Recorder::new().once(Callback::ConnectionMade, move |transport| {
            start_tls(transport, (&client, "localhost")).expect("it can start");
            transport.write(b"at once");
        });
        let server = tls.server.clone();
        let right = Recorder::new().once(Callback::ConnectionMade, move |transport| {
            start_tls(transport, &server).expect("it can start");
        });
        let (left, right, _line) = clear(narrow(100), left, right).await;
        right.log.received_at_least(7).await;
        assert!(right.get_extra_info::<Cipher>().is_some());
        close(&left, &right).await;
        right.log.assert(&[Event::Made, Event::data("at once"), Event::Eof, Event::Lost(None)]);
    });
}

// TLS-52
#[test]
fn what_was_written_before_leaves_first_and_in_clear() {
    jumping(async {
        let tls = Both::new();
        let peer = Peer::server(&tls);
        let (left, _line) = line(narrow(1000), Recorder::new(), peer.protocol());
        left.log.made().await;
        let before = pattern(50_000);
        left.write(&before);
        assert!(left.get_write_buffer_size() > 40_000);
        let mut started = as_client(&tls, &left);
        // What is written from now on is not seen in clear: through any handle.
        left.write(b"the password");
        assert!(poll_once(&mut started).await.is_none());
        until(|| peer.clear().len() > before.len()).await;
        turns(100).await;
        let clear = peer.clear();
        assert!(clear[..before.len()] == before);
        // A handshake record of TLS, with a ClientHello in it.
        assert_eq!((clear[before.len()], clear[before.len() + 5]), (22, 1));
        assert!(!clear.windows(12).any(|seen| seen == b"the password"));
        left.abort();
        left.log.lost().await;
        assert!(started.await.is_err());
    });
}

// TLS-50: kept clones are the secure ones; the wire shows no plaintext
#[test]
fn clones_from_before_write_in_tls_only() {
    jumping(async {
        let tls = Both::new();
        let peer = Peer::server(&tls);
        let kept: Rc<RefCell<Vec<Transport>>> = Rc::default();
        let keep = kept.clone();
        let client = tls.client.clone();
        let left = Recorder::new()
            .on(Callback::ConnectionMade, move |transport| {
                keep.borrow_mut().push(transport.clone())
            })
            .once(Callback::DataReceived, move |transport| {
                let clone = transport.clone();
                start_tls(transport, (&client, "localhost")).expect("it can start");
                clone.write(b"password 1, ");
                transport.write(b"password 2, ");
            });
        let (left, line) = line(PairOptions::default(), left, peer.protocol());
        left.log.made().await;
        peer.transport().write(b"go ahead");
        left.log.received_at_least(8).await;
        peer.secure();
        kept.borrow()[0].write(b"password 3, ");
        line.left.write_bytes(b"password 4"[..].into());
        peer.received(46).await;
        assert_eq!(peer.plain(), b"password 1, password 2, password 3, password 4");
        assert!(!peer.wire().windows(8).any(|seen| seen == b"password"));
        peer.close_notify();
        left.log.lost().await;
        kept.borrow_mut().clear();
    });
}

// TLS-52: a paused connection stays paused, and its handshake goes on
#[test]
fn it_starts_on_a_paused_connection() {
    jumping(async {
        let tls = Both::new();
        let (left, right, _line) =
            clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
        left.pause_reading();
        let (started, other) = (as_client(&tls, &left), as_server(&tls, &right));
        started.await.expect("a handshake");
        other.await.expect("a handshake");
        assert!(!left.is_reading());
        right.write(b"hello");
        pass(Duration::from_secs(100)).await;
        left.log.assert(&[Event::Made]);
        left.resume_reading();
        left.log.received_at_least(5).await;
        close(&left, &right).await;
    });
}

// TLS-54a
#[test]
fn who_was_told_to_pause_is_told_to_resume() {
    jumping(async {
        let reports = keep_reports();
        // The notice may be delivered already, or due.
        for told in [true, false] {
            let tls = Both::new();
            let (left, right, _line) = clear(narrow(1000), Recorder::new(), Recorder::new()).await;
            left.set_write_buffer_limits(Some(5000), Some(1000)).expect("limits");
            assert_eq!(left.write(&pattern(50_000)), Flow::Paused);
            if told {
                turns(2).await;
                assert!(left.log.has(Callback::PauseWriting));
            }
            let started = as_client(&tls, &left);
            assert_eq!(left.flow(), Flow::Paused, "{told}");
            // asyncio: the limits are those of the transport before
            assert_eq!(left.get_write_buffer_limits().high(), 5000);
            right.log.received_at_least(50_000).await;
            assert!(right.log.received()[..50_000] == pattern(50_000));
            // What came behind was the client's flight.
            let flight = right.log.received()[50_000..].to_vec();
            let upgrade = Upgrade::from(&tls.server).unread(&flight).hand_over();
            let other = start_tls(&right, upgrade).expect("it can start");
            started.await.expect("a handshake");
            other.await.expect("a handshake");
            left.log.until(|log| log.has(Callback::ResumeWriting)).await;
            left.write(b"!");
            assert_eq!(left.flow(), Flow::Open);
            left.log.assert(&[Event::Made, Event::Paused, Event::Resumed]);
            close(&left, &right).await;
        }
        assert!(reports.borrow().is_empty());
    });
}

// TLS-58: handed over, whole or the beginning of it
#[test]
fn a_flight_that_rode_along_is_handed_over() {
    for cut in [usize::MAX, 1, 5, 100] {
        for in_callback in [true, false] {
            jumping(async {
                let tls = Both::new();
                let peer = Peer::client(&tls);
                let flight = peer.unsent();
                let (now, later) = flight.split_at(cut.min(flight.len()));
                let (server, unread) = (tls.server.clone(), now.to_vec());
                let right = Recorder::new().once(Callback::DataReceived, move |transport| {
                    if in_callback {
                        let upgrade = Upgrade::from(&server).unread(&unread).hand_over();
                        start_tls(transport, upgrade).expect("it can start");
                        transport.write(b"welcome");
                    }
                });
                let (left, _line) = line(PairOptions::default(), right, peer.protocol());
                left.log.made().await;
                peer.transport().write(&[b"STARTTLS\r\n", now].concat());
                left.log.received_at_least(10 + now.len()).await;
                peer.secure();
                if !in_callback {
                    let upgrade = Upgrade::from(&tls.server).unread(now).hand_over();
                    start_tls(&left, upgrade).expect("it can start");
                    left.write(b"welcome");
                }
                turns(3).await;
                peer.transport().write(later);
                peer.received(7).await;
                assert_eq!(peer.plain(), b"welcome");
                peer.write(b"thanks");
                left.log.received_at_least(16 + now.len()).await;
                peer.close_notify();
                left.log.lost().await;
                assert!(left.log.cause().is_none());
                left.log.assert_complete();
            });
        }
    }
}

// TLS-55
#[test]
fn set_protocol_after_the_start_in_the_same_callback() {
    jumping(async {
        let tls = Both::new();
        let next = Recorder::taking_over().buffered(3);
        let log = next.log();
        let (server, busy) = (tls.server.clone(), Rc::new(Cell::new(None)));
        let note = busy.clone();
        let right = Recorder::new().once(Callback::DataReceived, move |transport| {
            start_tls(transport, &server).expect("it can start");
            note.set(transport.with_protocol(|_: &mut Recorder| ()).err());
            transport.set_protocol(next);
        });
        let (left, right, _line) = clear(PairOptions::default(), Recorder::new(), right).await;
        left.write(b"STARTTLS\r\n");
        right.log.received_at_least(10).await;
        right.log.until(Log::is_abandoned).await;
        assert_eq!(busy.get(), Some(WithProtocolError::Busy));
        as_client(&tls, &left).await.expect("a handshake");
        left.write(b"for the next");
        log.received_at_least(12).await;
        assert_eq!(log.received(), b"for the next");
        // TLS-55: once more, later
        let last = Recorder::taking_over();
        let last_log = last.log();
        right.set_protocol(last);
        log.until(Log::is_abandoned).await;
        left.write(b"and the last");
        last_log.received_at_least(12).await;
        left.close();
        last_log.lost().await;
        last_log.assert_complete();
        right.log.assert(&[Event::Made, Event::data("STARTTLS\r\n")]);
    });
}

// TLS-56: TLS in TLS, started one after the other and at once
#[test]
fn it_starts_twice() {
    for at_once in [true, false] {
        jumping(async move {
            let (outer, inner) = (Both::new(), Both::new());
            let (left, right, _line) = clear(narrow(3000), Recorder::new(), Recorder::new()).await;
            let (first, second) = (as_client(&outer, &left), as_server(&outer, &right));
            if !at_once {
                first.await.expect("a handshake");
                second.await.expect("a handshake");
                left.write(b"between, ");
                right.log.received_at_least(9).await;
            }
            let (third, fourth) = (as_client(&inner, &left), as_server(&inner, &right));
            left.write(&pattern(100_000));
            right.write(&pattern(100_000));
            third.await.expect("a handshake");
            fourth.await.expect("a handshake");
            let between = if at_once { 0 } else { 9 };
            right.log.received_at_least(100_000 + between).await;
            left.log.received_at_least(100_000).await;
            assert!(right.log.received()[between..] == pattern(100_000));
            assert!(left.log.received() == pattern(100_000));
            close(&left, &right).await;
            assert!(left.log.cause().is_none() && right.log.cause().is_none());
        });
    }
}

/// Starts TLS on both, and sends something each way.
async fn upgrade_and_talk(tls: &Both, client: &Transport, heard: &Log, servers: &Log) {
    client.write(b"STARTTLS\r\n");
    heard.received_at_least(14).await;
    start_tls(client, (&tls.client, "localhost")).expect("it starts").await.expect("a handshake");
    client.write(&pattern(1 << 20));
    servers.received_at_least(10 + (1 << 20)).await;
    heard.received_at_least(34).await;
    assert!(servers.received()[10..] == pattern(1 << 20));
    client.close();
    heard.lost().await;
    servers.lost().await;
    assert!(heard.cause().is_none() && servers.cause().is_none());
}

// TLS-50: over the system's sockets
#[test]
fn it_starts_over_sockets() {
    run(async {
        let tls = Both::new();
        let heard = Log::new();
        let (log, tls_server) = (heard.clone(), tls.server.clone());
        let server = create_server(move || mail(tls_server.clone(), &log), ("127.0.0.1", 0));
        let server = server.await.expect("a server");
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        let said = Log::new();
        let log = said.clone();
        let client = create_connection(move || Recorder::writing_to(&log), address);
        let client = client.await.expect("a client");
        upgrade_and_talk(&tls, &client, &said, &heard).await;
        server.close();
    });
    run(async {
        let tls = Both::new();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let heard = Log::new();
        let (log, tls_server) = (heard.clone(), tls.server.clone());
        let server = create_unix_server(move || mail(tls_server.clone(), &log), &path);
        let server = server.await.expect("a server");
        let said = Log::new();
        let log = said.clone();
        let client = create_unix_connection(move || Recorder::writing_to(&log), &path);
        let client = client.await.expect("a client");
        upgrade_and_talk(&tls, &client, &said, &heard).await;
        server.close();
    });
}

// TLS-10: whoever waits for start_tls goes on before the first data is delivered
#[test]
fn the_caller_goes_on_before_the_data() {
    jumping(async {
        let tls = Both::new();
        let peer = Peer::client(&tls);
        let right = Recorder::new();
        let log = right.log();
        let (left, _line) = line(PairOptions::default(), right, peer.protocol());
        left.log.made().await;
        let started = as_server(&tls, &left);
        let note = log.clone();
        let waiting = spawn(async move {
            started.await.expect("a handshake");
            note.note("the caller goes on");
        });
        peer.secure();
        until(|| !peer.unsent().is_empty() || peer.plain_len() > 0 || log.events().len() > 1).await;
        peer.write(b"data");
        log.received_at_least(4).await;
        waiting.expect("a task").await.expect("it goes on");
        log.assert(&[Event::Made, Event::note("the caller goes on"), Event::data("data")]);
        peer.close_notify();
        log.lost().await;
    });
}

// TLS-50: then the layer is there from the beginning
#[test]
fn it_starts_before_connection_made() {
    jumping(async {
        let tls = Both::new();
        let (left, right) = (Recorder::new(), Recorder::new());
        let (said, heard) = (left.log(), right.log());
        let (left, right) = pair(&handle(), left, right, PairOptions::default());
        let (first, second) = (as_client(&tls, &left), as_server(&tls, &right));
        let (first, second) = (first.await.expect("opened"), second.await.expect("opened"));
        said.assert(&[Event::Made]);
        assert!(first.ptr_eq(&left) && second.ptr_eq(&right));
        assert_eq!(left.get_write_buffer_limits(), left.raw().default_write_buffer_limits());
        left.write(b"hello");
        heard.received_at_least(5).await;
        left.close();
        heard.lost().await;
        heard.assert(&[Event::Made, Event::data("hello"), Event::Eof, Event::Lost(None)]);
    });
}

// TLS-10: also if they come in one read with the end of the handshake
#[test]
fn the_caller_goes_on_before_data_that_came_with_the_end_of_the_handshake() {
    jumping(async {
        let tls = Both::new();
        let peer = Peer::client(&tls);
        peer.hold();
        let right = Recorder::new();
        let log = right.log();
        let (left, _line) = line(PairOptions::default(), right, peer.protocol());
        left.log.made().await;
        let started = as_server(&tls, &left);
        let note = log.clone();
        let waiting = spawn(async move {
            started.await.expect("a handshake");
            note.note("the caller goes on");
        });
        peer.secure();
        peer.transport().write(&peer.unsent());
        // The server's flight is here when the client wants to answer it.
        let mut last = Vec::new();
        until(|| {
            last.extend(peer.unsent());
            last.len() > 20
        })
        .await;
        last.extend(peer.records(b"data"));
        peer.transport().write(&last);
        log.received_at_least(4).await;
        waiting.expect("a task").await.expect("it goes on");
        log.assert(&[Event::Made, Event::note("the caller goes on"), Event::data("data")]);
        left.abort();
    });
}
