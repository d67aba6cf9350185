//! Steps, the calls of a loop into user code, and what is done when one ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;

use crate::LoopError;
use crate::budget;
use crate::call::{Callback, Queued};
use crate::caught;
use crate::parts::Core;
use crate::remote::RemoteCallback;
use crate::report::Report;
use crate::sources::Watcher;

/// How many steps an entry of the list may be held so that more work can join it.
const HELD_AT_MOST: u64 = 16;

/// How many times one pass goes through its list. Work that then is still being added waits for the next
/// turn, so that two entries that feed each other cannot keep everyone else from being served.
const ROUNDS: usize = 1000;

/// Work put off to the end of a step; see [`LoopHandle::at_step_end`](crate::LoopHandle::at_step_end).
///
/// A *step* is one call of the loop into user code: a callback, a timer, one poll of a task, one notice.
/// Transports so let the bytes of a step leave together. asyncio has no counterpart.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use tidegate_reactor::{Deferred, EventLoop, LoopHandle, OfferReason};
///
/// struct Outbox {
///     handle: LoopHandle,
///     waiting: Cell<usize>,
///     touched: Cell<u64>,
///     sent: Cell<(usize, usize)>,
/// }
///
/// impl Outbox {
///     fn write(self: &Rc<Self>, bytes: usize) {
///         self.touched.set(self.handle.step_number());
///         if self.waiting.replace(self.waiting.get() + bytes) == 0 {
///             self.handle.at_step_end(self.clone()).unwrap();
///         }
///     }
/// }
///
/// impl Deferred for Outbox {
///     fn touched(&self) -> u64 {
///         self.touched.get()
///     }
///     fn offer(self: Rc<Self>, _reason: OfferReason) {
///         let (times, bytes) = self.sent.get();
///         self.sent.set((times + 1, bytes + self.waiting.take()));
///     }
/// }
///
/// let event_loop = EventLoop::new()?;
/// let outbox = Rc::new(Outbox {
///     handle: event_loop.handle(),
///     waiting: Cell::new(0),
///     touched: Cell::new(0),
///     sent: Cell::new((0, 0)),
/// });
/// event_loop.run_until_complete(async {
///     outbox.write(5);
///     outbox.write(6);
/// })?;
/// assert_eq!(outbox.sent.get(), (1, 11));
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Deferred: 'static {
    /// The number of the step in which work was last added, or 0 if the work is not to be held.
    ///
    /// When a step ends, an entry that this very step has touched is held, for 16 steps at most, so that the
    /// next one can add to it. One that is on the list and is not to be held any more says so by
    /// [`LoopHandle::hurry`](crate::LoopHandle::hurry).
    fn touched(&self) -> u64;

    /// Does the work. The entry has left the list by then and may be put on it again.
    ///
    /// It is not a step itself, and runs in none; [`LoopHandle::step`](crate::LoopHandle::step) makes one.
    fn offer(self: Rc<Self>, reason: OfferReason);
}

/// Why work that was put off is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfferReason {
    /// A step has ended that did not add to it, or it was held long enough.
    StepEnded,
    /// The loop is about to wait.
    Waiting,
    /// The loop stops running.
    Leaving,
    /// [`LoopHandle::offer_all`](crate::LoopHandle::offer_all) was called, maybe inside of a user's call: no
    /// callback may be delivered now. What is owed goes back on the list.
    Asked,
    /// The loop is being closed: there will be no other chance, and no callback is delivered any more.
    Closing,
}

/// The number of the present step, and what waits for its end.
pub(crate) struct Steps {
    number: Cell<u64>,
    in_step: Cell<bool>,
    in_pass: Cell<bool>,
    /// Length of the list; all that a step with nothing put off has to look at.
    waiting: Cell<usize>,
    /// How many entries at its end were put on it in the present step, to be held: nobody has to ask them.
    fresh: Cell<usize>,
    list: RefCell<VecDeque<Waiting>>,
    offers: Cell<u64>,
}

struct Waiting {
    work: Rc<dyn Deferred>,
    /// The step in which it was put on the list.
    since: u64,
}

