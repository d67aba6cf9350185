//! Whoever looks at a protocol may run the loop meanwhile: what comes is told afterwards, and the loop waits.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::future::{Future, IntoFuture};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use tidegate_protocols::layer::{Layered, Transparent};
use tidegate_protocols::{Cause, Flow, Transport};
use tidegate_reactor::{EventLoop, Report};
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Callback, Event, Log, Recorder, watched};
use tidegate_transports::{create_connection, create_datagram_endpoint};

mod datagrams;
mod support;
use datagrams::{Diary, LOOPBACK, Played, Told, own};
use support::{listener, turns, until};

/// A connection in a loop that does not run.
struct Resting {
    event_loop: EventLoop,
    reports: Rc<RefCell<Vec<Report>>>,
    transport: Transport,
    log: Log,
}

impl Resting {
    /// With so many layers that do nothing; and its peer.
    fn new(layers: usize) -> (Resting, TcpStream) {
        let recorder = Recorder::new();
        let event_loop = EventLoop::new().expect("a loop");
        let reports = Rc::new(RefCell::new(Vec::new()));
        let keep = reports.clone();
        event_loop.handle().set_exception_handler(Some(move |report: &Report| {
            keep.borrow_mut().push(report.clone());
        }));
        let (listener, address) = listener();
        let log = recorder.log();
        let builder = create_connection(move || recorder, address);
        let transport = match layers {
            0 => event_loop.run_until_complete(builder.into_future()),
            1 => event_loop.run_until_complete(builder.layer(Transparent).into_future()),
            _ => {
                let builder = builder.layer(Transparent).layer(Transparent);
                event_loop.run_until_complete(builder.into_future())
            }
        };
        let transport = transport.expect("run").expect("a connection");
        let (peer, _) = listener.accept().expect("a peer");
        (Resting { event_loop, reports, transport, log }, peer)
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.event_loop.run_until_complete(future).expect("a loop that is not stopped")
    }

    /// Has the loop run while somebody looks at the protocol, until nothing more happens.
    fn look(&self, meanwhile: impl FnOnce()) {
        let before = self.log.events();
        let looked = self.transport.with_protocol(|_: &mut Recorder| {
            meanwhile();
            let is_ready = || is_readable(&self.transport);
            self.run(until(is_ready));
            self.run(turns(10));
            assert_waits(&self.event_loop);
        });
        assert_eq!(looked, Ok(()));
        assert_eq!(self.log.events(), before, "a callback of a protocol that is out");
    }

    /// Runs until the loss was told, and checks that all is told in order, and nothing else has gone wrong.
    fn lost(self) -> Option<Cause> {
        self.run(self.log.lost());
        self.run(self.log.until(Log::is_abandoned));
        self.log.assert_complete();
        assert!(self.reports.borrow().is_empty(), "{:?}", self.reports.borrow());
        self.event_loop.close().expect("a loop that does not run");
        self.log.cause()
    }
}

/// Whether a loop in which nobody does anything has nothing to do.
fn assert_waits(event_loop: &EventLoop) {
    let count = || {
        let before = event_loop.handle().statistics();
        event_loop.run_until_complete(turns(100)).expect("a loop that is not stopped");
        let after = event_loop.handle().statistics();
        (after.events - before.events, after.steps - before.steps, after.ready)
    };
    let (events, steps, ready) = count();
    assert_eq!((events, ready), (0, 0), "the loop spins");
    assert!(steps < 110, "the loop spins: {steps} steps");
}

fn is_readable(transport: &Transport) -> bool {
    let readable = transport.with_socket(|socket| {
        let mut socket = [PollFd::new(&socket, PollFlags::IN)];
        poll(&mut socket, Some(&Timespec::default())).expect("poll") > 0
    });
    // One that has no socket any more has nothing to wait for.
    readable.unwrap_or(true)
}

const LAYERS: [usize; 3] = [0, 1, 2];

