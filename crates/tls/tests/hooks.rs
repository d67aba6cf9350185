//! Code of the user's that rustls calls in the midst of its work: it may use its connection, and it may panic.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Waker};

use tidegate_protocols::Transport;
use tidegate_protocols::layer::Layer;
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Callback, Log, Recorder, turns, until};
use tidegate_tls::{
    Cipher, Client, ClientLayer, Server, StartTlsError, TlsConfig, TlsError, Upgrade, start_tls,
};

mod authority;
mod hooked;
mod support;

use hooked::{PLACES, Place, at, client, encrypting, server};
use support::upgrading::{clear, line};
use support::{Both, End, Peer, jumping, keep_reports, layered, pattern, poll_once};

/// Two ends in clear, and what they go on with.
struct Ground {
    left: End,
    right: End,
    client: Client,
    server: Server,
}

impl Ground {
    async fn new(tls: &Both, place: Place) -> Ground {
        let (left, right, _line) =
            clear(PairOptions::default(), Recorder::new(), Recorder::new()).await;
        Ground { left, right, client: client(tls), server: server(tls, place) }
    }

    /// The end to which the hook belongs, and the other one.
    fn ends(&self, place: Place) -> (&End, &End) {
        match place.is_of_client() {
            true => (&self.left, &self.right),
            false => (&self.right, &self.left),
        }
    }

    fn start(&self) {
        start_tls(&self.left, (&self.client, "localhost")).expect("it can start");
        start_tls(&self.right, &self.server).expect("it can start");
    }

    async fn lost(&self) {
        for end in [&self.left, &self.right] {
            end.log.lost().await;
            end.log.until(Log::is_abandoned).await;
            end.log.assert_complete();
        }
    }

    fn causes(&self) -> String {
        format!("{:?} {:?}", self.left.log.cause(), self.right.log.cause())
    }
}

/// Acts at the place, and answers when that has happened.
async fn acted(ground: &Ground, place: Place, act: impl FnOnce(&Transport) + 'static) {
    let done = Rc::new(RefCell::new(false));
    let (note, transport) = (done.clone(), ground.ends(place).0.transport.clone());
    at(place, move || {
        act(&transport);
        *note.borrow_mut() = true;
    });
    ground.start();
    until(|| *done.borrow()).await;
}

#[test]
fn what_a_hook_writes_is_sent_in_its_place() {
    for place in PLACES {
        for length in [10, 20_000, 200_000] {
            jumping(async move {
                let reports = keep_reports();
                let ground = Ground::new(&Both::new(), place).await;
                let expected = [pattern(length), b"onetwo".to_vec(), pattern(length)].concat();
                acted(&ground, place, move |transport| {
                    transport.write(&pattern(length));
                    transport.writelines(["one", "two"]);
                    transport.write_bytes(pattern(length).into());
                    assert!(!transport.is_closing());
                    assert!(matches!(
                        transport.get_extra_info(),
                        Some(TlsConfig::Client(_) | TlsConfig::Server(_))
                    ));
                    let _early = transport.get_extra_info::<Cipher>();
                    transport.set_write_buffer_limits(Some(1), Some(0)).expect("limits");
                })
                .await;
                let (near, far) = ground.ends(place);
                far.log.received_at_least(expected.len()).await;
                near.write(b"later");
                far.log.received_at_least(expected.len() + 5).await;
                assert!(far.log.received() == [&expected[..], b"later"].concat());
                near.close();
                ground.lost().await;
                assert!(near.log.cause().is_none() && far.log.cause().is_none());
                assert!(reports.borrow().is_empty(), "{:?}", reports.borrow());
            });
        }
    }
}

#[test]
fn a_hook_may_do_anything_with_its_connection() {
    let acts: [fn(&Transport); 9] = [
        Transport::close,
        Transport::abort,
        |transport| {
            transport.write(&[7; 50_000]);
            transport.close();
        },
        |transport| transport.write_eof().expect("half a close"),
        |transport| {
            transport.write(&[7; 50_000]);
            let mut flush = Box::pin(transport.flush());
            let _woken = flush.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        },
        |transport| {
            transport.pause_reading();
            transport.resume_reading();
        },
        |transport| drop(transport.raw().take_turn()),
        |transport| transport.set_protocol(Recorder::taking_over()),
        |transport| transport.fail(io::Error::from(io::ErrorKind::InvalidData).into()),
    ];
    for place in PLACES {
        for act in acts {
            jumping(async move {
                let ground = Ground::new(&Both::new(), place).await;
                acted(&ground, place, act).await;
                turns(50).await;
                ground.left.close();
                ground.right.close();
                ground.left.closed().await;
                ground.right.closed().await;
                for end in [&ground.left, &ground.right] {
                    assert_eq!(end.get_write_buffer_size(), 0);
                    end.log.until(Log::is_abandoned).await;
                    // One that was replaced is told nothing more.
                    assert!(end.log.count(Callback::ConnectionLost) <= 1);
                }
                assert!(!ground.causes().contains("anicked"), "{}", ground.causes());
                assert!(!ground.causes().contains("broke the TLS"), "{}", ground.causes());
            });
        }
    }
}

// TLS-30: what a hook has written before is sent by its close
#[test]
fn a_hook_may_close_behind_what_it_writes() {
    jumping(async {
        // The client is open when tickets come.
        let place = Place::TicketComes;
        let ground = Ground::new(&Both::new(), place).await;
        acted(&ground, place, |transport| {
            transport.write(&pattern(100_000));
            transport.close();
            assert!(transport.is_closing());
        })
        .await;
        ground.lost().await;
        assert!(ground.right.log.received() == pattern(100_000));
        assert!(ground.right.log.has(Callback::EofReceived));
        assert_eq!(ground.causes(), "None None");
    });
}

