//! `connect_accepted_socket`: a connection that was accepted elsewhere becomes a transport.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use tidegate_protocols::{Layer, Layered, Protocol, Serves, WriteLimits};
use tidegate_reactor::LoopHandle;

use crate::factory::ConnectionFactory;
use crate::kind;
use crate::opening::{Carrier, Choices, Connected, Connecting};

/// Takes over a connection that was accepted outside of the loop, as its server side.
///
/// The answer is a builder: set options on it, then await it. It resolves to the transport when the
/// protocol's `connection_made` has returned (with layers: when the topmost one is open). The socket is the
/// connection's own from the call on: it is made non-blocking, and closed by whatever ends the connection, by
/// every error and with the builder. The asyncio counterpart is `loop.connect_accepted_socket()`.
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
/// Dropping the future closes the socket. If the transport exists already it is closed (aborted, if layers
/// were opening).
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::net::{TcpListener, TcpStream};
/// use tidegate_protocols::Protocol;
/// use tidegate_transports::connect_accepted_socket;
///
/// struct Idle;
/// impl Protocol for Idle {}
///
/// fn main() -> io::Result<()> {
///     let listener = TcpListener::bind(("127.0.0.1", 0))?;
///     let client = TcpStream::connect(listener.local_addr()?)?;
///     let (accepted, _) = listener.accept()?;
///
///     tidegate_reactor::run(async {
///         let transport = connect_accepted_socket(|| Idle, accepted).await?;
///         drop(client);
///         transport.closed().await;
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
pub fn connect_accepted_socket<F, P>(
    factory: F,
    sock: impl Into<OwnedFd>,
) -> ConnectAcceptedSocket<F>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    ConnectAcceptedSocket { factory, sock: sock.into(), choices: Choices::default() }
}

/// The options of a connection to be taken over; see [`connect_accepted_socket`].
#[must_use = "a connection is taken over when this is awaited"]
pub struct ConnectAcceptedSocket<F> {
    factory: F,
    sock: OwnedFd,
    choices: Choices,
}

impl<F> ConnectAcceptedSocket<F> {
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

    /// Lets the peer pass so many descriptors at once, 253 at most; none unless set. The socket must be a Unix
    /// socket then, or the builder answers
    /// [`ArgumentError::NotAUnixSocket`](crate::ArgumentError::NotAUnixSocket).
    ///
    /// See [`Transport::take_fds`](tidegate_protocols::Transport::take_fds). A peer that passes more ends the
    /// connection, with [`TruncatedFds`](crate::TruncatedFds) as the cause. Without this none enter the process.
    pub fn receive_fds(mut self, most: usize) -> Self {
        self.choices.receive_fds = most;
        self
    }
}

impl<F> Layered for ConnectAcceptedSocket<F> {
    fn layer(mut self, layer: impl Layer) -> Self {
        self.choices.add_layer(layer);
        self
    }
}

impl<F> Serves for ConnectAcceptedSocket<F> {}

impl<F> fmt::Debug for ConnectAcceptedSocket<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectAcceptedSocket")
            .field("sock", &self.sock)
            .finish_non_exhaustive()
    }
}

impl<F: ConnectionFactory> IntoFuture for ConnectAcceptedSocket<F> {
    type Output = io::Result<F::Opened>;
    type IntoFuture = Connecting<F>;

    fn into_future(self) -> Connecting<F> {
        let descriptor = self.sock;
        let receive_fds = self.choices.receive_fds;
        let dialling = async move {
            kind::adopt(&descriptor, receive_fds)?;
            let carrier = Carrier::Socket(descriptor, None);
            Ok((LoopHandle::current()?, Connected { carrier, peername: None, host: None }))
        };
        Connecting::new(self.factory, self.choices, dialling)
    }
}
