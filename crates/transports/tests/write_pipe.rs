//! Pipes that are written to.

#![cfg(not(windows))]

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::future::IntoFuture;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::ioctl_fionread;
use tidegate_protocols::{Flow, Pipe, PipeKind, Transport, WriteLimits, WriteTransport};
use tidegate_testkit::{Callback, Event, Log, Recorder, alone, open_descriptors, run, watched};
use tidegate_transports::{ArgumentError, connect_pipes, connect_write_pipe, sendfile};

mod files;
mod support;
use files::file_of;
use support::pipes::{
    KINDS, fifo, fifo_path, is_nonblocking, pipe, socket, terminal, twin, writing,
};
use support::{inner, keep_reports, messages, never, poll_once, turns, until};

/// Writes until the system refuses, and answers how many bytes were written.
async fn stuff(transport: &WriteTransport, log: &Log) -> usize {
    let mut written = 0;
    while transport.write(&[b's'; 65536]) == Flow::Open {
        written += 65536;
    }
    log.until(|log| log.has(Callback::PauseWriting)).await;
    written + 65536
}

/// Reads everything on another thread, until the end.
fn everything(read: OwnedFd) -> std::thread::JoinHandle<io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        File::from(read).read_to_end(&mut all).map(|_| all)
    })
}

// replaced: P-15
// P-01 P-02
#[test]
fn everything_that_is_like_a_pipe_is_written_to() {
    run(async {
        let kinds = [PipeKind::Fifo, PipeKind::Fifo, PipeKind::Socket, PipeKind::CharacterDevice];
        for ((name, make), kind) in KINDS.into_iter().zip(kinds) {
            let (read, write) = make();
            let shared = twin(&write);
            let (transport, log) = writing(Recorder::new(), write).await;
            assert_eq!(log.events(), [Event::Made], "{name}");
            assert!(is_nonblocking(&shared), "{name}: for everybody who shares it");
            assert_eq!(transport.write(b""), Flow::Open);
            assert_eq!(transport.write(b"one "), Flow::Open);
            assert_eq!(transport.get_write_buffer_size(), 4, "leaves when the step ends");
            transport.writelines(["two", "", " three"]);
            transport.flush().await.expect("a reader");
            let mut received = [0; 13];
            File::from(twin(&read)).read_exact(&mut received).expect("13 bytes");
            assert_eq!(received, *b"one two three", "{name}");
            let pipe = Pipe { read: None, write: Some(kind) };
            assert_eq!(transport.get_extra_info(), Some(pipe), "{name}");
            transport.close();
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(None)]);
            assert_eq!(transport.get_extra_info(), Some(pipe), "{name}: kept after the loss");
        }
    });
}

// replaced: P-15: the flow is that of every transport.
#[test]
fn a_full_pipe_pauses_and_resumes() {
    run(async {
        for make in [pipe, fifo, socket] {
            let (read, write) = make();
            let (transport, log) = writing(Recorder::new(), write).await;
            let written = stuff(&transport, &log).await;
            assert_eq!(transport.write(b"more"), Flow::Paused);
            let reader = everything(read);
            log.until(|log| log.has(Callback::ResumeWriting)).await;
            transport.flush().await.expect("a reader");
            transport.close();
            log.lost().await;
            log.assert(&[Event::Made, Event::Paused, Event::Resumed, Event::Lost(None)]);
            assert_eq!(reader.join().expect("the reader").expect("data").len(), written + 4);
        }
    });
}

