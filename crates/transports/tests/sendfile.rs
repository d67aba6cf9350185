//! A file in its place among what is written: order, counts, positions, flow, and everything that comes in between.

#![cfg(not(windows))]

use std::cell::Cell;
use std::fs::File;
use std::future::{IntoFuture, poll_fn};
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tidegate_protocols::layer::{Above, Gate, Layer, Transparent};
use tidegate_protocols::{Flow, Transport, Waiter};
use tidegate_reactor::{LoopHandle, spawn};
use tidegate_testkit::{Callback, Event, Recorder, Tripwire, run};
use tidegate_transports::{SendfileError, create_connection, sendfile};

mod files;
mod support;
use files::{
    ALL, Kind, MUCH, connected, connected_with, file_of, layer, much, pattern, position, stuck,
};
use support::{Idle, listener, poll_once, turns};

#[test]
fn the_order_on_the_wire_is_the_order_of_the_calls() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let content = pattern(much(kind));
            let file = file_of(&content);
            // F-02: what was written before, more than the system takes, goes first
            let before = vec![b'<'; much(kind)];
            far.transport.pause_reading();
            near.transport.write(&before);
            // What is written next shares its memory, and not its place.
            near.transport.write(b"(");
            let mut sending = sendfile(&near.transport, &file).into_future();
            assert!(poll_once(&mut sending).await.is_none());
            // replaced: F-02: it waits behind the file
            near.transport.write(b"wr");
            near.transport.writelines(["it", "", "te"]);
            near.transport.write_bytes(bytes::Bytes::from(vec![b'n'; 5000]));
            far.transport.resume_reading();
            // F-01
            assert_eq!(sending.await.unwrap(), content.len() as u64, "{kind:?}");
            near.transport.write(b"after");
            near.transport.close();
            far.log.lost().await;
            let expected =
                [&before[..], b"(", &content, b"writ", b"te", &[b'n'; 5000], b"after"].concat();
            assert!(far.log.received() == expected, "{kind:?}");
            // F-03
            assert_eq!(position(&file), content.len() as u64);
            near.log.assert_complete();
        });
    }
}

#[test]
fn offset_and_count_choose_the_part_and_the_position_follows() {
    /// Sends from a file of a hundred bytes that stands at 7.
    fn check(offset: u64, count: Option<u64>, expected: std::ops::Range<usize>, stands: u64) {
        for kind in ALL {
            run(async {
                let (near, far) = connected(kind).await;
                let content = pattern(100);
                let file = file_of(&content);
                (&file).read_exact(&mut [0; 7]).unwrap();
                let mut request = sendfile(&near.transport, &file).offset(offset);
                if let Some(count) = count {
                    request = request.count(count);
                }
                let sent = request.await.unwrap();
                near.transport.close();
                far.log.lost().await;
                assert_eq!(sent, expected.len() as u64, "{kind:?}");
                assert_eq!(far.log.received(), &content[expected.clone()], "{kind:?}");
                assert_eq!(position(&file), stands, "{kind:?}");
            });
        }
    }
    // F-01 F-03: by default from the beginning, wherever the file stands
    check(0, None, 0..100, 100);
    check(10, Some(20), 10..30, 30);
    check(0, Some(100), 0..100, 100);
    // F-03: a count beyond the end sends what exists
    check(90, Some(u64::MAX), 90..100, 100);
    // F-03: an offset beyond the end sends nothing, and moves nothing
    check(100, None, 0..0, 7);
    check(1_000, Some(1), 0..0, 7);
    check(i64::MAX as u64 - 5, None, 0..0, 7);
    check(i64::MAX as u64, Some(1), 0..0, 7);
    check(u64::MAX, Some(u64::MAX), 0..0, 7);
}

#[test]
fn an_empty_file_sends_nothing() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            // F-03
            assert_eq!(sendfile(&near.transport, &file_of(b"")).await.unwrap(), 0);
            near.transport.write(b"still here");
            far.log.received_at_least(10).await;
            near.transport.close();
        });
    }
}

