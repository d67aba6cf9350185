//! Reading from a reader that is fed by hand: each read, at the end of the stream and after an error.

#![cfg(not(windows))]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_lite::StreamExt;
use tidegate_reactor::spawn;
use tidegate_streams::{
    FillToEndError, LimitError, ReadExactlyError, ReadUntilError, SeparatorError, StreamReader,
    StreamReaderProtocol,
};
use tidegate_testkit::run;

mod support;
use support::{
    Answer, Read, Then, Wakes, begun, data, ended, fed, incomplete, inner, left, poll_once, trouble,
};

/// Reads from a reader with a limit of 4 that was fed these pieces, and looks at what is left.
async fn check(pieces: &[&str], then: Then, read: Read<'_>, expected: Answer, rest: &str) {
    let (mut reader, _) = fed(4, pieces, then);
    let case = format!("{read:?} of {pieces:?}, {then:?}");
    assert_eq!(read.now(&mut reader).await, expected, "{case}");
    assert_eq!(left(&mut reader).await, rest, "{case}");
}

#[test]
fn a_limit_of_zero_is_refused() {
    // R-01
    assert_eq!(StreamReader::new(0).err(), Some(LimitError));
    let protocol = StreamReaderProtocol::new(0, |_, _| panic!("there is no connection"));
    assert_eq!(protocol.err(), Some(LimitError));
    let error = io::Error::from(LimitError);
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "Limit cannot be <= 0");
    assert_eq!(StreamReader::new(1).expect("a limit").limit(), 1);
}

#[test]
fn a_stream_is_waited_for_to_its_end_and_stays() {
    run(async {
        let (mut reader, feeder) = fed(4, &["one", "two"], Then::Open);
        assert!(poll_once(reader.fill_to_end(6)).await.is_none());
        feeder.feed_data(b"!");
        assert!(matches!(reader.fill_to_end(6).await, Err(FillToEndError::TooLong { limit: 6 })));
        assert!(poll_once(reader.fill_to_end(7)).await.is_none());
        feeder.feed_eof();
        assert_eq!(reader.fill_to_end(7).await.expect("the end"), 7);
        assert_eq!(reader.fill_to_end(usize::MAX).await.expect("the end"), 7);
        // Too much is too much, also at the end.
        let error = io::Error::from(reader.fill_to_end(6).await.expect_err("too much"));
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "the stream is longer than 6 bytes");
        assert_eq!(reader.read_to_end().await.expect("the end"), "onetwo!");
        assert_eq!(reader.fill_to_end(0).await.expect("the end"), 0);

        let (mut reader, feeder) = fed(4, &["one"], Then::Open);
        feeder.set_exception(trouble());
        assert!(matches!(reader.fill_to_end(9).await, Err(FillToEndError::Io(_))));
    });
}

#[test]
fn feeding_nothing_does_nothing() {
    // R-02
    let (mut reader, feeder) = fed(4, &[], Then::Open);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut read = pin!(reader.read(1));
    assert!(read.as_mut().poll(&mut context).is_pending());
    feeder.feed_data(b"");
    assert_eq!(wakes.count(), 0);
    feeder.feed_data(b"x");
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Ok(got)) = read.poll(&mut context) else { panic!("there is data") };
    assert_eq!(got, "x");
}

#[test]
fn feeding_after_the_end_is_a_mistake_of_the_program() {
    // R-02
    for late in ["x", ""] {
        let (reader, feeder) = fed(4, &["x"], Then::Eof);
        feeder.feed_eof();
        // An error changes nothing about the end.
        feeder.set_exception(trouble());
        let refused = catch_unwind(AssertUnwindSafe(|| feeder.feed_data(late.as_bytes())));
        let told = *refused.expect_err("a panic").downcast::<&str>().expect("a text");
        assert_eq!(told, "feed_data after feed_eof");
        drop(reader);
    }
}