// replaced: P-16: a socket's transport would take more while it flushes; a pipe does not.
// P-17: and write_eof is a close.
#[test]
fn a_closing_pipe_sends_what_it_has_and_takes_no_more() {
    run(async {
        let ends: [fn(&WriteTransport); 2] = [WriteTransport::close, |transport| {
            assert!(transport.can_write_eof());
            transport.write_eof().expect("an end");
        }];
        for end in ends {
            for make in [pipe, fifo, socket] {
                let (read, write) = make();
                let (transport, log) = writing(Recorder::new(), write).await;
                let written = stuff(&transport, &log).await;
                for _ in 0..2 {
                    end(&transport);
                    assert!(transport.is_closing());
                    assert_eq!(transport.write(b"late"), Flow::Closed);
                    assert_eq!(transport.write(b""), Flow::Closed);
                    assert_eq!(transport.write_bytes(vec![0; 99_999].into()), Flow::Closed);
                    assert_eq!(transport.writelines(["late"]), Flow::Closed);
                    assert_eq!(transport.flow(), Flow::Closed);
                }
                turns(3).await;
                assert!(!log.has(Callback::ConnectionLost), "it flushes still");
                let reader = everything(read);
                log.lost().await;
                assert_eq!(log.events().last(), Some(&Event::Lost(None)));
                assert_eq!(reader.join().expect("the reader").expect("data").len(), written);
                transport.write_eof().expect("nothing happens");
                turns(3).await;
                log.assert_complete();
            }
        }
    });
}

// P-17: with nothing to send the end comes at once, but not within the call.
#[test]
fn an_empty_pipe_closes_at_once() {
    run(async {
        let (read, write) = pipe();
        let (transport, log) = writing(Recorder::new(), write).await;
        transport.write_eof().expect("an end");
        log.assert(&[Event::Made]);
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
        assert_eq!(everything(read).join().expect("the reader").expect("data"), b"");
    });
}

// P-18: the error of a write is the cause, and nobody else's business.
#[test]
fn a_write_that_fails_ends_the_pipe_silently() {
    run(async {
        for make in [pipe, fifo, socket] {
            let reports = keep_reports();
            let (read, write) = make();
            let (transport, log) = writing(Recorder::new(), write).await;
            drop(read);
            transport.write(b"anyone there?");
            log.assert(&[Event::Made]);
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::BrokenPipe))]);
            assert!(log.cause().expect("a cause").is_os_error());
            assert_eq!(transport.get_write_buffer_size(), 0);
            turns(3).await;
            assert_eq!(messages(&reports), Vec::<String>::new());
        }
    });
}

// P-19
#[test]
fn an_abort_may_come_at_any_time() {
    run(async {
        let before: [fn(&WriteTransport); 3] =
            [|_| (), WriteTransport::close, WriteTransport::abort];
        for before in before {
            let reports = keep_reports();
            let (read, write) = pipe();
            let (transport, log) = writing(Recorder::new(), write).await;
            stuff(&transport, &log).await;
            before(&transport);
            transport.abort();
            assert_eq!(transport.get_write_buffer_size(), 0);
            log.lost().await;
            log.assert(&[Event::Made, Event::Paused, Event::Lost(None)]);
            transport.abort();
            transport.close();
            turns(3).await;
            log.assert_complete();
            assert_eq!(messages(&reports), Vec::<String>::new());
            drop(read);
        }
    });
}

// P-20: nothing is written, and still the loss of the reader is noticed.
#[test]
fn a_reader_that_goes_ends_an_idle_pipe() {
    run(async {
        for make in [pipe, fifo, socket] {
            let (read, write) = make();
            let (transport, log) = writing(Recorder::new(), write).await;
            transport.write(b"unread");
            transport.flush().await.expect("room");
            turns(5).await;
            log.assert(&[Event::Made]);
            drop(read);
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(None)]);
            assert!(transport.peer_hung_up());
        }
    });
}

// P-20: with something to be sent it is a broken pipe; so it is while it closes.
#[test]
fn a_reader_that_goes_breaks_a_full_pipe() {
    run(async {
        for closes in [false, true] {
            for make in [pipe, fifo, socket] {
                let reports = keep_reports();
                let (read, write) = make();
                let (transport, log) = writing(Recorder::new(), write).await;
                stuff(&transport, &log).await;
                if closes {
                    transport.close();
                }
                turns(5).await;
                drop(read);
                log.lost().await;
                log.assert(&[Event::Made, Event::Paused, Event::Lost(Some(ErrorKind::BrokenPipe))]);
                assert_eq!(messages(&reports), Vec::<String>::new());
            }
        }
    });
}

