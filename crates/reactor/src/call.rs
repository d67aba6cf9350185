//! Scheduled callbacks, and the handles that cancel them.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::LoopHandle;
use crate::timers::TimerKey;

/// A call that can be queued without allocating; see [`LoopHandle::queue`].
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use tidegate_reactor::{EventLoop, Queued};
///
/// struct Counter(Cell<u32>);
///
/// impl Queued for Counter {
///     fn run(self: Rc<Self>) {
///         self.0.set(self.0.get() + 1);
///     }
///     fn name(&self) -> String {
///         "counter".to_owned()
///     }
/// }
///
/// let event_loop = EventLoop::new()?;
/// let counter = Rc::new(Counter(Cell::new(0)));
/// event_loop.handle().queue(counter.clone())?;
/// event_loop.handle().queue(counter.clone())?;
/// event_loop.run_until_complete(async {})?;
/// assert_eq!(counter.0.get(), 2);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Queued: 'static {
    /// Does the work, as a step of the loop: a panic is caught and reported.
    fn run(self: Rc<Self>);

    /// What it is called in reports.
    fn name(&self) -> String;
}

/// A callback scheduled with [`LoopHandle::call_soon`]; asyncio's `Handle`.
///
/// Dropping it does nothing to the callback.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::EventLoop;
///
/// let event_loop = EventLoop::new()?;
/// let handle = event_loop.handle().call_soon(|| unreachable!())?;
/// handle.cancel();
/// assert!(handle.cancelled());
/// event_loop.run_until_complete(async {})?;
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    call: Rc<dyn Callback>,
}

impl Handle {
    pub(crate) fn new(call: Rc<dyn Callback>) -> Handle {
        Handle { call }
    }

    /// Keeps the callback from being run, if it has not been, and drops it. May be called again.
    pub fn cancel(&self) {
        self.call.cancel();
    }

    /// Whether [`cancel`](Self::cancel) was called. Having run is not being cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.call.is_cancelled()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("callback", &self.call.name())
            .field("cancelled", &self.cancelled())
            .finish()
    }
}

/// A callback scheduled with [`LoopHandle::call_later`] or [`LoopHandle::call_at`]; asyncio's `TimerHandle`.
///
/// Dropping it does nothing to the timer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidegate_reactor::EventLoop;
///
/// let event_loop = EventLoop::new()?;
/// let timer = event_loop.handle().call_at(Duration::MAX, || unreachable!())?;
/// timer.cancel();
/// assert_eq!(timer.when(), Duration::MAX);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct TimerHandle {
    call: Rc<dyn Callback>,
    home: LoopHandle,
    key: TimerKey,
    when: Duration,
}

impl TimerHandle {
    pub(crate) fn new(
        call: Rc<dyn Callback>,
        home: LoopHandle,
        key: TimerKey,
        when: Duration,
    ) -> TimerHandle {
        TimerHandle { call, home, key, when }
    }

    /// Keeps the callback from being run, if it has not been, and drops it. May be called again.
    pub fn cancel(&self) {
        // What the loop gives back is one more share of `call`.
        drop(self.home.core().take_timer(self.key));
        self.call.cancel();
    }

    /// Whether [`cancel`](Self::cancel) was called. Having fired is not being cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// The time, by the loop's clock, for which it was scheduled; the same after cancelling and firing.
    #[must_use]
    pub fn when(&self) -> Duration {
        self.when
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerHandle")
            .field("callback", &self.call.name())
            .field("when", &self.when)
            .field("cancelled", &self.cancelled())
            .finish()
    }
}

/// What the loop and the handles see of a scheduled callback.
pub(crate) trait Callback {
    fn run(&self);
    fn cancel(&self);
    fn is_cancelled(&self) -> bool;
    /// Drops the callback unrun; the loop closes. It cuts the cycle of a callback that owns its handle.
    fn discard(&self);
    fn name(&self) -> &'static str;
    fn scheduled_at(&self) -> &'static Location<'static>;
}

/// The one allocation of a scheduled callback.
struct Call<F> {
    cancelled: Cell<bool>,
    scheduled_at: &'static Location<'static>,
    callback: Cell<Option<F>>,
}

pub(crate) fn callback<F: FnOnce() + 'static>(
    callback: F,
    scheduled_at: &'static Location<'static>,
) -> Rc<dyn Callback> {
    Rc::new(Call { cancelled: Cell::new(false), scheduled_at, callback: Cell::new(Some(callback)) })
}

impl<F: FnOnce()> Callback for Call<F> {
    fn run(&self) {
        if let Some(callback) = self.callback.take() {
            callback();
        }
    }

    fn cancel(&self) {
        self.cancelled.set(true);
        drop(self.callback.take());
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    fn discard(&self) {
        drop(self.callback.take());
    }

    fn name(&self) -> &'static str {
        type_name::<F>()
    }

    fn scheduled_at(&self) -> &'static Location<'static> {
        self.scheduled_at
    }
}
