//! A value that somebody provides later: a promise, and the future that waits for it.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Makes a promise and the future that waits for it.
///
/// It joins callbacks to tasks: a callback keeps the [`Promise`] and a task awaits the [`Future`]. Neither
/// half needs a running loop. asyncio: `loop.create_future()`.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::{EventLoop, create_future};
///
/// let event_loop = EventLoop::new()?;
/// let (promise, answer) = create_future();
/// event_loop.handle().call_soon(move || {
///     let _ = promise.set_result(42);
/// })?;
/// assert_eq!(event_loop.run_until_complete(answer)?, Ok(42));
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn create_future<T>() -> (Promise<T>, Future<T>) {
    let shared = Rc::new(Shared {
        outcome: Cell::new(Outcome::Pending),
        receiver: Cell::new(None),
        watcher: Cell::new(None),
    });
    (Promise { shared: Rc::clone(&shared) }, Future { shared })
}

/// The side that provides the value of a [`Future`], once.
///
/// Dropping it unused resolves the future to [`Abandoned`].
#[must_use = "dropping a promise abandons its future"]
pub struct Promise<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Promise<T> {
    /// Provides the value and wakes whoever waits for it. asyncio: `Future.set_result()`; for
    /// `set_exception()` let `T` be a `Result`.
    ///
    /// # Errors
    ///
    /// Gives the value back if one was provided already, or the future was dropped.
    pub fn set_result(&self, value: T) -> Result<(), T> {
        match self.shared.outcome.replace(Outcome::Pending) {
            Outcome::Pending => {
                self.shared.outcome.set(Outcome::Done(Ok(value)));
                wake(self.shared.receiver.take());
                Ok(())
            }
            unwanted => {
                self.shared.outcome.set(unwanted);
                Err(value)
            }
        }
    }

    /// Whether the future was dropped, so that nobody waits for the value any more. asyncio:
    /// `Future.cancelled()`.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let outcome = self.shared.outcome.replace(Outcome::Pending);
        let abandoned = matches!(outcome, Outcome::Unwanted);
        self.shared.outcome.set(outcome);
        abandoned
    }

    /// Waits until the future is dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future changes nothing.
    pub fn closed(&mut self) -> Closed<'_, T> {
        Closed { promise: self }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        match self.shared.outcome.replace(Outcome::Pending) {
            Outcome::Pending => {
                self.shared.outcome.set(Outcome::Done(Err(Abandoned)));
                wake(self.shared.receiver.take());
            }
            settled => self.shared.outcome.set(settled),
        }
        drop(self.shared.watcher.take());
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("is_abandoned", &self.is_abandoned()).finish()
    }
}

/// Waits for the value of a [`Promise`].
///
/// # Panics
///
/// Polling it again after it gave its value panics, as for most futures.
#[must_use = "futures do nothing unless awaited"]
pub struct Future<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Future<T> {
    /// Whether awaiting would answer at once: the value is there, or the promise was dropped. asyncio:
    /// `Future.done()`.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let outcome = self.shared.outcome.replace(Outcome::Pending);
        let done = matches!(outcome, Outcome::Done(_) | Outcome::Taken);
        self.shared.outcome.set(outcome);
        done
    }
}

impl<T> std::future::Future for Future<T> {
    type Output = Result<T, Abandoned>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.shared.outcome.replace(Outcome::Taken) {
            Outcome::Done(result) => Poll::Ready(result),
            Outcome::Taken => panic!("a Future was polled after it gave its value"),
            waiting => {
                self.shared.outcome.set(waiting);
                register(&self.shared.receiver, context.waker());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Future<T> {
    fn drop(&mut self) {
        let value = self.shared.outcome.replace(Outcome::Unwanted);
        drop(self.shared.receiver.take());
        wake(self.shared.watcher.take());
        drop(value);
    }
}

impl<T> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Future").field("is_done", &self.is_done()).finish()
    }
}

/// Waits until the [`Future`] of a promise is dropped; see [`Promise::closed`].
#[must_use = "futures do nothing unless awaited"]
pub struct Closed<'a, T> {
    promise: &'a mut Promise<T>,
}

impl<T> std::future::Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.promise.is_abandoned() {
            return Poll::Ready(());
        }
        register(&self.promise.shared.watcher, context.waker());
        Poll::Pending
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        drop(self.promise.shared.watcher.take());
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").finish_non_exhaustive()
    }
}

/// The promise was dropped before it provided a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the promise was dropped before it was kept")
    }
}

impl Error for Abandoned {}

impl From<Abandoned> for io::Error {
    fn from(abandoned: Abandoned) -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, abandoned)
    }
}

/// What both halves see. Cells only, so that nothing is borrowed while a value or a waker is at work.
struct Shared<T> {
    outcome: Cell<Outcome<T>>,
    /// Of the task that awaits the future.
    receiver: Cell<Option<Waker>>,
    /// Of the task that awaits the end of the future.
    watcher: Cell<Option<Waker>>,
}

enum Outcome<T> {
    Pending,
    Done(Result<T, Abandoned>),
    Taken,
    Unwanted,
}

/// Leaves `waker` in the cell, unless one that wakes the same task is there.
fn register(cell: &Cell<Option<Waker>>, waker: &Waker) {
    let kept = match cell.take() {
        Some(known) if known.will_wake(waker) => known,
        stale => {
            let fresh = waker.clone();
            drop(stale);
            fresh
        }
    };
    drop(cell.replace(Some(kept)));
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
