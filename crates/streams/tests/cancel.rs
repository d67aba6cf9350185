//! Dropping reads: whenever the future of a read is dropped, no byte is lost.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_lite::{AsyncBufReadExt, AsyncReadExt, StreamExt};
use tidegate_streams::{StreamReader, StreamWriter};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::run;

mod support;
use support::{Answer, Joined, Read, Then, fed, joined, poll_once, turns};

/// Three lines of several lengths, one empty, and a last one without an end.
const TEXT: &str = "a line, which is longer than a piece\n\nab,cd,ef\nthe last; one";

/// A way to read, which answers nothing but the bytes it has taken.
#[derive(Clone, Copy, Debug)]
enum Way {
    Data(Read<'static>),
    Lines,
    Into,
    Filled,
}

const WAYS: &[Way] = &[
    Way::Data(Read::Some(3)),
    Way::Data(Read::Chunk),
    Way::Data(Read::Rest),
    Way::Data(Read::Exactly(7)),
    Way::Data(Read::Until(&[","])),
    Way::Data(Read::Until(&[",", "ich", ";"])),
    Way::Data(Read::UntilWithin(50, &["\n"])),
    Way::Data(Read::Line),
    Way::Lines,
    Way::Into,
    Way::Filled,
];

impl Way {
    /// Reads; what was taken is appended. False at the end.
    async fn read(self, reader: &mut StreamReader, taken: &mut Vec<u8>) -> bool {
        match self {
            Way::Data(read) => match read.of(reader).await {
                Answer::Data(text) => {
                    taken.extend_from_slice(text.as_bytes());
                    !text.is_empty()
                }
                Answer::Incomplete(partial, _) => {
                    taken.extend_from_slice(partial.as_bytes());
                    false
                }
                other => panic!("{other:?}"),
            },
            Way::Lines => match reader.lines().next().await {
                Some(line) => {
                    taken.extend_from_slice(&line.expect("a line"));
                    true
                }
                None => false,
            },
            Way::Into => {
                let mut into = [0; 5];
                let length = AsyncReadExt::read(reader, &mut into).await.expect("data");
                taken.extend_from_slice(&into[..length]);
                length > 0
            }
            Way::Filled => {
                let there = reader.fill_buf().await.expect("data");
                let length = there.len().min(4);
                taken.extend_from_slice(&there[..length]);
                reader.consume(length);
                length > 0
            }
        }
    }

    /// Polls reads once and drops them, until one has to wait or is at the end.
    async fn read_what_is_there(self, reader: &mut StreamReader, taken: &mut Vec<u8>) -> bool {
        loop {
            match poll_once(self.read(reader, taken)).await {
                Some(true) => {}
                Some(false) => return false,
                None => return true,
            }
        }
    }
}

/// The pieces of a text, each of this many bytes.
fn pieces(length: usize) -> impl Iterator<Item = &'static [u8]> {
    TEXT.as_bytes().chunks(length)
}

#[test]
fn a_read_that_is_dropped_at_any_poll_loses_nothing() {
    run(async {
        for way in WAYS {
            for length in [1, 2, 3, 7, 100] {
                let (mut reader, feeder) = fed(64, &[], Then::Open);
                let mut taken = Vec::new();
                for piece in pieces(length) {
                    assert!(way.read_what_is_there(&mut reader, &mut taken).await);
                    feeder.feed_data(piece);
                    turns(1).await;
                }
                assert!(way.read_what_is_there(&mut reader, &mut taken).await);
                feeder.feed_eof();
                turns(1).await;
                assert!(!way.read_what_is_there(&mut reader, &mut taken).await);
                assert_eq!(taken, TEXT.as_bytes(), "{way:?}, {length} bytes at a time");
            }
        }
    });
}

#[test]
fn reads_of_all_kinds_may_be_dropped_in_turn() {
    run(async {
        for length in [1, 2, 5] {
            let (mut reader, feeder) = fed(64, &[], Then::Open);
            let mut taken = Vec::new();
            for (number, piece) in pieces(length).enumerate() {
                // Whether each has to wait depends on what the others have left.
                for turn in 0..WAYS.len() {
                    let way = WAYS[(number + turn) % WAYS.len()];
                    let _ready = poll_once(way.read(&mut reader, &mut taken)).await;
                }
                feeder.feed_data(piece);
                turns(1).await;
            }
            taken.extend_from_slice(support::left(&mut reader).await.as_bytes());
            assert_eq!(taken, TEXT.as_bytes(), "{length} bytes at a time");
        }
    });
}

