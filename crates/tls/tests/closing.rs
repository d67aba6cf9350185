//! Closing: everything is sent, the ends are said and heard, and whoever does not answer is given up.

#![cfg(not(windows))]

use std::io;
use std::time::Duration;

use tidegate_protocols::{AtEof, Flow};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Callback, Event, Log, Recorder, turns, until};
use tidegate_tls::{Cipher, TlsError};

mod authority;
mod support;

use support::{
    Both, LIMIT, Pair, client_of_peer, connect, connect_over, handle, jumping, keep_reports,
    narrow, pass, pattern,
};

/// Enough turns for whatever happens by itself.
const A_WHILE: usize = 50;

fn is_timeout(log: &Log) -> bool {
    let cause = log.cause().expect("a cause");
    // TLS-32: asyncio's text, the kind, and the error inside
    assert_eq!(cause.to_string(), "SSL shutdown timed out");
    assert_eq!(TlsError::of(&cause), Some(&TlsError::ShutdownTimeout));
    cause.kind() == io::ErrorKind::TimedOut
}

// TLS-30
#[test]
fn close_sends_everything_says_the_end_and_awaits_the_peers() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), narrow(5000), Recorder::new()).await;
        let sent = pattern(400_000);
        client.write(&sent);
        client.close();
        assert!(client.is_closing());
        until(|| peer.is_notified()).await;
        assert!(peer.plain() == sent, "not all that was written has arrived");
        turns(A_WHILE).await;
        assert!(!client.log.has(Callback::ConnectionLost) && !peer.has_ended());
        peer.close_notify();
        client.log.lost().await;
        until(|| peer.has_ended()).await;
        client.log.assert(&[Event::Made, Event::Lost(None)]);
    });
}

// TLS-30: what has not been read yet is not delivered any more
// replaced: TLS-31
#[test]
fn nothing_is_received_after_close() {
    jumping(async {
        let tls = Both::new();
        let first = Recorder::new().once(Callback::DataReceived, |transport| transport.close());
        let pair = connect(&tls, first, Recorder::new()).await;
        pair.server.write(b"first");
        turns(A_WHILE).await;
        pair.server.write(b"second");
        pair.lost().await;
        pair.client.log.assert(&[Event::Made, Event::data("first"), Event::Lost(None)]);
    });
}

// TLS-32
#[test]
fn a_peer_that_does_not_answer_is_given_up_after_the_limit() {
    jumping(async {
        let reports = keep_reports();
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
        let start = handle().time();
        client.write(b"bye");
        client.close();
        client.log.lost().await;
        assert!(is_timeout(&client.log));
        assert_eq!(handle().time() - start, LIMIT);
        until(|| peer.has_ended()).await;
        assert_eq!(peer.plain(), b"bye");
        assert!(peer.is_notified());
        assert!(reports.borrow().is_empty(), "{:?}", reports.borrow());
    });
}

/// A server that reads a little, pauses for most of the limit, and so on.
async fn trickle(pair: &Pair, pause: Duration) {
    while !pair.client.log.has(Callback::ConnectionLost) {
        pass(pause).await;
        let before = pair.server.log.received_len();
        pair.server.resume_reading();
        let gone = |log: &Log| log.received_len() > before || log.has(Callback::EofReceived);
        pair.server.log.until(gone).await;
        pair.server.pause_reading();
        if pair.server.log.has(Callback::EofReceived) {
            return pair.server.resume_reading();
        }
    }
}

// TLS-30: as long as the peer reads, however slowly, it gets everything
#[test]
fn a_slow_reader_gets_everything_though_it_takes_many_times_the_limit() {
    jumping(async {
        let pair =
            connect_over(narrow(20_000), &Both::new(), Recorder::new(), Recorder::new()).await;
        let start = handle().time();
        let sent = pattern(400_000);
        pair.server.pause_reading();
        pair.client.write(&sent);
        pair.client.close();
        trickle(&pair, LIMIT * 4 / 5).await;
        pair.lost().await;
        assert!(handle().time() - start > LIMIT * 8, "{:?}", handle().time() - start);
        assert!(pair.server.log.received() == sent);
        assert!(pair.client.log.cause().is_none(), "{:?}", pair.client.log.cause());
    });
}

// TLS-32
#[test]
fn a_peer_that_has_stopped_reading_is_given_up_within_the_limit() {
    jumping(async {
        for pause_before in [true, false] {
            let pair =
                connect_over(narrow(100_000), &Both::new(), Recorder::new(), Recorder::new()).await;
            pair.server.pause_reading();
            let start = handle().time();
            if pause_before {
                pair.client.write(&vec![7; 8 << 20]);
                turns(A_WHILE).await;
            } else {
                // So little that all of it would leave: the line takes some of it after the close still.
                pair.client.write(&[7; 90_000]);
                turns(A_WHILE).await;
                pair.client.write_bytes(vec![7; 8 << 20].into());
            }
            pair.client.close();
            assert!(pair.client.get_write_buffer_size() > 7 << 20);
            pair.client.log.lost().await;
            assert!(is_timeout(&pair.client.log));
            assert_eq!(handle().time() - start, LIMIT);
            assert_eq!(pair.client.get_write_buffer_size(), 0);
            pair.server.resume_reading();
            pair.lost().await;
            // TLS-35
            assert_eq!(pair.server.log.cause().unwrap().kind(), io::ErrorKind::UnexpectedEof);
        }
    });
}

