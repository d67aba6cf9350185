//! The loop itself: made, run, stopped and closed.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::current::{self, Entered};
use crate::mailbox::Door;
use crate::parts::{Core, Life};
use crate::poller::{Events, Poller};
use crate::ready::Entry;
use crate::remote::{Letter, Mail, post_wake};
use crate::report::Report;
use crate::sources::Watcher;
use crate::steps::{Doing, OfferReason};
use crate::turn::{Main, MainPoll, Next, NoMain};
use crate::{Clock, LoopError, LoopHandle, Monotonic};

/// A single-threaded event loop; asyncio's.
///
/// Most programs call `run`, which makes one, runs it and closes it in order. Dropping a loop that was not
/// closed closes it, and says so to the exception handler.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::EventLoop;
///
/// let event_loop = EventLoop::new()?;
/// assert_eq!(event_loop.run_until_complete(async { 6 * 7 })?, 42);
/// event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct EventLoop {
    handle: LoopHandle,
}

impl EventLoop {
    /// Makes a loop that goes by the system's monotonic clock. asyncio: `asyncio.new_event_loop()`.
    ///
    /// # Errors
    ///
    /// Those of the system, which has to give a few descriptors.
    pub fn new() -> io::Result<EventLoop> {
        EventLoop::with_clock(Monotonic)
    }

    /// Makes a loop that goes by `clock`; see [`Clock`].
    ///
    /// # Errors
    ///
    /// Those of the system, which has to give a few descriptors.
    pub fn with_clock(clock: impl Clock) -> io::Result<EventLoop> {
        let core = Core::new(Box::new(clock), Poller::new()?);
        Ok(EventLoop { handle: LoopHandle::new(Rc::new(core)) })
    }

    /// A share of the loop, through which everything else is asked of it.
    #[must_use]
    pub fn handle(&self) -> LoopHandle {
        self.handle.clone()
    }

    /// Runs until `future` is ready, and gives its output. asyncio: `loop.run_until_complete()`.
    ///
    /// The future need not be `'static`. Its end is noticed through the queue: callbacks that were scheduled
    /// before it run first.
    ///
    /// # Errors
    ///
    /// [`LoopError::Stopped`] if [`stop`](Self::stop) came first, and those of
    /// [`run_forever`](Self::run_forever). The future is dropped.
    ///
    /// # Panics
    ///
    /// If the future does. The loop can be used afterwards; what was queued stays queued.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// let mut count = 0;
    /// event_loop.run_until_complete(async { count += 1 })?;
    /// assert_eq!(count, 1);
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn run_until_complete<F: Future>(&self, future: F) -> Result<F::Output, LoopError> {
        let core = self.handle.core();
        let running = Running::start(core)?;

        // The future is dropped before the run ends, so that what its destructors write leaves with the run.
        let outcome = {
            let run = core.main_run.get() + 1;
            core.main_run.set(run);
            core.enqueue(Entry::Main(run));
            let scheduled = AtomicBool::new(true);
            let alarm = Arc::new(MainWaker { mail: Arc::clone(&core.mail), run, scheduled });
            let mut main = Present {
                future: pin!(future),
                waker: Waker::from(Arc::clone(&alarm)),
                alarm,
                outcome: None,
            };
            let ended = running.run(&mut main);
            // Whatever this run left in the queue means nothing to a later one.
            core.main_run.set(run + 1);
            match (main.outcome.take(), ended) {
                (Some(outcome), _) => Ok(outcome),
                (None, Ok(())) => Err(LoopError::Stopped),
                (None, Err(error)) => Err(error),
            }
        };
        drop(running);
        match outcome? {
            Ok(output) => Ok(output),
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Runs until [`stop`](Self::stop) is called. asyncio: `loop.run_forever()`.
    ///
    /// # Errors
    ///
    /// [`LoopError::AlreadyRunning`] and [`LoopError::OtherRunning`] if a loop runs in this thread,
    /// [`LoopError::Closed`] on a closed loop; nothing has happened then. [`LoopError::Wait`] if the system
    /// refuses to wait.
    pub fn run_forever(&self) -> Result<(), LoopError> {
        Running::start(self.handle.core())?.run(&mut NoMain)
    }

    /// Ends the present run after this turn; see [`LoopHandle::stop`].
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// The time by the loop's clock; see [`LoopHandle::time`].
    #[must_use]
    pub fn time(&self) -> Duration {
        self.handle.time()
    }

    /// Whether the loop is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.handle.is_running()
    }

    /// Whether the loop was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Closes the loop: nothing can be scheduled any more, and everything that it holds is dropped, with no
    /// callback. Closing a closed loop does nothing. asyncio: `loop.close()`.
    ///
    /// In this order: bytes not yet offered to the system are offered once; listening ends; tasks are dropped;
    /// transports let go of their protocols; queued callbacks, timers, and what other threads have sent are
    /// dropped; signal handlers are removed; the pool of threads is left to end by itself. A panic in a
    /// destructor is reported and goes no further.
    ///
    /// # Errors
    ///
    /// [`LoopError::CloseRunning`] while the loop runs.
    pub fn close(&self) -> Result<(), LoopError> {
        let core = self.handle.core();
        match core.life.get() {
            Life::Running => return Err(LoopError::CloseRunning),
            Life::Closed => return Ok(()),
            Life::Idle => {}
        }

        // From here on scheduling fails, also from destructors. Wake-ups of tasks are let in until the last
        // task is gone.
        core.life.set(Life::Closed);
        core.mail.close(Door::WakesOnly);
        core.pass(OfferReason::Closing);
        core.tell_watchers(Watcher::stop_listening);
        core.drop_tasks();
        core.tell_watchers(Watcher::loop_closed);
        for row in core.sources.take() {
            core.drop_caught(row);
        }

        // Each container is taken whole before its contents are dropped: a destructor may come back to it.
        for entry in core.ready.take() {
            core.discard(entry);
        }
        let timers = core.timers.borrow_mut().take();
        for call in timers {
            core.drop_caught(Discard(|| call.discard()));
        }
        let bell = core.mail.close(Door::Shut);
        core.take_in_mail();
        for entry in core.ready.take() {
            core.discard(entry);
        }
        core.readers.close();
        core.signals.close();
        core.offload.close();

        core.drop_deferred();
        core.read_buffer.free();
        drop((bell, core.poller.take(), core.events.take()));
        // A handler that owns a handle would keep the loop's memory for ever.
        let handler = core.reports.set_handler(None);
        core.drop_caught(handler);
        Ok(())
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        if !self.is_closed() {
            self.handle.call_exception_handler(Report::new("unclosed event loop"));
            // It does not run: a run borrows it.
            let _ = self.close();
        }
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("life", &self.handle.core().life.get())
            .finish_non_exhaustive()
    }
}

/// A run of a loop. However it ends, the thread and the loop are as before.
struct Running<'a> {
    core: &'a Rc<Core>,
    _entered: Entered,
}

