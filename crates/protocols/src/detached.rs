//! A live connection on its way from one loop to another, and why one may not leave.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;

use crate::{Address, WriteBuffer};

/// A live connection that belongs to no loop: what [`Transport::detach`](crate::Transport::detach) answers.
///
/// It is `Send`: another thread's loop goes on with it by `adopt`, in `tidegate-transports`, or `adopt_streams`, in
/// `tidegate-streams`. Whoever needs the parts takes them out of its fields. Dropping it closes the descriptor: what
/// is unsent is lost then.
///
/// asyncio has no counterpart.
///
/// # Examples
///
/// A connection that came from elsewhere, with bytes that somebody has read of it:
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use tidegate_protocols::Detached;
///
/// let (ours, _theirs) = UnixStream::pair()?;
/// let detached = Detached::new(ours).with_unread(b"GET / HTTP/1.1\r\n");
/// assert_eq!(detached.unread.len(), 16);
/// assert!(detached.unsent.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
pub struct Detached {
    /// The socket, which no loop watches.
    pub descriptor: OwnedFd,
    /// What was read of it and given to nobody, in order. The next protocol gets it before anything that is read
    /// later.
    pub unread: Bytes,
    /// What was written and the system has not taken, in order. It is sent before anything that is written later.
    pub unsent: WriteBuffer,
    /// The writing direction was ended: behind the unsent bytes the peer reads the end of the stream, if there are any;
    /// without, it has been told.
    pub write_eof: bool,
    /// The peer's address, if it is known.
    pub peername: Option<Address>,
}

impl Detached {
    /// A connection of which nothing is unread or unsent.
    pub fn new(descriptor: impl Into<OwnedFd>) -> Detached {
        Detached {
            descriptor: descriptor.into(),
            unread: Bytes::new(),
            unsent: WriteBuffer::new(),
            write_eof: false,
            peername: None,
        }
    }

    /// Puts a copy of `bytes` before everything that is unread.
    ///
    /// A protocol that detaches inside of `data_received` gives along what it has not consumed of its data so.
    #[must_use]
    pub fn with_unread(mut self, bytes: &[u8]) -> Detached {
        if self.unread.is_empty() {
            self.unread = Bytes::copy_from_slice(bytes);
        } else {
            self.unread = [bytes, &self.unread].concat().into();
        }
        self
    }
}

impl AsFd for Detached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What waits is counted, and not shown.
impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached")
            .field("descriptor", &self.descriptor)
            .field("unread", &self.unread.len())
            .field("unsent", &self.unsent.len())
            .field("write_eof", &self.write_eof)
            .field("peername", &self.peername)
            .finish()
    }
}

/// Why a connection could not be taken out of its loop. Nothing has happened to it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetachError {
    /// Its `connection_made` is still to come.
    Opening,
    /// It is closing, or lost.
    Closing,
    /// It stands on a layer such as TLS, or a layer stands on it.
    Layered,
    /// What carries it is not one descriptor that could be handed on.
    NoDescriptor,
    /// Somebody looks at its socket at this moment, a file is being sent, or descriptors wait to be passed.
    Busy,
    /// The reader and the writer belong to different connections.
    Unpaired,
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DetachError::Opening => "the connection is not made yet",
            DetachError::Closing => "the connection is closing or lost",
            DetachError::Layered => "a layer is part of the connection and cannot be detached",
            DetachError::NoDescriptor => "the connection has no descriptor to hand on",
            DetachError::Busy => {
                "the socket is in use: it is looked at, or sends a file or descriptors"
            }
            DetachError::Unpaired => "the reader and the writer belong to different connections",
        })
    }
}

impl Error for DetachError {}

impl From<DetachError> for io::Error {
    fn from(error: DetachError) -> io::Error {
        let kind = match error {
            DetachError::Opening | DetachError::Closing => io::ErrorKind::NotConnected,
            DetachError::Layered | DetachError::NoDescriptor => io::ErrorKind::Unsupported,
            DetachError::Busy => io::ErrorKind::ResourceBusy,
            DetachError::Unpaired => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn is_send<T: Send>(_: &T) {}

    #[test]
    fn what_is_put_back_comes_before_what_is_unread() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let detached = Detached::new(ours).with_unread(b"cd").with_unread(b"ab");
        assert_eq!(detached.unread, "abcd");
        is_send(&detached);
    }

    #[test]
    fn what_waits_is_counted_and_not_shown() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let mut detached = Detached::new(ours);
        detached.unsent.push(b"secret");
        let shown = format!("{detached:?}");
        assert!(shown.contains("unread: 0, unsent: 6,"), "{shown}");
    }

    #[test]
    fn an_error_keeps_its_reason() {
        let check = |reason: DetachError, kind| {
            let error = io::Error::from(reason);
            assert_eq!(error.kind(), kind);
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            assert_eq!(inner, Some(&reason));
        };
        check(DetachError::Opening, io::ErrorKind::NotConnected);
        check(DetachError::Closing, io::ErrorKind::NotConnected);
        check(DetachError::Layered, io::ErrorKind::Unsupported);
        check(DetachError::NoDescriptor, io::ErrorKind::Unsupported);
        check(DetachError::Busy, io::ErrorKind::ResourceBusy);
        check(DetachError::Unpaired, io::ErrorKind::InvalidInput);
    }
}