// TLS-32: reading once more does not double the limit
#[test]
fn the_limit_counts_from_the_last_byte_that_left() {
    jumping(async {
        let pair =
            connect_over(narrow(20_000), &Both::new(), Recorder::new(), Recorder::new()).await;
        pair.server.pause_reading();
        let start = handle().time();
        pair.client.write(&pattern(400_000));
        pair.client.close();
        pass(LIMIT / 2).await;
        pair.server.resume_reading();
        pair.server.log.received_at_least(1).await;
        pair.server.pause_reading();
        pair.client.log.lost().await;
        assert!(is_timeout(&pair.client.log));
        let took = handle().time() - start;
        assert!(took > LIMIT && took <= LIMIT + LIMIT / 2, "{took:?}");
        pair.server.abort();
        pair.lost().await;
    });
}

// TLS-38
#[test]
fn abort_ends_at_once_and_says_nothing() {
    jumping(async {
        for closes_before in [false, true] {
            let (client, peer, _line) =
                client_of_peer(&Both::new(), narrow(10_000), Recorder::new()).await;
            let start = handle().time();
            peer.transport().pause_reading();
            client.write(&vec![7; 8 << 20]);
            turns(A_WHILE).await;
            if closes_before {
                client.close();
            }
            client.abort();
            client.abort();
            assert!(client.is_closing());
            assert!(!client.log.has(Callback::ConnectionLost));
            client.log.lost().await;
            assert_eq!((handle().time(), client.get_write_buffer_size()), (start, 0));
            peer.transport().resume_reading();
            until(|| peer.has_ended()).await;
            assert!(!peer.is_notified());
            client.log.assert(&[Event::Made, Event::Paused, Event::Lost(None)]);
        }
    });
}

// TLS-39
#[test]
fn closing_again_changes_nothing_and_the_accessors_go_on() {
    jumping(async {
        let pair = connect(&Both::new(), Recorder::new(), Recorder::new()).await;
        let cipher = pair.client.get_extra_info::<Cipher>().expect("a cipher");
        for _ in 0..3 {
            pair.client.close();
        }
        pair.client.log.lost().await;
        let client = &pair.client;
        client.close();
        client.abort();
        client.pause_reading();
        client.resume_reading();
        client.set_write_buffer_limits(Some(10), Some(5)).expect("limits");
        // replaced: TLS-25: nothing is taken any more
        assert_eq!(client.write(b"late"), Flow::Closed);
        assert_eq!(client.writelines(["late", "later"]), Flow::Closed);
        assert_eq!(client.write_bytes(vec![1; 100_000].into()), Flow::Closed);
        assert_eq!(client.get_write_buffer_size(), 0);
        assert!(client.is_closing() && !client.is_reading());
        client.write_eof().expect("nothing to do");
        // TLS-05: what is known of TLS stays
        assert_eq!(client.get_extra_info::<Cipher>().expect("a cipher"), cipher);
        assert_eq!(client.peername(), None);
        assert!(client.with_protocol(|_: &mut Recorder| ()).is_err());
        assert!(client.closed().await.is_none());
        pair.lost().await;
    });
}

// replaced: TLS-25
#[test]
fn what_is_written_to_a_closing_connection_is_dropped() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), narrow(5000), Recorder::new()).await;
        client.write(&pattern(100_000));
        client.close();
        let size = client.get_write_buffer_size();
        assert_eq!(client.write(b"late"), Flow::Closed);
        assert_eq!(client.write_bytes(vec![1; 100_000].into()), Flow::Closed);
        assert_eq!(client.get_write_buffer_size(), size);
        until(|| peer.is_notified()).await;
        assert!(peer.plain() == pattern(100_000));
        peer.close_notify();
        client.log.lost().await;
    });
}

// TLS-37
#[test]
fn what_comes_after_the_end_was_said_is_dropped() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
        client.close();
        until(|| peer.is_notified()).await;
        peer.write(&pattern(300_000));
        turns(A_WHILE).await;
        assert!(!client.log.has(Callback::ConnectionLost));
        peer.close_notify();
        client.log.lost().await;
        client.log.assert(&[Event::Made, Event::Lost(None)]);
    });
}

// TLS-37: within the limit
#[test]
fn a_peer_that_goes_on_sending_is_given_up_all_the_same() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
        let start = handle().time();
        client.close();
        while !client.log.has(Callback::ConnectionLost) {
            peer.write(b"and another thing");
            pass(LIMIT / 16).await;
        }
        assert!(is_timeout(&client.log));
        let took = handle().time() - start;
        assert!(took >= LIMIT && took <= LIMIT + LIMIT / 16, "{took:?}");
    });
}

