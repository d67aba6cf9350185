//! The operations a stream transport needs of what carries its bytes.

use std::any::Any;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use bytes::Bytes;
use tidegate_protocols::{Address, DetachError, SendFdsError};
use tidegate_reactor::Interest;

/// What carries the bytes of a stream transport: a socket, or memory in tests.
///
/// A wire never blocks. It announces its readiness to the [`Watcher`](tidegate_reactor::Watcher) that
/// [`open`](super::stream::open) hands to whoever makes it, and its readiness is level-triggered: while a
/// direction is ready and of interest, the watcher is told once a turn of the loop.
///
/// The asyncio counterpart is the socket object inside `_SelectorSocketTransport`.
pub trait Wire: 'static {
    /// Whether its reads can bring descriptors; false unless overridden.
    const BRINGS_FDS: bool = false;

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

    /// What was offered and not taken is not offered again. It does nothing unless overridden: a wire that keeps what
    /// it was offered, to answer later that it is written, has to know.
    fn withdraw(&self) {}

    /// Writes a part of `from` along with `fds`, or keeps `fds` until `behind` bytes more and those of `from` that
    /// it does not write now are written. As provided it refuses.
    ///
    /// # Errors
    ///
    /// Whatever the system says, with nothing written and nothing kept; never that it is not ready.
    fn write_with_fds(&self, from: &[u8], fds: Vec<OwnedFd>, behind: usize) -> io::Result<usize> {
        let _closed = (from, fds, behind);
        Err(SendFdsError::Unsupported.into())
    }

    /// Whether [`write_with_fds`](Wire::write_with_fds) can work; false unless overridden.
    fn passes_fds(&self) -> bool {
        false
    }

    /// The descriptors that the last read has brought; none unless overridden.
    fn take_fds(&self) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// Has the system send at most `count` bytes of `file`, from `offset` on, and answers how many it took; zero is
    /// the end of the file. It cannot unless overridden.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) and [`Interrupted`](io::ErrorKind::Interrupted) mean "nothing now",
    /// [`Unsupported`](io::ErrorKind::Unsupported) "not here"; any other may be of the file or of the connection.
    fn send_file(&self, file: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<usize> {
        let _ = (file, offset, count);
        Err(io::ErrorKind::Unsupported.into())
    }

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

    /// Which directions there are; both unless overridden.
    fn directions(&self) -> Directions {
        Directions::Both
    }

    /// Says which directions the watcher wants to hear of from now on.
    ///
    /// A wire that is [for writing only](Directions::WriteOnly) is asked for reading too: it is readable when it
    /// finds that its reader is gone.
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
    /// The wire as it was, and why. As provided it is not a socket that another wire could go on with.
    fn detach(self) -> Result<(OwnedFd, Bytes), (Self, DetachError)>
    where
        Self: Sized,
    {
        Err((self, DetachError::NoDescriptor))
    }

    /// The peer's address, if it can be told.
    fn peername(&self) -> Option<Address> {
        None
    }

    /// The own address, if it can be told.
    fn sockname(&self) -> Option<Address> {
        None
    }

    /// What else is known, if anything: one value, which
    /// [`get_extra_info`](tidegate_protocols::Transport::get_extra_info) finds by its type, also after the loss.
    fn extra_info(&self) -> Option<Rc<dyn Any>> {
        None
    }
}

/// The directions that a wire has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Reading and writing, each of which ends by itself.
    Both,
    /// The read end of a pipe. Where the stream ends, the connection does.
    ReadOnly,
    /// The write end of a pipe. The end of writing is the connection's own.
    WriteOnly,
}

/// Whether an error of a wire only says that it is not ready.
pub(crate) fn is_nothing_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
