//! What is written and what arrives: pieces, buffers, failures, and writes at unusual times.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;

use bytes::Bytes;
use tidegate_protocols::{AtEof, Flow, Transport};
use tidegate_reactor::EventLoop;
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Callback, Event, JumpingClock, Log, Recorder, turns, watched};
use tidegate_tls::{ClientLayer, ServerLayer, TlsError, start_tls};

mod authority;
mod meeting;

use authority::Authority;
use meeting::{RawPeer, connect, handle, keep_reports, play, tls_error, under};

/// Both ends, open.
struct Ends {
    client: Transport,
    server: Transport,
    said: Log,
    heard: Log,
    line: Line,
}

async fn open(authority: &Authority, left: Recorder, right: Recorder) -> Ends {
    let (said, heard) = (left.log(), right.log());
    let (line, mut ours, mut theirs) = connect(
        PairOptions::default(),
        (ClientLayer::new(authority.client(), "localhost"), left),
        (ServerLayer::new(authority.server()), right),
    );
    let client = ours.outcome().await.expect("a handshake");
    let server = theirs.outcome().await.expect("a handshake");
    turns(3).await;
    Ends { client, server, said, heard, line }
}

impl Ends {
    async fn end(&self) {
        self.client.abort();
        self.server.abort();
        self.said.lost().await;
        self.heard.lost().await;
        self.said.assert_complete();
        self.heard.assert_complete();
        assert_eq!(handle().statistics().timers, 0);
    }
}

/// A client of ours at the left of a raw server, open.
async fn open_raw(authority: &Authority, above: Recorder) -> (Transport, Log, RawPeer, Line) {
    let log = above.log();
    let (protocol, mut opened) = under(ClientLayer::new(authority.client(), "localhost"), above);
    let peer = Recorder::new().at_eof(AtEof::KeepWriting);
    let heard = peer.log();
    let line = Line::open(&handle(), protocol, Box::new(peer), PairOptions::default()).unwrap();
    heard.made().await;
    let mut peer = RawPeer::server(authority, line.right.clone(), heard);
    peer.shake_hands().await;
    let transport = opened.outcome().await.expect("a handshake");
    (transport, log, peer, line)
}

#[test]
fn the_records_of_one_read_come_together() {
    let authority = Authority::new();
    play(async {
        let (transport, log, peer, line) = open_raw(&authority, Recorder::new()).await;
        let mut sealer = peer.into_sealer();
        for piece in [&b"one "[..], b"two ", b"", b"three"] {
            sealer.send(23, piece);
        }
        log.received_at_least(13).await;
        // TLS-20
        assert_eq!(log.events(), [Event::Made, Event::data("one two three")]);
        // Half a record more than is there waits for its other half.
        line.right.write(b"\x17\x03\x03");
        turns(3).await;
        assert_eq!(log.received_len(), 13);
        transport.abort();
        log.lost().await;
    });
}

#[test]
fn a_buffered_protocol_is_asked_again_until_all_is_taken() {
    let authority = Authority::new();
    play(async {
        let ends = open(&authority, Recorder::new(), Recorder::new().buffered(4)).await;
        ends.client.write(b"0123456789");
        ends.heard.received_at_least(10).await;
        // TLS-21, but with no hint, as everywhere
        let asked = || Event::BufferAsked(None);
        let expected = [
            Event::Made,
            asked(),
            Event::updated("0123"),
            asked(),
            Event::updated("4567"),
            asked(),
            Event::updated("89"),
        ];
        assert_eq!(ends.heard.events(), expected);
        ends.end().await;
    });
}

/// Has the server's protocol fail, and answers the reports.
fn failing(right: Recorder) -> Vec<String> {
    let authority = Authority::new();
    watched(|| {
        let event_loop = EventLoop::with_clock(JumpingClock::new()).unwrap();
        let reports = keep_reports(&event_loop.handle());
        event_loop
            .run_until_complete(async {
                let ends = open(&authority, Recorder::new(), right).await;
                ends.client.write(b"data");
                ends.heard.lost().await;
                assert!(ends.heard.cause().is_some());
                ends.heard.assert_complete();
                // The peer is told by the missing end.
                ends.said.lost().await;
                ends.said.assert(&[Event::Made, Event::Lost(Some(ErrorKind::UnexpectedEof))]);
                let cause = ends.said.cause().expect("a cause");
                assert_eq!(tls_error(&cause.into()), TlsError::Truncated);
                assert_eq!(handle().statistics().timers, 0);
            })
            .unwrap();
        event_loop.close().unwrap();
        reports.take()
    })
}

#[test]
fn a_callback_that_fails_ends_its_connection_and_is_reported() {
    for recorder in [
        Recorder::new().failing(Callback::DataReceived),
        Recorder::new().panicking(Callback::DataReceived),
    ] {
        // TLS-22
        let reports = failing(recorder);
        let text = "Fatal error: protocol.data_received() call failed.";
        assert!(reports.len() == 1 && reports[0].contains(text), "{reports:?}");
    }
    // replaced: TLS-21: an empty buffer is an error.
    let reports = failing(Recorder::new().buffered(0));
    let text = "get_buffer() returned an empty buffer";
    assert!(reports.len() == 1 && reports[0].contains(text), "{reports:?}");
}

