//! Why the loop refuses.

use std::error::Error;
use std::fmt;
use std::io;

/// The answer of a loop that cannot do what it is asked.
///
/// asyncio raises `RuntimeError` with the same texts. It converts into [`io::Error`], so `?` works in
/// functions that speak of I/O.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::{LoopError, LoopHandle};
///
/// let error = LoopHandle::current().unwrap_err();
/// assert_eq!(error, LoopError::NotRunning);
/// assert_eq!(error.to_string(), "no running event loop: call this inside tidegate::run");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoopError {
    /// No loop runs in this thread.
    NotRunning,
    /// The loop was closed; nothing can be scheduled on it any more.
    Closed,
    /// This very loop runs already, further up the stack.
    AlreadyRunning,
    /// Another loop runs in this thread, further up the stack.
    OtherRunning,
    /// A running loop cannot be closed.
    CloseRunning,
    /// The loop was stopped while `run_until_complete` waited for its future.
    Stopped,
    /// The pool of threads was shut down.
    ExecutorShutdown,
    /// The system refused to wait for events, which happens only when the loop's own descriptor was
    /// closed behind its back.
    Wait(io::ErrorKind),
}

impl fmt::Display for LoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            LoopError::NotRunning => "no running event loop: call this inside tidegate::run",
            LoopError::Closed => "Event loop is closed",
            LoopError::AlreadyRunning => "This event loop is already running",
            LoopError::OtherRunning => "Cannot run the event loop while another loop is running",
            LoopError::CloseRunning => "Cannot close a running event loop",
            LoopError::Stopped => "Event loop stopped before Future completed.",
            LoopError::ExecutorShutdown => "Executor shutdown has been called",
            LoopError::Wait(kind) => {
                return write!(f, "Event loop cannot wait for events: {kind}");
            }
        };
        f.write_str(text)
    }
}

impl Error for LoopError {}

impl From<LoopError> for io::Error {
    fn from(error: LoopError) -> io::Error {
        let kind = match error {
            LoopError::Wait(kind) => kind,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_found_inside_of_an_io_error() {
        let errors = [
            (LoopError::Closed, io::ErrorKind::Other),
            (LoopError::Wait(io::ErrorKind::OutOfMemory), io::ErrorKind::OutOfMemory),
        ];
        for (error, kind) in errors {
            let converted = io::Error::from(error);
            assert_eq!(converted.kind(), kind);
            assert_eq!(converted.to_string(), error.to_string());
            let inside = converted.get_ref().and_then(|inside| inside.downcast_ref());
            assert_eq!(inside, Some(&error));
        }
    }
}
