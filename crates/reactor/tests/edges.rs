//! Descriptors that are watched by edges: told as by levels, for less work of the system.

mod support;

use std::cell::OnceCell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::{Log, turns, with_loop};
use tidegate_reactor::{EventLoop, Interest, LoopHandle, Readiness, Source, Watcher, sleep};

/// An end of a pair that writes down what it is told, and reads and writes as a transport does.
struct End {
    log: Log<(bool, bool, bool)>,
    source: OnceCell<Source<UnixStream>>,
    /// How many bytes it reads when it is told; 0 to leave them.
    reads: usize,
}

const READABLE: (bool, bool, bool) = (true, false, false);
const WRITABLE: (bool, bool, bool) = (false, true, false);

impl End {
    /// An end that reads so many bytes at a time, and its peer.
    fn new(handle: &LoopHandle, interest: Interest, reads: usize) -> (Rc<End>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let end = Rc::new(End { log: Log::new(), source: OnceCell::new(), reads });
        let source = Source::edge_triggered(handle, far, interest, end.clone()).unwrap();
        assert!(end.source.set(source).is_ok());
        (end, near)
    }

    fn source(&self) -> &Source<UnixStream> {
        self.source.get().unwrap()
    }

    fn read(&self, length: usize) -> io::Result<usize> {
        let read = self.source().get_ref().read(&mut vec![0; length]);
        match &read {
            Ok(count) if *count < length && self.source().short_read_empties() => {
                self.source().clear_ready(Interest::READ);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.source().clear_ready(Interest::READ);
            }
            _ => {}
        }
        read
    }

    /// Writes until the system takes no more.
    fn stuff(&self) {
        while self.source().get_ref().write(&[0; 4096]).is_ok() {}
        self.source().clear_ready(Interest::WRITE);
    }
}

impl Watcher for End {
    fn ready(self: Rc<Self>, told: Readiness) {
        self.log.push((told.readable, told.writable, told.hung_up));
        if told.readable && self.reads > 0 {
            let _read = self.read(self.reads);
        }
    }

    fn name(&self) -> String {
        "an end of the test".to_owned()
    }

    fn loop_closed(self: Rc<Self>) {
        self.log.push((false, false, false));
    }
}

/// What is told of a source that may be ready still: where levels are told the system knows that it is not.
fn once_more() -> &'static [(bool, bool, bool)] {
    if cfg!(all(target_os = "linux", not(tidegate_portable))) { &[READABLE] } else { &[] }
}

/// Lets the loop run for a while; how many turns it made.
fn turns_in_a_while(event_loop: &EventLoop) -> u64 {
    let before = event_loop.handle().statistics().turns;
    event_loop.run_until_complete(sleep(Duration::from_millis(20))).unwrap().unwrap();
    event_loop.handle().statistics().turns - before
}

#[test]
fn readiness_is_told_every_turn_until_the_owner_says_that_it_is_used() {
    // L-07
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 0);
        near.write_all(b"abc").unwrap();
        turns(event_loop, 3);
        assert_eq!(end.log.take(), [READABLE; 3]);
        assert_eq!(end.read(10).unwrap(), 3);
        turns(event_loop, 2);
        assert!(end.log.take().is_empty());
        near.write_all(b"d").unwrap();
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [READABLE]);
    });
}

#[test]
fn what_a_full_read_leaves_behind_is_told_once_a_turn() {
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 2);
        near.write_all(b"abc").unwrap();
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [READABLE]);
        // More comes while it is on the list of those to be told again: that makes it no second time.
        near.write_all(b"d").unwrap();
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [READABLE]);
        turns(event_loop, 1);
        assert_eq!(end.log.take(), once_more(), "a full read says nothing about what is left");
        turns(event_loop, 2);
        assert!(end.log.take().is_empty());
    });
}

#[test]
fn what_came_while_nobody_was_interested_is_told_when_somebody_is() {
    // T-11
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 10);
        turns(event_loop, 1);
        for _ in 0..3 {
            end.source().set_interest(Interest::NONE);
            near.write_all(b"abc").unwrap();
            turns(event_loop, 2);
            assert!(end.log.take().is_empty());
            near.write_all(b"def").unwrap();
            turns(event_loop, 2);
            assert!(end.log.take().is_empty());
            end.source().set_interest(Interest::READ);
            turns(event_loop, 1);
            assert_eq!(end.log.take(), [READABLE]);
            turns(event_loop, 1);
            assert!(end.log.take().is_empty(), "all six were read");
        }
    });
}

