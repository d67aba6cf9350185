//! The last stretch of opening a connection: from a connected socket to a protocol that has been greeted.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_protocols::{
    Address, Cause, Layer, Protocol, Transport, Waiter, Waiters, WriteLimits, layer::stack,
};
use tidegate_reactor::{Interest, LoopHandle};

use crate::detach::Carried;
use crate::factory::ConnectionFactory;
use crate::kind::Kind;
use crate::pipe::{Ends, PipeEnds};
use crate::stream::{self, StreamOptions};

/// The future of [`create_connection`](crate::create_connection),
/// [`connect_accepted_socket`](crate::connect_accepted_socket), [`connect_read_pipe`](crate::connect_read_pipe) and
/// their kin.
#[must_use = "futures do nothing unless awaited"]
pub struct Connecting<F: ConnectionFactory> {
    factory: Option<F>,
    choices: Choices,
    stage: Stage<F::Kept>,
}

enum Stage<K> {
    /// To a connected socket, or to pipes that were found fit.
    Dialling(Pin<Box<dyn Future<Output = Dialled>>>),
    /// From there to a protocol that was greeted.
    Opening(Opening, Option<K>),
}

/// What was connected, and the loop that it will belong to.
type Dialled = io::Result<(LoopHandle, Connected)>;

impl<F: ConnectionFactory> Connecting<F> {
    pub(crate) fn new(
        factory: F,
        choices: Choices,
        dialling: impl Future<Output = Dialled> + 'static,
    ) -> Connecting<F> {
        let checked = factory.check().and_then(|()| choices.check());
        let dialling = async {
            checked?;
            dialling.await
        };
        Connecting { factory: Some(factory), choices, stage: Stage::Dialling(Box::pin(dialling)) }
    }
}

// The factory, and what is kept of it, are moved out, never pinned.
impl<F: ConnectionFactory> Unpin for Connecting<F> {}

impl<F: ConnectionFactory> Future for Connecting<F> {
    type Output = io::Result<F::Opened>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.stage {
                Stage::Dialling(dialling) => {
                    let (handle, connected) = ready!(dialling.as_mut().poll(context))?;
                    let factory = self.factory.take().expect("a connection is made once");
                    let (protocol, kept) = factory.make();
                    let choices = std::mem::take(&mut self.choices);
                    let opening = Opening::start(&handle, connected, protocol, choices)?;
                    self.stage = Stage::Opening(opening, Some(kept));
                }
                Stage::Opening(opening, kept) => {
                    let transport = ready!(Pin::new(opening).poll(context))?;
                    let kept = kept.take().expect("a connection is opened once");
                    return Poll::Ready(Ok(F::opened(kept, transport)));
                }
            }
        }
    }
}

impl<F: ConnectionFactory> fmt::Debug for Connecting<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Dialling(_) => "dialling",
            Stage::Opening(..) => "opening",
        };
        formatter.debug_struct("Connecting").field("stage", &stage).finish_non_exhaustive()
    }
}

/// What every builder of connections lets its user choose.
#[derive(Clone, Default)]
pub(crate) struct Choices {
    pub(crate) limits: WriteLimits,
    pub(crate) abort_above: Option<usize>,
    /// How many descriptors one read may bring, on a Unix socket.
    pub(crate) receive_fds: usize,
    /// First is next to the wire.
    pub(crate) layers: Vec<Rc<dyn Layer>>,
}

impl Choices {
    pub(crate) fn add_layer(&mut self, layer: impl Layer) {
        self.layers.push(Rc::new(layer));
    }

    /// Says what is wrong with the layers.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.layers.iter().try_for_each(|layer| layer.check())
    }
}

/// What becomes the wire of a transport.
pub(crate) enum Carrier {
    /// A connected socket, and what was left of it if it was detached.
    Socket(OwnedFd, Option<Box<Carried>>),
    /// The ends of pipes.
    Pipe(Ends),
}

/// A connection that becomes a transport.
pub(crate) struct Connected {
    pub(crate) carrier: Carrier,
    pub(crate) peername: Option<Address>,
    /// Whom the layers take the peer for.
    pub(crate) host: Option<String>,
}

/// Resolves when `connection_made` has returned, or when the topmost layer is open.
///
/// Dropped before that it ends the connection: it closes a plain one, whose protocol still hears
/// `connection_made` and `connection_lost`, and aborts one whose layers were still opening.
pub(crate) struct Opening {
    wire: Transport,
    verdict: Rc<Verdict>,
    waiter: Waiter,
    layered: bool,
    taken: bool,
}

impl Opening {
    /// Opens a stream transport over the carrier, which is closed on every error.
    pub(crate) fn start(
        handle: &LoopHandle,
        connected: Connected,
        protocol: Box<dyn Protocol>,
        choices: Choices,
    ) -> io::Result<Opening> {
        let Connected { carrier, peername, host } = connected;
        let verdict = Rc::new(Verdict { outcome: Cell::new(None), waiters: Waiters::new() });
        let teller = Teller(Some(verdict.clone()));
        let mut options = StreamOptions {
            limits: choices.limits,
            abort_above: choices.abort_above,
            peername,
            layered: !choices.layers.is_empty(),
            ..StreamOptions::default()
        };
        let layered = options.layered;
        let protocol = if layered {
            let told =
                move |outcome: Result<Transport, Cause>| teller.tell(outcome.map_err(Into::into));
            stack(&choices.layers, protocol, host.as_deref(), told)
        } else {
            options.greeted = Some(Box::new(move |transport| teller.tell(Ok(transport.clone()))));
            protocol
        };
        let wire = match carrier {
            Carrier::Socket(descriptor, carried) => {
                let kind = match &carried {
                    None => Kind::of(&descriptor, options.peername.as_ref()),
                    Some(_) => Kind::detached(&descriptor),
                };
                let receive_fds = choices.receive_fds;
                kind.open(
                    handle,
                    descriptor,
                    receive_fds,
                    Interest::NONE,
                    protocol,
                    options,
                    carried,
                )?
            }
            Carrier::Pipe(ends) => {
                let make = |watcher| PipeEnds::open(handle, ends, watcher);
                stream::open(handle, make, protocol, options)?
            }
        };
        Ok(Opening { wire, verdict, waiter: Waiter::new(), layered, taken: false })
    }
}

impl Future for Opening {
    type Output = io::Result<Transport>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(outcome) = self.verdict.outcome.take() else {
            self.verdict.waiters.register(&self.waiter, context.waker());
            return Poll::Pending;
        };
        self.taken = true;
        if outcome.is_err() {
            // Whoever failed may have left the connection below open.
            self.wire.abort();
        }
        Poll::Ready(outcome)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        match (self.taken, self.layered) {
            (true, _) => {}
            (false, true) => self.wire.abort(),
            (false, false) => self.wire.close(),
        }
    }
}

/// How the opening went, and who waits to hear.
struct Verdict {
    outcome: Cell<Option<io::Result<Transport>>>,
    waiters: Waiters,
}

/// Tells the verdict once; dropped untold it tells that the connection is gone.
struct Teller(Option<Rc<Verdict>>);

impl Teller {
    fn tell(mut self, outcome: io::Result<Transport>) {
        self.tell_once(outcome);
    }

    fn tell_once(&mut self, outcome: io::Result<Transport>) {
        if let Some(verdict) = self.0.take() {
            verdict.outcome.set(Some(outcome));
            verdict.waiters.wake_all();
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.tell_once(Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the connection ended before it was open",
        )));
    }
}
