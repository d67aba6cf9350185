//! Signals of the process as callbacks of the loop.

mod support;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use nix::sys::signal::{kill, raise};
use nix::unistd::getpid;
use support::{PanicsAtDrop, messages, reports, turns, watched, with_loop};
use tidegate_reactor::{EventLoop, LoopError, LoopHandle, Signal, SignalError};

/// Signals belong to the process, so these tests run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test with a loop while no other test of this program runs.
fn alone_with_loop(test: impl FnOnce(&EventLoop)) {
    let _alone = alone();
    with_loop(test);
}

/// Set in a process that plays the part of a test that may end it.
const CHILD: &str = "TIDEGATE_SIGNALS_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test of that name in a process of its own.
fn in_child(test: &str) -> ExitStatus {
    let _alone = alone();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    output.status
}

/// Enough turns to hear of a signal that has come, and to run what it queued.
fn some_turns(event_loop: &EventLoop) {
    turns(event_loop, 2);
}

fn counting(count: &Rc<Cell<u32>>) -> impl FnMut() + 'static {
    let count = Rc::clone(count);
    move || count.set(count.get() + 1)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/dev/fd").unwrap().count()
}

// L-80
#[test]
fn a_handler_runs_in_the_loop_and_not_before() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let steps = Rc::new(RefCell::new(Vec::new()));
        handle
            .add_signal_handler(Signal::SIGUSR1, {
                let (handle, steps) = (handle.clone(), Rc::clone(&steps));
                move || {
                    assert!(handle.is_running() && handle.in_step());
                    steps.borrow_mut().push(handle.step_number());
                }
            })
            .unwrap();
        raise(Signal::SIGUSR1).unwrap();
        assert!(steps.borrow().is_empty());
        some_turns(event_loop);
        assert_eq!(steps.borrow().len(), 1);

        // Raised by a callback, it is handled after it.
        handle
            .call_soon({
                let steps = Rc::clone(&steps);
                move || {
                    raise(Signal::SIGUSR1).unwrap();
                    assert_eq!(steps.borrow().len(), 1);
                }
            })
            .unwrap();
        some_turns(event_loop);
        some_turns(event_loop);
        assert_eq!(steps.borrow().len(), 2);
    });
}

// L-80
#[test]
fn a_signal_interrupts_the_wait_whichever_thread_receives_it() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let stop = handle.clone();
        handle.add_signal_handler(Signal::SIGUSR2, move || stop.stop()).unwrap();
        for round in 0..20 {
            let sender = thread::spawn(move || match round % 2 {
                0 => raise(Signal::SIGUSR2).unwrap(),
                _ => kill(getpid(), Signal::SIGUSR2).unwrap(),
            });
            event_loop.run_forever().unwrap();
            sender.join().unwrap();
        }
    });
}

// L-80
#[test]
fn a_second_handler_replaces_the_first() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (first, second) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        handle.add_signal_handler(Signal::SIGUSR1, counting(&first)).unwrap();
        handle.add_signal_handler(Signal::SIGUSR1, counting(&second)).unwrap();
        assert_eq!(Rc::strong_count(&first), 1, "the first is dropped");
        raise(Signal::SIGUSR1).unwrap();
        some_turns(event_loop);
        assert_eq!((first.get(), second.get()), (0, 1));

        // Queued already, it is not called any more, and the next one not yet.
        raise(Signal::SIGUSR1).unwrap();
        turns(event_loop, 1);
        assert_eq!(handle.statistics().ready, 1);
        handle.add_signal_handler(Signal::SIGUSR1, counting(&first)).unwrap();
        some_turns(event_loop);
        assert_eq!((first.get(), second.get()), (0, 1));
    });
}

// L-83
#[test]
fn several_signals_are_at_least_one_call_and_kinds_are_kept_apart() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (one, two) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        handle.add_signal_handler(Signal::SIGUSR1, counting(&one)).unwrap();
        handle.add_signal_handler(Signal::SIGUSR2, counting(&two)).unwrap();
        for _ in 0..10_000 {
            raise(Signal::SIGUSR1).unwrap();
        }
        raise(Signal::SIGUSR2).unwrap();
        some_turns(event_loop);
        assert!((1..=10_000).contains(&one.get()), "{}", one.get());
        assert_eq!(two.get(), 1);
        let before = one.get();
        some_turns(event_loop);
        assert_eq!(one.get(), before);
    });
}

