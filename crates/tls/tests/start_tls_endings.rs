//! STARTTLS that cannot begin, or does not come to its end: nothing has happened, or the connection is lost once.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidegate_protocols::{AtEof, Cause, Protocol, Transport, Turn, Waiter};
use tidegate_reactor::EventLoop;
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Callback, Event, JumpingClock, Log, Recorder, turns, watched};
use tidegate_tls::{Cipher, StartTlsError, TlsError, Upgrade, start_tls};

mod authority;
mod support;

use support::upgrading::{as_client, as_server, clear, close, line};
use support::{Both, End, handle, jumping, keep_reports, narrow, pattern, poll_once};

// TLS-54
#[test]
fn it_cannot_start_on_a_connection_that_ends() {
    jumping(async {
        let tls = Both::new();
        let ends: [fn(&End); 4] = [
            |end| end.close(),
            |end| end.abort(),
            |end| end.write_eof().expect("half a close"),
            |end| {
                end.write(&pattern(100_000));
                end.write_eof().expect("half a close");
            },
        ];
        for end in ends {
            let (left, right, _line) = clear(narrow(1000), Recorder::new(), Recorder::new()).await;
            end(&left);
            let error = start_tls(&left, (&tls.client, "localhost")).expect_err("it is closing");
            assert!(matches!(error, StartTlsError::Closing), "{error}");
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotConnected);
            assert!(left.get_extra_info::<Cipher>().is_none());
            left.log.lost().await;
            right.log.lost().await;
            let error = start_tls(&left, (&tls.client, "localhost")).expect_err("it is lost");
            assert!(matches!(error, StartTlsError::Closing), "{error}");
        }
    });
}

// TLS-54: nor when the peer has ended its direction: no handshake can come from there
#[test]
fn it_cannot_start_when_the_peer_has_ended() {
    jumping(async {
        let tls = Both::new();
        let left = Recorder::new().at_eof(AtEof::KeepWriting);
        let (left, right, _line) = clear(PairOptions::default(), left, Recorder::new()).await;
        right.write_eof().expect("half a close");
        left.log.until(|log| log.has(Callback::EofReceived)).await;
        match start_tls(&left, (&tls.client, "localhost")) {
            Err(error) => assert!(matches!(error, StartTlsError::Closing), "{error}"),
            Ok(started) => {
                let error = started.await.expect_err("nobody answers");
                assert_eq!(TlsError::of(&error), Some(&TlsError::EndedInHandshake), "{error}");
            }
        }
        left.abort();
        left.log.lost().await;
        left.log.assert_complete();
    });
}

/// Sends something by a turn, as a file is sent.
async fn send(turn: &dyn Turn, data: &[u8]) {
    let waiter = Waiter::new();
    let sent = poll_fn(|context| turn.poll_write(data, &waiter, context)).await;
    assert_eq!(sent.expect("the turn lasts"), data.len());
}

// TLS-54: nor in the midst of a file, which goes on; so does a pause
#[test]
fn it_cannot_start_while_a_file_is_sent() {
    for (secure, paused) in [(false, false), (false, true), (true, false), (true, true)] {
        jumping(async move {
            let tls = Both::new();
            let (left, right, _line) =
                clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
            if secure {
                let server = as_server(&tls, &right);
                as_client(&tls, &left).await.expect("a handshake");
                server.await.expect("a handshake");
                turns(20).await;
            }
            if paused {
                left.pause_reading();
            }
            let turn = left.raw().take_turn().expect("a turn");
            send(&*turn, b"one ").await;
            let error = start_tls(&left, (&tls.client, "localhost")).expect_err("a file is sent");
            assert!(matches!(error, StartTlsError::Busy), "{error}");
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ResourceBusy);
            send(&*turn, b"file").await;
            right.log.received_at_least(8).await;
            assert_eq!(right.log.received(), b"one file");
            right.write(b"in between");
            drop(turn);
            assert_eq!(left.is_reading(), !paused);
            turns(20).await;
            assert_eq!(left.log.received_len(), if paused { 0 } else { 10 });
            left.resume_reading();
            left.log.received_at_least(10).await;
            let server = as_server(&tls, &right);
            as_client(&tls, &left).await.expect("a handshake");
            server.await.expect("a handshake");
            close(&left, &right).await;
        });
    }
}

