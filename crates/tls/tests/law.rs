//! The law: what belongs to users is woken and dropped where it may come back, and never disturbs what goes on.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use tidegate_protocols::{Flow, Transport};
use tidegate_reactor::EventLoop;
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Callback, Event, JumpingClock, Log, Recorder, turns, until, watched};
use tidegate_tls::start_tls;

mod authority;
mod support;

use support::{
    Both, client_of_peer, connect, connect_over, jumping, keep_reports, narrow, pattern,
};

type Act = Box<dyn FnOnce()>;

thread_local! {
    /// What a destructor or a waker does, which have to be `Send` and can hold no transport.
    static ACTS: RefCell<Vec<Option<Act>>> = const { RefCell::new(Vec::new()) };
}

/// A number under which `act` waits to be done.
fn plan(act: impl FnOnce() + 'static) -> usize {
    ACTS.with_borrow_mut(|acts| {
        acts.push(Some(Box::new(act)));
        acts.len() - 1
    })
}

fn perform(number: usize) {
    let act = ACTS.with_borrow_mut(|acts| acts[number].take());
    if let Some(act) = act {
        act();
    }
}

/// Bytes whose owner does something when they are not needed any more.
struct Owner(Vec<u8>, usize);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        perform(self.1);
    }
}

fn owned(bytes: Vec<u8>, act: impl FnOnce() + 'static) -> Bytes {
    Bytes::from_owner(Owner(bytes, plan(act)))
}

/// A waker that does something.
struct Acting(usize);

impl Wake for Acting {
    fn wake(self: Arc<Self>) {
        perform(self.0);
    }
}

fn waker(act: impl FnOnce() + 'static) -> Waker {
    Waker::from(Arc::new(Acting(plan(act))))
}

// TLS-26: records leave in their order, whatever a destructor writes meanwhile
#[test]
fn owners_of_bytes_may_write_when_they_are_dropped() {
    jumping(async {
        for later in [10, 20_000, 100_000] {
            for pieces in [1, 4, 30] {
                let pair =
                    connect_over(narrow(9000), &Both::new(), Recorder::new(), Recorder::new())
                        .await;
                let mut expected = 0;
                for piece in 0..pieces {
                    let transport = pair.client.transport.clone();
                    expected += 5000 + later;
                    pair.client.write_bytes(owned(vec![piece as u8; 5000], move || {
                        transport.write(&vec![255; later]);
                    }));
                }
                pair.server.log.received_at_least(expected).await;
                // Each is whole, and those that were written first are in order.
                let received = pair.server.log.received();
                let first: Vec<u8> = received.iter().copied().filter(|byte| *byte != 255).collect();
                let planned: Vec<u8> =
                    (0..pieces).flat_map(|piece| vec![piece as u8; 5000]).collect();
                assert!(first == planned);
                assert_eq!(received.len(), expected);
                pair.client.close();
                pair.lost().await;
                assert!(pair.server.log.cause().is_none(), "{:?}", pair.server.log.cause());
            }
        }
    });
}

// TLS-30 TLS-38
#[test]
fn owners_of_bytes_may_end_the_connection() {
    let ends: [fn(&Transport); 4] = [
        Transport::close,
        Transport::abort,
        |transport| drop(transport.flush()),
        |transport| transport.write_eof().expect("half a close"),
    ];
    for end in ends {
        for length in [100, 5000, 200_000] {
            jumping(async move {
                let pair =
                    connect_over(narrow(9000), &Both::new(), Recorder::new(), Recorder::new())
                        .await;
                for _ in 0..5 {
                    let transport = pair.client.transport.clone();
                    pair.client.write_bytes(owned(pattern(length), move || end(&transport)));
                }
                turns(50).await;
                pair.client.close();
                pair.lost().await;
                let cause = pair.server.log.cause();
                let broken = cause.is_some_and(|cause| cause.to_string().contains("protocol"));
                assert!(!broken, "the records were not in order");
            });
        }
    }
}

