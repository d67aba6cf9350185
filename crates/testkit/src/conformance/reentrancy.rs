//! Any method of a transport, from inside any callback, and from destructors wherever a protocol is dropped.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake};

use tidegate_protocols::{AtEof, Cause, Flow, Protocol, Transport};
use tidegate_reactor::Report;

use super::actions::{self, Action, ask_everything};
use super::stage::{Side, Stage};
use super::{Case, case};
use crate::log::{Callback, Log};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(every_method_inside_connection_made),
    case!(every_method_inside_data_received),
    case!(every_method_inside_get_buffer),
    case!(every_method_inside_buffer_updated),
    case!(every_method_inside_eof_received),
    case!(every_method_inside_pause_writing),
    case!(every_method_inside_resume_writing),
    case!(every_method_inside_connection_lost),
    case!(every_method_before_the_greeting),
    case!(every_method_from_a_destructor_at_the_loss),
    case!(every_method_from_a_destructor_at_an_exchange),
    case!(every_method_from_a_destructor_of_a_change_that_comes_too_late),
    case!(every_method_from_a_destructor_when_the_loop_closes),
    case!(every_method_from_a_destructor_in_a_change_that_panics),
    case!(every_method_of_the_peer_inside_a_callback),
    case!(every_method_from_the_wakers_of_those_who_wait),
    case!(every_method_from_the_exception_handler),
    case!(a_borrow_may_be_held_while_calling_any_method),
];

// T-01 T-02 T-03 T-10
async fn every_method_inside_connection_made(stage: Stage) {
    every_method_inside(&stage, Callback::ConnectionMade).await;
}

// T-01 T-02 T-14 T-17 T-24
async fn every_method_inside_data_received(stage: Stage) {
    every_method_inside(&stage, Callback::DataReceived).await;
}

// T-01 T-02 T-22 T-24
async fn every_method_inside_get_buffer(stage: Stage) {
    every_method_inside(&stage, Callback::GetBuffer).await;
}

// T-01 T-02 T-22 T-24
async fn every_method_inside_buffer_updated(stage: Stage) {
    every_method_inside(&stage, Callback::BufferUpdated).await;
}

// T-01 T-02 T-15 T-16
async fn every_method_inside_eof_received(stage: Stage) {
    every_method_inside(&stage, Callback::EofReceived).await;
}

// T-01 T-02
// replaced: T-47
async fn every_method_inside_pause_writing(stage: Stage) {
    every_method_inside(&stage, Callback::PauseWriting).await;
}

// T-01 T-03 T-50
async fn every_method_inside_resume_writing(stage: Stage) {
    every_method_inside(&stage, Callback::ResumeWriting).await;
}

// T-01 T-03 T-05
async fn every_method_inside_connection_lost(stage: Stage) {
    every_method_inside(&stage, Callback::ConnectionLost).await;
}

/// Leads one connection after another through its whole life, each with another call inside `callback`.
async fn every_method_inside(stage: &Stage, callback: Callback) {
    for action in actions::ALL {
        let left = lasting_for(callback);
        let log = left.log();
        let (own, call) = (log.clone(), action.call);
        let left = left.once(callback, move |transport| {
            own.note(format!("then {}", action.name));
            call(transport, &own);
        });
        live_whole_life(stage, left, action).await;
        let reached = log.has(callback) || callback == Callback::EofReceived;
        assert!(reached, "{callback} was not reached: {log}");
    }
}

fn lasting_for(callback: Callback) -> Recorder {
    let recorder = Recorder::new().at_eof(AtEof::KeepWriting);
    match callback {
        Callback::GetBuffer | Callback::BufferUpdated => recorder.buffered(64),
        _ => recorder,
    }
}

/// Takes a connection through every callback, as far as `action` lets it, and sees that it ends well.
async fn live_whole_life(stage: &Stage, left: Recorder, action: &Action) {
    let right = Recorder::new().at_eof(AtEof::KeepWriting);
    let pair = stage.connect_only(left, right).await;
    let (left, right) = (&pair.left, &pair.right);
    left.log.made().await;
    right.log.made().await;
    // Bytes come in.
    right.write(b"input");
    until_or_lost(stage, left, |log| log.received_len() >= 5).await;
    // The flow pauses and resumes.
    if left.flow() != Flow::Closed {
        right.pause_reading();
        let limits = left.set_write_buffer_limits(Some(16), Some(4));
        limits.expect("16 is above 4");
        let output = vec![b'o'; stage.bulk() / 32];
        while left.write(&output) == Flow::Open {
            stage.turn().await;
        }
        if left.flow() == Flow::Paused {
            until_or_lost(stage, left, |log| log.has(Callback::PauseWriting)).await;
        }
        right.resume_reading();
        if left.flow() == Flow::Paused {
            until_or_lost(stage, left, |log| log.has(Callback::ResumeWriting)).await;
        }
    }
    // The stream ends.
    if stage.capabilities().half_close && right.write_eof().is_ok() {
        left.resume_reading();
        until_or_lost(stage, left, |log| log.has(Callback::EofReceived)).await;
    }
    // The connection ends, by the call or now.
    if action.ends && !left.is_closing() {
        assert!(!left.log.events().is_empty());
    }
    right.resume_reading();
    left.close();
    left.log.lost().await;
    right.close();
    right.log.lost().await;
    left.log.assert_complete();
    right.log.assert_complete();
}

