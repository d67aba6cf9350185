//! How much of the data a reader looks at, which cannot be seen from outside.

use std::pin::pin;
use std::task::Waker;

use futures_core::Stream;
use proptest::prelude::*;

use super::*;
use crate::ReadUntilError;
use crate::scan::tests::searched;

/// How the lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Line,
    Separators,
    Lines,
}

/// Reads all lines of `text`, which comes in pieces of these lengths; answers how many bytes were searched.
fn read_lines(text: &[u8], lengths: &[usize], by: By) -> (Vec<u8>, usize) {
    let before = searched();
    let mut reader = StreamReader::new(1024).expect("a limit");
    let feeder = reader.feeder();
    let mut context = Context::from_waker(Waker::noop());
    let (mut rest, mut lengths) = (text, lengths.iter().cycle());
    let mut feed = || match rest.len() {
        0 => feeder.feed_eof(),
        left => {
            let (piece, others) = rest.split_at(left.min(*lengths.next().expect("a length")));
            rest = others;
            feeder.feed_data(piece);
        }
    };
    let mut read = Vec::new();
    if by == By::Lines {
        let mut lines = pin!(reader.lines());
        loop {
            match lines.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(line)) => read.extend_from_slice(&line.expect("a line")),
                Poll::Ready(None) => break,
                Poll::Pending => feed(),
            }
        }
        return (read, searched() - before);
    }
    loop {
        let separators: &[&[u8]] = &[b"\n", b"\r\n", b"bb\n"];
        let line = match by {
            By::Line => reader.readline(),
            _ => reader.readuntil_any(separators),
        };
        let mut line = pin!(line);
        let answer = loop {
            match line.as_mut().poll(&mut context) {
                Poll::Ready(answer) => break answer,
                Poll::Pending => feed(),
            }
        };
        match answer {
            Ok(line) if line.is_empty() => break,
            Ok(line) => read.extend_from_slice(&line),
            Err(ReadUntilError::Incomplete(error)) => {
                read.extend_from_slice(&error.partial);
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (read, searched() - before)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_is_looked_at_twice(
        text in proptest::collection::vec(prop_oneof![4 => Just(b'a'), 2 => Just(b'b'), 1 => Just(b'\r'), 1 => Just(b'\n')], 0..200),
        lengths in proptest::collection::vec(1..20_usize, 1..10),
    ) {
        for by in [By::Line, By::Separators, By::Lines] {
            let (read, looked_at) = read_lines(&text, &lengths, by);
            prop_assert_eq!(&read, &text);
            prop_assert!(looked_at <= text.len(), "{:?}: {} of {}", by, looked_at, text.len());
            // Who counts is asked.
            prop_assert!(looked_at >= read.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
        }
    }
}