// TLS-38: dropped with the connection
#[test]
fn owners_of_unsent_bytes_are_dropped_at_the_end() {
    jumping(async {
        let ends: [fn(&Transport); 2] =
            [Transport::abort, |transport| transport.fail(std::io::Error::last_os_error().into())];
        for end in ends {
            let (client, peer, _line) =
                client_of_peer(&Both::new(), narrow(1000), Recorder::new()).await;
            peer.transport().pause_reading();
            let answers: Rc<RefCell<Vec<Flow>>> = Rc::default();
            for _ in 0..10 {
                let (transport, note) = (client.transport.clone(), answers.clone());
                client.write_bytes(owned(vec![1; 50_000], move || {
                    note.borrow_mut().push(transport.write(b"more"));
                    transport.abort();
                }));
            }
            end(&client);
            client.log.lost().await;
            assert_eq!(answers.borrow().len(), 10);
            assert_eq!(answers.borrow().last(), Some(&Flow::Closed));
            assert_eq!(client.get_write_buffer_size(), 0);
        }
    });
}

// TLS-30 TLS-38: whoever waits for a flush or for the end may do anything when it is woken
#[test]
fn wakers_may_come_back() {
    let acts: [fn(&Transport); 5] = [
        |transport| {
            transport.write(&[7; 50_000]);
        },
        Transport::close,
        Transport::abort,
        |transport| transport.write_eof().expect("half a close"),
        |transport| drop(transport.flush()),
    ];
    for act in acts {
        jumping(async move {
            let pair =
                connect_over(narrow(9000), &Both::new(), Recorder::new(), Recorder::new()).await;
            pair.client.write(&pattern(300_000));
            let woken = Rc::new(Cell::new(0));
            let mut waiting = Vec::new();
            for _ in 0..3 {
                let (transport, note) = (pair.client.transport.clone(), woken.clone());
                let waker = waker(move || {
                    note.set(note.get() + 1);
                    act(&transport);
                });
                let mut flush = Box::pin(pair.client.flush());
                let polled = flush.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(matches!(polled, Poll::Pending));
                let mut closed = Box::pin(pair.client.closed());
                assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                waiting.push((flush, closed));
            }
            until(|| woken.get() > 0).await;
            turns(100).await;
            pair.client.close();
            pair.lost().await;
            assert_eq!(woken.get(), 3);
            let cause = pair.server.log.cause();
            let broken = cause.is_some_and(|cause| cause.to_string().contains("protocol"));
            assert!(!broken, "the records were not in order");
        });
    }
}

/// Notes what is written, and writes it.
fn say(transport: &Transport, order: &RefCell<Vec<u8>>, pieces: &[&[u8]]) {
    for piece in pieces {
        order.borrow_mut().extend_from_slice(piece);
    }
    match pieces {
        [piece] => transport.write(piece),
        pieces => transport.writelines(pieces),
    };
}

// TLS-26: what one call writes stays together and goes in the order of the calls, also if one waker's write wakes another
#[test]
fn wakers_that_write_keep_the_order_of_their_calls() {
    for capacity in [9000, 70_000, 300_000] {
        for behind in [0, 1000] {
            for length in [10, 20_000, 200_000] {
                jumping(async move {
                    let (left, right) = (Recorder::new(), Recorder::new());
                    let pair = connect_over(narrow(capacity), &Both::new(), left, right).await;
                    turns(20).await;
                    pair.server.pause_reading();
                    let order: Rc<RefCell<Vec<u8>>> = Rc::default();
                    say(&pair.client, &order, &[&pattern(capacity + 10_000)]);
                    let woken = Rc::new(Cell::new(0));
                    let mut flushes = Vec::new();
                    // Two wait below. The others do so here, if something is behind.
                    for number in 1..=4 {
                        if number == 3 {
                            say(&pair.client, &order, &[&pattern(behind)]);
                        }
                        let transport = pair.client.transport.clone();
                        let (note, order) = (woken.clone(), order.clone());
                        let waker = waker(move || {
                            note.set(note.get() + 1);
                            let long = vec![number; length];
                            say(&transport, &order, &[&long, &[number + 10; 3], &long]);
                            say(&transport, &order, &[&long]);
                        });
                        let mut flush = Box::pin(pair.client.flush());
                        let polled = flush.as_mut().poll(&mut Context::from_waker(&waker));
                        assert!(polled.is_pending());
                        flushes.push(flush);
                    }
                    pair.server.resume_reading();
                    until(|| woken.get() == 4).await;
                    pair.client.close();
                    pair.lost().await;
                    assert!(pair.server.log.received() == *order.borrow());
                    assert!(pair.server.log.cause().is_none());
                });
            }
        }
    }
}

