//! Descriptors that are watched.

mod support;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use rustix::net::sockopt::set_socket_linger;
use support::{Calls, Log, PanicsAtDrop, messages, reports, turns, with_loop};
use tidegate_reactor::{EventLoop, Interest, Readiness, Source, Watcher};

const READABLE: (bool, bool, bool) = (true, false, false);
const WRITABLE: (bool, bool, bool) = (false, true, false);

/// A watcher that writes down what it is told: readable, writable, hung up.
fn noting(log: &Log<(bool, bool, bool)>) -> Rc<dyn Watcher> {
    let log = log.clone();
    Calls::new(move |told: Readiness| log.push((told.readable, told.writable, told.hung_up)))
}

/// Two connected TCP sockets.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

/// Closes a connection so that the peer is reset.
fn reset(socket: TcpStream) {
    set_socket_linger(&socket, Some(std::time::Duration::ZERO)).unwrap();
}

/// Makes turns that wait, until the watcher of `log` was told something.
fn until_told(event_loop: &EventLoop, log: &Log<(bool, bool, bool)>) -> Vec<(bool, bool, bool)> {
    loop {
        turns(event_loop, 1);
        let told = log.take();
        if !told.is_empty() {
            return told;
        }
    }
}

#[test]
fn both_directions_are_told_in_one_call() {
    // L-05
    with_loop(|event_loop| {
        let log = Log::new();
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"!").unwrap();
        let _source = Source::new(&event_loop.handle(), far, Interest::BOTH, noting(&log)).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), [(true, true, false)]);
    });
}

#[test]
fn a_hang_up_makes_every_direction_of_interest_ready() {
    // L-06
    with_loop(|event_loop| {
        let interests = [
            (Interest::READ, (true, false)),
            (Interest::WRITE, (false, true)),
            (Interest::BOTH, (true, true)),
        ];
        for (interest, (readable, writable)) in interests {
            let log = Log::new();
            let (near, far) = UnixStream::pair().unwrap();
            let source = Source::new(&event_loop.handle(), far, interest, noting(&log)).unwrap();
            drop(near);
            turns(event_loop, 1);
            assert_eq!(log.take(), [(readable, writable, true)]);
            assert!(source.hung_up());
        }
    });
}

#[test]
fn closing_the_reading_end_of_a_pipe_wakes_a_reader_of_the_writing_end() {
    // L-06
    with_loop(|event_loop| {
        let log = Log::new();
        let (reading, writing) = io::pipe().unwrap();
        let source =
            Source::new(&event_loop.handle(), writing, Interest::READ, noting(&log)).unwrap();
        turns(event_loop, 1);
        assert!(log.take().is_empty());
        drop(reading);
        turns(event_loop, 1);
        assert_eq!(log.take(), [(true, false, true)]);
        drop(source);
    });
}

#[test]
fn the_end_of_what_a_peer_sends_is_readable_and_no_hang_up() {
    with_loop(|event_loop| {
        let log = Log::new();
        let (near, far) = tcp_pair();
        let source = Source::new(&event_loop.handle(), far, Interest::READ, noting(&log)).unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(until_told(event_loop, &log), [READABLE]);
        assert!(!source.hung_up());
    });
}

#[test]
fn readiness_is_told_every_turn_until_it_is_used() {
    // L-07
    with_loop(|event_loop| {
        let log = Log::new();
        let (mut near, far) = UnixStream::pair().unwrap();
        let source = Source::new(&event_loop.handle(), far, Interest::READ, noting(&log)).unwrap();
        near.write_all(b"!").unwrap();
        turns(event_loop, 3);
        assert_eq!(log.take(), [READABLE; 3]);
        source.get_ref().read_exact(&mut [0]).unwrap();
        turns(event_loop, 2);
        assert!(log.take().is_empty());
    });
}

#[test]
fn a_watcher_that_another_one_removes_is_not_told_though_it_was_found_ready() {
    // L-04
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let sources: Rc<RefCell<Vec<Source<UnixStream>>>> = Rc::default();
        let mut peers = Vec::new();
        for name in ["first", "second"] {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(b"!").unwrap();
            let (all, log) = (Rc::clone(&sources), log.clone());
            let watcher = Calls::new(move |_| {
                log.push(name);
                let removed = all.take();
                drop(removed);
            });
            let source = Source::new(&handle, far, Interest::READ, watcher).unwrap();
            sources.borrow_mut().push(source);
            peers.push(near);
        }
        turns(event_loop, 2);
        assert_eq!(log.take().len(), 1, "whoever was found first removed both");
        assert_eq!(handle.statistics().sources, 0);
    });
}

