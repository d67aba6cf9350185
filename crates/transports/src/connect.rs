//! `create_connection`: from a host and a port, or a connected socket, to an open transport.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tidegate_protocols::{Address, Connects, Layer, Layered, Protocol, WriteLimits};
use tidegate_reactor::{LoopHandle, sleep};

use crate::addresses::{Candidate, Family, Place, Target, Wanted, empty_answer};
use crate::errors::{ArgumentError, ConnectError};
use crate::factory::ConnectionFactory;
use crate::happy_eyeballs::{interleave, staggered_race};
use crate::opening::{Carrier, Choices, Connected, Connecting};
use crate::tcp;

/// How much later the next address is tried while an attempt is still undecided: 250 ms.
const HAPPY_EYEBALLS_DELAY: Duration = Duration::from_millis(250);

/// Opens a stream connection to `target` and gives it the protocol that `factory` makes.
///
/// The answer is a builder: set options on it, then await it. It resolves to the transport when the
/// protocol's `connection_made` has returned (with layers: when the topmost one is open); bytes that came
/// early are delivered after that. `factory` is called when the connection stands, and not at all if none can
/// be made.
///
/// A host with several addresses is tried as RFC 8305 says: addresses of both families take turns, and while
/// an attempt is undecided for 250 ms the next one starts beside it; see
/// [`happy_eyeballs_delay`](CreateConnection::happy_eyeballs_delay) and
/// [`interleave`](CreateConnection::interleave). An address in digits is used as it is, without the resolver.
/// Small writes leave at once (`TCP_NODELAY`).
///
/// The asyncio counterpart is `loop.create_connection()`, which answers the protocol as well: here a program
/// keeps a share of it (`Rc<RefCell<P>>`) or uses
/// [`with_protocol`](tidegate_protocols::Transport::with_protocol).
///
/// # Errors
///
/// - [`ArgumentError`] (kind [`InvalidInput`](io::ErrorKind::InvalidInput)) when both a target and a
///   [`sock`](CreateConnection::sock) are given, neither, or a socket that is not a stream socket. Nothing was
///   done then, but a socket that was given is closed.
/// - The resolver's error ([`ResolveError`](tidegate_reactor::ResolveError), which names the host), or "getaddrinfo() returned
///   empty list".
/// - When every attempt failed: the error itself if there is one only, else a [`ConnectError`] with all of
///   them. An attempt fails with the system's error, which travels in a
///   [`ConnectCallError`](crate::ConnectCallError) if it is the only one, with a [`BindError`](crate::BindError), or
///   with "no matching local address with family=… found".
/// - What the layer that failed to open says.
/// - [`LoopError`](tidegate_reactor::LoopError) outside of a running loop.
///
/// # Panics
///
/// When `factory` does; the connection is closed then.
///
/// # Cancel safety
///
/// Dropping the future ends every attempt and closes every socket, a given one included. If the transport
/// exists already it is closed (aborted, if layers were opening).
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::create_connection;
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
///         let transport = create_connection(|| Greeter, ("127.0.0.1", 8888)).await?;
///         transport.closed().await;
///         Ok(())
///     })
/// }
/// ```
pub fn create_connection<F, P>(factory: F, target: impl Into<Target>) -> CreateConnection<F>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    CreateConnection::new(factory, target)
}

/// The options of a connection to be made; see [`create_connection`], and
/// [`create_unix_connection`](crate::create_unix_connection) with another `R`.
#[must_use = "a connection is opened when this is awaited"]
pub struct CreateConnection<F, R = Route> {
    pub(crate) factory: F,
    pub(crate) sock: Option<OwnedFd>,
    pub(crate) route: R,
    pub(crate) choices: Choices,
}

/// Hosts and ports.
impl<F> CreateConnection<F> {
    /// As [`create_connection`], for crates with a [`ConnectionFactory`] of their own.
    pub fn new(factory: F, target: impl Into<Target>) -> CreateConnection<F> {
        let route = Route {
            to: target.into().0,
            from: Place::Nowhere,
            wanted: Wanted::default(),
            delay: Some(HAPPY_EYEBALLS_DELAY),
            interleave: None,
        };
        CreateConnection::by(factory, route)
    }

