//! Streams over pipes: one direction each, or both.

#![cfg(not(windows))]

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use tidegate_protocols::{Flow, Pipe, PipeKind, Protocol};
use tidegate_reactor::spawn;
use tidegate_streams::{
    LimitError, StreamLimit, StreamReaderProtocol, open_pipes, open_read_pipe, open_write_pipe,
};
use tidegate_testkit::{alone, open_descriptors, run, watched};
use tidegate_transports::{connect_read_pipe, connect_write_pipe};

mod support;
use support::{inner, poll_once, turns, until};

struct Idle;
impl Protocol for Idle {}

// P-05 P-06
#[test]
fn a_pipe_is_read_to_its_end() {
    run(async {
        let (read, mut write) = io::pipe()?;
        let mut reader = open_read_pipe(read).limit(100).await?;
        assert_eq!(reader.limit(), 100);
        write.write_all(b"one\ntwo\nthree")?;
        drop(write);
        assert_eq!(reader.readline().await?, "one\n");
        assert_eq!(reader.readexactly(2).await?, "tw");
        assert_eq!(reader.read_to_end().await?, "o\nthree");
        assert!(reader.at_eof());
        io::Result::Ok(())
    })
    .expect("a run");
}

#[test]
fn a_pipe_that_somebody_else_has_opened_gets_streams() {
    run(async {
        let (read, write) = io::pipe()?;
        let opened = connect_read_pipe(|| Idle, read).await?;
        assert!(StreamReaderProtocol::reading(&opened, 0).is_err());
        let (mut reader, protocol) = StreamReaderProtocol::reading(&opened, 100)?;
        opened.set_protocol(protocol);
        let sink = connect_write_pipe(|| Idle, write).await?;
        let (writer, protocol) = StreamReaderProtocol::writing(&sink);
        sink.set_protocol(protocol);
        assert_eq!(reader.limit(), 100);
        // More than the pipe holds and more than the high limit: the drain waits for the reader.
        writer.write_bytes(vec![b'x'; 500_000].into());
        assert!(poll_once(writer.drain()).await.is_none());
        assert_eq!(reader.readexactly(450_000).await?.len(), 450_000);
        writer.drain().await?;
        // Whoever has opened it may close it.
        sink.close();
        assert_eq!(reader.read_to_end().await?.len(), 50_000);
        assert!(writer.wait_closed().await.is_ok());
        assert_eq!(writer.drain().await.expect_err("gone").kind(), ErrorKind::ConnectionReset);
        io::Result::Ok(())
    })
    .expect("a run");
}

// P-09: nobody else could close it.
#[test]
fn a_reader_that_is_dropped_closes_its_pipe() {
    watched(|| {
        let _alone = alone();
        run(async {
            let (read, mut write) = io::pipe()?;
            let counted = open_descriptors();
            let mut reader = open_read_pipe(read).await?;
            write.write_all(b"line\nnever read\n")?;
            assert_eq!(reader.readline().await?, "line\n");
            drop(reader);
            until(|| open_descriptors() < counted).await;
            let refused = write.write_all(b"anyone there?").expect_err("it is closed");
            assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
            io::Result::Ok(())
        })
        .expect("a run");
    });
}

// replaced: P-15 P-16
// P-17
#[test]
fn a_writer_waits_for_a_slow_reader_and_closes_with_everything_sent() {
    run(async {
        let (read, write) = io::pipe()?;
        let mut reader = open_read_pipe(read).await?;
        let writer = open_write_pipe(write).await?;
        let pipe = Pipe { read: None, write: Some(PipeKind::Fifo) };
        assert_eq!(writer.get_extra_info(), Some(pipe));
        let sending = spawn(async move {
            for number in 0..200_000_u32 {
                writer.write(&number.to_be_bytes());
                writer.drain().await?;
            }
            let closing = writer.close();
            assert_eq!(writer.write(b"late"), Flow::Closed);
            closing.await
        })?;
        turns(10).await;
        for number in 0..200_000_u32 {
            assert_eq!(reader.readexactly(4).await?, number.to_be_bytes().as_slice());
        }
        assert_eq!(reader.read_to_end().await?, "");
        sending.await?
    })
    .expect("a run");
}

// P-18 P-20
#[test]
fn a_drain_tells_that_the_reader_is_gone() {
    run(async {
        let (read, write) = io::pipe()?;
        let writer = open_write_pipe(write).await?;
        writer.write(&vec![0; 1 << 20]);
        let draining = writer.clone();
        let draining = spawn(async move { draining.drain().await })?;
        turns(5).await;
        drop(read);
        assert_eq!(draining.await?.expect_err("nobody reads").kind(), ErrorKind::BrokenPipe);
        assert_eq!(writer.wait_closed().await.expect_err("so").kind(), ErrorKind::BrokenPipe);

        // With nothing to be sent it ends without an error; a later drain says that it has ended.
        let (read, write) = io::pipe()?;
        let writer = open_write_pipe(write).await?;
        drop(read);
        writer.wait_closed().await?;
        assert_eq!(writer.drain().await.expect_err("gone").kind(), ErrorKind::ConnectionReset);
        io::Result::Ok(())
    })
    .expect("a run");
}

// P-17: the last writer's end closes it, with everything sent.
#[test]
fn two_pipes_are_one_connection() {
    run(async {
        let ((heard, says), (hears, said)) = (io::pipe()?, io::pipe()?);
        let (mut reader, writer) = open_pipes(hears, says).limit(64).await?;
        let (mut their_reader, their_writer) = open_pipes(heard, said).await?;
        writer.write(b"question\n");
        writer.write_eof()?;
        assert_eq!(their_reader.read_to_end().await?, "question\n");
        their_writer.write(b"answer\n");
        drop(their_writer);
        assert_eq!(reader.readline().await?, "answer\n");
        assert_eq!(reader.read_to_end().await?, "");
        writer.close().await
    })
    .expect("a run");
}

// P-01
#[test]
fn what_is_wrong_is_said_before_anything_has_happened() {
    run(async {
        let refused = open_read_pipe(io::pipe()?.0).limit(0).await.expect_err("no limit");
        assert!(inner::<LimitError>(&refused).is_some(), "{refused}");
        let directory = || File::open("/").expect("a directory");
        for error in [
            open_read_pipe(directory()).await.map(drop).expect_err("refused"),
            open_write_pipe(directory()).await.map(drop).expect_err("refused"),
            open_pipes(io::pipe()?.0, directory()).await.map(drop).expect_err("refused"),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        io::Result::Ok(())
    })
    .expect("a run");
}
