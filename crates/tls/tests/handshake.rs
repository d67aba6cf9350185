//! The handshake: what comes when it is done, in which order, and what becomes of those that are not.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use tidegate_protocols::{AtEof, Transport};
use tidegate_reactor::{EventLoop, sleep, spawn};
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Callback, Event, JumpingClock, Log, Recorder, run, turns, watched};
use tidegate_tls::{Cipher, ClientLayer, ClientTls, ServerLayer, ServerTls, TlsError, Version};
use tidegate_transports::{create_unix_connection, create_unix_server};

mod authority;
mod meeting;

use authority::Authority;
use meeting::{connect, handle, keep_reports, play, tls_error, under};

fn client(authority: &Authority) -> ClientLayer {
    ClientLayer::new(authority.client(), "localhost")
}

fn server(authority: &Authority) -> ServerLayer {
    ServerLayer::new(authority.server())
}

#[test]
fn the_greeting_comes_first_then_the_caller_then_data_in_the_same_step() {
    let authority = Authority::new();
    // Whoever is greeted last gets data together with the last word of the handshake: in TLS 1.3 the server.
    play(async {
        let above = Recorder::new();
        let log = above.log();
        let eager = Recorder::new().on(Callback::ConnectionMade, |transport| {
            transport.write(b"with the last word");
        });
        let (_line, _client, mut opened) = connect(
            PairOptions::default(),
            (client(&authority), eager),
            (server(&authority), above),
        );
        let noted = log.clone();
        let caller = spawn(async move {
            opened.outcome().await.expect("a handshake");
            noted.note("the caller");
        });
        log.received_at_least(18).await;
        turns(2).await;
        // TLS-01 TLS-10: the caller is woken before the data is delivered, and runs after this step.
        let order = [Event::Made, Event::data("with the last word"), Event::note("the caller")];
        log.assert(&order);
        drop(caller);
    });
}

#[test]
fn whoever_waits_is_woken_before_the_data() {
    let authority = Authority::new();
    play(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let (greeted, received) = (order.clone(), order.clone());
        let above = Recorder::new()
            .on(Callback::ConnectionMade, move |_| greeted.borrow_mut().push("greeted"))
            .on(Callback::DataReceived, move |_| received.borrow_mut().push("data"));
        let log = above.log();
        let eager = Recorder::new().on(Callback::ConnectionMade, |transport| {
            transport.write(b"data");
        });
        let told = order.clone();
        let layers: Rc<dyn tidegate_protocols::Layer> = Rc::new(server(&authority));
        let above =
            tidegate_protocols::layer::stack(&[layers], Box::new(above), None, move |word| {
                assert!(word.is_ok());
                told.borrow_mut().push("told");
            });
        let (eager, _opened) = under(client(&authority), eager);
        let _line = Line::open(&handle(), eager, above, PairOptions::default()).expect("a loop");
        log.received_at_least(4).await;
        // TLS-10
        assert_eq!(*order.borrow(), ["greeted", "told", "data"]);
    });
}

#[test]
fn both_versions_shake_hands() {
    let authority = Authority::new();
    for version in [Version::Tls12, Version::Tls13] {
        play(async {
            let tls = authority.server_builder().versions(version..=version).build().unwrap();
            let (left, right) = (Recorder::new(), Recorder::new());
            let (said, heard) = (left.log(), right.log());
            let (_line, mut ours, mut theirs) = connect(
                PairOptions::default(),
                (client(&authority), left),
                (ServerLayer::new(tls), right),
            );
            let (ours, theirs) = (ours.outcome().await.unwrap(), theirs.outcome().await.unwrap());
            for end in [&ours, &theirs] {
                // TLS-05
                assert_eq!(end.get_extra_info::<Cipher>().expect("a cipher").version, version);
            }
            ours.write(b"question");
            heard.received_at_least(8).await;
            theirs.write(b"answer");
            theirs.close();
            said.lost().await;
            heard.lost().await;
            said.assert(&[Event::Made, Event::data("answer"), Event::Eof, Event::Lost(None)]);
            heard.assert(&[Event::Made, Event::data("question"), Event::Lost(None)]);
            assert_eq!(handle().statistics().timers, 0);
        });
    }
}

