//! Pipes that are read from.

#![cfg(not(windows))]

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;

use tidegate_protocols::{AtEof, Flow, Pipe, PipeKind, Transport};
use tidegate_reactor::LoopHandle;
use tidegate_testkit::{Callback, Event, Recorder, alone, open_descriptors, run, watched};
use tidegate_transports::{ArgumentError, connect_read_pipe};

mod support;
use support::pipes::{KINDS, fifo, is_nonblocking, pipe, reading, socket, terminal, twin};
use support::{inner, keep_reports, messages, never, turns, until};

fn write(descriptor: &OwnedFd, bytes: &[u8]) {
    let mut file = File::from(twin(descriptor));
    file.write_all(bytes).expect("a reader");
}

// P-01 P-02 P-05: in order, and nothing is lost, whatever it is.
#[test]
fn everything_that_is_like_a_pipe_is_read() {
    run(async {
        let kinds = [PipeKind::Fifo, PipeKind::Fifo, PipeKind::Socket, PipeKind::CharacterDevice];
        for ((name, make), kind) in KINDS.into_iter().zip(kinds) {
            let (read, far) = make();
            let shared = twin(&read);
            write(&far, b"early ");
            let (transport, log) = reading(Recorder::new(), read).await;
            // It resolves when the protocol was greeted.
            assert_eq!(log.events()[0], Event::Made, "{name}");
            assert!(is_nonblocking(&shared), "{name}: for everybody who shares it");
            write(&far, b"late");
            log.received_at_least(10).await;
            assert_eq!(log.received(), b"early late", "{name}");
            assert!(transport.is_reading() && !transport.is_closing(), "{name}");
            transport.close();
            log.lost().await;
            assert_eq!(log.cause().map(|cause| cause.to_string()), None, "{name}");
            let pipe = Pipe { read: Some(kind), write: None };
            assert_eq!(transport.get_extra_info(), Some(pipe), "{name}: kept after the loss");
        }
    });
}

// P-05: one read brings at most 256 KiB.
#[test]
fn a_full_pipe_is_read_in_turns() {
    run(async {
        let (read, far) = socket();
        let (transport, log) = reading(Recorder::new(), read).await;
        let sender = std::thread::spawn(move || write(&far, &vec![7; 4 << 20]));
        log.received_at_least(4 << 20).await;
        sender.join().expect("the sender");
        let longest = log.events().into_iter().filter_map(|event| match event {
            Event::Data(data) => Some(data.len()),
            _ => None,
        });
        assert!(longest.max().expect("data") <= 262_144);
        drop(transport);
        log.lost().await;
    });
}

// P-06: it is closing when the protocol hears of the end, and whatever that answers, the connection ends.
#[test]
fn the_end_of_the_stream_is_the_end() {
    run(async {
        for make in [pipe, fifo, socket] {
            for answer in [AtEof::Close, AtEof::KeepWriting] {
                let (read, far) = make();
                let recorder =
                    Recorder::new().at_eof(answer).on(Callback::EofReceived, |transport| {
                        assert!(transport.is_closing() && !transport.is_reading());
                        let handle = LoopHandle::current().expect("a loop");
                        let removed = transport.with_socket(|socket| handle.remove_reader(socket));
                        let removed = removed.expect("a descriptor");
                        assert!(!removed.expect("the transport owns it no more"));
                        transport.close();
                    });
                let (transport, log) = reading(recorder, read).await;
                write(&far, b"bye");
                drop(far);
                log.lost().await;
                log.assert(&[Event::Made, Event::data("bye"), Event::Eof, Event::Lost(None)]);
                assert!(transport.is_closing());
            }
        }
    });
}

// P-06 T-14: a failing eof_received still has its cause.
#[test]
fn a_protocol_that_fails_at_the_end_is_told_so() {
    run(async {
        let reports = keep_reports();
        let (read, far) = pipe();
        let (_transport, log) = reading(Recorder::new().failing(Callback::EofReceived), read).await;
        drop(far);
        log.lost().await;
        log.assert(&[Event::Made, Event::Eof, Event::Lost(Some(ErrorKind::Other))]);
        assert_eq!(messages(&reports).len(), 1);
    });
}

// P-07: what a terminal answers when its other side is closed is nothing to report.
#[test]
fn a_terminal_that_is_closed_is_no_surprise() {
    run(async {
        let reports = keep_reports();
        let (program, screen) = terminal();
        let (_transport, log) = reading(Recorder::new(), screen).await;
        write(&program, b"bye");
        log.received_at_least(3).await;
        drop(program);
        log.lost().await;
        let cause = log.cause().expect("a cause");
        assert_eq!(cause.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        turns(3).await;
        assert_eq!(messages(&reports), Vec::<String>::new());
    });
}

// P-07: any other error is reported.
#[test]
fn an_error_of_a_read_is_reported() {
    run(async {
        let reports = keep_reports();
        let (read, far) = socket();
        let (transport, log) = reading(Recorder::new(), read).await;
        // Closing a socket with unread input resets it.
        transport
            .with_socket(|own| rustix::io::write(own, b"unread"))
            .expect("open")
            .expect("room");
        drop(far);
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::ConnectionReset))]);
        assert_eq!(messages(&reports), ["Fatal read error on stream transport"]);
    });
}

// replaced: P-08
#[test]
fn a_failing_callback_ends_the_pipe() {
    run(async {
        let reports = keep_reports();
        let (read, far) = pipe();
        let (_transport, log) =
            reading(Recorder::new().failing(Callback::DataReceived), read).await;
        write(&far, b"too much");
        log.lost().await;
        let events = log.events();
        assert_eq!(events.last(), Some(&Event::Lost(Some(ErrorKind::Other))), "{events:?}");
        assert_eq!(messages(&reports).len(), 1);
    });
}

