//! Connections over TCP on loopback, for the tests of this folder.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use tidegate_protocols::{Protocol, Transport};
use tidegate_reactor::{Interest, LoopHandle};
use tidegate_testkit::Dribble;
use tidegate_transports::stream::{self, Socket, StreamOptions};

/// Two connected sockets, with the buffers that the system gives.
pub(crate) fn sockets() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

/// A transport on `socket`.
pub(crate) fn open(
    socket: TcpStream,
    protocol: Box<dyn Protocol>,
    bytes_at_a_time: Option<usize>,
) -> io::Result<Transport> {
    let handle = LoopHandle::current()?;
    socket.set_nonblocking(true)?;
    let wire = |watcher| {
        let socket = Socket::new(&handle, socket.into(), Interest::READ, watcher)?;
        Ok(Dribble::new(socket, bytes_at_a_time))
    };
    stream::open(&handle, wire, protocol, StreamOptions::default())
}