// P-20: a file that is being sent is something to be sent.
#[test]
fn a_reader_that_goes_breaks_a_file_on_its_way() {
    run(async {
        for make in [pipe, fifo, socket] {
            let (read, write) = make();
            let (transport, log) = writing(Recorder::new(), write).await;
            let (transport, file) = (Transport::from(transport), file_of(&[b'f'; 1 << 20]));
            let mut sending = sendfile(&transport, &file).into_future();
            let mut sent = (0, 0);
            // Until nothing moves any more.
            while sent.1 < 200 {
                assert!(poll_once(&mut sending).await.is_none());
                let now = transport.statistics().bytes_sent;
                sent = (now, if now == sent.0 && now > 0 { sent.1 + 1 } else { 0 });
            }
            drop(read);
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::BrokenPipe))]);
            let error = sending.await.expect_err("nobody reads");
            assert_eq!(io::Error::from(error).kind(), ErrorKind::BrokenPipe);
        }
    });
}

// P-20: of a socket any byte that comes says so.
#[test]
fn a_socket_that_answers_is_taken_for_gone() {
    run(async {
        let (read, write) = socket();
        let (transport, log) = writing(Recorder::new(), write).await;
        rustix::io::write(&read, b"answer").expect("room");
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);

        // With something to be sent, that is a broken pipe.
        let (read, write) = socket();
        let (second, log) = writing(Recorder::new(), write).await;
        stuff(&second, &log).await;
        rustix::io::write(&read, b"answer").expect("room");
        log.lost().await;
        log.assert(&[Event::Made, Event::Paused, Event::Lost(Some(ErrorKind::BrokenPipe))]);
        drop(transport);
    });
}

// P-20: terminals are not watched, nor is a FIFO that reads what it writes.
#[test]
fn what_shows_nothing_of_its_reader_stays() {
    run(async {
        let (program, screen) = terminal();
        let (transport, log) = writing(Recorder::new(), screen).await;
        rustix::io::write(&program, b"output").expect("room");
        turns(5).await;
        assert!(transport.with_socket(|screen| ioctl_fionread(screen)).expect("open").is_ok());
        drop(program);
        turns(5).await;
        log.assert(&[Event::Made]);
        transport.abort();
        log.lost().await;

        let (_folder, path) = fifo_path();
        let both = OpenOptions::new().read(true).write(true).open(path).expect("a FIFO");
        let (transport, log) = writing(Recorder::new(), both).await;
        transport.write(b"to myself");
        turns(5).await;
        log.assert(&[Event::Made]);
        assert_eq!(transport.with_socket(|own| ioctl_fionread(own).expect("a count")), Some(9));
        transport.close();
        log.lost().await;
    });
}

// P-20: a pipe whose reader is gone does not make the loop spin, whatever its protocol does with that.
#[test]
fn one_direction_that_is_gone_does_not_spin() {
    run(async {
        let ((theirs, output), (input, _their_output)) = (pipe(), pipe());
        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = connect_pipes(|| recorder, input, output).await.expect("a transport");
        drop(theirs);
        turns(20).await;
        let handle = tidegate_reactor::LoopHandle::current().expect("a loop");
        let before = handle.statistics().events;
        turns(50).await;
        assert_eq!(handle.statistics().events, before);
        log.assert(&[Event::Made]);
        transport.write(b"anyone there?");
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::BrokenPipe))]);
    });
}

// P-21: what the callbacks are given answers for the direction that is not there.
#[test]
fn there_is_nothing_to_read_with() {
    run(async {
        let (read, write) = pipe();
        let (transport, log) = writing(Recorder::new(), write).await;
        let whole = Transport::from(transport);
        for _ in 0..2 {
            assert!(!whole.is_reading());
            whole.pause_reading();
            whole.resume_reading();
        }
        // A pipe that lingers would wait for what cannot come.
        whole.write(b"last words");
        whole.close_lingering(1 << 20, Duration::from_secs(600));
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
        assert_eq!(everything(read).join().expect("the reader").expect("data"), b"last words");
    });
}