#[test]
fn a_bad_request_is_refused_before_anything_happens() {
    /// Asks for a file on a connection; `spoil` comes before.
    fn check(
        kind: Kind,
        spoil: impl Fn(&Transport),
        file: &File,
        change: impl Fn(tidegate_transports::Sendfile<'_>) -> tidegate_transports::Sendfile<'_>,
        expected: fn(&SendfileError) -> bool,
        text: &str,
    ) {
        run(async {
            let (near, _far) = connected(kind).await;
            spoil(&near.transport);
            let error = change(sendfile(&near.transport, file)).await.unwrap_err();
            assert!(expected(&error), "{kind:?}: {error:?}");
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.sent(), 0);
            turns(3).await;
            assert_eq!(near.transport.statistics().bytes_sent, 0);
            let inner = io::Error::from(error);
            assert!(inner.get_ref().unwrap().is::<SendfileError>());
        });
    }
    let file = file_of(b"hello");
    let nothing = |_: &Transport| {};
    for kind in ALL {
        // F-01
        let closing = |error: &SendfileError| matches!(error, SendfileError::Closing);
        check(kind, Transport::close, &file, |it| it, closing, "Transport is closing");
        check(kind, Transport::abort, &file, |it| it, closing, "Transport is closing");
        let finish = |transport: &Transport| transport.write_eof().unwrap();
        check(kind, finish, &file, |it| it, closing, "Transport is closing");
        let zero = |error: &SendfileError| matches!(error, SendfileError::ZeroCount);
        check(kind, nothing, &file, |it| it.count(0), zero, "count must be a positive integer");
    }
    // F-04 F-05: where the system does not send by itself
    let not_available = |error: &SendfileError| matches!(error, SendfileError::NotAvailable);
    let text = "fallback is disabled and native sendfile is not supported for";
    check(Kind::Memory, nothing, &file, |it| it.fallback(false), not_available, text);
    // F-04: a file that is not regular
    let null = File::open("/dev/null").unwrap();
    check(Kind::Tcp, nothing, &null, |it| it.fallback(false), not_available, text);
    let (reader, _writer) = io::pipe().unwrap();
    let pipe = File::from(OwnedFd::from(reader));
    let not_seekable = |error: &SendfileError| matches!(error, SendfileError::NotSeekable);
    check(Kind::Tcp, nothing, &pipe, |it| it, not_seekable, "cannot be read at a position");
    // F-04: the first call of the system fails, and so does the fallback
    let failed = |error: &SendfileError| matches!(error, SendfileError::Failed { sent: 0, .. });
    let directory = File::open("/").unwrap();
    check(Kind::Tcp, nothing, &directory, |it| it, failed, "after 0 bytes: Is a directory");
    let write_only = File::options().write(true).open("/dev/null").unwrap();
    check(Kind::Tcp, nothing, &write_only, |it| it, failed, "after 0 bytes: Bad file descriptor");
}

#[test]
fn the_system_sends_by_itself_where_it_can() {
    run(async {
        for kind in ALL {
            let (near, far) = connected(kind).await;
            let file = file_of(b"hello");
            // F-04
            let sent = sendfile(&near.transport, &file).fallback(false).await;
            assert_eq!(sent.is_ok(), kind.is_native(), "{kind:?}: {sent:?}");
            near.transport.close();
            far.log.lost().await;
            assert_eq!(far.log.received().len(), if kind.is_native() { 5 } else { 0 });
        }
    });
}

#[test]
fn a_file_that_is_not_regular_goes_by_the_fallback() {
    run(async {
        let (near, far) = connected(Kind::Tcp).await;
        // F-04
        let zeroes = File::open("/dev/zero").unwrap();
        assert_eq!(sendfile(&near.transport, &zeroes).count(100_000).await.unwrap(), 100_000);
        near.transport.close();
        far.log.lost().await;
        assert_eq!(far.log.received(), vec![0; 100_000]);
    });
}

