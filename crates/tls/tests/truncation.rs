//! An end that nobody has said: told from a clean one, unless asked not to.

#![cfg(not(windows))]

use std::io;

use tidegate_protocols::{AtEof, Flow};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Callback, Event, Recorder, turns, until};
use tidegate_tls::TlsError;

mod authority;
mod support;

use support::{Both, client_of_peer, connect, jumping, keep_reports, narrow, pattern};

fn lenient() -> Both {
    Both::with(|client| client.accept_truncation(), |server| server.accept_truncation())
}

// replaced: TLS-35
#[test]
fn an_end_without_a_word_is_an_error() {
    jumping(async {
        let reports = keep_reports();
        let pair = connect(&Both::new(), Recorder::new(), Recorder::new()).await;
        pair.client.write(b"Content-Length: 100\r\n\r\nabc");
        turns(10).await;
        pair.client.abort();
        pair.lost().await;
        let cause = pair.server.log.cause().expect("a cause");
        assert_eq!(cause.kind(), io::ErrorKind::UnexpectedEof);
        assert!(cause.to_string().contains("closed without close_notify"), "{cause}");
        assert_eq!(TlsError::of(&cause), Some(&TlsError::Truncated));
        assert!(!pair.server.log.has(Callback::EofReceived));
        assert_eq!(pair.server.log.received(), b"Content-Length: 100\r\n\r\nabc");
        assert!(reports.borrow().is_empty());
    });
}

// replaced: TLS-35: what waits is sent all the same, and no end is said
#[test]
fn what_waits_is_sent_after_a_truncation() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), narrow(3000), Recorder::new()).await;
        let sent = pattern(300_000);
        client.write(&sent);
        peer.transport().write_eof().expect("half a close");
        until(|| client.is_closing()).await;
        assert_eq!(client.write(b"late"), Flow::Closed);
        until(|| peer.has_ended()).await;
        assert!(peer.plain() == sent, "{} bytes have arrived", peer.plain_len());
        assert!(!peer.is_notified());
        client.log.lost().await;
        assert_eq!(client.log.cause().expect("a cause").kind(), io::ErrorKind::UnexpectedEof);
    });
}

// TLS-35
#[test]
fn an_end_without_a_word_is_an_end_where_that_is_accepted() {
    jumping(async {
        for answer in [AtEof::Close, AtEof::KeepWriting] {
            let client = Recorder::new().at_eof(answer).on(Callback::EofReceived, |transport| {
                transport.write(b"answer");
            });
            let (client, peer, _line) = client_of_peer(&lenient(), narrow(3000), client).await;
            let sent = pattern(100_000);
            client.write(&sent);
            peer.write(b"question");
            peer.transport().write_eof().expect("half a close");
            client.log.until(|log| log.has(Callback::EofReceived)).await;
            if answer == AtEof::KeepWriting {
                turns(10).await;
                assert!(!client.is_closing());
                client.close();
            }
            client.log.lost().await;
            until(|| peer.has_ended()).await;
            assert!(peer.plain() == [&sent[..], b"answer"].concat());
            assert!(!peer.is_notified());
            let events = [Event::Made, Event::data("question"), Event::Eof, Event::Lost(None)];
            client.log.assert(&events);
        }
    });
}

// replaced: TLS-35: a record that is cut short is a truncation as well, accepted or not
#[test]
fn half_a_record_is_dropped() {
    jumping(async {
        for (tls, kind) in [(Both::new(), Some(io::ErrorKind::UnexpectedEof)), (lenient(), None)] {
            let (client, peer, _line) =
                client_of_peer(&tls, PairOptions::default(), Recorder::new()).await;
            peer.write(b"whole");
            let half = peer.records(b"half of it");
            peer.transport().write(&half[..half.len() / 2]);
            peer.transport().write_eof().expect("half a close");
            client.log.lost().await;
            assert_eq!(client.log.received(), b"whole");
            assert_eq!(client.log.cause().map(|cause| cause.kind()), kind);
        }
    });
}

// TLS-36
#[test]
fn a_reset_is_a_reset() {
    jumping(async {
        let pair = connect(&lenient(), Recorder::new(), Recorder::new()).await;
        pair.server.write(b"hello");
        pair.client.log.received_at_least(5).await;
        pair.line.reset();
        pair.lost().await;
        let reset = Some(io::ErrorKind::ConnectionReset);
        pair.client.log.assert(&[Event::Made, Event::data("hello"), Event::Lost(reset)]);
        pair.server.log.assert(&[Event::Made, Event::Lost(reset)]);
    });
}

// TLS-30: who closes does not mind how the peer ends
#[test]
fn a_closing_connection_takes_any_end_for_an_answer() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
        client.write(b"bye");
        client.close();
        until(|| peer.is_notified()).await;
        peer.transport().abort();
        client.log.lost().await;
        client.log.assert(&[Event::Made, Event::Lost(None)]);
    });
}

// TLS-44
#[test]
fn a_truncation_while_reading_is_paused_is_found_after_the_data() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
        client.pause_reading();
        peer.write(b"data");
        peer.transport().abort();
        turns(50).await;
        client.log.assert(&[Event::Made]);
        client.resume_reading();
        client.log.lost().await;
        let kind = Some(io::ErrorKind::UnexpectedEof);
        client.log.assert(&[Event::Made, Event::data("data"), Event::Lost(kind)]);
    });
}
