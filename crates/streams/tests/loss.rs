//! What a reader makes of the end of its connection: of a loss, of a close, and of the peer's last byte.

#![cfg(not(windows))]

use std::io;

use futures_lite::StreamExt;
use tidegate_protocols::Protocol;
use tidegate_streams::ReadUntilError;
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::run;

mod support;
use support::{
    Answer, Joined, Read, begun, data, ended, incomplete, joined, left, poll_once, trouble, turns,
};

const RESET: Answer = Answer::Error(io::ErrorKind::ConnectionReset);

/// A connection that has brought this to its right end and then was reset.
async fn reset_after(text: &str) -> Joined {
    let joined = joined(1024, PairOptions::default()).await;
    joined.left.1.write(text.as_bytes());
    turns(3).await;
    joined.line.reset();
    joined.right.1.wait_closed().await.expect_err("a reset");
    joined
}

#[test]
fn what_came_before_a_loss_is_read_first() {
    run(async {
        async fn check(read: Read<'_>, answers: &[Answer], rest: &str) {
            let Joined { right: (mut reader, _writer), .. } = reset_after("a,b\nc").await;
            assert!(!reader.at_eof());
            let error = reader.exception().expect("the loss");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            for expected in answers.iter().chain([&RESET, &RESET]) {
                assert_eq!(&read.now(&mut reader).await, expected, "{read:?}");
            }
            if !rest.is_empty() {
                assert_eq!(left(&mut reader).await, rest, "{read:?}");
            }
            assert_eq!(Read::Chunk.now(&mut reader).await, RESET);
            assert!(reader.at_eof());
        }
        // replaced: R-04, W-02
        check(Read::Some(2), &[data("a,"), data("b\n"), data("c")], "").await;
        check(Read::Chunk, &[data("a,b\nc")], "").await;
        check(Read::Exactly(3), &[data("a,b")], "\nc").await;
        check(Read::Exactly(5), &[data("a,b\nc")], "").await;
        check(Read::Until(&[","]), &[data("a,")], "b\nc").await;
        check(Read::Until(&[",", "\n"]), &[data("a,"), data("b\n")], "c").await;
        check(Read::Line, &[data("a,b\n")], "c").await;
        // Never everything, as nobody knows whether it was that.
        check(Read::Rest, &[], "a,b\nc").await;
        check(Read::Skip("\n"), &[Answer::Skipped(4)], "").await;
    });
}

#[test]
fn reading_nothing_is_fine_until_the_error_is_due() {
    run(async {
        // replaced: R-04
        let Joined { right: (mut reader, _writer), .. } = reset_after("a").await;
        for read in [Read::Some(0), Read::Exactly(0)] {
            assert_eq!(read.now(&mut reader).await, data(""));
        }
        assert_eq!(Read::Some(1).now(&mut reader).await, data("a"));
        for read in [Read::Some(0), Read::Exactly(0)] {
            assert_eq!(read.now(&mut reader).await, RESET);
        }
    });
}

#[test]
fn the_lines_before_a_loss_come_before_the_error() {
    run(async {
        // replaced: R-04, W-02
        let Joined { right: (mut reader, _writer), .. } = reset_after("a\nb\nc").await;
        let mut lines = reader.lines();
        for expected in ["a\n", "b\n"] {
            assert_eq!(lines.next().await.expect("a line").expect("a line"), expected);
        }
        let error = lines.next().await;
        assert!(matches!(error, Some(Err(ReadUntilError::Io(_)))), "{error:?}");
        assert!(lines.next().await.is_none());
        assert_eq!(left(&mut reader).await, "c");
    });
}

#[test]
fn a_loss_wakes_the_read_that_waits() {
    run(async {
        // replaced: W-02
        for read in Read::ALL {
            let Joined { line, left: _left, right: (reader, _writer) } =
                joined(1024, PairOptions::default()).await;
            let waiting = begun(reader, read).await;
            assert!(!waiting.is_finished());
            line.reset();
            assert_eq!(ended(waiting).await, RESET, "{read:?}");
        }
    });
}

