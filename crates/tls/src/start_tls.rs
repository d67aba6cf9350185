//! `start_tls`: a connection that stands already goes on in TLS, one storey up.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_protocols::{Cause, Flow, Gate, Raise, Slot, Transport};
use tidegate_reactor::{Future as Promised, LoopError, LoopHandle, create_future};

use crate::config::{Client, Server, Terms};
use crate::connection::Tls;
use crate::info::TlsConfig;
use crate::layer::{client_session, server_session};
use crate::lifecycle::Reading;
use crate::lower::Lower;
use crate::session::Session;

/// Goes on in TLS with a connection that stands already.
///
/// `tls` is a `&Server`, or a client with the name of its server, `(&client, "mail.example.org")`, or an [`Upgrade`] of
/// one of them with options. Everything happens at once: from this call on each share of `transport`
/// is the secure one, and nothing that is written to any of them can leave in clear. What was written before leaves
/// before the handshake. The protocol stays the same and gets no second `connection_made`; inside of one of
/// its callbacks it moves one storey up when that returns.
///
/// What is written from now on waits for the handshake. The answer is a future that resolves to the transport when the
/// handshake is done; it need not be awaited, and dropping it cancels nothing. A handshake that fails ends the
/// connection: `connection_lost` is given the same [`TlsError`](crate::TlsError).
///
/// Bytes of the peer's that came along with its last word in clear are a danger: who is between the two could have put
/// them there. Tell of them by [`Upgrade::unread`], and they are an error. A callback that hands that error on with `?`
/// ends the connection, which is reported as that of any callback; what it wrote before is still sent.
///
/// The name must be given: an empty one does not stand for a host here, since nobody knows which one was meant.
///
/// The asyncio counterparts are `loop.start_tls()`, which answers a new transport and leaves the old one broken.
///
/// # Errors
///
/// See [`StartTlsError`]; nothing has happened then, and the connection goes on in clear.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
///
/// # Examples
///
/// Inside of a callback, as a server:
///
/// ```
/// use std::io;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_tls::{Server, Upgrade, start_tls};
///
/// struct Mail {
///     tls: Server,
/// }
///
/// impl Protocol for Mail {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
///         if let Some(rest) = data.strip_prefix(b"STARTTLS\r\n") {
///             transport.write(b"220 go ahead\r\n");
///             start_tls(transport, Upgrade::from(&self.tls).unread(rest))?;
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// From a task, as a client:
///
/// ```
/// # use tidegate_protocols::Transport;
/// # use tidegate_tls::{Client, start_tls};
/// # async fn example(transport: Transport, client: Client) -> std::io::Result<()> {
/// let transport = start_tls(&transport, (&client, "mail.example.org"))?.await?;
/// # Ok(())
/// # }
/// ```
pub fn start_tls<'a>(
    transport: &Transport,
    tls: impl Into<Upgrade<'a>>,
) -> Result<StartTls, StartTlsError> {
    let upgrade = tls.into();
    let unread = upgrade.unread;
    raise(transport, &upgrade, unread)
}