#[test]
fn a_read_that_makes_room_for_others_may_be_dropped() {
    run(async {
        for way in WAYS.iter().filter(|way| !matches!(way, Way::Data(Read::Rest | Read::Chunk))) {
            let (mut reader, feeder) = fed(10_000, &[], Then::Open);
            let lines = "line,\n".repeat(1000);
            feeder.feed_data(lines.as_bytes());
            feeder.feed_eof();
            let (mut taken, mut dropped) = (Vec::new(), 0);
            // All of it is there: a read has to wait only because others are due, and is dropped for that.
            while way.read_what_is_there(&mut reader, &mut taken).await {
                dropped += 1;
                turns(1).await;
            }
            assert!(dropped > 0, "{way:?}");
            assert_eq!(taken.len(), lines.len(), "{way:?}");
            assert_eq!(taken, lines.as_bytes(), "{way:?}");
        }
    });
}

#[test]
fn a_read_that_makes_room_for_others_goes_on_where_it_was() {
    run(async {
        for way in WAYS.iter().filter(|way| !matches!(way, Way::Data(Read::Rest | Read::Chunk))) {
            let (mut reader, feeder) = fed(10_000, &[], Then::Open);
            let lines = "line,\n".repeat(1000);
            feeder.feed_data(lines.as_bytes());
            feeder.feed_eof();
            let shared = Rc::new(RefCell::new(Vec::new()));
            let keep = shared.clone();
            let reading = tidegate_reactor::spawn(async move {
                let mut taken = Vec::new();
                let (mut longest, mut goes_on) = (0, true);
                while goes_on {
                    goes_on = way.read(&mut reader, &mut taken).await;
                    longest = longest.max(taken.len());
                    keep.borrow_mut().append(&mut taken);
                }
                longest
            });
            // Others come to their turn in the meantime.
            turns(2).await;
            let read = shared.borrow().len();
            assert!(0 < read && read < lines.len(), "{way:?} has read {read}");
            let longest = reading.expect("a loop").await.expect("a task that ends by itself");
            assert!(longest <= 7, "{way:?} has read {longest} at once");
            assert!(*shared.borrow() == lines.as_bytes(), "{way:?}");
        }
    });
}

#[test]
fn a_read_of_a_connection_may_be_dropped_at_any_poll() {
    run(async {
        for way in WAYS {
            for bytes_at_a_time in [1, 3] {
                let options = PairOptions {
                    bytes_at_a_time: Some(bytes_at_a_time),
                    ..PairOptions::default()
                };
                let Joined { line: _line, left: (_reader, writer), right: (mut reader, _peer) } =
                    joined(60, options).await;
                writer.write(TEXT.as_bytes());
                writer.write_eof().expect("a direction that ends on its own");
                let mut taken = Vec::new();
                while way.read_what_is_there(&mut reader, &mut taken).await {
                    turns(1).await;
                }
                assert_eq!(taken, TEXT.as_bytes(), "{way:?}, {bytes_at_a_time} bytes at a time");
            }
        }
    });
}

#[test]
fn what_a_dropped_skip_has_left_is_skipped_by_the_next() {
    run(async {
        for length in 1..5 {
            let (mut reader, feeder) = fed(64, &[], Then::Open);
            let mut skips = 0;
            for piece in b"SESESEPone SESEPtwo".chunks(length) {
                while skips < 2 && poll_once(reader.skip_until(b"SEP")).await.is_some() {
                    skips += 1;
                    let _read: Option<Bytes> =
                        poll_once(reader.readuntil(b"one ")).await.and_then(Result::ok);
                }
                feeder.feed_data(piece);
            }
            feeder.feed_eof();
            while skips < 2 {
                reader.skip_until(b"SEP").await.expect("a separator");
                skips += 1;
            }
            assert_eq!(support::left(&mut reader).await, "two", "{length} bytes at a time");
        }
    });
}

#[test]
fn a_wait_for_the_end_may_be_dropped_at_any_poll() {
    run(async {
        async fn ended(writer: &StreamWriter) -> bool {
            poll_once(writer.wait_closed()).await.is_some()
        }
        let Joined { line: _line, left: (_reader, writer), right: _right } =
            joined(64, PairOptions::default()).await;
        writer.write(TEXT.as_bytes());
        // The close is begun by the call, whatever becomes of its future.
        drop(writer.close());
        support::until(|| writer.is_closing()).await;
        while !ended(&writer).await {
            turns(1).await;
        }
    });
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_counts() {
    run(async {
        let (mut reader, feeder) = fed(64, &[], Then::Open);
        // One task has polled and gone away; another one waits now.
        let wakes = std::sync::Arc::new(support::Wakes::default());
        let waker = wakes.clone().into();
        let mut context = std::task::Context::from_waker(&waker);
        let mut read = Box::pin(reader.read(9));
        assert!(read.as_mut().poll(&mut context).is_pending());
        let fed = tidegate_reactor::spawn(async move { feeder.feed_data(b"data") });
        let got = poll_fn(|context| match read.as_mut().poll(context) {
            Poll::Ready(got) => Poll::Ready(got),
            Poll::Pending => Poll::Pending,
        });
        assert_eq!(got.await.expect("data"), "data");
        assert_eq!(wakes.count(), 0);
        fed.expect("a loop").await.expect("a task that ends by itself");
    });
}
