//! `create_unix_server`: from a path or a bound socket to a server.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use rustix::io::Errno;
use rustix::net::{self, SocketType};
use tidegate_protocols::{Address, Protocol};
use tidegate_reactor::LoopHandle;

use crate::create_server::CreateServer;
use crate::errors::ArgumentError;
use crate::factory::ProtocolFactory;
use crate::server::{Bound, Server};
use crate::socket::address_of;
use crate::tcp;
use crate::unix::address::{UnixPath, system_address};
use crate::unix::file::{self, SocketFile};
use crate::unix::{UnixReason, adopt};

/// All permissions that a socket file can have.
const ALL_PERMISSIONS: u32 = 0o777;

/// Makes a server on a Unix socket that gives every connection a protocol of its own, made by `factory`.
///
/// The answer is a builder: set options on it, then await it. It is [`CreateServer`] with everything that is not
/// about addresses, and with [`cleanup_socket`](CreateServer::cleanup_socket),
/// [`mode`](CreateServer::mode) and [`receive_fds`](CreateServer::receive_fds). It resolves to the [`Server`] when
/// that listens and one turn of the loop has passed.
///
/// **A socket file that is there already** is replaced if it is stale: the server that made it is gone, closed or
/// killed. One whose socket still lives is refused, whatever kind of socket that is and whether it listens or not;
/// it is not told. So is everything that is not a socket, a symbolic link included. (asyncio takes over a live
/// socket too, which leaves two servers, one of them without clients.)
///
/// Of several servers that start at once on one path one serves and the others are refused, also on a stale file:
/// whoever replaces one holds a lock (`flock`) on the folder meanwhile. Where the folder cannot be read, or somebody
/// else holds its lock for 200 ms, and against programs that replace files without that lock, the one that starts last may
/// remove the file of the one before.
///
/// When the server closes, the file is removed. An abstract name of Linux's has no file and none of these questions.
///
/// The asyncio counterpart is `loop.create_unix_server()`.
///
/// # Errors
///
/// - [`ArgumentError`] (kind [`InvalidInput`](io::ErrorKind::InvalidInput)) when both a path and a
///   [`sock`](CreateServer::sock) are given, neither, a socket that is not a Unix stream socket, or a
///   [`mode`](CreateServer::mode) that cannot be set.
/// - A [`UnixError`](crate::UnixError), which says the path and what is wrong: empty, too long, in use
///   (kind [`AddrInUse`](io::ErrorKind::AddrInUse)), in a folder that is not there
///   ([`NotFound`](io::ErrorKind::NotFound)) or must not be written to.
/// - [`LoopError`](tidegate_reactor::LoopError) outside of a running loop.
///
/// In each case every socket is closed, a given one included, and no file of ours is left.
///
/// # Cancel safety
///
/// Dropping the future closes every socket and removes the file.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::create_unix_server;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
///         transport.write(data);
///         Ok(())
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let server = create_unix_server(|| Echo, "/run/echo.sock").mode(0o660).await?;
///         server.serve_forever().await
///     })
/// }
/// ```
pub fn create_unix_server<F, P>(factory: F, path: impl Into<UnixPath>) -> CreateUnixServer<F>
where
    F: FnMut() -> P + 'static,
    P: Protocol,
{
    CreateUnixServer::of(factory, path)
}

/// The builder of [`create_unix_server`].
pub type CreateUnixServer<F> = CreateServer<F, UnixPlace>;

/// Where a [`CreateUnixServer`] serves, with the options that only it has.
#[derive(Debug)]
pub struct UnixPlace {
    path: UnixPath,
    cleanup_socket: bool,
    mode: Option<u32>,
}

/// Unix sockets.
impl<F> CreateServer<F, UnixPlace> {
    /// As [`create_unix_server`], for crates with a [`ProtocolFactory`] of their own.
    pub fn of(factory: F, path: impl Into<UnixPath>) -> CreateUnixServer<F> {
        let place = UnixPlace { path: path.into(), cleanup_socket: true, mode: None };
        CreateServer::at(factory, place)
    }