    /// Only addresses of this family; any unless set. It holds for the local address too.
    pub fn family(mut self, family: Family) -> Self {
        self.route.wanted.family = family;
        self
    }

    /// Only this protocol, by the system's number; 0, the default, is whichever the resolver answers, which is
    /// TCP.
    pub fn proto(mut self, protocol: i32) -> Self {
        self.route.wanted.protocol = protocol;
        self
    }

    /// Flags for the resolver: `AI_…` of [`tidegate_reactor::resolve`]; none unless set.
    pub fn flags(mut self, flags: i32) -> Self {
        self.route.wanted.flags = flags;
        self
    }

    /// Binds each attempt to the first of these local addresses that has its family and can be bound.
    pub fn local_addr(mut self, address: impl Into<Target>) -> Self {
        self.route.from = address.into().0;
        self
    }

    /// How long an attempt may be undecided before the next address is tried beside it; 250 ms unless set.
    ///
    /// `None` tries strictly one after another, as asyncio does unless told otherwise: an address that does not
    /// answer then holds up the others until the system gives up, which takes minutes.
    pub fn happy_eyeballs_delay(mut self, delay: Option<Duration>) -> Self {
        self.route.delay = delay;
        self
    }

    /// How many addresses of the first family are tried before families begin to take turns; 1 unless set.
    ///
    /// 0 keeps the resolver's order, and is the default when there is no
    /// [`happy_eyeballs_delay`](CreateConnection::happy_eyeballs_delay).
    pub fn interleave(mut self, first_family_count: usize) -> Self {
        self.route.interleave = Some(first_family_count);
        self
    }
}

/// Every kind of connection.
impl<F, R> CreateConnection<F, R> {
    pub(crate) fn by(factory: F, route: R) -> CreateConnection<F, R> {
        CreateConnection { factory, sock: None, route, choices: Choices::default() }
    }

    /// Changes the factory; for options of it.
    pub fn with_factory(mut self, change: impl FnOnce(&mut F)) -> Self {
        change(&mut self.factory);
        self
    }

    /// Takes over a connected stream socket instead of connecting one; the target or path must be `()`.
    ///
    /// The socket becomes the connection's own from the call on: it is made non-blocking, and closed by
    /// whatever ends the connection, by every error and with the builder. `create_connection` welcomes Unix sockets too;
    /// [`create_unix_connection`](crate::create_unix_connection) takes nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use std::os::unix::net::UnixStream;
    /// use tidegate_protocols::Protocol;
    /// use tidegate_transports::create_connection;
    ///
    /// struct Idle;
    /// impl Protocol for Idle {}
    ///
    /// fn main() -> io::Result<()> {
    ///     tidegate_reactor::run(async {
    ///         let (ours, theirs) = UnixStream::pair()?;
    ///         let transport = create_connection(|| Idle, ()).sock(ours).await?;
    ///         drop(theirs);
    ///         transport.closed().await;
    ///         Ok::<(), io::Error>(())
    ///     })
    /// }
    /// ```
    pub fn sock(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }

    /// When `pause_writing` and `resume_writing` come; 64 KiB and 16 KiB unless set.
    pub fn write_buffer_limits(mut self, limits: WriteLimits) -> Self {
        self.choices.limits = limits;
        self
    }

    /// Aborts the connection when more than this many bytes wait to be sent; no limit unless set.
    ///
    /// For protocols that do not heed the flow. The cause is an error of the kind `Other` that says so, and it
    /// is reported to the exception handler.
    pub fn abort_above(mut self, bytes: usize) -> Self {
        self.choices.abort_above = Some(bytes);
        self
    }
}

impl<F, R> Layered for CreateConnection<F, R> {
    fn layer(mut self, layer: impl Layer) -> Self {
        self.choices.add_layer(layer);
        self
    }
}

impl<F, R> Connects for CreateConnection<F, R> {}

