//! Writing: what draining waits for and answers, the end of a connection, and writers that are dropped.

#![cfg(not(windows))]

use std::io;
use std::net::TcpListener;

use bytes::Bytes;
use tidegate_protocols::{Flow, PeerName, SockName};
use tidegate_reactor::{JoinHandle, LoopHandle, spawn};
use tidegate_streams::{StreamWriter, open_connection};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::run;

mod support;
use support::{
    Joined, LOOPBACK, Read, data, ended, joined, keep_reports, left, messages, narrow, poll_once,
    trouble, turns,
};

/// The kind and the text of an error.
fn told(result: io::Result<()>) -> (io::ErrorKind, String) {
    let error = result.expect_err("an error");
    (error.kind(), error.to_string())
}

/// What drains answer when the connection has ended without an error.
fn connection_lost() -> (io::ErrorKind, String) {
    (io::ErrorKind::ConnectionReset, "Connection lost".to_owned())
}

/// Several tasks that drain; each waits already.
async fn draining(writer: &StreamWriter) -> Vec<JoinHandle<io::Result<()>>> {
    let drain = |_| {
        let writer = writer.clone();
        spawn(async move { writer.drain().await }).expect("a loop")
    };
    let tasks: Vec<_> = (0..3).map(drain).collect();
    turns(3).await;
    assert!(tasks.iter().all(|task| !task.is_finished()));
    tasks
}

#[test]
fn a_drain_of_an_open_flow_answers_at_once() {
    run(async {
        // W-10
        let Joined { left: (_reader, writer), right: _right, .. } =
            joined(1024, PairOptions::default()).await;
        for _ in 0..3 {
            assert_eq!(writer.write(b"a little"), Flow::Open);
            assert!(matches!(poll_once(writer.drain()).await, Some(Ok(()))));
        }
    });
}

#[test]
fn a_drain_waits_while_the_flow_is_paused() {
    run(async {
        // W-10
        let Joined { line, left: (_reader, writer), right: (mut reader, _writer) } =
            narrow(10).await;
        assert_eq!(writer.write(&[b'x'; 30]), Flow::Paused);
        assert!(poll_once(writer.drain()).await.is_none());
        turns(5).await;
        assert!(poll_once(writer.drain()).await.is_none());
        line.right.resume_reading();
        writer.drain().await.expect("the connection stands");
        assert_eq!(Read::Exactly(30).of(&mut reader).await, data(&"x".repeat(30)));
        assert!(matches!(poll_once(writer.drain()).await, Some(Ok(()))));
        // And the next time.
        line.right.pause_reading();
        assert_eq!(writer.write(&[b'x'; 30]), Flow::Paused);
        assert!(poll_once(writer.drain()).await.is_none());
    });
}

#[test]
fn a_drain_notices_a_pause_that_somebody_else_has_caused() {
    run(async {
        // W-10
        let Joined { line, left: (_reader, writer), right: _right } = narrow(10).await;
        let other = writer.clone();
        other.transport().write(&[b'x'; 30]);
        assert!(poll_once(writer.drain()).await.is_none());
        let Joined { left: (_reader, writer), line: second, right: _right } = narrow(100).await;
        writer.write(&[b'x'; 150]);
        assert!(matches!(poll_once(writer.drain()).await, Some(Ok(()))));
        second.left.set_write_buffer_limits(Some(10), None).expect("10 is above its quarter");
        turns(2).await;
        assert!(poll_once(writer.drain()).await.is_none());
        drop(line);
    });
}

#[test]
fn a_drain_answers_the_error_of_its_reader_every_time() {
    run(async {
        // W-10
        for end in ["open", "paused", "closing", "closed"] {
            let Joined { line: _line, left: (reader, writer), right: _right } = narrow(10).await;
            match end {
                "paused" => assert_eq!(writer.write(&[b'x'; 30]), Flow::Paused),
                "closing" => {
                    writer.write(&[b'x'; 30]);
                    let _not_awaited = writer.close();
                }
                "closed" => writer.close().await.expect("a close of our own"),
                _ => {}
            }
            reader.feeder().set_exception(trouble());
            for _ in 0..3 {
                let answer = poll_once(writer.drain()).await.expect("at once");
                assert_eq!(told(answer), (trouble().kind(), "trouble".to_owned()), "{end}");
            }
        }
    });
}

