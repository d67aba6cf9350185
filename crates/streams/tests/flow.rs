//! Reading under pressure: when a reader pauses its transport, and when it lets it go on.

#![cfg(not(windows))]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_protocols::{Flow, Protocol, Transport};
use tidegate_reactor::{LoopHandle, spawn};
use tidegate_streams::{Feeder, StreamLimit, StreamReader, open_connection, start_server};
use tidegate_testkit::memory::{PairOptions, pair};
use tidegate_testkit::run;

mod support;
use support::{
    Answer, LOOPBACK, Read, Then, address_of, begun, data, ended, fed, joined, left, poll_once,
    turns,
};

/// A protocol that does nothing.
struct Idle;

impl Protocol for Idle {}

/// A transport that reads, and nothing comes.
async fn transport() -> Transport {
    let handle = LoopHandle::current().expect("a running loop");
    let (transport, _) = pair(&handle, Idle, Idle, PairOptions::default());
    turns(2).await;
    assert!(transport.is_reading());
    transport
}

/// A reader with a limit of 10 that is fed by hand and pauses a transport.
async fn pausing() -> (StreamReader, Feeder, Transport) {
    let (reader, feeder) = fed(10, &[], Then::Open);
    let transport = transport().await;
    feeder.set_transport(&transport);
    (reader, feeder, transport)
}

#[test]
fn more_than_twice_the_limit_pauses() {
    run(async {
        async fn check(sizes: &[usize], expected: bool) {
            let (_reader, feeder, transport) = pausing().await;
            for size in sizes {
                assert!(transport.is_reading(), "before all of {sizes:?}");
                feeder.feed_data(&vec![b'x'; *size]);
            }
            assert_eq!(!transport.is_reading(), expected, "{sizes:?}");
        }
        //
        check(&[20], false).await;
        check(&[21], true).await;
        check(&[19, 1], false).await;
        check(&[20, 1], true).await;
        check(&[1, 1000], true).await;
        check(&[7, 7, 6], false).await;
    });
}

#[test]
fn what_a_read_has_looked_at_counts_still() {
    run(async {
        //
        let (mut reader, feeder, transport) = pausing().await;
        feeder.feed_data(&[b'x'; 20]);
        assert_eq!(Read::Exactly(30).now(&mut reader).await, Answer::Waits);
        feeder.feed_data(b"x");
        assert!(!transport.is_reading());
    });
}

#[test]
fn at_most_the_limit_goes_on() {
    run(async {
        async fn check(text: &str, read: Read<'_>, goes_on: bool) {
            let (mut reader, feeder, transport) = pausing().await;
            feeder.feed_data(text.as_bytes());
            assert!(!transport.is_reading());
            let answer = read.now(&mut reader).await;
            assert_ne!(answer, Answer::Waits, "{read:?}");
            assert_eq!(transport.is_reading(), goes_on, "{read:?} of {text:?}");
        }
        // 11 bytes left do not go on, 10 do
        let (eleven, ten) = ("abcdefghi\n___________", "abcdefghij\n__________");
        for (text, goes_on, length) in [(eleven, false, 10), (ten, true, 11)] {
            check(text, Read::Some(length), goes_on).await;
            check(text, Read::Exactly(length), goes_on).await;
            check(text, Read::Until(&["\n"]), goes_on).await;
            check(text, Read::Until(&["\n", ";"]), goes_on).await;
            check(text, Read::Line, goes_on).await;
            check(text, Read::Skip("\n"), goes_on).await;
        }
        check(eleven, Read::Chunk, true).await;
        check(eleven, Read::Some(0), false).await;
        check(eleven, Read::Exactly(0), false).await;
    });
}

#[test]
fn an_overrun_leaves_the_transport_paused() {
    run(async {
        // R-61, replaced: R-40: nothing was consumed, by a line neither
        for read in [Read::Until(&["\n"]), Read::Until(&["\n", ";"]), Read::Line] {
            for text in ["abcdefghijkl\n________", "abcdefghijklmnopqrstu"] {
                let (mut reader, feeder, transport) = pausing().await;
                feeder.feed_data(text.as_bytes());
                let answer = read.now(&mut reader).await;
                let overrun = matches!(
                    answer,
                    Answer::NotFound { consumed: 21 } | Answer::FoundBehind { consumed: 12 }
                );
                assert!(overrun, "{answer:?}");
                assert!(!transport.is_reading(), "{read:?} of {text:?}");
            }
        }
    });
}

#[test]
fn a_read_that_has_to_wait_goes_on_first() {
    run(async {
        //
        let reads =
            [Read::Exactly(80), Read::Rest, Read::UntilWithin(100, &["\n"]), Read::LineWithin(100)];
        for read in reads {
            let (mut reader, feeder, transport) = pausing().await;
            for _ in 0..3 {
                feeder.feed_data(&[b'x'; 25]);
                assert!(!transport.is_reading());
                assert_eq!(read.now(&mut reader).await, Answer::Waits);
                assert!(transport.is_reading(), "{read:?}");
            }
        }
    });
}