#[test]
fn a_loss_does_not_uncover_what_an_error_set_by_hand_hides() {
    run(async {
        //
        let joined = joined(1024, PairOptions::default()).await;
        let (mut reader, writer) = joined.right;
        joined.left.1.write(b"hidden");
        turns(3).await;
        reader.feeder().set_exception(trouble());
        joined.line.reset();
        writer.wait_closed().await.expect_err("a reset");
        assert_eq!(Read::Chunk.now(&mut reader).await, RESET);
    });
}

#[test]
fn an_end_of_our_own_is_the_end_of_the_stream() {
    run(async {
        // W-02
        for abort in [false, true] {
            let Joined { left: (_reader, peer), right: (mut reader, writer), .. } =
                joined(1024, PairOptions::default()).await;
            peer.write(b"abc");
            turns(3).await;
            match abort {
                false => drop(writer.close()),
                true => writer.abort(),
            }
            writer.wait_closed().await.expect("our own end is no error");
            assert!(reader.exception().is_none());
            assert_eq!(Read::Exactly(5).now(&mut reader).await, incomplete("abc", Some(5)));
            assert!(reader.at_eof());
            assert_eq!(Read::Line.now(&mut reader).await, data(""));
        }
    });
}

#[test]
fn the_end_of_the_peers_stream_leaves_the_other_direction_open() {
    run(async {
        // W-03
        let Joined { left: (mut reader, writer), right: (mut peer_reader, peer_writer), .. } =
            joined(1024, PairOptions::default()).await;
        peer_writer.write(b"last words");
        peer_writer.write_eof().expect("a direction that ends on its own");
        assert_eq!(reader.read_to_end().await.expect("the end"), "last words");
        assert!(reader.at_eof());
        assert!(!writer.is_closing());
        for _ in 0..3 {
            writer.write(b"an answer\n");
            writer.drain().await.expect("the connection stands");
            assert_eq!(peer_reader.readline().await.expect("a line"), "an answer\n");
        }
        assert!(poll_once(writer.wait_closed()).await.is_none());
        writer.close().await.expect("a close of our own");
        assert_eq!(peer_reader.readline().await.expect("the end"), "");
    });
}

#[test]
fn a_loss_after_the_end_hides_nothing() {
    run(async {
        // replaced: R-04, W-02
        let Joined { line, left: (_reader, peer), right: (mut reader, writer) } =
            joined(1024, PairOptions::default()).await;
        peer.write(b"all");
        peer.write_eof().expect("a direction that ends on its own");
        turns(3).await;
        line.reset();
        // It is noticed by the next write.
        writer.write(b"too late");
        writer.wait_closed().await.expect_err("a reset");
        assert!(reader.exception().is_some());
        assert_eq!(Read::Rest.now(&mut reader).await, data("all"));
        assert_eq!(Read::Some(1).now(&mut reader).await, data(""));
    });
}

#[test]
fn streams_that_are_left_behind_do_not_wait_for_ever() {
    struct Another;
    impl Protocol for Another {}
    run(async {
        // What came before is read first, as of any loss.
        let Joined { line, left: (_reader, peer), right: (mut reader, writer) } =
            joined(1024, PairOptions::default()).await;
        peer.write(b"a,b");
        turns(3).await;
        line.right.set_protocol(Another);
        turns(1).await;
        assert_eq!(Read::Until(&[","]).now(&mut reader).await, data("a,"));
        let gone = Answer::Error(io::ErrorKind::NotConnected);
        assert_eq!(Read::Line.of(&mut reader).await, gone);
        assert_eq!(writer.drain().await.expect_err("gone").kind(), io::ErrorKind::NotConnected);
        // Nor does who waits already.
        let Joined { line, left: _left, right: (reader, _writer) } =
            joined(1024, PairOptions::default()).await;
        let waiting = begun(reader, Read::Line).await;
        line.right.set_protocol(Another);
        assert_eq!(ended(waiting).await, gone);
    });
}
