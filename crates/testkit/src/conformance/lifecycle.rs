//! How connections begin, end, and stay ended.

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use tidegate_protocols::{Flow, PeerName, SockName, Transport};

use super::actions::{self, failure};
use super::stage::{Pair, Stage};
use super::{Case, case};
use crate::log::{Callback, Event, Log};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(every_ending_keeps_the_grammar),
    case!(a_loss_comes_in_its_turn_and_never_inside_the_call),
    case!(closing_in_the_last_resume_loses_once),
    case!(a_failing_connection_lost_still_frees_the_peer),
    case!(after_the_loss_every_method_answers),
    case!(dropped_handles_change_nothing),
    case!(a_kept_handle_does_not_keep_the_peer_waiting),
    case!(a_protocol_that_keeps_its_own_handle_is_dropped),
    case!(everyone_who_waits_learns_the_cause),
    case!(extra_info_is_typed_and_none_if_unknown),
    case!(each_side_knows_the_other, |can| can.addresses),
    case!(the_descriptor_is_lent_out_until_the_loss, |can| can.descriptor),
];

/// The cause that a left side is lost with.
#[derive(Clone, Copy)]
enum Lost {
    /// None: it was ended on purpose.
    Clean,
    /// The [`failure`] that the case made.
    Failed,
    /// That is a matter of timing.
    Either,
}

/// What is called on the left side, then on the right side, and what the left one is lost with.
struct Ending {
    left: &'static [Call],
    right: &'static [Call],
    lost: Lost,
}

type Call = fn(&Transport);

const CLOSE: Call = Transport::close;
const ABORT: Call = Transport::abort;
const PAUSE: Call = Transport::pause_reading;
const FAIL: Call = |transport| transport.fail(failure());
const WRITE: Call = |transport| {
    transport.write(b"some words");
};
/// One byte: where two closing sides do not read, it has to fit between them.
const WHISPER: Call = |transport| {
    transport.write(b"!");
};

const fn ending(left: &'static [Call], right: &'static [Call], lost: Lost) -> Ending {
    Ending { left, right, lost }
}

const ENDINGS: &[Ending] = &[
    ending(&[CLOSE], &[], Lost::Clean),
    ending(&[ABORT], &[], Lost::Clean),
    ending(&[FAIL], &[], Lost::Failed),
    ending(&[CLOSE, CLOSE], &[], Lost::Clean),
    ending(&[ABORT, ABORT], &[], Lost::Clean),
    ending(&[CLOSE, ABORT], &[], Lost::Clean),
    ending(&[ABORT, CLOSE], &[], Lost::Clean),
    ending(&[ABORT, FAIL], &[], Lost::Clean),
    ending(&[FAIL, ABORT], &[], Lost::Failed),
    ending(&[CLOSE, FAIL], &[], Lost::Either),
    ending(&[WRITE, CLOSE], &[], Lost::Clean),
    ending(&[WRITE, ABORT], &[], Lost::Clean),
    ending(&[WRITE, CLOSE, ABORT], &[], Lost::Clean),
    ending(&[PAUSE, CLOSE], &[], Lost::Clean),
    ending(&[], &[CLOSE], Lost::Clean),
    ending(&[], &[WRITE, CLOSE], Lost::Clean),
    ending(&[CLOSE], &[CLOSE], Lost::Clean),
    ending(&[ABORT], &[ABORT], Lost::Clean),
    ending(&[CLOSE], &[ABORT], Lost::Clean),
    ending(&[ABORT], &[CLOSE], Lost::Clean),
    ending(&[WHISPER, CLOSE], &[WHISPER, CLOSE], Lost::Either),
    ending(&[WRITE], &[ABORT], Lost::Either),
    ending(&[WRITE, CLOSE], &[FAIL], Lost::Either),
];

// T-01 T-03 T-56 T-57: the grammar itself is looked at when the case is over.
async fn every_ending_keeps_the_grammar(stage: Stage) {
    for (number, ending) in ENDINGS.iter().enumerate() {
        let pair = stage.pair().await;
        ending.left.iter().for_each(|call| call(&pair.left));
        ending.right.iter().for_each(|call| call(&pair.right));
        pair.lost().await;
        let found = pair.left.log.cause().map(|cause| cause.kind());
        match ending.lost {
            Lost::Clean => assert_eq!(found, None, "the cause after ending {number}"),
            Lost::Failed => assert_eq!(found, Some(failure().kind()), "after ending {number}"),
            Lost::Either => {}
        }
        stage.a_while().await;
        pair.left.log.assert_complete();
        pair.right.log.assert_complete();
    }
}