#[test]
fn a_drain_answers_the_loss_every_time() {
    run(async {
        // W-10
        let Joined { line, left: (_reader, writer), right: _right } =
            joined(1024, PairOptions::default()).await;
        writer.drain().await.expect("the connection stands");
        line.reset();
        writer.wait_closed().await.expect_err("a reset");
        for _ in 0..3 {
            let (kind, _) = told(writer.drain().await);
            assert_eq!(kind, io::ErrorKind::ConnectionReset);
        }
        for abort in [false, true] {
            let Joined { left: (_reader, writer), right: _right, .. } =
                joined(1024, PairOptions::default()).await;
            match abort {
                false => drop(writer.close()),
                true => writer.abort(),
            }
            writer.wait_closed().await.expect("an end of our own");
            for _ in 0..3 {
                assert_eq!(told(writer.drain().await), connection_lost());
            }
        }
    });
}

#[test]
fn a_drain_of_a_closing_connection_lets_a_turn_pass() {
    run(async {
        // W-10
        let Joined { line: _line, left: (_reader, writer), right: _right } = narrow(100).await;
        assert_eq!(writer.write(&[b'x'; 150]), Flow::Open);
        let _not_awaited = writer.close();
        turns(3).await;
        for _ in 0..3 {
            // It is still sending, and no more than the high mark.
            assert!(poll_once(writer.drain()).await.is_none());
            let mut polls = 0;
            let mut drain = writer.drain();
            while poll_once(&mut drain).await.is_none() {
                polls += 1;
                turns(1).await;
            }
            assert_eq!(polls, 1);
            writer.drain().await.expect("it is not lost yet");
        }
    });
}

#[test]
fn everyone_who_drains_is_woken() {
    run(async {
        // W-11
        let Joined { line, left: (_reader, writer), right: _right } = narrow(10).await;
        writer.write(&[b'x'; 30]);
        let tasks = draining(&writer).await;
        line.right.resume_reading();
        for task in tasks {
            ended(task).await.expect("the connection stands");
        }
    });
}

#[test]
fn everyone_who_drains_learns_of_the_loss() {
    run(async {
        // W-11: with an error all get it
        let Joined { line, left: (_reader, writer), right: _right } = narrow(10).await;
        writer.write(&[b'x'; 30]);
        let tasks = draining(&writer).await;
        line.reset();
        for task in tasks {
            assert_eq!(told(ended(task).await).0, io::ErrorKind::ConnectionReset);
        }
        // W-11: without one all succeed
        let Joined { line: _line, left: (_reader, writer), right: _right } = narrow(10).await;
        writer.write(&[b'x'; 30]);
        let tasks = draining(&writer).await;
        writer.abort();
        for task in tasks {
            ended(task).await.expect("an end of our own");
        }
        assert_eq!(told(writer.drain().await), connection_lost());
    });
}

#[test]
fn a_drain_of_a_closing_connection_waits_for_the_flow() {
    run(async {
        // W-11
        let Joined { line, left: (_reader, writer), right: (mut reader, _writer) } =
            narrow(10).await;
        writer.write(&[b'x'; 30]);
        let early = draining(&writer).await;
        let closing = writer.close();
        let late = draining(&writer).await;
        line.right.resume_reading();
        for task in early.into_iter().chain(late) {
            ended(task).await.expect("everything is sent");
        }
        closing.await.expect("a close of our own");
        assert_eq!(Read::Rest.of(&mut reader).await, data(&"x".repeat(30)));
    });
}

#[test]
fn a_drain_that_is_dropped_changes_nothing() {
    run(async {
        let Joined { line, left: (_reader, writer), right: _right } = narrow(10).await;
        writer.write(&[b'x'; 30]);
        for _ in 0..100 {
            assert!(poll_once(writer.drain()).await.is_none());
        }
        let tasks = draining(&writer).await;
        assert!(poll_once(writer.drain()).await.is_none());
        line.right.resume_reading();
        for task in tasks {
            ended(task).await.expect("the connection stands");
        }
    });
}

/// Writes and drains until that fails.
async fn write_on(writer: &StreamWriter) -> io::Error {
    loop {
        writer.write(b"more");
        if let Err(error) = writer.drain().await {
            return error;
        }
    }
}

#[test]
fn writing_on_to_a_peer_that_is_gone_ends() {
    run(async {
        // W-12
        for how in ["peer aborts", "reset", "close", "abort", "closed from outside"] {
            let Joined { line, left: (_reader, writer), right } =
                joined(1024, PairOptions::default()).await;
            let writing = writer.clone();
            let task = spawn(async move { write_on(&writing).await }).expect("a loop");
            turns(3).await;
            assert!(!task.is_finished(), "{how}");
            let expected = match how {
                "peer aborts" => {
                    right.1.abort();
                    io::ErrorKind::BrokenPipe
                }
                "reset" => {
                    line.reset();
                    io::ErrorKind::ConnectionReset
                }
                "close" => {
                    let _not_awaited = writer.close();
                    io::ErrorKind::ConnectionReset
                }
                "abort" => {
                    writer.abort();
                    io::ErrorKind::ConnectionReset
                }
                _ => {
                    line.left.close();
                    io::ErrorKind::ConnectionReset
                }
            };
            assert_eq!(ended(task).await.kind(), expected, "{how}");
            // And from the beginning.
            assert_eq!(write_on(&writer).await.kind(), expected, "{how}");
        }
    });
}

