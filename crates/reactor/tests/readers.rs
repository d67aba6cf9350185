//! Readers and writers of the user's own descriptors.

mod support;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use support::{Log, PanicsAtDrop, messages, reports, turns, with_loop};
use tidegate_reactor::{EventLoop, Interest, LoopError, LoopHandle, Readiness, Source, Watcher};

/// A callback that writes that whenever it is called.
fn noting(log: &Log<&'static str>, event: &'static str) -> impl FnMut() + use<> {
    let log = log.clone();
    move || log.push(event)
}

/// The same, and writes `end` when it is dropped.
fn noting_its_end(
    log: &Log<&'static str>,
    event: &'static str,
    end: &'static str,
) -> impl FnMut() + use<> {
    let (log, at_drop) = (log.clone(), log.at_drop(end));
    move || {
        let _ = &at_drop;
        log.push(event);
    }
}

/// Runs a test with a loop and a pair of sockets, of which the first is readable and writable.
fn with_ready(test: impl FnOnce(&EventLoop, UnixStream, UnixStream)) {
    with_loop(|event_loop| {
        let (near, far) = ready();
        test(event_loop, near, far);
    });
}

fn ready() -> (UnixStream, UnixStream) {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    (near, far)
}

// L-07
#[test]
fn a_reader_that_does_not_read_is_called_in_every_turn() {
    with_ready(|event_loop, near, _far| {
        let log = Log::new();
        event_loop.handle().add_reader(&near, noting(&log, "read")).unwrap();
        for _ in 0..3 {
            turns(event_loop, 1);
        }
        assert_eq!(log.take(), ["read"; 3]);

        let mut near = near;
        near.read_exact(&mut [0]).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), [""; 0]);
    });
}

// L-05
#[test]
fn the_reader_comes_before_the_writer_and_each_once_a_turn() {
    with_loop(|event_loop| {
        for reader_first in [true, false] {
            let (near, _far) = ready();
            let handle = event_loop.handle();
            let log = Log::new();
            let steps = Rc::new(RefCell::new(Vec::new()));
            let noting = |event| {
                let (log, steps, handle) = (log.clone(), Rc::clone(&steps), handle.clone());
                move || {
                    log.push(event);
                    steps.borrow_mut().push(handle.step_number());
                }
            };
            if reader_first {
                handle.add_reader(&near, noting("read")).unwrap();
                handle.add_writer(&near, noting("write")).unwrap();
            } else {
                handle.add_writer(&near, noting("write")).unwrap();
                handle.add_reader(&near, noting("read")).unwrap();
            }
            turns(event_loop, 1);
            assert_eq!(log.take(), ["read", "write"]);
            let steps = steps.borrow();
            assert_ne!(steps[0], steps[1], "each is a step of its own");
        }
    });
}

// L-70
#[test]
fn a_second_reader_replaces_the_first_and_leaves_the_writer() {
    with_ready(|event_loop, near, _far| {
        let handle = event_loop.handle();
        let log = Log::new();
        handle.add_reader(&near, noting_its_end(&log, "first", "first dropped")).unwrap();
        handle.add_writer(&near, noting(&log, "write")).unwrap();
        handle.add_reader(&near, noting(&log, "second")).unwrap();
        assert_eq!(log.take(), ["first dropped"]);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second", "write"]);

        let second_write = noting_its_end(&log, "second write", "write dropped");
        handle.add_writer(&near, second_write).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second", "second write"]);
        handle.add_writer(&near, noting(&log, "third write")).unwrap();
        assert_eq!(log.take(), ["write dropped"]);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second", "third write"]);
    });
}

