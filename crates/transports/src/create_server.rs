//! `create_server`: from hosts and a port, or a bound socket, to a server.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use tidegate_protocols::{Layer, Layered, Protocol, Serves, WriteLimits};
use tidegate_reactor::{LoopHandle, resolve};

use crate::addresses::{Candidate, Family, Hosts, Place, Wanted};
use crate::errors::ArgumentError;
use crate::factory::ProtocolFactory;
use crate::opening::Choices;
use crate::server::{Bound, Recipe, Server, Settings, one_turn};
use crate::tcp;

/// asyncio's default: how many connections may wait, and how many are accepted at a time.
const BACKLOG: u32 = 100;

/// How many connections may be opening their layers at a time, unless set.
const MAX_OPENING: usize = 1024;

/// Makes a server that gives every connection a protocol of its own, made by `factory`.
///
/// The answer is a builder: set options on it, then await it. It resolves to the [`Server`] when that listens
/// and one turn of the loop has passed. It serves on every address of every host; without a host, on every
/// interface of both families. IPv6 sockets take IPv6 connections only, so that both families can share a port;
/// with port 0 each socket has a port of its own.
///
/// A `factory` that panics closes the connection it was called for and is reported to the loop's exception
/// handler; the server goes on. When the system has no descriptors or memory left that is reported once, and
/// accepting rests for a second. Small writes leave at once (`TCP_NODELAY`).
///
/// The asyncio counterpart is `loop.create_server()`.
///
/// # Errors
///
/// - [`ArgumentError`] (kind [`InvalidInput`](io::ErrorKind::InvalidInput)) when both hosts and a
///   [`sock`](CreateServer::sock) are given, neither, or a socket that is not a stream socket. Nothing was done
///   then, but a socket that was given is closed.
/// - The resolver's error.
/// - A [`BindError`](crate::BindError), such as for a port in use; "could not bind on any address out of […]"
///   when no address is one of this machine's. Every socket is closed then.
/// - [`LoopError`](tidegate_reactor::LoopError) outside of a running loop.
///
/// # Cancel safety
///
/// Dropping the future closes every socket, a given one included.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::create_server;
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
///         let server = create_server(|| Echo, ("127.0.0.1", 8888)).backlog(1024).await?;
///         server.serve_forever().await
///     })
/// }
/// ```
pub fn create_server<F, P>(factory: F, hosts: impl Into<Hosts>) -> CreateServer<F>
where
    F: FnMut() -> P + 'static,
    P: Protocol,
{
    CreateServer::new(factory, hosts)
}

/// The options of a server to be made; see [`create_server`], and
/// [`create_unix_server`](crate::create_unix_server) with another `P`.
#[must_use = "a server is made when this is awaited"]
pub struct CreateServer<F, P = Places> {
    pub(crate) factory: F,
    pub(crate) choices: Choices,
    pub(crate) place: P,
    pub(crate) sock: Option<OwnedFd>,
    settings: Settings,
    start_serving: bool,
}

/// Where a [`CreateServer`] serves, with the options that are about that.
#[derive(Debug)]
pub struct Places {
    hosts: Place,
    wanted: Wanted,
    sharing: Sharing,
}

/// What is set on each socket before it is bound.
#[derive(Clone, Copy, Debug)]
struct Sharing {
    reuse_address: bool,
    reuse_port: bool,
    keep_alive: bool,
}

/// Hosts and ports.
impl<F> CreateServer<F> {
    /// As [`create_server`], for crates with a [`ProtocolFactory`] of their own.
    pub fn new(factory: F, hosts: impl Into<Hosts>) -> CreateServer<F> {
        let place = Places {
            hosts: hosts.into().0,
            wanted: Wanted { flags: resolve::AI_PASSIVE, ..Wanted::default() },
            sharing: Sharing { reuse_address: true, reuse_port: false, keep_alive: false },
        };
        CreateServer::at(factory, place)
    }