impl<F, R: fmt::Debug> fmt::Debug for CreateConnection<F, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CreateConnection")
            .field("sock", &self.sock)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl<F: ConnectionFactory> IntoFuture for CreateConnection<F> {
    type Output = io::Result<F::Opened>;
    type IntoFuture = Connecting<F>;

    fn into_future(self) -> Connecting<F> {
        Connecting::new(self.factory, self.choices, dial(self.route, self.sock))
    }
}

/// How a [`CreateConnection`] gets to where its target is, with the options that are about that.
#[derive(Debug)]
pub struct Route {
    to: Place,
    from: Place,
    wanted: Wanted,
    delay: Option<Duration>,
    interleave: Option<usize>,
}

async fn dial(route: Route, sock: Option<OwnedFd>) -> io::Result<(LoopHandle, Connected)> {
    let connected = match sock {
        Some(_) if !route.to.is_nowhere() => return Err(ArgumentError::HostAndSocket.into()),
        None if route.to.is_nowhere() => return Err(ArgumentError::NowhereToConnect.into()),
        Some(descriptor) => {
            tcp::adopt(&descriptor)?;
            Connected { carrier: Carrier::Socket(descriptor, None), peername: None, host: None }
        }
        None => {
            let handle = LoopHandle::current()?;
            let (descriptor, address) = route.follow(&handle).await?;
            let peername = Some(Address::Inet(address));
            Connected {
                carrier: Carrier::Socket(descriptor, None),
                peername,
                host: route.to.host(),
            }
        }
    };
    Ok((LoopHandle::current()?, connected))
}

/// How an attempt on an address failed, which may be in several ways.
type Failures = Vec<(SocketAddr, io::Error)>;

impl Route {
    async fn follow(&self, handle: &LoopHandle) -> io::Result<(OwnedFd, SocketAddr)> {
        let remotes = self.to.resolve(handle, self.wanted).await?;
        let locals = self.from.resolve(handle, self.wanted).await?;
        if remotes.is_empty() || (locals.is_empty() && !self.from.is_nowhere()) {
            return Err(empty_answer());
        }
        let locals = (!self.from.is_nowhere()).then_some(&*locals);

        let first_family_count = self.interleave.unwrap_or(self.delay.is_some().into());
        let remotes = interleave(remotes, first_family_count, |remote| remote.address.is_ipv4());
        let attempts = remotes.into_iter().map(|remote| attempt(handle, remote, locals));
        staggered_race(attempts, self.delay, sleep)
            .await
            .map_err(|errors| ConnectError::gather(errors.into_iter().flatten().collect()))
    }
}

async fn attempt(
    handle: &LoopHandle,
    remote: Candidate,
    locals: Option<&[Candidate]>,
) -> Result<(OwnedFd, SocketAddr), Failures> {
    let address = remote.address;
    let failed = |error: io::Error| vec![(address, error)];
    let descriptor = tcp::stream_socket(&remote).map_err(failed)?;
    let mut errors = match locals {
        None => Vec::new(),
        Some(locals) => bind_to_one_of(&descriptor, &address, locals)?,
    };
    match tcp::connect(handle, descriptor, address).await {
        Ok(descriptor) => Ok((descriptor, address)),
        Err(error) => {
            errors.push((address, error));
            Err(errors)
        }
    }
}

/// Binds to the first local address that has the remote one's family and can be bound; answers how often that
/// failed before.
fn bind_to_one_of(
    descriptor: &OwnedFd,
    remote: &SocketAddr,
    locals: &[Candidate],
) -> Result<Failures, Failures> {
    let mut errors = Vec::new();
    for local in locals {
        if local.address.is_ipv4() != remote.is_ipv4() {
            continue;
        }
        match tcp::bind(descriptor, &local.address) {
            Ok(()) => return Ok(errors),
            Err(error) => errors.push((*remote, error.into())),
        }
    }
    if errors.is_empty() {
        let family = if remote.is_ipv4() { "AF_INET" } else { "AF_INET6" };
        let text = format!("no matching local address with family={family} found");
        errors.push((*remote, io::Error::new(io::ErrorKind::AddrNotAvailable, text)));
    }
    Err(errors)
}
