//! Readers and writers as the futures ecosystem uses them, alone and as a pair.

#![cfg(not(windows))]

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use futures_lite::io::copy;
use futures_lite::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt};
use tidegate_protocols::Flow;
use tidegate_reactor::spawn;
use tidegate_streams::{StreamPair, open_connection, start_server};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::run;

mod support;
use support::{
    Answer, Joined, LOOPBACK, Read, Then, address_of, data, ended, fed, joined, narrow, poll_once,
    trouble, turns,
};

/// More than any buffer holds.
const MUCH: usize = 1_000_000;

#[test]
fn what_is_copied_arrives_whole() {
    run(async {
        for bytes_at_a_time in [None, Some(1), Some(1000)] {
            let length = if bytes_at_a_time == Some(1) { 5_000 } else { MUCH };
            let options = PairOptions { bytes_at_a_time, ..PairOptions::default() };
            let Joined { line: _line, left: (_reader, mut writer), right: (mut reader, _peer) } =
                joined(1000, options).await;
            let sent: Vec<u8> = (0..length).map(|number| number as u8).collect();
            let sending = sent.clone();
            let task = spawn(async move {
                let copied = copy(&sending[..], &mut writer).await?;
                writer.close().await?;
                Ok::<_, io::Error>((copied, writer))
            });
            let mut received = Vec::new();
            copy(&mut reader, &mut received).await.expect("a connection that holds");
            assert!(received == sent, "{bytes_at_a_time:?} bytes at a time");
            let (copied, _writer) = ended(task.expect("a loop")).await.expect("it is sent");
            assert_eq!(copied, length as u64);
        }
    });
}

#[test]
fn reads_take_what_is_there() {
    run(async {
        let (mut reader, feeder) = fed(4, &["abcdef"], Then::Open);
        let mut into = [0; 4];
        assert_eq!(AsyncReadExt::read(&mut reader, &mut []).await.unwrap(), 0);
        assert_eq!(AsyncReadExt::read(&mut reader, &mut into).await.unwrap(), 4);
        assert_eq!(&into, b"abcd");
        assert_eq!(AsyncReadExt::read(&mut reader, &mut into).await.unwrap(), 2);
        assert_eq!(&into[..2], b"ef");
        assert!(poll_once(AsyncReadExt::read(&mut reader, &mut into)).await.is_none());
        feeder.feed_eof();
        assert_eq!(AsyncReadExt::read(&mut reader, &mut into).await.unwrap(), 0);
        assert_eq!(reader.fill_buf().await.unwrap(), b"");
    });
}

#[test]
fn what_is_filled_stays_until_it_is_consumed() {
    run(async {
        let (mut reader, feeder) = fed(4, &["a,b\n"], Then::Open);
        assert_eq!(reader.fill_buf().await.unwrap(), b"a,b\n");
        assert_eq!(Read::Until(&[","]).now(&mut reader).await, data("a,"));
        assert_eq!(reader.fill_buf().await.unwrap(), b"b\n");
        reader.consume(1);
        assert_eq!(Read::Until(&[","]).now(&mut reader).await, Answer::Waits);
        feeder.feed_data(b"c,d\nrest");
        assert_eq!(reader.fill_buf().await.unwrap(), b"\nc,d\nrest");
        reader.consume(0);
        assert_eq!(Read::Line.now(&mut reader).await, data("\n"));
        let mut line = String::new();
        reader.read_line(&mut line).await.expect("a line");
        assert_eq!(line, "c,d\n");
        assert_eq!(Read::Chunk.now(&mut reader).await, data("rest"));
        assert!(poll_once(reader.fill_buf()).await.is_none());
    });
}

#[test]
fn what_was_filled_is_there_at_a_second_look() {
    run(async {
        // However much of its share the step has used up: whoever fills looks twice.
        for then in [Then::Open, Then::Eof] {
            for used in 0..=128 {
                let more = if then == Then::Open { 1 } else { 0 };
                let (mut reader, _feeder) = fed(4, &["a".repeat(used + more).as_str()], then);
                turns(1).await;
                for _ in 0..used {
                    assert_eq!(reader.read(1).await.unwrap(), "a");
                }
                assert_eq!(reader.fill_buf().await.unwrap().len(), more);
            }
        }
    });
}