#[test]
fn versions_that_do_not_meet_have_nothing_in_common() {
    let authority = Authority::new();
    play(async {
        let old =
            authority.client_builder().versions(Version::Tls12..=Version::Tls12).build().unwrap();
        let new =
            authority.server_builder().versions(Version::Tls13..=Version::Tls13).build().unwrap();
        let (_line, mut ours, mut theirs) = connect(
            PairOptions::default(),
            (ClientLayer::new(old, "localhost"), Recorder::new()),
            (ServerLayer::new(new), Recorder::new()),
        );
        assert!(matches!(theirs.error().await, TlsError::NothingInCommon(_)));
        // TLS-14: the peer is told why.
        assert!(
            matches!(ours.error().await, TlsError::Alert(alert) if alert.name() == "protocol_version")
        );
    });
}

#[test]
fn the_handshake_has_a_limit_of_its_own() {
    let authority = Authority::new();
    let limit = Duration::from_millis(2500);
    let tls = authority.client_builder().handshake_timeout(limit).build().unwrap();
    watched(|| {
        let clock = JumpingClock::new();
        let event_loop = EventLoop::with_clock(clock.clone()).unwrap();
        let reports = keep_reports(&event_loop.handle());
        event_loop
            .run_until_complete(async {
                let (above, peer) = (Recorder::new(), Recorder::new());
                let (log, heard) = (above.log(), peer.log());
                let (protocol, mut opened) = under(ClientLayer::new(tls, "localhost"), above);
                let options = PairOptions::default();
                let _line = Line::open(&handle(), protocol, Box::new(peer), options);
                // TLS-11
                let error = opened.outcome().await.expect_err("a handshake that stalls");
                assert_eq!(clock.time(), limit);
                assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
                let text =
                    "SSL handshake is taking longer than 2.5 seconds: aborting the connection";
                assert_eq!(error.to_string(), text);
                assert_eq!(tls_error(&error), TlsError::HandshakeTimeout(limit));
                heard.lost().await;
                log.until(Log::is_abandoned).await;
                log.assert(&[]);
                assert_eq!(handle().statistics().timers, 0);
            })
            .unwrap();
        event_loop.close().unwrap();
        assert_eq!(*reports.borrow(), [""; 0]);
    });
}

#[test]
fn a_handshake_that_is_done_has_no_limit_any_more() {
    let authority = Authority::new();
    play(async {
        let (left, right) = (Recorder::new(), Recorder::new());
        let logs = [left.log(), right.log()];
        let (line, mut ours, mut theirs) = connect(
            PairOptions::default(),
            (client(&authority), left),
            (server(&authority), right),
        );
        let ends = [ours.outcome().await.unwrap(), theirs.outcome().await.unwrap()];
        // TLS-18
        assert_eq!(handle().statistics().timers, 0);
        sleep(Duration::from_secs(600)).await.unwrap();
        logs.iter().for_each(|log| log.assert(&[Event::Made]));
        ends[0].close();
        logs[0].lost().await;
        logs[1].lost().await;
        assert_eq!(handle().statistics().timers, 0);
        // TLS-18: nothing keeps a connection but its handles.
        let weak = ends.each_ref().map(Transport::downgrade);
        drop((ends, line));
        turns(2).await;
        assert!(weak.iter().all(|weak| weak.upgrade().is_none()));
        assert!(logs.iter().all(Log::is_abandoned));
    });
}

#[test]
fn a_wire_that_breaks_in_the_handshake_fails_it_with_that_error() {
    let authority = Authority::new();
    for with_server in [false, true] {
        play(async {
            let (above, peer) = (Recorder::new(), Recorder::new());
            let log = above.log();
            let (protocol, mut opened) = match with_server {
                true => under(server(&authority), above),
                false => under(client(&authority), above),
            };
            let line =
                Line::open(&handle(), protocol, Box::new(peer), PairOptions::default()).unwrap();
            turns(3).await;
            line.reset();
            // TLS-13
            let error = opened.outcome().await.expect_err("a wire that breaks");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!(error.raw_os_error().is_some(), "{error:?}");
            log.until(Log::is_abandoned).await;
            log.assert(&[]);
            assert_eq!(handle().statistics().timers, 0);
        });
    }
}