#[test]
fn more_than_twice_the_limit_is_read_over_a_connection() {
    run(async {
        //
        for bytes_at_a_time in [None, Some(1), Some(25)] {
            let options = PairOptions { bytes_at_a_time, ..PairOptions::default() };
            let joined = joined(10, options).await;
            joined.left.1.write(&[b'x'; 500]);
            let reading = begun(joined.right.0, Read::Exactly(500)).await;
            assert_eq!(ended(reading).await, data(&"x".repeat(500)));
        }
    });
}

#[test]
fn what_nobody_reads_stays_on_the_way() {
    run(async {
        //
        let options = PairOptions { bytes_at_a_time: Some(5), ..PairOptions::default() };
        let mut joined = joined(10, options).await;
        joined.left.1.write(&[b'x'; 100]);
        turns(30).await;
        assert!(!joined.line.right.is_reading());
        assert_eq!(joined.line.on_the_way(), 75);
        assert_eq!(Read::Some(14).now(&mut joined.right.0).await, data(&"x".repeat(14)));
        turns(30).await;
        assert_eq!(joined.line.on_the_way(), 75);
        assert_eq!(Read::Some(1).now(&mut joined.right.0).await, data("x"));
        turns(30).await;
        // 10 were left, and three reads of 5 came before it was too much again.
        assert_eq!(joined.line.on_the_way(), 60);
        assert_eq!(left(&mut joined.right.0).await.len(), 25);
    });
}

#[test]
fn a_transport_that_does_not_pause_is_read_without_a_bound() {
    run(async {
        // one that is closing ignores it
        let (mut reader, feeder) = fed(10, &[], Then::Open);
        let transport = transport().await;
        transport.close();
        feeder.set_transport(&transport);
        for _ in 0..100 {
            feeder.feed_data(&[b'x'; 100]);
        }
        assert_eq!(left(&mut reader).await.len(), 10_000);
        feeder.feed_data(b"more");
        assert_eq!(left(&mut reader).await, "more");
        // nor is there one that could pause
        let (mut reader, feeder) = fed(10, &[], Then::Open);
        for _ in 0..100 {
            feeder.feed_data(&[b'x'; 100]);
        }
        feeder.feed_eof();
        assert_eq!(Read::Rest.now(&mut reader).await, data(&"x".repeat(10_000)));
    });
}

#[test]
fn a_reader_takes_one_transport() {
    run(async {
        //
        let (_reader, feeder, transport) = pausing().await;
        let again = catch_unwind(AssertUnwindSafe(|| feeder.set_transport(&transport)));
        let told = *again.expect_err("a panic").downcast::<&str>().expect("a text");
        assert_eq!(told, "Transport already set");
        // Nor does the reader of a connection.
        let joined = joined(10, PairOptions::default()).await;
        let feeder = joined.left.0.feeder();
        let again = catch_unwind(AssertUnwindSafe(|| feeder.set_transport(&transport)));
        assert!(again.is_err());
    });
}

#[test]
fn a_reader_that_is_dropped_lets_the_transport_go_on() {
    run(async {
        // W-17: whether it has looked at what came or not
        for read in [Read::Some(0), Read::Exactly(30)] {
            let (mut reader, feeder, transport) = pausing().await;
            feeder.feed_data(&[b'x'; 25]);
            assert!(!transport.is_reading());
            read.now(&mut reader).await;
            drop(reader);
            assert!(transport.is_reading());
            feeder.feed_data(&[b'x'; 100]);
            assert!(transport.is_reading());
        }
    });
}

#[test]
fn a_peer_that_does_not_read_holds_the_writer_back() {
    static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    run(async {
        // W-10: over sockets, through the buffers of the system
        let (give, given) = std::sync::mpsc::channel();
        let handler = move |reader, writer| give.send((reader, writer)).expect("the test waits");
        let server = start_server(handler, LOOPBACK).limit(1024).await?;
        let (_reader, writer) = open_connection(address_of(&server)).await?;
        let (mut total, mut held_back) = (0, false);
        while !held_back {
            while writer.write(&PIECE) != Flow::Paused {
                total += PIECE.len();
                turns(1).await;
            }
            total += PIECE.len();
            // The system may take more than it does at once.
            held_back = true;
            for _ in 0..100 {
                held_back &= poll_once(writer.drain()).await.is_none();
                turns(1).await;
            }
        }
        let (mut reader, _writer) = given.try_recv().expect("a client");
        let reading = spawn(async move {
            let all = reader.readexactly(total).await?;
            Ok::<_, io::Error>(all.len())
        });
        writer.drain().await?;
        assert_eq!(ended(reading?).await?, total);
        Ok::<(), io::Error>(())
    })
    .expect("a connection that holds");
}