// TLS-51: what is wrong with the arguments is said before anything happens
#[test]
fn a_wrong_name_changes_nothing() {
    jumping(async {
        let tls = Both::new();
        let (left, right, _line) =
            clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
        let error = start_tls(&left, (&tls.client, "no name")).expect_err("it is no name");
        assert!(matches!(error, StartTlsError::Config(_)), "{error}");
        left.write(b"in clear");
        right.log.received_at_least(8).await;
        close(&left, &right).await;
        right.log.assert(&[Event::Made, Event::data("in clear"), Event::Eof, Event::Lost(None)]);
    });
}

// TLS-58
#[test]
fn bytes_in_clear_behind_the_switch_are_an_error() {
    jumping(async {
        let tls = Both::new();
        let found: Rc<RefCell<Vec<String>>> = Rc::default();
        let (note, server) = (found.clone(), tls.server.clone());
        let right = Recorder::new().once(Callback::DataReceived, move |transport| {
            let upgrade = Upgrade::from(&server).unread(b"MAIL FROM:<eve>\r\n");
            let error = start_tls(transport, upgrade).expect_err("bytes in clear");
            assert!(matches!(error, StartTlsError::Unread(17)), "{error}");
            note.borrow_mut().push(io::Error::from(error).kind().to_string());
        });
        let (left, right, _line) = clear(PairOptions::default(), Recorder::new(), right).await;
        left.write(b"STARTTLS\r\nMAIL FROM:<eve>\r\n");
        right.log.received_at_least(20).await;
        assert_eq!(*found.borrow(), ["invalid data"]);
        right.write(b"554 no\r\n");
        left.log.received_at_least(8).await;
        close(&left, &right).await;
    });
}

// TLS-53
#[test]
fn a_handshake_that_fails_is_the_cause_of_the_loss() {
    jumping(async {
        let reports = keep_reports();
        let (tls, other) = (Both::new(), Both::new());
        let (left, right, _line) =
            clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
        let (mine, theirs) = (as_client(&other, &left), as_server(&tls, &right));
        left.write(b"the password");
        let error = mine.await.expect_err("nobody trusts the server");
        assert!(matches!(TlsError::of(&error), Some(TlsError::Certificate(..))), "{error}");
        let error = theirs.await.expect_err("the client refuses");
        assert!(matches!(TlsError::of(&error), Some(TlsError::Alert(_))), "{error}");
        left.log.lost().await;
        right.log.lost().await;
        let cause = left.log.cause().expect("a cause");
        assert!(matches!(TlsError::of(&cause), Some(TlsError::Certificate(..))), "{cause}");
        let cause = right.log.cause().expect("a cause");
        assert!(matches!(TlsError::of(&cause), Some(TlsError::Alert(_))), "{cause}");
        for end in [&left, &right] {
            end.log.assert_complete();
            end.log.until(Log::is_abandoned).await;
            assert_eq!(end.log.joined().len(), 2, "{}", end.log);
        }
        assert!(reports.borrow().is_empty());
    });
}

// TLS-53: as after every other failure, the loss is told
#[test]
fn a_handshake_that_takes_too_long_is_the_cause_of_the_loss() {
    jumping(async {
        for observed in [true, false] {
            let tls = Both::new();
            let (left, right, _line) =
                clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
            let start = handle().time();
            let upgrade = Upgrade::from((&tls.client, "localhost"));
            let limit = Duration::from_secs(5);
            let started = start_tls(&left, upgrade.handshake_timeout(limit)).expect("it starts");
            let timeout = TlsError::HandshakeTimeout(limit);
            match observed {
                true => {
                    let error = started.await.expect_err("nobody answers");
                    assert_eq!(TlsError::of(&error), Some(&timeout));
                }
                false => drop(started),
            }
            left.log.lost().await;
            assert_eq!(handle().time() - start, limit);
            let cause = left.log.cause().expect("a cause");
            assert_eq!(TlsError::of(&cause), Some(&timeout));
            right.log.lost().await;
            left.log.assert_complete();
        }
    });
}

// TLS-53: what ends a connection in its handshake
#[test]
fn a_connection_may_be_lost_in_the_handshake() {
    jumping(async {
        type Break = fn(&End, &Line);
        let ends: [(Break, io::ErrorKind); 2] = [
            (|right, _| right.abort(), io::ErrorKind::ConnectionReset),
            (|_, line| line.reset(), io::ErrorKind::ConnectionReset),
        ];
        for (end, kind) in ends {
            let tls = Both::new();
            let (left, right, line) =
                clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
            let started = as_client(&tls, &left);
            turns(3).await;
            end(&right, &line);
            assert_eq!(started.await.expect_err("it is lost").kind(), kind);
            left.log.lost().await;
            assert_eq!(left.log.cause().expect("a cause").kind(), kind);
            left.log.assert_complete();
        }
    });
}