#[test]
fn filling_and_consuming_makes_room_for_others() {
    run(async {
        let (mut reader, _feeder) = fed(4, &["x".repeat(MUCH).as_str()], Then::Eof);
        let consumed = Rc::new(Cell::new(0));
        let count = consumed.clone();
        let reading = spawn(async move {
            while !reader.fill_buf().await?.is_empty() {
                reader.consume(1);
                count.set(count.get() + 1);
            }
            Ok::<_, io::Error>(())
        });
        turns(10).await;
        assert!(0 < consumed.get() && consumed.get() < MUCH / 2, "{}", consumed.get());
        ended(reading.expect("a loop")).await.expect("the end");
        assert_eq!(consumed.get(), MUCH);
    });
}

#[test]
fn writing_makes_room_for_others() {
    run(async {
        let Joined { line: _line, left: (_reader, mut writer), right: _right } =
            joined(1000, PairOptions::default()).await;
        let written = Rc::new(Cell::new(0));
        let count = written.clone();
        let writing = spawn(async move {
            for _ in 0..1000 {
                writer.write_all(b"x").await?;
                count.set(count.get() + 1);
            }
            Ok::<_, io::Error>(writer)
        });
        turns(2).await;
        assert!(0 < written.get() && written.get() < 500, "{}", written.get());
        ended(writing.expect("a loop")).await.expect("it is sent");
        assert_eq!(written.get(), 1000);
    });
}

#[test]
fn a_write_takes_no_more_than_it_should() {
    run(async {
        async fn check(sizes: &[usize], expected: usize) {
            let Joined { line: _line, left: (_reader, mut writer), right: (mut reader, _peer) } =
                joined(1000, PairOptions::default()).await;
            let data = vec![b'x'; 200_000];
            let slices: Vec<_> =
                sizes.iter().map(|size| io::IoSlice::new(&data[..*size])).collect();
            let taken = match &slices[..] {
                [one] => AsyncWriteExt::write(&mut writer, one).await,
                _ => writer.write_vectored(&slices).await,
            };
            assert_eq!(taken.expect("an open flow"), expected, "{sizes:?}");
            writer.write_eof().expect("a direction that ends on its own");
            assert_eq!(reader.read_to_end().await.expect("the end").len(), expected, "{sizes:?}");
        }
        check(&[0], 0).await;
        check(&[65_536], 65_536).await;
        check(&[65_537], 65_536).await;
        check(&[200_000], 65_536).await;
        check(&[100, 200], 300).await;
        check(&[60_000, 10_000, 10], 65_536).await;
        check(&[100_000, 10], 65_536).await;
    });
}

#[test]
fn what_is_consumed_lets_the_transport_go_on() {
    run(async {
        //
        let Joined { line, left: (_reader, writer), right: (mut reader, _peer) } =
            joined(10, PairOptions::default()).await;
        writer.write(&[b'x'; 21]);
        turns(3).await;
        assert!(!line.right.is_reading());
        assert_eq!(reader.fill_buf().await.unwrap().len(), 21);
        reader.consume(10);
        assert!(!line.right.is_reading());
        reader.consume(1);
        assert!(line.right.is_reading());
    });
}