    /// Only addresses of this family; any unless set.
    pub fn family(mut self, family: Family) -> Self {
        self.place.wanted.family = family;
        self
    }

    /// Flags for the resolver: `AI_…` of [`tidegate_reactor::resolve`]; `AI_PASSIVE` unless set.
    pub fn flags(mut self, flags: i32) -> Self {
        self.place.wanted.flags = flags;
        self
    }

    /// Whether a port is free as soon as the server before has closed (`SO_REUSEADDR`); true unless set.
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.place.sharing.reuse_address = reuse;
        self
    }

    /// Whether several servers may share a port if all of them say so (`SO_REUSEPORT`); false unless set.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.place.sharing.reuse_port = reuse;
        self
    }

    /// Whether the system probes silent peers (`SO_KEEPALIVE`), for every connection; false unless set.
    pub fn keep_alive(mut self, probe: bool) -> Self {
        self.place.sharing.keep_alive = probe;
        self
    }
}

/// Every kind of server.
impl<F, P> CreateServer<F, P> {
    pub(crate) fn at(factory: F, place: P) -> CreateServer<F, P> {
        CreateServer {
            factory,
            choices: Choices::default(),
            place,
            sock: None,
            settings: Settings {
                backlog: BACKLOG,
                max_connections: usize::MAX,
                max_opening: MAX_OPENING,
                idle_timeout: None,
            },
            start_serving: true,
        }
    }

    /// Changes the factory; for options of it.
    pub fn with_factory(mut self, change: impl FnOnce(&mut F)) -> Self {
        change(&mut self.factory);
        self
    }

    /// Serves on a bound stream socket instead of making its own; the hosts or the path must be `()`.
    ///
    /// The socket becomes the server's own from the call on: it is made non-blocking, and closed with the
    /// server, by every error and with the builder. Options about addresses and sharing do not touch it.
    pub fn sock(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }

    /// How many connections may wait to be accepted, and how many are accepted before others have their turn;
    /// 100 unless set. With 0 the system chooses the first, and one is accepted at a time.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.settings.backlog = connections;
        self
    }

    /// Whether it serves at once; true unless set. Otherwise its sockets are bound but do not listen, so that
    /// clients are refused, until [`start_serving`](Server::start_serving) or
    /// [`serve_forever`](Server::serve_forever).
    pub fn start_serving(mut self, start: bool) -> Self {
        self.start_serving = start;
        self
    }

    /// How many connections there may be at a time; no limit unless set. At the limit others wait in the
    /// system's queue, the [`backlog`](CreateServer::backlog), until one leaves.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// How many connections may be opening their layers at a time; 1,024 unless set, and at least 1. When there
    /// are more, the one that has waited longest is aborted, so that stalled peers do not lock out others.
    pub fn max_opening(mut self, connections: usize) -> Self {
        self.settings.max_opening = connections.max(1);
        self
    }

    /// Ends a connection on which no byte has moved in either direction for this long; no limit unless set.
    ///
    /// Its protocol is told the system's `ETIMEDOUT`. The server looks four times in that time, so it may take a
    /// quarter longer, half if the last bytes came just after a look.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.settings.idle_timeout = Some(limit);
        self
    }

    /// When `pause_writing` and `resume_writing` come; 64 KiB and 16 KiB unless set.
    pub fn write_buffer_limits(mut self, limits: WriteLimits) -> Self {
        self.choices.limits = limits;
        self
    }

    /// Aborts a connection when more than this many bytes wait to be sent on it; no limit unless set.
    ///
    /// For protocols that do not heed the flow. The cause is an error of the kind `Other` that says so, and it
    /// is reported to the exception handler.
    pub fn abort_above(mut self, bytes: usize) -> Self {
        self.choices.abort_above = Some(bytes);
        self
    }
}

