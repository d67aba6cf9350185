//! Peers that do not speak TLS, or not as they should: an error that says so, one loss at most, nobody else harmed.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tidegate_protocols::{AtEof, Transport};
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Callback, JumpingClock, Log, Recorder, turns, watched};
use tidegate_tls::{Alert, ClientLayer, ServerLayer, TlsError};

mod authority;
mod meeting;

use authority::Authority;
use meeting::{Opened, RawPeer, Sealer, handle, play, record, tls_error, under};

/// One end with TLS, whose peer is a wire.
struct Scene {
    log: Log,
    opened: Opened,
    line: Line,
    heard: Log,
}

impl Scene {
    fn new(authority: &Authority, server: bool) -> Scene {
        let above = Recorder::new().at_eof(AtEof::KeepWriting);
        let log = above.log();
        let (protocol, opened) = match server {
            true => under(ServerLayer::new(authority.server()), above),
            false => under(ClientLayer::new(authority.client(), "localhost"), above),
        };
        let peer = Recorder::new().at_eof(AtEof::KeepWriting);
        let heard = peer.log();
        let line = Line::open(&handle(), protocol, Box::new(peer), PairOptions::default());
        Scene { log, opened, line: line.expect("an open loop"), heard }
    }

    fn wire(&self) -> &Transport {
        &self.line.right
    }

    fn raw_peer(&self, authority: &Authority, server: bool) -> RawPeer {
        let (wire, heard) = (self.wire().clone(), self.heard.clone());
        match server {
            true => RawPeer::client(authority, wire, heard),
            false => RawPeer::server(authority, wire, heard),
        }
    }

    /// Sends these bytes in the handshake, ends the stream, and answers how the opening failed.
    async fn refused(mut self, bytes: &[u8]) -> TlsError {
        self.heard.made().await;
        self.wire().write(bytes);
        let _ = self.wire().write_eof();
        let error = self.opened.error().await;
        // An alert may be there; then the stream ends.
        self.heard.until(|heard| heard.has(Callback::EofReceived)).await;
        self.wire().close();
        self.heard.lost().await;
        self.log.until(Log::is_abandoned).await;
        // TLS-12 TLS-17: whoever was not greeted hears nothing.
        self.log.assert(&[]);
        error
    }

    /// Shakes hands, lets `disturb` send what it likes, and answers how the connection ended.
    async fn disturbed(
        mut self,
        authority: &Authority,
        server: bool,
        disturb: impl FnOnce(&mut Sealer),
    ) -> TlsError {
        let mut peer = self.raw_peer(authority, server);
        peer.shake_hands().await;
        let transport = self.opened.outcome().await.expect("a handshake");
        self.log.made().await;
        disturb(&mut peer.into_sealer());
        self.log.lost().await;
        let cause = transport.closed().await.expect("a cause");
        // TLS-23: once, and last.
        self.log.assert_complete();
        assert_eq!(self.log.count(Callback::ConnectionLost), 1);
        assert!(!self.log.has(Callback::EofReceived));
        let told = self.log.cause().expect("a cause");
        assert_eq!(told.to_string(), cause.to_string());
        self.log.until(Log::is_abandoned).await;
        assert_eq!(handle().statistics().timers, 0);
        tls_error(&told.into())
    }
}

const BOTH: [bool; 2] = [false, true];

#[test]
fn what_is_no_tls_is_called_so() {
    let authority = Authority::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"220 mail.example.org ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &[0xff; 300],
        &[0; 300],
        &[0x80; 5],
        b"aaaaa",
    ] {
        for server in BOTH {
            play(async {
                let error = Scene::new(&authority, server).refused(bytes).await;
                assert_eq!(error, TlsError::NotTls, "{}", bytes.escape_ascii());
                assert_eq!(io::Error::from(error).kind(), ErrorKind::InvalidData);
            });
        }
    }
}

