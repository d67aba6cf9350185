//! A socket as a wire of datagrams.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::net::{self, AddressFamily, RecvFlags, SocketAddrAny, SocketAddrUnix};
use tidegate_protocols::{Address, SendtoError, UnixAddress};
use tidegate_reactor::{Interest, LoopHandle, Source, Watcher};

use super::offload;
use super::wire::{DatagramWire, Received};
use crate::socket::{QUIET, address_of};

/// The longest datagram over IPv4: what fits into a packet, less its headers.
const LONGEST_INET: usize = 65_507;
/// The longest over IPv6, where a packet's own header does not count.
const LONGEST_INET6: usize = 65_527;

/// A non-blocking socket that keeps datagrams apart and is registered with a loop.
///
/// Dropping it deregisters the descriptor, then closes it.
pub struct DatagramSocket {
    source: Source<OwnedFd>,
    family: AddressFamily,
    is_udp: bool,
    segments: bool,
    /// One receive may bring several.
    joins: bool,
    /// The last sender on a Unix socket, whose address is likely to be the next one's too.
    last_sender: Cell<Option<(SocketAddrUnix, Address)>>,
}

impl DatagramSocket {
    /// Registers `descriptor`, which must be a non-blocking datagram or raw socket, with no interest.
    ///
    /// With `segmentation`, datagrams of equal size leave together, and come together, where the system can do that.
    ///
    /// # Errors
    ///
    /// What registering with the loop answers: a closed loop, a descriptor that is registered already.
    pub fn new(
        handle: &LoopHandle,
        descriptor: OwnedFd,
        segmentation: bool,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<DatagramSocket> {
        let family = net::getsockname(&descriptor)?.address_family();
        let is_inet = matches!(family, AddressFamily::INET | AddressFamily::INET6);
        let is_udp = is_inet && is_udp(&descriptor);
        // By levels, since only a receive that finds nothing would tell that nothing is left, and that costs one more.
        let source = Source::new(handle, descriptor, Interest::NONE, watcher)?;
        let segments = segmentation && is_udp && offload::KNOWS_SEGMENTS;
        // Also if it is not to, since a socket that was given may have been told to before.
        let joins = is_udp && offload::join_segments(source.get_ref(), segments);
        Ok(DatagramSocket { source, family, is_udp, segments, joins, last_sender: Cell::new(None) })
    }

    fn fd(&self) -> &OwnedFd {
        self.source.get_ref()
    }

    fn sender(&self, from: Option<SocketAddrAny>) -> Address {
        let Some(from) = from else { return Address::Unnamed };
        if self.family != AddressFamily::UNIX {
            return address_of(from);
        }
        let Ok(unix) = SocketAddrUnix::try_from(from.clone()) else { return Address::Unnamed };
        let address = match self.last_sender.take() {
            Some((last, address)) if last == unix => address,
            _ => address_of(from),
        };
        self.last_sender.set(Some((unix, address.clone())));
        address
    }
}

impl DatagramWire for DatagramSocket {
    fn receive(&self, into: &mut [u8]) -> io::Result<Received> {
        if self.joins {
            let (length, size, from) = offload::receive_segments(self.fd(), into)?;
            return Ok(Received { length, size, from: self.sender(from) });
        }
        let (length, _, from) = net::recvfrom(self.fd(), into, RecvFlags::empty())?;
        Ok(Received { length, size: length, from: self.sender(from) })
    }

    fn send(&self, data: &[u8], to: Option<&Address>) -> io::Result<()> {
        match to {
            None => net::send(self.fd(), data, QUIET)?,
            Some(Address::Inet(address)) => net::sendto(self.fd(), data, QUIET, address)?,
            Some(Address::Unix(address)) => {
                net::sendto(self.fd(), data, QUIET, &unix_name(address)?)?
            }
            Some(Address::Unnamed) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(())
    }

    fn send_segments(&self, data: &[u8], size: usize, to: Option<&Address>) -> io::Result<()> {
        offload::send_segments(self.fd(), data, size, to.and_then(Address::as_inet))
    }

    fn can_send_segments(&self) -> bool {
        self.segments
    }

    fn check(&self, length: usize, to: Option<&Address>) -> Result<(), SendtoError> {
        let fits = match (self.family, to) {
            (_, None | Some(Address::Unnamed)) => true,
            (AddressFamily::INET, Some(Address::Inet(address))) => address.is_ipv4(),
            (AddressFamily::INET6, Some(Address::Inet(_))) => true,
            (AddressFamily::UNIX, Some(Address::Unix(_))) => true,
            (_, Some(_)) => false,
        };
        if let (false, Some(address)) = (fits, to) {
            return Err(SendtoError::WrongAddress { address: address.clone() });
        }
        let limit = match to {
            _ if !self.is_udp => return Ok(()),
            Some(Address::Inet(SocketAddr::V6(to))) if to.ip().to_ipv4_mapped().is_none() => {
                LONGEST_INET6
            }
            _ => LONGEST_INET,
        };
        if length > limit { Err(SendtoError::TooLong { length, limit }) } else { Ok(()) }
    }

    fn set_interest(&self, interest: Interest) {
        self.source.set_interest(interest);
    }

    fn release(&self) {
        self.source.release();
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd().as_fd())
    }

    fn sockname(&self) -> Option<Address> {
        net::getsockname(self.fd()).ok().map(address_of)
    }
}

/// Whether it is UDP that an internet socket speaks; where the system does not tell, whether it keeps datagrams apart.
fn is_udp(descriptor: &OwnedFd) -> bool {
    use rustix::net::sockopt;
    #[cfg(target_os = "linux")]
    let is_udp = matches!(sockopt::socket_protocol(descriptor), Ok(Some(net::ipproto::UDP)));
    #[cfg(not(target_os = "linux"))]
    let is_udp = matches!(sockopt::socket_type(descriptor), Ok(net::SocketType::DGRAM));
    is_udp
}

/// The system's form of a Unix address.
pub(crate) fn unix_name(address: &UnixAddress) -> io::Result<SocketAddrUnix> {
    if let Some(path) = address.as_path() {
        return Ok(SocketAddrUnix::new(path)?);
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_name() {
        return Ok(SocketAddrUnix::new_abstract_name(name)?);
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "abstract names of Unix sockets are known on Linux only",
    ))
}
