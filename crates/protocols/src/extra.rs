//! What a transport can tell of itself, by type.

use crate::Address;

/// The peer's address, as [`get_extra_info`](crate::Transport::get_extra_info) answers it (asyncio's
/// `"peername"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName(pub Address);

/// The own address, as [`get_extra_info`](crate::Transport::get_extra_info) answers it (asyncio's
/// `"sockname"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SockName(pub Address);

/// What a pipe transport reads from and writes to, as [`get_extra_info`](crate::Transport::get_extra_info) answers it
/// (asyncio's `"pipe"`, which is the file object; the descriptor is lent by
/// [`with_socket`](crate::Transport::with_socket)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipe {
    /// What is read from, if anything is.
    pub read: Option<PipeKind>,
    /// What is written to, if anything is.
    pub write: Option<PipeKind>,
}

/// What a descriptor is that is used as a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipeKind {
    /// A pipe, or a FIFO, which is a pipe with a name.
    Fifo,
    /// A socket.
    Socket,
    /// A terminal, on either side of it, or another device that is read and written in sequence, such as `/dev/null`.
    CharacterDevice,
    /// A regular file or a block device; only a program's own standard streams are.
    File,
}
