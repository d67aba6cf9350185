//! What a program writes to receive datagrams: the callbacks of one endpoint.

use std::any::{Any, type_name};
use std::io;

use super::DatagramTransport;
use crate::{Address, Cause};

/// The callbacks of one datagram endpoint. Each has a default, so a protocol writes down what it cares for.
///
/// The endpoint owns it, and the program keeps what it needs of it by sharing: an `Rc<RefCell<P>>` is a
/// protocol itself. The asyncio counterpart is `asyncio.DatagramProtocol` (protocols.py), whose callbacks are
/// given no transport.
///
/// # The life of an endpoint
///
/// ```text
///   connection_made
///   ( datagram_received | error_received )*      with pause_writing and resume_writing, which strictly
///   connection_lost                              alternate, anywhere between the first and the last
/// ```
///
/// `connection_made` comes first and once, `connection_lost` last and once. Nothing is received after the
/// program has closed or aborted, or while reading is paused. Like all protocols, this one is called from the
/// loop only, never from inside of a method of a transport.
///
/// # What ends an endpoint
///
/// The program does, by [`close`](DatagramTransport::close), [`abort`](DatagramTransport::abort) or
/// [`fail`](DatagramTransport::fail), and so does the end of the loop. An error of the system is told to
/// [`error_received`](DatagramProtocol::error_received), and the endpoint goes on. A callback that fails or panics
/// is reported to the loop's exception handler, and the endpoint goes on too, or one bad packet would end a server.
/// The exception is `connection_made`: an endpoint whose greeting panics ends with that cause.
///
/// # Flow control
///
/// What the system does not take waits in memory, each datagram with its length and 8 bytes more. When *more than*
/// the high limit waits (64 KiB unless [set](DatagramTransport::set_write_buffer_limits)), `pause_writing` follows,
/// when *at most* the low one is left (16 KiB) `resume_writing`; [`sendto`](DatagramTransport::sendto) answers the
/// same at once.
///
/// Nothing of it says that the receiver keeps up: over loopback a socket hardly ever is full, and what the receiver has
/// no room for is dropped. Who sends much to one peer waits for its answers now and then.
///
/// On Linux a full socket makes senders wait. BSD and macOS have no flow control for datagrams: a send that finds no
/// room answers `ENOBUFS`, which goes to `error_received`, and that datagram is dropped. Protocols that run there
/// pace themselves. And nowhere does it mean that anything has arrived.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_protocols::{Address, DatagramProtocol, DatagramTransport};
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
/// ```
#[expect(unused_variables, reason = "the defaults do nothing, and the names are for the reader")]
pub trait DatagramProtocol: Any {
    /// The endpoint stands; asyncio's `connection_made`.
    ///
    /// Receiving starts when this has returned, unless it has paused or closed.
    fn connection_made(&mut self, transport: &DatagramTransport) {}

    /// One datagram came, whole, and perhaps empty; asyncio's `datagram_received`.
    ///
    /// `from` is who sent it: [`Address::Unnamed`] for a Unix socket without a name.
    ///
    /// # Errors
    ///
    /// One that is answered is reported to the exception handler, and the endpoint goes on.
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        Ok(())
    }

    /// The system answered an error to a send or a receive; asyncio's `error_received`. The endpoint goes on.
    ///
    /// What was to be sent then is dropped. On a connected endpoint `ConnectionRefused` says that an earlier datagram
    /// found nobody; the system does not say which, and of several it may tell one.
    ///
    /// # Errors
    ///
    /// One that is answered is reported to the exception handler, and the endpoint goes on.
    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        Ok(())
    }

    /// More than the high limit waits to be sent: hold back; asyncio's `pause_writing`.
    fn pause_writing(&mut self, transport: &DatagramTransport) {}

    /// At most the low limit is left: go on; asyncio's `resume_writing`. It may send or close.
    fn resume_writing(&mut self, transport: &DatagramTransport) {}

    /// The endpoint is gone and nothing follows; asyncio's `connection_lost`.
    ///
    /// `cause` is none after a close or an abort. The socket is closed as soon as this returns, and the protocol is
    /// dropped.
    fn connection_lost(&mut self, transport: &DatagramTransport, cause: Option<Cause>) {}

    /// What reports call the protocol: the name of its type.
    ///
    /// A protocol that stands for another forwards it.
    fn type_name(&self) -> &'static str {
        type_name::<Self>()
    }
}