// T-02
async fn a_loss_comes_in_its_turn_and_never_inside_the_call(stage: Stage) {
    let alone = stage.capabilities().closes_alone;
    for end in [CLOSE, ABORT, FAIL].into_iter().skip(usize::from(!alone)) {
        let pair = stage.pair().await;
        let log = pair.left.log.clone();
        let note = |text: &'static str| {
            let log = log.clone();
            stage.handle().call_soon(move || log.note(text)).expect("an open loop")
        };
        note("queued before");
        end(&pair.left);
        assert!(!log.has(Callback::ConnectionLost), "lost inside the call");
        note("queued after");
        log.until(|log| log.events().contains(&Event::note("queued after"))).await;
        let order: Vec<_> = log.events().into_iter().skip(1).map(drop_cause).collect();
        let expected =
            [Event::note("queued before"), Event::Lost(None), Event::note("queued after")];
        assert_eq!(order, expected);
    }
}

fn drop_cause(event: Event) -> Event {
    match event {
        Event::Lost(_) => Event::Lost(None),
        other => other,
    }
}

// T-03, its defect: the loss was scheduled twice, and an error without an owner reached the handler.
async fn closing_in_the_last_resume_loses_once(stage: Stage) {
    let left = Recorder::new().on(Callback::ResumeWriting, Transport::close);
    let pair = stage.connect(left, Recorder::new()).await;
    stage.stuff(&pair.left, &pair.right).await;
    pair.left.set_write_buffer_limits(Some(0), None).expect("zero is a limit");
    pair.right.resume_reading();
    pair.lost().await;
    stage.a_while().await;
    let ending = [Event::Made, Event::Paused, Event::Resumed, Event::Lost(None)];
    pair.left.log.assert(&ending);
}

// T-04
async fn a_failing_connection_lost_still_frees_the_peer(stage: Stage) {
    let left = Recorder::new().panicking(Callback::ConnectionLost);
    let pair = stage.connect(left, Recorder::new()).await;
    pair.left.close();
    pair.lost().await;
    pair.right.log.assert(&[Event::Made, Event::Eof, Event::Lost(None)]);
    stage.assert_reported(&["connection_lost", "panics on purpose"]).await;
}

// replaced: T-05, T-40
async fn after_the_loss_every_method_answers(stage: Stage) {
    let ends: [&[Call]; 4] = [&[CLOSE], &[ABORT], &[WHISPER, CLOSE], &[FAIL]];
    for end in ends {
        let pair = stage.pair().await;
        let left = &pair.left;
        left.set_write_buffer_limits(Some(40), Some(10)).expect("40 is above 10");
        let names = (left.peername(), left.sockname());
        end.iter().for_each(|call| call(left));
        pair.lost().await;
        let limits = left.get_write_buffer_limits();
        assert_eq!((limits.low(), limits.high()), (10, 40), "the limits keep their values");
        for action in actions::ALL {
            (action.call)(left, &Log::new());
        }
        assert!(left.is_closing());
        assert!(!left.is_reading());
        assert_eq!(left.get_write_buffer_size(), 0);
        assert_eq!(left.flow(), Flow::Closed);
        assert_eq!(left.write(b"too late"), Flow::Closed);
        assert_eq!(left.write_bytes(b"too late"[..].into()), Flow::Closed);
        assert_eq!(left.writelines([b"too late"]), Flow::Closed);
        assert_eq!((left.peername(), left.sockname()), names, "addresses stay known");
        assert!(left.with_socket(|_| ()).is_none(), "the descriptor is closed");
        stage.a_while().await;
        left.log.assert_complete();
    }
}

// replaced: T-06
async fn dropped_handles_change_nothing(stage: Stage) {
    let echo = Recorder::new().on(Callback::DataReceived, |transport| {
        transport.write(b"answer");
    });
    let left = Recorder::new().once(Callback::ConnectionMade, |transport| {
        transport.write(b"question");
    });
    let (asked, answered) = (left.log(), echo.log());
    drop(stage.connect_and_forget(left, echo).await);
    asked.until(|log| log.received_len() >= 6).await;
    stage.a_while().await;
    assert!(!asked.has(Callback::ConnectionLost), "dropped handles have ended the connection");
    assert!(!answered.has(Callback::ConnectionLost), "dropped handles have ended the connection");
}

