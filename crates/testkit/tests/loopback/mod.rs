//! Connections over TCP on loopback, for the tests of this folder.

use std::io;
use std::net::TcpStream;

use tidegate_protocols::{Protocol, Transport};
use tidegate_reactor::{Interest, LoopHandle};
use tidegate_testkit::Dribble;
use tidegate_transports::stream::{self, Socket, StreamOptions};

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