#[test]
fn a_greeting_that_fails_is_fatal_and_reported() {
    let authority = Authority::new();
    for of_server in [false, true] {
        watched(|| {
            let event_loop = EventLoop::with_clock(JumpingClock::new()).unwrap();
            let reports = keep_reports(&event_loop.handle());
            event_loop
                .run_until_complete(async {
                    let failing = Recorder::new().panicking(Callback::ConnectionMade);
                    let log = failing.log();
                    let (left, right) = match of_server {
                        true => (Recorder::new(), failing),
                        false => (failing, Recorder::new()),
                    };
                    let (_line, mut ours, mut theirs) = connect(
                        PairOptions::default(),
                        (client(&authority), left),
                        (server(&authority), right),
                    );
                    let opened = if of_server { &mut theirs } else { &mut ours };
                    // TLS-16
                    let error = opened.outcome().await.expect_err("a greeting that fails");
                    assert!(error.to_string().contains("panics on purpose"), "{error}");
                    log.lost().await;
                    log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::Other))]);
                    let cause = log.cause().expect("a cause");
                    assert!(cause.to_string().contains("panics on purpose"), "{cause}");
                })
                .unwrap();
            event_loop.close().unwrap();
            assert_eq!(reports.borrow().len(), 1);
            let text = "Fatal error: protocol.connection_made() call failed.";
            assert!(reports.borrow()[0].contains(text), "{reports:?}");
        });
    }
}

#[test]
fn closing_in_the_greeting_ends_well() {
    let authority = Authority::new();
    for end in [Transport::close as fn(&Transport), Transport::abort] {
        play(async {
            let closing = Recorder::new().on(Callback::ConnectionMade, end);
            let (log, peer) = (closing.log(), Recorder::new());
            let heard = peer.log();
            let (_line, mut ours, _theirs) = connect(
                PairOptions::default(),
                (client(&authority), closing),
                (server(&authority), peer),
            );
            let transport = ours.outcome().await.expect("it was open");
            assert!(transport.is_closing());
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(None)]);
            heard.lost().await;
            assert_eq!(handle().statistics().timers, 0);
        });
    }
}

#[test]
fn what_is_written_in_the_greeting_arrives_though_it_closes() {
    let authority = Authority::new();
    play(async {
        let left = Recorder::new().on(Callback::ConnectionMade, |transport| {
            transport.write(b"hello and good-bye");
            transport.close();
        });
        let right = Recorder::new();
        let heard = right.log();
        let (_line, ..) = connect(
            PairOptions::default(),
            (client(&authority), left),
            (server(&authority), right),
        );
        heard.lost().await;
        // TLS-24 TLS-30
        heard.assert(&[
            Event::Made,
            Event::data("hello and good-bye"),
            Event::Eof,
            Event::Lost(None),
        ]);
    });
}

/// Everything at once over sockets of the system.
#[test]
fn unix_sockets_carry_tls() {
    watched(|| {
        let authority = Authority::new();
        run(async {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("s");
            let reports = keep_reports(&handle());
            let heard: Rc<Cell<Option<Log>>> = Rc::default();
            let keep = heard.clone();
            let echo = move || {
                let recorder = Recorder::new().at_eof(AtEof::Close);
                keep.set(Some(recorder.log()));
                recorder.on(Callback::DataReceived, |transport| {
                    transport.write(b"answer");
                })
            };
            let server = create_unix_server(echo, &path).tls(authority.server()).await?;
            let recorder = Recorder::new();
            let log = recorder.log();
            let transport = create_unix_connection(move || recorder, &path)
                .tls(authority.client(), "localhost")
                .await?;
            log.assert(&[Event::Made]);
            transport.write(b"question");
            log.received_at_least(6).await;
            transport.close();
            log.lost().await;
            log.assert(&[Event::Made, Event::data("answer"), Event::Lost(None)]);
            let heard = heard.take().expect("a connection");
            heard.lost().await;
            heard.assert(&[Event::Made, Event::data("question"), Event::Eof, Event::Lost(None)]);
            server.close();
            assert_eq!(*reports.borrow(), [""; 0]);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}
