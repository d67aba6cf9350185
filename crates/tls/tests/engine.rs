//! The engine under arbitrary input: bytes of any kind in any pieces, and true conversations cut anywhere.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_protocols::AtEof;
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Callback, Log, Recorder, turns};
use tidegate_tls::{ClientLayer, ServerLayer};

mod authority;
mod meeting;

use authority::Authority;
use meeting::{RawPeer, connect, handle, play, record, tls_error, under};

/// Bytes that look like TLS now and then, so that more than the first check is reached.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(20u8), Just(21), Just(22), Just(23), any::<u8>()];
    prop_oneof![
        vec(any::<u8>(), 0..200),
        (kind, vec(any::<u8>(), 0..600)).prop_map(|(kind, payload)| record(kind, &payload)),
        // A message of the handshake, said to be longer than it is, or shorter.
        (any::<u8>(), 0u8..4, vec(any::<u8>(), 0..300)).prop_map(|(kind, size, payload)| {
            record(22, &[&[kind, 0, size, payload.len() as u8], &payload[..]].concat())
        }),
    ]
}

/// Feeds one end these pieces, with writes of its own in between; it has to end with a cause.
async fn feed(authority: &Authority, server: bool, after: bool, pieces: Vec<Vec<u8>>) {
    let above = Recorder::new().at_eof(AtEof::KeepWriting);
    let log = above.log();
    let (protocol, mut opened) = match server {
        true => under(ServerLayer::new(authority.server()), above),
        false => under(ClientLayer::new(authority.client(), "localhost"), above),
    };
    let peer = Recorder::new().at_eof(AtEof::KeepWriting);
    let heard = peer.log();
    let line = Line::open(&handle(), protocol, Box::new(peer), PairOptions::default());
    let line = line.expect("an open loop");
    heard.made().await;
    let mut transport = None;
    if after {
        let (wire, heard) = (line.right.clone(), heard.clone());
        let mut peer = match server {
            true => RawPeer::client(authority, wire, heard),
            false => RawPeer::server(authority, wire, heard),
        };
        peer.shake_hands().await;
        transport = Some(opened.outcome().await.expect("a handshake"));
    }
    for piece in pieces {
        line.right.write(&piece);
        turns(2).await;
        if let Some(transport) = &transport {
            transport.write(b"something to encrypt meanwhile");
            assert!(transport.get_write_buffer_size() < 100_000);
        }
    }
    let _ = line.right.write_eof();
    match after {
        true => {
            log.lost().await;
            log.assert_complete();
            let cause = log.cause().expect("a cause");
            tls_error(&cause.into());
        }
        false => {
            tls_error(&opened.outcome().await.expect_err("no handshake"));
            log.until(Log::is_abandoned).await;
            log.assert(&[]);
        }
    }
    line.right.abort();
    heard.lost().await;
    assert_eq!(handle().statistics().timers, 0);
}

/// What one end does with its side of a conversation.
#[derive(Clone, Debug)]
enum Move {
    Write(usize),
    Pause,
    Resume,
    Turn,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (1usize..3000).prop_map(Move::Write),
        1 => (16_000usize..70_000).prop_map(Move::Write),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        2 => Just(Move::Turn),
    ];
    vec(one, 0..12)
}

/// So many bytes that a missing, doubled or exchanged one would be noticed.
fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