// T-11, T-12: nothing is read that cannot be delivered
#[test]
fn data_that_comes_meanwhile_is_received_afterwards() {
    for layers in LAYERS {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            resting.look(|| peer.write_all(b"hello").expect("a peer"));
            assert!(resting.transport.is_reading());
            resting.run(resting.log.received_at_least(5));
            // And as ever after that.
            peer.write_all(b", again").expect("a peer");
            resting.run(resting.log.received_at_least(12));
            assert_eq!(resting.log.received(), b"hello, again");
            resting.transport.write(b"bye");
            resting.transport.close();
            assert!(resting.lost().is_none());
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).expect("a peer");
            assert_eq!(heard, b"bye");
        });
    }
}

// T-11: what is asked of reading meanwhile holds afterwards
#[test]
fn a_pause_that_is_given_meanwhile_holds() {
    for layers in LAYERS {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            resting.look(|| {
                peer.write_all(b"hello").expect("a peer");
                resting.run(until(|| is_readable(&resting.transport)));
                resting.run(turns(10));
                resting.transport.pause_reading();
            });
            resting.run(turns(20));
            assert!(!resting.transport.is_reading());
            assert_eq!(resting.log.received_len(), 0);
            resting.transport.resume_reading();
            resting.run(resting.log.received_at_least(5));
            resting.transport.abort();
            assert!(resting.lost().is_none());
        });
    }
}

// T-03: the loss is told once and last, whoever looked at the protocol when it came
#[test]
fn an_end_that_comes_meanwhile_is_told_afterwards() {
    for layers in LAYERS {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            resting.look(|| {
                peer.write_all(b"last words").expect("a peer");
                peer.shutdown(Shutdown::Both).expect("a peer");
            });
            let log = resting.log.clone();
            assert!(resting.lost().is_none());
            log.assert(&[Event::Made, Event::data("last words"), Event::Eof, Event::Lost(None)]);
        });
        watched(|| {
            let (resting, peer) = Resting::new(layers);
            resting.look(|| {
                set_socket_linger(&peer, Some(Duration::ZERO)).expect("a socket");
                drop(peer);
            });
            let cause = resting.lost().expect("a cause");
            assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset);
        });
    }
}

// T-03, T-56, T-57
#[test]
fn whoever_looks_may_end_the_connection() {
    type End = fn(&Transport);
    let ends: [(End, bool); 4] = [
        (Transport::close, false),
        (Transport::abort, false),
        (|transport| transport.close_lingering(0, Duration::ZERO), false),
        (|transport| transport.fail(io::Error::from(Errno::TIMEDOUT).into()), true),
    ];
    for (layers, (end, has_cause)) in LAYERS.into_iter().flat_map(|n| ends.map(|end| (n, end))) {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            resting.look(|| {
                peer.write_all(b"for nobody").expect("a peer");
                end(&resting.transport);
            });
            let log = resting.log.clone();
            assert_eq!(resting.lost().is_some(), has_cause);
            assert_eq!(log.received(), b"");
        });
    }
}

// replaced: T-47: notices that fall due meanwhile
#[test]
fn notices_are_told_afterwards() {
    const MUCH: usize = 8 << 20;
    for layers in LAYERS {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            resting.look(|| {
                assert_eq!(resting.transport.write(&vec![7; MUCH]), Flow::Paused);
                // So that there is something to read, too.
                peer.write_all(b"x").expect("a peer");
            });
            resting.run(resting.log.until(|log| log.has(Callback::PauseWriting)));
            let reading = thread::spawn(move || {
                peer.read_exact(&mut vec![0; MUCH]).expect("a peer");
                peer
            });
            resting.run(resting.log.until(|log| log.has(Callback::ResumeWriting)));
            resting.run(resting.transport.flush()).expect("sent");
            drop(reading.join().expect("a reader"));
            assert!(resting.lost().is_none());
        });
    }
}