#[test]
fn a_handshake_that_is_cut_short_has_ended_in_the_handshake() {
    let authority = Authority::new();
    let whole = play(async {
        let scene = Scene::new(&authority, false);
        scene.heard.received_at_least(100).await;
        turns(3).await;
        scene.heard.received()
    });
    for length in [0, 1, 4, 5, 6, 9, 50, whole.len() - 1] {
        play(async {
            // TLS-12
            let error = Scene::new(&authority, true).refused(&whole[..length]).await;
            assert_eq!(error, TlsError::EndedInHandshake, "after {length} bytes");
            assert_eq!(io::Error::from(error).kind(), ErrorKind::ConnectionReset);
        });
    }
    play(async {
        let error = Scene::new(&authority, false).refused(b"").await;
        assert_eq!(error, TlsError::EndedInHandshake);
    });
}

#[test]
fn records_at_the_wrong_time_are_a_breach_of_the_protocol() {
    let authority = Authority::new();
    for server in BOTH {
        for (kind, payload) in [
            (20, &b"\x01"[..]),
            (20, b"\x02"),
            (20, b""),
            (21, b""),
            (21, b"\x02"),
            (21, b"\x02\x28\x00"),
            (22, b""),
            (22, b"\x00\x00\x00\x00"),
            (22, b"\x14\x00\x00\x00"),
            (22, b"\x0b\x00\x00\x03\x00\x00\x00"),
            (22, b"\x01\xff\xff\xff"),
            (23, b"application data"),
            (23, b""),
            (24, b"\x01\x00\x03abc"),
        ] {
            play(async {
                let scene = Scene::new(&authority, server);
                let error = scene.refused(&record(kind, payload)).await;
                let fits = matches!(
                    error,
                    TlsError::Protocol(_) | TlsError::NotTls | TlsError::EndedInHandshake
                );
                assert!(fits, "a record of kind {kind} with {payload:?}: {error:?}");
            });
        }
    }
}

#[test]
fn a_record_that_is_too_large_is_refused() {
    let authority = Authority::new();
    for server in BOTH {
        play(async {
            let error = Scene::new(&authority, server).refused(&record(22, &[1; 40_000])).await;
            assert!(matches!(error, TlsError::Protocol(_) | TlsError::NotTls), "{error:?}");
        });
        play(async {
            // TLS-23
            let scene = Scene::new(&authority, server);
            let error = scene.disturbed(&authority, server, |sealer| {
                sealer.wire.write(&record(23, &[1; 40_000]));
            });
            let error = error.await;
            assert!(matches!(error, TlsError::Protocol(_) | TlsError::NotTls), "{error:?}");
        });
        play(async {
            // TLS-23: encrypted as it should be, and too much of it.
            let scene = Scene::new(&authority, server);
            let error = scene.disturbed(&authority, server, |sealer| {
                sealer.send(23, &[1; 16 * 1024 + 200]);
            });
            assert!(matches!(error.await, TlsError::Protocol(_)));
        });
    }
}

#[test]
fn records_of_every_kind_after_the_handshake_end_the_connection_once() {
    let authority = Authority::new();
    for server in BOTH {
        for clear in BOTH {
            // Data is what is expected when it is encrypted, and alerts have a test of their own.
            let kinds = [0, 1, 19, 20, 22, 23, 24, 25, 26, 64, 127, 128, 254, 255];
            for kind in kinds.into_iter().filter(|kind| *kind != 23 || clear) {
                play(async {
                    let scene = Scene::new(&authority, server);
                    let error = scene.disturbed(&authority, server, |sealer| match clear {
                        true => drop(sealer.wire.write(&record(kind, &[7; 40]))),
                        false => sealer.send(kind, &[7; 40]),
                    });
                    let error = error.await;
                    // TLS-23
                    let fits = matches!(error, TlsError::Protocol(_) | TlsError::NotTls);
                    assert!(fits, "kind {kind}, in clear: {clear}: {error:?}");
                });
            }
        }
    }
}

#[test]
fn records_that_were_tampered_with_end_the_connection() {
    let authority = Authority::new();
    for server in BOTH {
        play(async {
            let scene = Scene::new(&authority, server);
            let error = scene.disturbed(&authority, server, |sealer| {
                sealer.send(23, b"good");
                sealer.wire.write(&record(23, &[9; 60]));
                sealer.send(23, b"never seen");
            });
            let error = error.await;
            // TLS-23
            assert!(matches!(error, TlsError::Protocol(_)), "{error:?}");
        });
    }
}

