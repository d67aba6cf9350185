//! What the tests of the loop share: a watchdog, a clock that jumps, a log, watchers.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::cell::{Cell, RefCell};
use std::env;
use std::fmt::Debug;
use std::process::{self, Command};
use std::rc::Rc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tidegate_reactor::{Clock, EventLoop, LoopHandle, Readiness, Report, Watcher};

/// Runs a test that may hang if it fails: after a minute the process is ended with its name.
pub(crate) fn watched<R>(test: impl FnOnce() -> R) -> R {
    let name = thread::current().name().unwrap_or("a test without a name").to_owned();
    let (alive, ended) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            process::abort();
        }
    });
    let result = test();
    drop(alive);
    watchdog.join().unwrap();
    result
}

/// Runs a test with a loop, watched, and closes the loop. What is reported to nobody fails the test: the
/// loop catches panics, also those of assertions in callbacks.
pub(crate) fn with_loop<R>(test: impl FnOnce(&EventLoop) -> R) -> R {
    watched(|| checked(&EventLoop::new().unwrap(), test))
}

/// Runs a test with a loop whose clock jumps, watched and checked as by [`with_loop`].
pub(crate) fn with_jumping_loop<R>(test: impl FnOnce(&EventLoop, &JumpingClock) -> R) -> R {
    watched(|| {
        let clock = JumpingClock::default();
        let event_loop = EventLoop::with_clock(clock.clone()).unwrap();
        checked(&event_loop, |event_loop| test(event_loop, &clock))
    })
}

fn checked<R>(event_loop: &EventLoop, test: impl FnOnce(&EventLoop) -> R) -> R {
    let unexpected = reports(&event_loop.handle());
    let result = test(event_loop);
    event_loop.close().unwrap();
    let unexpected: Vec<_> = unexpected.take().iter().map(Report::to_string).collect();
    assert!(unexpected.is_empty(), "reported: {unexpected:#?}");
    result
}

/// A clock that stands still until a test advances it, or the loop has nothing to do but to wait for a timer.
#[derive(Clone)]
pub(crate) struct JumpingClock {
    now: Rc<Cell<Duration>>,
    reads: Rc<Cell<u32>>,
}

impl Default for JumpingClock {
    fn default() -> JumpingClock {
        JumpingClock {
            now: Rc::new(Cell::new(Duration::from_secs(1000))),
            reads: Rc::new(Cell::new(0)),
        }
    }
}

impl JumpingClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.now.set(self.now.get() + by);
    }

    /// How often it was read.
    pub(crate) fn reads(&self) -> u32 {
        self.reads.get()
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Duration {
        self.reads.set(self.reads.get() + 1);
        self.now.get()
    }

    fn jump(&self, to: Duration) -> bool {
        self.now.set(to);
        true
    }
}

/// What happened, in order.
pub(crate) struct Log<T> {
    entries: Rc<RefCell<Vec<T>>>,
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Log<T> {
        Log { entries: Rc::clone(&self.entries) }
    }
}

impl<T: Debug + 'static> Log<T> {
    pub(crate) fn new() -> Log<T> {
        Log { entries: Rc::new(RefCell::new(Vec::new())) }
    }

    pub(crate) fn push(&self, entry: T) {
        self.entries.borrow_mut().push(entry);
    }

    /// A callback that writes that.
    pub(crate) fn writes(&self, entry: T) -> impl FnOnce() + use<T> {
        let log = self.clone();
        move || log.push(entry)
    }

    /// A value that writes that when it is dropped.
    pub(crate) fn at_drop(&self, entry: T) -> AtDrop<T> {
        AtDrop { log: self.clone(), entry: Some(entry) }
    }

    /// Everything written so far, which is forgotten.
    pub(crate) fn take(&self) -> Vec<T> {
        self.entries.take()
    }
}

pub(crate) struct AtDrop<T: Debug + 'static> {
    log: Log<T>,
    entry: Option<T>,
}

impl<T: Debug + 'static> Drop for AtDrop<T> {
    fn drop(&mut self) {
        self.log.push(self.entry.take().unwrap());
    }
}

/// Panics when it is dropped.
pub(crate) struct PanicsAtDrop;

impl Drop for PanicsAtDrop {
    fn drop(&mut self) {
        panic!("a destructor that panics");
    }
}

/// Collects the reports of a loop.
pub(crate) fn reports(handle: &LoopHandle) -> Log<Report> {
    let log = Log::new();
    let reports = log.clone();
    handle.set_exception_handler(Some(move |report: &Report| reports.push(report.clone())));
    log
}

/// The messages of reports.
pub(crate) fn messages(reports: &Log<Report>) -> Vec<String> {
    reports.take().iter().map(|report| report.message().to_owned()).collect()
}

/// A watcher that calls a function.
pub(crate) struct Calls<F> {
    f: F,
}

impl<F: Fn(Readiness) + 'static> Calls<F> {
    pub(crate) fn new(f: F) -> Rc<Calls<F>> {
        Rc::new(Calls { f })
    }
}

impl<F: Fn(Readiness) + 'static> Watcher for Calls<F> {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        (self.f)(readiness);
    }

    fn name(&self) -> String {
        "a watcher of the test".to_owned()
    }
}

/// Makes that many turns.
pub(crate) fn turns(event_loop: &EventLoop, count: usize) {
    for _ in 0..count {
        event_loop.stop();
        event_loop.run_forever().unwrap();
    }
}

const CHILD: &str = "TIDEGATE_TEST_CHILD";

/// Runs the named test of this program once more in a process of its own, where `f` is called; gives what
/// that wrote to stderr.
pub(crate) fn stderr_of(name: &str, f: impl FnOnce()) -> Option<String> {
    if env::var_os(CHILD).is_some() {
        watched(f);
        return None;
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    Some(String::from_utf8(child.stderr).unwrap())
}