fn raise(
    transport: &Transport,
    upgrade: &Upgrade<'_>,
    unread: &[u8],
) -> Result<StartTls, StartTlsError> {
    if !unread.is_empty() && !upgrade.hands_over {
        return Err(StartTlsError::Unread(unread.len()));
    }
    if transport.is_closing() || transport.flow() == Flow::Closed {
        return Err(StartTlsError::Closing);
    }
    if transport.raw().turn_is_taken() {
        return Err(StartTlsError::Busy);
    }
    let handle = LoopHandle::current().map_err(StartTlsError::Loop)?;
    let session = upgrade.side.session().map_err(StartTlsError::Config)?;
    let (promise, opened) = create_future::<Result<Transport, Cause>>();
    let told = move |outcome| {
        // Nobody may wait for it any more.
        let _ = promise.set_result(outcome);
    };
    let told_flow = transport.raw().flow_told();
    let reading = match transport.is_reading() {
        true => Reading::Flowing,
        false => Reading::Paused,
    };
    // The handshake needs it in any case; where it is in vain, the peer has ended.
    transport.resume_reading();
    if !transport.is_reading() {
        return Err(StartTlsError::Closing);
    }
    let gate = Gate::new(None, told);
    let tls = Tls::new(handle, session, Slot::awaiting(), upgrade.config(), gate);
    tls.carry(true, told_flow);
    tls.reading.set(reading);
    tls.set_face(transport.clone());
    // Dropped unrun, because the connection is gone meanwhile, the change lets go of all this.
    let lower = Lower::new(Rc::clone(&tls));
    transport.raise(|below| {
        tls.stand_on(&below);
        tls.clone()
    });
    let below = tls.below().clone();
    // What waits there counts here as well.
    tls.look_above(tls.waiting());
    tls.begin();
    if !unread.is_empty() {
        tls.keep_received(unread);
        tls.head_start.set(true);
        tls.enlist();
    }
    below.wrap_protocol(move |protocol| {
        if let Err(payload) = lower.tls().slot.come_home(protocol) {
            lower.tls().fail_with(Cause::from_panic(payload));
        }
        Box::new(lower)
    });
    Ok(StartTls { transport: transport.clone(), opened })
}

/// How a connection goes on in TLS: as which side, and with which options.
///
/// Made of a `&Server` or of `(&Client, name)`; [`start_tls`] takes those as well.
#[derive(Clone, Debug)]
pub struct Upgrade<'a> {
    side: Side<'a>,
    terms: Terms,
    unread: &'a [u8],
    hands_over: bool,
}

#[derive(Clone, Debug)]
enum Side<'a> {
    Client(&'a Client, &'a str),
    Server(&'a Server),
}

impl<'a> Upgrade<'a> {
    /// What the peer has sent behind its last word in clear: anything there is an error, unless it is
    /// [handed over](Upgrade::hand_over).
    pub fn unread(mut self, bytes: &'a [u8]) -> Self {
        self.unread = bytes;
        self
    }

    /// Takes what came behind the last word in clear for the beginning of the handshake: for protocols in which the
    /// peer does not wait for an answer before it goes on in TLS.
    pub fn hand_over(mut self) -> Self {
        self.hands_over = true;
        self
    }

    /// How long the handshake may take, instead of what the client or server says (asyncio's `ssl_handshake_timeout`).
    pub fn handshake_timeout(mut self, limit: std::time::Duration) -> Self {
        self.terms.handshake_timeout = limit;
        self
    }

    /// How long the shutdown may take, instead of what the client or server says (asyncio's `ssl_shutdown_timeout`).
    pub fn shutdown_timeout(mut self, limit: std::time::Duration) -> Self {
        self.terms.shutdown_timeout = limit;
        self
    }
}

impl<'a> From<&'a Server> for Upgrade<'a> {
    fn from(server: &'a Server) -> Upgrade<'a> {
        let terms = server.terms();
        Upgrade { side: Side::Server(server), terms, unread: &[], hands_over: false }
    }
}

impl<'a> From<(&'a Client, &'a str)> for Upgrade<'a> {
    fn from((client, name): (&'a Client, &'a str)) -> Upgrade<'a> {
        let terms = client.terms();
        Upgrade { side: Side::Client(client, name), terms, unread: &[], hands_over: false }
    }
}

/// Streams hand on what they are given to go on in TLS with: `writer.start_tls(&mut reader, &server)`.
impl<'a> Raise<Upgrade<'a>> for Upgrade<'a> {
    type Raised = StartTls;

    fn raise(self, transport: &Transport, unread: &[u8]) -> io::Result<StartTls> {
        let unread = [self.unread, unread].concat();
        Ok(raise(transport, &self, &unread)?)
    }
}

