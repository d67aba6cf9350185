//! The handle on a datagram endpoint.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{DatagramProtocol, DatagramStatistics, RawDatagramTransport, SendtoError};
use crate::{Address, Cause, Flow, LimitsError, Waiter, WithProtocolError, WriteLimits};

/// The handle on a datagram endpoint, as its protocol sees it.
///
/// Clones are shares of one handle, and dropping them does nothing to the endpoint: the loop owns it. Every method may
/// be called at any time, with any borrow held, also after the endpoint was lost; none ever calls a protocol.
///
/// The asyncio counterpart is `asyncio.DatagramTransport` (transports.py), and methods have its names.
#[derive(Clone)]
pub struct DatagramTransport(Rc<dyn RawDatagramTransport>);

/// Where a datagram goes: made of an [`Address`] or a [`SocketAddr`], or of none, for an endpoint that has one remote
/// address.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// The endpoint's remote address.
    Remote,
    /// This address.
    Address(&'a Address),
    /// This internet address.
    Inet(SocketAddr),
}

impl<'a> From<&'a Address> for Destination<'a> {
    fn from(address: &'a Address) -> Destination<'a> {
        Destination::Address(address)
    }
}

impl<'a> From<Option<&'a Address>> for Destination<'a> {
    fn from(address: Option<&'a Address>) -> Destination<'a> {
        address.map_or(Destination::Remote, Destination::Address)
    }
}

impl From<SocketAddr> for Destination<'_> {
    fn from(address: SocketAddr) -> Self {
        Destination::Inet(address)
    }
}

/// Sending.
impl DatagramTransport {
    /// Sends `data` as one datagram, which is copied if it cannot be sent at once.
    ///
    /// `to` is an address, or `None` on an endpoint with a remote address. Host names are not resolved here. Empty
    /// `data` is sent as an empty datagram.
    ///
    /// It never blocks. Inside a step of the loop (a callback, a step of a task) datagrams are gathered, and what the
    /// step sent leaves together when it ends, or earlier when 64 KiB or more than the high limit have come together.
    /// A process that ends before the step does loses them: [`flush`](DatagramTransport::flush) first.
    ///
    /// The answer says whether to go on; [`Flow::Closed`] means that the datagram was dropped. A closing endpoint that
    /// still sends takes more. An error of the system comes later, by
    /// [`error_received`](DatagramProtocol::error_received).
    ///
    /// # Errors
    ///
    /// [`SendtoError`] if it cannot be sent there. Nothing has happened then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use tidegate_protocols::{DatagramTransport, SendtoError};
    ///
    /// fn greet(transport: &DatagramTransport, to: SocketAddr) -> Result<(), SendtoError> {
    ///     transport.sendto(b"hello", to)?;
    ///     Ok(())
    /// }
    ///
    /// fn greet_the_remote(transport: &DatagramTransport) -> Result<(), SendtoError> {
    ///     transport.sendto(b"hello", None)?;
    ///     Ok(())
    /// }
    /// ```
    pub fn sendto<'a>(
        &self,
        data: &[u8],
        to: impl Into<Destination<'a>>,
    ) -> Result<Flow, SendtoError> {
        match to.into() {
            Destination::Remote => self.0.sendto(data, None),
            Destination::Address(address) => self.0.sendto(data, Some(address)),
            Destination::Inet(address) => self.0.sendto(data, Some(&Address::Inet(address))),
        }
    }

    /// Offers everything to the system now, also if the future is not awaited; that waits until nothing waits any more.
    ///
    /// # Errors
    ///
    /// The cause of the endpoint's loss, or that it was aborted, if datagrams were dropped by it. One that the system
    /// refused is none of this one's: [`error_received`](DatagramProtocol::error_received) is told.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing about the datagrams.
    pub fn flush(&self) -> DatagramFlush {
        // At once, so that a callback, which cannot wait, need not.
        let nobody = &mut Context::from_waker(Waker::noop());
        let _offered = self.0.poll_flush(&Waiter::new(), nobody);
        DatagramFlush { transport: self.clone(), waiter: Waiter::new() }
    }

    /// What a send would answer now.
    pub fn flow(&self) -> Flow {
        self.0.flow()
    }

    /// How much waits to be sent: the bytes of each datagram and 8 more, those of the present step included.
    pub fn get_write_buffer_size(&self) -> usize {
        self.0.get_write_buffer_size()
    }

    /// The limits at which sending is paused and resumed.
    pub fn get_write_buffer_limits(&self) -> WriteLimits {
        self.0.get_write_buffer_limits()
    }

    /// Sets the limits at which sending is paused and resumed, as [`WriteLimits::new`] makes them of one or both.
    ///
    /// Lower limits may pause at once; higher ones never resume by themselves, the next sending does.
    ///
    /// # Errors
    ///
    /// If `low` is above `high`; the old limits stay.
    pub fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), LimitsError> {
        self.0.set_write_buffer_limits(WriteLimits::new(high, low)?);
        Ok(())
    }
}

