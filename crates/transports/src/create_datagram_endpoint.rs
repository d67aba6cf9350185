//! `create_datagram_endpoint`: from addresses, paths or a socket to an open datagram endpoint.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use tidegate_protocols::{
    Cause, DatagramProtocol, DatagramTransport, Waiter, Waiters, WriteLimits,
};
use tidegate_reactor::LoopHandle;

use crate::addresses::{Family, Kind, Target, Wanted};
use crate::datagram::{self, DatagramOptions, DatagramSocket};
use crate::endpoint_socket::{self, Made, Recipe};
use crate::errors::DatagramArgumentError;
use crate::factory::DatagramFactory;

/// Opens a datagram endpoint and gives it the protocol that `factory` makes.
///
/// The answer is a builder: set options on it, then await it. It resolves to the transport when the protocol's
/// `connection_made` has returned; datagrams that came early are delivered after that. `factory` is called when the
/// socket stands, and not at all if none can be made.
///
/// With a [`local_addr`](CreateDatagramEndpoint::local_addr) it receives there; with a
/// [`remote_addr`](CreateDatagramEndpoint::remote_addr) it sends there and nowhere else, and hears of no one else; with
/// only a [`family`](CreateDatagramEndpoint::family) it has no address before it sends. Addresses are resolved, and
/// those that a host has are tried in order. Unix datagram sockets have
/// [`local_path`](CreateDatagramEndpoint::local_path) and [`remote_path`](CreateDatagramEndpoint::remote_path).
///
/// On Linux, datagrams of equal size to one address that are sent in one step leave in one call, and those that wait
/// together are received in one (see [`segmentation`](CreateDatagramEndpoint::segmentation)); whoever receives them sees
/// them one by one, as ever.
///
/// The asyncio counterpart is `loop.create_datagram_endpoint()`, which answers the protocol as well: here a program
/// keeps a share of it (`Rc<RefCell<P>>`) or uses [`with_protocol`](DatagramTransport::with_protocol).
///
/// # Errors
///
/// - [`DatagramArgumentError`] (kind [`InvalidInput`](io::ErrorKind::InvalidInput)) when there is neither an address nor
///   a family, when what was given does not go together, or for a socket of another kind. No socket was made then, but
///   one that was given is closed.
/// - The resolver's error, or "getaddrinfo() returned empty list".
/// - When every address failed, the *first* error: the system's, or a [`BindError`](crate::BindError) for a local address
///   that cannot be bound. Every socket is closed then.
/// - What ended the endpoint in `connection_made`: a panic, or a [`fail`](tidegate_protocols::DatagramTransport::fail).
/// - [`LoopError`](tidegate_reactor::LoopError) outside of a running loop.
///
/// # Panics
///
/// When `factory` does; the socket is closed then.
///
/// # Cancel safety
///
/// Dropping the future closes every socket, a given one included. If the transport exists already it is closed.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_protocols::{Address, DatagramProtocol, DatagramTransport};
/// use tidegate_transports::create_datagram_endpoint;
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(
///         &mut self,
///         transport: &DatagramTransport,
///         data: &[u8],
///         from: &Address,
///     ) -> io::Result<()> {
///         transport.sendto(data, from)?;
///         Ok(())
///     }
/// }
///
/// /// Asks once.
/// struct Ask;
///
/// impl DatagramProtocol for Ask {
///     fn connection_made(&mut self, transport: &DatagramTransport) {
///         transport.sendto(b"hello", None).expect("it has a remote address");
///     }
///     fn datagram_received(
///         &mut self,
///         transport: &DatagramTransport,
///         data: &[u8],
///         _from: &Address,
///     ) -> io::Result<()> {
///         assert_eq!(data, b"hello");
///         transport.close();
///         Ok(())
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let server = create_datagram_endpoint(|| Echo).local_addr(("127.0.0.1", 0)).await?;
///         let address = server.sockname().and_then(|own| own.as_inet()).expect("it is bound");
///         let client = create_datagram_endpoint(|| Ask).remote_addr(address).await?;
///         client.closed().await;
///         Ok(())
///     })
/// }
/// ```
pub fn create_datagram_endpoint<F, P>(factory: F) -> CreateDatagramEndpoint<F>
where
    F: FnOnce() -> P + 'static,
    P: DatagramProtocol,
{
    CreateDatagramEndpoint::new(factory)
}

/// The options of a datagram endpoint to be opened; see [`create_datagram_endpoint`].
#[must_use = "an endpoint is opened when this is awaited"]
pub struct CreateDatagramEndpoint<F> {
    factory: F,
    sock: Option<OwnedFd>,
    recipe: Recipe,
    limits: WriteLimits,
    segmentation: bool,
}

impl<F> CreateDatagramEndpoint<F> {
    /// As [`create_datagram_endpoint`], for crates with a [`DatagramFactory`] of their own.
    pub fn new(factory: F) -> CreateDatagramEndpoint<F> {
        CreateDatagramEndpoint {
            factory,
            sock: None,
            recipe: Recipe {
                wanted: Wanted { kind: Kind::Datagram, ..Wanted::default() },
                ..Recipe::default()
            },
            limits: WriteLimits::default(),
            segmentation: true,
        }
    }

    /// Changes the factory; for options of it.
    pub fn with_factory(mut self, change: impl FnOnce(&mut F)) -> Self {
        change(&mut self.factory);
        self
    }

    /// Where to receive; port 0 is any free one. Without it the system chooses when something is sent.
    pub fn local_addr(mut self, address: impl Into<Target>) -> Self {
        self.recipe.local = Some(address.into().0).filter(|place| !place.is_nowhere());
        self
    }

    /// The only address to send to and, as long as
    /// [`allow_broadcast`](CreateDatagramEndpoint::allow_broadcast) is not set, to receive from: the socket is connected.
    ///
    /// That sends nothing, so of a name with several addresses the first is taken, whether anybody receives there or not.
    pub fn remote_addr(mut self, address: impl Into<Target>) -> Self {
        self.recipe.remote = Some(address.into().0).filter(|place| !place.is_nowhere());
        self
    }

    /// A Unix socket that receives at this path; a path that begins with a zero byte is a name in Linux's abstract name
    /// space.
    ///
    /// A socket file that nobody receives at any more is removed first. One at which somebody does, and a file of any
    /// other kind, stays, and the error is `AddrInUse`. The file is not removed when the endpoint closes; it is if none can
    /// be opened in the end.
    pub fn local_path(mut self, path: impl AsRef<Path>) -> Self {
        self.recipe.local_path = Some(PathBuf::from(path.as_ref()));
        self
    }

    /// A Unix socket that sends to this path only, and receives from there only; see
    /// [`local_path`](CreateDatagramEndpoint::local_path). Without a local path the other side cannot answer.
    pub fn remote_path(mut self, path: impl AsRef<Path>) -> Self {
        self.recipe.remote_path = Some(PathBuf::from(path.as_ref()));
        self
    }

    /// A Unix socket without a path, which can send to every path; asyncio's `family=AF_UNIX` with no address.
    pub fn unix(mut self) -> Self {
        self.recipe.unix = true;
        self
    }

    /// Only addresses of this family; any unless set. Without an address, the family of the socket.
    pub fn family(mut self, family: Family) -> Self {
        self.recipe.wanted.family = family;
        self
    }

    /// Only this protocol, by the system's number; 0, the default, is whichever the resolver answers, which is UDP.
    pub fn proto(mut self, protocol: i32) -> Self {
        self.recipe.wanted.protocol = protocol;
        self
    }

    /// Flags for the resolver: `AI_…` of [`tidegate_reactor::resolve`]; none unless set.
    pub fn flags(mut self, flags: i32) -> Self {
        self.recipe.wanted.flags = flags;
        self
    }

    /// Lets other sockets that ask for it too receive at the same address (`SO_REUSEPORT`); off unless set.
    /// `SO_REUSEADDR` is never set.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.recipe.reuse_port = reuse;
        self
    }

    /// Lets it send to broadcast addresses (`SO_BROADCAST`); off unless set.
    ///
    /// The socket is not connected then: a remote address stays the only one it sends to, and it receives from anyone.
    pub fn allow_broadcast(mut self, allow: bool) -> Self {
        self.recipe.allow_broadcast = allow;
        self
    }

    /// Takes over a datagram or raw socket instead of making one; no option about addresses goes with it.
    ///
    /// The socket becomes the endpoint's own from the call on: it is made non-blocking, and closed by whatever ends the
    /// endpoint, by every error and with the builder. One that is connected sends to its peer only.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use std::os::unix::net::UnixDatagram;
    /// use tidegate_protocols::DatagramProtocol;
    /// use tidegate_transports::create_datagram_endpoint;
    ///
    /// struct Idle;
    /// impl DatagramProtocol for Idle {}
    ///
    /// fn main() -> io::Result<()> {
    ///     tidegate_reactor::run(async {
    ///         let (ours, theirs) = UnixDatagram::pair()?;
    ///         let transport = create_datagram_endpoint(|| Idle).sock(ours).await?;
    ///         transport.sendto(b"hello", None)?;
    ///         transport.flush().await?;
    ///         assert_eq!(theirs.recv(&mut [0; 5])?, 5);
    ///         transport.close();
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
        self.limits = limits;
        self
    }

    /// Whether datagrams of equal size to one address, the last of which may be shorter, leave in one call where the
    /// system can split it (Linux, UDP), and those of one sender that wait together are received in one where it can join
    /// them; on unless set. Splitting goes off by itself where the system refuses.
    ///
    /// Only how many calls are made depends on it, and how often the system says that nobody receives, and how many bytes a network card may be given at a time: some
    /// programs that measure a network want each datagram to be a call.
    pub fn segmentation(mut self, segmentation: bool) -> Self {
        self.segmentation = segmentation;
        self
    }
}

