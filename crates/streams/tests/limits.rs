//! How long a line may be: what an overrun says, that it takes nothing, and how to go on behind it.

#![cfg(not(windows))]

use std::io;

use futures_lite::StreamExt;
use proptest::prelude::*;
use tidegate_streams::{LimitOverrunError, ReadUntilError, StreamReader};
use tidegate_testkit::run;

mod support;
use support::Answer::{FoundBehind, NotFound, Skipped, Waits};
use support::{Answer, Read, Then, begun, data, ended, fed, incomplete, inner, left};

/// Reads up to one of `separators` from a reader with this limit; what it does not take is still there.
async fn check(limit: usize, text: &str, then: Then, separators: &[&str], expected: Answer) {
    let (mut reader, feeder) = fed(limit, &[text], then);
    let case = format!("{text:?} up to {separators:?} within {limit}, {then:?}");
    let answer = Read::Until(separators).now(&mut reader).await;
    assert_eq!(answer, expected, "{case}");
    let taken = match &answer {
        Answer::Data(taken) | Answer::Incomplete(taken, _) => taken.len(),
        // R-32: an overrun leaves everything where it is
        _ => 0,
    };
    assert_eq!(left(&mut reader).await, text[taken..], "{case}");
    // The limit of one read counts as the reader's own does.
    let (mut reader, _) = fed(1000, &[text], then);
    let answer = Read::UntilWithin(limit, separators).now(&mut reader).await;
    assert_eq!(answer, expected, "{case}, for one read");
    drop(feeder);
}

#[test]
fn an_overrun_says_how_much_can_be_read() {
    run(async {
        use Then::{Eof, Open};
        // R-33
        check(3, "abc", Open, &["A"], Waits).await;
        check(3, "abcA", Open, &["A"], data("abcA")).await;
        check(3, "abcd", Open, &["A"], NotFound { consumed: 4 }).await;
        check(3, "abcdA", Open, &["A"], FoundBehind { consumed: 4 }).await;
        check(3, "abcd", Open, &["XY"], Waits).await;
        check(3, "abcde", Open, &["XY"], NotFound { consumed: 4 }).await;
        check(3, "abcd", Open, &["XYZW"], Waits).await;
        check(3, "abcdef", Open, &["XYZW"], Waits).await;
        check(3, "abcdefg", Open, &["XYZW"], NotFound { consumed: 4 }).await;
        check(3, "some dataAA", Open, &["AAA"], NotFound { consumed: 9 }).await;
        check(3, "some dataAAA", Open, &["AAA"], FoundBehind { consumed: 9 }).await;
        check(3, "some dataA", Open, &["A", "ome dataA"], FoundBehind { consumed: 9 }).await;
        check(3, "some dataA", Open, &["ome dataA", "A"], FoundBehind { consumed: 9 }).await;
        check(3, "some dataA", Open, &["ome dataA"], data("some dataA")).await;
        check(2, "abcdef", Open, &["X", "YYYY"], NotFound { consumed: 3 }).await;
        // R-32, R-33: the limit comes before the end of the stream
        check(3, "abcdef", Eof, &["Z"], NotFound { consumed: 6 }).await;
        check(3, "abcde", Eof, &["XY"], NotFound { consumed: 4 }).await;
        check(3, "abcd", Eof, &["XY"], incomplete("abcd", None)).await;
        check(3, "abc", Eof, &["Z"], incomplete("abc", None)).await;
        check(3, "abcdA", Eof, &["A"], FoundBehind { consumed: 4 }).await;
        check(3, "", Eof, &["Z"], incomplete("", None)).await;
    });
}

#[test]
fn an_overrun_has_the_words_of_asyncio() {
    // R-32
    let texts = [
        (true, "Separator is found, but chunk is longer than limit"),
        (false, "Separator is not found, and chunk exceed the limit"),
    ];
    for (found, text) in texts {
        let overrun = LimitOverrunError { found, consumed: 4 };
        assert_eq!(overrun.to_string(), text);
        let error = io::Error::from(ReadUntilError::LimitOverrun(overrun));
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidData, text.into()));
        assert_eq!(inner(&error), Some(&overrun));
    }
}