impl<F: ProtocolFactory> CreateServer<F> {
    async fn serve(mut self) -> io::Result<Server> {
        self.factory.check()?;
        self.choices.check()?;
        let Places { hosts, wanted, sharing } = &self.place;
        let descriptors = match self.sock.take() {
            Some(_) if !hosts.is_nowhere() => return Err(ArgumentError::HostAndSocket.into()),
            None if hosts.is_nowhere() => return Err(ArgumentError::NowhereToServe.into()),
            Some(descriptor) => {
                tcp::adopt(&descriptor)?;
                vec![descriptor]
            }
            None => {
                let handle = LoopHandle::current()?;
                let candidates = hosts.resolve(&handle, *wanted).await?;
                bind_each(&candidates, *sharing)?
            }
        };
        let bound = descriptors.into_iter().map(|descriptor| Bound { descriptor, file: None });
        self.finish(bound.collect()).await
    }
}

impl<F: ProtocolFactory, P> CreateServer<F, P> {
    /// The server on what was bound, which serves if it is to.
    pub(crate) async fn finish(self, bound: Vec<Bound>) -> io::Result<Server> {
        let handle = LoopHandle::current()?;
        let recipe = Recipe { factory: Box::new(self.factory), choices: self.choices };
        let server = Server::new(&handle, bound, recipe, self.settings)?;
        if !self.start_serving {
            return Ok(server);
        }
        server.start()?;
        let unclaimed = Unclaimed(Some(server));
        one_turn().await;
        Ok(unclaimed.claim())
    }
}

impl<F, P> Layered for CreateServer<F, P> {
    fn layer(mut self, layer: impl Layer) -> Self {
        self.choices.add_layer(layer);
        self
    }
}

impl<F, P> Serves for CreateServer<F, P> {}

impl<F, P: fmt::Debug> fmt::Debug for CreateServer<F, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CreateServer")
            .field("place", &self.place)
            .field("sock", &self.sock)
            .finish_non_exhaustive()
    }
}

impl<F: ProtocolFactory> IntoFuture for CreateServer<F> {
    type Output = io::Result<Server>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<Server>>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.serve())
    }
}

/// A server that nobody has been given yet: dropped, it is closed.
struct Unclaimed(Option<Server>);

impl Unclaimed {
    fn claim(mut self) -> Server {
        self.0.take().expect("it is given away once")
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(server) = self.0.take() {
            server.close();
        }
    }
}

/// Binds a socket to each address that is one of this machine's.
fn bind_each(candidates: &[Candidate], sharing: Sharing) -> io::Result<Vec<OwnedFd>> {
    let mut bound = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let descriptor = match tcp::stream_socket(candidate) {
            Ok(descriptor) => descriptor,
            Err(error) if is_out_of(&error) => return Err(error),
            // The system has no such family.
            Err(_) => continue,
        };
        set_options(&descriptor, candidate, sharing)?;
        match tcp::bind(&descriptor, &candidate.address) {
            Ok(()) => bound.push(descriptor),
            Err(error) if error.error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(error.into()),
        }
    }
    if bound.is_empty() {
        let addresses: Vec<SocketAddr> =
            candidates.iter().map(|candidate| candidate.address).collect();
        let text = format!("could not bind on any address out of {addresses:?}");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
    }
    Ok(bound)
}

fn is_out_of(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn set_options(descriptor: &OwnedFd, candidate: &Candidate, sharing: Sharing) -> io::Result<()> {
    if sharing.reuse_address {
        sockopt::set_socket_reuseaddr(descriptor, true)?;
    }
    if sharing.reuse_port {
        sockopt::set_socket_reuseport(descriptor, true)?;
    }
    if sharing.keep_alive {
        sockopt::set_socket_keepalive(descriptor, true)?;
    }
    if candidate.address.is_ipv6() {
        // So that 0.0.0.0 and :: can share a port, whatever the system's own default.
        sockopt::set_ipv6_v6only(descriptor, true)?;
    }
    Ok(())
}
