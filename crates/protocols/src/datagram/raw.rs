//! What a datagram transport is made of below its handle, and why it refuses to send.

use std::any::{Any, TypeId};
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::DatagramProtocol;
use crate::{Address, Cause, Flow, Waiter, WithProtocolError, WriteLimits};

/// Makes the next protocol of an endpoint of the present one.
pub type DatagramChange = Box<dyn FnOnce(Box<dyn DatagramProtocol>) -> Box<dyn DatagramProtocol>>;

/// What a [`DatagramTransport`](super::DatagramTransport) is made of below its handle.
///
/// Each method has its namesake there, which says what it means. What [`RawTransport`](crate::RawTransport) asks of its
/// implementations holds here as well: no method calls a protocol, each may be called at any time, and no user's value
/// is called, cloned, woken or dropped while a cell is borrowed.
pub trait RawDatagramTransport: 'static {
    /// Accepts a datagram.
    ///
    /// # Errors
    ///
    /// [`SendtoError`] for one that cannot be sent there; nothing has happened then.
    fn sendto(&self, data: &[u8], to: Option<&Address>) -> Result<Flow, SendtoError>;

    /// Offers everything to the system; ready when nothing waits any more, an error once an end has dropped something.
    fn poll_flush(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Closes, after everything was sent.
    fn close(&self);

    /// Ends the endpoint now, with no cause.
    fn abort(&self);

    /// Ends the endpoint now, with this cause. The first cause counts.
    fn fail(&self, cause: Cause);

    /// Whether it is closing or lost.
    fn is_closing(&self) -> bool;

    /// Stops receiving.
    fn pause_reading(&self);

    /// Goes on receiving; nothing is delivered before this returns.
    fn resume_reading(&self);

    /// Whether it receives.
    fn is_reading(&self) -> bool;

    /// What a send would answer.
    fn flow(&self) -> Flow;

    /// How many bytes wait, 8 for each datagram included.
    fn get_write_buffer_size(&self) -> usize;

    /// The present limits.
    fn get_write_buffer_limits(&self) -> WriteLimits;

    /// Sets the limits: they may pause at once, and resume when datagrams are sent next.
    fn set_write_buffer_limits(&self, limits: WriteLimits);

    /// Makes another protocol of the present one: at once, or when its callback returns. A change that
    /// panics ends the endpoint; one that comes after the loss is dropped unrun.
    fn change_protocol(&self, change: DatagramChange);

    /// Calls `look` with the protocol, unless that is out or gone. A panic of `look` goes on to the caller.
    ///
    /// # Errors
    ///
    /// [`Busy`](WithProtocolError::Busy) or [`Lost`](WithProtocolError::Lost).
    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn DatagramProtocol),
    ) -> Result<(), WithProtocolError>;

    /// Ready with the cause once `connection_lost` was delivered, or the loop closed.
    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>>;

    /// The only address it sends to; kept after the loss.
    fn peername(&self) -> Option<Address>;

    /// The own address; kept after the loss.
    fn sockname(&self) -> Option<Address>;

    /// The information of the type with the id `wanted`, if there is any.
    fn extra_info(&self, wanted: TypeId) -> Option<Rc<dyn Any>>;

    /// Calls `look` with the socket; false if there is none, or none any more.
    fn with_socket(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool;

    /// Counts of what was done so far.
    fn statistics(&self) -> DatagramStatistics;
}

/// What an endpoint has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramStatistics {
    /// Datagrams that came.
    pub datagrams_received: u64,
    /// The bytes in them.
    pub bytes_received: u64,
    /// Datagrams that the system has taken.
    pub datagrams_sent: u64,
    /// The bytes in them.
    pub bytes_sent: u64,
    /// Datagrams that were accepted and dropped, because the system would not have them.
    pub datagrams_dropped: u64,
    /// Datagrams that were accepted and that the system has not taken yet.
    pub waiting: usize,
    /// What they count for the flow: their bytes, and 8 for each.
    pub buffered: usize,
    /// For how long sending has been paused; none while it is not.
    pub paused_for: Option<Duration>,
}

/// Why a datagram was not accepted. Nothing has happened, and the endpoint goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendtoError {
    /// The endpoint sends to one address only, and it is not this one.
    OtherAddress {
        /// The one.
        remote: Address,
    },
    /// The endpoint sends to any address, and none was given.
    NoAddress,
    /// The address is of a kind to which the socket cannot send.
    WrongAddress {
        /// The address.
        address: Address,
    },
    /// No datagram can be so long: 65,507 bytes over IPv4 and 65,527 over IPv6.
    TooLong {
        /// How long it is, in bytes.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
}

impl fmt::Display for SendtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendtoError::OtherAddress { remote } => {
                write!(f, "Invalid address: must be None or {remote}")
            }
            SendtoError::NoAddress => {
                f.write_str("an endpoint without a remote address needs one for each datagram")
            }
            SendtoError::WrongAddress { address } => {
                write!(f, "Invalid address: this socket cannot send to {address}")
            }
            SendtoError::TooLong { length, limit } => {
                write!(f, "a datagram of {length} bytes is too long: at most {limit} can be sent")
            }
        }
    }
}

impl Error for SendtoError {}

impl From<SendtoError> for io::Error {
    fn from(error: SendtoError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_would_do_and_can_be_matched() {
        let remote = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 7)));
        // G-05
        let error = SendtoError::OtherAddress { remote };
        assert_eq!(error.to_string(), "Invalid address: must be None or 127.0.0.1:7");
        let outer = io::Error::from(error.clone());
        assert_eq!(outer.kind(), io::ErrorKind::InvalidInput);
        let inner = outer.get_ref().and_then(|inner| inner.downcast_ref::<SendtoError>());
        assert_eq!(inner, Some(&error));
    }
}
