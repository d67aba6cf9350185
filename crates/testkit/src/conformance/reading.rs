//! What is received: when, in which pieces, and by which kind of protocol.

use std::cell::RefCell;
use std::rc::Rc;

use tidegate_protocols::{AtEof, Transport};

use super::stage::{Pair, Side, Stage, pattern};
use super::{Case, case};
use crate::log::{Callback, Event, Log};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(reading_starts_after_the_greeting),
    case!(a_greeting_that_pauses_delays_reading),
    case!(a_greeting_that_closes_prevents_reading),
    case!(pausing_and_resuming_are_idempotent),
    case!(a_paused_connection_notices_neither_data_nor_the_end),
    case!(pausing_inside_a_callback_holds_the_next_piece),
    case!(a_large_transfer_comes_in_pieces_that_are_never_empty),
    case!(nothing_is_delivered_after_an_end),
    case!(nothing_is_delivered_after_an_end_inside_the_callback),
    case!(a_buffered_protocol_is_asked_for_each_piece),
    case!(a_buffered_protocol_receives_the_end),
    case!(a_protocol_may_be_exchanged_inside_a_callback),
    case!(a_protocol_may_be_exchanged_outside_a_callback),
    case!(bytes_that_waited_go_to_the_new_protocol),
    case!(an_exchanged_protocol_meets_the_loss_alone),
];

// T-10
async fn reading_starts_after_the_greeting(stage: Stage) {
    let right = Recorder::new().on(Callback::ConnectionMade, |transport| {
        transport.write(b"early");
    });
    let left = Recorder::new().on(Callback::ConnectionMade, |transport| {
        assert!(transport.is_reading(), "neither paused nor closing");
    });
    let pair = stage.connect(left, right).await;
    pair.left.log.received_at_least(5).await;
    pair.left.log.assert(&[Event::Made, Event::data("early")]);
}

// T-10
async fn a_greeting_that_pauses_delays_reading(stage: Stage) {
    let right = Recorder::new().on(Callback::ConnectionMade, |transport| {
        transport.write(b"early");
    });
    let left = Recorder::new().on(Callback::ConnectionMade, Transport::pause_reading);
    let pair = stage.connect(left, right).await;
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made]);
    assert!(!pair.left.is_reading());
    pair.left.resume_reading();
    pair.left.log.received_at_least(5).await;
    pair.left.log.assert(&[Event::Made, Event::data("early")]);
}

// T-10
async fn a_greeting_that_closes_prevents_reading(stage: Stage) {
    let right = Recorder::new().on(Callback::ConnectionMade, |transport| {
        transport.write(b"early");
    });
    let left = Recorder::new().on(Callback::ConnectionMade, Transport::close);
    let pair = stage.connect_only(left, right).await;
    pair.left.log.lost().await;
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}

// T-11
async fn pausing_and_resuming_are_idempotent(stage: Stage) {
    let pair = stage.pair().await;
    assert!(pair.left.is_reading());
    for _ in 0..2 {
        pair.left.pause_reading();
        assert!(!pair.left.is_reading());
    }
    for _ in 0..2 {
        pair.left.resume_reading();
        assert!(pair.left.is_reading());
    }
    pair.right.write(b"still heard");
    pair.left.log.received_at_least(11).await;
    pair.left.close();
    assert!(!pair.left.is_reading(), "a closing connection does not read");
    pair.left.resume_reading();
    assert!(!pair.left.is_reading(), "nor does it begin to");
    pair.lost().await;
}

// T-11
async fn a_paused_connection_notices_neither_data_nor_the_end(stage: Stage) {
    let pair = stage.pair().await;
    pair.left.pause_reading();
    pair.right.write(b"w");
    pair.right.close();
    pair.right.log.lost().await;
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made]);
    pair.left.resume_reading();
    pair.left.log.lost().await;
    let whole = [Event::Made, Event::data("w"), Event::Eof, Event::Lost(None)];
    pair.left.log.assert(&whole);
}

// T-11 T-12: what is not read yet stays with the system.
async fn pausing_inside_a_callback_holds_the_next_piece(stage: Stage) {
    let left = Recorder::new().on(Callback::DataReceived, Transport::pause_reading);
    let pair = stage.connect(left, Recorder::new()).await;
    let sent = pattern(100);
    pair.right.write(&sent[..50]);
    pair.left.log.received_at_least(1).await;
    let after_one = pair.left.log.received_len();
    pair.right.write(&sent[50..]);
    stage.a_while().await;
    assert_eq!(pair.left.log.received_len(), after_one, "a piece came while paused");
    while pair.left.log.received_len() < sent.len() {
        pair.left.resume_reading();
        let before = pair.left.log.received_len();
        pair.left.log.until(|log| log.received_len() > before).await;
    }
    assert_eq!(pair.left.log.received(), sent);
}

// T-12
async fn a_large_transfer_comes_in_pieces_that_are_never_empty(stage: Stage) {
    const LARGEST: usize = 256 * 1024;
    let pair = stage.pair().await;
    let sent = pattern(stage.bulk());
    pair.right.write(&sent);
    pair.right.close();
    pair.lost().await;
    assert!(
        pair.left.log.received() == sent,
        "the bytes that arrived are not those that were sent"
    );
    let most = stage.capabilities().largest_piece().unwrap_or(LARGEST).min(LARGEST);
    for event in pair.left.log.events() {
        if let Event::Data(piece) = event {
            assert!((1..=most).contains(&piece.len()), "a piece of {} bytes", piece.len());
        }
    }
}

// T-17
async fn nothing_is_delivered_after_an_end(stage: Stage) {
    let ends: [fn(&Transport); 2] = [Transport::close, Transport::abort];
    for end in ends {
        let pair = stage.pair().await;
        pair.left.pause_reading();
        pair.right.write(b"readable already");
        stage.a_while().await;
        pair.left.resume_reading();
        end(&pair.left);
        pair.lost().await;
        stage.a_while().await;
        pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
    }
}