// P-09
#[test]
fn a_pause_holds_data_and_the_end_back() {
    run(async {
        let (read, far) = pipe();
        let (transport, log) = reading(Recorder::new(), read).await;
        for _ in 0..2 {
            transport.pause_reading();
        }
        write(&far, b"held");
        drop(far);
        until(|| transport.peer_hung_up()).await;
        turns(5).await;
        log.assert(&[Event::Made]);
        assert!(!transport.is_reading());
        for _ in 0..2 {
            transport.resume_reading();
        }
        log.lost().await;
        log.assert(&[Event::Made, Event::data("held"), Event::Eof, Event::Lost(None)]);
    });
}

// P-09: and what was not read is dropped with the descriptor.
#[test]
fn a_close_is_told_later_and_once() {
    run(async {
        for pauses in [false, true] {
            let (read, far) = pipe();
            let (transport, log) = reading(Recorder::new(), read).await;
            if pauses {
                transport.pause_reading();
            }
            write(&far, b"never read");
            for _ in 0..2 {
                transport.close();
                transport.pause_reading();
                transport.resume_reading();
                assert!(!transport.is_reading());
            }
            log.assert(&[Event::Made]);
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(None)]);
            transport.abort();
            transport.close();
            turns(3).await;
            log.assert_complete();
        }
    });
}

// P-21: what the callbacks are given answers for the direction that is not there.
#[test]
fn there_is_nothing_to_write_with() {
    run(async {
        let (read, far) = pipe();
        let (transport, log) = reading(Recorder::new(), read).await;
        let whole = Transport::from(transport);
        for _ in 0..2 {
            assert_eq!(whole.write(b"data"), Flow::Closed);
            assert_eq!(whole.write(b""), Flow::Closed);
            assert_eq!(whole.write_bytes(vec![0; 100_000].into()), Flow::Closed);
            assert_eq!(whole.writelines(["data"]), Flow::Closed);
            assert_eq!(whole.flow(), Flow::Closed);
            assert_eq!(whole.get_write_buffer_size(), 0);
            assert!(!whole.can_write_eof());
            assert_eq!(whole.write_eof().expect_err("no").kind(), ErrorKind::Unsupported);
            whole.flush().await.expect("nothing waits");
        }
        write(&far, b"heard");
        log.received_at_least(5).await;
        whole.close_lingering(1 << 20, std::time::Duration::from_secs(600));
        log.lost().await;
        log.assert(&[Event::Made, Event::data("heard"), Event::Lost(None)]);
    });
}

// P-01: refused before anything has happened, and closed.
#[test]
fn what_is_no_pipe_is_refused() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file: OwnedFd = tempfile::tempfile_in(&folder).expect("a file").into();
        let directory: OwnedFd = File::open(&folder).expect("a folder").into();
        let (_read, only_written) = pipe();
        for (descriptor, why) in [
            (file, ArgumentError::NotAPipe),
            (directory, ArgumentError::NotAPipe),
            (only_written, ArgumentError::NotReadable),
        ] {
            let shared = twin(&descriptor);
            let error = connect_read_pipe(never, descriptor).await.expect_err("refused");
            assert_eq!((error.kind(), inner(&error)), (ErrorKind::InvalidInput, Some(&why)));
            assert!(!is_nonblocking(&shared), "{why}");
        }
    });
}

#[test]
fn a_pipe_needs_a_loop() {
    watched(|| {
        let (read, _far) = pipe();
        let shared = twin(&read);
        let waker = std::task::Waker::noop();
        let mut connecting = Box::pin(connect_read_pipe(never, read).into_future());
        let polled = connecting.as_mut().poll(&mut std::task::Context::from_waker(waker));
        let std::task::Poll::Ready(Err(error)) = polled else { panic!("refused at once") };
        assert!(error.to_string().contains("tidegate::run"), "{error}");
        assert!(!is_nonblocking(&shared));
    });
}

// P-01: a device that cannot be watched is read all the same.
#[test]
fn devices_that_never_wait_are_read() {
    run(async {
        let nothing = File::open("/dev/null").expect("a device");
        let (_transport, log) = reading(Recorder::new(), nothing).await;
        log.lost().await;
        log.assert(&[Event::Made, Event::Eof, Event::Lost(None)]);

        let zeros = File::open("/dev/zero").expect("a device");
        let (transport, log) = reading(Recorder::new(), zeros).await;
        log.received_at_least(1 << 20).await;
        transport.pause_reading();
        let received = log.received_len();
        turns(5).await;
        assert_eq!(log.received_len(), received, "a paused one is not read");
        transport.close();
        log.lost().await;
    });
}

// P-01: whatever becomes of it, the descriptor does not stay.
#[test]
fn no_ending_leaks_a_descriptor() {
    watched(|| {
        let _alone = alone();
        run(async {});
        let before = open_descriptors();
        let ends: [fn(&Transport); 4] =
            [Transport::close, Transport::abort, Transport::pause_reading, |_| ()];
        for (_, make) in KINDS {
            for end in ends {
                run(async {
                    let (read, far) = make();
                    let (transport, log) = reading(Recorder::new(), read).await;
                    end(&transport.into());
                    drop(far);
                    turns(2).await;
                    drop(log);
                });
                assert_eq!(open_descriptors(), before);
            }
        }
        run(async {
            let file: OwnedFd = tempfile::tempfile().expect("a file").into();
            connect_read_pipe(never, file).await.expect_err("refused");
            drop(connect_read_pipe(never, pipe().0));
            drop(connect_read_pipe(never, pipe().0).into_future());
            Ok::<(), io::Error>(())
        })
        .expect("a run");
        assert_eq!(open_descriptors(), before);
    });
}