// TLS-26: the same with those who are told that their bytes are not needed any more
#[test]
fn owners_that_write_do_not_come_between_lines() {
    jumping(async {
        let pair = connect(&Both::new(), Recorder::new(), Recorder::new()).await;
        turns(20).await;
        let transport = pair.client.transport.clone();
        let owner = owned(vec![b'.'; 5000], move || {
            transport.write(b"!");
        });
        pair.client.write_bytes(owner);
        pair.client.writelines([&[b'1'; 20_000][..], b"2"]);
        let expected = [&[b'.'; 5000][..], &[b'1'; 20_000], b"2!"].concat();
        pair.server.log.received_at_least(expected.len()).await;
        assert!(pair.server.log.received() == expected);
        pair.client.close();
        pair.lost().await;
    });
}

// TLS-55 TLS-38
#[test]
fn protocols_may_use_their_transport_when_they_are_dropped() {
    let acts: [fn(&Transport); 5] = [
        |transport| {
            transport.write(&[7; 50_000]);
        },
        Transport::close,
        Transport::abort,
        |transport| transport.set_protocol(Recorder::taking_over()),
        |transport| drop(transport.closed()),
    ];
    for act in acts {
        jumping(async move {
            let reports = keep_reports();
            let held: Rc<RefCell<Option<Transport>>> = Rc::default();
            let (at_made, at_drop) = (held.clone(), held);
            let client = Recorder::new()
                .once(Callback::ConnectionMade, move |transport| {
                    *at_made.borrow_mut() = Some(transport.clone());
                })
                .at_drop(move || {
                    if let Some(transport) = at_drop.take() {
                        act(&transport);
                    }
                });
            let pair = connect(&Both::new(), client, Recorder::new()).await;
            let next = Recorder::taking_over();
            let log = next.log();
            pair.client.set_protocol(next);
            assert!(pair.client.log.is_abandoned());
            turns(20).await;
            pair.client.close();
            pair.client.closed().await;
            log.until(Log::is_abandoned).await;
            pair.server.log.lost().await;
            pair.server.log.assert_complete();
            assert!(reports.borrow().is_empty());
        });
    }
}

// TLS-50: the old protocol goes when the new one has come, while TLS begins
#[test]
fn a_protocol_may_start_tls_when_it_is_dropped() {
    jumping(async {
        let tls = Both::new();
        let held: Rc<RefCell<Option<Transport>>> = Rc::default();
        let (at_made, at_drop, client) = (held.clone(), held, tls.client.clone());
        let left = Recorder::new()
            .once(Callback::ConnectionMade, move |transport| {
                *at_made.borrow_mut() = Some(transport.clone());
            })
            .at_drop(move || {
                if let Some(transport) = at_drop.take() {
                    start_tls(&transport, (&client, "localhost")).expect("it can start");
                    transport.write(b"in TLS");
                }
            });
        let (said, right) = (left.log(), Recorder::new());
        let heard = right.log();
        let (left, right) =
            tidegate_testkit::memory::pair(&support::handle(), left, right, PairOptions::default());
        said.made().await;
        heard.made().await;
        let next = Recorder::taking_over();
        let log = next.log();
        start_tls(&right, &tls.server).expect("it can start");
        left.set_protocol(next);
        heard.received_at_least(6).await;
        left.close();
        log.lost().await;
        heard.lost().await;
        heard.assert(&[Event::Made, Event::data("in TLS"), Event::Eof, Event::Lost(None)]);
    });
}

