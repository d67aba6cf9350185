//! What went wrong and where, told to the loop's exception handler.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::caught::{self, panic_text};
use crate::parts::Core;

/// A function that is told of reports; see
/// [`LoopHandle::get_exception_handler`](crate::LoopHandle::get_exception_handler).
pub type ExceptionHandler = Rc<dyn Fn(&Report)>;

/// One thing that went wrong in a loop, or that debug mode found worth telling; asyncio's exception context.
///
/// It always has a message, and then only the details that apply. Displayed, it is asyncio's record: the
/// message, and each detail on a line of its own, sorted by name.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_reactor::Report;
///
/// let report = Report::new("Fatal error on transport")
///     .error(io::Error::other("no such luck"))
///     .transport("<TCP 127.0.0.1:80>");
/// assert_eq!(
///     report.to_string(),
///     "Fatal error on transport\nexception: no such luck\ntransport: <TCP 127.0.0.1:80>",
/// );
/// assert!(report.keys().eq(["exception", "message", "transport"]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Report {
    message: String,
    error: Option<Arc<dyn Error + Send + Sync>>,
    details: BTreeMap<&'static str, String>,
}

impl Report {
    /// A report with a message and nothing else yet. An empty message counts as missing.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Report {
        Report { message: message.into(), ..Report::default() }
    }

    /// With the error that it is about; asyncio's key `exception`.
    #[must_use]
    pub fn error(mut self, error: impl Error + Send + Sync + 'static) -> Report {
        self.error = Some(Arc::new(error));
        self
    }

    /// With the panic that it is about, as caught by [`std::panic::catch_unwind`].
    #[must_use]
    pub fn panic(self, payload: &(dyn Any + Send)) -> Report {
        let text = panic_text(payload).to_owned();
        self.error(Panicked { text })
    }

    /// With the scheduled callback that it is about.
    #[must_use]
    pub fn handle(self, handle: impl Into<String>) -> Report {
        self.detail("handle", handle)
    }

    /// With the task that it is about.
    #[must_use]
    pub fn task(self, task: impl Into<String>) -> Report {
        self.detail("task", task)
    }

    /// With the transport that it is about.
    #[must_use]
    pub fn transport(self, transport: impl Into<String>) -> Report {
        self.detail("transport", transport)
    }

    /// With the address of the peer that it is about.
    #[must_use]
    pub fn peer(self, peer: impl Into<String>) -> Report {
        self.detail("peer", peer)
    }

    /// With the protocol that it is about.
    #[must_use]
    pub fn protocol(self, protocol: impl Into<String>) -> Report {
        self.detail("protocol", protocol)
    }

    /// With the socket that it is about.
    #[must_use]
    pub fn socket(self, socket: impl Into<String>) -> Report {
        self.detail("socket", socket)
    }

    /// With the place in the source where the thing it is about was made; known in debug mode only.
    #[must_use]
    pub fn source_traceback(self, place: impl Into<String>) -> Report {
        self.detail("source_traceback", place)
    }

    fn detail(mut self, key: &'static str, value: impl Into<String>) -> Report {
        self.details.insert(key, value.into());
        self
    }

    /// The message; empty if it is missing.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error or panic it is about, if there is one.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.error.as_deref()
    }

    /// One detail by its name, `transport` for example.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.details.get(key).map(String::as_str)
    }

    /// The names of everything it has, sorted; `message` and `exception` among them.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        let mut keys: Vec<_> = self.details.keys().copied().collect();
        keys.push("message");
        keys.extend(self.error.as_ref().map(|_| "exception"));
        keys.sort_unstable();
        keys.into_iter()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            f.write_str("Unhandled exception in event loop")?;
        } else {
            f.write_str(&self.message)?;
        }

        // The error is one of the details, under its own name.
        let exception = self.error.as_ref().map(|error| ("exception", error.to_string()));
        let mut lines: BTreeMap<&str, &str> =
            self.details.iter().map(|(key, value)| (*key, value.as_str())).collect();
        if let Some((key, text)) = &exception {
            lines.insert(key, text);
        }
        for (key, value) in lines {
            f.write_char('\n')?;
            write!(f, "{key}: {value}")?;
        }
        Ok(())
    }
}

/// A caught panic, as an error with the panic's text.
#[derive(Debug)]
struct Panicked {
    text: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.text)
    }
}

impl Error for Panicked {}

/// Whom a loop tells, and what it is asked to look for.
pub(crate) struct Reports {
    handler: RefCell<Option<ExceptionHandler>>,
    pub(crate) debug: Cell<bool>,
    pub(crate) slow: Cell<Duration>,
}

impl Reports {
    pub(crate) fn new() -> Reports {
        Reports {
            handler: RefCell::new(None),
            debug: Cell::new(false),
            slow: Cell::new(Duration::from_millis(100)),
        }
    }

    pub(crate) fn handler(&self) -> Option<ExceptionHandler> {
        self.handler.borrow().clone()
    }

    /// Sets the handler and gives back the one before, for the caller to drop.
    pub(crate) fn set_handler(
        &self,
        handler: Option<ExceptionHandler>,
    ) -> Option<ExceptionHandler> {
        self.handler.replace(handler)
    }
}

impl Core {
    /// Tells the exception handler. Nothing that happens in it comes out of here.
    pub(crate) fn report(&self, report: &Report) {
        let Some(handler) = self.reports.handler() else {
            return default_handler(report);
        };
        // A handler that replaces itself is dropped here, with its share.
        let outcome = catch_unwind(AssertUnwindSafe(move || handler(report)));
        if let Err(payload) = outcome {
            let failure = Report::new("Unhandled error in exception handler").panic(&*payload);
            caught::discard(payload);
            default_handler(&failure.detail("context", report.to_string().replace('\n', "; ")));
        }
    }

    /// Gives up a share of a user's value.
    #[inline]
    pub(crate) fn release<T: ?Sized>(&self, share: Rc<T>) {
        if Rc::strong_count(&share) == 1 {
            self.drop_caught(share);
        }
    }

    /// Drops a user's value, and tells if its destructor panics.
    pub(crate) fn drop_caught<T>(&self, value: T) {
        if let Err(payload) = caught::drop_value(value) {
            self.report(&Report::new("Exception in destructor").panic(&*payload));
            caught::discard(payload);
        }
    }
}

/// Writes one record to stderr; asyncio's default exception handler.
pub(crate) fn default_handler(report: &Report) {
    // The text is made first: a user's error type may panic when it is displayed, and stderr may be closed.
    let text = catch_unwind(AssertUnwindSafe(|| format!("{report}\n")));
    let text = text.unwrap_or_else(|payload| {
        caught::discard(payload);
        format!("{}\n", report.message())
    });
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
