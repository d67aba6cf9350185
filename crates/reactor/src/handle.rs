//! The handle through which everything is asked of a loop.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::LoopError;
use crate::buffer::SharedBuffer;
use crate::call::{self, Handle, Queued, TimerHandle};
use crate::current;
use crate::parts::Core;
use crate::ready::Entry;
use crate::remote::Remote;
use crate::report::{self, ExceptionHandler, Report};
use crate::sources::{Enrolled, Watcher};
use crate::statistics::LoopStatistics;
use crate::steps::{Deferred, Doing, OfferReason};
use crate::tasks::JoinHandle;

/// A share of a loop, for the thread it lives in.
///
/// Whatever belongs to a loop (tasks, timers, transports) keeps one. It keeps the loop's memory, not the
/// loop: when the [`EventLoop`](crate::EventLoop) is closed, every share answers [`LoopError::Closed`].
///
/// It cannot be sent to another thread, which asyncio checks in debug mode only; [`remote`](Self::remote)
/// makes the handle that can:
///
/// ```compile_fail
/// let event_loop = tidegate_reactor::EventLoop::new().unwrap();
/// let handle = event_loop.handle();
/// std::thread::spawn(move || handle.stop());
/// ```
#[derive(Clone)]
pub struct LoopHandle {
    core: Rc<Core>,
}

impl LoopHandle {
    pub(crate) fn new(core: Rc<Core>) -> LoopHandle {
        LoopHandle { core }
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// The loop that runs in this thread. asyncio: `asyncio.get_running_loop()`.
    ///
    /// # Errors
    ///
    /// [`LoopError::NotRunning`] if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::{EventLoop, LoopHandle};
    ///
    /// assert!(LoopHandle::current().is_err());
    /// let event_loop = EventLoop::new()?;
    /// event_loop.run_until_complete(async { assert!(LoopHandle::current().is_ok()) })?;
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn current() -> Result<LoopHandle, LoopError> {
        current::get().map(LoopHandle::new).ok_or(LoopError::NotRunning)
    }

    /// The time by the loop's clock, which never goes back. asyncio: `loop.time()`.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.core.time()
    }