#[test]
fn a_peer_that_goes_on_sending_to_somebody_without_interest_makes_no_turns() {
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 10);
        turns(event_loop, 1);
        end.source().set_interest(Interest::NONE);
        near.write_all(b"!").unwrap();
        turns(event_loop, 2);
        let turns = std::thread::scope(|scope| {
            let sender = scope.spawn(|| (0..100).for_each(|_| near.write_all(b"!").unwrap()));
            let turns = turns_in_a_while(event_loop);
            sender.join().unwrap();
            turns
        });
        assert!(turns <= 6, "{turns} turns");
        assert!(end.log.take().is_empty());
    });
}

#[test]
fn room_for_more_is_told_after_the_system_had_refused() {
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::BOTH, 10);
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [WRITABLE]);
        for interest in [Interest::BOTH, Interest::WRITE] {
            end.source().set_interest(Interest::READ);
            end.stuff();
            turns(event_loop, 1);
            assert!(end.log.take().is_empty());
            end.source().set_interest(interest);
            turns(event_loop, 1);
            assert!(end.log.take().is_empty());
            while near.read(&mut [0; 65536]).is_ok() {}
            turns(event_loop, 1);
            assert_eq!(end.log.take(), [WRITABLE]);
        }
    });
}

#[test]
fn the_end_behind_the_last_bytes_is_told_though_the_read_was_short() {
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 10);
        near.write_all(b"abc").unwrap();
        drop(near);
        turns(event_loop, 1);
        assert_eq!(end.log.take().len(), 1);
        turns(event_loop, 1);
        let told = end.log.take();
        assert!(matches!(told[..], [(true, _, _)]), "the end can be read: {told:?}");
        assert_eq!(end.read(10).unwrap(), 0);
    });
}

#[test]
fn a_hang_up_is_told_once_to_somebody_without_interest_and_the_loop_does_not_spin() {
    with_loop(|event_loop| {
        let (end, near) = End::new(&event_loop.handle(), Interest::READ, 10);
        turns(event_loop, 1);
        end.source().set_interest(Interest::NONE);
        turns(event_loop, 1);
        drop(near);
        assert!(turns_in_a_while(event_loop) <= 6);
        assert_eq!(end.log.take(), [(false, false, true)]);
        assert!(end.source().hung_up());
        end.source().set_interest(Interest::READ);
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [(true, false, true)]);
    });
}

#[test]
fn a_hang_up_is_told_though_the_source_was_to_be_told_again_and_has_lost_interest() {
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 1);
        near.write_all(b"ab").unwrap();
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [READABLE], "one byte is left");
        end.source().set_interest(Interest::NONE);
        drop(near);
        turns(event_loop, 3);
        assert_eq!(end.log.take(), [(false, false, true)]);
    });
}

#[test]
fn an_owner_that_distrusts_short_reads_is_told_until_nothing_is_left() {
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 10);
        end.source().distrust_short_reads();
        near.write_all(b"abc").unwrap();
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [READABLE]);
        turns(event_loop, 1);
        assert_eq!(end.log.take(), once_more(), "to find that nothing is left");
        turns(event_loop, 1);
        assert!(end.log.take().is_empty());
    });
}

#[test]
fn a_wider_interest_joins_what_is_to_be_told_again() {
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 1);
        near.write_all(b"abc").unwrap();
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [READABLE]);
        end.source().set_interest(Interest::BOTH);
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [(true, true, false)]);
    });
}

#[test]
fn what_a_run_that_unwinds_has_found_is_told_in_the_next() {
    // L-08
    with_loop(|event_loop| {
        let (end, mut near) = End::new(&event_loop.handle(), Interest::READ, 10);
        near.write_all(b"abc").unwrap();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            event_loop.run_until_complete(async { panic!("before anybody is told") })
        }));
        assert!(unwound.is_err());
        assert!(end.log.take().is_empty());
        turns(event_loop, 1);
        assert_eq!(end.log.take(), [READABLE]);
    });
}
