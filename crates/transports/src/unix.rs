//! `create_unix_connection`: from a path, or a connected Unix socket, to an open transport.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType};
use tidegate_protocols::{Address, Protocol, UnixAddress};
use tidegate_reactor::{LoopHandle, sleep};

use crate::connect::CreateConnection;
use crate::errors::ArgumentError;
use crate::factory::ConnectionFactory;
use crate::opening::{Carrier, Connected, Connecting};
use crate::tcp;

mod address;
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod credentials;
mod errors;
pub(crate) mod file;
mod serve;
mod socket;

pub use address::UnixPath;
pub use errors::{TruncatedFds, UnixError, UnixReason};
pub(crate) use file::SocketFile;
pub use serve::{CreateUnixServer, UnixPlace, create_unix_server};
pub use socket::UnixSocket;

/// How long the first wait for a server with a full queue is. Each is twice the one before, and there are ten: about
/// a second together.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const PAUSES: u32 = 10;

/// Opens a stream connection to the Unix socket at `path` and gives it the protocol that `factory` makes.
///
/// The answer is a builder: set options on it, then await it. It is [`CreateConnection`] with everything that is not
/// about addresses, and with [`receive_fds`](CreateConnection::receive_fds). It resolves to the transport when the
/// protocol's `connection_made` has returned (with layers: when the topmost one is open); bytes that came early are
/// delivered after that.
///
/// The transport can pass descriptors ([`send_with_fds`](tidegate_protocols::Transport::send_with_fds)) and knows
/// who the peer is ([`PeerCredentials`](tidegate_protocols::PeerCredentials)). Its
/// [`peername`](tidegate_protocols::Transport::peername) is the path, and its own name none.
///
/// A server whose queue is full makes Linux answer at once that it has no room, where TCP would wait. This tries
/// again for about a second, later each time.
///
/// The asyncio counterpart is `loop.create_unix_connection()`, which fails on a full queue.
///
/// # Errors
///
/// - [`ArgumentError`] (kind [`InvalidInput`](io::ErrorKind::InvalidInput)) when both a path and a
///   [`sock`](CreateConnection::sock) are given, neither, or a socket that is not a Unix stream socket. Nothing was
///   done then, but a socket that was given is closed.
/// - A [`UnixError`], which says the path and what is wrong: empty or too long (kind
///   [`InvalidInput`](io::ErrorKind::InvalidInput)), not there ([`NotFound`](io::ErrorKind::NotFound)), nobody listens
///   ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)), the queue stays full
///   ([`WouldBlock`](io::ErrorKind::WouldBlock)), or what else the system says, such as `EPROTOTYPE` to the path of
///   a datagram socket.
/// - What the layer that failed to open says.
/// - [`LoopError`](tidegate_reactor::LoopError) outside of a running loop.
///
/// # Panics
///
/// When `factory` does; the connection is closed then.
///
/// # Cancel safety
///
/// Dropping the future closes the socket, a given one included. If the transport exists already it is closed
/// (aborted, if layers were opening).
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::create_unix_connection;
///
/// struct Greeter;
///
/// impl Protocol for Greeter {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write(b"hello\n");
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let transport = create_unix_connection(|| Greeter, "/run/service.sock").await?;
///         transport.closed().await;
///         Ok(())
///     })
/// }
/// ```
pub fn create_unix_connection<F, P>(
    factory: F,
    path: impl Into<UnixPath>,
) -> CreateUnixConnection<F>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    CreateUnixConnection::of(factory, path)
}

/// The builder of [`create_unix_connection`].
pub type CreateUnixConnection<F> = CreateConnection<F, UnixRoute>;

/// Where a [`CreateUnixConnection`] leads to.
#[derive(Debug)]
pub struct UnixRoute(UnixPath);

/// Unix sockets.
impl<F> CreateConnection<F, UnixRoute> {
    /// As [`create_unix_connection`], for crates with a [`ConnectionFactory`] of their own.
    pub fn of(factory: F, path: impl Into<UnixPath>) -> CreateUnixConnection<F> {
        CreateConnection::by(factory, UnixRoute(path.into()))
    }

    /// Lets the peer pass so many descriptors at once, 253 at most; none unless set.
    ///
    /// See [`Transport::take_fds`](tidegate_protocols::Transport::take_fds). A peer that passes more ends the
    /// connection, with [`TruncatedFds`] as the cause. Without this none enter the process. If `SO_PASSCRED` is set on a
    /// socket that is taken over, it is switched off: nobody reads credentials that would come beside descriptors.
    pub fn receive_fds(mut self, most: usize) -> Self {
        self.choices.receive_fds = most;
        self
    }
}

impl<F: ConnectionFactory> IntoFuture for CreateConnection<F, UnixRoute> {
    type Output = io::Result<F::Opened>;
    type IntoFuture = Connecting<F>;

    fn into_future(self) -> Connecting<F> {
        Connecting::new(self.factory, self.choices, dial(self.route.0, self.sock))
    }
}

async fn dial(path: UnixPath, sock: Option<OwnedFd>) -> io::Result<(LoopHandle, Connected)> {
    let connected = match (sock, path.0) {
        (Some(_), Some(_)) => return Err(ArgumentError::PathAndSocket.into()),
        (None, None) => return Err(ArgumentError::NeitherPathNorSocket.into()),
        (Some(descriptor), None) => {
            adopt(&descriptor)?;
            Connected { carrier: Carrier::Socket(descriptor, None), peername: None, host: None }
        }
        (None, Some(address)) => {
            let descriptor = connect(&address).await?;
            Connected {
                carrier: Carrier::Socket(descriptor, None),
                peername: Some(Address::Unix(address)),
                host: None,
            }
        }
    };
    Ok((LoopHandle::current()?, connected))
}

async fn connect(address: &UnixAddress) -> io::Result<OwnedFd> {
    let target = address::system_address(address).map_err(|reason| reason.at(address))?;
    LoopHandle::current()?;
    let descriptor = tcp::unix_socket(SocketType::STREAM)?;
    let mut pauses = (0..PAUSES).map(|doubled| FIRST_PAUSE * 2_u32.pow(doubled));
    loop {
        match (net::connect(&descriptor, &target), pauses.next()) {
            (Ok(()), _) => return Ok(descriptor),
            (Err(Errno::INTR), _) => {}
            (Err(Errno::AGAIN), Some(pause)) => sleep(pause).await?,
            (Err(error), _) => return Err(UnixReason::Connect(error.into()).at(address)),
        }
    }
}

/// As [`tcp::adopt`], of Unix sockets alone.
pub(crate) fn adopt(descriptor: &OwnedFd) -> io::Result<()> {
    match net::getsockname(descriptor) {
        Ok(name) if name.address_family() == AddressFamily::UNIX => {}
        Ok(_) | Err(Errno::NOTSOCK) => return Err(ArgumentError::NotAUnixSocket.into()),
        Err(error) => return Err(error.into()),
    }
    match tcp::adopt(descriptor) {
        Err(error) if error.raw_os_error().is_none() => Err(ArgumentError::NotAUnixSocket.into()),
        adopted => adopted,
    }
}

/// Whether a socket is a Unix socket.
pub(crate) fn is_unix(descriptor: &OwnedFd) -> bool {
    net::getsockname(descriptor).is_ok_and(|name| name.address_family() == AddressFamily::UNIX)
}
