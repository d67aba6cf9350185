//! A close that reads on, so that unread input does not destroy the last reply.

use std::time::Duration;

use tidegate_protocols::AtEof;

use super::stage::{Pair, Stage};
use super::{Case, case};
use crate::log::{Callback, Event};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(a_lingering_close_reads_until_the_peer_ends, |can| can.half_close && can.answers_eof),
    case!(a_lingering_close_reads_so_many_bytes, |can| can.half_close && can.answers_eof),
    case!(a_lingering_close_reads_for_so_long, |can| can.half_close && can.answers_eof),
    case!(a_lingering_close_may_be_aborted, |can| can.half_close && can.answers_eof),
];

/// Longer than any case may take, so that it is not what ends the lingering.
const LONG: Duration = Duration::from_secs(3600);

/// Leaves a connection whose left side has said its last words and lingers.
async fn linger(stage: &Stage, bytes: usize, time: Duration) -> Pair {
    let right = Recorder::new().at_eof(AtEof::KeepWriting);
    let pair = stage.connect(Recorder::new(), right).await;
    pair.left.write(b"last words");
    pair.left.close_lingering(bytes, time);
    assert!(pair.left.is_closing());
    pair.right.log.until(|log| log.has(Callback::EofReceived)).await;
    assert_eq!(pair.right.log.received(), b"last words");
    pair
}

// T-17 T-56: what comes is read, and dropped.
async fn a_lingering_close_reads_until_the_peer_ends(stage: Stage) {
    let pair = linger(&stage, usize::MAX, LONG).await;
    pair.right.write(&vec![0; stage.bulk()]);
    pair.right.flush().await.expect("the peer reads on");
    stage.a_while().await;
    pair.left.log.assert(&[Event::Made]);
    pair.right.close();
    pair.lost().await;
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}

// T-56
async fn a_lingering_close_reads_so_many_bytes(stage: Stage) {
    let pair = linger(&stage, 10, LONG).await;
    pair.right.write(&[0; 9]);
    stage.a_while().await;
    assert!(!pair.left.log.has(Callback::ConnectionLost), "lost before so many bytes were read");
    pair.right.write(&[0; 1]);
    pair.left.log.lost().await;
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}

// T-56
async fn a_lingering_close_reads_for_so_long(stage: Stage) {
    let pair = linger(&stage, usize::MAX, Duration::from_millis(10)).await;
    pair.left.log.lost().await;
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}

// T-57
async fn a_lingering_close_may_be_aborted(stage: Stage) {
    let pair = linger(&stage, usize::MAX, LONG).await;
    pair.left.abort();
    pair.left.log.lost().await;
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}