// T-03 TLS-38: neither a notice nor the rest of what was received follows a callback that has failed
#[test]
fn a_callback_that_fails_is_the_last_but_the_loss() {
    jumping(async {
        let client = Recorder::new()
            .buffered(4)
            .on(Callback::BufferUpdated, |transport| {
                transport.write(&vec![7; 1 << 20]);
            })
            .failing(Callback::BufferUpdated);
        let (client, peer, _line) = client_of_peer(&Both::new(), narrow(9000), client).await;
        let reports = keep_reports();
        peer.write(b"in three parts");
        client.log.lost().await;
        assert_eq!(client.log.count(Callback::BufferUpdated), 1);
        assert!(!client.log.has(Callback::PauseWriting), "{:?}", client.log.events());
        client.log.assert_complete();
        assert_eq!(reports.borrow().len(), 1);
    });
}

// T-03: the handler's own ending does not take the cause away
#[test]
fn a_failure_keeps_its_cause_whatever_the_handler_does() {
    jumping(async {
        let client = Recorder::new().failing(Callback::DataReceived);
        let (client, peer, _line) =
            client_of_peer(&Both::new(), PairOptions::default(), client).await;
        let transport = client.transport.clone();
        support::handle().set_exception_handler(Some(move |_: &tidegate_reactor::Report| {
            transport.fail(std::io::Error::other("the handler's").into());
        }));
        peer.write(b"data");
        client.log.lost().await;
        let cause = client.log.cause().expect("a cause").to_string();
        assert_eq!(cause, "data_received fails on purpose");
    });
}

/// Two connected ends in a loop that does not run.
fn at_rest(event_loop: &EventLoop) -> support::Pair {
    let tls = Both::new();
    let pair = connect(&tls, Recorder::new(), Recorder::new());
    event_loop.run_until_complete(pair).expect("a loop that is not stopped")
}

// T-03: whoever looks at the protocol may run the loop meanwhile
#[test]
fn a_loss_that_comes_while_somebody_looks_at_the_protocol_is_told_later() {
    watched(|| {
        let event_loop = EventLoop::with_clock(JumpingClock::new()).expect("an event loop");
        let pair = at_rest(&event_loop);
        let looked = pair.client.with_protocol(|_: &mut Recorder| {
            event_loop
                .run_until_complete(async {
                    pair.line.reset();
                    turns(20).await;
                })
                .expect("a loop that is not stopped");
        });
        assert_eq!(looked, Ok(()));
        assert!(!pair.client.log.has(Callback::ConnectionLost));
        event_loop
            .run_until_complete(async {
                turns(20).await;
                assert!(pair.client.log.has(Callback::ConnectionLost));
                pair.lost().await;
            })
            .expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
    });
}

// T-03: and so may a change of protocol, which is made at once
#[test]
fn a_loss_that_comes_during_a_change_is_told_to_the_protocol_that_it_makes() {
    watched(|| {
        let event_loop = Rc::new(EventLoop::with_clock(JumpingClock::new()).expect("a loop"));
        let pair = Rc::new(at_rest(&event_loop));
        let (runs, share) = (event_loop.clone(), pair.clone());
        pair.client.wrap_protocol(move |protocol| {
            share.line.reset();
            run_in(&runs, turns(20));
            protocol
        });
        run_in(&event_loop, turns(20));
        assert!(pair.client.log.has(Callback::ConnectionLost));
        pair.client.log.assert_complete();
        event_loop.close().expect("a loop that does not run");
    });
}

