//! The loop's threads for calls that block: a small pool, started when it is first needed.

use std::any::Any;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::caught::{self, panic_text};
use crate::time::timeout_on;
use crate::{LoopError, LoopHandle, Report};

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

impl LoopHandle {
    /// Runs a call that blocks on a thread of the loop's pool.
    ///
    /// It starts at once, awaited or not, or as soon as one of the pool's threads is free: there are at most
    /// `min(32, processors + 4)` of them, named `tidegate-0` and so on; they start when they are needed and end
    /// after ten seconds without work. Closing the loop does not wait for what runs. asyncio:
    /// `loop.run_in_executor(None, f)`.
    ///
    /// # Errors
    ///
    /// The future answers [`OffloadError::Closed`] on a closed loop, [`OffloadError::ShutDown`] after
    /// [`shutdown_default_executor`](LoopHandle::shutdown_default_executor), [`OffloadError::Panicked`] if the
    /// call panicked and [`OffloadError::NoThread`] if the system gave none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not interrupt the call; its result is dropped on the pool's thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// let read = event_loop.handle().run_in_executor(|| std::fs::read("/dev/null"));
    /// assert!(event_loop.run_until_complete(read)??.unwrap().is_empty());
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn run_in_executor<T, F>(&self, call: F) -> Offloaded<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let answer = Arc::new(Answer(Mutex::new(Waiting::New)));
        let theirs = Arc::clone(&answer);
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(call));
            theirs.give(result.map_err(OffloadError::Panicked));
        });
        if let Err(error) = self.core().offload.pool.submit(job) {
            answer.give(Err(error));
        }
        Offloaded { answer }
    }

    /// Ends the pool: refuses new work, and waits until its threads have finished what they were given.
    ///
    /// The loop goes on meanwhile. Answers `true` when all threads have ended. When `limit` passes first, it
    /// warns (a [`Report`] to the exception handler), leaves the threads to themselves and answers `false`;
    /// without a limit it waits as long as it takes. From the first poll on
    /// [`run_in_executor`](LoopHandle::run_in_executor), and with it name resolution, fails with
    /// [`OffloadError::ShutDown`]. asyncio: `loop.shutdown_default_executor(timeout)`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting only; the pool stays shut down, and calling again waits again.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::{EventLoop, OffloadError};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let handle = event_loop.handle();
    /// assert!(event_loop.run_until_complete(handle.shutdown_default_executor(None))?);
    /// let late = event_loop.run_until_complete(handle.run_in_executor(|| ()))?;
    /// assert!(matches!(late, Err(OffloadError::ShutDown)));
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown_default_executor(
        &self,
        limit: Option<Duration>,
    ) -> impl Future<Output = bool> + use<> {
        let handle = self.clone();
        async move {
            let pool = Arc::clone(&handle.core().offload.pool);
            pool.refuse(Phase::ShutDown);
            let ended = poll_fn(|context| pool.poll_ended(context));

            let Some(limit) = limit else {
                ended.await;
                return true;
            };
            if timeout_on(&handle, limit, ended).await.is_ok() {
                return true;
            }
            handle.call_exception_handler(Report::new(format!(
                "The executor did not finish joining its threads within {} seconds",
                limit.as_secs_f64()
            )));
            false
        }
    }
}

/// The answer to a call given to the pool; the future of [`LoopHandle::run_in_executor`].
///
/// # Panics
///
/// Polling it again after it gave its answer panics, as for most futures.
#[must_use = "the call runs anyway, but its answer is lost"]
pub struct Offloaded<T> {
    answer: Arc<Answer<T>>,
}

impl<T> Future for Offloaded<T> {
    type Output = Result<T, OffloadError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker().clone();
        let mut waiting = self.answer.lock();
        match mem::replace(&mut *waiting, Waiting::Over) {
            Waiting::Given(result) => {
                drop(waiting);
                Poll::Ready(result)
            }
            Waiting::Over => {
                drop(waiting);
                panic!("an Offloaded was polled after it gave its answer")
            }
            stale @ (Waiting::New | Waiting::Waker(_)) => {
                *waiting = Waiting::Waker(waker);
                drop(waiting);
                drop(stale);
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Offloaded<T> {
    fn drop(&mut self) {
        let unwanted = mem::replace(&mut *self.answer.lock(), Waiting::Over);
        drop(unwanted);
    }
}

impl<T> fmt::Debug for Offloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offloaded").finish_non_exhaustive()
    }
}

/// Why a call given to the pool has no value.
#[derive(Debug)]
pub enum OffloadError {
    /// The loop is closed.
    Closed,
    /// [`shutdown_default_executor`](LoopHandle::shutdown_default_executor) was called before.
    ShutDown,
    /// The call panicked; what it panicked with.
    Panicked(Box<dyn Any + Send>),
    /// The pool has no thread and the system refused to start one.
    NoThread(io::Error),
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OffloadError::Closed => f.write_str("Event loop is closed"),
            OffloadError::ShutDown => f.write_str("Executor shutdown has been called"),
            OffloadError::Panicked(payload) => {
                write!(f, "the call in the executor panicked: {}", panic_text(payload.as_ref()))
            }
            OffloadError::NoThread(error) => write!(f, "no thread for the executor: {error}"),
        }
    }
}