/// Receiving.
impl DatagramTransport {
    /// Stops receiving until [`resume_reading`](DatagramTransport::resume_reading). What comes meanwhile waits in the
    /// system's buffer, which drops what it has no room for. asyncio has this for streams only.
    pub fn pause_reading(&self) {
        self.0.pause_reading();
    }

    /// Goes on receiving.
    pub fn resume_reading(&self) {
        self.0.resume_reading();
    }

    /// Whether receiving goes on: not paused, and not closing.
    pub fn is_reading(&self) -> bool {
        self.0.is_reading()
    }
}

/// Closing.
impl DatagramTransport {
    /// Closes: receiving stops at once, what waits is still sent, then
    /// [`connection_lost`](DatagramProtocol::connection_lost) follows with no cause.
    pub fn close(&self) {
        self.0.close();
    }

    /// Closes at once: what the system has not taken is dropped, and
    /// [`connection_lost`](DatagramProtocol::connection_lost) follows with no cause.
    ///
    /// Datagrams of the present step are offered once more, unless earlier ones wait already.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// As [`abort`](DatagramTransport::abort), with a cause for
    /// [`connection_lost`](DatagramProtocol::connection_lost).
    ///
    /// A cause that is no error of the operating system is reported to the loop's exception handler too.
    pub fn fail(&self, cause: Cause) {
        self.0.fail(cause);
    }

    /// Whether the endpoint is closing or lost.
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    /// Waits until [`connection_lost`](DatagramProtocol::connection_lost) was delivered, and answers with its cause.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; any number may wait.
    pub fn closed(&self) -> DatagramClosed {
        DatagramClosed { transport: self.clone(), waiter: Waiter::new() }
    }
}

/// The protocol.
impl DatagramTransport {
    /// Makes `protocol` the protocol of this endpoint: at once, or when the callback that is running returns.
    ///
    /// It gets every later callback, and no `connection_made`; the old one is dropped. When that was paused, the new
    /// one gets its `resume_writing` without a `pause_writing` before; [`flow`](DatagramTransport::flow) says how
    /// things stand.
    pub fn set_protocol(&self, protocol: impl DatagramProtocol) {
        self.0.change_protocol(Box::new(|old| {
            drop(old);
            Box::new(protocol)
        }));
    }