#[test]
fn a_new_source_in_an_old_place_is_not_told_of_old_events() {
    // L-04
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let sources: Rc<RefCell<Vec<Source<UnixStream>>>> = Rc::default();
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(b"!").unwrap();
            let (all, log, inner) = (Rc::clone(&sources), log.clone(), handle.clone());
            let watcher = Calls::new(move |_| {
                drop(all.take());
                let (near, far) = UnixStream::pair().unwrap();
                let log = log.clone();
                let fresh = Calls::new(move |_| log.push("an event of somebody else's"));
                let source = Source::new(&inner, far, Interest::BOTH, fresh).unwrap();
                source.set_interest(Interest::READ);
                all.borrow_mut().push(source);
                std::mem::forget(near);
            });
            let source = Source::new(&handle, far, Interest::READ, watcher).unwrap();
            sources.borrow_mut().push(source);
            peers.push(near);
        }
        turns(event_loop, 3);
        assert!(log.take().is_empty());
        drop(sources.take());
    });
}

#[test]
fn interest_given_up_holds_at_once_though_the_direction_was_found_ready() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let sources: Rc<RefCell<Vec<Source<UnixStream>>>> = Rc::default();
        for _ in 0..2 {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(b"!").unwrap();
            let (all, log) = (Rc::clone(&sources), log.clone());
            let watcher = Calls::new(move |_| {
                log.push("told");
                all.borrow().iter().for_each(|source| source.set_interest(Interest::WRITE));
            });
            let source = Source::new(&handle, far, Interest::READ, watcher).unwrap();
            sources.borrow_mut().push(source);
            std::mem::forget(near);
        }
        turns(event_loop, 1);
        assert_eq!(log.take(), ["told"]);
        drop(sources.take());
    });
}

#[test]
fn the_system_is_told_of_an_interest_only_if_it_differs_before_the_wait() {
    with_loop(|event_loop| {
        let log = Log::new();
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"!").unwrap();
        let source = Source::new(&event_loop.handle(), far, Interest::NONE, noting(&log)).unwrap();
        turns(event_loop, 1);
        assert!(log.take().is_empty());
        source.set_interest(Interest::READ);
        source.set_interest(Interest::NONE);
        turns(event_loop, 1);
        assert!(log.take().is_empty());
        source.set_interest(Interest::WRITE);
        source.set_interest(Interest::READ);
        assert_eq!(source.interest(), Interest::READ);
        turns(event_loop, 1);
        assert_eq!(log.take(), [READABLE]);
        source.set_interest(Interest::WRITE);
        turns(event_loop, 1);
        assert_eq!(log.take(), [WRITABLE]);
    });
}

/// A descriptor that turns into another one, which the loop has never heard of.
struct Shifty {
    first: UnixStream,
    second: UnixStream,
    shifted: Cell<bool>,
}

impl AsFd for Shifty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.shifted.get() { self.second.as_fd() } else { self.first.as_fd() }
    }
}

#[test]
fn a_refusal_of_the_system_is_told_as_readiness_of_every_direction() {
    with_loop(|event_loop| {
        let log = Log::new();
        let (first, second) = UnixStream::pair().unwrap();
        let shifty = Shifty { first, second, shifted: Cell::new(false) };
        let source =
            Source::new(&event_loop.handle(), shifty, Interest::NONE, noting(&log)).unwrap();
        source.get_ref().shifted.set(true);
        source.set_interest(Interest::READ);
        turns(event_loop, 1);
        assert_eq!(log.take(), [READABLE]);
        turns(event_loop, 1);
        assert!(log.take().is_empty(), "told once");
        source.get_ref().shifted.set(false);
    });
}