impl Steps {
    pub(crate) fn new() -> Steps {
        Steps {
            number: Cell::new(0),
            in_step: Cell::new(false),
            in_pass: Cell::new(false),
            waiting: Cell::new(0),
            fresh: Cell::new(0),
            list: RefCell::new(VecDeque::new()),
            offers: Cell::new(0),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }

    pub(crate) fn in_step(&self) -> bool {
        self.in_step.get()
    }

    pub(crate) fn offers(&self) -> u64 {
        self.offers.get()
    }

    pub(crate) fn is_anything_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Forgets a step that was left by unwinding out of the loop itself.
    pub(crate) fn leave(&self) {
        self.in_step.set(false);
        self.in_pass.set(false);
    }

    fn put_off(&self, work: Rc<dyn Deferred>, held: bool) {
        let mut list = self.list.borrow_mut();
        list.push_back(Waiting { work, since: self.number.get() });
        self.waiting.set(list.len());
        self.fresh.set(if held { self.fresh.get() + 1 } else { 0 });
    }

    /// Something on the list is not to be held any more: all of it is asked when the step ends.
    pub(crate) fn hurry(&self) {
        self.fresh.set(0);
    }

    /// How many entries have to be asked when a step ends.
    fn to_ask(&self) -> usize {
        self.waiting.get().saturating_sub(self.fresh.get())
    }

    /// Takes out the entry at `place`.
    #[inline]
    fn take(&self, place: usize) -> Option<Waiting> {
        let mut list = self.list.borrow_mut();
        let entry = if place == 0 { list.pop_front() } else { list.remove(place) };
        self.waiting.set(list.len());
        entry
    }

    /// Puts an entry back where it was; what has joined meanwhile is behind it.
    #[inline]
    fn put_back(&self, place: usize, entry: Waiting) {
        let mut list = self.list.borrow_mut();
        let place = place.min(list.len());
        match place {
            0 => list.push_front(entry),
            _ => list.insert(place, entry),
        }
        self.waiting.set(list.len());
    }
}

/// What a step does, for reports.
#[derive(Clone, Copy)]
pub(crate) enum Doing<'a> {
    Call(&'a dyn Callback),
    Queued(&'a Rc<dyn Queued>),
    Remote(&'a dyn RemoteCallback),
    Ready(&'a Rc<dyn Watcher>),
    Task(&'static str),
    Notice(&'a dyn Fn() -> String),
}

impl Doing<'_> {
    fn name(self) -> String {
        let name = catch_unwind(AssertUnwindSafe(|| match self {
            Doing::Call(call) => call.name().to_owned(),
            Doing::Queued(call) => call.name(),
            Doing::Remote(call) => call.name().to_owned(),
            Doing::Ready(watcher) => watcher.name(),
            Doing::Task(name) => name.to_owned(),
            Doing::Notice(name) => name(),
        }));
        name.unwrap_or_else(|payload| {
            caught::discard(payload);
            "(its name panics)".to_owned()
        })
    }

    /// Adds what is known about the step in the way asyncio names it.
    fn describe(self, report: Report, name: String, debug: bool) -> Report {
        match self {
            Doing::Task(_) => report.task(name),
            Doing::Call(call) if debug => {
                report.handle(name).source_traceback(call.scheduled_at().to_string())
            }
            _ => report.handle(name),
        }
    }
}

impl Core {
    /// Calls user code as a step, and does what is due at its end. Gives back what it returned, or its panic.
    #[inline]
    pub(crate) fn attempt<R>(&self, doing: Doing<'_>, f: impl FnOnce() -> R) -> thread::Result<R> {
        let steps = &self.steps;
        steps.number.set(steps.number.get() + 1);
        steps.fresh.set(0);
        budget::refill();
        let outer = steps.in_step.replace(true);
        let result = if self.reports.debug.get() {
            self.timed(doing, f)
        } else {
            catch_unwind(AssertUnwindSafe(f))
        };
        steps.in_step.set(outer);

        if steps.to_ask() > 0 && !outer && !steps.in_pass.get() {
            self.pass(OfferReason::StepEnded);
        }
        result
    }

    /// Calls user code as a step, and reports its panic.
    #[inline]
    pub(crate) fn step<R>(&self, doing: Doing<'_>, f: impl FnOnce() -> R) -> Option<R> {
        match self.attempt(doing, f) {
            Ok(value) => Some(value),
            Err(payload) => {
                self.report_failure(doing, payload);
                None
            }
        }
    }

    #[cold]
    fn report_failure(&self, doing: Doing<'_>, payload: caught::Payload) {
        let name = doing.name();
        let report = Report::new(format!("Exception in callback {name}")).panic(&*payload);
        self.report(&doing.describe(report, name, self.reports.debug.get()));
        caught::discard(payload);
    }

    /// Debug mode: calls user code and tells if it took too long.
    #[cold]
    fn timed<R>(&self, doing: Doing<'_>, f: impl FnOnce() -> R) -> thread::Result<R> {
        let started = self.time();
        let result = catch_unwind(AssertUnwindSafe(f));
        let took = self.time().saturating_sub(started);
        if took >= self.reports.slow.get() {
            let name = doing.name();
            let message = format!("Executing {name} took {:.3} seconds", took.as_secs_f64());
            self.report(&doing.describe(Report::new(message), name, true));
        }
        result
    }

    /// Goes through the list of work put off until nothing is left on it but what may be held.
    #[inline]
    pub(crate) fn pass(&self, reason: OfferReason) {
        if self.steps.is_anything_waiting() {
            self.pass_over(reason);
        }
    }

    fn pass_over(&self, reason: OfferReason) {
        let steps = &self.steps;
        let nested = steps.in_pass.replace(true);
        let in_step = steps.in_step.replace(false);
        for _ in 0..ROUNDS {
            let offered = self.round(reason);
            let once = matches!(reason, OfferReason::Asked | OfferReason::Closing);
            if !offered || !steps.is_anything_waiting() || once {
                break;
            }
        }
        steps.in_step.set(in_step);
        steps.in_pass.set(nested);
    }

    /// Goes once through the list as it is now, in the order in which entries came. Whether it did anything.
    fn round(&self, reason: OfferReason) -> bool {
        let steps = &self.steps;
        let mut offered = false;
        let mut held = 0;
        let ends_step = reason == OfferReason::StepEnded;
        let count = if ends_step { steps.to_ask() } else { steps.waiting.get() };
        for _ in 0..count {
            // None is left if an offer has asked for all of it meanwhile.
            let Some(entry) = steps.take(held) else { break };
            // Nothing is borrowed while the entry is asked: it may put off more, or ask for all of it.
            if ends_step && self.may_be_held(&entry) {
                steps.put_back(held, entry);
                held += 1;
                continue;
            }
            let work = entry.work;
            offered = true;
            steps.offers.set(steps.offers.get() + 1);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work.offer(reason))) {
                self.report(&Report::new("Exception at the end of a step").panic(&*payload));
                caught::discard(payload);
            }
        }
        offered
    }

    fn may_be_held(&self, entry: &Waiting) -> bool {
        self.steps.number.get() - entry.since < HELD_AT_MOST && self.is_touched(&*entry.work)
    }

    /// Whether the present step has added to it.
    fn is_touched(&self, work: &dyn Deferred) -> bool {
        match catch_unwind(AssertUnwindSafe(|| work.touched())) {
            Ok(touched) => touched == self.steps.number.get(),
            Err(payload) => {
                caught::discard(payload);
                false
            }
        }
    }

    /// Puts work off to the end of the step.
    pub(crate) fn put_off(&self, work: Rc<dyn Deferred>) -> Result<(), LoopError> {
        self.check_open()?;
        let held = work.touched() == self.steps.number.get();
        self.steps.put_off(work, held);
        Ok(())
    }

    /// Drops what is left on the list; the loop closes.
    pub(crate) fn drop_deferred(&self) {
        let list = self.steps.list.take();
        self.steps.waiting.set(0);
        for waiting in list {
            self.release(waiting.work);
        }
    }
}
