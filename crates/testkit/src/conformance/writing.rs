//! What is written: in which order it leaves, what waits, and what is not sent any more.

use bytes::Bytes;
use tidegate_protocols::{AtEof, Flow, Transport};

use super::actions::failure;
use super::stage::{Stage, pattern};
use super::{Case, case};
use crate::log::{Callback, Event};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(every_way_of_writing_keeps_the_order),
    case!(writes_of_one_step_wait_for_its_end, |can| can.exact_sizes),
    case!(a_write_before_the_greeting_arrives),
    case!(the_buffer_is_the_callers_again),
    case!(nothing_written_is_nothing_sent),
    case!(many_small_writes_arrive_in_order),
    case!(what_waits_is_counted, |can| can.exact_sizes),
    case!(writelines_pauses_as_write_does, |can| can.exact_sizes),
    case!(an_empty_line_does_not_hold_up_the_end),
    case!(a_vanished_peer_is_no_error_of_the_write, |can| can.answers_eof
        && can.abort_looks_like_eof),
    case!(a_closing_transport_sends_what_is_written_still, |can| can.writes_while_closing),
    case!(the_last_resume_may_write_much_more, |can| can.writes_while_closing),
    case!(a_peer_that_dies_during_the_last_flush_is_told),
    case!(after_the_end_writes_are_closed),
    case!(last_words_arrive, |can| can.moves(10)),
    case!(a_flush_waits_until_everything_has_left),
    case!(an_abort_drops_what_waits),
];

// replaced: T-31, T-36
async fn every_way_of_writing_keeps_the_order(stage: Stage) {
    let pair = stage.pair().await;
    let mut sent = Vec::new();
    // First into an empty buffer, then behind what the system has refused.
    for round in 0..2 {
        if round == 1 {
            let stuffed = stage.stuff(&pair.left, &pair.right).await;
            sent.extend((0..stuffed / 1024).flat_map(|_| pattern(1024)));
        }
        for length in [1, 700, 5000, 3] {
            let piece = pattern(length);
            pair.left.write(&piece);
            pair.left.write_bytes(Bytes::from(piece.clone()));
            pair.left.writelines([&piece[..], b"", &piece[..]]);
            sent.extend(piece.repeat(4));
        }
        pair.right.resume_reading();
        pair.right.log.received_at_least(sent.len()).await;
        assert!(pair.right.log.received() == sent, "the bytes of round {round} are out of order");
    }
}

// replaced: T-31, T-34, T-36: the writes of one step leave together when it ends.
async fn writes_of_one_step_wait_for_its_end(stage: Stage) {
    let pair = stage.pair().await;
    stage.turn().await;
    assert_eq!(pair.left.write(b"a"), Flow::Open);
    assert_eq!(pair.left.write_bytes(Bytes::from_static(b"b")), Flow::Open);
    assert_eq!(pair.left.writelines([b"c", b"d"]), Flow::Open);
    assert_eq!(pair.left.get_write_buffer_size(), 4, "unoffered bytes are counted");
    pair.right.log.received_at_least(4).await;
    assert_eq!(pair.left.get_write_buffer_size(), 0);
    if stage.capabilities().moves(4) {
        assert_eq!(pair.right.log.events(), [Event::Made, Event::data("abcd")]);
    }
}

// T-31
async fn a_write_before_the_greeting_arrives(stage: Stage) {
    let pair = stage.connect_only(Recorder::new(), Recorder::new()).await;
    pair.left.write(b"too eager");
    pair.right.log.received_at_least(9).await;
    pair.right.log.assert(&[Event::Made, Event::data("too eager")]);
}

// T-32
async fn the_buffer_is_the_callers_again(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    let mut own = *b"before";
    pair.left.write(&own);
    assert_eq!(&own, b"before");
    own = *b"after!";
    pair.left.writelines([&own]);
    own.fill(b'?');
    pair.right.resume_reading();
    pair.right.log.received_at_least(stuffed + 12).await;
    assert!(pair.right.log.received().ends_with(b"beforeafter!"));
}