/// Waits for what a closing connection never reaches, and resumes one that pauses meanwhile.
async fn until_or_lost(stage: &Stage, side: &Side, done: impl Fn(&Log) -> bool) {
    stage
        .until(|| {
            side.resume_reading();
            done(&side.log) || side.is_closing()
        })
        .await;
}

// T-10: the greeting comes first all the same.
async fn every_method_before_the_greeting(stage: Stage) {
    for action in actions::ALL {
        let left = Recorder::new().at_eof(AtEof::KeepWriting);
        let log = left.log();
        let pair = stage.connect_only(left, Recorder::new().at_eof(AtEof::KeepWriting)).await;
        (action.call)(&pair.left, &log);
        stage.a_while().await;
        pair.left.close();
        pair.right.close();
        pair.lost().await;
        log.assert_complete();
    }
}

/// A recorder whose destructor calls `action` on its own transport and on `other`.
fn meddling(action: &'static Action, other: &Transport) -> Recorder {
    let own: Rc<RefCell<Option<Transport>>> = Rc::default();
    let (share, other) = (own.clone(), other.clone());
    Recorder::new()
        .on(Callback::ConnectionMade, move |transport| {
            share.replace(Some(transport.clone()));
        })
        .at_drop(move || {
            for transport in own.take().into_iter().chain([other]) {
                (action.call)(&transport, &Log::new());
                ask_everything(&transport);
            }
        })
}

/// A connection for destructors to meddle with; the protocols that they install write elsewhere.
async fn victim(stage: &Stage) -> Transport {
    let lasting = || Recorder::new().at_eof(AtEof::KeepWriting);
    let (left, right) = stage.connect_and_forget(lasting(), lasting()).await;
    drop(right);
    left
}

// T-04 T-05
async fn every_method_from_a_destructor_at_the_loss(stage: Stage) {
    for action in actions::ALL {
        let other = victim(&stage).await;
        let pair = stage.connect(meddling(action, &other), Recorder::new()).await;
        pair.left.close();
        pair.lost().await;
        pair.left.log.until(Log::is_abandoned).await;
        stage.a_while().await;
        other.abort();
        other.closed().await;
    }
}

// T-24: outside a callback at once, inside one when it returns.
async fn every_method_from_a_destructor_at_an_exchange(stage: Stage) {
    for action in actions::ALL {
        for inside in [false, true] {
            let other = victim(&stage).await;
            let next = RefCell::new(Some(Recorder::taking_over().at_eof(AtEof::KeepWriting)));
            let exchange = move |transport: &Transport| {
                if let Some(next) = next.take() {
                    transport.set_protocol(next);
                }
            };
            let left = meddling(action, &other);
            let pair = if inside {
                let left = left.on(Callback::DataReceived, exchange);
                let pair = stage.connect(left, Recorder::new()).await;
                pair.right.write(b"x");
                pair
            } else {
                let pair = stage.connect(left, Recorder::new()).await;
                exchange(&pair.left);
                pair
            };
            pair.left.log.until(Log::is_abandoned).await;
            stage.a_while().await;
            stage.forget(&pair.left);
            pair.right.log.lost().await;
            other.abort();
            other.closed().await;
        }
    }
}

// T-05 T-24: the change is dropped unrun, and with it the protocol in it.
async fn every_method_from_a_destructor_of_a_change_that_comes_too_late(stage: Stage) {
    for action in actions::ALL {
        let pair = stage.pair().await;
        pair.left.close();
        pair.lost().await;
        let own = Transport::clone(&pair.left);
        let late = Recorder::new().at_drop(move || (action.call)(&own, &Log::new()));
        let log = late.log();
        pair.left.set_protocol(late);
        log.until(Log::is_abandoned).await;
        assert!(log.events().is_empty(), "a protocol that came too late was called");
    }
}

// T-05: no callbacks then, and calls find a lost connection.
async fn every_method_from_a_destructor_when_the_loop_closes(stage: Stage) {
    for action in actions::ALL {
        let other = victim(&stage).await;
        let (left, right) = (meddling(action, &other), meddling(action, &other));
        let logs = [left.log(), right.log()];
        drop(stage.connect_and_forget(left, right).await);
        for log in &logs {
            log.made().await;
        }
        stage.at_the_end(move || logs.iter().all(Log::is_abandoned));
    }
}