#[test]
fn a_layer_that_changes_what_is_sent_is_given_the_pieces() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let content = pattern(much(kind));
            let file = file_of(&content);
            layer::raise(&near.transport, true);
            near.transport.write(b"before");
            // F-05: always the fallback
            let error = sendfile(&near.transport, &file).fallback(false).await.unwrap_err();
            assert!(matches!(error, SendfileError::NotAvailable), "{kind:?}: {error:?}");
            let sending = stuck(&near, &far, &file).await;
            near.transport.write(b"during");
            far.transport.resume_reading();
            assert_eq!(sending.await.unwrap(), content.len() as u64);
            near.transport.close();
            far.log.lost().await;
            let received: Vec<u8> = far.log.received().iter().map(|byte| !byte).collect();
            assert!(received == [b"before", &content[..], b"during"].concat(), "{kind:?}");
            near.log.assert_complete();
        });
    }
}

#[test]
fn a_layer_that_knows_nothing_of_turns_sends_no_file() {
    run(async {
        let (near, _far) = connected(Kind::Tcp).await;
        layer::raise(&near.transport, false);
        // F-01
        let error = sendfile(&near.transport, &file_of(b"hello")).await.unwrap_err();
        assert!(matches!(error, SendfileError::NotSupported));
        assert!(error.to_string().starts_with("sendfile is not supported for"));
        assert!(near.transport.is_reading());
    });
}

#[test]
fn reading_is_paused_meanwhile_and_restored() {
    for kind in ALL {
        for paused_before in [false, true] {
            run(async {
                let (near, far) = connected(kind).await;
                if paused_before {
                    near.transport.pause_reading();
                }
                let file = file_of(&pattern(much(kind)));
                let sending = stuck(&near, &far, &file).await;
                // F-02
                assert!(!near.transport.is_reading());
                far.transport.write(b"a question");
                turns(20).await;
                assert_eq!(near.log.received_len(), 0);
                far.transport.resume_reading();
                sending.await.unwrap();
                assert_eq!(near.transport.is_reading(), !paused_before, "{kind:?}");
                near.transport.resume_reading();
                near.log.received_at_least(10).await;
                near.transport.close();
                far.log.lost().await;
            });
        }
    }
}

#[test]
fn what_is_asked_of_reading_meanwhile_holds_afterwards() {
    run(async {
        for pause in [true, false] {
            let (near, far) = connected(Kind::Tcp).await;
            if !pause {
                near.transport.pause_reading();
            }
            let file = file_of(&pattern(MUCH));
            let sending = stuck(&near, &far, &file).await;
            match pause {
                true => near.transport.pause_reading(),
                false => near.transport.resume_reading(),
            }
            assert!(!near.transport.is_reading());
            far.transport.resume_reading();
            sending.await.unwrap();
            assert_eq!(near.transport.is_reading(), !pause);
            near.transport.abort();
        }
    });
}

// F-02: whatever is changed above the wire meanwhile
#[test]
fn a_pause_outlives_a_change_of_protocol_and_a_layer_that_come_meanwhile() {
    type Change = fn(&Transport, Recorder);
    let changes: [Change; 3] = [
        |transport, next| transport.set_protocol(next),
        |transport, next| {
            let above = Above { greeted: true, ..Above::new(Box::new(next)) };
            transport.wrap_protocol(|_before| Transparent.under(above, Gate::new(None, |_| ())));
        },
        |transport, next| {
            transport.set_protocol(next);
            layer::raise(transport, true);
        },
    ];
    // Before the file, while it is sent, and in both orders of pause and change.
    let pauses = [[true, false, false], [false, true, false], [false, false, true], [false; 3]];
    let kinds = [Kind::Tcp, Kind::Layered, Kind::Memory];
    for (kind, change) in kinds.into_iter().flat_map(|kind| changes.map(|change| (kind, change))) {
        run(async {
            for [before, first, second] in pauses {
                let (near, far) = connected(kind).await;
                let pause_if = |pauses: bool| {
                    if pauses {
                        near.transport.pause_reading();
                    }
                };
                pause_if(before);
                let file = file_of(&pattern(much(kind)));
                let sending = stuck(&near, &far, &file).await;
                pause_if(first);
                let next = Recorder::taking_over();
                let log = next.log();
                change(&near.transport, next);
                pause_if(second);
                far.transport.write(b"hello");
                far.transport.resume_reading();
                sending.await.unwrap();
                let paused = before || first || second;
                assert_eq!(near.transport.is_reading(), !paused, "{kind:?}");
                turns(20).await;
                assert!(!paused || log.received_len() == 0, "{kind:?}");
                near.transport.resume_reading();
                log.received_at_least(5).await;
                near.transport.abort();
                log.lost().await;
            }
        });
    }
}