// TLS-53: an abort or a close of one's own
#[test]
fn a_connection_may_be_ended_in_the_handshake() {
    jumping(async {
        let ends: [fn(&Transport); 2] = [Transport::close, Transport::abort];
        for end in ends {
            for writes in [true, false] {
                let tls = Both::new();
                let (left, _right, _line) =
                    clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
                let started = as_client(&tls, &left);
                if writes {
                    left.write(b"unsent");
                }
                end(&left);
                assert!(started.await.is_err());
                left.log.lost().await;
                left.log.assert_complete();
                left.log.until(Log::is_abandoned).await;
            }
        }
    });
}

// replaced: TLS-53
#[test]
fn dropping_the_observer_cancels_nothing() {
    jumping(async {
        let tls = Both::new();
        let (left, right, _line) =
            clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
        drop(as_client(&tls, &left));
        let mut watched = as_server(&tls, &right);
        assert!(poll_once(&mut watched).await.is_none());
        drop(watched);
        left.write(b"all the same");
        right.log.received_at_least(12).await;
        close(&left, &right).await;
    });
}

/// Counts its drops.
struct Counted(Recorder, Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
    }
}

impl Protocol for Counted {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.0.data_received(transport, data)
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        self.0.connection_lost(transport, cause);
    }
}

// TLS-53: lost between the call and the end of the callback
#[test]
fn nothing_is_left_when_the_callback_ends_the_connection_too() {
    let ends: [fn(&Transport); 4] = [
        Transport::abort,
        Transport::close,
        |transport| transport.fail(io::Error::other("on purpose").into()),
        |_| panic!("on purpose"),
    ];
    for end in ends {
        jumping(async move {
            let _reports = keep_reports();
            let tls = Both::new();
            let dropped = Rc::new(Cell::new(0));
            let weak = Rc::new(RefCell::new(None));
            let (server, note) = (tls.server.clone(), weak.clone());
            let started = Rc::new(RefCell::new(None));
            let keep = started.clone();
            let right = Recorder::new().once(Callback::DataReceived, move |transport| {
                *keep.borrow_mut() = Some(start_tls(transport, &server).expect("it can start"));
                *note.borrow_mut() = Some(transport.downgrade());
                transport.write(b"unsent");
                end(transport);
            });
            let log = right.log();
            let counted = Counted(right, dropped.clone());
            let left = Recorder::new();
            let (left, line) = line(PairOptions::default(), left, counted);
            left.log.made().await;
            left.write(b"STARTTLS\r\n");
            log.lost().await;
            left.log.lost().await;
            turns(5).await;
            log.assert_complete();
            assert_eq!(dropped.get(), 1);
            let observer = started.borrow_mut().take().expect("it was started");
            assert!(observer.await.is_err());
            drop(line);
            turns(2).await;
            assert!(weak.borrow().as_ref().expect("noted").upgrade().is_none(), "it leaks");
        });
    }
}

// TLS-53: the loop closes in the handshake, or before the callback has returned
#[test]
fn nothing_is_left_when_the_loop_closes() {
    for stops_in_callback in [true, false] {
        watched(|| {
            let dropped = Rc::new(Cell::new(0));
            let weak = Rc::new(RefCell::new(None));
            let tls = Both::new();
            let event_loop = EventLoop::with_clock(JumpingClock::new()).expect("a loop");
            let _ = event_loop.run_until_complete(async {
                let (server, note) = (tls.server.clone(), weak.clone());
                let right = Recorder::new().once(Callback::DataReceived, move |transport| {
                    start_tls(transport, &server).expect("it can start");
                    *note.borrow_mut() = Some(transport.downgrade());
                    transport.write(b"unsent");
                    if stops_in_callback {
                        handle().stop();
                    }
                });
                let log = right.log();
                let counted = Counted(right, dropped.clone());
                let (left, line) = line(PairOptions::default(), Recorder::new(), counted);
                left.log.made().await;
                left.write(b"STARTTLS\r\n");
                log.received_at_least(10).await;
                let other = as_client(&tls, &left);
                drop((other, line));
            });
            event_loop.close().expect("a loop that does not run");
            drop(event_loop);
            assert_eq!(dropped.get(), 1);
            let weak = weak.borrow();
            assert!(weak.as_ref().expect("noted").upgrade().is_none(), "it leaks");
        });
    }
}
