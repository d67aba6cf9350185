//! What stands between a protocol and the wire: TLS, a proxy header, anything a user writes.
//!
//! A layer is a protocol to what is below it and a transport to what is above it. Neither end knows of it:
//! [`create_connection`] and [`create_server`] take layers as options and know none of them by name.
//!
//! ```text
//!   the program's protocol          callbacks ▲      │ calls
//!        its Transport ─────────────────────  │ ───  ▼ ───────────
//!   the layer            a RawTransport above │      │ a Protocol below
//!        a private Transport ───────────────  │ ───  ▼ ───────────
//!   the stream transport
//! ```
//!
//! [`create_connection`]: https://docs.rs/tidegate-transports
//! [`create_server`]: https://docs.rs/tidegate-transports

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;

use crate::{Cause, Flow, Protocol, Transport};

pub use crate::transparent::Transparent;

/// Makes the protocol that stands between a program's protocol and what is below.
///
/// One value serves many connections, so it holds configuration only.
///
/// # Examples
///
/// A layer that only looks at the beginning needs no transport of its own: it hands the one below on and
/// steps aside.
///
/// ```
/// use std::io;
/// use tidegate_protocols::layer::{Above, Gate, Layer};
/// use tidegate_protocols::{Incoming, Protocol, Transport};
///
/// /// Lets in who knocks with a `!` first.
/// struct Knock;
///
/// impl Layer for Knock {
///     fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
///         Box::new(Door(Some((above.protocol, gate))))
///     }
/// }
///
/// struct Door(Option<(Box<dyn Protocol>, Gate)>);
///
/// impl Protocol for Door {
///     fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
///         // Not a byte more than the knock is read: the rest is for the protocol above.
///         let mut knock = [0];
///         if incoming.read(&mut knock).is_none() {
///             return Ok(());
///         }
///         if knock != *b"!" {
///             return Err(io::Error::new(io::ErrorKind::InvalidData, "that was no knock"));
///         }
///         if let Some((mut above, gate)) = self.0.take() {
///             above.connection_made(transport);
///             gate.open(transport);
///             transport.wrap_protocol(|_door| above);
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// One that changes what is written implements [`RawTransport`](crate::RawTransport) as well; the source of
/// [`Transparent`] is the pattern.
pub trait Layer: 'static {
    /// Says what is wrong with its configuration, before anything is opened. Nothing unless overridden.
    ///
    /// # Errors
    ///
    /// Whatever the layer finds; the builder that it was given to answers it.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// The protocol for what is below, which carries `above` and tells `gate` once it has opened.
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol>;
}

/// What a layer is to carry.
pub struct Above {
    /// The protocol above it.
    pub protocol: Box<dyn Protocol>,
    /// Whether that protocol has had its `connection_made` already, as in STARTTLS.
    pub greeted: bool,
    /// The flow that it was told last.
    pub flow: Flow,
}

impl Above {
    /// A protocol at its beginning.
    pub fn new(protocol: Box<dyn Protocol>) -> Above {
        Above { protocol, greeted: false, flow: Flow::Open }
    }
}

impl fmt::Debug for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Above")
            .field("protocol", &Protocol::type_name(&*self.protocol))
            .field("greeted", &self.greeted)
            .field("flow", &self.flow)
            .finish()
    }
}

/// Where a layer tells, once, whether it has opened.
///
/// Dropping it untold means that it has failed. With several layers on one connection only the top one's
/// word opens it, and each one's failure fails it.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use tidegate_protocols::layer::Gate;
///
/// let failed = Rc::new(Cell::new(false));
/// let note = failed.clone();
/// let gate = Gate::new(Some("example.org"), move |word| note.set(word.is_err()));
/// assert_eq!(gate.host(), Some("example.org"));
/// drop(gate);
/// assert!(failed.get());
/// ```
pub struct Gate {
    host: Option<Rc<str>>,
    told: Rc<Told>,
    top: bool,
    untold: bool,
}

/// Whoever opens the connection; the first word counts.
struct Told(Cell<Option<Opener>>);

type Opener = Box<dyn FnOnce(Result<Transport, Cause>)>;

impl Told {
    fn tell(&self, word: Result<Transport, Cause>) {
        if let Some(opener) = self.0.take() {
            opener(word);
        }
    }
}

impl Gate {
    /// The gate of a connection's only layer. `told` is called once.
    pub fn new(host: Option<&str>, told: impl FnOnce(Result<Transport, Cause>) + 'static) -> Gate {
        let told = Rc::new(Told(Cell::new(Some(Box::new(told)))));
        Gate { host: host.map(Rc::from), told, top: true, untold: true }
    }

    /// The host that is being connected to, where there is one: the default name to verify.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The layer has opened; `transport` is what the protocol above it sees.
    pub fn open(mut self, transport: &Transport) {
        self.untold = false;
        if self.top {
            self.told.tell(Ok(transport.clone()));
        }
    }

    /// The layer cannot open.
    pub fn fail(mut self, cause: Cause) {
        self.untold = false;
        self.told.tell(Err(cause));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.untold {
            let text = "the connection was lost before its layers had opened";
            self.told.tell(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text).into()));
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Puts `layers` under `protocol`, the first next to the wire, and answers with the protocol for the wire.
///
/// `told` is called once: with the transport of the top layer when that has opened, or with the cause if
/// any has failed. Without layers it is dropped.
pub fn stack(
    layers: &[Rc<dyn Layer>],
    protocol: Box<dyn Protocol>,
    host: Option<&str>,
    told: impl FnOnce(Result<Transport, Cause>) + 'static,
) -> Box<dyn Protocol> {
    let told = Rc::new(Told(Cell::new(Some(Box::new(told)))));
    let host: Option<Rc<str>> = host.map(Rc::from);
    let (mut protocol, mut top) = (protocol, true);
    for layer in layers.iter().rev() {
        let gate = Gate { host: host.clone(), told: told.clone(), top, untold: true };
        protocol = layer.under(Above::new(protocol), gate);
        top = false;
    }
    protocol
}

/// A builder that takes layers.
pub trait Layered: Sized {
    /// Adds a layer: the first is next to the wire, each further one stands on those before it.
    fn layer(self, layer: impl Layer) -> Self;
}

/// A builder of connections that are made, to whose host a layer may turn for a name.
pub trait Connects: Layered {}

/// A builder of servers, and of connections that were accepted.
pub trait Serves: Layered {}

#[cfg(test)]
mod tests;