// P-01: refused before anything has happened, and closed.
#[test]
fn what_is_no_pipe_is_refused() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file: OwnedFd = tempfile::tempfile_in(&folder).expect("a file").into();
        let (only_read, _write) = pipe();
        for (descriptor, why) in
            [(file, ArgumentError::NotAPipe), (only_read, ArgumentError::NotWritable)]
        {
            let shared = twin(&descriptor);
            let error = connect_write_pipe(never, descriptor).await.expect_err("refused");
            assert_eq!((error.kind(), inner(&error)), (ErrorKind::InvalidInput, Some(&why)));
            assert!(!is_nonblocking(&shared), "{why}");

            // Neither descriptor of a pair is touched if the other one is refused.
            let (read, _far) = pipe();
            let other = twin(&read);
            let error = connect_pipes(never, read, twin(&shared)).await.expect_err("refused");
            assert_eq!(inner(&error), Some(&why));
            assert!(!is_nonblocking(&other) && !is_nonblocking(&shared), "{why}");
        }
    });
}

// replaced: P-15: every option is passed on.
#[test]
fn a_pipe_has_the_options_of_every_transport() {
    run(async {
        let reports = keep_reports();
        let limits = WriteLimits::new(Some(100), Some(10)).expect("10 is below 100");
        let (_read, write) = pipe();
        let recorder = Recorder::new();
        let log = recorder.log();
        let connecting = connect_write_pipe(|| recorder, write);
        let transport = connecting.write_buffer_limits(limits).abort_above(1 << 20).await;
        let transport = transport.expect("a transport");
        assert_eq!(transport.get_write_buffer_limits(), limits);
        transport.write(&[0; 4 << 20]);
        log.lost().await;
        assert!(log.cause().expect("a cause").to_string().contains("the peer reads too slowly"));
        assert_eq!(messages(&reports).len(), 1);
    });
}

// replaced: P-15
// P-01: a device that cannot be watched is written to all the same.
#[test]
fn devices_that_never_wait_are_written_to() {
    run(async {
        let open = |name| OpenOptions::new().write(true).open(name).expect("a device");
        let (transport, log) = writing(Recorder::new(), open("/dev/null")).await;
        transport.write(&vec![1; 10 << 20]);
        transport.flush().await.expect("there is always room");
        assert_eq!(transport.statistics().bytes_sent, 10 << 20);
        transport.close();
        log.lost().await;
        assert_eq!(log.cause().map(|cause| cause.kind()), None);

        let (transport, log) = writing(Recorder::new(), open("/dev/full")).await;
        transport.write(b"no room");
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::StorageFull))]);
    });
}

// P-01: whatever becomes of it, the descriptor does not stay.
#[test]
fn no_ending_leaks_a_descriptor() {
    watched(|| {
        let _alone = alone();
        run(async {});
        let before = open_descriptors();
        let ends: [fn(&WriteTransport); 4] = [
            WriteTransport::close,
            WriteTransport::abort,
            |transport| {
                transport.write(&[0; 1 << 20]);
                transport.close();
            },
            |_| (),
        ];
        for (_, make) in KINDS {
            for end in ends {
                run(async {
                    let (read, write) = make();
                    let (transport, log) = writing(Recorder::new(), write).await;
                    end(&transport);
                    turns(2).await;
                    drop(read);
                    until(|| log.has(Callback::ConnectionMade)).await;
                });
                assert_eq!(open_descriptors(), before);
            }
        }
    });
}

#[test]
fn a_reader_that_goes_away_from_a_file_is_a_broken_pipe() {
    run(async {
        let (read, write) = pipe();
        let kept = Rc::new(Cell::new(None));
        let keep = kept.clone();
        let recorder = Recorder::new().once(Callback::ConnectionMade, move |transport| {
            keep.set(Some(transport.clone()));
        });
        let (_transport, log) = writing(recorder, write).await;
        let transport = kept.take().expect("a connection");
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1024 * 1024).expect("room");
        let mut sending = sendfile(&transport, &file).into_future();
        while transport.statistics().bytes_sent == 0 {
            assert!(poll_once(&mut sending).await.is_none());
        }
        drop(read);
        log.lost().await;
        let error = sending.await.expect_err("no reader");
        assert_eq!(io::Error::from(error).kind(), ErrorKind::BrokenPipe);
        let cause = log.cause().map(|cause| cause.kind());
        assert_eq!(cause, Some(ErrorKind::BrokenPipe), "what was on its way is lost");
    });
}