#[test]
fn writing_on_to_a_socket_without_a_peer_ends() {
    run(async {
        // W-12
        let listener = TcpListener::bind(LOOPBACK)?;
        let (_reader, writer) = open_connection(listener.local_addr()?).await?;
        let (peer, _) = listener.accept()?;
        writer.write(b"unread");
        writer.flush().await?;
        drop(peer);
        let error = write_on(&writer).await;
        let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "{error}");
        assert_eq!(write_on(&writer).await.kind(), error.kind());
        Ok::<(), io::Error>(())
    })
    .expect("a connection to ourselves");
}

#[test]
fn waiting_for_the_end_answers_it_every_time() {
    run(async {
        let reports = keep_reports();
        // W-15
        for end in ["close", "abort", "reset"] {
            let Joined { line, left: (_reader, writer), right: _right } =
                joined(1024, PairOptions::default()).await;
            let clone = writer.clone();
            let before = spawn(async move { clone.wait_closed().await }).expect("a loop");
            turns(3).await;
            assert!(!before.is_finished());
            let expected = match end {
                "close" => {
                    writer.close().await.expect("a close of our own");
                    None
                }
                "abort" => {
                    writer.abort();
                    None
                }
                _ => {
                    line.reset();
                    Some(io::ErrorKind::ConnectionReset)
                }
            };
            assert_eq!(ended(before).await.err().map(|error| error.kind()), expected);
            for _ in 0..3 {
                let answer = poll_once(writer.wait_closed()).await.expect("at once");
                assert_eq!(answer.err().map(|error| error.kind()), expected, "{end}");
            }
            let answer = poll_once(writer.close()).await.expect("at once");
            assert_eq!(answer.err().map(|error| error.kind()), expected, "{end}");
        }
        assert!(messages(&reports).is_empty());
    });
}

#[test]
fn a_loss_that_nobody_waits_for_is_not_reported() {
    run(async {
        // W-15
        let handle = LoopHandle::current().expect("a loop");
        handle.set_debug(true);
        let reports = keep_reports();
        let Joined { line, left: (reader, writer), right } =
            joined(1024, PairOptions::default()).await;
        line.reset();
        turns(5).await;
        assert!(writer.is_closing());
        drop((reader, writer, right));
        turns(5).await;
        assert!(messages(&reports).is_empty(), "{:?}", messages(&reports));
    });
}

#[test]
fn waiting_for_the_end_waits_for_what_was_written() {
    run(async {
        // W-15
        let Joined { line, left: (_reader, writer), right: (mut reader, _writer) } =
            narrow(10).await;
        writer.write(&[b'x'; 30]);
        // W-16
        assert_eq!((writer.flow(), writer.get_write_buffer_size()), (Flow::Paused, 20));
        let mut closing = writer.close();
        for _ in 0..5 {
            assert!(poll_once(&mut closing).await.is_none());
            turns(1).await;
        }
        line.right.resume_reading();
        closing.await.expect("a close of our own");
        assert_eq!((writer.flow(), writer.get_write_buffer_size()), (Flow::Closed, 0));
        assert_eq!(Read::Rest.of(&mut reader).await, data(&"x".repeat(30)));
    });
}

#[test]
fn everything_written_leaves_in_its_order() {
    run(async {
        // W-16
        let Joined { line, left: (_reader, writer), right: (mut reader, _writer) } =
            joined(1024, PairOptions::default()).await;
        assert_eq!(writer.write(b"one "), Flow::Open);
        assert_eq!(writer.writelines(["two ", "", "three "]), Flow::Open);
        assert_eq!(writer.write_bytes(Bytes::from_static(b"four ")), Flow::Open);
        assert_eq!(writer.transport().write(b"five"), Flow::Open);
        assert!(writer.transport().ptr_eq(&line.left));
        assert!(writer.can_write_eof());
        writer.write_eof().expect("a direction that ends on its own");
        assert_eq!(writer.write(b"too late"), Flow::Closed);
        assert_eq!(Read::Rest.of(&mut reader).await, data("one two three four five"));
        assert!(!writer.is_closing());
        let closing = writer.close();
        assert!(writer.is_closing() && line.left.is_closing());
        closing.await.expect("a close of our own");
        assert!(writer.is_closing());
        assert_eq!(writer.write(b"too late"), Flow::Closed);
    });
}

