//! The operations a stream transport needs of what carries its bytes.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

use bytes::Bytes;
use tidegate_protocols::Address;
use tidegate_reactor::Interest;

/// What carries the bytes of a stream transport: a socket, or memory in tests.
///
/// A wire never blocks. It announces its readiness to the [`Watcher`](tidegate_reactor::Watcher) that
/// [`open`](super::stream::open) hands to whoever makes it, and its readiness is level-triggered: while a
/// direction is ready and of interest, the watcher is told once a turn of the loop.
///
/// The asyncio counterpart is the socket object inside `_SelectorSocketTransport`.
pub trait Wire: 'static {
    /// Reads at most `into.len()` bytes; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) and [`Interrupted`](io::ErrorKind::Interrupted) mean
    /// "nothing now"; any other error ends the connection.
    fn read(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Reads to the end of `into`, at most as much as fits without an allocation. As provided it zeroes that memory
    /// first; a wire that can do without overrides it.
    ///
    /// # Errors
    ///
    /// As for [`read`](Wire::read).
    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        into.resize(into.capacity(), 0);
        let read = self.read(&mut into[before..]);
        into.truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// Writes a part of `from` and answers how long it was.
    ///
    /// # Errors
    ///
    /// As for [`read`](Wire::read).
    fn write(&self, from: &[u8]) -> io::Result<usize>;

    /// Writes a part of the slices, in order, as one piece.
    ///
    /// # Errors
    ///
    /// As for [`read`](Wire::read).
    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends the writing direction; the peer reads the end of the stream.
    ///
    /// # Errors
    ///
    /// Whatever the system says, such as that the peer is gone.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Whether [`shutdown_write`](Wire::shutdown_write) can work; true unless overridden.
    fn can_write_eof(&self) -> bool {
        true
    }

    /// Says which directions the watcher wants to hear of from now on.
    fn set_interest(&self, interest: Interest);

    /// Whether the peer was seen to hang up.
    fn hung_up(&self) -> bool;

    /// The transport has begun to close: others may watch the descriptor again.
    fn release(&self) {}

    /// The descriptor, where there is one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Gives up the descriptor, open and watched by nobody, and what was read of it and given to nobody.
    ///
    /// # Errors
    ///
    /// The wire as it was, where it is not a socket that another wire could go on with. As provided it is not.
    fn detach(self) -> Result<(OwnedFd, Bytes), Self>
    where
        Self: Sized,
    {
        Err(self)
    }

    /// The peer's address, if it can be told.
    fn peername(&self) -> Option<Address> {
        None
    }

    /// The own address, if it can be told.
    fn sockname(&self) -> Option<Address> {
        None
    }
}

/// Whether an error of a wire only says that it is not ready.
pub(crate) fn is_nothing_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
