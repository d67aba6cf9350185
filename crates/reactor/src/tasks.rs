//! Tasks: futures that live on a loop, and the handles that wait for them.

use std::any::{Any, type_name};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use async_task::Runnable;
use pin_project_lite::pin_project;
use slab::Slab;

use crate::caught::{self, Payload, panic_text};
use crate::current;
use crate::parts::Core;
use crate::ready::Entry;
use crate::remote::{Letter, Mail, post_wake};
use crate::report::Report;
use crate::steps::Doing;
use crate::{LoopError, LoopHandle};

#[cfg(all(not(loom), test))]
mod tests;

/// Where a task lives, and what it is called: known to its wakers in any thread.
pub(crate) struct Home {
    mail: Arc<Mail>,
    pub(crate) name: &'static str,
}

/// Runs `future` on the running loop, beside everything else. asyncio: `asyncio.create_task()`.
///
/// The task goes on if the handle is dropped; see [`JoinHandle`].
///
/// # Errors
///
/// [`LoopError::NotRunning`] where no loop runs, and [`LoopError::Closed`] while the running loop drops its
/// tasks. The future is dropped then.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::{EventLoop, spawn};
///
/// let event_loop = EventLoop::new()?;
/// let sum = event_loop.run_until_complete(async {
///     let one = spawn(async { 1 })?;
///     let two = spawn(async { 2 })?;
///     Ok::<_, std::io::Error>(one.await? + two.await?)
/// })??;
/// assert_eq!(sum, 3);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn spawn<F>(future: F) -> Result<JoinHandle<F::Output>, LoopError>
where
    F: Future + 'static,
{
    LoopHandle::current()?.create_task(future)
}

/// Waits for a task; asyncio's `Task`.
///
/// Dropping it detaches the task, which goes on. [`cancel_on_drop`](Self::cancel_on_drop) makes it otherwise.
/// A panic of the task belongs to whoever waits for it; if nobody does, the exception handler is told.
///
/// # Panics
///
/// Polling it again after it gave its result panics, as for most futures.
///
/// # Cancel safety
///
/// Awaiting `&mut handle` may be given up and taken up again; nothing is lost.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use tidegate_reactor::{EventLoop, JoinError, spawn};
///
/// let event_loop = EventLoop::new()?;
/// event_loop.run_until_complete(async {
///     let task = spawn(pending::<()>())?;
///     task.cancel();
///     assert!(matches!(task.await, Err(JoinError::Cancelled)));
///     Ok::<_, std::io::Error>(())
/// })??;
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct JoinHandle<T> {
    name: &'static str,
    core: Rc<Core>,
    joint: Rc<Joint<T>>,
    cancel_on_drop: bool,
}

impl<T> JoinHandle<T> {
    /// Asks for the end of the task: its future is dropped by the loop, in a step of its own, unless it is
    /// done before. Awaiting the handle then gives [`JoinError::Cancelled`]. True if the task was not done
    /// yet. asyncio: `Task.cancel()`, except that the task cannot refuse.
    pub fn cancel(&self) -> bool {
        if self.joint.is_finished.get() {
            return false;
        }
        self.joint.is_cancelled.set(true);
        if let Some(waker) = self.core.tasks.waker(self.joint.key.get()) {
            waker.wake();
        }
        true
    }

    /// The same as [`cancel`](Self::cancel), under the name other runtimes give it.
    pub fn abort(&self) -> bool {
        self.cancel()
    }

