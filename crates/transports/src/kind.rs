//! What kind of stream socket a descriptor is, and the wire that goes with it.

use std::io;
use std::os::fd::OwnedFd;

use tidegate_protocols::{Address, Protocol, Transport};
use tidegate_reactor::{Interest, LoopHandle};

use crate::stream::{self, Socket, StreamOptions, UnixSocket};
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

    /// The same, of one that was accepted where `sockname` is.
    pub(crate) fn accepted(descriptor: &OwnedFd, sockname: &Address) -> Kind {
        match sockname {
            Address::Inet(_) if tcp::set_no_delay(descriptor) => Kind::Tcp,
            Address::Unix(_) => Kind::Unix,
            Address::Inet(_) | Address::Unnamed => Kind::Other,
        }
    }

    /// Opens a stream transport over a socket of this kind. A read may bring so many descriptors, if it is a Unix
    /// socket.
    pub(crate) fn open(
        self,
        handle: &LoopHandle,
        descriptor: OwnedFd,
        receive_fds: usize,
        interest: Interest,
        protocol: Box<dyn Protocol>,
        options: StreamOptions,
    ) -> io::Result<Transport> {
        if self == Kind::Unix {
            let wire = |watcher| {
                let socket = UnixSocket::new(handle, descriptor, interest, watcher)?;
                Ok(socket.receive_fds(receive_fds))
            };
            return stream::open(handle, wire, protocol, options);
        }
        let open = if self == Kind::Tcp { Socket::tcp } else { Socket::new };
        stream::open(
            handle,
            |watcher| open(handle, descriptor, interest, watcher),
            protocol,
            options,
        )
    }
}
