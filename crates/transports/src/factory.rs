//! What a builder makes of a connection or an endpoint: a protocol from a factory, or something that stands on one.

use std::io;

use tidegate_protocols::{DatagramProtocol, DatagramTransport, Protocol, Transport};

/// What a builder of a connection makes of it; asyncio's `protocol_factory`, and whatever answers more than the
/// transport.
///
/// A function that answers a protocol is one, and is all that most programs need. Crates that stand on protocols
/// implement it, so that their connections have every option of ours.
pub trait ConnectionFactory {
    /// What the builder resolves to.
    type Opened;
    /// What is kept of the factory until the connection is open.
    type Kept;

    /// Looks at what was asked for when the builder is awaited, before anything else happens.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the builder answers that. As provided there is nothing.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the protocol; the connection stands, and `connection_made` follows.
    fn make(self) -> (Box<dyn Protocol>, Self::Kept);

    /// What the builder resolves to, now that the connection is open.
    fn opened(kept: Self::Kept, transport: Transport) -> Self::Opened;
}

impl<F, P> ConnectionFactory for F
where
    F: FnOnce() -> P,
    P: Protocol,
{
    type Opened = Transport;
    type Kept = ();

    fn make(self) -> (Box<dyn Protocol>, ()) {
        (Box::new(self()), ())
    }

    fn opened((): (), transport: Transport) -> Transport {
        transport
    }
}

/// What a server makes of each connection; asyncio's `protocol_factory`.
///
/// A function that answers a protocol is one, and is all that most programs need.
pub trait ProtocolFactory: 'static {
    /// Looks at what was asked for when the builder is awaited, before anything else happens.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the builder answers that. As provided there is nothing.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the protocol of one connection.
    fn make(&mut self) -> Box<dyn Protocol>;
}

impl<F, P> ProtocolFactory for F
where
    F: FnMut() -> P + 'static,
    P: Protocol,
{
    fn make(&mut self) -> Box<dyn Protocol> {
        Box::new(self())
    }
}

/// What the builder of a datagram endpoint makes of it; asyncio's `protocol_factory`, and whatever answers more than
/// the transport.
///
/// A function that answers a protocol is one, and is all that most programs need.
pub trait DatagramFactory: 'static {
    /// What the builder resolves to.
    type Opened;
    /// What is kept of the factory until the endpoint is open.
    type Kept;

    /// Looks at what was asked for when the builder is awaited, before anything else happens.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the builder answers that. As provided there is nothing.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the protocol; the socket is there, and `connection_made` follows.
    fn make(self) -> (Box<dyn DatagramProtocol>, Self::Kept);

    /// What the builder resolves to, now that the endpoint is open.
    fn opened(kept: Self::Kept, transport: DatagramTransport) -> Self::Opened;
}

impl<F, P> DatagramFactory for F
where
    F: FnOnce() -> P + 'static,
    P: DatagramProtocol,
{
    type Opened = DatagramTransport;
    type Kept = ();

    fn make(self) -> (Box<dyn DatagramProtocol>, ()) {
        (Box::new(self()), ())
    }

    fn opened((): (), transport: DatagramTransport) -> DatagramTransport {
        transport
    }
}