// replaced: L-81
#[test]
fn signals_that_nobody_can_catch_are_refused() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        for (signal, text) in [
            (Signal::SIGKILL, "signal 9 cannot be caught"),
            (Signal::SIGSTOP, &*format!("signal {} cannot be caught", Signal::SIGSTOP as i32)),
            (Signal::SIGSEGV, "signal 11 cannot be caught"),
            (Signal::SIGFPE, "signal 8 cannot be caught"),
            (Signal::SIGILL, "signal 4 cannot be caught"),
        ] {
            let error = handle.add_signal_handler(signal, || ()).unwrap_err();
            assert!(matches!(error, SignalError::CannotBeCaught(refused) if refused == signal));
            assert_eq!(error.to_string(), text);
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
            // L-82
            assert!(!handle.remove_signal_handler(signal));
        }
        // L-84
        assert_eq!(handle.statistics().sources, 0);

        // L-51
        event_loop.close().unwrap();
        let error = handle.add_signal_handler(Signal::SIGUSR1, || ()).unwrap_err();
        assert!(matches!(error, SignalError::Loop(LoopError::Closed)));
        assert_eq!(error.to_string(), "Event loop is closed");
        assert!(!handle.remove_signal_handler(Signal::SIGUSR1));
    });
}

// L-82
#[test]
fn removing_says_whether_there_was_one() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        assert!(!handle.remove_signal_handler(Signal::SIGUSR1));
        let count = Rc::new(Cell::new(0));
        handle.add_signal_handler(Signal::SIGUSR1, counting(&count)).unwrap();

        // Queued already, it is not called any more.
        raise(Signal::SIGUSR1).unwrap();
        turns(event_loop, 1);
        assert_eq!(handle.statistics().ready, 1);
        assert!(handle.remove_signal_handler(Signal::SIGUSR1));
        assert_eq!(Rc::strong_count(&count), 1, "it is dropped");
        assert!(!handle.remove_signal_handler(Signal::SIGUSR1));
        some_turns(event_loop);
        assert_eq!(count.get(), 0);
    });
}

// L-82
#[test]
fn removing_restores_the_default_action_again_and_again() {
    const ROUNDS: i32 = 3;
    if is_child() {
        let event_loop = EventLoop::new().unwrap();
        let handle = event_loop.handle();
        let count = Rc::new(Cell::new(0));
        for round in 1..=ROUNDS {
            handle.add_signal_handler(Signal::SIGTERM, counting(&count)).unwrap();
            raise(Signal::SIGTERM).unwrap();
            some_turns(&event_loop);
            assert_eq!(count.get(), round as u32);
            assert!(handle.remove_signal_handler(Signal::SIGTERM));
        }
        raise(Signal::SIGTERM).unwrap();
        unreachable!("the default action ends the process");
    }
    watched(|| {
        let status = in_child("removing_restores_the_default_action_again_and_again");
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{status}");
    });
}

// L-82
#[test]
fn removed_from_sigint_it_interrupts_again() {
    if is_child() {
        let event_loop = EventLoop::new().unwrap();
        let handle = event_loop.handle();
        let count = Rc::new(Cell::new(0));
        handle.add_signal_handler(Signal::SIGINT, counting(&count)).unwrap();
        for _ in 0..3 {
            raise(Signal::SIGINT).unwrap();
        }
        some_turns(&event_loop);
        assert!(count.get() >= 1);
        assert!(handle.remove_signal_handler(Signal::SIGINT));
        raise(Signal::SIGINT).unwrap();
        unreachable!("the default action ends the process");
    }
    watched(|| {
        let status = in_child("removed_from_sigint_it_interrupts_again");
        assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}");
    });
}

#[test]
fn a_signal_that_was_ignored_before_is_ignored_afterwards() {
    alone_with_loop(|event_loop| {
        // Every Rust program starts with SIGPIPE ignored, and relies on it when it writes.
        let handle = event_loop.handle();
        let count = Rc::new(Cell::new(0));
        handle.add_signal_handler(Signal::SIGPIPE, counting(&count)).unwrap();
        raise(Signal::SIGPIPE).unwrap();
        some_turns(event_loop);
        assert_eq!(count.get(), 1);
        assert!(handle.remove_signal_handler(Signal::SIGPIPE));
        raise(Signal::SIGPIPE).unwrap();
    });
}

