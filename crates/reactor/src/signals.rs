//! Signals of the process as callbacks of the loop.

mod registry;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future as _;
use std::io::{self, Read};
use std::mem;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use nix::sys::signal::Signal;

use self::registry::{Alarm, Installed};
use crate::future::{Future, Promise, create_future};
use crate::readers::Repeating;
use crate::{Interest, LoopError, LoopHandle, Readiness, Source, Watcher};

impl LoopHandle {
    /// Calls `callback` in the loop when the process receives `signal`; a second call replaces the first.
    ///
    /// The callback is queued like one of [`call_soon`](LoopHandle::call_soon), never run inside of the system's
    /// handler, and a loop that waits is woken up. Signals that come faster than the loop looks are one call.
    /// Several loops, in several threads, may each handle the same signal: all are told. While any loop handles
    /// SIGINT, `run()` does not end by it. asyncio: `loop.add_signal_handler()`, from the main thread only.
    ///
    /// # Errors
    ///
    /// [`SignalError::CannotBeCaught`] for SIGKILL and SIGSTOP, and for SIGILL, SIGFPE and SIGSEGV, which report
    /// a fault of the instruction that runs; [`SignalError::Loop`] on a closed loop; [`SignalError::System`] if
    /// the system refuses. The handler of before stays then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// use tidegate_reactor::{EventLoop, Signal};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let handle = event_loop.handle();
    /// let asked_to_stop = Rc::new(Cell::new(false));
    /// handle.add_signal_handler(Signal::SIGTERM, {
    ///     let (asked_to_stop, handle) = (Rc::clone(&asked_to_stop), handle.clone());
    ///     move || {
    ///         asked_to_stop.set(true);
    ///         handle.stop();
    ///     }
    /// })?;
    /// # nix::sys::signal::raise(Signal::SIGTERM)?;
    /// event_loop.run_forever()?;
    /// assert!(asked_to_stop.get());
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn add_signal_handler(
        &self,
        signal: Signal,
        callback: impl FnMut() + 'static,
    ) -> Result<(), SignalError> {
        if self.is_closed() {
            return Err(SignalError::Loop(LoopError::Closed));
        }
        if !registry::can_be_caught(signal) {
            return Err(SignalError::CannotBeCaught(signal));
        }
        let callback = Repeating::new("add_signal_handler", signal as i32, callback);
        let signals = &self.core().signals;
        if let Some(replaced) = signals.replace(signal, &callback) {
            replaced.cancel();
            return Ok(());
        }

        let installed =
            signals.alarm(self).and_then(|alarm| registry::install_handler(signal, &alarm));
        match installed {
            Ok(installed) => {
                signals.handlers.borrow_mut().insert(signal, Handler { installed, callback });
                Ok(())
            }
            Err(error) => {
                signals.release_alarm();
                Err(SignalError::System(error))
            }
        }
    }

    /// Removes the callback of a signal, and answers whether there was one.
    ///
    /// When no loop of the process handles the signal any more, the system does again what it did before the
    /// first one came: the default (SIGINT interrupts), or nothing if the program was started so. One caution:
    /// others who catch the same signal through the crate `signal-hook-registry`, and came after us, are put
    /// aside with that. asyncio: `loop.remove_signal_handler()`.
    pub fn remove_signal_handler(&self, signal: Signal) -> bool {
        let signals = &self.core().signals;
        let removed = signals.handlers.borrow_mut().remove(&signal);
        let Some(Handler { installed, callback }) = removed else {
            return false;
        };
        drop(installed);
        signals.release_alarm();
        callback.cancel();
        true
    }
}

/// Why [`add_signal_handler`](LoopHandle::add_signal_handler) refused.
#[derive(Debug)]
pub enum SignalError {
    /// This signal does what it does; nobody can handle it.
    CannotBeCaught(Signal),
    /// The loop is closed.
    Loop(LoopError),
    /// The system refused a descriptor or the handler.
    System(io::Error),
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignalError::CannotBeCaught(signal) => {
                write!(f, "signal {} cannot be caught", *signal as i32)
            }
            SignalError::Loop(error) => error.fmt(f),
            SignalError::System(error) => write!(f, "cannot handle the signal: {error}"),
        }
    }
}

impl Error for SignalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SignalError::CannotBeCaught(_) => None,
            SignalError::Loop(error) => error.source(),
            SignalError::System(error) => Some(error),
        }
    }
}

impl From<SignalError> for io::Error {
    fn from(error: SignalError) -> io::Error {
        match error {
            SignalError::CannotBeCaught(_) => io::Error::new(io::ErrorKind::InvalidInput, error),
            SignalError::Loop(error) => error.into(),
            SignalError::System(error) => error,
        }
    }
}

/// The signals that one loop handles.
pub(crate) struct Signals {
    handlers: RefCell<BTreeMap<Signal, Handler>>,
    /// There while a handler or an [`Interrupt`] needs it.
    wake_up: RefCell<Option<WakeUp>>,
    interrupted: Cell<Option<Promise<()>>>,
    interruptible: Cell<bool>,
}

