//! `adopt`: a connection that was detached from its loop goes on in this one.

use std::fmt;
use std::io;
use std::rc::Rc;

use tidegate_protocols::{
    Detached, Layer, Layered, Protocol, Serves, Transport, WriteBuffer, WriteLimits,
};
use tidegate_reactor::{LoopHandle, Watcher};

use crate::factory::ConnectionFactory;
use crate::kind;
use crate::opening::{Carrier, Choices, Connected, Connecting};
use crate::read_ahead::ReadAhead;
use crate::stream::{self, StreamOptions, Wire};

/// Goes on with a connection that was [detached](Transport::detach) from its loop, in the loop that runs here.
///
/// The answer is a builder: set options on it, then await it. It resolves to the transport when the protocol's
/// `connection_made` has returned (with layers: when the topmost one is open). The protocol is a new one, for which
/// the connection begins:
///
/// - What was unread comes first of all that is received, and waits while reading is
///   [paused](Transport::pause_reading). If the peer has ended, `eof_received` follows, also if the old protocol
///   has had it.
/// - What was unsent is sent before anything that is written now. It counts in
///   [`get_write_buffer_size`](Transport::get_write_buffer_size), and pauses the flow if it is too much.
/// - A writing direction that was ended stays ended.
///
/// The connection may come from another thread, and the descriptor is closed by whatever ends the connection, by
/// every error and with the builder. Its options stay as they are: `TCP_NODELAY` too, which other connections are
/// given. asyncio has no counterpart.
///
/// # Errors
///
/// [`ArgumentError::NotAStreamSocket`](crate::ArgumentError::NotAStreamSocket) (kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput)) for any other descriptor; what the layer that failed to open
/// says; [`LoopError`](tidegate_reactor::LoopError) outside of a running loop.
///
/// # Panics
///
/// When `factory` does; the connection is closed then.
///
/// # Cancel safety
///
/// Dropping the future closes the socket. If the transport exists already it is closed (aborted, if layers were
/// opening).
///
/// # Examples
///
/// One loop accepts, and another one serves:
///
/// ```
/// use std::io::{self, Read};
/// use std::net::{TcpListener, TcpStream};
/// use std::sync::mpsc;
/// use std::thread;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::{adopt, connect_accepted_socket};
///
/// struct Idle;
/// impl Protocol for Idle {}
///
/// struct Welcome;
/// impl Protocol for Welcome {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write(b", welcome");
///         transport.close();
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let listener = TcpListener::bind(("127.0.0.1", 0))?;
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     let (accepted, _) = listener.accept()?;
///     let (sender, receiver) = mpsc::channel();
///
///     let worker = thread::spawn(move || {
///         tidegate_reactor::run(async move {
///             let detached = receiver.recv().expect("a connection");
///             let transport = adopt(|| Welcome, detached).await?;
///             transport.closed().await;
///             Ok::<(), io::Error>(())
///         })
///     });
///     tidegate_reactor::run(async move {
///         let transport = connect_accepted_socket(|| Idle, accepted).await?;
///         transport.write(b"hello");
///         sender.send(transport.detach()?).expect("a worker");
///         Ok::<(), io::Error>(())
///     })?;
///
///     let mut said = String::new();
///     client.read_to_string(&mut said)?;
///     assert_eq!(said, "hello, welcome");
///     worker.join().expect("a worker")
/// }
/// ```
pub fn adopt<F, P>(factory: F, detached: Detached) -> Adopt<F>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    Adopt::new(factory, detached)
}

/// The options of a connection to go on with; see [`adopt`].
#[must_use = "a connection goes on when this is awaited"]
pub struct Adopt<F> {
    factory: F,
    detached: Detached,
    choices: Choices,
}

impl<F> Adopt<F> {
    /// As [`adopt`], for crates with a [`ConnectionFactory`] of their own.
    pub fn new(factory: F, detached: Detached) -> Adopt<F> {
        Adopt { factory, detached, choices: Choices::default() }
    }

    /// Changes the factory; for options of it.
    pub fn with_factory(mut self, change: impl FnOnce(&mut F)) -> Self {
        change(&mut self.factory);
        self
    }

    /// When `pause_writing` and `resume_writing` come; 64 KiB and 16 KiB unless set.
    pub fn write_buffer_limits(mut self, limits: WriteLimits) -> Self {
        self.choices.limits = limits;
        self
    }

    /// Lets one read bring so many descriptors, at most [`MAX_FDS`](tidegate_protocols::MAX_FDS), on a Unix socket; see
    /// [`take_fds`](tidegate_protocols::Transport::take_fds). None unless set, whatever the connection was opened with.
    pub fn receive_fds(mut self, most: usize) -> Self {
        self.choices.receive_fds = most;
        self
    }

    /// Aborts the connection when more than this many bytes wait to be sent; no limit unless set. What was unsent
    /// counts from the first write on.
    ///
    /// For protocols that do not heed the flow. The cause is an error of the kind `Other` that says so, and it
    /// is reported to the exception handler.
    pub fn abort_above(mut self, bytes: usize) -> Self {
        self.choices.abort_above = Some(bytes);
        self
    }
}

/// A layer is given what was unread; what was unsent leaves below it, as it is.
impl<F> Layered for Adopt<F> {
    fn layer(mut self, layer: impl Layer) -> Self {
        self.choices.add_layer(layer);
        self
    }
}

impl<F> Serves for Adopt<F> {}

impl<F> fmt::Debug for Adopt<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Adopt").field("detached", &self.detached).finish_non_exhaustive()
    }
}

impl<F: ConnectionFactory> IntoFuture for Adopt<F> {
    type Output = io::Result<F::Opened>;
    type IntoFuture = Connecting<F>;

    fn into_future(self) -> Connecting<F> {
        let Detached { descriptor, unread, unsent, write_eof, peername, .. } = self.detached;
        let receive_fds = self.choices.receive_fds;
        let dialling = async move {
            kind::adopt(&descriptor, receive_fds)?;
            // Memory that somebody else owns is given up here, where nothing is borrowed.
            let carried = Box::new(Carried { unread: unread.into(), unsent, write_eof });
            let carrier = Carrier::Socket(descriptor, Some(carried));
            Ok((LoopHandle::current()?, Connected { carrier, peername, host: None }))
        };
        Connecting::new(self.factory, self.choices, dialling)
    }
}

/// What a detached connection takes along besides its descriptor.
pub(crate) struct Carried {
    unread: Vec<u8>,
    unsent: WriteBuffer,
    write_eof: bool,
}

impl Carried {
    /// Opens a stream transport over `wire` that goes on from here.
    pub(crate) fn open<W: Wire>(
        self,
        handle: &LoopHandle,
        wire: impl FnOnce(Rc<dyn Watcher>) -> io::Result<W>,
        protocol: Box<dyn Protocol>,
        options: StreamOptions,
    ) -> io::Result<Transport> {
        let written = (self.unsent, self.write_eof);
        if self.unread.is_empty() {
            return stream::go_on(handle, wire, protocol, options, written);
        }
        let ahead = |watcher| ReadAhead::new(handle, self.unread, watcher, wire);
        stream::go_on(handle, ahead, protocol, options, written)
    }
}
