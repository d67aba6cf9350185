//! A connected stream socket as a wire.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{
    self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, sendmsg,
};
use tidegate_protocols::{Address, UnixAddress};
use tidegate_reactor::{Interest, LoopHandle, Source, Watcher};

use crate::wire::Wire;

/// No send raises SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const QUIET: SendFlags = SendFlags::NOSIGNAL;
/// Here there is no such flag, and Rust's start-up has ignored the signal.
#[cfg(target_vendor = "apple")]
pub(crate) const QUIET: SendFlags = SendFlags::empty();

/// A connected, non-blocking stream socket that is registered with a loop.
///
/// Sends never raise SIGPIPE. Dropping it deregisters the descriptor, then closes it.
pub struct Socket(Source<OwnedFd>);

impl Socket {
    /// Registers `descriptor`, which must be a connected non-blocking stream socket, of any family.
    ///
    /// It is read until nothing is left: on a Unix socket, say, a read ends behind each descriptor that was passed,
    /// whatever follows.
    ///
    /// # Errors
    ///
    /// What registering with the loop answers: a closed loop, a descriptor that is registered already.
    pub fn new(
        handle: &LoopHandle,
        descriptor: OwnedFd,
        interest: Interest,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<Socket> {
        let socket = Socket::tcp(handle, descriptor, interest, watcher)?;
        socket.0.distrust_short_reads();
        Ok(socket)
    }

    /// As [`new`](Socket::new), of a TCP socket: there, a read that brings less than it was asked for has read
    /// everything, which spares the one that would only find that out.
    ///
    /// # Errors
    ///
    /// As for [`new`](Socket::new).
    pub fn tcp(
        handle: &LoopHandle,
        descriptor: OwnedFd,
        interest: Interest,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<Socket> {
        Source::edge_triggered(handle, descriptor, interest, watcher).map(Socket)
    }

    /// The one of the two that is right.
    pub(crate) fn of(
        is_tcp: bool,
        handle: &LoopHandle,
        descriptor: OwnedFd,
        interest: Interest,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<Socket> {
        let open = if is_tcp { Socket::tcp } else { Socket::new };
        open(handle, descriptor, interest, watcher)
    }

    /// Notes that the system has nothing to take or to give for now.
    #[cold]
    fn would_block(&self, direction: Interest, error: Errno) -> io::Error {
        if error == Errno::WOULDBLOCK {
            self.0.clear_ready(direction);
        }
        error.into()
    }

    /// The answer to a read into so much memory; one that was cut short has emptied the system's buffer, if nothing
    /// special lies behind it.
    #[inline]
    fn read_of(&self, length: usize, read: rustix::io::Result<usize>) -> io::Result<usize> {
        let read = read.map_err(|error| self.would_block(Interest::READ, error))?;
        if read < length && self.0.short_read_empties() {
            self.0.clear_ready(Interest::READ);
        }
        Ok(read)
    }

    /// The answer to a write of that length; one that was cut short has filled the system's buffer.
    fn written(&self, length: usize, taken: rustix::io::Result<usize>) -> io::Result<usize> {
        let taken = taken.map_err(|error| self.would_block(Interest::WRITE, error))?;
        if taken < length {
            self.0.clear_ready(Interest::WRITE);
        }
        Ok(taken)
    }
}

impl Wire for Socket {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len();
        let received = net::recv(self.0.get_ref(), into, RecvFlags::empty());
        self.read_of(length, received.map(|(read, _)| read))
    }

    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let length = into.capacity() - into.len();
        let received = net::recv(self.0.get_ref(), spare_capacity(into), RecvFlags::empty());
        self.read_of(length, received.map(|(read, _)| read))
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        self.written(from.len(), net::send(self.0.get_ref(), from, QUIET))
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing_else = SendAncillaryBuffer::default();
        let length = from.iter().map(|slice| slice.len()).sum();
        self.written(length, sendmsg(self.0.get_ref(), from, &mut nothing_else, QUIET))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        Ok(net::shutdown(self.0.get_ref(), Shutdown::Write)?)
    }

    fn set_interest(&self, interest: Interest) {
        self.0.set_interest(interest);
    }

    fn hung_up(&self) -> bool {
        self.0.hung_up()
    }

    fn release(&self) {
        self.0.release();
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.get_ref().as_fd())
    }

    fn peername(&self) -> Option<Address> {
        net::getpeername(self.0.get_ref()).ok().flatten().map(address_of)
    }

    fn sockname(&self) -> Option<Address> {
        net::getsockname(self.0.get_ref()).ok().map(address_of)
    }
}

/// The address in our words.
pub(crate) fn address_of(any: SocketAddrAny) -> Address {
    if let Ok(inet) = SocketAddr::try_from(any.clone()) {
        return Address::Inet(inet);
    }
    match rustix::net::SocketAddrUnix::try_from(any) {
        Ok(unix) => unix_address_of(&unix),
        Err(_) => Address::Unnamed,
    }
}

fn unix_address_of(unix: &rustix::net::SocketAddrUnix) -> Address {
    if let Some(path) = unix.path_bytes() {
        use std::os::unix::ffi::OsStrExt;
        return Address::Unix(UnixAddress::path(std::ffi::OsStr::from_bytes(path)));
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = unix.abstract_name().filter(|name| !name.is_empty()) {
        return Address::Unix(UnixAddress::abstract_name(name));
    }
    Address::Unnamed
}