struct Handler {
    installed: Installed,
    callback: Rc<Repeating>,
}

/// How the system's handler reaches the loop.
struct WakeUp {
    handle: LoopHandle,
    alarm: Arc<Alarm>,
    bell: Source<UnixStream>,
}

impl Signals {
    pub(crate) fn new() -> Signals {
        Signals {
            handlers: RefCell::new(BTreeMap::new()),
            wake_up: RefCell::new(None),
            interrupted: Cell::new(None),
            interruptible: Cell::new(false),
        }
    }

    /// The loop is closed: removes all handlers.
    pub(crate) fn close(&self) {
        let handlers = self.handlers.take();
        let (installed, callbacks): (Vec<_>, Vec<_>) =
            handlers.into_values().map(|handler| (handler.installed, handler.callback)).unzip();
        // The system's handlers first: they write to the bell.
        drop(installed);
        let Some(wake_up) = self.wake_up.take() else { return };
        drop(wake_up.bell);
        for callback in callbacks {
            callback.end(wake_up.handle.core());
        }
    }

    /// Descriptors that the loop watches for the sake of signals.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.wake_up.borrow().is_some())
    }

    fn replace(&self, signal: Signal, callback: &Rc<Repeating>) -> Option<Rc<Repeating>> {
        let mut handlers = self.handlers.borrow_mut();
        let handler = handlers.get_mut(&signal)?;
        Some(mem::replace(&mut handler.callback, Rc::clone(callback)))
    }

    /// The alarm of this loop, made for its first handler.
    fn alarm(&self, handle: &LoopHandle) -> io::Result<Arc<Alarm>> {
        if let Some(wake_up) = &*self.wake_up.borrow() {
            return Ok(Arc::clone(&wake_up.alarm));
        }
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let alarm = Alarm::new(far);
        let bell = Source::new(handle, near, Interest::READ, Rc::new(Listener(handle.clone())))?;
        let wake_up = WakeUp { handle: handle.clone(), alarm: Arc::clone(&alarm), bell };
        self.wake_up.replace(Some(wake_up));
        Ok(alarm)
    }

    /// Gives the descriptors back if nobody needs them any more.
    fn release_alarm(&self) {
        if self.handlers.borrow().is_empty() && !self.interruptible.get() {
            let unused = self.wake_up.take();
            drop(unused);
        }
    }

    /// Silences the bell, then fetches what it rang for.
    fn pending(&self) -> Option<registry::Pending> {
        let wake_up = self.wake_up.borrow();
        let wake_up = wake_up.as_ref()?;
        let mut rings = [0; 64];
        while wake_up.bell.get_ref().read(&mut rings).is_ok_and(|read| read > 0) {}
        Some(wake_up.alarm.take())
    }

    fn callback(&self, signal: Signal) -> Option<Rc<Repeating>> {
        self.handlers.borrow().get(&signal).map(|handler| Rc::clone(&handler.callback))
    }
}

/// Watches the bell.
struct Listener(LoopHandle);

impl Watcher for Listener {
    fn ready(self: Rc<Self>, _: Readiness) {
        let signals = &self.0.core().signals;
        let Some(pending) = signals.pending() else { return };
        if pending.interrupt()
            && let Some(interrupted) = signals.interrupted.take()
        {
            // Refused only if `run()` has stopped asking.
            let _ = interrupted.set_result(());
        }
        for signal in pending.signals() {
            if let Some(callback) = signals.callback(signal) {
                // Refused only by a closed loop, which has no handlers.
                let _ = self.0.queue(callback);
            }
        }
    }

    fn name(&self) -> String {
        "wake-up for signals".to_owned()
    }
}

/// SIGINT as `run()` handles it, until this is dropped.
pub(crate) struct Interrupt {
    handle: LoopHandle,
    /// None if somebody else handles SIGINT, who is left alone.
    installed: Option<Installed>,
    came: Future<()>,
}

impl Interrupt {
    pub(crate) fn install(handle: &LoopHandle) -> io::Result<Interrupt> {
        let signals = &handle.core().signals;
        let (promise, came) = create_future();
        signals.interruptible.set(true);
        // From here on a drop cleans up.
        let mut interrupt = Interrupt { handle: handle.clone(), installed: None, came };
        interrupt.installed = registry::install_interrupt(&signals.alarm(handle)?)?;
        if interrupt.installed.is_none() {
            signals.interruptible.set(false);
            signals.release_alarm();
        }
        // Without a handler it is never kept, and dropped with the rest.
        signals.interrupted.set(Some(promise));
        Ok(interrupt)
    }

    /// Ready when the first SIGINT has come.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // The promise is in the same hands as this, so it is kept or waits.
        Pin::new(&mut self.came).poll(context).map(|_kept| ())
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        drop(self.installed.take());
        let signals = &self.handle.core().signals;
        drop(signals.interrupted.take());
        signals.interruptible.set(false);
        signals.release_alarm();
    }
}