/// As an [`Upgrade`] without options.
impl<'a> Raise<Upgrade<'a>> for &'a Server {
    type Raised = StartTls;

    fn raise(self, transport: &Transport, unread: &[u8]) -> io::Result<StartTls> {
        Upgrade::from(self).raise(transport, unread)
    }
}

/// As an [`Upgrade`] without options.
impl<'a> Raise<Upgrade<'a>> for (&'a Client, &'a str) {
    type Raised = StartTls;

    fn raise(self, transport: &Transport, unread: &[u8]) -> io::Result<StartTls> {
        Upgrade::from(self).raise(transport, unread)
    }
}

impl Upgrade<'_> {
    fn config(&self) -> TlsConfig {
        match self.side {
            Side::Client(client, _) => TlsConfig::Client(client.clone().with_terms(self.terms)),
            Side::Server(server) => TlsConfig::Server(server.clone().with_terms(self.terms)),
        }
    }
}

impl Side<'_> {
    fn session(&self) -> io::Result<Session> {
        match self {
            Side::Client(client, name) => client_session(client, name),
            Side::Server(server) => server_session(server),
        }
    }
}

/// The future of [`start_tls`].
pub struct StartTls {
    transport: Transport,
    opened: Promised<Result<Transport, Cause>>,
}

impl Future for StartTls {
    type Output = io::Result<Transport>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.opened).poll(context).map(|outcome| match outcome {
            Ok(Ok(_)) => Ok(self.transport.clone()),
            Ok(Err(cause)) => Err(cause.into()),
            Err(dropped) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, dropped)),
        })
    }
}

impl fmt::Debug for StartTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartTls").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// Why a connection could not begin to go on in TLS. Nothing has happened then.
///
/// It becomes an [`io::Error`] with `?`, and is inside of the one that `start_tls` of a stream's writer answers:
///
/// ```
/// use tidegate_tls::StartTlsError;
///
/// /// Whether somebody may have put bytes there.
/// fn is_injection(error: &std::io::Error) -> bool {
///     let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
///     matches!(inner, Some(StartTlsError::Unread(_)))
/// }
/// # assert!(is_injection(&StartTlsError::Unread(6).into()));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartTlsError {
    /// The peer has sent so many bytes behind its last word in clear.
    Unread(usize),
    /// The connection is closing or lost, or one of its directions has ended.
    Closing,
    /// A file is being sent: TLS can start when all of it is, or when the future that sends it was dropped.
    Busy,
    /// The name of the server is no name or empty, or rustls will not have the configuration.
    Config(io::Error),
    /// There is no running loop.
    Loop(LoopError),
}

impl fmt::Display for StartTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartTlsError::Unread(bytes) => write!(
                f,
                "the peer has sent {bytes} bytes in clear behind the switch to TLS: somebody may have injected them"
            ),
            StartTlsError::Closing => {
                f.write_str("TLS cannot be started: the transport is closing")
            }
            StartTlsError::Busy => f.write_str("TLS cannot be started: a file is being sent"),
            StartTlsError::Config(error) => write!(f, "TLS cannot be started: {error}"),
            StartTlsError::Loop(error) => error.fmt(f),
        }
    }
}

impl Error for StartTlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartTlsError::Config(error) => Some(error),
            StartTlsError::Loop(error) => Some(error),
            StartTlsError::Unread(_) | StartTlsError::Closing | StartTlsError::Busy => None,
        }
    }
}

impl From<StartTlsError> for io::Error {
    fn from(error: StartTlsError) -> io::Error {
        let kind = match &error {
            StartTlsError::Unread(_) => io::ErrorKind::InvalidData,
            StartTlsError::Closing => io::ErrorKind::NotConnected,
            StartTlsError::Busy => io::ErrorKind::ResourceBusy,
            StartTlsError::Config(error) => error.kind(),
            StartTlsError::Loop(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