impl<F: DatagramFactory> CreateDatagramEndpoint<F> {
    async fn open(self) -> io::Result<F::Opened> {
        self.factory.check()?;
        let made = match self.sock {
            Some(sock) => {
                let names = self.recipe.set_options();
                if !names.is_empty() {
                    return Err(DatagramArgumentError::OptionsWithSocket { names }.into());
                }
                endpoint_socket::adopt(sock)?
            }
            None => {
                self.recipe.check()?;
                self.recipe.make(&LoopHandle::current()?).await?
            }
        };
        let handle = LoopHandle::current()?;
        let (protocol, kept) = self.factory.make();
        let transport = Opening::start(&handle, made, protocol, self.limits, self.segmentation)?
            .opened()
            .await?;
        Ok(F::opened(kept, transport))
    }
}

impl<F> fmt::Debug for CreateDatagramEndpoint<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CreateDatagramEndpoint")
            .field("sock", &self.sock)
            .field("recipe", &self.recipe)
            .finish_non_exhaustive()
    }
}

impl<F: DatagramFactory> IntoFuture for CreateDatagramEndpoint<F> {
    type Output = io::Result<F::Opened>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<F::Opened>>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// An endpoint that nobody has been given yet: dropped, it is closed.
struct Opening {
    transport: Option<DatagramTransport>,
    greeting: Rc<Greeting>,
}

/// How the greeting went, and who waits to hear.
struct Greeting {
    outcome: Cell<Option<Result<(), Cause>>>,
    waiters: Waiters,
}

/// Tells the greeting's outcome once; dropped untold it tells that the endpoint is gone.
struct Teller(Rc<Greeting>);

impl Teller {
    fn tell(&self, outcome: Result<(), Cause>) {
        self.0.outcome.set(Some(outcome));
        self.0.waiters.wake_all();
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let told = self.0.outcome.take();
        let untold = || {
            let text = "the endpoint ended before it was open";
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, text).into())
        };
        self.0.outcome.set(Some(told.unwrap_or_else(untold)));
        self.0.waiters.wake_all();
    }
}

impl Opening {
    fn start(
        handle: &LoopHandle,
        made: Made,
        protocol: Box<dyn DatagramProtocol>,
        limits: WriteLimits,
        segmentation: bool,
    ) -> io::Result<Opening> {
        let greeting = Rc::new(Greeting { outcome: Cell::new(None), waiters: Waiters::new() });
        let teller = Teller(greeting.clone());
        let options = DatagramOptions {
            limits,
            remote: made.remote,
            connected: made.connected,
            greeted: Some(Box::new(move |greeted| teller.tell(greeted.map(|_| ())))),
        };
        let wire = |watcher| DatagramSocket::new(handle, made.descriptor, segmentation, watcher);
        let transport = datagram::open(handle, wire, protocol, options)?;
        Ok(Opening { transport: Some(transport), greeting })
    }

    async fn opened(mut self) -> io::Result<DatagramTransport> {
        let waiter = Waiter::new();
        let outcome = poll_fn(|context| match self.greeting.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.greeting.waiters.register(&waiter, context.waker());
                Poll::Pending
            }
        });
        outcome.await?;
        Ok(self.transport.take().expect("it is given away once"))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(transport) = self.transport.take() {
            transport.close();
        }
    }
}
