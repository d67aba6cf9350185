//! When `pause_writing` and `resume_writing` come, and what the flow says meanwhile.

use std::cell::Cell;
use std::rc::Rc;

use tidegate_protocols::{Flow, Transport};

use super::actions::failure;
use super::stage::{Pair, Stage, pattern};
use super::{Case, case};
use crate::log::{Callback, Event};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(limits_follow_the_rules),
    case!(limits_that_cannot_be_are_refused),
    case!(pausing_is_strictly_above_the_high_mark, |can| can.exact_sizes),
    case!(the_write_that_pauses_says_so_and_the_callback_follows, |can| can.exact_sizes),
    case!(resuming_is_at_or_below_the_low_mark, |can| can.exact_sizes),
    case!(a_pause_comes_before_whatever_was_queued),
    case!(a_pause_before_the_greeting_comes_after_it),
    case!(new_limits_pause_at_once_and_never_resume),
    case!(resume_follows_every_pause),
    case!(a_resume_may_write_to_another_transport),
    case!(a_resume_may_close),
    case!(an_abort_brings_no_resume),
];

type Marks = Option<usize>;

// T-45
async fn limits_follow_the_rules(stage: Stage) {
    // high, low, and then low and high as they are
    let cases: [(Marks, Marks, (usize, usize)); 10] = [
        (None, None, (16_384, 65_536)),
        (Some(100), Some(10), (10, 100)),
        (Some(100), None, (25, 100)),
        (Some(3), None, (0, 3)),
        (None, Some(16_385), (16_385, 65_540)),
        (None, Some(0), (0, 0)),
        (Some(7), Some(7), (7, 7)),
        (Some(0), None, (0, 0)),
        (Some(0), Some(0), (0, 0)),
        (None, None, (16_384, 65_536)),
    ];
    let pair = stage.pair().await;
    for (high, low, expected) in cases {
        pair.left.set_write_buffer_limits(high, low).expect("limits that can be");
        let limits = pair.left.get_write_buffer_limits();
        assert_eq!((limits.low(), limits.high()), expected, "high {high:?}, low {low:?}");
    }
}

// T-46
async fn limits_that_cannot_be_are_refused(stage: Stage) {
    let pair = stage.pair().await;
    pair.left.set_write_buffer_limits(Some(50), Some(20)).expect("50 is above 20");
    for (high, low) in [(0, 1), (10, 11), (16_384, 65_536)] {
        let refused = pair.left.set_write_buffer_limits(Some(high), Some(low));
        let text = refused.expect_err("low above high").to_string();
        assert_eq!(text, format!("high ({high}) must be >= low ({low}) must be >= 0"));
        let limits = pair.left.get_write_buffer_limits();
        assert_eq!((limits.low(), limits.high()), (20, 50), "the old limits stay");
    }
}

fn set_limits(transport: &Transport, high: usize, low: usize) {
    transport.set_write_buffer_limits(Some(high), Some(low)).expect("high above low");
}

async fn paused(pair: &Pair) {
    pair.left.log.until(|log| log.has(Callback::PauseWriting)).await;
}

async fn resumed(pair: &Pair) {
    pair.left.log.until(|log| log.has(Callback::ResumeWriting)).await;
}

// replaced: T-47: strictly above stays; equality does not pause.
async fn pausing_is_strictly_above_the_high_mark(stage: Stage) {
    let pair = stage.pair().await;
    stage.stuff(&pair.left, &pair.right).await;
    set_limits(&pair.left, pair.left.get_write_buffer_size(), 0);
    assert_eq!(pair.left.flow(), Flow::Open);
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made]);
    set_limits(&pair.left, pair.left.get_write_buffer_size() - 1, 0);
    assert_eq!(pair.left.flow(), Flow::Paused);
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made, Event::Paused]);
}

// replaced: T-47: `write` returns the flow, and the callback follows on a fresh stack.
async fn the_write_that_pauses_says_so_and_the_callback_follows(stage: Stage) {
    let pair = stage.pair().await;
    stage.stuff(&pair.left, &pair.right).await;
    set_limits(&pair.left, pair.left.get_write_buffer_size() + 10, 0);
    assert_eq!(pair.left.write(&[0; 10]), Flow::Open);
    assert_eq!(pair.left.write(b"!"), Flow::Paused);
    assert_eq!(pair.left.write(b"!"), Flow::Paused);
    assert_eq!(pair.left.flow(), Flow::Paused);
    pair.left.log.assert(&[Event::Made]);
    paused(&pair).await;
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made, Event::Paused]);
    assert!(pair.left.statistics().paused_for.is_some());
    pair.right.resume_reading();
    resumed(&pair).await;
    assert_eq!(pair.left.flow(), Flow::Open);
    assert_eq!(pair.left.statistics().paused_for, None);
}

// replaced: T-47: at or below stays.
async fn resuming_is_at_or_below_the_low_mark(stage: Stage) {
    let waited = Rc::new(Cell::new(None));
    let share = waited.clone();
    let left = Recorder::new().on(Callback::ResumeWriting, move |transport| {
        share.set(Some(transport.get_write_buffer_size()));
    });
    let pair = stage.connect(left, Recorder::new()).await;
    stage.stuff(&pair.left, &pair.right).await;
    pair.left.write(&pattern(200));
    let low = 100;
    set_limits(&pair.left, 150, low);
    paused(&pair).await;
    pair.right.resume_reading();
    resumed(&pair).await;
    let waited = waited.get().expect("a resume");
    assert!(waited <= low, "resumed while {waited} bytes waited");
    if stage.capabilities().bytes_at_a_time == Some(1) {
        assert_eq!(waited, low, "a resume at the low mark does not wait for the next byte");
    }
}