    /// Whether the task is done, cancelled or failed, so that awaiting would answer at once. asyncio:
    /// `Task.done()`.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.joint.is_finished.get()
    }

    /// Ties the task to this handle: dropping the handle cancels the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::{EventLoop, spawn};
    ///
    /// let event_loop = EventLoop::new()?;
    /// event_loop.run_until_complete(async {
    ///     drop(spawn(async { unreachable!() })?.cancel_on_drop());
    ///     Ok::<_, std::io::Error>(())
    /// })??;
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel_on_drop(mut self) -> JoinHandle<T> {
        self.cancel_on_drop = true;
        self
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let joint = &self.joint;
        if let Some(result) = joint.result.take() {
            return Poll::Ready(result);
        }
        assert!(!joint.is_finished.get(), "a JoinHandle was polled after it gave its result");

        // The waker is somebody's value: it is cloned and dropped with the cell empty.
        let known = joint.joiner.take();
        let kept = match known {
            Some(known) if known.will_wake(context.waker()) => known,
            other => {
                drop(other);
                context.waker().clone()
            }
        };
        joint.joiner.set(Some(kept));
        Poll::Pending
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            self.cancel();
        }
        drop(self.joint.joiner.take());
        self.joint.is_wanted.set(false);
        match self.joint.result.take() {
            Some(Err(JoinError::Panicked(panic))) => self.core.report_panic(self.name, panic),
            result => drop(result),
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("task", &self.name)
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

/// Why a task has no result.
#[derive(Debug)]
pub enum JoinError {
    /// It was cancelled, or its loop was closed.
    Cancelled,
    /// It panicked.
    Panicked(TaskPanic),
}

impl JoinError {
    /// Whether the task was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JoinError::Cancelled)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Cancelled => f.write_str("the task was cancelled"),
            JoinError::Panicked(panic) => write!(f, "the task panicked: {}", panic.text()),
        }
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        let text = error.to_string();
        caught_drop(error);
        io::Error::other(text)
    }
}

/// What a task panicked with.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::{EventLoop, JoinError, spawn};
///
/// let event_loop = EventLoop::new()?;
/// let result = event_loop.run_until_complete(async {
///     spawn(async { panic!("no more") }).unwrap().await
/// })?;
/// let result: Result<(), JoinError> = result;
/// match result.unwrap_err() {
///     JoinError::Panicked(panic) => assert_eq!(panic.text(), "no more"),
///     JoinError::Cancelled => unreachable!(),
/// }
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TaskPanic(Box<Panicked>);

/// What is known of a panic. Boxed, since every task has room for how it may end.
struct Panicked {
    text: String,
    /// Never locked: only so that other threads may look at the text, though not at the value.
    payload: Mutex<Payload>,
}

impl TaskPanic {
    fn new(payload: Payload) -> TaskPanic {
        let text = panic_text(&*payload).to_owned();
        TaskPanic(Box::new(Panicked { text, payload: Mutex::new(payload) }))
    }

    /// The text of the panic, as far as it has one.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The value that the task panicked with.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the panic go on in the caller.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn resume(self) -> ! {
        resume_unwind(self.into_payload())
    }
}

impl fmt::Debug for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskPanic").field(&self.text()).finish()
    }
}

/// What a task and the handle that waits for it share. Cells only: nothing is borrowed while a value or a
/// waker of the user's is at work.
struct Joint<T> {
    /// The task's place among the living ones.
    key: Cell<usize>,
    result: Cell<Option<Result<T, JoinError>>>,
    joiner: Cell<Option<Waker>>,
    is_wanted: Cell<bool>,
    is_cancelled: Cell<bool>,
    is_finished: Cell<bool>,
}

pin_project! {
    /// A task's future. Nothing that the user's code does in it, or in its destructor, gets out.
    struct Spawned<F: Future> {
        #[pin]
        future: Option<F>,
        joint: Rc<Joint<F::Output>>,
        core: Rc<Core>,
    }

    impl<F: Future> PinnedDrop for Spawned<F> {
        fn drop(this: Pin<&mut Self>) {
            this.end(Err(JoinError::Cancelled));
        }
    }
}

impl<F: Future> Future for Spawned<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let result = match this.future.as_pin_mut() {
            Some(_) if this.joint.is_cancelled.get() => Err(JoinError::Cancelled),
            Some(future) => match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
                Ok(Poll::Ready(value)) => Ok(value),
                Ok(Poll::Pending) => return Poll::Pending,
                Err(payload) => Err(JoinError::Panicked(TaskPanic::new(payload))),
            },
            None => return Poll::Ready(()),
        };
        self.end(result);
        Poll::Ready(())
    }
}

impl<F: Future> Spawned<F> {
    /// Drops the future and settles the result, once.
    fn end(self: Pin<&mut Self>, result: Result<F::Output, JoinError>) {
        let mut this = self.project();
        let (core, joint, name) = (&*this.core, &*this.joint, type_name::<F>());
        if joint.is_finished.get() {
            return;
        }

        // Overwriting leaves nothing behind even if the destructor panics.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| this.future.set(None))) {
            let report = Report::new("Exception in destructor of a task").task(name);
            core.report(&report.panic(&*payload));
            caught::discard(payload);
        }