impl Error for OffloadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OffloadError::NoThread(error) => Some(error),
            OffloadError::Closed | OffloadError::ShutDown | OffloadError::Panicked(_) => None,
        }
    }
}

impl From<OffloadError> for io::Error {
    /// The first two become their [`LoopError`]. The payload of a panic is not `Sync` and becomes its text. The
    /// kind of a refused thread is not kept: the system says "would block", which means something else elsewhere.
    fn from(error: OffloadError) -> io::Error {
        match error {
            OffloadError::Closed => LoopError::Closed.into(),
            OffloadError::ShutDown => LoopError::ExecutorShutdown.into(),
            OffloadError::NoThread(error) => io::Error::other(error),
            panicked @ OffloadError::Panicked(_) => io::Error::other(panicked.to_string()),
        }
    }
}

/// The place where a thread of the pool leaves a result. User values move in and out under the lock, but are
/// called, woken, cloned and dropped outside of it only.
struct Answer<T>(Mutex<Waiting<T>>);

enum Waiting<T> {
    New,
    Waker(Waker),
    Given(Result<T, OffloadError>),
    /// The result was fetched, or nobody wants it.
    Over,
}

impl<T> Answer<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, result: Result<T, OffloadError>) {
        let mut waiting = self.lock();
        if matches!(*waiting, Waiting::Over) {
            drop(waiting);
            drop(result);
            return;
        }
        let before = mem::replace(&mut *waiting, Waiting::Given(result));
        drop(waiting);
        if let Waiting::Waker(waker) = before {
            waker.wake();
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The pool as the loop holds it.
pub(crate) struct Offload {
    pool: Arc<Pool>,
}

impl Offload {
    pub(crate) fn new() -> Offload {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Offload { pool: Pool::new((processors + 4).min(32), IDLE) }
    }

    /// The loop is closed: refuses new work and lets the threads end by themselves.
    pub(crate) fn close(&self) {
        self.pool.refuse(Phase::Closed);
    }
}

struct Pool {
    limit: usize,
    idle: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    jobs: VecDeque<Job>,
    threads: usize,
    waiting: usize,
    started: usize,
    /// Of those who wait for the last thread to end.
    wakers: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    ShutDown,
    Closed,
}

impl Pool {
    fn new(limit: usize, idle: Duration) -> Arc<Pool> {
        let state = State {
            phase: Phase::Open,
            jobs: VecDeque::new(),
            threads: 0,
            waiting: 0,
            started: 0,
            wakers: Vec::new(),
        };
        Arc::new(Pool { limit, idle, state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, job: Job) -> Result<(), OffloadError> {
        let mut state = self.lock();
        match state.phase {
            Phase::Open => {}
            Phase::ShutDown => return refused(state, job, OffloadError::ShutDown),
            Phase::Closed => return refused(state, job, OffloadError::Closed),
        }
        state.jobs.push_back(job);
        if state.jobs.len() <= state.waiting || state.threads == self.limit {
            drop(state);
            self.changed.notify_one();
            return Ok(());
        }

        state.threads += 1;
        let name = format!("tidegate-{}", state.started);
        state.started += 1;
        drop(state);
        let pool = Arc::clone(self);
        let Err(error) = thread::Builder::new().name(name).spawn(move || pool.work()) else {
            return Ok(());
        };

        // With other threads the job only waits longer; without any nobody would ever come for it.
        let mut state = self.lock();
        state.threads -= 1;
        let Some(job) = (state.threads == 0).then(|| state.jobs.pop_back()).flatten() else {
            return Ok(());
        };
        refused(state, job, OffloadError::NoThread(error))
    }

    /// The life of one thread.
    fn work(&self) {
        while let Some(job) = self.next() {
            quietly(job);
        }
    }

    /// The next job, or none when the thread is to end; it no longer counts then.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.phase != Phase::Open {
                break;
            }
            state.waiting += 1;
            let waited = self.changed.wait_timeout(state, self.idle);
            let (guard, time) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.waiting -= 1;
            if time.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        let wakers = if state.threads == 0 { mem::take(&mut state.wakers) } else { Vec::new() };
        drop(state);
        for waker in wakers {
            quietly(|| waker.wake());
        }
        None
    }

    fn refuse(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = state.phase.max(phase);
        drop(state);
        self.changed.notify_all();
    }

    fn poll_ended(&self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut state = self.lock();
        if state.threads == 0 {
            drop(state);
            return Poll::Ready(());
        }
        if state.wakers.iter().any(|known| known.will_wake(&waker)) {
            drop(state);
        } else {
            state.wakers.push(waker);
        }
        Poll::Pending
    }
}

/// Drops the job with nothing locked.
fn refused(
    state: MutexGuard<'_, State>,
    job: Job,
    error: OffloadError,
) -> Result<(), OffloadError> {
    drop(state);
    drop(job);
    Err(error)
}

/// Calls and forgets: what a result's destructor or a waker panics with must not cost the pool a thread.
fn quietly(call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        caught::discard(payload);
    }
}

#[cfg(test)]
mod tests;