// T-04: the end is the protocol's matter, not the handle's.
async fn a_kept_handle_does_not_keep_the_peer_waiting(stage: Stage) {
    let pair = stage.pair().await;
    let kept = [Transport::clone(&pair.left), Transport::clone(&pair.left)];
    pair.left.close();
    pair.lost().await;
    pair.right.log.assert(&[Event::Made, Event::Eof, Event::Lost(None)]);
    drop(kept);
}

// T-04
async fn a_protocol_that_keeps_its_own_handle_is_dropped(stage: Stage) {
    let kept = Rc::new(RefCell::new(None));
    let share = kept.clone();
    let left = Recorder::new().on(Callback::ConnectionMade, move |transport| {
        share.replace(Some(transport.clone()));
    });
    let pair = stage.connect(left, Recorder::new()).await;
    assert_eq!(Rc::strong_count(&kept), 2);
    pair.left.close();
    pair.lost().await;
    pair.left.log.until(Log::is_abandoned).await;
    assert_eq!(Rc::strong_count(&kept), 1, "the protocol lives on in a cycle");
}

// T-01 T-13: one cause serves the callback and everyone who waits.
async fn everyone_who_waits_learns_the_cause(stage: Stage) {
    let pair = stage.pair().await;
    stage.stuff(&pair.left, &pair.right).await;
    // Each in a task of its own, so that each has to be woken.
    let kinds: Rc<RefCell<Vec<_>>> = Rc::default();
    let (closed, flushed) = (pair.left.closed(), pair.left.flush());
    let told = kinds.clone();
    let closing = async move {
        let cause = closed.await;
        told.borrow_mut().push(cause.map(|cause| cause.kind()));
    };
    let told = kinds.clone();
    let flushing = async move {
        let refused = flushed.await.err();
        told.borrow_mut().push(refused.map(|error| error.kind()));
    };
    stage.handle().spawn(closing).expect("an open loop");
    stage.handle().spawn(flushing).expect("an open loop");
    stage.a_while().await;
    assert!(kinds.borrow().is_empty(), "somebody does not wait");
    pair.left.fail(failure());
    stage.until(|| kinds.borrow().len() == 2).await;
    assert_eq!(*kinds.borrow(), [Some(failure().kind()); 2]);
    assert_eq!(pair.left.log.cause().map(|cause| cause.kind()), Some(failure().kind()));
    assert!(pair.left.closed().await.is_some(), "closed is answered after the loss, too");
}

/// A kind of extra info that no transport has.
#[derive(Clone)]
struct Unheard;

// T-58
async fn extra_info_is_typed_and_none_if_unknown(stage: Stage) {
    let pair = stage.pair().await;
    let left = &pair.left;
    assert!(left.get_extra_info::<Unheard>().is_none());
    assert_eq!(left.get_extra_info::<PeerName>().map(|name| name.0), left.peername());
    assert_eq!(left.get_extra_info::<SockName>().map(|name| name.0), left.sockname());
}

// T-05 T-58: before the greeting, during the connection, and after the loss.
async fn each_side_knows_the_other(stage: Stage) {
    let pair = stage.connect_only(Recorder::new(), Recorder::new()).await;
    let crossed = |pair: &Pair| {
        assert!(pair.left.peername().is_some());
        assert_eq!(pair.left.peername(), pair.right.sockname());
        assert_eq!(pair.left.sockname(), pair.right.peername());
    };
    crossed(&pair);
    pair.left.log.made().await;
    crossed(&pair);
    pair.left.close();
    pair.lost().await;
    crossed(&pair);
}

// T-05 T-58
async fn the_descriptor_is_lent_out_until_the_loss(stage: Stage) {
    let pair = stage.pair().await;
    let number = pair.left.with_socket(|socket| socket.as_raw_fd());
    assert!(number.is_some_and(|number| number >= 0));
    pair.left.close();
    pair.lost().await;
    pair.left.log.until(Log::is_abandoned).await;
    assert!(pair.left.with_socket(|_| ()).is_none());
}