// T-24: a change that is asked for meanwhile
#[test]
fn the_protocol_that_comes_meanwhile_gets_what_has_come() {
    for layers in LAYERS {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            let next = Recorder::taking_over();
            let log = next.log();
            resting.look(|| {
                peer.write_all(b"hello").expect("a peer");
                resting.transport.set_protocol(next);
            });
            resting.run(log.received_at_least(5));
            assert_eq!(resting.log.received_len(), 0);
            resting.transport.close();
            resting.run(log.lost());
            log.assert(&[Event::data("hello"), Event::Lost(None)]);
        });
    }
}

// A loop that closes calls nobody, and lets everything go
#[test]
fn the_loop_may_close_meanwhile() {
    for layers in LAYERS {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            let Resting { event_loop, transport, log, .. } = resting;
            let looked = transport.with_protocol(|_: &mut Recorder| {
                peer.write_all(b"hello").expect("a peer");
                event_loop.run_until_complete(until(|| is_readable(&transport))).expect("run");
                event_loop.run_until_complete(turns(10)).expect("run");
                event_loop.close().expect("a loop that does not run");
            });
            assert_eq!(looked, Ok(()));
            assert!(log.is_abandoned());
            log.assert(&[Event::Made]);
            let weak = transport.downgrade();
            drop(transport);
            assert!(weak.upgrade().is_none(), "a cycle is left");
        });
    }
}

/// A connection over memory whose protocols have not been told of it.
fn ungreeted(event_loop: &EventLoop) -> (Line, Log) {
    let left = Recorder::new();
    let log = left.log();
    let right = Box::new(Recorder::new());
    let line = Line::open(&event_loop.handle(), Box::new(left), right, PairOptions::default());
    (line.expect("a line"), log)
}

// T-01: before connection_made, too
#[test]
fn the_greeting_waits_and_so_does_a_loss_before_it() {
    for abort in [false, true] {
        watched(|| {
            let event_loop = EventLoop::new().expect("a loop");
            let (line, log) = ungreeted(&event_loop);
            let looked = line.left.with_protocol(|_: &mut Recorder| {
                line.right.write(b"hello");
                event_loop.run_until_complete(turns(10)).expect("run");
                if abort {
                    line.left.abort();
                }
                event_loop.run_until_complete(turns(10)).expect("run");
                assert_waits(&event_loop);
            });
            assert_eq!(looked, Ok(()));
            assert!(log.events().is_empty());
            event_loop.run_until_complete(log.made()).expect("run");
            if !abort {
                event_loop.run_until_complete(log.received_at_least(5)).expect("run");
                line.left.close();
            }
            event_loop.run_until_complete(log.lost()).expect("run");
            log.assert_complete();
            event_loop.close().expect("a loop that does not run");
        });
    }
}

#[test]
fn a_connection_that_leaves_meanwhile_is_lost_afterwards() {
    for closes in [false, true] {
        watched(|| {
            let (resting, _peer) = Resting::new(0);
            let mut detached = None;
            let looked = resting.transport.with_protocol(|_: &mut Recorder| {
                detached = Some(resting.transport.detach().expect("it stands"));
                resting.run(turns(10));
                assert_waits(&resting.event_loop);
            });
            assert_eq!(looked, Ok(()));
            assert!(!resting.log.has(Callback::ConnectionLost));
            match closes {
                false => assert!(resting.lost().is_none()),
                true => {
                    resting.event_loop.close().expect("a loop that does not run");
                    assert!(resting.log.is_abandoned());
                }
            }
        });
    }
}