impl<'a> Running<'a> {
    /// Checks first, and touches nothing if it fails (L-44).
    fn start(core: &'a Rc<Core>) -> Result<Running<'a>, LoopError> {
        core.check_open()?;
        if core.is_running() {
            return Err(LoopError::AlreadyRunning);
        }
        if current::get().is_some() {
            return Err(LoopError::OtherRunning);
        }
        core.life.set(Life::Running);
        // The clock may have moved between runs.
        core.looked.set(None);
        Ok(Running { core, _entered: Entered::new(core) })
    }

    fn run(&self, main: &mut dyn Main) -> Result<(), LoopError> {
        let mut events = self.core.events.take().unwrap_or_else(Events::new);
        let ended = loop {
            match self.core.turn(main, &mut events) {
                Ok(Next::GoOn) if !self.core.stopping.get() => {}
                ended => break ended.map(drop),
            }
        };
        self.core.events.set(Some(events));
        ended
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.core.steps.leave();
        self.core.pass(OfferReason::Leaving);
        self.core.stopping.set(false);
        self.core.life.set(Life::Idle);
    }
}

/// The main future of a run.
struct Present<'a, F: Future> {
    future: Pin<&'a mut F>,
    waker: Waker,
    alarm: Arc<MainWaker>,
    outcome: Option<thread::Result<F::Output>>,
}

impl<F: Future> Main for Present<'_, F> {
    fn poll(&mut self, core: &Core) -> MainPoll {
        if self.outcome.is_some() {
            return MainPoll::Pending;
        }
        self.alarm.scheduled.store(false, Ordering::Release);
        let mut context = Context::from_waker(&self.waker);
        let polled =
            core.attempt(Doing::Task(type_name::<F>()), || self.future.as_mut().poll(&mut context));
        match polled {
            Ok(Poll::Pending) => MainPoll::Pending,
            Ok(Poll::Ready(output)) => {
                self.outcome = Some(Ok(output));
                MainPoll::Done
            }
            Err(payload) => {
                self.outcome = Some(Err(payload));
                MainPoll::Panicked
            }
        }
    }
}

/// Wakes the main future from anywhere.
struct MainWaker {
    mail: Arc<Mail>,
    run: u64,
    scheduled: AtomicBool,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        match current::home_of(&self.mail) {
            Some(core) => core.enqueue(Entry::Main(self.run)),
            None => post_wake(&self.mail, Letter::Main(self.run)),
        }
    }
}

impl Core {
    /// Tells every watcher something, each in a step of its own.
    pub(crate) fn tell_watchers(&self, tell: fn(Rc<dyn Watcher>)) {
        for watcher in self.sources.watchers() {
            let share = Rc::clone(&watcher);
            self.step(Doing::Ready(&watcher), || tell(share));
            self.release(watcher);
        }
    }

    /// Drops an entry of the queue unrun; the loop closes.
    fn discard(&self, entry: Entry) {
        match entry {
            Entry::Call(call) => self.drop_caught(Discard(|| call.discard())),
            Entry::Remote(call) => self.drop_caught(Discard(|| call.discard())),
            other => self.drop_caught(other),
        }
    }
}

/// Does something when it is dropped.
struct Discard<F: FnMut()>(F);

impl<F: FnMut()> Drop for Discard<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
