//! Fairness between tasks: an operation that never has to wait still makes room now and then.

use std::cell::Cell;
use std::task::{Context, Poll};

/// How many operations may complete without waiting in one step of the loop.
pub const COMPLETIONS_PER_STEP: u32 = 128;

thread_local! {
    /// How many operations may complete still in the present step; [`OUTSIDE`] while no loop runs in this thread.
    static LEFT: Cell<u32> = const { Cell::new(OUTSIDE) };
}

/// There is no step: every operation may complete.
const OUTSIDE: u32 = u32::MAX;

/// A step begins.
#[inline]
pub(crate) fn refill() {
    LEFT.set(COMPLETIONS_PER_STEP);
}

/// The loop of this thread has stopped running.
pub(crate) fn suspend() {
    LEFT.set(OUTSIDE);
}

/// Asks whether an operation that could complete without waiting should do so.
///
/// The operation asks just before it does its work. The first 128 in a step of the loop may proceed; after
/// that the task is woken for a later step and told to wait. Outside of a running loop every operation may
/// proceed. asyncio has no counterpart: there, a handler whose data is always there starves all others.
///
/// # Examples
///
/// ```
/// use std::future::poll_fn;
/// use std::task::{Poll, ready};
/// use tidegate_reactor::{EventLoop, budget};
///
/// let event_loop = EventLoop::new()?;
/// let counted = event_loop.run_until_complete(async {
///     let mut read = 0;
///     while read < 1_000 {
///         read += poll_fn(|context| {
///             ready!(budget::poll_proceed(context));
///             Poll::Ready(1)
///         })
///         .await;
///     }
///     read
/// })?;
/// assert_eq!(counted, 1_000);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
pub fn poll_proceed(context: &mut Context<'_>) -> Poll<()> {
    match LEFT.get() {
        OUTSIDE => Poll::Ready(()),
        0 => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
        left => {
            LEFT.set(left - 1);
            Poll::Ready(())
        }
    }
}