// L-71
#[test]
fn removing_says_whether_there_was_one_and_the_other_direction_survives() {
    with_ready(|event_loop, near, mut far| {
        let handle = event_loop.handle();
        let log = Log::new();
        assert!(!handle.remove_reader(&near).unwrap());
        assert!(!handle.remove_writer(&near).unwrap());

        handle.add_reader(&near, noting(&log, "read")).unwrap();
        assert!(!handle.remove_writer(&near).unwrap());
        handle.add_writer(&near, noting(&log, "write")).unwrap();
        assert!(handle.remove_reader(&near).unwrap());
        assert!(!handle.remove_reader(&near).unwrap());
        turns(event_loop, 1);
        assert_eq!(log.take(), ["write"]);

        handle.add_reader(&near, noting(&log, "read")).unwrap();
        assert!(handle.remove_writer(&near).unwrap());
        turns(event_loop, 1);
        assert_eq!(log.take(), ["read"]);

        // The system is not asked any more for what nobody wants to know.
        (&near).read_exact(&mut [0]).unwrap();
        let events = handle.statistics().events;
        turns(event_loop, 3);
        assert_eq!(handle.statistics().events, events);
        far.write_all(b"y").unwrap();
        assert!(handle.remove_reader(&near).unwrap());
        turns(event_loop, 1);
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(handle.statistics().sources, 0);
    });
}

// L-04, L-74
#[test]
fn a_callback_removed_by_an_earlier_one_is_not_called() {
    with_ready(|event_loop, near, _far| {
        // Of the same descriptor: the reader comes first.
        let (handle, near, log) = (event_loop.handle(), Rc::new(near), Log::new());
        handle.add_writer(&near, noting(&log, "write")).unwrap();
        handle
            .add_reader(&near, {
                let (handle, near, log) = (handle.clone(), Rc::clone(&near), log.clone());
                move || {
                    log.push("read");
                    assert!(handle.remove_writer(&near).unwrap());
                }
            })
            .unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["read"]);

        // The same if it is replaced: the new one is called from the next turn on.
        handle.add_writer(&near, noting(&log, "write")).unwrap();
        handle
            .add_reader(&near, {
                let (handle, near, log) = (handle.clone(), Rc::clone(&near), log.clone());
                move || {
                    log.push("read");
                    handle.add_writer(&near, noting(&log, "new write")).unwrap();
                }
            })
            .unwrap();
        turns(event_loop, 2);
        assert_eq!(log.take(), ["read", "read"]);
        handle.add_reader(&near, noting(&log, "read")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["read", "new write"]);
        assert!(handle.remove_writer(&near).unwrap());

        // Of two: whichever comes first.
        assert!(handle.remove_reader(&near).unwrap());
        let (one, _far) = ready();
        let (two, _other_far) = ready();
        let (one, two) = (Rc::new(one), Rc::new(two));
        for (mine, other) in [(&one, &two), (&two, &one)] {
            let (handle, other, log) = (handle.clone(), Rc::clone(other), log.clone());
            let removing = handle.clone();
            handle
                .add_reader(mine, move || {
                    log.push("read");
                    assert!(removing.remove_reader(&other).unwrap());
                })
                .unwrap();
        }
        turns(event_loop, 1);
        assert_eq!(log.take(), ["read"]);
    });
}

// L-70, L-71
#[test]
fn a_callback_may_remove_or_replace_itself_while_it_runs() {
    with_ready(|event_loop, near, _far| {
        let (handle, near, log) = (event_loop.handle(), Rc::new(near), Log::new());
        let mut still_there = noting_its_end(&log, "still there", "dropped");
        handle
            .add_reader(&near, {
                let (handle, near, log) = (handle.clone(), Rc::clone(&near), log.clone());
                move || {
                    handle.add_reader(&near, noting(&log, "replacement")).unwrap();
                    still_there();
                }
            })
            .unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["still there", "dropped"]);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["replacement"]);

        let mut still_there = noting_its_end(&log, "still there", "dropped");
        handle
            .add_reader(&near, {
                let (handle, near) = (handle.clone(), Rc::clone(&near));
                move || {
                    assert!(handle.remove_reader(&near).unwrap());
                    still_there();
                }
            })
            .unwrap();
        turns(event_loop, 1);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["still there", "dropped"]);
        assert_eq!(handle.statistics().sources, 0);
    });
}

