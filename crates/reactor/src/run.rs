//! `run`: a loop for one main future, from making it to closing it in order.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::signals::Interrupt;
use crate::{EventLoop, LoopError, LoopHandle, Report, sleep};

/// How long the end waits for the pool's threads; asyncio's `THREAD_JOIN_TIMEOUT`.
const POOL_LIMIT: Duration = Duration::from_secs(300);

/// Rounds without an end that follow each other without a pause: most connections take a few.
const BRISK_ROUNDS: u32 = 100;

/// The pause between later rounds, for ends that depend on others, such as that of a child that was killed.
const PAUSE: Duration = Duration::from_millis(1);

/// After so many rounds without an end, a second, the rest is left to the loop's close.
const PATIENT_ROUNDS: u32 = BRISK_ROUNDS + 1_000;

/// Runs `main` on a loop of its own and then ends everything in order. asyncio: `asyncio.run()`.
///
/// When `main` is done, or has failed or panicked, all other tasks are dropped; transports are aborted and
/// the loop goes on until each protocol was told that its connection is lost; the pool's threads are waited
/// for, 300 seconds at most; and the loop is closed. What does not end when asked to, such as a
/// [`Source`](crate::Source) kept elsewhere, is left to the close a second after the last one that did.
///
/// **SIGINT** (Ctrl-C), unless somebody else handles it or the program was started with it ignored, as a shell script
/// does with what it puts into the background: the first one drops `main`, ends everything in
/// order and makes `run` return an error of kind [`Interrupted`](io::ErrorKind::Interrupted). A second one,
/// and one that comes while everything ends, ends the process at once. While a loop has a handler of its own
/// for SIGINT ([`add_signal_handler`](LoopHandle::add_signal_handler)), that is called instead. The system's
/// default is back when `run` returns.
///
/// # Errors
///
/// The error of `main`; `Interrupted`; an error with [`LoopError::OtherRunning`] inside, before anything is
/// done, where a loop runs already; [`LoopError::Stopped`] if the loop was stopped before `main` was done;
/// and what the system says if there can be no loop.
///
/// # Panics
///
/// With what `main` panicked with, after everything has ended in order.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         tidegate_reactor::sleep(Duration::from_millis(1)).await?;
///         println!("a millisecond later");
///         Ok(())
///     })
/// }
/// ```
pub fn run<T, E: From<io::Error>>(main: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    if LoopHandle::current().is_ok() {
        return Err(io::Error::from(LoopError::OtherRunning).into());
    }
    let event_loop = EventLoop::new()?;
    let interrupt = Interrupt::install(&event_loop.handle());
    let interrupt = interrupt.inspect_err(|_| shut_down(&event_loop))?;

    let ended = catch_unwind(AssertUnwindSafe(|| {
        event_loop.run_until_complete(until_interrupted(main, interrupt))
    }));
    shut_down(&event_loop);
    match ended {
        Ok(Ok(Some(result))) => result,
        Ok(Ok(None)) => {
            Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted by SIGINT").into())
        }
        Ok(Err(error)) => Err(io::Error::from(error).into()),
        Err(payload) => resume_unwind(payload),
    }
}

/// The output of `main`, or none if SIGINT came first. Both are dropped inside of the loop, `main` first.
async fn until_interrupted<F: Future>(main: F, mut interrupt: Interrupt) -> Option<F::Output> {
    let mut main = pin!(main);
    poll_fn(|context| {
        if interrupt.poll(context).is_ready() {
            return Poll::Ready(None);
        }
        main.as_mut().poll(context).map(Some)
    })
    .await
}

/// Ends what `main` has left behind, and closes the loop. A callback that stops the loop meanwhile only
/// shortens a round.
fn shut_down(event_loop: &EventLoop) {
    let handle = event_loop.handle();
    let core = handle.core();
    let (mut fewest, mut rounds) = (usize::MAX, 0);
    while fewest > 0 && rounds < PATIENT_ROUNDS {
        let pause = if rounds < BRISK_ROUNDS { Duration::ZERO } else { PAUSE };
        let _ = event_loop.run_until_complete(async {
            core.drop_tasks();
            handle.shut_down_watchers();
            let _ = sleep(pause).await;
        });

        // Whoever opens a connection for each that ends does not keep us here.
        let left = core.sources.len() - core.readers.len() - core.signals.len();
        if left < fewest {
            (fewest, rounds) = (left, 0);
        } else {
            rounds += 1;
        }
    }

    let started = handle.time();
    let pool = || {
        let limit = POOL_LIMIT.saturating_sub(handle.time() - started);
        event_loop.run_until_complete(handle.shutdown_default_executor(Some(limit)))
    };
    while pool() == Err(LoopError::Stopped) {}
    if let Err(error) = event_loop.close() {
        handle.call_exception_handler(Report::new("run() cannot close its loop").error(error));
    }
}