// T-30: nothing to send is no error, and nothing happens.
async fn nothing_written_is_nothing_sent(stage: Stage) {
    let pair = stage.pair().await;
    assert_eq!(pair.left.write(b""), Flow::Open);
    assert_eq!(pair.left.write_bytes(Bytes::new()), Flow::Open);
    assert_eq!(pair.left.writelines::<[&[u8]; 0]>([]), Flow::Open);
    assert_eq!(pair.left.writelines([b"", b""]), Flow::Open);
    assert_eq!(pair.left.get_write_buffer_size(), 0);
    stage.a_while().await;
    pair.right.log.assert(&[Event::Made]);
}

// T-33
async fn many_small_writes_arrive_in_order(stage: Stage) {
    let pair = stage.pair().await;
    let sent = pattern(stage.bulk().min(60_000));
    let mut rest = &sent[..];
    let mut length = 1;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pair.left.write(piece);
        (rest, length) = (after, length % 7 + 1);
    }
    pair.left.close();
    pair.lost().await;
    assert!(
        pair.right.log.received() == sent,
        "the bytes that arrived are not those that were sent"
    );
}

// T-35
async fn what_waits_is_counted(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    let before = pair.left.get_write_buffer_size();
    assert!((1..=stuffed).contains(&before));
    pair.left.write(&[1; 10]);
    assert_eq!(pair.left.get_write_buffer_size(), before + 10);
    pair.left.write_bytes(Bytes::from(vec![2; 20_000]));
    assert_eq!(pair.left.get_write_buffer_size(), before + 20_010);
    pair.left.writelines([&[3; 5][..], &[], &[4; 6]]);
    assert_eq!(pair.left.get_write_buffer_size(), before + 20_021);
    assert_eq!(pair.left.statistics().buffered, before + 20_021);
    pair.right.resume_reading();
    pair.right.log.received_at_least(stuffed + 20_021).await;
    assert_eq!(pair.left.get_write_buffer_size(), 0);
    assert_eq!(pair.left.statistics().bytes_sent, (stuffed + 20_021) as u64);
    assert_eq!(pair.right.statistics().bytes_received, (stuffed + 20_021) as u64);
}

// T-36 T-37: asyncio's writelines never paused.
async fn writelines_pauses_as_write_does(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    let waits = pair.left.get_write_buffer_size();
    pair.left.set_write_buffer_limits(Some(waits + 1000), None).expect("a limit");
    assert_eq!(pair.left.writelines([[1; 100]; 10]), Flow::Open);
    assert_eq!(pair.left.writelines([[1; 100]; 10]), Flow::Paused);
    pair.left.log.until(|log| log.has(Callback::PauseWriting)).await;
    pair.right.resume_reading();
    pair.right.log.received_at_least(stuffed + 2000).await;
    pair.left.log.until(|log| log.has(Callback::ResumeWriting)).await;
    assert_eq!(pair.left.log.count(Callback::PauseWriting), 1);
}

// T-37: asyncio never drained the empty one, and a close after it never ended.
async fn an_empty_line_does_not_hold_up_the_end(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.left.writelines([&b""[..], b"line", b"", b""]);
    pair.left.close();
    pair.right.resume_reading();
    pair.lost().await;
    assert_eq!(pair.right.log.received_len(), stuffed + 4);
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}

// replaced: T-34. T-18: an error of the system ends the connection, and no handler hears of it.
async fn a_vanished_peer_is_no_error_of_the_write(stage: Stage) {
    let pair = stage.connect(Recorder::new().at_eof(AtEof::KeepWriting), Recorder::new()).await;
    pair.right.abort();
    pair.left.log.until(|log| log.has(Callback::EofReceived)).await;
    while !pair.left.log.has(Callback::ConnectionLost) {
        pair.left.write(b"anyone there?");
        stage.turn().await;
    }
    let cause = pair.left.log.cause().expect("a cause");
    assert!(cause.is_os_error(), "the cause is not the system's: {cause}");
    assert_eq!(pair.left.get_write_buffer_size(), 0);
}

// T-38
async fn a_closing_transport_sends_what_is_written_still(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.left.close();
    assert_ne!(pair.left.write(b"one"), Flow::Closed);
    assert_ne!(pair.left.writelines([b"more"]), Flow::Closed);
    pair.right.resume_reading();
    pair.lost().await;
    assert_eq!(pair.right.log.received_len(), stuffed + 7);
    assert!(pair.right.log.received().ends_with(b"onemore"));
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
}

