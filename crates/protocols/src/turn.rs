//! The right to send something that was not written, such as a file, in its place among what is.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use crate::Waiter;

/// The right to send something that was not written, such as a file, in its place among what is.
///
/// [`RawTransport::take_turn`](crate::RawTransport::take_turn) grants it. What was written before goes first; what
/// is written while the turn lasts waits behind, counted by the flow as ever, and nothing is read meanwhile. Dropping
/// the turn ends it. A transport that closes or is lost has ended it by itself: the methods answer with an error then.
///
/// This is what `sendfile` is made of.
pub trait Turn {
    /// Sends a part of `data` as soon as the wire takes it, and answers how long it was.
    ///
    /// A transport with no wire of its own, a layer, accepts the bytes instead once few enough wait below.
    ///
    /// # Errors
    ///
    /// Why the connection is going or gone; it ends with the same cause.
    fn poll_write(
        &self,
        data: &[u8],
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>;

    /// Has the system send at most `count` bytes of `file`, from `offset` on, as soon as the wire takes some, and
    /// answers how many those were; zero is the end of the file.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the system cannot, which is everywhere unless overridden.
    /// What the system says of the file, which changes nothing; or why the connection is going or gone.
    fn poll_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let _ = (file, offset, count, waiter, context);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// Why there is no turn to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnError {
    /// The connection is closing or lost, or its writing end was closed.
    Closing,
    /// Somebody has the turn already.
    Taken,
    /// The transport grants none.
    Unsupported,
}

impl fmt::Display for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TurnError::Closing => "Transport is closing",
            TurnError::Taken => "sendfile is in progress already",
            TurnError::Unsupported => "sendfile is not supported for this transport",
        })
    }
}

impl Error for TurnError {}