/// Whether a loop in which nobody does anything has nothing to do.
fn assert_waits(event_loop: &EventLoop) {
    let before = event_loop.handle().statistics();
    event_loop.run_until_complete(turns(100)).expect("turns");
    let after = event_loop.handle().statistics();
    assert_eq!(after.ready, 0, "the loop spins");
    let steps = after.steps - before.steps;
    assert!(steps < 110, "the loop spins: {steps} steps");
}

fn run_in<F: Future>(event_loop: &EventLoop, future: F) -> F::Output {
    event_loop.run_until_complete(future).expect("a loop that is not stopped")
}

// T-11: what comes meanwhile stays below, and what a pause has kept stays where it is
#[test]
fn what_comes_while_somebody_looks_at_the_protocol_is_received_later() {
    const MUCH: usize = 1 << 20;
    for keeps_some in [false, true] {
        watched(|| {
            let event_loop = EventLoop::with_clock(JumpingClock::new()).expect("an event loop");
            let pair = at_rest(&event_loop);
            let mut log = pair.client.log.clone();
            if keeps_some {
                // A pause in the middle of a record.
                let pauses = |transport: &Transport| transport.pause_reading();
                let next = Recorder::taking_over().buffered(16);
                let next = next.once(Callback::BufferUpdated, pauses);
                log = next.log();
                pair.client.set_protocol(next);
                pair.server.write(&pattern(1000));
                run_in(&event_loop, log.received_at_least(16));
            }
            let looked = pair.client.with_protocol(|_: &mut Recorder| {
                let before = log.events();
                pair.client.resume_reading();
                pair.server.write(&pattern(MUCH));
                pair.client.write(&pattern(MUCH));
                run_in(&event_loop, turns(100));
                assert_waits(&event_loop);
                assert_eq!(log.events(), before);
            });
            assert_eq!(looked, Ok(()));
            let mut expected = if keeps_some { pattern(1000) } else { Vec::new() };
            expected.extend(pattern(MUCH));
            run_in(&event_loop, log.received_at_least(expected.len()));
            assert!(log.received() == expected);
            run_in(&event_loop, pair.server.log.received_at_least(MUCH));
            run_in(&event_loop, log.until(|log| log.has(Callback::ResumeWriting)));
            pair.client.close();
            run_in(&event_loop, log.lost());
            run_in(&event_loop, pair.server.log.lost());
            event_loop.close().expect("a loop that does not run");
        });
    }
}

// T-03: and the loop may close before it is
#[test]
fn nothing_is_left_of_a_loss_that_is_not_told() {
    watched(|| {
        let event_loop = EventLoop::with_clock(JumpingClock::new()).expect("an event loop");
        let pair = at_rest(&event_loop);
        let looked = pair.client.with_protocol(|_: &mut Recorder| {
            event_loop
                .run_until_complete(async {
                    pair.line.reset();
                    turns(20).await;
                })
                .expect("a loop that is not stopped");
        });
        assert_eq!(looked, Ok(()));
        event_loop.close().expect("a loop that does not run");
        assert!(pair.client.log.is_abandoned());
        let weak = pair.client.downgrade();
        drop(pair);
        assert!(weak.upgrade().is_none());
    });
}

// TLS-26: an owner may end the connection just when the turn is given away
#[test]
fn owners_of_bytes_may_close_when_the_turn_is_taken() {
    jumping(async {
        for length in [100, 5000] {
            let (client, peer, _line) =
                client_of_peer(&Both::new(), PairOptions::default(), Recorder::new()).await;
            let transport = client.transport.clone();
            client.write_bytes(owned(vec![1; length], move || transport.close()));
            assert!(client.raw().take_turn().is_err());
            until(|| peer.is_notified()).await;
            assert_eq!(peer.plain_len(), length);
            peer.close_notify();
            client.log.lost().await;
        }
    });
}