// A layer over the connection whose session is at work
#[test]
fn a_hook_may_start_tls_once_more() {
    jumping(async {
        let place = Place::TicketComes;
        let ground = Ground::new(&Both::new(), place).await;
        let inner = Both::new();
        let of_client = inner.client.clone();
        acted(&ground, place, move |transport| {
            start_tls(transport, (&of_client, "localhost")).expect("it can start");
            transport.write(b"in TLS in TLS");
        })
        .await;
        start_tls(&ground.right, &inner.server).expect("it can start");
        ground.right.log.received_at_least(13).await;
        assert_eq!(ground.right.log.received(), b"in TLS in TLS");
        ground.left.close();
        ground.lost().await;
        assert_eq!(ground.causes(), "None None");
    });
}

fn is_panic(error: &io::Error) -> bool {
    matches!(TlsError::of(error), Some(TlsError::Panicked(text)) if text.contains("on purpose"))
}

#[test]
fn a_hook_that_panics_ends_its_own_connection_and_says_so() {
    for place in PLACES {
        jumping(async move {
            let reports = keep_reports();
            let tls = Both::new();
            let other = Ground::new(&tls, place).await;
            other.start();
            other.left.write(b"first");
            other.right.log.received_at_least(5).await;

            let ground = Ground::new(&tls, place).await;
            acted_last(&ground, place).await;
            let (near, _) = ground.ends(place);
            let cause = near.log.cause().expect("a cause");
            assert!(is_panic(&cause), "{place:?}: {cause:?}");
            assert_eq!(reports.borrow().len(), 1, "{:?}", reports.borrow());
            assert!(near.closed().await.is_some_and(|cause| is_panic(&cause)));

            other.left.write(b", second");
            other.right.log.received_at_least(13).await;
            other.left.close();
            other.lost().await;
            assert_eq!(other.causes(), "None None");
        });
    }
}

/// Panics at the place, until both ends are lost.
async fn acted_last(ground: &Ground, place: Place) {
    at(place, || panic!("on purpose"));
    ground.start();
    ground.ends(place).0.log.lost().await;
    ground.ends(place).1.close();
    ground.lost().await;
}

// TLS-58: what was received before is looked at in a step of its own, which is no callback of the transport below
#[test]
fn a_hook_that_panics_over_a_flight_that_rode_along_ends_the_connection() {
    jumping(async {
        let reports = keep_reports();
        let tls = Both::new();
        let peer = Peer::client(&tls);
        let flight = peer.unsent();
        let (left, _line) = line(PairOptions::default(), Recorder::new(), peer.protocol());
        left.log.made().await;
        at(Place::Certificate, || panic!("on purpose"));
        let server = server(&tls, Place::Certificate);
        let upgrade = Upgrade::from(&server).unread(&flight).hand_over();
        let error = start_tls(&left, upgrade).expect("it can start").await.expect_err("a panic");
        assert!(is_panic(&error), "{error:?}");
        peer.transport().close();
        left.log.lost().await;
        assert!(is_panic(&left.log.cause().expect("a cause")));
        assert_eq!(reports.borrow().len(), 1, "{:?}", reports.borrow());
    });
}

// A write encrypts, and calls nobody: what has failed in it is reported after it
#[test]
fn a_panic_of_the_encryption_is_reported_outside_of_the_call_in_which_it_comes() {
    let acts: [fn(&Transport); 3] = [
        |transport| {
            transport.write(&[7; 50_000]);
        },
        |transport| transport.write_eof().expect("it can"),
        Transport::close,
    ];
    for act in acts {
        jumping(async move {
            let tls = Both::new();
            let mut ground = Ground::new(&tls, Place::ClientLog).await;
            ground.client = encrypting::client(&tls);
            let reports = keep_reports();
            ground.start();
            ground.left.write(b"first");
            ground.right.log.received_at_least(5).await;
            at(Place::Encrypter, || panic!("on purpose"));
            act(&ground.left);
            assert!(reports.borrow().is_empty(), "reported inside of the call");
            ground.left.log.lost().await;
            assert!(is_panic(&ground.left.log.cause().expect("a cause")));
            assert_eq!(reports.borrow().len(), 1, "{:?}", reports.borrow());
            ground.lost().await;
        });
    }
}

// A client looks for an earlier session before there is a connection
#[test]
fn a_hook_that_panics_at_the_beginning_is_an_error_of_the_beginning() {
    jumping(async {
        let tls = Both::new();
        let ground = Ground::new(&tls, Place::TicketWanted).await;
        at(Place::TicketWanted, || panic!("on purpose"));
        let started = start_tls(&ground.left, (&ground.client, "localhost"));
        let error = started.expect_err("a panic");
        let StartTlsError::Config(inner) = &error else { panic!("{error}") };
        assert!(is_panic(inner), "{inner:?}");
        // Nothing has happened.
        ground.left.write(b"in clear");
        ground.right.log.received_at_least(8).await;
        assert_eq!(ground.right.log.received(), b"in clear");

        at(Place::TicketWanted, || panic!("on purpose"));
        let layer: Rc<dyn Layer> = Rc::new(ClientLayer::new(client(&tls), "localhost"));
        let (left, mut opened) = layered(&[layer], Recorder::new());
        assert!(poll_once(&mut opened).await.is_none());
        let peer = Peer::server(&tls);
        let handle = support::handle();
        let line = tidegate_testkit::memory::Line::open(
            &handle,
            left,
            Box::new(peer.protocol()),
            PairOptions::default(),
        );
        let _line = line.expect("a line");
        let error = opened.await.expect_err("a panic");
        assert!(is_panic(&error), "{error:?}");
        ground.left.close();
        ground.lost().await;
    });
}