// T-17
async fn nothing_is_delivered_after_an_end_inside_the_callback(stage: Stage) {
    let ends: [fn(&Transport); 2] = [Transport::close, Transport::abort];
    for end in ends {
        let left = Recorder::new().on(Callback::DataReceived, end);
        let pair = stage.connect(left, Recorder::new()).await;
        pair.right.write(b"ab");
        stage.turn().await;
        pair.right.write(b"cd");
        pair.left.log.lost().await;
        stage.a_while().await;
        assert_eq!(pair.left.log.count(Callback::DataReceived), 1);
    }
}

// T-22
async fn a_buffered_protocol_is_asked_for_each_piece(stage: Stage) {
    let left = Recorder::new().buffered(4).on(Callback::ConnectionMade, Transport::pause_reading);
    let pair = stage.connect(left, Recorder::new()).await;
    let all = b"0123456789";
    pair.right.write(all);
    stage.a_while().await;
    pair.left.resume_reading();
    pair.left.log.received_at_least(all.len()).await;
    let most = stage.capabilities().largest_piece().unwrap_or(4).min(4);
    let mut expected = vec![Event::Made];
    for piece in all.chunks(most) {
        expected.extend([Event::BufferAsked(None), Event::updated(piece)]);
    }
    assert_eq!(pair.left.log.events(), expected);
}

// T-22: the round of the end asks once more.
async fn a_buffered_protocol_receives_the_end(stage: Stage) {
    let pair = stage.connect(Recorder::new().buffered(16), Recorder::new()).await;
    pair.right.close();
    pair.lost().await;
    let expected = [Event::Made, Event::BufferAsked(None), Event::Eof, Event::Lost(None)];
    assert_eq!(pair.left.log.events(), expected);
}

/// Sends `piece` to the left side and waits for it to arrive in `log`.
async fn deliver(pair: &Pair, log: &Log, piece: &[u8]) {
    let wanted = log.received_len() + piece.len();
    pair.right.write(piece);
    log.received_at_least(wanted).await;
}

// T-24: from inside a callback, there and back again. No greeting for the new one; the end goes to it alone.
async fn a_protocol_may_be_exchanged_inside_a_callback(stage: Stage) {
    let (buffered, plain) = (Recorder::taking_over().buffered(8), Recorder::taking_over());
    let (second, third) = (buffered.log(), plain.log());
    let exchange = |stage: &Stage, next: Recorder| {
        let next = RefCell::new(Some(stage.tripwire().guard(next)));
        move |transport: &Transport| {
            if let Some(next) = next.take() {
                transport.set_protocol(next);
            }
        }
    };
    let buffered = buffered.on(Callback::BufferUpdated, exchange(&stage, plain));
    let left = Recorder::new().on(Callback::DataReceived, exchange(&stage, buffered));
    let pair = stage.connect(left, Recorder::new()).await;
    let first = pair.left.log.clone();
    deliver(&pair, &first, b"a").await;
    deliver(&pair, &second, b"b").await;
    deliver(&pair, &third, b"c").await;
    pair.right.close();
    third.lost().await;
    first.assert(&[Event::Made, Event::data("a")]);
    assert_eq!(second.events(), [Event::BufferAsked(None), Event::updated("b")]);
    third.assert(&[Event::data("c"), Event::Eof, Event::Lost(None)]);
    stage.forget(&pair.left);
}

// T-24
async fn a_protocol_may_be_exchanged_outside_a_callback(stage: Stage) {
    let pair = stage.pair().await;
    let mut log = pair.left.log.clone();
    for (round, size) in [Some(8), None, Some(3), None, None].into_iter().enumerate() {
        deliver(&pair, &log, b"x").await;
        let next = Recorder::taking_over();
        let next = match size {
            Some(size) => next.buffered(size),
            None => next,
        };
        let former = std::mem::replace(&mut log, next.log());
        pair.left.set_protocol(stage.tripwire().guard(next));
        assert!(former.is_abandoned(), "the former protocol of round {round} was not dropped");
    }
    pair.left.close();
    log.lost().await;
    log.assert(&[Event::Lost(None)]);
    stage.forget(&pair.left);
}

// T-24
async fn bytes_that_waited_go_to_the_new_protocol(stage: Stage) {
    let pair = stage.pair().await;
    pair.left.pause_reading();
    pair.right.write(b"waits");
    stage.a_while().await;
    let next = Recorder::taking_over().buffered(64);
    let log = next.log();
    pair.left.set_protocol(stage.tripwire().guard(next));
    pair.left.resume_reading();
    log.received_at_least(5).await;
    log.assert(&[Event::updated("waits")]);
    pair.left.log.assert(&[Event::Made]);
    stage.forget(&pair.left);
}

// T-24: wrapping keeps the former protocol inside the new one.
async fn an_exchanged_protocol_meets_the_loss_alone(stage: Stage) {
    let pair = stage.connect(Recorder::new().at_eof(AtEof::KeepWriting), Recorder::new()).await;
    let kept = Rc::new(RefCell::new(None));
    let share = kept.clone();
    let next = Recorder::taking_over();
    let log = next.log();
    pair.left.wrap_protocol(move |former| {
        share.replace(Some(former));
        Box::new(next)
    });
    pair.left.close();
    log.lost().await;
    log.assert(&[Event::Lost(None)]);
    pair.left.log.assert(&[Event::Made]);
    let Side { log, .. } = &pair.left;
    assert!(!log.is_abandoned());
    drop(kept.take());
    assert!(log.is_abandoned());
    stage.forget(&pair.left);
}