#[test]
fn a_callback_that_is_dropped_may_use_the_loop() {
    with_ready(|event_loop, near, _far| {
        struct Adding(LoopHandle, Rc<UnixStream>, Log<&'static str>);
        impl Drop for Adding {
            fn drop(&mut self) {
                self.0.add_writer(&self.1, noting(&self.2, "write")).unwrap();
            }
        }

        let (handle, near, log) = (event_loop.handle(), Rc::new(near), Log::new());
        let adding = || {
            let adding = Adding(handle.clone(), Rc::clone(&near), log.clone());
            move || adding.2.push("read")
        };
        handle.add_reader(&near, adding()).unwrap();
        handle.add_reader(&near, noting(&log, "second")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second", "write"]);

        handle.add_reader(&near, adding()).unwrap();
        assert!(handle.remove_writer(&near).unwrap());
        assert!(handle.remove_reader(&near).unwrap());
        turns(event_loop, 1);
        assert_eq!(log.take(), ["write"]);
    });
}

// L-08
#[test]
fn a_panicking_reader_is_reported_and_called_again() {
    with_ready(|event_loop, near, _far| {
        let (handle, log) = (event_loop.handle(), Log::new());
        handle.set_exception_handler(Some({
            let log = log.clone();
            move |_: &tidegate_reactor::Report| log.push("report")
        }));
        handle.add_reader(&near, || panic!("on purpose")).unwrap();
        handle.add_writer(&near, noting(&log, "write")).unwrap();
        turns(event_loop, 1);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["report", "write", "report", "write"]);
    });
}

// L-06
#[test]
fn a_hang_up_wakes_whatever_direction_is_registered() {
    with_loop(|event_loop| {
        let (handle, log) = (event_loop.handle(), Log::new());
        let (reading_end, writing_end): (PipeReader, PipeWriter) = pipe().unwrap();
        handle.add_reader(&writing_end, noting(&log, "reader of a write end")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), [""; 0]);
        drop(reading_end);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["reader of a write end"]);

        handle.add_writer(&writing_end, noting(&log, "writer")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["reader of a write end", "writer"]);
    });
}

/// What a transport is to the loop: the watcher of a source.
struct Transport(Log<&'static str>);

impl Watcher for Transport {
    fn ready(self: Rc<Self>, _: Readiness) {
        self.0.push("transport");
    }

    fn name(&self) -> String {
        "transport <of a test>".to_owned()
    }
}

// L-72
#[test]
fn a_descriptor_of_a_transport_is_refused_until_the_transport_closes() {
    with_ready(|event_loop, near, _far| {
        let (handle, log) = (event_loop.handle(), Log::new());
        let number = near.as_raw_fd();
        let transport = Rc::new(Transport(log.clone()));
        let source = Source::new(&handle, near, Interest::NONE, transport).unwrap();

        let refused = [
            handle.add_reader(source.get_ref(), || ()).unwrap_err(),
            handle.add_writer(source.get_ref(), || ()).unwrap_err(),
            handle.remove_reader(source.get_ref()).unwrap_err(),
            handle.remove_writer(source.get_ref()).unwrap_err(),
        ];
        for error in refused {
            let expected = format!("File descriptor {number} is used by transport <of a test>");
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }

        source.release();
        handle.add_reader(source.get_ref(), noting(&log, "read")).unwrap();
        handle.add_writer(source.get_ref(), noting(&log, "write")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["read", "write"]);
        assert!(handle.remove_reader(source.get_ref()).unwrap());
        assert!(handle.remove_writer(source.get_ref()).unwrap());
        assert_eq!(handle.statistics().sources, 1);
    });
}

// L-73
#[test]
fn a_second_transport_on_the_same_descriptor_is_refused_until_the_first_is_gone() {
    with_ready(|event_loop, near, _far| {
        let (handle, near, log) = (event_loop.handle(), Rc::new(near), Log::new());
        let open = || {
            let transport = Rc::new(Transport(log.clone()));
            Source::new(&handle, Rc::clone(&near), Interest::READ, transport)
        };
        let first = open().unwrap();
        let error = open().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().ends_with("is used by transport <of a test>"), "{error}");

        // The first one is as it was.
        turns(event_loop, 1);
        assert_eq!(log.take(), ["transport"]);
        drop(first);
        drop(open().unwrap());
    });
}

