//! What the suite is played on: a way to connect two protocols, and what its connections can do.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use tidegate_protocols::layer::{Layer, stack};
use tidegate_protocols::{Cause, Protocol, Transport};
use tidegate_reactor::{EventLoop, create_future};

/// A kind of connection; the [suite](super) has an example.
pub trait Ground: 'static {
    /// What reports of failures call it.
    fn name(&self) -> String;

    /// Connects `left` and `right`, in the loop that runs.
    ///
    /// The future may be ready before the `connection_made` of either side.
    fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting;

    /// What its connections can do; everything unless overridden.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Makes the loop for a case; one with the system's clock unless overridden.
    ///
    /// # Errors
    ///
    /// If there can be no loop.
    fn event_loop(&self) -> io::Result<EventLoop> {
        EventLoop::new()
    }
}

/// Two transports to be: of the left protocol and of the right one.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<(Transport, Transport)>>>>;

/// What connections of a [`Ground`] can do. Cases that need something else are left out.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::conformance::Capabilities;
///
/// let of_a_pipe = Capabilities { addresses: false, ..Capabilities::default() };
/// assert!(of_a_pipe.half_close);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// One direction can be ended before the other: `write_eof` works.
    pub half_close: bool,
    /// A protocol that answers [`KeepWriting`](tidegate_protocols::AtEof::KeepWriting) can go on writing.
    pub answers_eof: bool,
    /// What is written to a closing transport that still flushes is sent.
    pub writes_while_closing: bool,
    /// A close needs nothing of the peer's: the loss follows by itself, in its turn.
    pub closes_alone: bool,
    /// A peer that aborts looks like one that has ended; else it is told apart, as an error.
    pub abort_looks_like_eof: bool,
    /// The write buffer counts the bytes that were written and no others.
    pub exact_sizes: bool,
    /// Both addresses are known.
    pub addresses: bool,
    /// There is a descriptor to be lent out.
    pub descriptor: bool,
    /// No read or write moves more bytes than this; none if there is no limit.
    pub bytes_at_a_time: Option<usize>,
    /// What several reads have brought may be handed to the protocol together.
    pub joins_reads: bool,
}

impl Default for Capabilities {
    fn default() -> Capabilities {
        Capabilities {
            half_close: true,
            answers_eof: true,
            writes_while_closing: true,
            closes_alone: true,
            abort_looks_like_eof: true,
            exact_sizes: true,
            addresses: true,
            descriptor: true,
            bytes_at_a_time: None,
            joins_reads: false,
        }
    }
}

impl Capabilities {
    /// How many bytes a protocol is handed at a time, if there is a limit.
    pub(super) fn largest_piece(&self) -> Option<usize> {
        self.bytes_at_a_time.filter(|_| !self.joins_reads)
    }

    /// Whether so many bytes can move at once.
    pub(super) fn moves(&self, bytes: usize) -> bool {
        self.bytes_at_a_time.is_none_or(|most| bytes <= most)
    }
}

/// Another ground, with a layer under each protocol.
///
/// # Examples
///
/// ```
/// use tidegate_protocols::layer::Transparent;
/// use tidegate_testkit::conformance::{Ground, UnderLayer};
/// use tidegate_testkit::memory::{Memory, PairOptions};
///
/// let ground = UnderLayer::new(Memory::new(PairOptions::default()), || Transparent);
/// assert!(ground.name().contains("under a layer"));
/// ```
pub struct UnderLayer<G> {
    ground: G,
    left: MakeLayer,
    right: MakeLayer,
    capabilities: Capabilities,
}

type MakeLayer = Box<dyn Fn() -> Rc<dyn Layer>>;

impl<G: Ground> UnderLayer<G> {
    /// Puts what `layer` makes under each protocol on `ground`.
    pub fn new<L: Layer>(ground: G, layer: impl Fn() -> L + Clone + 'static) -> UnderLayer<G> {
        UnderLayer::of_two(ground, layer.clone(), layer)
    }

    /// Puts what `left` makes under the left protocol, and what `right` makes under the right one.
    pub fn of_two<L: Layer, R: Layer>(
        ground: G,
        left: impl Fn() -> L + 'static,
        right: impl Fn() -> R + 'static,
    ) -> UnderLayer<G> {
        let capabilities = ground.capabilities();
        let left: MakeLayer = Box::new(move || Rc::new(left()));
        let right: MakeLayer = Box::new(move || Rc::new(right()));
        UnderLayer { ground, left, right, capabilities }
    }

    /// Says what connections can do with the layers in them; what the ground's can unless said.
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> UnderLayer<G> {
        self.capabilities = capabilities;
        self
    }
}

impl<G: Ground> Ground for UnderLayer<G> {
    fn name(&self) -> String {
        format!("{} under a layer", self.ground.name())
    }

    fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting {
        let (left, left_open) = layered((self.left)(), left);
        let (right, right_open) = layered((self.right)(), right);
        let below = self.ground.connect(left, right);
        Box::pin(async move {
            below.await?;
            Ok((left_open.await?, right_open.await?))
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn event_loop(&self) -> io::Result<EventLoop> {
        self.ground.event_loop()
    }
}

impl<G: fmt::Debug> fmt::Debug for UnderLayer<G> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UnderLayer").field("ground", &self.ground).finish_non_exhaustive()
    }
}

/// Puts a layer under `protocol`; the future is ready when the layer is open.
pub(super) fn layered(
    layer: Rc<dyn Layer>,
    protocol: Box<dyn Protocol>,
) -> (Box<dyn Protocol>, impl Future<Output = io::Result<Transport>>) {
    layered_by(&[layer], protocol)
}

/// The same with several layers, the first next to the wire.
pub(super) fn layered_by(
    layers: &[Rc<dyn Layer>],
    protocol: Box<dyn Protocol>,
) -> (Box<dyn Protocol>, impl Future<Output = io::Result<Transport>> + use<>) {
    let (promise, opened) = create_future::<Result<Transport, Cause>>();
    let told = move |outcome| {
        // Nobody may wait for it any more.
        let _ = promise.set_result(outcome);
    };
    let opened = async move {
        let outcome = opened.await.map_err(io::Error::other)?;
        outcome.map_err(io::Error::from)
    };
    (stack(layers, protocol, None, told), opened)
}
