//! A clock that stands still while anything can run, and jumps to the next timer when nothing can.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidegate_reactor::Clock;

/// A clock for tests: no time passes while the loop has something to do, and waiting for a timer takes
/// none of the test's.
///
/// Give it to [`EventLoop::with_clock`](tidegate_reactor::EventLoop::with_clock). The loop lets it jump
/// only while nothing is ready and no descriptor is registered, so it goes with [memory
/// connections](crate::memory), not with sockets. Starts at zero; clones are one clock.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidegate_reactor::{EventLoop, sleep};
/// use tidegate_testkit::JumpingClock;
///
/// let clock = JumpingClock::new();
/// let event_loop = EventLoop::with_clock(clock.clone())?;
/// event_loop.run_until_complete(async {
///     sleep(Duration::from_secs(3600)).await.expect("the loop lives");
/// })?;
/// assert_eq!(clock.time(), Duration::from_secs(3600));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct JumpingClock(Rc<Cell<Duration>>);

impl JumpingClock {
    /// A clock that shows zero.
    pub fn new() -> JumpingClock {
        JumpingClock::default()
    }

    /// What it shows now.
    pub fn time(&self) -> Duration {
        self.0.get()
    }

    /// Lets `by` pass at once, as a computation that takes so long would.
    pub fn advance(&self, by: Duration) {
        self.0.set(self.0.get().saturating_add(by));
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Duration {
        self.0.get()
    }

    fn jump(&self, to: Duration) -> bool {
        // Never backwards: a timer of the past is due already.
        self.0.set(self.0.get().max(to));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_reactor::Clock;

    use super::JumpingClock;

    #[test]
    fn clones_are_one_clock_that_never_goes_back() {
        let clock = JumpingClock::new();
        clock.clone().advance(Duration::from_secs(5));
        assert!(clock.jump(Duration::from_secs(3)));
        assert_eq!(clock.time(), Duration::from_secs(5));
        assert!(clock.jump(Duration::from_secs(8)));
        assert_eq!(clock.now(), Duration::from_secs(8));
    }
}