#[test]
fn a_number_that_stands_for_another_file_by_now_is_not_mistaken() {
    with_loop(|event_loop| {
        let (handle, log) = (event_loop.handle(), Log::new());
        let (near, _far) = UnixStream::pair().unwrap();
        handle.add_reader(&near, noting_its_end(&log, "first", "dropped")).unwrap();
        handle.add_writer(&near, noting(&log, "first writer")).unwrap();

        // The number is free for the next file, which another test may be faster to open.
        let number = near.as_raw_fd();
        drop(near);
        let mut opened = Vec::new();
        let reused = loop {
            let next: (OwnedFd, OwnedFd) =
                UnixStream::pair().map(|(a, b)| (a.into(), b.into())).unwrap();
            opened.push(next.0);
            opened.push(next.1);
            if let Some(found) = opened.iter().position(|fd| fd.as_raw_fd() == number) {
                break found;
            }
            if opened.len() > 100 {
                return;
            }
        };
        handle.add_writer(&opened[reused], noting(&log, "second")).unwrap();
        assert_eq!(log.take(), ["dropped"]);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second"]);
        assert!(!handle.remove_reader(&opened[reused]).unwrap());
    });
}

#[test]
fn a_regular_file_is_refused_with_a_clear_error() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let error = handle.add_reader(&file, || ()).unwrap_err();
        assert!(error.to_string().contains("regular file"), "{error}");
        assert!(!handle.remove_reader(&file).unwrap());
        assert_eq!(handle.statistics().sources, 0);
    });
}

// L-51
#[test]
fn a_closed_loop_refuses_readers_and_has_none_to_remove() {
    with_ready(|event_loop, near, _far| {
        let (handle, log) = (event_loop.handle(), Log::new());
        for direction in ["reader dropped", "writer dropped"] {
            let callback = noting_its_end(&log, "called", direction);
            match direction {
                "reader dropped" => handle.add_reader(&near, callback).unwrap(),
                _ => handle.add_writer(&near, callback).unwrap(),
            }
        }
        event_loop.close().unwrap();
        assert_eq!(log.take(), ["reader dropped", "writer dropped"]);

        for refused in [handle.add_reader(&near, || ()), handle.add_writer(&near, || ())] {
            let inside = refused.unwrap_err().into_inner().unwrap();
            assert_eq!(*inside.downcast::<LoopError>().unwrap(), LoopError::Closed);
        }
        assert!(!handle.remove_reader(&near).unwrap());
        assert!(!handle.remove_writer(&near).unwrap());
    });
}

// L-50
#[test]
fn closing_drops_every_callback_though_one_panics() {
    with_ready(|event_loop, near, far| {
        let (handle, log) = (event_loop.handle(), Log::new());
        let reports = reports(&handle);
        let panics = PanicsAtDrop;
        let owning = move || {
            let _ = &panics;
        };
        handle.add_reader(&near, owning).unwrap();
        handle.add_reader(&far, noting_its_end(&log, "called", "dropped")).unwrap();
        event_loop.close().unwrap();
        assert_eq!(log.take(), ["dropped"]);
        assert_eq!(messages(&reports), ["Exception in destructor"]);
    });
}

// L-07
#[test]
fn a_reader_that_reads_to_the_end_lets_the_loop_wait() {
    with_ready(|event_loop, near, mut far| {
        let (handle, near) = (event_loop.handle(), Rc::new(near));
        near.set_nonblocking(true).unwrap();
        let read = Rc::new(Cell::new(0));
        handle
            .add_reader(&near, {
                let (handle, near, read) = (handle.clone(), Rc::clone(&near), Rc::clone(&read));
                move || loop {
                    match (&*near).read(&mut [0; 16]) {
                        Ok(0) => return handle.stop(),
                        Ok(bytes) => read.set(read.get() + bytes),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
            .unwrap();
        let writer = std::thread::spawn(move || far.write_all(b"yz").unwrap());
        event_loop.run_forever().unwrap();
        writer.join().unwrap();
        assert_eq!(read.get(), 3);
        assert!(handle.remove_reader(&near).unwrap());
    });
}