#[test]
fn an_error_comes_after_what_came_before_it() {
    run(async {
        // replaced: R-04
        let Joined { line, left: (_reader, writer), right: (mut reader, peer) } =
            joined(10, PairOptions::default()).await;
        writer.write(b"abc");
        turns(3).await;
        line.reset();
        peer.wait_closed().await.expect_err("a reset");
        let mut into = [0; 10];
        assert_eq!(AsyncReadExt::read(&mut reader, &mut into).await.unwrap(), 3);
        for _ in 0..2 {
            let error = AsyncReadExt::read(&mut reader, &mut into).await.expect_err("the loss");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let error = reader.fill_buf().await.expect_err("the loss");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        // one set by hand does not wait
        let (mut reader, feeder) = fed(4, &["abc"], Then::Open);
        feeder.set_exception(trouble());
        let error = AsyncReadExt::read(&mut reader, &mut into).await.expect_err("the error");
        assert_eq!(error.kind(), trouble().kind());
        let error = reader.fill_buf().await.expect_err("the error");
        assert_eq!(error.kind(), trouble().kind());
    });
}

#[test]
fn a_write_waits_while_the_flow_is_paused() {
    run(async {
        let Joined { line, left: (_reader, mut writer), right: (mut reader, _peer) } =
            narrow(10).await;
        // The one that pauses the flow is taken whole.
        assert_eq!(AsyncWriteExt::write(&mut writer, &[b'a'; 30]).await.unwrap(), 30);
        assert_eq!(writer.transport().flow(), Flow::Paused);
        let unsent = writer.transport().get_write_buffer_size();
        for _ in 0..3 {
            assert!(poll_once(AsyncWriteExt::write(&mut writer, b"b")).await.is_none());
            let slices = [io::IoSlice::new(b"b"), io::IoSlice::new(b"c")];
            assert!(poll_once(writer.write_vectored(&slices)).await.is_none());
            turns(1).await;
        }
        assert_eq!(writer.transport().get_write_buffer_size(), unsent);
        let task = spawn(async move {
            let slices = [io::IoSlice::new(b"b"), io::IoSlice::new(b""), io::IoSlice::new(b"c")];
            assert_eq!(writer.write_vectored(&slices).await?, 2);
            writer.flush().await?;
            Ok::<_, io::Error>(writer)
        });
        turns(3).await;
        line.right.resume_reading();
        let writer = ended(task.expect("a loop")).await.expect("it is sent");
        assert_eq!(writer.transport().get_write_buffer_size(), 0);
        let expected = format!("{}bc", "a".repeat(30));
        assert_eq!(Read::Exactly(32).of(&mut reader).await, data(&expected));
    });
}

#[test]
fn what_is_unsent_stays_below_the_mark_and_one_write() {
    run(async {
        let Joined { line, left: (_reader, mut writer), right: (mut reader, _peer) } =
            narrow(100).await;
        line.right.resume_reading();
        let task = spawn(async move {
            for _ in 0..1000 {
                writer.write_all(&[b'x'; 70]).await?;
                assert!(writer.transport().get_write_buffer_size() <= 170);
            }
            AsyncWriteExt::close(&mut writer).await?;
            Ok::<_, io::Error>(writer)
        });
        assert_eq!(reader.read_to_end().await.expect("the end").len(), 70_000);
        ended(task.expect("a loop")).await.expect("it is sent");
    });
}

#[test]
fn a_flush_waits_until_everything_is_sent() {
    run(async {
        let Joined { line, left: (_reader, mut writer), right: (mut reader, _peer) } =
            narrow(10).await;
        AsyncWriteExt::write(&mut writer, &[b'x'; 15]).await.expect("an open flow");
        // Below the mark: a drain would not wait, and a flush does.
        assert!(matches!(poll_once(writer.drain()).await, Some(Ok(()))));
        for _ in 0..3 {
            assert!(poll_once(AsyncWriteExt::flush(&mut writer)).await.is_none());
            turns(1).await;
        }
        line.right.resume_reading();
        AsyncWriteExt::flush(&mut writer).await.expect("everything is sent");
        assert_eq!(writer.transport().get_write_buffer_size(), 0);
        assert_eq!(Read::Exactly(15).of(&mut reader).await, data(&"x".repeat(15)));
    });
}

#[test]
fn closing_waits_until_everything_is_sent() {
    run(async {
        let Joined { line, left: (_reader, mut writer), right: (mut reader, _peer) } =
            narrow(10).await;
        AsyncWriteExt::write(&mut writer, &[b'x'; 15]).await.expect("an open flow");
        for _ in 0..3 {
            assert!(poll_once(AsyncWriteExt::close(&mut writer)).await.is_none());
            turns(1).await;
        }
        line.right.resume_reading();
        AsyncWriteExt::close(&mut writer).await.expect("everything is sent");
        assert_eq!(writer.get_write_buffer_size(), 0);
        assert_eq!(Read::Rest.of(&mut reader).await, data(&"x".repeat(15)));
    });
}

#[test]
fn a_wait_of_one_kind_may_follow_one_of_another() {
    run(async {
        let Joined { line, left: (_reader, mut writer), right: (mut reader, _peer) } =
            narrow(10).await;
        writer.write(&[b'x'; 40]);
        // A flush that has waited is given up for a write, and that for a flush.
        assert!(poll_once(AsyncWriteExt::flush(&mut writer)).await.is_none());
        assert!(poll_once(AsyncWriteExt::write(&mut writer, b"y")).await.is_none());
        assert!(poll_once(AsyncWriteExt::flush(&mut writer)).await.is_none());
        let task = spawn(async move {
            writer.write_all(b"y").await?;
            AsyncWriteExt::flush(&mut writer).await?;
            Ok::<_, io::Error>(writer)
        });
        turns(3).await;
        line.right.resume_reading();
        let writer = ended(task.expect("a loop")).await.expect("it is sent");
        let expected = format!("{}y", "x".repeat(40));
        assert_eq!(Read::Exactly(41).of(&mut reader).await, data(&expected));
        drop(writer);
    });
}

#[test]
fn closing_ends_the_writing_direction_alone() {
    run(async {
        let Joined { line: _line, left: (mut reader, mut writer), right: (mut peer, answering) } =
            joined(100, PairOptions::default()).await;
        writer.write_all(b"a question").await.expect("an open flow");
        AsyncWriteExt::close(&mut writer).await.expect("everything is sent");
        assert_eq!(peer.read_to_end().await.expect("the end"), "a question");
        assert!(!writer.is_closing());
        answering.write(b"an answer");
        assert_eq!(Read::Some(100).of(&mut reader).await, data("an answer"));
        // Nothing can be written any more, and that is told.
        let error = AsyncWriteExt::write(&mut writer, b"more").await.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        AsyncWriteExt::close(&mut writer).await.expect("it is closed");
        // Where a direction cannot end on its own the connection ends.
        let options = PairOptions { half_close: false, ..PairOptions::default() };
        let Joined { line: _line, left: (_reader, mut writer), right: (mut peer, _peer_writer) } =
            joined(100, options).await;
        writer.write_all(b"a question").await.expect("an open flow");
        AsyncWriteExt::close(&mut writer).await.expect("everything is sent");
        assert!(writer.is_closing());
        assert_eq!(peer.read_to_end().await.expect("the end"), "a question");
    });
}

#[test]
fn writes_after_the_loss_fail() {
    run(async {
        let Joined { line, left: (_reader, mut writer), right: _right } = narrow(10).await;
        writer.write(&[b'x'; 30]);
        assert!(poll_once(AsyncWriteExt::write(&mut writer, b"y")).await.is_none());
        let task = spawn(async move {
            let error = AsyncWriteExt::write(&mut writer, b"y").await.expect_err("a loss");
            (error.kind(), writer)
        });
        turns(3).await;
        line.reset();
        let (kind, mut writer) = ended(task.expect("a loop")).await;
        assert_eq!(kind, io::ErrorKind::ConnectionReset);
        for _ in 0..2 {
            let error = AsyncWriteExt::write(&mut writer, b"y").await.expect_err("a loss");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let error = AsyncWriteExt::flush(&mut writer).await.expect_err("bytes were lost");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_pair_reads_and_writes() {
    run(async {
        let shout = async |reader, writer| {
            let mut peer = StreamPair::new(reader, writer);
            let mut line = String::new();
            peer.read_line(&mut line).await?;
            assert_eq!(peer.fill_buf().await?, b"");
            let shouted = line.to_uppercase();
            let slices = [io::IoSlice::new(shouted.as_bytes()), io::IoSlice::new(b"!\n")];
            peer.write_vectored(&slices).await?;
            peer.flush().await?;
            peer.close().await
        };
        let server = start_server(shout, LOOPBACK).await?;
        let mut peer = StreamPair::from(open_connection(address_of(&server)).await?);
        peer.write_all(b"hello\n").await?;
        peer.close().await?;
        let lines: Vec<String> =
            (&mut peer).lines().collect::<Vec<_>>().await.into_iter().collect::<Result<_, _>>()?;
        assert_eq!(lines, ["HELLO", "!"]);
        let (reader, writer) = peer.split();
        assert!(reader.at_eof());
        writer.close().await
    })
    .expect("a connection to ourselves");
}