// L-84
#[test]
fn the_wake_up_descriptors_go_with_the_last_handler() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let before = open_descriptors();
        for _ in 0..3 {
            handle.add_signal_handler(Signal::SIGUSR1, || ()).unwrap();
            handle.add_signal_handler(Signal::SIGUSR2, || ()).unwrap();
            assert_eq!(handle.statistics().sources, 1);
            let during = open_descriptors();
            assert!(during > before);
            assert!(handle.remove_signal_handler(Signal::SIGUSR1));
            assert_eq!(open_descriptors(), during);
            assert!(handle.remove_signal_handler(Signal::SIGUSR2));
            assert_eq!(open_descriptors(), before);
            assert_eq!(handle.statistics().sources, 0);
        }
    });
}

#[test]
fn loops_in_several_threads_handle_the_same_signal() {
    watched(|| {
        let _alone = alone();
        let (told, ready) = mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let told = told.clone();
                thread::spawn(move || {
                    let event_loop = EventLoop::new().unwrap();
                    let handle = event_loop.handle();
                    let stop = handle.clone();
                    handle.add_signal_handler(Signal::SIGUSR1, move || stop.stop()).unwrap();
                    told.send(()).unwrap();
                    event_loop.run_forever().unwrap();
                    event_loop.close().unwrap();
                })
            })
            .collect();
        for _ in &threads {
            ready.recv().unwrap();
        }
        kill(getpid(), Signal::SIGUSR1).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

// L-50
#[test]
fn closing_removes_the_handlers_of_that_loop_only() {
    watched(|| {
        let _alone = alone();
        let (closed, open) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
        let (never, once) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        closed.handle().add_signal_handler(Signal::SIGUSR1, counting(&never)).unwrap();
        closed.handle().add_signal_handler(Signal::SIGUSR2, counting(&never)).unwrap();
        open.handle().add_signal_handler(Signal::SIGUSR1, counting(&once)).unwrap();
        let before = open_descriptors();
        closed.close().unwrap();
        assert_eq!(Rc::strong_count(&never), 1);
        assert!(open_descriptors() < before);

        raise(Signal::SIGUSR1).unwrap();
        some_turns(&open);
        assert_eq!((never.get(), once.get()), (0, 1));
        open.close().unwrap();
    });
}

#[test]
fn closing_drops_every_handler_though_one_panics() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        let (panics, kept) = (PanicsAtDrop, Rc::new(Cell::new(0)));
        let owning = move || {
            let _ = &panics;
        };
        handle.add_signal_handler(Signal::SIGUSR1, owning).unwrap();
        handle.add_signal_handler(Signal::SIGUSR2, counting(&kept)).unwrap();
        event_loop.close().unwrap();
        assert_eq!(messages(&reports), ["Exception in destructor"]);
        assert_eq!(Rc::strong_count(&kept), 1);
    });
}

// L-08
#[test]
fn a_panicking_handler_is_reported_and_stays() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        handle.add_signal_handler(Signal::SIGUSR1, || panic!("on purpose")).unwrap();
        for _ in 0..2 {
            raise(Signal::SIGUSR1).unwrap();
            some_turns(event_loop);
        }
        let number = Signal::SIGUSR1 as i32;
        let expected = format!("Exception in callback add_signal_handler({number})");
        assert_eq!(messages(&reports), [expected.clone(), expected]);
    });
}

#[test]
fn a_handler_may_remove_or_replace_itself_while_it_runs() {
    alone_with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (first, second) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        handle
            .add_signal_handler(Signal::SIGUSR1, {
                let (handle, mut count, second) =
                    (handle.clone(), counting(&first), Rc::clone(&second));
                move || {
                    let replacement = replacement(&handle, &second);
                    handle.add_signal_handler(Signal::SIGUSR1, replacement).unwrap();
                    count();
                }
            })
            .unwrap();
        for _ in 0..2 {
            raise(Signal::SIGUSR1).unwrap();
            some_turns(event_loop);
        }
        assert_eq!((first.get(), second.get()), (1, 1));
        assert_eq!((Rc::strong_count(&first), Rc::strong_count(&second)), (1, 1));
        assert_eq!(handle.statistics().sources, 0);
    });
}

/// Counts, and removes itself.
fn replacement(handle: &LoopHandle, count: &Rc<Cell<u32>>) -> impl FnMut() + 'static {
    let (handle, mut count) = (handle.clone(), counting(count));
    move || {
        assert!(handle.remove_signal_handler(Signal::SIGUSR1));
        count();
    }
}