    /// Looks at the protocol, which must be of type `P`. The asyncio counterpart is `get_protocol`.
    ///
    /// A `P` that was given to the endpoint as a `Box<dyn DatagramProtocol>` or an `Rc<RefCell<P>>` is seen as well.
    ///
    /// While the loop does not run, `look` may run it. What comes for this protocol meanwhile is told afterwards, and
    /// nothing is received before.
    ///
    /// # Errors
    ///
    /// [`Busy`](WithProtocolError::Busy) inside one of its callbacks, or while a share of it is borrowed,
    /// [`OtherType`](WithProtocolError::OtherType) if it is no `P`, [`Lost`](WithProtocolError::Lost) once the
    /// endpoint is.
    ///
    /// # Panics
    ///
    /// If `look` does, or a change of protocol that it asked for; the latter ends the endpoint.
    pub fn with_protocol<P: DatagramProtocol, R>(
        &self,
        look: impl FnOnce(&mut P) -> R,
    ) -> Result<R, WithProtocolError> {
        let (mut look, mut answer) = (Some(look), Err(WithProtocolError::OtherType));
        let looked = catch_unwind(AssertUnwindSafe(|| {
            self.0.with_protocol(&mut |protocol| {
                if let Some(look) = look.take() {
                    answer = look_at(protocol, look);
                }
            })
        }));
        match looked {
            Ok(looked) => looked.and(answer),
            Err(payload) => {
                // If it was a change of protocol asked for by `look`, nobody is left to receive.
                if self.0.with_protocol(&mut |_| {}) == Err(WithProtocolError::Lost) {
                    self.0.fail(Cause::of_panic(&*payload));
                }
                resume_unwind(payload)
            }
        }
    }
}

/// What is known of the endpoint.
impl DatagramTransport {
    /// The address that it sends to when it is given none; kept after the loss.
    pub fn peername(&self) -> Option<Address> {
        self.0.peername()
    }

    /// The own address; kept after the loss.
    pub fn sockname(&self) -> Option<Address> {
        self.0.sockname()
    }

    /// The information of type `T`, such as [`SockName`](crate::SockName), if there is any.
    pub fn get_extra_info<T: Any + Clone>(&self) -> Option<T> {
        let found = self.0.extra_info(TypeId::of::<T>())?;
        found.downcast_ref::<T>().cloned()
    }

    /// Looks at the socket, to set an option, say. None if there is no socket, or none any more.
    ///
    /// Sending, receiving or closing it behind the transport's back breaks the endpoint, and so does connecting it.
    pub fn with_socket<R>(&self, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        let (mut look, mut answer) = (Some(look), None);
        self.0.with_socket(&mut |socket| {
            if let Some(look) = look.take() {
                answer = Some(look(socket));
            }
        });
        answer
    }

    /// Counts of what the endpoint has done so far.
    pub fn statistics(&self) -> DatagramStatistics {
        self.0.statistics()
    }
}

/// For those who write datagram transports.
impl DatagramTransport {
    /// A handle on `raw`.
    pub fn new(raw: Rc<dyn RawDatagramTransport>) -> DatagramTransport {
        DatagramTransport(raw)
    }

    /// Whether both are handles on one endpoint.
    pub fn ptr_eq(&self, other: &DatagramTransport) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// Finds the `P` that a protocol is, holds or shares.
fn look_at<P: DatagramProtocol, R>(
    protocol: &mut dyn DatagramProtocol,
    look: impl FnOnce(&mut P) -> R,
) -> Result<R, WithProtocolError> {
    let protocol: &mut dyn Any = protocol;
    if let Some(protocol) = protocol.downcast_mut::<P>() {
        return Ok(look(protocol));
    }
    if let Some(boxed) = protocol.downcast_mut::<Box<dyn DatagramProtocol>>() {
        return look_at(&mut **boxed, look);
    }
    match protocol.downcast_ref::<Rc<RefCell<P>>>().map(|share| share.try_borrow_mut()) {
        Some(Ok(mut protocol)) => Ok(look(&mut protocol)),
        Some(Err(_)) => Err(WithProtocolError::Busy),
        None => Err(WithProtocolError::OtherType),
    }
}

impl fmt::Debug for DatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramTransport")
            .field("sockname", &self.sockname())
            .field("peername", &self.peername())
            .field("closing", &self.is_closing())
            .finish_non_exhaustive()
    }
}

/// The future of [`DatagramTransport::closed`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct DatagramClosed {
    transport: DatagramTransport,
    waiter: Waiter,
}

impl Future for DatagramClosed {
    type Output = Option<Cause>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        self.transport.0.poll_closed(&self.waiter, context)
    }
}

/// The future of [`DatagramTransport::flush`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct DatagramFlush {
    transport: DatagramTransport,
    waiter: Waiter,
}

impl Future for DatagramFlush {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.0.poll_flush(&self.waiter, context)
    }
}
