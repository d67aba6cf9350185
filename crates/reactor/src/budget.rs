//! Fairness between tasks: an operation that never has to wait still makes room now and then.

use std::task::{Context, Poll};

use crate::current;

/// How many operations may complete without waiting in one step of the loop.
pub const COMPLETIONS_PER_STEP: u32 = 128;

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
    if current::completes_one_more() {
        return Poll::Ready(());
    }
    context.waker().wake_by_ref();
    Poll::Pending
}