#[test]
fn the_end_is_reached_when_everything_was_read() {
    run(async {
        // R-03
        let (mut reader, feeder) = fed(4, &[], Then::Open);
        assert!(!reader.at_eof());
        feeder.feed_data(b"some");
        assert!(!reader.at_eof());
        feeder.feed_eof();
        assert!(!reader.at_eof());
        assert_eq!(Read::Some(3).now(&mut reader).await, data("som"));
        assert!(!reader.at_eof());
        assert_eq!(Read::Some(3).now(&mut reader).await, data("e"));
        assert!(reader.at_eof());
        // An error changes nothing about that.
        feeder.set_exception(trouble());
        assert!(reader.at_eof());
        let (reader, feeder) = fed(4, &[], Then::Open);
        feeder.set_exception(trouble());
        assert!(!reader.at_eof());
        feeder.feed_eof();
        assert!(reader.at_eof());
    });
}

#[test]
fn an_error_set_by_hand_hides_what_is_there() {
    run(async {
        // replaced: R-04: a loss hides nothing (loss.rs), and this has stayed asyncio's
        let more = [Read::Some(0), Read::Exactly(0), Read::Some(100), Read::Exactly(100)];
        for then in [Then::Open, Then::Eof] {
            for read in Read::ALL.into_iter().chain(more) {
                let (mut reader, feeder) = fed(4, &["a,b\nc"], then);
                assert!(reader.exception().is_none());
                feeder.set_exception(trouble());
                for _ in 0..2 {
                    let error = Answer::Error(trouble().kind());
                    assert_eq!(read.now(&mut reader).await, error, "{read:?}");
                }
                let error = reader.exception().expect("it was set");
                assert_eq!(error.to_string(), trouble().to_string());
            }
        }
        let (mut reader, feeder) = fed(4, &["a\nb\n"], Then::Open);
        feeder.set_exception(trouble());
        let mut lines = reader.lines();
        assert!(matches!(lines.next().await, Some(Err(ReadUntilError::Io(_)))));
        assert!(lines.next().await.is_none());
    });
}

#[test]
fn an_error_set_by_hand_replaces_the_one_before() {
    run(async {
        // R-04
        let (mut reader, feeder) = fed(4, &[], Then::Open);
        feeder.set_exception(trouble());
        feeder.set_exception(io::ErrorKind::TimedOut.into());
        let error = Answer::Error(io::ErrorKind::TimedOut);
        assert_eq!(Read::Line.now(&mut reader).await, error);
    });
}

#[test]
fn an_error_set_by_hand_wakes_the_read_that_waits() {
    run(async {
        // R-04
        for read in Read::ALL {
            let (reader, feeder) = fed(4, &[], Then::Open);
            let waiting = begun(reader, read).await;
            feeder.set_exception(trouble());
            assert_eq!(ended(waiting).await, Answer::Error(trouble().kind()), "{read:?}");
        }
    });
}

#[test]
fn an_error_after_a_dropped_read_is_kept_for_the_next() {
    run(async {
        // R-04: a cancelled waiter is tolerated
        for read in Read::ALL {
            let (mut reader, feeder) = fed(4, &[], Then::Open);
            assert_eq!(read.now(&mut reader).await, Answer::Waits, "{read:?}");
            feeder.set_exception(trouble());
            assert_eq!(read.now(&mut reader).await, Answer::Error(trouble().kind()), "{read:?}");
        }
    });
}

#[test]
fn separators_are_looked_at_before_the_error() {
    run(async {
        // R-05, R-30
        let cases: [(&[&str], _, _); 4] = [
            (&[], SeparatorError::None, "Separator should contain at least one element"),
            (&[""], SeparatorError::Empty, "Separator should be at least one-byte string"),
            (&["a", ""], SeparatorError::Empty, "Separator should be at least one-byte string"),
            (&["", "a"], SeparatorError::Empty, "Separator should be at least one-byte string"),
        ];
        for (separators, expected, text) in cases {
            assert_eq!(expected.to_string(), text);
            let refused = Answer::Refused(expected);
            check(&["abc"], Then::Open, Read::Until(separators), refused.clone(), "abc").await;
            let (mut reader, feeder) = fed(4, &["abc"], Then::Open);
            feeder.set_exception(trouble());
            assert_eq!(Read::Until(separators).now(&mut reader).await, refused);
        }
    });
}