#[test]
fn what_is_written_before_the_handshake_is_done_follows_it() {
    let authority = Authority::new();
    play(async {
        let (left, right) = (Recorder::new(), Recorder::new());
        let (said, heard) = (left.log(), right.log());
        let options = PairOptions::default();
        let line = Line::open(&handle(), Box::new(left), Box::new(right), options).unwrap();
        said.made().await;
        heard.made().await;
        line.right.pause_reading();
        let client = authority.client();
        let ours = start_tls(&line.left, (&client, "localhost")).unwrap();
        let much = vec![b'x'; 3 << 20];
        // TLS-24: it waits, and nobody is told of the flow until the handshake is done.
        line.left.write(b"early ");
        line.left.write(&much);
        turns(20).await;
        said.assert(&[Event::Made]);
        assert_eq!(line.left.get_write_buffer_size(), much.len() + 6);
        let theirs = start_tls(&line.right, &authority.server()).unwrap();
        line.right.resume_reading();
        ours.await.unwrap();
        theirs.await.unwrap();
        said.until(|log| log.has(Callback::ResumeWriting)).await;
        line.left.close();
        heard.lost().await;
        said.lost().await;
        said.assert(&[Event::Made, Event::Paused, Event::Resumed, Event::Lost(None)]);
        assert!(heard.received() == [b"early ", &much[..]].concat());
        assert_eq!(handle().statistics().timers, 0);
    });
}

#[test]
fn nothing_written_is_no_record() {
    let authority = Authority::new();
    play(async {
        let ends = open(&authority, Recorder::new(), Recorder::new()).await;
        let sent = ends.line.right.statistics().bytes_received;
        // TLS-24
        assert_eq!(ends.client.write(b""), Flow::Open);
        assert_eq!(ends.client.write_bytes(Bytes::new()), Flow::Open);
        assert_eq!(ends.client.writelines([b"", b""]), Flow::Open);
        turns(3).await;
        assert_eq!(ends.line.right.statistics().bytes_received, sent);
        assert_eq!(ends.client.get_write_buffer_size(), 0);
        ends.heard.assert(&[Event::Made]);
        ends.end().await;
    });
}

#[test]
fn what_is_written_too_late_is_dropped() {
    let authority = Authority::new();
    for end in [Transport::close as fn(&Transport), Transport::abort] {
        play(async {
            let ends = open(&authority, Recorder::new(), Recorder::new()).await;
            ends.client.write(b"in time");
            end(&ends.client);
            let before = ends.client.get_write_buffer_size();
            for _ in 0..10 {
                // replaced: TLS-25
                assert_eq!(ends.client.write(b"too late"), Flow::Closed);
                assert_eq!(ends.client.writelines([&b"too"[..], b"late"]), Flow::Closed);
                assert_eq!(ends.client.get_write_buffer_size(), before);
            }
            ends.said.lost().await;
            assert_eq!(ends.client.write(b"much too late"), Flow::Closed);
            assert_eq!(ends.client.get_write_buffer_size(), 0);
            ends.heard.lost().await;
            assert_eq!(ends.heard.received(), b"in time");
        });
    }
}

#[test]
fn every_kind_of_write_keeps_its_place() {
    let authority = Authority::new();
    play(async {
        let ends = open(&authority, Recorder::new(), Recorder::new()).await;
        let large = vec![b'x'; 40_000];
        let mut expected = Vec::new();
        for round in 0..4u8 {
            let owned = Bytes::from(vec![round; 20_000]);
            // TLS-26
            ends.client.write(&[round; 10]);
            ends.client.writelines([&b"a"[..], &large, b"", b"b"]);
            ends.client.write_bytes(owned.clone());
            ends.client.write(&[round; 3]);
            expected.extend([round; 10]);
            expected.extend(b"a");
            expected.extend(&large);
            expected.extend(b"b");
            expected.extend(&owned);
            expected.extend([round; 3]);
        }
        ends.heard.received_at_least(expected.len()).await;
        assert!(ends.heard.received() == expected, "the pieces are not in their order");
        ends.end().await;
    });
}

#[test]
fn writes_of_one_step_become_one_record() {
    let authority = Authority::new();
    play(async {
        let (transport, log, mut peer, line) = open_raw(&authority, Recorder::new()).await;
        let before = line.right.statistics().bytes_received;
        for _ in 0..100 {
            transport.write(b"ten bytes!");
        }
        peer.pump_until(|peer| peer.received.len() >= 1000).await;
        let sent = line.right.statistics().bytes_received - before;
        assert!(sent < 1000 + 64, "{sent} bytes for 1000");
        transport.abort();
        log.lost().await;
    });
}

#[test]
fn an_echo_inside_of_the_callback_is_one_record_each_way() {
    let authority = Authority::new();
    play(async {
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let echo = Recorder::new().on(Callback::DataReceived, move |transport| {
            counted.set(counted.get() + 1);
            transport.write(b"answer");
        });
        let ends = open(&authority, Recorder::new(), echo).await;
        for round in 1..=20 {
            ends.client.write(b"question");
            ends.said.received_at_least(6 * round).await;
        }
        assert_eq!(count.get(), 20);
        ends.end().await;
    });
}