#[test]
fn a_direction_that_cannot_end_on_its_own_says_so() {
    run(async {
        // W-16
        let options = PairOptions { half_close: false, ..PairOptions::default() };
        let Joined { left: (_reader, writer), right: _right, .. } = joined(1024, options).await;
        assert!(!writer.can_write_eof());
        assert_eq!(told(writer.write_eof()).0, io::ErrorKind::Unsupported);
    });
}

#[test]
fn what_is_known_of_the_connection_is_known_to_its_writer() {
    run(async {
        // W-16
        let listener = TcpListener::bind(LOOPBACK)?;
        let (_reader, writer) = open_connection(listener.local_addr()?).await?;
        let (_peer, address) = listener.accept()?;
        let check = || {
            let (own, peer) = (writer.sockname(), writer.peername());
            assert_eq!(own.clone().expect("an address").as_inet(), Some(address));
            assert_eq!(peer.clone().expect("an address").as_inet(), listener.local_addr().ok());
            assert_eq!(writer.get_extra_info().map(|SockName(address)| address), own);
            assert_eq!(writer.get_extra_info().map(|PeerName(address)| address), peer);
            assert_eq!(writer.get_extra_info::<u8>(), None);
        };
        check();
        writer.close().await?;
        check();
        Ok::<(), io::Error>(())
    })
    .expect("a connection to ourselves");
}

#[test]
fn the_last_writer_that_is_dropped_closes() {
    run(async {
        // W-17
        let Joined { line, left: (_reader, writer), right: (mut reader, _writer) } =
            narrow(10).await;
        line.right.resume_reading();
        let (second, third) = (writer.clone(), writer.clone());
        drop(writer);
        drop(third);
        assert!(!line.left.is_closing());
        second.write(&[b'x'; 100]);
        drop(second);
        assert!(line.left.is_closing());
        assert_eq!(Read::Rest.of(&mut reader).await, data(&"x".repeat(100)));
        assert!(line.left.closed().await.is_none());
    });
}

#[test]
fn a_writer_that_was_not_closed_is_reported_in_debug_mode() {
    run(async {
        async fn check(debug: bool, end: impl FnOnce(StreamWriter), expected: &[&str]) {
            let handle = LoopHandle::current().expect("a loop");
            let Joined { line, left: (_reader, writer), right: _right } =
                joined(1024, PairOptions::default()).await;
            let reports = keep_reports();
            handle.set_debug(debug);
            end(writer);
            assert!(reports.borrow().is_empty(), "nobody is called back inside of a drop");
            line.left.closed().await;
            turns(2).await;
            handle.set_debug(false);
            assert_eq!(messages(&reports), expected);
            let transports: Vec<_> = reports
                .borrow()
                .iter()
                .filter_map(|r| r.get("transport").map(str::to_owned))
                .collect();
            assert_eq!(transports.len(), expected.len());
        }
        // W-17
        let unclosed = "unclosed StreamWriter: it was dropped, which closes it";
        check(true, drop, &[unclosed]).await;
        check(true, |writer| drop((writer.clone(), writer)), &[unclosed]).await;
        check(true, |writer| drop(writer.close()), &[]).await;
        check(true, |writer| writer.abort(), &[]).await;
        check(false, drop, &[]).await;
    });
}

#[test]
fn a_writer_may_be_dropped_after_its_loop() {
    // W-17
    let Joined { line, left, right } = run(joined(1024, PairOptions::default()));
    let (reader, writer) = left;
    assert!(writer.is_closing());
    assert_eq!(writer.write(b"too late"), Flow::Closed);
    drop(writer.clone());
    drop((writer, reader));
    run(async {
        LoopHandle::current().expect("a loop").set_debug(true);
        let reports = keep_reports();
        drop((right, line));
        turns(2).await;
        assert!(messages(&reports).is_empty());
    });
}

#[test]
fn a_reader_may_be_dropped_alone() {
    run(async {
        // W-17
        let Joined { line, left: (mut reader, writer), right: (unread, peer) } =
            joined(10, PairOptions::default()).await;
        writer.write(&[b'x'; 100]);
        turns(3).await;
        assert!(!line.right.is_reading());
        drop(unread);
        for _ in 0..100 {
            writer.write(&[b'x'; 10_000]);
            writer.drain().await.expect("the connection stands");
        }
        writer.flush().await.expect("the connection stands");
        peer.write(b"still here");
        peer.drain().await.expect("the connection stands");
        assert_eq!(reader.read(100).await.expect("data"), "still here");
        assert!(!peer.is_closing());
        assert_eq!(left(&mut reader).await, "");
    });
}
