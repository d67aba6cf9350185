//! Each direction ends by itself: the end of the stream, and `write_eof`.

use std::io::ErrorKind;

use tidegate_protocols::{AtEof, Flow};

use super::stage::Stage;
use super::{Case, case};
use crate::log::{Callback, Event};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(the_end_closes_unless_the_protocol_keeps_writing),
    case!(the_end_closes_after_what_waits_is_sent, |can| can.half_close),
    case!(a_protocol_may_go_on_writing_after_the_end, |can| can.half_close && can.answers_eof),
    case!(the_end_comes_once_even_after_a_pause, |can| can.half_close && can.answers_eof),
    case!(write_eof_ends_one_direction, |can| can.half_close),
    case!(write_eof_comes_after_what_waits, |can| can.half_close),
    case!(write_eof_again_does_nothing, |can| can.half_close && can.answers_eof),
    case!(nothing_is_written_after_write_eof, |can| can.half_close && can.answers_eof),
    case!(write_eof_on_a_closing_transport_does_nothing, |can| can.half_close
        && can.writes_while_closing),
    case!(write_eof_then_close_loses_once, |can| can.half_close),
    case!(write_eof_that_cannot_be_says_so, |can| !can.half_close),
];

// T-15
async fn the_end_closes_unless_the_protocol_keeps_writing(stage: Stage) {
    let pair = stage.pair().await;
    pair.right.write(b"bye");
    pair.right.close();
    pair.lost().await;
    let whole = [Event::Made, Event::data("bye"), Event::Eof, Event::Lost(None)];
    pair.left.log.assert(&whole);
}

// T-15
async fn the_end_closes_after_what_waits_is_sent(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.right.write_eof().expect("a half close");
    stage.until(|| pair.left.is_closing()).await;
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made, Event::Eof]);
    pair.right.resume_reading();
    pair.lost().await;
    assert_eq!(pair.right.log.received_len(), stuffed);
    pair.left.log.assert(&[Event::Made, Event::Eof, Event::Lost(None)]);
}

// T-15 T-55
async fn a_protocol_may_go_on_writing_after_the_end(stage: Stage) {
    let pair = stage.lasting_pair().await;
    pair.right.write_eof().expect("a half close");
    pair.left.log.until(|log| log.has(Callback::EofReceived)).await;
    assert!(!pair.left.is_closing());
    assert_eq!(pair.left.write(b"still here"), Flow::Open);
    pair.right.log.received_at_least(10).await;
    pair.left.close();
    pair.left.log.lost().await;
    pair.right.log.until(|log| log.has(Callback::EofReceived)).await;
    pair.left.log.assert(&[Event::Made, Event::Eof, Event::Lost(None)]);
    pair.right.log.assert(&[Event::Made, Event::data("still here"), Event::Eof]);
}

// T-16: in asyncio it came a second time.
async fn the_end_comes_once_even_after_a_pause(stage: Stage) {
    let pair = stage.lasting_pair().await;
    pair.right.write_eof().expect("a half close");
    pair.left.log.until(|log| log.has(Callback::EofReceived)).await;
    pair.left.pause_reading();
    stage.turn().await;
    pair.left.resume_reading();
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made, Event::Eof]);
}

// T-55
async fn write_eof_ends_one_direction(stage: Stage) {
    let right = Recorder::new().at_eof(AtEof::KeepWriting).on(Callback::EofReceived, |transport| {
        transport.write(b"answer");
        transport.close();
    });
    let pair = stage.connect(Recorder::new(), right).await;
    assert!(pair.left.can_write_eof());
    pair.left.write(b"question");
    pair.left.write_eof().expect("a half close");
    assert!(pair.left.is_reading(), "reading goes on");
    pair.lost().await;
    let asked = [Event::Made, Event::data("answer"), Event::Eof, Event::Lost(None)];
    pair.left.log.assert(&asked);
    let answered = [Event::Made, Event::data("question"), Event::Eof, Event::Lost(None)];
    pair.right.log.assert(&answered);
}

// T-55
async fn write_eof_comes_after_what_waits(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.left.write_eof().expect("a half close");
    pair.right.resume_reading();
    pair.lost().await;
    assert_eq!(pair.right.log.received_len(), stuffed);
    assert!(pair.right.log.has(Callback::EofReceived));
    pair.left.log.assert(&[Event::Made, Event::Eof, Event::Lost(None)]);
}

// T-55
async fn write_eof_again_does_nothing(stage: Stage) {
    let pair = stage.lasting_pair().await;
    for _ in 0..3 {
        pair.left.write_eof().expect("a half close");
    }
    pair.right.log.until(|log| log.has(Callback::EofReceived)).await;
    pair.left.write_eof().expect("nothing happens");
    pair.right.write(b"still heard");
    pair.left.log.received_at_least(11).await;
    stage.a_while().await;
    pair.right.log.assert(&[Event::Made, Event::Eof]);
}

// replaced: T-40, T-30: after write_eof a write is closed, and is not sent behind the end.
async fn nothing_is_written_after_write_eof(stage: Stage) {
    let pair = stage.lasting_pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.left.write_eof().expect("a half close");
    assert_eq!(pair.left.write(b"behind the end"), Flow::Closed);
    assert_eq!(pair.left.write(b""), Flow::Closed);
    assert_eq!(pair.left.writelines([b"behind the end"]), Flow::Closed);
    assert_eq!(pair.left.flow(), Flow::Closed);
    pair.right.resume_reading();
    pair.right.log.until(|log| log.has(Callback::EofReceived)).await;
    assert_eq!(pair.right.log.received_len(), stuffed);
    assert_eq!(pair.left.write(b"behind the end"), Flow::Closed);
    assert!(!pair.left.is_closing(), "only one direction has ended");
}

// T-55
async fn write_eof_on_a_closing_transport_does_nothing(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.left.close();
    pair.left.write_eof().expect("nothing happens");
    assert_ne!(pair.left.write(b"taken still"), Flow::Closed);
    pair.right.resume_reading();
    pair.lost().await;
    assert_eq!(pair.right.log.received_len(), stuffed + 11);
}

// T-03 T-55 T-56
async fn write_eof_then_close_loses_once(stage: Stage) {
    let pair = stage.pair().await;
    stage.stuff(&pair.left, &pair.right).await;
    pair.left.write_eof().expect("a half close");
    pair.left.close();
    pair.right.resume_reading();
    pair.lost().await;
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}

// T-55: where the kind of connection has no half close.
async fn write_eof_that_cannot_be_says_so(stage: Stage) {
    let pair = stage.pair().await;
    assert!(!pair.left.can_write_eof());
    let refused = pair.left.write_eof().expect_err("no half close");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(pair.left.write(b"goes on"), Flow::Open);
    pair.right.log.received_at_least(7).await;
}
