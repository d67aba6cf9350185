//! Why a connection was lost.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Why a connection was lost: an [`io::Error`] that can be had by everyone who asks.
///
/// One cause serves [`connection_lost`](crate::Protocol::connection_lost),
/// [`closed`](crate::Transport::closed) and everything that was waiting when the connection went. The
/// asyncio counterpart is the exception given to `connection_lost`.
///
/// ```
/// use std::io;
/// use tidegate_protocols::Cause;
///
/// let cause = Cause::from(io::Error::from(io::ErrorKind::ConnectionReset));
/// assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset);
/// let error: io::Error = cause.clone().into();
/// assert_eq!(error.kind(), cause.kind());
/// ```
#[derive(Clone, Debug)]
pub struct Cause(Arc<io::Error>);

impl Cause {
    /// The cause that a caught panic amounts to; its text is the panic's.
    pub fn from_panic(payload: Box<dyn Any + Send>) -> Cause {
        let cause = Cause::of_panic(&*payload);
        // What was thrown is a user's value: its destructor may panic as well.
        let _second = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        cause
    }

    /// The same, of a panic that goes on.
    pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> Cause {
        let text = if let Some(text) = payload.downcast_ref::<&str>() {
            text
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text
        } else {
            "a value that is no text"
        };
        Cause::from(io::Error::other(format!("panicked: {text}")))
    }

    /// Whether this is an error of the operating system: one with a number.
    ///
    /// Those are the common ends of connections, and are told to the protocol alone; any other cause is
    /// reported to the loop's exception handler too.
    pub fn is_os_error(&self) -> bool {
        self.0.raw_os_error().is_some()
    }

    /// The shared error itself.
    pub fn into_shared(self) -> Arc<io::Error> {
        self.0
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Cause {
        match error.downcast::<Cause>() {
            Ok(cause) => cause,
            Err(error) => Cause(Arc::new(error)),
        }
    }
}

/// The kind is kept, and the number of the operating system; else the cause is what the error carries (`get_ref`).
impl From<Cause> for io::Error {
    fn from(cause: Cause) -> io::Error {
        match cause.0.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(cause.0.kind(), cause),
        }
    }
}

impl Deref for Cause {
    type Target = io::Error;

    fn deref(&self) -> &io::Error {
        &self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_keeps_its_number() {
        let cause = Cause::from(io::Error::from_raw_os_error(104));
        assert!(cause.is_os_error());
        assert_eq!(io::Error::from(cause).raw_os_error(), Some(104));
    }

    #[test]
    fn any_other_error_keeps_its_kind_and_text_there_and_back() {
        let cause = Cause::from(io::Error::new(io::ErrorKind::InvalidData, "bad frame"));
        assert!(!cause.is_os_error());
        let error = io::Error::from(cause.clone());
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::InvalidData, "bad frame".into())
        );
        assert!(Arc::ptr_eq(&Cause::from(error).into_shared(), &cause.into_shared()));
    }

    #[test]
    fn a_panic_becomes_its_text() {
        let text = |payload: Box<dyn Any + Send>| Cause::from_panic(payload).to_string();
        assert_eq!(text(Box::new("static")), "panicked: static");
        assert_eq!(text(Box::new("owned".to_owned())), "panicked: owned");
        assert_eq!(text(Box::new(7)), "panicked: a value that is no text");
    }
}
