//! Waiting for time to pass: `sleep`, and `timeout` around another future.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::future::{Abandoned, create_future};
use crate::{LoopError, LoopHandle, TimerHandle};

/// Waits for `duration`, counted from the moment it is first awaited.
///
/// Any duration is fine: zero waits for one turn of the loop, and one too long for the clock never ends. On a
/// loop whose clock jumps it takes no real time. asyncio: `asyncio.sleep()`.
///
/// # Errors
///
/// [`LoopError::NotRunning`] where no loop runs, and [`LoopError::Closed`] if the loop is closed before the
/// time is over.
///
/// # Cancel safety
///
/// Dropping it cancels its timer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidegate_reactor::{EventLoop, sleep};
///
/// let event_loop = EventLoop::new()?;
/// event_loop.run_until_complete(sleep(Duration::from_millis(1)))??;
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { state: State::New { home: None, duration } }
}

/// Gives `future` at most `limit`, counted from the moment it is first awaited.
///
/// If the future is ready when the time is over, its output wins. asyncio: `asyncio.wait_for()`.
///
/// # Errors
///
/// [`TimeoutError::Elapsed`] when the time is over; the future has been dropped by then.
/// [`TimeoutError::Loop`] where no loop runs, or if the loop is closed while waiting.
///
/// # Cancel safety
///
/// Dropping it drops the future and cancels the timer.
///
/// # Examples
///
/// ```
/// use std::{future, time::Duration};
/// use tidegate_reactor::{EventLoop, TimeoutError, timeout};
///
/// let event_loop = EventLoop::new()?;
/// let waited = event_loop.run_until_complete(timeout(Duration::from_millis(1), future::pending::<()>()))?;
/// assert!(matches!(waited, Err(TimeoutError::Elapsed)));
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn timeout<F: IntoFuture>(limit: Duration, future: F) -> Result<F::Output, TimeoutError> {
    let handle = LoopHandle::current().map_err(TimeoutError::Loop)?;
    timeout_on(&handle, limit, future.into_future()).await
}

/// [`timeout`] by the clock of a loop that is known already.
pub(crate) async fn timeout_on<F: Future>(
    handle: &LoopHandle,
    limit: Duration,
    future: F,
) -> Result<F::Output, TimeoutError> {
    let mut future = pin!(future);
    let mut over = Sleep { state: State::New { home: Some(handle.clone()), duration: limit } };

    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut over).poll(context).map(|ended| match ended {
            Ok(()) => Err(TimeoutError::Elapsed),
            Err(error) => Err(TimeoutError::Loop(error)),
        })
    })
    .await
}

/// Why [`timeout`] gave up on its future.
#[derive(Debug)]
pub enum TimeoutError {
    /// The time was over first.
    Elapsed,
    /// There was no loop to tell the time.
    Loop(LoopError),
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeoutError::Elapsed => f.write_str("the time allowed is over"),
            TimeoutError::Loop(error) => error.fmt(f),
        }
    }
}

impl Error for TimeoutError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TimeoutError::Elapsed => None,
            TimeoutError::Loop(error) => error.source(),
        }
    }
}

impl From<TimeoutError> for io::Error {
    fn from(error: TimeoutError) -> io::Error {
        match error {
            TimeoutError::Elapsed => io::Error::new(io::ErrorKind::TimedOut, error),
            TimeoutError::Loop(error) => error.into(),
        }
    }
}

/// The future of [`sleep`].
///
/// # Panics
///
/// Polling it again after it ended panics, as for most futures.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    state: State,
}

enum State {
    New { home: Option<LoopHandle>, duration: Duration },
    Waiting(Waiting),
}

impl Future for Sleep {
    type Output = Result<(), LoopError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.state {
                State::New { home, duration } => {
                    let handle = home.take().map_or_else(LoopHandle::current, Ok);
                    let waiting = handle.and_then(|handle| Waiting::start(&handle, *duration));
                    match waiting {
                        Ok(waiting) => self.state = State::Waiting(waiting),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                State::Waiting(waiting) => {
                    // The timer keeps the promise; only closing the loop drops it before.
                    let rung = Pin::new(&mut waiting.rung).poll(context);
                    return rung.map_err(|Abandoned| LoopError::Closed);
                }
            }
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::New { .. } => "new",
            State::Waiting(waiting) if waiting.rung.is_done() => "over",
            State::Waiting(_) => "waiting",
        };
        f.debug_struct("Sleep").field("state", &state).finish()
    }
}

/// A timer that runs, and what it rings.
struct Waiting {
    // Dropped in this order: nobody is woken by the promise that goes with the cancelled timer.
    rung: crate::future::Future<()>,
    _timer: Armed,
}

impl Waiting {
    fn start(handle: &LoopHandle, duration: Duration) -> Result<Waiting, LoopError> {
        let (ring, rung) = create_future();
        let timer = handle.call_later(duration, move || {
            // Nobody waits any more only if the timer was cancelled in this very turn.
            let _ = ring.set_result(());
        })?;
        Ok(Waiting { rung, _timer: Armed(timer) })
    }
}

/// A timer that goes with its owner.
struct Armed(TimerHandle);

impl Drop for Armed {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
