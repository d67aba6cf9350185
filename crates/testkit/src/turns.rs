//! Letting turns of the loop pass, instead of time.

use std::future::poll_fn;
use std::task::Poll;

/// Lets so many turns of the running loop pass; none of them waits.
///
/// # Examples
///
/// ```
/// tidegate_testkit::run(async {
///     let task = tidegate_reactor::spawn(async {}).expect("a running loop");
///     tidegate_testkit::turns(1).await;
///     assert!(task.is_finished());
/// });
/// ```
pub async fn turns(count: usize) {
    let mut left = count;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lets turns of the running loop pass until something holds. What never comes to hold hangs, so use it where a
/// [watchdog](crate::watched) is.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// tidegate_testkit::run(async {
///     let done = Rc::new(Cell::new(false));
///     let other = done.clone();
///     tidegate_reactor::spawn(async move { other.set(true) }).expect("a running loop");
///     tidegate_testkit::until(|| done.get()).await;
/// });
/// ```
pub async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        turns(1).await;
    }
}
