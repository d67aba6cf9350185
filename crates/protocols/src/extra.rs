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

/// Who the process at the other end of a Unix socket was when it connected, or began to listen, as
/// [`get_extra_info`](crate::Transport::get_extra_info) answers it. Linux tells it; elsewhere there is none.
///
/// asyncio has no counterpart; there one reads `SO_PEERCRED` from the socket.
///
/// ```
/// # fn example(transport: &tidegate_protocols::Transport) {
/// use tidegate_protocols::PeerCredentials;
///
/// let by_root = transport.get_extra_info().is_some_and(|peer: PeerCredentials| peer.uid == 0);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The number of the process. `None` where the system does not tell it, or where the process is outside of this
    /// process's namespace, and so has no number here: that of a host which serves a socket to a container, say.
    pub pid: Option<i32>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

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