// T-38a: all of it is delivered, then the connection closes.
async fn the_last_resume_may_write_much_more(stage: Stage) {
    let more = pattern(stage.bulk());
    let (length, tail) = (more.len(), more[more.len() - 100..].to_vec());
    let left = Recorder::new().once(Callback::ResumeWriting, move |transport| {
        transport.write(&more);
    });
    let pair = stage.connect(left, Recorder::new()).await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.left.set_write_buffer_limits(Some(0), None).expect("zero is a limit");
    pair.left.close();
    pair.right.resume_reading();
    pair.lost().await;
    assert_eq!(pair.right.log.received_len(), stuffed + length);
    assert!(pair.right.log.received().ends_with(&tail));
    assert!(pair.left.log.cause().is_none());
}

// T-39
async fn a_peer_that_dies_during_the_last_flush_is_told(stage: Stage) {
    let pair = stage.pair().await;
    stage.stuff(&pair.left, &pair.right).await;
    pair.left.close();
    pair.right.abort();
    pair.lost().await;
    let cause = pair.left.log.cause().expect("a cause");
    assert!(cause.is_os_error(), "the cause is not the system's: {cause}");
}

// replaced: T-40, T-30: after the end there is no error, and nothing is sent.
async fn after_the_end_writes_are_closed(stage: Stage) {
    let ends: [fn(&Transport); 3] =
        [Transport::close, Transport::abort, |transport| transport.fail(failure())];
    for end in ends {
        let pair = stage.pair().await;
        end(&pair.left);
        let waits = pair.left.get_write_buffer_size();
        // A layer may have words of its own to say at the end.
        assert!(waits == 0 || !stage.capabilities().exact_sizes, "{waits} bytes of nobody wait");
        for _ in 0..10 {
            assert_eq!(pair.left.write(b"too late"), Flow::Closed);
            assert_eq!(pair.left.write(b""), Flow::Closed);
            assert_eq!(pair.left.write_bytes(Bytes::from_static(b"too late")), Flow::Closed);
            assert_eq!(pair.left.writelines([b"too late"]), Flow::Closed);
        }
        assert_eq!(pair.left.flow(), Flow::Closed);
        assert_eq!(pair.left.get_write_buffer_size(), waits);
        pair.lost().await;
        assert_eq!(pair.left.get_write_buffer_size(), 0);
        assert_eq!(pair.right.log.received_len(), 0);
    }
}

// replaced: T-31: what was written just before an end has one try, whatever the end is.
async fn last_words_arrive(stage: Stage) {
    let ends: [fn(&Transport); 3] =
        [Transport::close, Transport::abort, |transport| transport.fail(failure())];
    for end in ends {
        let pair = stage.pair().await;
        pair.left.write(b"last words");
        end(&pair.left);
        pair.lost().await;
        assert_eq!(pair.right.log.received(), b"last words");
    }
    let left = Recorder::new()
        .on(Callback::DataReceived, |transport| {
            transport.write(b"last words");
        })
        .failing(Callback::DataReceived);
    let pair = stage.connect(left, Recorder::new()).await;
    pair.right.write(b"go");
    pair.lost().await;
    assert_eq!(pair.right.log.received(), b"last words");
    stage.assert_reported(&["data_received"]).await;
}

// replaced: T-31: flush offers at once and waits until the buffer is empty.
async fn a_flush_waits_until_everything_has_left(stage: Stage) {
    let pair = stage.pair().await;
    pair.left.write(b"a few bytes");
    pair.left.flush().await.expect("a living connection");
    assert_eq!(pair.left.get_write_buffer_size(), 0);
    stage.stuff(&pair.left, &pair.right).await;
    pair.right.resume_reading();
    pair.left.flush().await.expect("a living connection");
    assert_eq!(pair.left.get_write_buffer_size(), 0);
}

// T-57
async fn an_abort_drops_what_waits(stage: Stage) {
    let pair = stage.pair().await;
    let stuffed = stage.stuff(&pair.left, &pair.right).await;
    pair.left.abort();
    assert_eq!(pair.left.get_write_buffer_size(), 0);
    assert!(pair.left.is_closing());
    pair.right.resume_reading();
    pair.lost().await;
    pair.left.log.assert(&[Event::Made, Event::Lost(None)]);
    assert!(pair.right.log.received_len() < stuffed);
}
