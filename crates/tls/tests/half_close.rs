//! Half close: each direction ends by a close_notify of its own, while the other goes on.

#![cfg(not(windows))]

use tidegate_protocols::{AtEof, Flow};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Callback, Event, Recorder, run, turns, until};
use tidegate_tls::{ClientTls, ServerTls, Version};
use tidegate_transports::{create_connection, create_server};

mod authority;
mod support;

use support::{Both, client_of_peer, connect_over, jumping, keep_reports, narrow, pattern};

const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];

// replaced: TLS-04 TLS-34
#[test]
fn either_side_ends_its_direction_and_reads_on() {
    for version in VERSIONS {
        let tls = Both::of_version(version);
        for client_first in [true, false] {
            jumping(async {
                let reports = keep_reports();
                let keeps = || Recorder::new().at_eof(AtEof::KeepWriting);
                let pair = connect_over(narrow(10_000), &tls, keeps(), keeps()).await;
                let (first, second) = match client_first {
                    true => (&pair.client, &pair.server),
                    false => (&pair.server, &pair.client),
                };
                let (question, answer) = (pattern(200_000), pattern(300_000));
                assert!(first.can_write_eof());
                first.write(&question);
                first.write_eof().expect("half a close");
                first.write_eof().expect("the same again");
                assert_eq!(first.write(b"late"), Flow::Closed);
                assert!(!first.is_closing());
                second.log.until(|log| log.has(Callback::EofReceived)).await;
                assert!(second.log.received() == question, "{version:?}");
                turns(50).await;
                assert!(!second.is_closing() && !first.log.has(Callback::EofReceived));
                second.write(&answer[..100]);
                first.log.received_at_least(100).await;
                second.write(&answer[100..]);
                second.close();
                first.log.until(|log| log.has(Callback::EofReceived)).await;
                assert!(first.log.received() == answer, "{version:?}");
                first.close();
                pair.lost().await;
                assert!(pair.client.log.cause().is_none() && pair.server.log.cause().is_none());
                assert!(reports.borrow().is_empty());
            });
        }
    }
}

// replaced: TLS-04
#[test]
fn the_end_is_said_in_tls_and_the_stream_below_goes_on() {
    jumping(async {
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
        client.write(b"question");
        client.write_eof().expect("half a close");
        until(|| peer.is_notified()).await;
        assert_eq!(peer.plain(), b"question");
        turns(50).await;
        assert!(!peer.has_ended());
        peer.write(b"answer");
        client.log.received_at_least(6).await;
        peer.close_notify();
        client.log.lost().await;
        client.log.assert(&[Event::Made, Event::data("answer"), Event::Eof, Event::Lost(None)]);
    });
}

// replaced: TLS-34
#[test]
fn whoever_keeps_writing_after_the_peers_end_is_heard() {
    jumping(async {
        let client = Recorder::new().at_eof(AtEof::KeepWriting);
        let (client, peer, _line) = client_of_peer(&Both::new(), narrow(10_000), client).await;
        peer.close_notify();
        client.log.until(|log| log.has(Callback::EofReceived)).await;
        let sent = pattern(500_000);
        client.write(&sent);
        peer.received(sent.len()).await;
        assert!(!peer.is_notified());
        client.write(b"!");
        client.close();
        until(|| peer.is_notified()).await;
        assert_eq!(peer.plain_len(), sent.len() + 1);
        client.log.lost().await;
        assert!(client.log.cause().is_none());
    });
}

// replaced: TLS-04. TLS-24: the same before the handshake is done
#[test]
fn an_end_before_the_handshake_comes_after_what_was_written() {
    jumping(async {
        let client = Recorder::new().on(Callback::ConnectionMade, |transport| {
            transport.write(b"all of it");
            transport.write_eof().expect("half a close");
        });
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), client).await;
        until(|| peer.is_notified()).await;
        assert_eq!(peer.plain(), b"all of it");
        peer.write(b"yes");
        client.log.received_at_least(3).await;
        client.close();
        peer.close_notify();
        client.log.lost().await;
        assert!(client.log.cause().is_none());
    });
}

// replaced: TLS-04: over a socket as well
#[test]
fn half_closes_reach_through_sockets() {
    for version in VERSIONS {
        run(async {
            let tls = Both::of_version(version);
            let heard = tidegate_testkit::Log::new();
            let log = heard.clone();
            let factory = move || {
                Recorder::writing_to(&log).at_eof(AtEof::KeepWriting).on(
                    Callback::EofReceived,
                    |transport| {
                        transport.write(&pattern(1 << 20));
                        transport.close();
                    },
                )
            };
            let server = create_server(factory, ("127.0.0.1", 0)).tls(tls.server.clone()).await;
            let server = server.expect("a server");
            let address = server.sockets()[0].sockname().as_inet().expect("an address");
            let client = Recorder::new();
            let log = client.log();
            let mut client = Some(client);
            let connecting = create_connection(move || client.take().expect("once"), address);
            let client = connecting.tls(tls.client.clone(), "localhost").await.expect("a client");
            client.write(&pattern(2 << 20));
            client.write_eof().expect("half a close");
            log.lost().await;
            heard.lost().await;
            assert!(log.received() == pattern(1 << 20), "{version:?}");
            assert!(heard.received() == pattern(2 << 20), "{version:?}");
            log.assert_complete();
            heard.assert_complete();
            assert!(log.cause().is_none() && heard.cause().is_none());
        });
    }
}