        drop(core.tasks.remove(joint.key.get()));
        joint.is_finished.set(true);
        if joint.is_wanted.get() {
            joint.result.set(Some(result));
        } else {
            match result {
                Err(JoinError::Panicked(panic)) => core.report_panic(name, panic),
                other => core.drop_caught(other),
            }
        }
        if let Some(joiner) = joint.joiner.take()
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| joiner.wake()))
        {
            core.report(&Report::new("Exception in waker").task(name).panic(&*payload));
            caught::discard(payload);
        }
    }
}

/// A waker of each living task, so that those for which nobody else has one can be found.
pub(crate) struct Tasks {
    wakers: RefCell<Slab<Waker>>,
    /// While all tasks are being dropped, no new ones are made.
    closed: Cell<bool>,
}

impl Tasks {
    pub(crate) fn new() -> Tasks {
        Tasks { wakers: RefCell::new(Slab::new()), closed: Cell::new(false) }
    }

    pub(crate) fn len(&self) -> usize {
        self.wakers.borrow().len()
    }

    fn waker(&self, key: usize) -> Option<Waker> {
        self.wakers.borrow().get(key).cloned()
    }

    fn insert(&self, waker: Waker) -> usize {
        self.wakers.borrow_mut().insert(waker)
    }

    fn remove(&self, key: usize) -> Option<Waker> {
        self.wakers.borrow_mut().try_remove(key)
    }

    fn all(&self) -> Vec<Waker> {
        self.wakers.borrow().iter().map(|(_, waker)| waker.clone()).collect()
    }
}

impl Core {
    /// Makes a task and queues it.
    pub(crate) fn spawn<F>(self: &Rc<Core>, future: F) -> Result<JoinHandle<F::Output>, LoopError>
    where
        F: Future + 'static,
    {
        self.check_open()?;
        if self.tasks.closed.get() {
            return Err(LoopError::Closed);
        }
        let name = type_name::<F>();
        let joint = Rc::new(Joint {
            key: Cell::new(usize::MAX),
            result: Cell::new(None),
            joiner: Cell::new(None),
            is_wanted: Cell::new(true),
            is_cancelled: Cell::new(false),
            is_finished: Cell::new(false),
        });
        let spawned =
            Spawned { future: Some(future), joint: Rc::clone(&joint), core: Rc::clone(self) };
        let home = Home { mail: Arc::clone(&self.mail), name };
        let (runnable, task) =
            async_task::Builder::new().metadata(home).spawn_local(move |_| spawned, schedule);
        task.detach();
        joint.key.set(self.tasks.insert(runnable.waker()));
        self.enqueue(Entry::Task(runnable));
        Ok(JoinHandle { name, core: Rc::clone(self), joint, cancel_on_drop: false })
    }

    /// One poll of a task, as a step.
    pub(crate) fn run_task(&self, task: Runnable<Home>) {
        let name = task.metadata().name;
        self.step(Doing::Task(name), || {
            task.run();
        });
    }

    /// Drops the futures of all tasks. None can be made meanwhile.
    pub(crate) fn drop_tasks(&self) {
        let closed = self.tasks.closed.replace(true);
        while self.tasks.len() > 0 {
            // A task that is woken is queued here, or a letter, or about to become one: another thread has
            // woken it before and has not yet come to write.
            for waker in self.tasks.all() {
                waker.wake();
            }
            self.take_in_mail();
            let tasks = self.ready.take_tasks();
            if tasks.is_empty() {
                self.mail.wait();
            }
            for task in tasks {
                self.drop_caught(task);
            }
        }
        self.tasks.closed.set(closed);
    }

    fn report_panic(&self, task: &'static str, panic: TaskPanic) {
        let report = Report::new("Task exception was never retrieved").task(task);
        let payload = panic.into_payload();
        self.report(&report.panic(&*payload));
        caught::discard(payload);
    }
}

/// Called by wakers, in any thread: queues the task if its loop runs here, and sends it home otherwise.
fn schedule(task: Runnable<Home>) {
    match current::home_of(&task.metadata().mail) {
        Some(core) => core.enqueue(Entry::Task(task)),
        None => {
            let mail = Arc::clone(&task.metadata().mail);
            post_wake(&mail, Letter::Task(task));
        }
    }
}

/// Drops a join error, whose payload's destructor may panic.
fn caught_drop(error: JoinError) {
    if let JoinError::Panicked(panic) = error {
        caught::discard(panic.into_payload());
    }
}