#[test]
fn a_reader_whose_read_was_dropped_is_read_again() {
    run(async {
        // replaced: R-06: two reads at once do not compile, so no read ever meets another one
        let (mut reader, feeder) = fed(4, &[], Then::Open);
        for (number, read) in (0_u8..).zip(Read::ALL) {
            assert_eq!(read.now(&mut reader).await, Answer::Waits);
            assert_eq!(Read::Some(0).now(&mut reader).await, data(""));
            feeder.feed_data(&[b'0' + number]);
            assert_eq!(Read::Some(9).now(&mut reader).await, data(&number.to_string()));
        }
    });
}

#[test]
fn a_read_answers_what_is_there() {
    run(async {
        // R-10
        check(&["abc"], Then::Open, Read::Some(2), data("ab"), "c").await;
        check(&["abc"], Then::Open, Read::Some(3), data("abc"), "").await;
        check(&["abc"], Then::Open, Read::Some(100), data("abc"), "").await;
        check(&["li\nne", "2"], Then::Open, Read::Some(100), data("li\nne2"), "").await;
        check(&["more than the limit"], Then::Open, Read::Some(9), data("more than"), " the limit")
            .await;
        check(&[], Then::Open, Read::Some(1), Answer::Waits, "").await;
        check(&[], Then::Eof, Read::Some(1), data(""), "").await;
        check(&["abc"], Then::Eof, Read::Some(9), data("abc"), "").await;
        // asyncio has no counterpart
        check(&["abc", "def"], Then::Open, Read::Chunk, data("abcdef"), "").await;
        check(&[], Then::Open, Read::Chunk, Answer::Waits, "").await;
        let (mut reader, _) = fed(4, &[], Then::Eof);
        assert_eq!(reader.read_chunk().await.expect("the end"), None);
    });
}

#[test]
fn a_read_that_waits_ends_with_the_first_byte() {
    run(async {
        // R-10
        let (reader, feeder) = fed(4, &[], Then::Open);
        let waiting = begun(reader, Read::Some(9)).await;
        feeder.feed_data(b"a");
        assert_eq!(ended(waiting).await, data("a"));
        let (reader, feeder) = fed(4, &[], Then::Open);
        let waiting = begun(reader, Read::Some(9)).await;
        feeder.feed_eof();
        assert_eq!(ended(waiting).await, data(""));
    });
}

#[test]
fn reading_nothing_takes_nothing() {
    run(async {
        // R-11
        check(&["abc"], Then::Open, Read::Some(0), data(""), "abc").await;
        check(&[], Then::Open, Read::Some(0), data(""), "").await;
        check(&["abc"], Then::Eof, Read::Some(0), data(""), "abc").await;
        // R-20
        check(&["abc"], Then::Open, Read::Exactly(0), data(""), "abc").await;
        check(&[], Then::Open, Read::Exactly(0), data(""), "").await;
        check(&[], Then::Eof, Read::Exactly(0), data(""), "").await;
    });
}

#[test]
fn reading_to_the_end_takes_everything() {
    run(async {
        // R-12
        check(&["more", "than", "the limit"], Then::Eof, Read::Rest, data("morethanthe limit"), "")
            .await;
        check(&[], Then::Eof, Read::Rest, data(""), "").await;
        check(&["abc"], Then::Open, Read::Rest, Answer::Waits, "abc").await;
        let (reader, feeder) = fed(4, &["first"], Then::Open);
        let waiting = begun(reader, Read::Rest).await;
        for piece in ["second", "third"] {
            support::turns(2).await;
            feeder.feed_data(piece.as_bytes());
        }
        support::turns(2).await;
        assert!(!waiting.is_finished());
        feeder.feed_eof();
        assert_eq!(ended(waiting).await, data("firstsecondthird"));
    });
}