#[test]
fn the_flow_counts_what_waits_behind_the_file() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let file = file_of(&pattern(much(kind)));
            let sending = stuck(&near, &far, &file).await;
            let high = near.transport.get_write_buffer_limits().high();
            assert_eq!(near.transport.write(&vec![0; high]), Flow::Open);
            assert_eq!(near.transport.get_write_buffer_size(), high);
            turns(3).await;
            assert!(!near.log.has(Callback::PauseWriting));
            assert_eq!(near.transport.write(b"x"), Flow::Paused);
            turns(3).await;
            assert_eq!(near.log.count(Callback::PauseWriting), 1);
            // F-05: it is told when it may go on
            far.transport.resume_reading();
            sending.await.unwrap();
            near.log.until(|log| log.has(Callback::ResumeWriting)).await;
            near.transport.close();
            far.log.lost().await;
            assert_eq!(far.log.received_len(), much(kind) + high + 1, "{kind:?}");
            near.log.assert_complete();
        });
    }
}

#[test]
fn one_that_was_paused_before_is_resumed() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            far.transport.pause_reading();
            assert_eq!(near.transport.write(&vec![1; much(kind)]), Flow::Paused);
            near.log.until(|log| log.has(Callback::PauseWriting)).await;
            let file = file_of(b"a file");
            let mut sending = sendfile(&near.transport, &file).into_future();
            assert!(poll_once(&mut sending).await.is_none());
            far.transport.resume_reading();
            sending.await.unwrap();
            // F-05: resume_writing comes if it was paused
            near.log.until(|log| log.has(Callback::ResumeWriting)).await;
            assert_eq!(near.transport.flow(), Flow::Open);
            near.transport.close();
            far.log.lost().await;
            near.log.assert_complete();
        });
    }
}

#[test]
fn who_holds_the_turn_decides_when_something_is_sent() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            near.transport.write(b"before");
            let turn = near.transport.raw().take_turn().unwrap();
            // At once, as far as the system takes it.
            assert_eq!(near.transport.get_write_buffer_size(), 0);
            near.transport.write(b"behind");
            far.log.received_at_least(6).await;
            // Nothing is to be done, though the wire could take more: so the loop does not come by.
            let statistics = || LoopHandle::current().expect("a running loop").statistics();
            turns(3).await;
            let before = statistics();
            turns(20).await;
            let after = statistics();
            assert_eq!((after.events, after.steps), (before.events, before.steps + 20), "{kind:?}");
            let waiter = Waiter::new();
            let sent =
                poll_fn(|context| turn.poll_write(b" and then ", &waiter, context)).await.unwrap();
            assert_eq!(sent, 10);
            drop(turn);
            far.log.received_at_least(22).await;
            assert_eq!(far.log.received(), b"before and then behind");
            near.transport.abort();
        });
    }
}

#[test]
fn writing_resumes_as_soon_as_little_waits() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            far.transport.pause_reading();
            near.transport.write(&vec![1; much(kind)]);
            near.log.until(|log| log.has(Callback::PauseWriting)).await;
            let turn = near.transport.raw().take_turn().unwrap();
            far.transport.resume_reading();
            // F-05: also while the turn lasts
            near.log.until(|log| log.has(Callback::ResumeWriting)).await;
            drop(turn);
            near.transport.close();
            near.log.lost().await;
            near.log.assert_complete();
        });
    }
}

