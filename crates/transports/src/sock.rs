//! The `sock_*` calls: plain non-blocking sockets of the user's, read and written by tasks without a transport.

mod attempt;
mod connect;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::buffer::spare_capacity;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{self, RecvFlags, SocketAddrAny, SocketAddrUnix};
use tidegate_protocols::{Address, Turn, UnixAddress, Waiter};
use tidegate_reactor::Interest;

use crate::sendfile::{Sendfile, To, native};
use crate::socket::{QUIET, address_of};
use crate::tcp;
use attempt::Attempts;

pub use connect::{SockTarget, sock_connect};

/// Receives at most `max` bytes from a non-blocking socket of your own; none at the end of the stream.
///
/// The call is tried first; only if nothing is there the loop watches the socket. Each waiting call has a registration
/// of its own, so any number of tasks may read and write one socket, beside readers and writers added by
/// `add_reader` and `add_writer`; which of several readers gets what is for the system to say.
///
/// # Errors
///
/// What the system answers. [`ArgumentError::BlockingSocket`](crate::ArgumentError::BlockingSocket) for a socket that
/// is not non-blocking, since it would make the whole loop wait (asyncio says so in debug mode only); "File descriptor N
/// is used by transport ..." while a transport owns it; without a running loop, an error that says so.
///
/// # Cancel safety
///
/// Dropping the future loses nothing: what was not received is received by the next call, which may be made at once.
///
/// The asyncio counterpart is `loop.sock_recv()`.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use tidegate_transports::sock_recv;
///
/// tidegate_reactor::run(async {
///     let (near, mut far) = UnixStream::pair()?;
///     near.set_nonblocking(true)?;
///     far.write_all(b"hello")?;
///     assert_eq!(sock_recv(&near, 100).await?, b"hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn sock_recv(sock: &impl AsFd, max: usize) -> io::Result<Vec<u8>> {
    if max == 0 {
        // Memory of no size cannot be filled to its capacity.
        sock_recv_into(sock, &mut []).await?;
        return Ok(Vec::new());
    }
    let attempts = Attempts::new(sock.as_fd(), "sock_recv", Interest::READ)?;
    let mut memory = Vec::with_capacity(max);
    attempts
        .make(|socket| net::recv(socket, spare_capacity(&mut memory), RecvFlags::empty()))
        .await?;
    Ok(memory)
}

/// As [`sock_recv`], into memory of your own; answers how many bytes were received, zero at the end of the stream.
///
/// # Errors
///
/// As for [`sock_recv`].
///
/// # Cancel safety
///
/// As for [`sock_recv`].
///
/// The asyncio counterpart is `loop.sock_recv_into()`.
pub async fn sock_recv_into(sock: &impl AsFd, into: &mut [u8]) -> io::Result<usize> {
    let attempts = Attempts::new(sock.as_fd(), "sock_recv_into", Interest::READ)?;
    attempts
        .make(|socket| net::recv(socket, &mut *into, RecvFlags::empty()).map(|(read, _)| read))
        .await
}

/// Receives one datagram of at most `max` bytes, the rest of a longer one being lost, and says whom it is from.
///
/// # Errors
///
/// As for [`sock_recv`].
///
/// # Cancel safety
///
/// As for [`sock_recv`].
///
/// The asyncio counterpart is `loop.sock_recvfrom()`.
///
/// # Examples
///
/// ```
/// use std::net::UdpSocket;
/// use tidegate_transports::{sock_recvfrom, sock_sendto};
///
/// tidegate_reactor::run(async {
///     let (near, far) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
///     near.set_nonblocking(true)?;
///     far.set_nonblocking(true)?;
///     sock_sendto(&near, b"hello", far.local_addr()?).await?;
///     let (data, from) = sock_recvfrom(&far, 100).await?;
///     assert_eq!((&data[..], from.as_inet()), (&b"hello"[..], Some(near.local_addr()?)));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn sock_recvfrom(sock: &impl AsFd, max: usize) -> io::Result<(Vec<u8>, Address)> {
    if max == 0 {
        let (_, from) = sock_recvfrom_into(sock, &mut []).await?;
        return Ok((Vec::new(), from));
    }
    let attempts = Attempts::new(sock.as_fd(), "sock_recvfrom", Interest::READ)?;
    let mut memory = Vec::with_capacity(max);
    let (_, _, from) = attempts
        .make(|socket| net::recvfrom(socket, spare_capacity(&mut memory), RecvFlags::empty()))
        .await?;
    Ok((memory, from.map_or(Address::Unnamed, address_of)))
}

/// As [`sock_recvfrom`], into memory of your own; answers the length, too.
///
/// # Errors
///
/// As for [`sock_recv`].
///
/// # Cancel safety
///
/// As for [`sock_recv`].
///
/// The asyncio counterpart is `loop.sock_recvfrom_into()`.
pub async fn sock_recvfrom_into(sock: &impl AsFd, into: &mut [u8]) -> io::Result<(usize, Address)> {
    let attempts = Attempts::new(sock.as_fd(), "sock_recvfrom_into", Interest::READ)?;
    let (read, from) = attempts
        .make(|socket| {
            let (read, _, from) = net::recvfrom(socket, &mut *into, RecvFlags::empty())?;
            Ok((read, from))
        })
        .await?;
    Ok((read, from.map_or(Address::Unnamed, address_of)))
}