    /// Whether the socket's file is removed when the server closes; true unless set.
    ///
    /// It is left alone if it is another file by then. This holds for the file of a [`sock`](CreateServer::sock)
    /// too. What cannot be removed is reported to the loop's exception handler.
    pub fn cleanup_socket(mut self, remove: bool) -> Self {
        self.place.cleanup_socket = remove;
        self
    }

    /// The permissions of the socket's file, such as `0o660`; what the process's umask leaves of `0o777` unless
    /// set. On Linux a client needs to be allowed to write to it.
    ///
    /// They are set before the server listens, so nobody slips in. With an abstract name, which has no
    /// permissions, or a [`sock`](CreateServer::sock) the builder answers [`ArgumentError::SocketFileMode`].
    /// asyncio has no counterpart.
    pub fn mode(mut self, permissions: u32) -> Self {
        self.place.mode = Some(permissions);
        self
    }

    /// Lets peers pass so many descriptors at once, 253 at most; none unless set.
    ///
    /// See [`Transport::take_fds`](tidegate_protocols::Transport::take_fds). A peer that passes more ends its
    /// connection, with [`TruncatedFds`](crate::TruncatedFds) as the cause. Without this none enter the process.
    pub fn receive_fds(mut self, most: usize) -> Self {
        self.choices.receive_fds = most;
        self
    }
}

impl<F: ProtocolFactory> CreateServer<F, UnixPlace> {
    async fn serve(mut self) -> io::Result<Server> {
        self.factory.check()?;
        self.choices.check()?;
        let bound = self.place.bind(self.sock.take()).await?;
        self.finish(vec![bound]).await
    }
}

impl UnixPlace {
    /// Binds a socket to the path, or takes the one that was given.
    async fn bind(&self, sock: Option<OwnedFd>) -> io::Result<Bound> {
        self.check_mode(sock.is_some())?;
        let (descriptor, file) = match (sock, &self.path.0) {
            (Some(_), Some(_)) => return Err(ArgumentError::PathAndSocket.into()),
            (None, None) => return Err(ArgumentError::NeitherPathNorSocket.into()),
            (Some(descriptor), None) => {
                adopt(&descriptor)?;
                let file = file_of(&descriptor);
                (descriptor, file)
            }
            (None, Some(address)) => {
                let at = |reason: UnixReason| reason.at(address);
                let target = system_address(address).map_err(at)?;
                // Without a loop there is no server, and nothing is made or replaced for it.
                LoopHandle::current()?;
                let descriptor = tcp::unix_socket(SocketType::STREAM)?;
                let file = match address.as_path() {
                    Some(path) => {
                        Some(file::bind(&descriptor, path, &target, self.mode).await.map_err(at)?)
                    }
                    None => {
                        net::bind(&descriptor, &target).map_err(|error| {
                            at(match error {
                                Errno::ADDRINUSE => UnixReason::Live,
                                error => UnixReason::Bind(error.into()),
                            })
                        })?;
                        None
                    }
                };
                (descriptor, file)
            }
        };
        let file = match file {
            Some(file) if !self.cleanup_socket => {
                file.leave();
                None
            }
            file => file,
        };
        Ok(Bound { descriptor, file })
    }

    fn check_mode(&self, has_sock: bool) -> Result<(), ArgumentError> {
        let has_path = self.path.0.as_ref().is_some_and(|address| address.as_path().is_some());
        match self.mode {
            Some(mode) if mode > ALL_PERMISSIONS => Err(ArgumentError::SocketFileMode),
            Some(_) if has_sock || !has_path => Err(ArgumentError::SocketFileMode),
            _ => Ok(()),
        }
    }
}

/// The file of a socket that was bound elsewhere, if there is one.
fn file_of(descriptor: &OwnedFd) -> Option<SocketFile> {
    match address_of(net::getsockname(descriptor).ok()?) {
        Address::Unix(address) => SocketFile::at(address.as_path()?).ok(),
        Address::Inet(_) | Address::Unnamed => None,
    }
}

impl<F: ProtocolFactory> IntoFuture for CreateServer<F, UnixPlace> {
    type Output = io::Result<Server>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<Server>>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.serve())
    }
}
