//! The one handle of a loop that other threads may hold.

use std::any::type_name;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_task::Runnable;

use crate::LoopError;
use crate::mailbox::{Kind, Mailbox, Ring};
use crate::poller::Bell;
use crate::tasks::Home;

/// The mailbox of a real loop.
pub(crate) type Mail = Mailbox<Letter, Bell>;

impl Ring for Bell {
    fn ring(&self) {
        Bell::ring(self);
    }
}

/// What may lie in a loop's mailbox.
pub(crate) enum Letter {
    Task(Runnable<Home>),
    Call(Arc<dyn RemoteCallback>),
    /// The main future of the run with that number was woken.
    Main(u64),
}

/// Puts a wake-up in the mailbox. If the loop is closed the letter is forgotten, not dropped: it may hold
/// the last share of a local task, which must not be dropped in another thread.
pub(crate) fn post_wake(mail: &Mail, letter: Letter) {
    if let Err(letter) = mail.post(Kind::Wake, letter) {
        mem::forget(letter);
    }
}

/// Schedules calls on a loop from any thread; the only handle of a loop that is `Send`.
///
/// It keeps neither the loop alive nor its memory from being freed once the loop is closed. asyncio:
/// `loop.call_soon_threadsafe()`.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use tidegate_reactor::{EventLoop, LoopHandle};
///
/// let event_loop = EventLoop::new()?;
/// let remote = event_loop.handle().remote();
/// let thread = thread::spawn(move || {
///     remote.call_soon_threadsafe(|| LoopHandle::current().unwrap().stop())
/// });
/// event_loop.run_forever()?;
/// thread.join().unwrap()?;
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Remote {
    mail: Arc<Mail>,
}

impl Remote {
    pub(crate) fn new(mail: Arc<Mail>) -> Remote {
        Remote { mail }
    }

    /// Runs `callback` on the loop, behind everything scheduled so far, and ends the loop's sleep if it
    /// sleeps. It allocates once.
    ///
    /// Inside of the callback [`LoopHandle::current`](crate::LoopHandle::current) is the loop. A panic in it
    /// is reported to the loop's exception handler.
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`] if the loop is closed or gone; the callback is dropped, here.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::{EventLoop, LoopError};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let remote = event_loop.handle().remote();
    /// event_loop.close()?;
    /// assert_eq!(remote.call_soon_threadsafe(|| {}).unwrap_err(), LoopError::Closed);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn call_soon_threadsafe<F>(&self, callback: F) -> Result<RemoteHandle, LoopError>
    where
        F: FnOnce() + Send + 'static,
    {
        let call = Arc::new(RemoteCall {
            cancelled: AtomicBool::new(false),
            callback: Mutex::new(Some(callback)),
        });
        match self.mail.post(Kind::Call, Letter::Call(Arc::clone(&call) as _)) {
            Ok(()) => Ok(RemoteHandle { call }),
            Err(_refused) => Err(LoopError::Closed),
        }
    }

    /// Whether the loop is closed or gone, so that nothing can be scheduled on it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.mail.is_open()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("is_closed", &self.is_closed()).finish()
    }
}

/// A call scheduled from another thread; dropping it does nothing to the call.
///
/// asyncio's handles may not be used from other threads; this one may.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::EventLoop;
///
/// let event_loop = EventLoop::new()?;
/// let call = event_loop.handle().remote().call_soon_threadsafe(|| unreachable!())?;
/// call.cancel();
/// assert!(call.cancelled());
/// event_loop.run_until_complete(async {})?;
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct RemoteHandle {
    call: Arc<dyn RemoteCallback>,
}

impl RemoteHandle {
    /// Keeps the callback from being run, unless it runs or ran already, and drops it. May be called again.
    /// asyncio: `Handle.cancel()`.
    pub fn cancel(&self) {
        self.call.cancel();
    }

    /// Whether [`cancel`](Self::cancel) was called. Having run is not being cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.call.is_cancelled()
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle")
            .field("callback", &self.call.name())
            .field("cancelled", &self.cancelled())
            .finish()
    }
}

/// A callback that other threads may cancel.
pub(crate) trait RemoteCallback: Send + Sync {
    fn run(&self);
    fn cancel(&self);
    fn is_cancelled(&self) -> bool;
    /// Drops the callback unrun; the loop closes.
    fn discard(&self);
    fn name(&self) -> &'static str;
}

struct RemoteCall<F> {
    cancelled: AtomicBool,
    callback: Mutex<Option<F>>,
}

impl<F> RemoteCall<F> {
    /// Takes the callback out, so that it is run and dropped with no lock held.
    fn take(&self) -> Option<F> {
        self.callback.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<F: FnOnce() + Send> RemoteCallback for RemoteCall<F> {
    fn run(&self) {
        if let Some(callback) = self.take() {
            callback();
        }
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        drop(self.take());
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn discard(&self) {
        drop(self.take());
    }

    fn name(&self) -> &'static str {
        type_name::<F>()
    }
}