async fn converse(authority: &Authority, options: PairOptions, moves: [Vec<Move>; 2]) {
    let lasting = || Recorder::new().at_eof(AtEof::KeepWriting);
    let (client, server) = (lasting(), lasting());
    let logs = [client.log(), server.log()];
    let (_line, mut client, mut server) = connect(
        options,
        (ClientLayer::new(authority.client(), "localhost"), client),
        (ServerLayer::new(authority.server()), server),
    );
    let ends =
        [client.outcome().await.expect("a client"), server.outcome().await.expect("a server")];
    let sent = RefCell::new([0, 0]);
    let longest = moves[0].len().max(moves[1].len());
    for step in 0..longest {
        for side in 0..2 {
            match moves[side].get(step) {
                Some(Move::Write(length)) => {
                    let before = sent.borrow()[side];
                    ends[side].write(&pattern(before, *length));
                    sent.borrow_mut()[side] += length;
                }
                Some(Move::Pause) => ends[side].pause_reading(),
                Some(Move::Resume) => ends[side].resume_reading(),
                Some(Move::Turn) => turns(3).await,
                None => {}
            }
        }
    }
    for end in &ends {
        end.resume_reading();
        end.write_eof().expect("a half close");
    }
    for (end, log) in ends.iter().zip(&logs) {
        log.until(|log| log.has(Callback::EofReceived)).await;
        end.close();
    }
    for (log, sent) in logs.iter().zip(sent.take().iter().rev()) {
        log.lost().await;
        log.assert_complete();
        assert!(log.cause().is_none());
        assert!(log.received() == pattern(0, *sent), "the bytes are not those that were sent");
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

#[test]
fn arbitrary_bytes_end_a_connection_with_a_cause() {
    let authority = Authority::new();
    proptest!(config(200), |(server: bool, after: bool, pieces in vec(piece(), 0..8))| {
        // TLS-12 TLS-23
        play(feed(&authority, server, after, pieces));
    });
}

#[test]
fn a_handshake_that_was_changed_anywhere_fails_or_is_the_same() {
    let authority = Authority::new();
    let hello = play(async {
        let (protocol, _opened) =
            under(ClientLayer::new(authority.client(), "localhost"), Recorder::new());
        let peer = Recorder::new();
        let heard = peer.log();
        let _line = Line::open(&handle(), protocol, Box::new(peer), PairOptions::default());
        heard.received_at_least(100).await;
        turns(3).await;
        heard.received()
    });
    proptest!(config(100), |(at in any::<prop::sample::Index>(), bit in 0..8, cuts in vec(1usize..500, 1..6))| {
        let mut changed = hello.clone();
        changed[at.index(hello.len())] ^= 1u8 << bit;
        let mut pieces = Vec::new();
        let mut rest = &changed[..];
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.push(rest.to_vec());
        // TLS-12: even if it is taken, nothing follows it.
        play(feed(&authority, true, false, pieces));
    });
}

#[test]
fn a_conversation_that_is_cut_anywhere_arrives_as_it_was() {
    let authority = Authority::new();
    let shared = Rc::new(authority);
    proptest!(config(25), |(
        bytes in prop_oneof![Just(None), (500usize..20_000).prop_map(Some)],
        capacity in 500usize..70_000,
        left in moves(),
        right in moves(),
    )| {
        let options = PairOptions { bytes_at_a_time: bytes, capacity, half_close: true };
        // TLS-20 TLS-24
        play(converse(&shared, options, [left, right]));
    });
}

#[test]
fn a_short_conversation_that_is_cut_into_bytes_arrives_as_it_was() {
    let authority = Authority::new();
    proptest!(config(10), |(bytes in 1usize..40, lengths in vec((1usize..300, 1usize..300), 1..5))| {
        let (left, right): (Vec<_>, Vec<_>) =
            lengths.into_iter().map(|(left, right)| (Move::Write(left), Move::Write(right))).unzip();
        let options = PairOptions { bytes_at_a_time: Some(bytes), capacity: 400, half_close: true };
        play(converse(&authority, options, [left, right]));
    });
}

#[test]
fn a_message_in_pieces_may_come_between_writes() {
    let authority = Authority::new();
    for server in [false, true] {
        play(async {
            let above = Recorder::new();
            let log = above.log();
            let (protocol, mut opened) = match server {
                true => under(ServerLayer::new(authority.server()), above),
                false => under(ClientLayer::new(authority.client(), "localhost"), above),
            };
            let peer = Recorder::new().at_eof(AtEof::KeepWriting);
            let heard = peer.log();
            let line = Line::open(&handle(), protocol, Box::new(peer), PairOptions::default());
            let line = line.expect("an open loop");
            heard.made().await;
            let (wire, heard) = (line.right.clone(), heard.clone());
            let mut peer = match server {
                true => RawPeer::client(&authority, wire, heard.clone()),
                false => RawPeer::server(&authority, wire, heard.clone()),
            };
            peer.shake_hands().await;
            let transport = opened.outcome().await.expect("a handshake");
            log.made().await;
            let mut sealer = peer.into_sealer();
            // The peer asks for new keys, in two records, and this end writes in between.
            sealer.send(22, &[24, 0, 0]);
            turns(3).await;
            let before = heard.received_len();
            transport.write(b"in between");
            transport.flush().await.expect("an open connection");
            heard.received_at_least(before + 10).await;
            sealer.send(22, &[1, 0]);
            turns(3).await;
            assert!(!log.has(Callback::ConnectionLost));
            transport.abort();
            log.lost().await;
            assert!(log.cause().is_none());
        });
    }
}
