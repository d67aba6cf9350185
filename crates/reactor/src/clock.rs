//! What the loop takes for time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Tells a loop the time.
///
/// Times are durations since some moment in the past that stays the same for the life of the clock; they
/// never go back. asyncio: overriding `loop.time()`.
///
/// # Examples
///
/// A clock for tests, which jumps instead of waiting:
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use tidegate_reactor::{Clock, EventLoop};
///
/// #[derive(Clone, Default)]
/// struct Jumping(Rc<Cell<Duration>>);
///
/// impl Clock for Jumping {
///     fn now(&self) -> Duration {
///         self.0.get()
///     }
///     fn jump(&self, to: Duration) -> bool {
///         self.0.set(to);
///         true
///     }
/// }
///
/// let event_loop = EventLoop::with_clock(Jumping::default())?;
/// let handle = event_loop.handle();
/// let a_year = Duration::from_secs(365 * 86_400);
/// handle.call_later(a_year, || tidegate_reactor::LoopHandle::current().unwrap().stop())?;
/// event_loop.run_forever()?;
/// assert_eq!(event_loop.time(), a_year);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Clock: 'static {
    /// The present time.
    fn now(&self) -> Duration;

    /// Asked instead of waiting for the next timer, when nothing else can happen on the loop's own
    /// account: no callback is ready and no descriptor is registered. A clock that can do so moves to
    /// `to` and answers true; the default answers false, and the loop waits.
    fn jump(&self, to: Duration) -> bool {
        let _ = to;
        false
    }
}

/// The clock of [`EventLoop::new`](crate::EventLoop::new): the system's monotonic one.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::{Clock, Monotonic};
///
/// let earlier = Monotonic.now();
/// assert!(Monotonic.now() >= earlier);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::Monotonic);
        // A monotonic clock starts at zero and its nanoseconds are below a second.
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }
}