#[test]
fn a_line_that_is_too_long_takes_nothing() {
    run(async {
        async fn check(limit: usize, text: &str, then: Then, expected: Answer) {
            let (mut reader, _) = fed(limit, &[text], then);
            let answer = Read::Line.now(&mut reader).await;
            assert_eq!(answer, expected, "{text:?} within {limit}");
            let is_taken = matches!(answer, Answer::Data(_));
            assert_eq!(left(&mut reader).await, if is_taken { "" } else { text }, "{text:?}");
        }
        use Then::{Eof, Open};
        // replaced: R-40, R-41
        check(3, "line1\nline2\n", Open, FoundBehind { consumed: 5 }).await;
        check(3, "line1", Open, NotFound { consumed: 5 }).await;
        check(3, "lin", Open, Waits).await;
        check(7, "1234567\n", Open, data("1234567\n")).await;
        check(7, "12345678\n", Open, FoundBehind { consumed: 8 }).await;
        check(7, "12345678", Open, NotFound { consumed: 8 }).await;
        check(3, "longer", Eof, NotFound { consumed: 6 }).await;
        check(3, "lin", Eof, data("lin")).await;
    });
}

#[test]
fn an_overrun_is_told_as_soon_as_it_is_one() {
    run(async {
        // R-32: a read that waits is told in the middle of the line
        let (reader, feeder) = fed(3, &["abc"], Then::Open);
        let waiting = begun(reader, Read::Line).await;
        feeder.feed_data(b"d");
        assert_eq!(ended(waiting).await, NotFound { consumed: 4 });
    });
}

#[test]
fn the_same_line_overruns_until_something_is_done() {
    run(async {
        // replaced: R-40
        let (mut reader, _) = fed(3, &["line1\nl2\n"], Then::Open);
        for _ in 0..3 {
            assert_eq!(Read::Line.now(&mut reader).await, FoundBehind { consumed: 5 });
        }
        assert_eq!(Read::LineWithin(5).now(&mut reader).await, data("line1\n"));
        assert_eq!(Read::Line.now(&mut reader).await, data("l2\n"));
        // What `consumed` says can be read without a look at the separator.
        let (mut reader, _) = fed(3, &["line1\nl2\n"], Then::Open);
        let Err(ReadUntilError::LimitOverrun(overrun)) = reader.readline().await else {
            panic!("the line is too long");
        };
        assert_eq!(Read::Exactly(overrun.consumed).now(&mut reader).await, data("line1"));
        assert_eq!(Read::Line.now(&mut reader).await, data("\n"));
        assert_eq!(Read::Line.now(&mut reader).await, data("l2\n"));
    });
}

#[test]
fn lines_end_at_an_overrun_and_go_on_behind_it() {
    run(async {
        // replaced: R-40
        let (mut reader, _) = fed(3, &["l1\nlonger\nl2\n"], Then::Eof);
        let mut lines = reader.lines();
        assert_eq!(lines.next().await.expect("a line").expect("a line"), "l1\n");
        let too_long = lines.next().await;
        assert!(matches!(too_long, Some(Err(ReadUntilError::LimitOverrun(_)))));
        assert!(lines.next().await.is_none());
        assert_eq!(Read::Skip("\n").now(&mut reader).await, Skipped(7));
        assert_eq!(reader.lines().next().await.expect("a line").expect("a line"), "l2\n");
    });
}

#[test]
fn skipping_ends_behind_the_separator() {
    run(async {
        async fn check(pieces: &[&str], then: Then, separator: &str, length: usize, rest: &str) {
            let (mut reader, _) = fed(3, pieces, then);
            let skipped = Read::Skip(separator).now(&mut reader).await;
            assert_eq!(skipped, Skipped(length), "{pieces:?} up to {separator:?}");
            assert_eq!(left(&mut reader).await, rest, "{pieces:?} up to {separator:?}");
        }
        use Then::{Eof, Open};
        check(&["a long line\nnext\n"], Open, "\n", 12, "next\n").await;
        check(&["a long", " line\nnext\n"], Open, "\n", 12, "next\n").await;
        check(&["ab\r", "\nc"], Open, "\r\n", 4, "c").await;
        check(&["a\r\r\nb\r\n"], Open, "\r\n", 4, "b\r\n").await;
        check(&["\n"], Open, "\n", 1, "").await;
        // At the end of the stream the rest goes.
        check(&["ab\r"], Eof, "\r\n", 3, "").await;
        check(&[], Eof, "\n", 0, "").await;
        let (mut reader, _) = fed(3, &["abc"], Then::Open);
        let error = reader.skip_until(b"").await.expect_err("nothing to look for");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(left(&mut reader).await, "abc");
    });
}