#[test]
fn an_error_ends_reading_to_the_end() {
    run(async {
        // R-12
        let (mut reader, feeder) = fed(4, &["first"], Then::Open);
        let waiting = spawn(async move {
            let midway = Read::Rest.of(&mut reader).await;
            (midway, Read::Chunk.of(&mut reader).await)
        });
        support::turns(2).await;
        feeder.set_exception(trouble());
        let error = Answer::Error(trouble().kind());
        assert_eq!(ended(waiting.expect("a loop")).await, (error.clone(), error));
    });
}

#[test]
fn so_many_bytes_are_read_exactly() {
    run(async {
        // R-20
        check(&["abcdef"], Then::Open, Read::Exactly(3), data("abc"), "def").await;
        check(&["ab", "cd", "ef"], Then::Open, Read::Exactly(6), data("abcdef"), "").await;
        check(&["ab", "cd"], Then::Eof, Read::Exactly(4), data("abcd"), "").await;
        check(&["ab", "cd"], Then::Open, Read::Exactly(5), Answer::Waits, "abcd").await;
        check(&["ab", "cd"], Then::Eof, Read::Exactly(5), incomplete("abcd", Some(5)), "").await;
        check(&[], Then::Eof, Read::Exactly(1), incomplete("", Some(1)), "").await;
        let (mut reader, _) = fed(4, &["abcd"], Then::Eof);
        let error = reader.readexactly(7).await.expect_err("too few");
        assert_eq!(error.to_string(), "4 bytes read on a total of 7 expected bytes");
        assert!(matches!(&error, ReadExactlyError::Incomplete(error) if error.partial == "abcd"));
        assert!(reader.at_eof());
    });
}

#[test]
fn a_read_up_to_a_separator_takes_it_too() {
    run(async {
        // R-30
        let until = |separator| Read::Until(separator);
        check(&["ab\r\nc"], Then::Open, until(&["\r\n"]), data("ab\r\n"), "c").await;
        check(&["ab\r", "\nc"], Then::Open, until(&["\r\n"]), data("ab\r\n"), "c").await;
        check(&["a", "b", "\r", "\n"], Then::Open, until(&["\r\n"]), data("ab\r\n"), "").await;
        check(&["SEPx"], Then::Open, until(&["SEP"]), data("SEP"), "x").await;
        check(&["SESEP"], Then::Open, until(&["SEP"]), data("SESEP"), "").await;
        check(&["ab\r"], Then::Open, until(&["\r\n"]), Answer::Waits, "ab\r").await;
        check(&["abc"], Then::Eof, until(&["c"]), data("abc"), "").await;
        // R-31: the one that ends first, and of two that end together the shorter one
        check(&["ABCDEFG"], Then::Open, until(&["DEF", "BCDE"]), data("ABCDE"), "FG").await;
        check(&["ab\r\n"], Then::Open, until(&["\r\n", "\r"]), data("ab\r"), "\n").await;
        check(&["ab\r\n"], Then::Open, until(&["\n", "\r\n"]), data("ab\r\n"), "").await;
        check(&["abc"], Then::Open, until(&["x", "yz"]), Answer::Waits, "abc").await;
    });
}