#[test]
fn a_second_file_is_refused_while_the_first_is_sent() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let content = pattern(much(kind));
            let file = file_of(&content);
            let sending = stuck(&near, &far, &file).await;
            // F-08
            let error = sendfile(&near.transport, &file).await.unwrap_err();
            assert!(matches!(error, SendfileError::InProgress), "{kind:?}: {error:?}");
            far.transport.resume_reading();
            sending.await.unwrap();
            assert_eq!(sendfile(&near.transport, &file).count(10).await.unwrap(), 10);
            near.transport.close();
            far.log.lost().await;
            assert!(far.log.received() == [&content, &content[..10]].concat());
        });
    }
}

#[test]
fn a_protocol_that_comes_meanwhile_takes_over() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let file = file_of(&pattern(much(kind)));
            let sending = stuck(&near, &far, &file).await;
            let next = Recorder::taking_over();
            let log = next.log();
            near.transport.set_protocol(next);
            far.transport.write(b"hello");
            far.transport.resume_reading();
            sending.await.unwrap();
            log.received_at_least(5).await;
            near.transport.close();
            log.lost().await;
            log.assert(&[Event::data("hello"), Event::Lost(None)]);
        });
    }
}

#[test]
fn a_flush_waits_for_what_was_written_behind_the_file() {
    run(async {
        let (near, far) = connected(Kind::Tcp).await;
        let file = file_of(&pattern(MUCH));
        let sending = stuck(&near, &far, &file).await;
        near.transport.write(b"behind");
        let mut flush = near.transport.flush();
        assert!(poll_once(&mut flush).await.is_none());
        far.transport.resume_reading();
        sending.await.unwrap();
        flush.await.unwrap();
        near.transport.close();
        far.log.lost().await;
    });
}

#[test]
fn no_callback_runs_inside_of_a_call() {
    for kind in [Kind::Tcp, Kind::Memory] {
        run(async {
            let tripwire = Tripwire::new();
            let recorder = Recorder::new();
            let log = recorder.log();
            let guarded = tripwire.guard(recorder);
            let (near, far) = connected_with(kind, guarded, log).await;
            tripwire.watch(&near.transport);
            let file = file_of(&pattern(much(kind)));
            for drop_it in [true, false] {
                let sending = stuck(&near, &far, &file).await;
                near.transport.write(&[0; 70_000]);
                far.transport.resume_reading();
                if drop_it {
                    drop(sending);
                } else {
                    sending.await.unwrap();
                }
            }
            near.transport.close();
            near.log.lost().await;
            tripwire.assert_intact();
            near.log.assert_complete();
        });
    }
}

#[test]
fn a_large_file_goes_through_and_others_have_their_turn() {
    // The fallback takes its time, and has more turns for the same.
    const MIB: u64 = 1024 * 1024;
    let length = if Kind::Tcp.is_native() { 1024 * MIB } else { 128 * MIB };
    run(async {
        let (listener, address) = listener();
        let transport = create_connection(|| Idle, address).await?;
        let mut peer: TcpStream = listener.accept()?.0;
        let reading = LoopHandle::current()?.run_in_executor(move || {
            let (mut read, mut memory) = (0, vec![0; 1024 * 1024]);
            loop {
                match peer.read(&mut memory) {
                    Ok(0) | Err(_) => return read,
                    Ok(length) => read += length as u64,
                }
            }
        });
        let file = file_of(b"");
        file.set_len(length)?;
        let rounds = Rc::new(Cell::new(0_u32));
        let counting = rounds.clone();
        let others = spawn(async move {
            loop {
                counting.set(counting.get() + 1);
                turns(1).await;
            }
        })?
        .cancel_on_drop();
        assert_eq!(sendfile(&transport, &file).await?, length);
        assert!(rounds.get() >= 1_000, "others had {} turns", rounds.get());
        drop(others);
        transport.close();
        assert_eq!(reading.await.unwrap(), length);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