#[test]
fn a_source_without_interest_hears_of_a_reset_once_and_the_loop_does_not_spin() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (near, far) = tcp_pair();
        let source = Source::new(&handle, far, Interest::NONE, noting(&log)).unwrap();
        let before = handle.statistics().turns;
        reset(near);
        let wait = tidegate_reactor::sleep(std::time::Duration::from_millis(20));
        event_loop.run_until_complete(wait).unwrap().unwrap();
        let made = handle.statistics().turns - before;
        assert!(made <= 6, "{made} turns");
        assert_eq!(log.take(), [(false, false, true)]);
        assert!(source.hung_up());

        // It is remembered; interest brings the level back.
        source.set_interest(Interest::READ);
        turns(event_loop, 2);
        assert_eq!(log.take(), [(true, false, true); 2]);
        source.set_interest(Interest::NONE);
        let before = handle.statistics().turns;
        let wait = tidegate_reactor::sleep(std::time::Duration::from_millis(20));
        event_loop.run_until_complete(wait).unwrap().unwrap();
        assert!(handle.statistics().turns - before <= 6);
        assert!(log.take().is_empty(), "it was told already");
    });
}

#[test]
fn a_source_that_gives_its_interest_up_before_the_reset_does_not_spin() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (near, far) = tcp_pair();
        let source = Source::new(&handle, far, Interest::READ, noting(&log)).unwrap();
        turns(event_loop, 1);
        source.set_interest(Interest::NONE);
        turns(event_loop, 1);
        let before = handle.statistics().turns;
        reset(near);
        let wait = tidegate_reactor::sleep(std::time::Duration::from_millis(20));
        event_loop.run_until_complete(wait).unwrap().unwrap();
        assert!(handle.statistics().turns - before <= 6);
        assert_eq!(log.take(), [(false, false, true)]);
    });
}

#[test]
fn a_hang_up_found_in_a_run_that_unwinds_is_told_in_the_next() {
    // L-08
    with_loop(|event_loop| {
        let log = Log::new();
        let (near, far) = UnixStream::pair().unwrap();
        let _source = Source::new(&event_loop.handle(), far, Interest::NONE, noting(&log)).unwrap();
        drop(near);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            event_loop.run_until_complete(async { panic!("before anybody is told") })
        }));
        assert!(unwound.is_err());
        assert!(log.take().is_empty());
        turns(event_loop, 2);
        assert_eq!(log.take(), [(false, false, true)]);
    });
}

#[test]
fn a_regular_file_is_refused_with_a_reason() {
    with_loop(|event_loop| {
        let file = File::open("Cargo.toml").unwrap();
        let number = file.as_raw_fd();
        let refused = Source::new(&event_loop.handle(), file, Interest::READ, noting(&Log::new()));
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(
            refused.to_string(),
            format!(
                "File descriptor {number} cannot be watched: regular files and directories are always ready"
            )
        );
        assert_eq!(event_loop.handle().statistics().sources, 0);
    });
}

#[test]
fn a_descriptor_that_is_watched_already_is_refused_with_the_name_of_its_watcher() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (_near, far) = UnixStream::pair().unwrap();
        let far = Rc::new(far);
        let first =
            Source::new(&handle, Rc::clone(&far), Interest::READ, noting(&Log::new())).unwrap();
        let twice = Source::new(&handle, Rc::clone(&far), Interest::READ, noting(&Log::new()));
        let refused = twice.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            refused.to_string(),
            format!("File descriptor {} is used by a watcher of the test", far.as_raw_fd())
        );
        drop(first);
        let again = Source::new(&handle, far, Interest::READ, noting(&Log::new()));
        assert!(again.is_ok());
    });
}

#[test]
fn dropping_a_source_forgets_it_though_a_duplicate_of_its_descriptor_lives() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (mut near, far) = UnixStream::pair().unwrap();
        let duplicate = far.try_clone().unwrap();
        let source = Source::new(&handle, far, Interest::READ, noting(&log)).unwrap();
        near.write_all(b"!").unwrap();
        drop(source);
        let wait = tidegate_reactor::sleep(std::time::Duration::from_millis(5));
        event_loop.run_until_complete(wait).unwrap().unwrap();
        assert!(log.take().is_empty());
        assert!(handle.statistics().turns <= 4);
        drop(duplicate);
    });
}