#[test]
fn datagrams_that_come_meanwhile_are_received_afterwards() {
    watched(|| {
        let event_loop = EventLoop::new().expect("a loop");
        let diary = Diary::default();
        let recorder = datagrams::Recorder::new(&diary);
        let opening = create_datagram_endpoint(move || recorder).local_addr(LOOPBACK);
        let transport = event_loop.run_until_complete(opening.into_future()).expect("run");
        let transport = transport.expect("an endpoint");
        let peer = UdpSocket::bind(LOOPBACK).expect("a socket");
        let looked = transport.with_protocol(|_: &mut datagrams::Recorder| {
            peer.send_to(b"one", own(&transport)).expect("sent");
            peer.send_to(b"two", own(&transport)).expect("sent");
            event_loop.run_until_complete(turns(10)).expect("run");
            assert_waits(&event_loop);
            transport.pause_reading();
            event_loop.run_until_complete(turns(10)).expect("run");
        });
        assert_eq!(looked, Ok(()));
        event_loop.run_until_complete(turns(10)).expect("run");
        assert!(!transport.is_reading());
        assert_eq!(diary.entries(), [Told::Made]);
        transport.resume_reading();
        event_loop.run_until_complete(until(|| diary.datagrams().len() == 2)).expect("run");
        assert_eq!(diary.datagrams(), [b"one", b"two"]);
        let looked = transport.with_protocol(|_: &mut datagrams::Recorder| {
            transport.close();
            event_loop.run_until_complete(turns(10)).expect("run");
            assert_waits(&event_loop);
        });
        assert_eq!(looked, Ok(()));
        assert_eq!(diary.count(&Told::Lost(None)), 0);
        event_loop.run_until_complete(transport.closed()).expect("run");
        assert_eq!(diary.entries()[3..], [Told::Lost(None), Told::Dropped]);
        event_loop.close().expect("a loop that does not run");
    });
}

// T-01, T-03
#[test]
fn the_greeting_of_an_endpoint_waits_and_so_does_a_loss_before_it() {
    watched(|| {
        let event_loop = EventLoop::new().expect("a loop");
        let diary = Diary::default();
        let recorder = datagrams::Recorder::new(&diary);
        let opened = Played::default().open_in(&event_loop.handle(), recorder, None);
        let transport = opened.expect("an endpoint");
        let looked = transport.with_protocol(|_: &mut datagrams::Recorder| {
            event_loop.run_until_complete(turns(10)).expect("run");
            transport.abort();
            event_loop.run_until_complete(turns(10)).expect("run");
            assert_waits(&event_loop);
        });
        assert_eq!(looked, Ok(()));
        event_loop.run_until_complete(transport.closed()).expect("run");
        assert_eq!(diary.entries(), [Told::Made, Told::Lost(None), Told::Dropped]);
        event_loop.close().expect("a loop that does not run");
    });
}

// T-03: whoever waits is not forgotten when there is no protocol any more
#[test]
fn a_change_that_panics_meanwhile_keeps_nobody_waiting() {
    for (layers, aborts) in LAYERS.into_iter().flat_map(|n| [false, true].map(|end| (n, end))) {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            let look = || {
                resting.look(|| {
                    resting.transport.wrap_protocol(|_| panic!("on purpose"));
                    peer.write_all(b"for nobody").expect("a peer");
                    if aborts {
                        resting.transport.abort();
                    }
                });
            };
            assert!(catch_unwind(AssertUnwindSafe(look)).is_err());
            resting.run(resting.transport.closed());
            assert!(resting.log.is_abandoned());
            resting.event_loop.close().expect("a loop that does not run");
        });
    }
}

// T-24: a change is made at once, and may run the loop like whoever looks
#[test]
fn what_comes_during_a_change_is_told_to_the_protocol_that_it_makes() {
    for layers in LAYERS {
        watched(|| {
            let (resting, mut peer) = Resting::new(layers);
            peer.write_all(b"hello").expect("a peer");
            drop(peer);
            let resting = Rc::new(resting);
            let share = resting.clone();
            resting.transport.wrap_protocol(move |protocol| {
                share.run(until(|| is_readable(&share.transport)));
                share.run(turns(10));
                protocol
            });
            let resting = Rc::into_inner(resting).expect("the change is gone");
            let log = resting.log.clone();
            assert!(resting.lost().is_none());
            log.assert(&[Event::Made, Event::data("hello"), Event::Eof, Event::Lost(None)]);
        });
    }
}
