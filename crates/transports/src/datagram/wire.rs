//! The operations a datagram transport needs of what carries its datagrams.

use std::io;
use std::os::fd::BorrowedFd;

use tidegate_protocols::{Address, SendtoError};
use tidegate_reactor::Interest;

/// What carries the datagrams of an endpoint: a socket, or memory in tests.
///
/// A wire never blocks. It announces its readiness to the [`Watcher`](tidegate_reactor::Watcher) that
/// [`open`](super::open) hands to whoever makes it, and its readiness is level-triggered.
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) and [`Interrupted`](io::ErrorKind::Interrupted) mean "not now". Other errors
/// of the system (those with a number) are told to the protocol, and the endpoint goes on; any other error ends it.
pub trait DatagramWire: 'static {
    /// Receives one datagram, or several of equal length from one sender, which lie behind each other.
    ///
    /// # Errors
    ///
    /// See [`DatagramWire`].
    fn receive(&self, into: &mut [u8]) -> io::Result<Received>;

    /// Sends one datagram, whole or not at all: to an address, or to whom it is connected.
    ///
    /// # Errors
    ///
    /// See [`DatagramWire`]. The datagram was not sent then.
    fn send(&self, data: &[u8], to: Option<&Address>) -> io::Result<()>;

    /// Sends `data` as datagrams of `size` bytes, of which the last may be shorter: at most 64, and 65,507 bytes.
    ///
    /// It is called only if [`can_send_segments`](DatagramWire::can_send_segments). As provided it refuses.
    ///
    /// # Errors
    ///
    /// See [`DatagramWire`]. None of them was sent then, and each is sent by itself.
    fn send_segments(&self, data: &[u8], size: usize, to: Option<&Address>) -> io::Result<()> {
        let _ = (data, size, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether it may be asked to [send several at once](DatagramWire::send_segments); false unless overridden.
    fn can_send_segments(&self) -> bool {
        false
    }

    /// Whether a datagram of that length can be sent there at all; as provided it can. A remote address that has no name
    /// is given as [`Unnamed`](Address::Unnamed).
    ///
    /// # Errors
    ///
    /// [`SendtoError::WrongAddress`] and [`SendtoError::TooLong`].
    fn check(&self, length: usize, to: Option<&Address>) -> Result<(), SendtoError> {
        let _ = (length, to);
        Ok(())
    }

    /// Says which directions the watcher wants to hear of from now on.
    fn set_interest(&self, interest: Interest);

    /// The transport has begun to close: others may watch the descriptor again.
    fn release(&self) {}

    /// The descriptor, where there is one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The own address, if it can be told.
    fn sockname(&self) -> Option<Address> {
        None
    }
}

/// What one receive has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes there are.
    pub length: usize,
    /// How long each datagram is; the last one is what is left. One datagram alone has the whole length.
    pub size: usize,
    /// Who sent them.
    pub from: Address,
}