#[test]
fn a_source_gives_back_what_it_owned() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (mut near, far) = UnixStream::pair().unwrap();
        let source = Source::new(&handle, far, Interest::READ, noting(&log)).unwrap();
        source.set_interest(Interest::BOTH);
        let mut far = source.into_inner();
        near.write_all(b"?").unwrap();
        turns(event_loop, 1);
        assert!(log.take().is_empty());
        far.read_exact(&mut [0]).unwrap();
        assert_eq!(handle.statistics().sources, 0);
    });
}

#[test]
fn a_watcher_lives_until_its_source_is_dropped() {
    with_loop(|event_loop| {
        let log = Log::new();
        let guard = log.at_drop("dropped");
        let (near, far) = UnixStream::pair().unwrap();
        let watcher = Calls::new(move |_| {
            let _ = &guard;
        });
        let source = Source::new(&event_loop.handle(), far, Interest::READ, watcher).unwrap();
        assert!(log.take().is_empty());
        drop(source);
        assert_eq!(log.take(), ["dropped"]);
        drop(near);
    });
}

#[test]
fn a_source_is_closed_when_it_is_dropped() {
    with_loop(|event_loop| {
        let (mut near, far) = UnixStream::pair().unwrap();
        let handle = event_loop.handle();
        drop(Source::new(&handle, far, Interest::READ, noting(&Log::new())).unwrap());
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_watcher_that_panics_is_reported_and_the_others_are_told() {
    // L-08
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let reports = reports(&handle);
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (near, far) = UnixStream::pair().unwrap();
            let log = log.clone();
            let watcher = Calls::new(move |_| {
                log.push("told");
                panic!("a watcher that panics");
            });
            let source = Source::new(&handle, far, Interest::WRITE, watcher).unwrap();
            ends.push((near, source));
        }
        turns(event_loop, 1);
        assert_eq!(log.take().len(), 3);
        assert_eq!(messages(&reports), ["Exception in callback a watcher of the test"; 3]);
    });
}

#[test]
fn a_watcher_whose_destructor_panics_takes_nothing_down() {
    // L-08
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        let watcher = || {
            let value = PanicsAtDrop;
            Calls::new(move |_| {
                let _ = &value;
            })
        };
        let (_near, far) = UnixStream::pair().unwrap();
        drop(Source::new(&handle, far, Interest::READ, watcher()).unwrap());
        drop(handle.enrol(watcher()).unwrap());
        assert_eq!(messages(&reports), ["Exception in destructor"; 2]);
    });
}

#[test]
fn watchers_are_told_to_shut_down() {
    struct Ends(Log<&'static str>);
    impl Watcher for Ends {
        fn ready(self: Rc<Self>, _: Readiness) {}
        fn name(&self) -> String {
            "ends".to_owned()
        }
        fn shut_down(self: Rc<Self>) {
            self.0.push("shut down");
        }
    }
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (_near, far) = UnixStream::pair().unwrap();
        let _source =
            Source::new(&handle, far, Interest::READ, Rc::new(Ends(log.clone()))).unwrap();
        let enrolled = handle.enrol(Rc::new(Ends(log.clone()))).unwrap();
        assert_eq!(handle.statistics().sources, 2);
        handle.shut_down_watchers();
        assert_eq!(log.take(), ["shut down"; 2]);
        drop(enrolled);
        handle.shut_down_watchers();
        assert_eq!(log.take(), ["shut down"]);
    });
}

#[test]
fn more_sources_than_one_wait_can_bring_are_all_told() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        // Each duplicate of a descriptor is a source of its own; how many there may be is up to the system.
        let (_peer, socket) = UnixStream::pair().unwrap();
        let sources: Vec<_> = (0..1100)
            .map_while(|number| {
                let log = log.clone();
                let duplicate = socket.try_clone().ok()?;
                let watcher = Calls::new(move |_| log.push(number));
                Some(Source::new(&handle, duplicate, Interest::WRITE, watcher).unwrap())
            })
            .collect();
        let mut told = std::collections::BTreeSet::new();
        // None is left out for the sake of those that are ready again: each has its turn within as few as there are.
        for _ in 0..sources.len() / 40 + 1 {
            turns(event_loop, 1);
            told.extend(log.take());
        }
        assert_eq!(told.len(), sources.len());
    });
}