/// Sends all of `data` on a non-blocking socket of your own.
///
/// It never raises SIGPIPE. Two tasks that send on one socket at once mix their bytes.
///
/// # Errors
///
/// As for [`sock_recv`]. How much was sent before is not known then.
///
/// # Cancel safety
///
/// Dropping the future leaves a part of `data` sent.
///
/// The asyncio counterpart is `loop.sock_sendall()`.
pub async fn sock_sendall(sock: &impl AsFd, data: &[u8]) -> io::Result<()> {
    let attempts = Attempts::new(sock.as_fd(), "sock_sendall", Interest::WRITE)?;
    let mut rest = data;
    while !rest.is_empty() {
        let sent = attempts.make(|socket| net::send(socket, rest, QUIET)).await?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// Sends one datagram to an address, and answers how many bytes were sent.
///
/// # Errors
///
/// As for [`sock_recv`]; [`InvalidInput`](io::ErrorKind::InvalidInput) for an address that no socket can have.
///
/// # Cancel safety
///
/// Dropping the future before it is ready has sent nothing.
///
/// The asyncio counterpart is `loop.sock_sendto()`.
pub async fn sock_sendto(
    sock: &impl AsFd,
    data: &[u8],
    address: impl Into<Address>,
) -> io::Result<usize> {
    let attempts = Attempts::new(sock.as_fd(), "sock_sendto", Interest::WRITE)?;
    let address = system_address(&address.into())?;
    attempts.make(|socket| net::sendto(socket, data, QUIET, &address)).await
}

/// Accepts a connection from a non-blocking listening socket of your own: the new socket, which is non-blocking and
/// not inherited by children, and whom it is from.
///
/// # Errors
///
/// As for [`sock_recv`].
///
/// # Cancel safety
///
/// Dropping the future leaves the connection in the listener's queue, for the next call.
///
/// The asyncio counterpart is `loop.sock_accept()`.
pub async fn sock_accept(sock: &impl AsFd) -> io::Result<(OwnedFd, Address)> {
    let attempts = Attempts::new(sock.as_fd(), "sock_accept", Interest::READ)?;
    let (accepted, from) = attempts.make(|socket| tcp::accept(socket)).await?;
    Ok((accepted, from.map_or(Address::Unnamed, address_of)))
}

/// Sends a file on a non-blocking socket of your own, and answers how many of its bytes were sent.
///
/// Everything is as for [`sendfile`](crate::sendfile()), but that no other writing is held back.
///
/// # Errors
///
/// As for [`sendfile`](crate::sendfile()); a socket that [`sock_recv`] refuses is refused inside of
/// [`SendfileError::Failed`](crate::SendfileError::Failed), with nothing sent.
///
/// # Cancel safety
///
/// Dropping the future stops it between two bytes of the file, whose position tells how much was sent.
///
/// The asyncio counterpart is `loop.sock_sendfile()`.
pub fn sock_sendfile<'f>(sock: &'f impl AsFd, file: &'f impl AsFd) -> Sendfile<'f> {
    Sendfile::new(To::Socket(sock.as_fd()), file.as_fd())
}

/// A socket that sends a file: whoever sends has the turn.
pub(crate) struct SockTurn<'s>(Attempts<'s>);

impl<'s> SockTurn<'s> {
    pub(crate) fn new(socket: BorrowedFd<'s>) -> io::Result<SockTurn<'s>> {
        Attempts::new(socket, "sock_sendfile", Interest::WRITE).map(SockTurn)
    }
}

impl Turn for SockTurn<'_> {
    fn poll_write(
        &self,
        data: &[u8],
        _: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.0.poll(context, |socket| net::send(socket, data, QUIET))
    }

    fn poll_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
        _: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.0.poll(context, |socket| native::send_file(socket, file, offset, count))
    }
}

/// An address in the system's form.
fn system_address(address: &Address) -> io::Result<SocketAddrAny> {
    match address {
        Address::Inet(address) => Ok(address.as_any()),
        Address::Unix(address) => Ok(unix_address(address)?.as_any()),
        Address::Unnamed => Err(no_address("an end without a name has no address")),
    }
}

fn unix_address(address: &UnixAddress) -> io::Result<SocketAddrUnix> {
    match (address.as_path(), address.as_abstract_name()) {
        (Some(path), _) => Ok(SocketAddrUnix::new(path)?),
        (None, Some(name)) => abstract_names::address(name),
        (None, None) => Err(no_address("the address of a Unix socket needs a name")),
    }
}

fn no_address(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Where names may stand outside of the file system.
#[cfg(target_os = "linux")]
mod abstract_names {
    use super::*;

    pub(super) fn address(name: &[u8]) -> io::Result<SocketAddrUnix> {
        Ok(SocketAddrUnix::new_abstract_name(name)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod abstract_names {
    use super::*;

    pub(super) fn address(_: &[u8]) -> io::Result<SocketAddrUnix> {
        Err(no_address("this system has no abstract names"))
    }
}