    /// Whether the loop is running. asyncio: `loop.is_running()`.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.core.is_running()
    }

    /// Whether the loop was closed. asyncio: `loop.is_closed()`.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Ends the present run after this turn, or the next run after its first turn.
    ///
    /// What is queued already runs, and timers that are due; what those schedule is for the next run.
    /// asyncio: `loop.stop()`.
    ///
    /// # Examples
    ///
    /// A single turn:
    ///
    /// ```
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// event_loop.handle().call_soon(|| println!("this runs"))?;
    /// event_loop.stop();
    /// event_loop.run_forever()?;
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stop(&self) {
        self.core.stopping.set(true);
    }

    /// Runs `callback` in the next turn, behind everything that is scheduled already. It allocates once.
    /// asyncio: `loop.call_soon()`.
    ///
    /// A panic in it is reported to the exception handler, and the loop goes on.
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] on a closed loop; the callback is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// let order = Rc::new(RefCell::new(Vec::new()));
    /// for number in 0..3 {
    ///     let order = Rc::clone(&order);
    ///     event_loop.handle().call_soon(move || order.borrow_mut().push(number))?;
    /// }
    /// event_loop.run_until_complete(async {})?;
    /// assert_eq!(*order.borrow(), [0, 1, 2]);
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn call_soon(&self, callback: impl FnOnce() + 'static) -> Result<Handle, LoopError> {
        self.core.check_open()?;
        let call = call::callback(callback, Location::caller());
        self.core.enqueue(Entry::Call(Rc::clone(&call)));
        Ok(Handle::new(call))
    }

    /// Runs `callback` when `delay` has passed. asyncio: `loop.call_later()`.
    ///
    /// It runs not earlier than that, and later by up to a millisecond and whatever else the loop does. A
    /// delay of zero is due at once, behind what is queued already. One of more than 584 years never ends.
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] on a closed loop; the callback is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate_reactor::{EventLoop, LoopHandle};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let started = event_loop.time();
    /// let stop = || LoopHandle::current().unwrap().stop();
    /// event_loop.handle().call_later(Duration::from_millis(2), stop)?;
    /// event_loop.run_forever()?;
    /// assert!(event_loop.time() - started >= Duration::from_millis(2));
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn call_later(
        &self,
        delay: Duration,
        callback: impl FnOnce() + 'static,
    ) -> Result<TimerHandle, LoopError> {
        self.call_at(self.time().saturating_add(delay), callback)
    }

    /// Runs `callback` at a time of the loop's clock; see [`time`](Self::time). asyncio: `loop.call_at()`.
    ///
    /// A time in the past is due at once. Timers run in the order of their times, and those of equal times in
    /// the order in which they were scheduled.
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] on a closed loop; the callback is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// let handle = event_loop.handle();
    /// let when = handle.time() + Duration::from_millis(1);
    /// let stop = handle.clone();
    /// let timer = handle.call_at(when, move || stop.stop())?;
    /// event_loop.run_forever()?;
    /// assert_eq!(timer.when(), when);
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn call_at(
        &self,
        when: Duration,
        callback: impl FnOnce() + 'static,
    ) -> Result<TimerHandle, LoopError> {
        self.core.check_open()?;
        let call = call::callback(callback, Location::caller());
        let key = self.core.timers.borrow_mut().insert(when, Rc::clone(&call));
        Ok(TimerHandle::new(call, self.clone(), key, when))
    }

    /// The handle of this loop for other threads; see [`Remote`].
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.core.mail))
    }

    /// Runs `future` as a task of this loop, beside everything else. asyncio: `loop.create_task()`.
    ///
    /// It is polled for the first time in the next turn. It goes on if the handle is dropped; see
    /// [`JoinHandle`].
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] on a closed loop, and while a loop drops its tasks; the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// let task = event_loop.handle().create_task(async { "done" })?;
    /// assert_eq!(event_loop.run_until_complete(task)??, "done");
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create_task<F>(&self, future: F) -> Result<JoinHandle<F::Output>, LoopError>
    where
        F: Future + 'static,
    {
        self.core.spawn(future)
    }

    /// The same as [`create_task`](Self::create_task), under the name other runtimes give it.
    ///
    /// # Errors
    ///
    /// Those of [`create_task`](Self::create_task).
    pub fn spawn<F>(&self, future: F) -> Result<JoinHandle<F::Output>, LoopError>
    where
        F: Future + 'static,
    {
        self.core.spawn(future)
    }

    /// Queues a call without allocating, in one order with [`call_soon`](Self::call_soon). The same value may
    /// be queued any number of times.
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] on a closed loop.
    ///
    /// # Examples
    ///
    /// See [`Queued`].
    pub fn queue(&self, call: Rc<dyn Queued>) -> Result<(), LoopError> {
        self.core.check_open()?;
        self.core.enqueue(Entry::Queued(call));
        Ok(())
    }

    /// Puts `work` on the list of what is done when the present step ends, or, while no step runs, before the
    /// loop next waits. The list does not look for duplicates.
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] on a closed loop.
    ///
    /// # Examples
    ///
    /// See [`Deferred`].
    pub fn at_step_end(&self, work: Rc<dyn Deferred>) -> Result<(), LoopError> {
        self.core.put_off(work)
    }

    /// Something on the list is not to be held until a later step; see [`Deferred::touched`].
    pub fn hurry(&self) {
        self.core.steps.hurry();
    }

    /// Whether the loop is calling user code: a callback, a timer, a task, a notice.
    #[must_use]
    pub fn in_step(&self) -> bool {
        self.core.steps.in_step()
    }

    /// The number of the present step, or of the latest one. The first is 1.
    #[must_use]
    pub fn step_number(&self) -> u64 {
        self.core.steps.number()
    }

    /// Does now all work that was put off to the end of the step. No callback is delivered by it.
    ///
    /// What a connection's own receiving callback has written is not put off: it leaves when that returns.
    pub fn offer_all(&self) {
        self.core.pass(OfferReason::Asked);
    }

    /// Calls `f` as a step: a panic in it is caught and reported with `name`, debug mode measures it, and when
    /// it ends, work that was put off is done. None if it panicked.
    ///
    /// Inside of [`Deferred::offer`] the work put off waits for the pass that is under way; inside of another
    /// step it waits for the end of that one.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::{EventLoop, Report};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let handle = event_loop.handle();
    /// # handle.set_exception_handler(Some(|_: &Report| ()));
    /// assert_eq!(handle.step(&|| "a notice".to_owned(), || 1), Some(1));
    /// assert_eq!(handle.step(&|| "a bad notice".to_owned(), || -> i32 { panic!() }), None);
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn step<R>(&self, name: &dyn Fn() -> String, f: impl FnOnce() -> R) -> Option<R> {
        self.core.step(Doing::Notice(name), f)
    }

    /// Sets who is told of what goes wrong, or with `None` restores the default, which writes to stderr.
    /// asyncio: `loop.set_exception_handler()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// let seen = Rc::new(RefCell::new(Vec::new()));
    /// let log = Rc::clone(&seen);
    /// let handle = event_loop.handle();
    /// handle.set_exception_handler(Some(move |report: &tidegate_reactor::Report| {
    ///     log.borrow_mut().push(report.cause().unwrap().to_string());
    /// }));
    /// handle.call_soon(|| std::panic::panic_any("oh"))?;
    /// event_loop.run_until_complete(async {})?;
    /// assert_eq!(*seen.borrow(), ["panicked: oh"]);
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_exception_handler<F>(&self, handler: Option<F>)
    where
        F: Fn(&Report) + 'static,
    {
        let before = self.core.reports.set_handler(handler.map(|handler| Rc::new(handler) as _));
        drop(before);
    }

    /// Who is told of what goes wrong; `None` for the default. asyncio: `loop.get_exception_handler()`.
    #[must_use]
    pub fn get_exception_handler(&self) -> Option<ExceptionHandler> {
        self.core.reports.handler()
    }

    /// Tells the exception handler. Should it panic, the default one is told of that and of the report.
    /// asyncio: `loop.call_exception_handler()`.
    pub fn call_exception_handler(&self, report: Report) {
        self.core.report(&report);
    }

    /// Writes one record to stderr. asyncio: `loop.default_exception_handler()`.
    pub fn default_exception_handler(&self, report: &Report) {
        report::default_handler(report);
    }

    /// Whether slow callbacks are reported, and reports name the place where things were made. Off by default.
    /// asyncio: `loop.set_debug()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc, thread, time::Duration};
    /// use tidegate_reactor::{EventLoop, Report};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let (handle, log) = (event_loop.handle(), Rc::new(RefCell::new(String::new())));
    /// let seen = Rc::clone(&log);
    /// handle.set_exception_handler(Some(move |report: &Report| *seen.borrow_mut() = report.to_string()));
    /// handle.set_debug(true);
    /// handle.set_slow_callback_duration(Duration::from_millis(2));
    /// handle.call_soon(|| thread::sleep(Duration::from_millis(2)))?;
    /// event_loop.run_until_complete(async {})?;
    /// assert!(log.borrow().starts_with("Executing "));
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_debug(&self, enabled: bool) {
        self.core.reports.debug.set(enabled);
    }

    /// Whether debug mode is on. asyncio: `loop.get_debug()`.
    #[must_use]
    pub fn get_debug(&self) -> bool {
        self.core.reports.debug.get()
    }

    /// Sets what debug mode takes for slow: a step that takes this long, or longer. 100 ms by default.
    /// asyncio: `loop.slow_callback_duration`.
    pub fn set_slow_callback_duration(&self, duration: Duration) {
        self.core.reports.slow.set(duration);
    }

    /// What debug mode takes for slow.
    #[must_use]
    pub fn slow_callback_duration(&self) -> Duration {
        self.core.reports.slow.get()
    }

    /// Numbers about the loop, as they are now.
    #[must_use]
    pub fn statistics(&self) -> LoopStatistics {
        self.core.statistics()
    }

    /// Calls `f` with the buffer that the whole loop shares, [`READ_SIZE`](crate::READ_SIZE) bytes of no
    /// particular content. A call inside of `f` gets another buffer.
    pub fn with_read_buffer<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        f(&mut self.shared_buffer())
    }

    /// Takes the buffer that the whole loop shares, for as long as the guard lives.
    #[must_use]
    pub fn shared_buffer(&self) -> SharedBuffer<'_> {
        SharedBuffer::take(&self.core)
    }

    /// Makes `watcher` known to the loop without a descriptor, so that it is told of the loop's end like the
    /// watchers of sources: [`Watcher::shut_down`], [`Watcher::stop_listening`], [`Watcher::loop_closed`].
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] on a closed loop.
    pub fn enrol(&self, watcher: Rc<dyn Watcher>) -> Result<Enrolled, LoopError> {
        self.core.check_open()?;
        Ok(Enrolled::new(self, watcher))
    }

    /// Asks every watcher to end ([`Watcher::shut_down`]), each in a step of its own. `run` does so when its
    /// main future is done, and goes on making turns until nothing is left.
    pub fn shut_down_watchers(&self) {
        self.core.tell_watchers(Watcher::shut_down);
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("life", &self.core.life.get()).finish_non_exhaustive()
    }
}
