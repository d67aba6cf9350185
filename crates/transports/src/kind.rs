//! What kind of stream socket a descriptor is, and the wire that goes with it.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tidegate_protocols::{Address, Protocol, Transport};
use tidegate_reactor::{Interest, LoopHandle, Watcher};

use crate::detach::Carried;
use crate::stream::{self, Socket, StreamOptions, UnixSocket, Wire};
use crate::{tcp, unix};

/// What kind of stream socket a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is TCP. Small pieces are sent at once.
    Tcp,
    Unix,
    Other,
}

impl Kind {
    /// The kind of a connected socket. One of TCP sends small pieces at once from here on.
    pub(crate) fn of(descriptor: &OwnedFd, peername: Option<&Address>) -> Kind {
        match peername {
            Some(Address::Unix(_)) => Kind::Unix,
            _ if tcp::set_no_delay(descriptor) => Kind::Tcp,
            _ if unix::is_unix(descriptor) => Kind::Unix,
            _ => Kind::Other,
        }
    }

    /// The same, of one that was a transport's before, whose options stay.
    pub(crate) fn detached(descriptor: &OwnedFd) -> Kind {
        if tcp::is_tcp(descriptor) {
            return Kind::Tcp;
        }
        if unix::is_unix(descriptor) { Kind::Unix } else { Kind::Other }
    }

    /// The same, of one that was accepted where `sockname` is.
    pub(crate) fn accepted(descriptor: &OwnedFd, sockname: &Address) -> Kind {
        match sockname {
            Address::Inet(_) if tcp::set_no_delay(descriptor) => Kind::Tcp,
            Address::Unix(_) => Kind::Unix,
            Address::Inet(_) | Address::Unnamed => Kind::Other,
        }
    }

    /// Opens a stream transport over a socket of this kind, or goes on with one. A read may bring so many descriptors,
    /// if it is a Unix socket.
    #[expect(clippy::too_many_arguments, reason = "all that opening takes, from two callers")]
    pub(crate) fn open(
        self,
        handle: &LoopHandle,
        descriptor: OwnedFd,
        receive_fds: usize,
        interest: Interest,
        protocol: Box<dyn Protocol>,
        options: StreamOptions,
        carried: Option<Box<Carried>>,
    ) -> io::Result<Transport> {
        if self == Kind::Unix {
            let wire = |watcher| {
                let socket = UnixSocket::new(handle, descriptor, interest, watcher)?;
                Ok(socket.receive_fds(receive_fds))
            };
            return open(handle, wire, protocol, options, carried);
        }
        let make = if self == Kind::Tcp { Socket::tcp } else { Socket::new };
        let wire = |watcher| make(handle, descriptor, interest, watcher);
        open(handle, wire, protocol, options, carried)
    }
}

/// Makes a socket that was given to us one of ours: a stream socket, and non-blocking; a Unix socket, if it is to receive
/// descriptors.
pub(crate) fn adopt(descriptor: &OwnedFd, receive_fds: usize) -> io::Result<()> {
    match receive_fds {
        0 => tcp::adopt(descriptor),
        _ => unix::adopt(descriptor),
    }
}

/// Opens a stream transport that is new, or goes on from where it was detached.
fn open<W: Wire>(
    handle: &LoopHandle,
    wire: impl FnOnce(Rc<dyn Watcher>) -> io::Result<W>,
    protocol: Box<dyn Protocol>,
    options: StreamOptions,
    carried: Option<Box<Carried>>,
) -> io::Result<Transport> {
    match carried {
        None => stream::open(handle, wire, protocol, options),
        Some(carried) => carried.open(handle, wire, protocol, options),
    }
}