#[test]
fn a_separator_is_found_wherever_the_pieces_meet() {
    run(async {
        // R-30
        let text = "aSESEPbSEPc";
        for first in 0..text.len() {
            for second in first..text.len() {
                let (mut reader, feeder) = fed(16, &[], Then::Open);
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                let reading = spawn(async move {
                    let first = Read::Until(&["SEP"]).of(&mut reader).await;
                    [first, Read::Until(&["SEP"]).of(&mut reader).await]
                });
                for piece in pieces {
                    support::turns(1).await;
                    feeder.feed_data(piece.as_bytes());
                }
                let read = ended(reading.expect("a loop")).await;
                assert_eq!(read, [data("aSESEP"), data("bSEP")], "{pieces:?}");
            }
        }
    });
}

#[test]
fn the_end_before_a_separator_gives_what_there_was() {
    run(async {
        // R-32
        check(&["abc"], Then::Eof, Read::Until(&["X"]), incomplete("abc", None), "").await;
        check(&["ab\r"], Then::Eof, Read::Until(&["\r\n"]), incomplete("ab\r", None), "").await;
        check(&[], Then::Eof, Read::Until(&["X"]), incomplete("", None), "").await;
        // R-34
        let (mut reader, _) = fed(4, &["abc"], Then::Eof);
        let error = reader.readuntil(b"X").await.expect_err("no separator");
        assert_eq!(error.to_string(), "3 bytes read on a total of undefined expected bytes");
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let inside = inner::<tidegate_streams::IncompleteReadError>(&error).expect("it is inside");
        assert_eq!((&*inside.partial, inside.expected), (&b"abc"[..], None));
        let (mut reader, _) = fed(4, &["abc"], Then::Eof);
        let error = io::Error::from(reader.readexactly(4).await.expect_err("too few"));
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_line_ends_with_the_stream_too() {
    run(async {
        // replaced: R-40: only what an overrun does is our own; see limits.rs
        check(&["abc\nd"], Then::Open, Read::Line, data("abc\n"), "d").await;
        check(&["\nabc"], Then::Open, Read::Line, data("\n"), "abc").await;
        check(&["ab", "c", "\n"], Then::Open, Read::Line, data("abc\n"), "").await;
        check(&["abc"], Then::Open, Read::Line, Answer::Waits, "abc").await;
        check(&["abc"], Then::Eof, Read::Line, data("abc"), "").await;
        check(&[], Then::Eof, Read::Line, data(""), "").await;
    });
}

#[test]
fn lines_end_at_the_first_empty_one() {
    run(async {
        // R-45
        async fn check(pieces: &[&str], expected: &[&str]) {
            let (mut reader, _) = fed(4, pieces, Then::Eof);
            let mut lines = reader.lines();
            let mut read = Vec::new();
            while let Some(line) = lines.next().await {
                read.push(String::from_utf8(line.expect("a line").to_vec()).expect("a text"));
            }
            assert_eq!(read, expected, "{pieces:?}");
            assert!(lines.next().await.is_none());
        }
        check(&["a\nb\n"], &["a\n", "b\n"]).await;
        check(&["a\n\nb"], &["a\n", "\n", "b"]).await;
        check(&["a", "b\nc"], &["ab\n", "c"]).await;
        check(&["abc"], &["abc"]).await;
        check(&[], &[]).await;
    });
}

#[test]
fn lines_wait_for_what_has_not_come() {
    run(async {
        // R-45
        let (mut reader, feeder) = fed(4, &["a\nb"], Then::Open);
        let mut lines = reader.lines();
        assert_eq!(lines.next().await.expect("a line").expect("a line"), "a\n");
        assert!(poll_once(lines.next()).await.is_none());
        feeder.feed_data(b"c\n");
        assert_eq!(lines.next().await.expect("a line").expect("a line"), "bc\n");
        assert!(poll_once(lines.next()).await.is_none());
        feeder.feed_eof();
        assert!(lines.next().await.is_none());
    });
}

#[test]
fn a_feeder_outlives_its_reader() {
    let (reader, feeder) = fed(4, &["abc"], Then::Open);
    drop(reader);
    feeder.feed_data(&[b'x'; 1000]);
    feeder.set_exception(trouble());
    feeder.feed_eof();
}