#[test]
fn skipping_goes_on_over_what_has_not_come() {
    run(async {
        let (mut reader, feeder) = fed(3, &["abc"], Then::Open);
        let task = tidegate_reactor::spawn(async move {
            let skipped = Read::Skip("SEP").of(&mut reader).await;
            (skipped, Read::Some(9).of(&mut reader).await)
        });
        let task = task.expect("a loop");
        for piece in ["def", "S", "ES", "E", "Pnext"] {
            support::turns(2).await;
            assert!(!task.is_finished(), "before {piece:?}");
            feeder.feed_data(piece.as_bytes());
        }
        assert_eq!(ended(task).await, (Skipped(11), data("next")));
    });
}

/// R-32 as it is written, over everything that was fed so far.
fn by_the_rule(fed: &[&[u8]], separators: &[Vec<u8>], limit: usize, then: Then) -> (Answer, usize) {
    let shortest = separators.iter().map(Vec::len).min().expect("a separator");
    let longest = separators.iter().map(Vec::len).max().expect("a separator");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (mut buffer, mut offset) = (Vec::new(), 0);
    let mut pieces = fed.iter();
    let found = loop {
        if buffer.len() - offset >= shortest {
            let ends = separators.iter().filter_map(|separator| {
                let mut windows = buffer[offset..].windows(separator.len());
                let start = offset + windows.position(|window| window == separator)?;
                Some((start + separator.len(), separator.len()))
            });
            if let Some((end, length)) = ends.min() {
                break (end - length, end);
            }
            offset = (buffer.len() + 1).saturating_sub(longest);
            if offset > limit {
                return (NotFound { consumed: offset }, 0);
            }
        }
        match pieces.next() {
            Some(piece) => buffer.extend_from_slice(piece),
            None if then == Then::Eof => {
                return (Answer::Incomplete(text(&buffer), None), buffer.len());
            }
            None => return (Waits, 0),
        }
    };
    match found {
        (start, _) if start > limit => (FoundBehind { consumed: start }, 0),
        (_, end) => (Answer::Data(text(&buffer[..end])), end),
    }
}

fn few_letters(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], length)
}

/// Feeds the pieces one by one to a read that looks after each, which is when the rule looks.
async fn in_pieces(
    reader: &mut StreamReader,
    pieces: &[&[u8]],
    separators: &[Vec<u8>],
    then: Then,
) -> Answer {
    let feeder = reader.feeder();
    let separators: Vec<&str> =
        separators.iter().map(|s| std::str::from_utf8(s).expect("letters")).collect();
    for piece in pieces {
        // The read is dropped and begun again, which makes no difference.
        let answer = Read::Until(&separators).now(reader).await;
        if answer != Waits {
            return answer;
        }
        feeder.feed_data(piece);
    }
    if then == Then::Eof {
        feeder.feed_eof();
    }
    Read::Until(&separators).now(reader).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    // R-31, R-32
    #[test]
    fn every_read_up_to_a_separator_goes_by_the_rule(
        pieces in proptest::collection::vec(few_letters(1..6), 0..6),
        separators in proptest::collection::vec(few_letters(1..5), 1..4),
        limit in 1..12_usize,
        is_ended in any::<bool>(),
    ) {
        let then = if is_ended { Then::Eof } else { Then::Open };
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let (expected, taken) = by_the_rule(&pieces, &separators, limit, then);
        let (answer, rest) = run(async {
            let mut reader = StreamReader::new(limit).expect("a limit");
            let answer = in_pieces(&mut reader, &pieces, &separators, then).await;
            let rest = left(&mut reader).await;
            (answer, rest)
        });
        prop_assert_eq!(&answer, &expected);
        // What was fed when the read had its answer, and the read has not taken.
        let whole = pieces.concat();
        prop_assert!(whole[taken..].starts_with(rest.as_bytes()));
        if answer == Waits {
            prop_assert_eq!(rest.as_bytes(), &whole[..]);
        }
    }
}
