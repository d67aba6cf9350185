//! Connecting a socket of the user's, with names looked up for just that socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, sockopt};
use tidegate_protocols::{Address, UnixAddress};
use tidegate_reactor::resolve::{Hints, Service};
use tidegate_reactor::{Interest, LoopHandle};

use super::attempt::Attempts;
use super::system_address;
use crate::addresses::{Host, empty_answer};
use crate::errors::ConnectCallError;

/// Where [`sock_connect`] connects to.
///
/// Made from a [`SocketAddr`], from `(host, port)` as a [`Target`](crate::Target) is, from a
/// [`UnixAddress`] or a path for a Unix socket, or from any [`Address`].
///
/// ```
/// use std::path::Path;
/// use tidegate_transports::SockTarget;
///
/// let name = SockTarget::from(("localhost", 8888));
/// let path = SockTarget::from(Path::new("/run/socket"));
/// ```
#[derive(Clone, Debug)]
pub struct SockTarget(Where);

#[derive(Clone, Debug)]
enum Where {
    Named(Host, Service),
    Known(Address),
}

impl<H: Into<Host>> From<(H, u16)> for SockTarget {
    fn from((host, port): (H, u16)) -> SockTarget {
        SockTarget(Where::Named(host.into(), port.into()))
    }
}

impl<H: Into<Host>> From<(H, &str)> for SockTarget {
    fn from((host, service): (H, &str)) -> SockTarget {
        SockTarget(Where::Named(host.into(), service.into()))
    }
}

impl From<SocketAddr> for SockTarget {
    fn from(address: SocketAddr) -> SockTarget {
        Address::Inet(address).into()
    }
}

impl From<UnixAddress> for SockTarget {
    fn from(address: UnixAddress) -> SockTarget {
        Address::Unix(address).into()
    }
}

impl From<&Path> for SockTarget {
    fn from(path: &Path) -> SockTarget {
        UnixAddress::path(path).into()
    }
}

impl From<Address> for SockTarget {
    fn from(address: Address) -> SockTarget {
        SockTarget(Where::Known(address))
    }
}

/// Connects a non-blocking socket of your own.
///
/// A name is looked up with the family, the type and the protocol of the socket, and the first address is taken. A
/// datagram socket is connected as well: to the peer it speaks with.
///
/// # Errors
///
/// A [`ConnectCallError`] inside, of the kind of what the system answered: "Connect call failed ...". The resolver's;
/// and those of [`sock_recv`](crate::sock_recv).
///
/// # Cancel safety
///
/// Dropping the future stops the waiting only: the system goes on connecting, and the socket may be connected later.
/// Close it, or call this again.
///
/// The asyncio counterpart is `loop.sock_connect()`.
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use rustix::net::{AddressFamily, SocketType, ipproto};
/// use tidegate_transports::{sock_connect, sock_sendall};
///
/// tidegate_reactor::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let sock = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
///     rustix::io::ioctl_fionbio(&sock, true)?;
///     sock_connect(&sock, ("127.0.0.1", listener.local_addr()?.port())).await?;
///     sock_sendall(&sock, b"hello").await
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn sock_connect(sock: &impl AsFd, address: impl Into<SockTarget>) -> io::Result<()> {
    let attempts = Attempts::new(sock.as_fd(), "sock_connect", Interest::WRITE)?;
    let address = address.into().resolve(&attempts.handle, attempts.socket).await?;
    let connected = match net::connect(attempts.socket, &system_address(&address)?) {
        Ok(()) => Ok(()),
        Err(Errno::INPROGRESS | Errno::INTR) => {
            attempts.ready().await?;
            match sockopt::socket_error(attempts.socket) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) | Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    connected.map_err(|error| ConnectCallError { address, error: error.into() }.into())
}

impl SockTarget {
    /// The address, asked for with what the socket is.
    async fn resolve(self, handle: &LoopHandle, socket: BorrowedFd<'_>) -> io::Result<Address> {
        let (host, service) = match self.0 {
            Where::Known(address) => return Ok(address),
            Where::Named(host, service) => (host, service),
        };
        let family = net::getsockname(socket)?.address_family();
        if let Some(known) = known(&host, &service, family) {
            return Ok(known.into());
        }
        let hints = Hints {
            family: i32::from(family.as_raw()),
            socktype: sockopt::socket_type(socket)?.as_raw().cast_signed(),
            protocol: protocol::of(socket)?,
            flags: 0,
        };
        let found = handle.getaddrinfo(host.name(), service, hints).await?;
        match found.first() {
            Some(info) => Ok(info.address.into()),
            None => Err(empty_answer()),
        }
    }
}

/// The address for which nobody has to be asked: one in digits, of the right family.
fn known(host: &Host, service: &Service, family: AddressFamily) -> Option<SocketAddr> {
    let Service::Port(port) = service else { return None };
    let ip: IpAddr = host.name()?.parse().ok()?;
    let fits = match ip {
        IpAddr::V4(_) => family == AddressFamily::INET,
        IpAddr::V6(_) => family == AddressFamily::INET6,
    };
    fits.then(|| SocketAddr::new(ip, *port))
}

/// The protocol of a socket, where the system tells it.
#[cfg(target_os = "linux")]
mod protocol {
    use super::*;

    pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<i32> {
        let protocol = sockopt::socket_protocol(socket)?;
        Ok(protocol.map_or(0, |protocol| protocol.as_raw().get().cast_signed()))
    }
}

/// Elsewhere it is any that fits the type.
#[cfg(not(target_os = "linux"))]
mod protocol {
    use super::*;

    pub(super) fn of(_: BorrowedFd<'_>) -> io::Result<i32> {
        Ok(0)
    }
}