// T-50: calls to another connection, which has callbacks due itself.
async fn every_method_of_the_peer_inside_a_callback(stage: Stage) {
    for action in actions::ALL {
        let left = Recorder::new().at_eof(AtEof::KeepWriting);
        let (peer, log) = (Rc::new(RefCell::new(None::<Transport>)), left.log());
        let share = peer.clone();
        let right =
            Recorder::new().at_eof(AtEof::KeepWriting).once(Callback::DataReceived, move |_| {
                let peer = share.borrow();
                (action.call)(peer.as_ref().expect("the left transport"), &log);
            });
        let pair = stage.connect(left, right).await;
        peer.replace(Some(Transport::clone(&pair.left)));
        pair.left.write(b"x");
        pair.right.log.received_at_least(1).await;
        pair.left.close();
        pair.right.close();
        pair.lost().await;
        peer.take();
    }
}

// T-24
async fn every_method_from_a_destructor_in_a_change_that_panics(stage: Stage) {
    for action in actions::ALL {
        let other = victim(&stage).await;
        let pair = stage.connect(meddling(action, &other), Recorder::new()).await;
        pair.left.wrap_protocol(|former| {
            let _dropped_while_unwinding = former;
            panic!("the change panics on purpose")
        });
        pair.right.log.lost().await;
        assert!(pair.left.log.is_abandoned());
        stage.a_while().await;
        let reports = stage.take_reports().len();
        // Where the destructor has ended the connection before, nobody may be left to fail.
        assert!(reports == 1 || action.ends && reports == 0, "{reports} reports");
        stage.forget(&pair.left);
        other.abort();
        other.closed().await;
    }
}

/// Someone who waits, and who calls a method of the transport when woken or forgotten.
struct Meddler(&'static Action);

thread_local! {
    /// The transport that it calls: wakers must be `Send`, and a handle is not.
    static MEDDLED: RefCell<Option<Transport>> = const { RefCell::new(None) };
}

impl Meddler {
    fn meddle(&self) {
        if let Some(transport) = MEDDLED.with_borrow(Option::clone) {
            (self.0.call)(&transport, &Log::new());
            ask_everything(&transport);
        }
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.meddle();
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.meddle();
    }
}

// T-05: wakers are the user's code; they are called and dropped when nothing is borrowed.
async fn every_method_from_the_wakers_of_those_who_wait(stage: Stage) {
    for action in actions::ALL {
        let transport = victim(&stage).await;
        transport.write(&vec![0; stage.bulk()]);
        MEDDLED.set(Some(transport.clone()));
        for _ in 0..2 {
            // The transport has the only shares of these wakers.
            let (closed, flushed) = (pin!(transport.closed()), pin!(transport.flush()));
            let _ = closed.poll(&mut Context::from_waker(&Arc::new(Meddler(action)).into()));
            let _ = flushed.poll(&mut Context::from_waker(&Arc::new(Meddler(action)).into()));
        }
        stage.a_while().await;
        transport.abort();
        transport.closed().await;
        MEDDLED.take();
    }
}

// T-14
async fn every_method_from_the_exception_handler(stage: Stage) {
    let before = stage.handle().get_exception_handler();
    for action in actions::ALL {
        let left = Recorder::new().failing(Callback::DataReceived);
        let pair = stage.connect(left, Recorder::new()).await;
        let (own, log) = (Transport::clone(&pair.left), pair.left.log.clone());
        stage.handle().set_exception_handler(Some(move |_: &Report| {
            (action.call)(&own, &log);
            ask_everything(&own);
        }));
        pair.right.write(b"x");
        pair.lost().await;
        pair.left.log.assert_complete();
    }
    stage
        .handle()
        .set_exception_handler(before.map(|before| move |report: &Report| before(report)));
}

/// A protocol whose every callback borrows what the test holds while it calls.
struct Borrowing<P> {
    protocol: P,
    held: Rc<RefCell<()>>,
}

impl<P: Protocol> Protocol for Borrowing<P> {
    fn connection_made(&mut self, transport: &Transport) {
        let _held = self.held.borrow_mut();
        self.protocol.connection_made(transport);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        let _held = self.held.borrow_mut();
        self.protocol.pause_writing(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        let _held = self.held.borrow_mut();
        self.protocol.connection_lost(transport, cause);
    }
}

// T-02
// replaced: T-47: no method calls the protocol.
async fn a_borrow_may_be_held_while_calling_any_method(stage: Stage) {
    for action in actions::ALL {
        let pair = stage.pair().await;
        let held = Rc::new(RefCell::new(()));
        let share = held.clone();
        pair.left.wrap_protocol(move |protocol| Box::new(Borrowing { protocol, held: share }));
        let guard = held.borrow_mut();
        (action.call)(&pair.left, &pair.left.log);
        pair.left.write(&vec![0; stage.bulk()]);
        pair.left.abort();
        drop(guard);
        pair.lost().await;
    }
}