// TLS-33
#[test]
fn a_peer_that_says_its_end_and_resets_has_ended_cleanly() {
    jumping(async {
        let (client, peer, line) =
            client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
        peer.write(b"that is all");
        peer.close_notify();
        client.log.until(|log| log.has(Callback::EofReceived)).await;
        line.reset();
        client.log.lost().await;
        client.log.assert(&[
            Event::Made,
            Event::data("that is all"),
            Event::Eof,
            Event::Lost(None),
        ]);
    });
}

// TLS-33
#[test]
fn the_peers_end_is_answered_when_everything_is_sent() {
    jumping(async {
        let sent = pattern(200_000);
        let last = sent.clone();
        let client = Recorder::new().on(Callback::EofReceived, move |transport| {
            transport.write(&last[100_000..]);
        });
        let (client, peer, _line) = client_of_peer(&Both::new(), narrow(3000), client).await;
        client.write(&sent[..100_000]);
        peer.write(b"the rest");
        peer.close_notify();
        until(|| peer.is_notified()).await;
        // TLS-33: what is written inside of eof_received as well
        assert!(peer.plain() == sent, "{} bytes have arrived", peer.plain_len());
        client.log.lost().await;
        client.log.assert(&[Event::Made, Event::data("the rest"), Event::Eof, Event::Lost(None)]);
        // TLS-34
        assert_eq!(client.log.count(Callback::EofReceived), 1);
    });
}

// TLS-33 TLS-34
#[test]
fn both_may_close_at_once() {
    jumping(async {
        let server = Recorder::new().at_eof(AtEof::KeepWriting);
        let pair = connect(&Both::new(), Recorder::new(), server).await;
        pair.client.write(b"from the client");
        pair.server.write(b"from the server");
        pair.client.close();
        pair.server.close();
        pair.lost().await;
        for log in [&pair.client.log, &pair.server.log] {
            log.assert(&[Event::Made, Event::Lost(None)]);
        }
    });
}

// TLS-18: no timer keeps anything alive
#[test]
fn nothing_is_left_of_a_connection_that_is_lost() {
    jumping(async {
        let pair = connect(&Both::new(), Recorder::new(), Recorder::new()).await;
        pair.client.close();
        pair.lost().await;
        let weak = [pair.client.downgrade(), pair.server.downgrade()];
        drop(pair);
        turns(2).await;
        assert!(weak.iter().all(|handle| handle.upgrade().is_none()));
        // Nothing is left that could become due.
        let start = handle().time();
        pass(LIMIT * 100).await;
        assert_eq!(handle().time() - start, LIMIT * 100);
    });
}

// TLS-32: also a peer that has said its end, and does not read ours
#[test]
fn a_peer_that_has_ended_and_does_not_read_is_given_up() {
    jumping(async {
        for answers in [true, false] {
            let (client, peer, _line) =
                client_of_peer(&Both::new(), narrow(1000), Recorder::new()).await;
            peer.transport().pause_reading();
            let start = handle().time();
            client.write(&pattern(30_000));
            let mut linger = Duration::ZERO;
            if answers {
                client.close();
                turns(A_WHILE).await;
                peer.close_notify();
            } else {
                linger = Duration::from_secs(1);
                client.close_lingering(100, linger);
            }
            client.log.lost().await;
            assert!(is_timeout(&client.log));
            assert_eq!(handle().time() - start, LIMIT + linger);
            peer.transport().abort();
        }
    });
}

// TLS-32: also if it was to read on for a while
#[test]
fn a_lingering_close_gives_up_a_peer_that_has_ended_and_does_not_read() {
    jumping(async {
        for ends_first in [true, false] {
            let client = Recorder::new().at_eof(AtEof::KeepWriting);
            let (client, peer, _line) = client_of_peer(&Both::new(), narrow(1000), client).await;
            peer.transport().pause_reading();
            client.write(&pattern(30_000));
            if ends_first {
                peer.close_notify();
                client.log.until(|log| log.has(Callback::EofReceived)).await;
            }
            let start = handle().time();
            client.close_lingering(100, Duration::from_secs(1));
            if !ends_first {
                turns(A_WHILE).await;
                peer.close_notify();
            }
            while !client.log.has(Callback::ConnectionLost) {
                pass(LIMIT / 8).await;
                assert!(handle().time() - start <= LIMIT * 2, "it is never given up");
            }
            assert!(is_timeout(&client.log));
            peer.transport().abort();
        }
    });
}

// TLS-38: what could not be sent is told, though the close comes between the error and the loss
#[test]
fn a_close_behind_a_write_that_has_failed_keeps_its_cause() {
    jumping(async {
        for length in [100, 20_000, 100_000] {
            let (client, _peer, line) =
                client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
            line.reset();
            // So little is sent by the close only.
            let answer = if length == 100 { Flow::Open } else { Flow::Closed };
            assert_eq!(client.write(&pattern(length)), answer);
            client.close();
            client.log.lost().await;
            client.log.assert(&[Event::Made, Event::Lost(Some(io::ErrorKind::ConnectionReset))]);
        }
    });
}