/// What comes of an alert, encrypted, when the handshake is done.
async fn alerted(authority: &Authority, server: bool, level: u8, alert: u8) {
    let mut scene = Scene::new(authority, server);
    // Whoever closes at the end of the stream has ended; and what is no end leaves the connection as it is.
    if alert == 0 && level < 3 || (level, alert) == (1, 90) {
        let mut peer = scene.raw_peer(authority, server);
        peer.shake_hands().await;
        let transport = scene.opened.outcome().await.expect("a handshake");
        let mut sealer = peer.into_sealer();
        sealer.send(21, &[level, alert]);
        if alert == 90 {
            sealer.send(23, b"and on it goes");
            scene.log.received_at_least(14).await;
            transport.abort();
        } else {
            scene.log.until(|log| log.has(Callback::EofReceived)).await;
            transport.close();
        }
        scene.log.lost().await;
        assert!(scene.log.cause().is_none());
        return;
    }
    let error = scene.disturbed(authority, server, |sealer| sealer.send(21, &[level, alert])).await;
    assert_eq!(error, TlsError::Alert(Alert(alert)), "level {level}");
    assert!(error.to_string().contains(Alert(alert).name()), "{error}");
}

#[test]
fn alerts_of_every_kind_are_told_by_their_number() {
    let authority = Authority::new();
    for alert in 0..=255 {
        for level in [1, 2].into_iter().chain((alert % 50 == 0).then_some(3)) {
            play(alerted(&authority, alert % 2 == 0, level, alert));
        }
    }
}

#[test]
fn alerts_of_every_kind_in_the_handshake_are_told_by_their_number() {
    let authority = Authority::new();
    for alert in 0..=255 {
        for level in [1, 2, 3] {
            play(async {
                let scene = Scene::new(&authority, alert % 2 == 1);
                let error = scene.refused(&record(21, &[level, alert])).await;
                match level {
                    // What only warns changes nothing: the stream ends behind it.
                    1 => assert_eq!(error, TlsError::EndedInHandshake, "alert {alert}"),
                    _ => assert_eq!(error, TlsError::Alert(Alert(alert)), "level {level}"),
                }
            });
        }
    }
}

#[test]
fn a_flood_of_what_means_nothing_is_ended() {
    let authority = Authority::new();
    for server in BOTH {
        play(async {
            // Warnings in clear, which nobody has to keep listening to.
            let error =
                Scene::new(&authority, server).refused(&record(21, &[1, 90]).repeat(100)).await;
            assert!(matches!(error, TlsError::Protocol(_)), "{error:?}");
        });
        play(async {
            let scene = Scene::new(&authority, server);
            // Warnings, well encrypted.
            let error = scene.disturbed(&authority, server, |sealer| {
                (0..100).for_each(|_| sealer.send(21, &[1, 90]));
            });
            assert!(matches!(error.await, TlsError::Protocol(_)));
        });
    }
}

#[test]
fn a_peer_that_stalls_in_the_handshake_is_ended_by_the_limit() {
    let authority = Authority::new();
    for server in BOTH {
        for bytes in [&b""[..], &record(22, b"\x01\x00\x10"), &[22, 3, 1]] {
            watched(|| {
                let clock = JumpingClock::new();
                let event_loop = tidegate_reactor::EventLoop::with_clock(clock.clone()).unwrap();
                event_loop
                    .run_until_complete(async {
                        let mut scene = Scene::new(&authority, server);
                        scene.heard.made().await;
                        scene.wire().write(bytes);
                        // TLS-02 TLS-11
                        let error = scene.opened.outcome().await.expect_err("a stalled handshake");
                        let text = "SSL handshake is taking longer than 60 seconds: aborting the connection";
                        assert_eq!(error.to_string(), text);
                        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
                        let limit = Duration::from_secs(60);
                        assert_eq!(tls_error(&error), TlsError::HandshakeTimeout(limit));
                        assert_eq!(clock.time(), limit);
                        scene.heard.until(|heard| heard.has(Callback::EofReceived)).await;
                        scene.log.until(Log::is_abandoned).await;
                        scene.log.assert(&[]);
                        // TLS-18
                        assert_eq!(handle().statistics().timers, 0);
                    })
                    .unwrap();
                event_loop.close().unwrap();
            });
        }
    }
}