// replaced: T-47: the callback comes before anything else that is queued.
async fn a_pause_comes_before_whatever_was_queued(stage: Stage) {
    let pair = stage.pair().await;
    stage.stuff(&pair.left, &pair.right).await;
    set_limits(&pair.left, 1 << 20, 0);
    stage.turn().await;
    let log = pair.left.log.clone();
    stage.handle().call_soon(move || log.note("queued before")).expect("an open loop");
    assert_eq!(pair.left.write(&vec![0; 2 << 20]), Flow::Paused);
    let log = pair.left.log.clone();
    stage.handle().call_soon(move || log.note("queued after")).expect("an open loop");
    pair.left.log.until(|log| log.events().contains(&Event::note("queued after"))).await;
    let order =
        [Event::Made, Event::Paused, Event::note("queued before"), Event::note("queued after")];
    pair.left.log.assert(&order);
}

// T-01
// replaced: T-47
async fn a_pause_before_the_greeting_comes_after_it(stage: Stage) {
    let pair = stage.connect_only(Recorder::new(), Recorder::new()).await;
    set_limits(&pair.left, 100, 0);
    assert_eq!(pair.left.write(b"a little"), Flow::Open);
    assert_eq!(pair.left.write(&vec![0; 2 * stage.bulk()]), Flow::Paused);
    paused(&pair).await;
    pair.left.log.assert(&[Event::Made, Event::Paused]);
}

// T-48
async fn new_limits_pause_at_once_and_never_resume(stage: Stage) {
    let pair = stage.pair().await;
    stage.stuff(&pair.left, &pair.right).await;
    set_limits(&pair.left, 0, 0);
    assert_eq!(pair.left.flow(), Flow::Paused);
    paused(&pair).await;
    set_limits(&pair.left, 1 << 30, 1 << 29);
    stage.turn().await;
    assert_eq!(pair.left.flow(), Flow::Paused);
    pair.left.log.assert(&[Event::Made, Event::Paused]);
    pair.right.resume_reading();
    resumed(&pair).await;
    pair.left.log.assert(&[Event::Made, Event::Paused, Event::Resumed]);
}

// T-01 T-50: a writer that does as it is told; the grammar of the log sees to the alternation.
// replaced: T-47
async fn resume_follows_every_pause(stage: Stage) {
    let sent = pattern(stage.bulk());
    let rest = Rc::new(Cell::new(0));
    let (all, next) = (sent.clone(), rest.clone());
    let write_on = move |transport: &Transport| {
        while next.get() < all.len() {
            let piece = &all[next.get()..all.len().min(next.get() + 1000)];
            next.set(next.get() + piece.len());
            if transport.write(piece) != Flow::Open {
                return;
            }
        }
        transport.close();
    };
    let go = write_on.clone();
    let left = Recorder::new()
        .on(Callback::ConnectionMade, move |transport| {
            set_limits(transport, 4000, 1000);
            go(transport);
        })
        .on(Callback::ResumeWriting, write_on);
    let pair = stage.connect_only(left, Recorder::new()).await;
    pair.right.pause_reading();
    paused(&pair).await;
    pair.right.resume_reading();
    pair.lost().await;
    assert!(
        pair.right.log.received() == sent,
        "the bytes that arrived are not those that were sent"
    );
    let pauses = pair.left.log.count(Callback::PauseWriting);
    assert_eq!(pair.left.log.count(Callback::ResumeWriting), pauses);
    assert!(pauses > 0);
}

// T-50
async fn a_resume_may_write_to_another_transport(stage: Stage) {
    let other = stage.pair().await;
    let target = Transport::clone(&other.left);
    let left = Recorder::new().once(Callback::ResumeWriting, move |own| {
        target.write(b"to the other");
        own.write(b"to my own");
    });
    let pair = stage.connect(left, Recorder::new()).await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    set_limits(&pair.left, 1, 1);
    paused(&pair).await;
    pair.right.resume_reading();
    other.right.log.received_at_least(12).await;
    pair.right.log.received_at_least(stuffed + 9).await;
    assert_eq!(other.right.log.received(), b"to the other");
    assert!(pair.right.log.received().ends_with(b"to my own"));
}

// T-50
async fn a_resume_may_close(stage: Stage) {
    let left = Recorder::new().once(Callback::ResumeWriting, |transport| {
        transport.write(b"the end");
        transport.close();
    });
    let pair = stage.connect(left, Recorder::new()).await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    set_limits(&pair.left, 0, 0);
    paused(&pair).await;
    pair.right.resume_reading();
    pair.lost().await;
    assert_eq!(pair.right.log.received_len(), stuffed + 7);
    assert!(pair.left.log.cause().is_none());
}

// T-51
async fn an_abort_brings_no_resume(stage: Stage) {
    let ends: [fn(&Transport); 2] = [Transport::abort, |transport| transport.fail(failure())];
    for end in ends {
        let pair = stage.pair().await;
        stage.stuff(&pair.left, &pair.right).await;
        set_limits(&pair.left, 0, 0);
        paused(&pair).await;
        end(&pair.left);
        pair.right.resume_reading();
        pair.lost().await;
        let names: Vec<_> = pair.left.log.events().iter().map(Event::callback).collect();
        let whole = [Callback::ConnectionMade, Callback::PauseWriting, Callback::ConnectionLost];
        assert_eq!(names, whole.map(Some));
    }
}
