//! The handle on a connection, as its protocol sees it.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Address, Cause, DetachError, Detached, Flow, LimitsError, Protocol, RawTransport, SendFdsError,
    TransportStatistics, Waiter, WithProtocolError, WriteLimits,
};

/// The handle on a connection, as its protocol sees it.
///
/// Clones are shares of one handle, and dropping them does nothing to the connection: the loop owns it.
/// Every method may be called at any time, with any borrow held, also after the connection was lost; none
/// ever calls a protocol. Two handles are the same connection if [`ptr_eq`](Transport::ptr_eq) says so.
///
/// The asyncio counterpart is `asyncio.Transport` (transports.py), and methods have its names. Those that
/// differ: `get_protocol` is [`with_protocol`](Transport::with_protocol), `get_extra_info` goes by type, its
/// `"socket"` is [`with_socket`](Transport::with_socket).
///
/// # Examples
///
/// ```
/// use tidegate_protocols::{Flow, Transport};
///
/// /// Sends as much of `rows` as the connection takes now.
/// fn send_some(transport: &Transport, rows: &mut impl Iterator<Item = String>) {
///     for row in rows {
///         if transport.write(row.as_bytes()) != Flow::Open {
///             break; // goes on in resume_writing
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Transport(Rc<Face>);

/// What the shares of a handle have in common. [`Transport::raise`] puts another transport behind it.
struct Face {
    raw: RefCell<Rc<dyn RawTransport>>,
}

/// Writing.
impl Transport {
    /// Sends `data`, which is copied if it cannot be sent at once.
    ///
    /// It never blocks. Inside a step of the loop (a callback, a step of a task) the bytes are gathered, and
    /// what the step wrote leaves together when it ends. Much leaves at once: 64 KiB in all, a piece of 16 KiB,
    /// or more than the high limit. A process that ends before
    /// the step does (`process::exit`, `exec`, a kill) loses them: [`flush`](Transport::flush) first.
    ///
    /// The answer says whether to go on; [`Flow::Closed`] means that the bytes were dropped. A closing
    /// connection that still sends takes more. Empty `data` does nothing.
    pub fn write(&self, data: &[u8]) -> Flow {
        self.raw().write(data)
    }

    /// As [`write`](Transport::write), of bytes that need not be copied: 4 KiB and more are kept as they are.
    pub fn write_bytes(&self, data: Bytes) -> Flow {
        self.raw().write_bytes(data)
    }

    /// As [`write`](Transport::write), of several pieces, which leave together and in order.
    ///
    /// ```
    /// # fn example(transport: &tidegate_protocols::Transport) {
    /// transport.writelines(["HTTP/1.0 200 OK\r\n", "\r\n"]);
    /// # }
    /// ```
    pub fn writelines<I>(&self, lines: I) -> Flow
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        // The iterator is a user's code: it is at its end before the transport is asked.
        let lines: Vec<I::Item> = lines.into_iter().collect();
        let lines: Vec<&[u8]> = lines.iter().map(AsRef::as_ref).collect();
        self.raw().writelines(&lines)
    }

    /// Offers everything to the system now, also if the future is not awaited; that waits until all is taken.
    ///
    /// # Errors
    ///
    /// The cause of the connection's loss, if bytes that were accepted could not be sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing about the bytes.
    pub fn flush(&self) -> Flush {
        // At once, so that a callback, which cannot wait, need not.
        let nobody = &mut Context::from_waker(Waker::noop());
        let _offered = self.raw().poll_flush(&Waiter::new(), nobody);
        Flush { transport: self.clone(), waiter: Waiter::new() }
    }

    /// Ends the writing direction: what was written before is sent, then the peer reads the end of the
    /// stream. Reading goes on. Further calls do nothing, and so do calls while the connection closes.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where [`can_write_eof`](Transport::can_write_eof) is
    /// false, or what the system answers if the end could be sent at once.
    pub fn write_eof(&self) -> io::Result<()> {
        self.raw().write_eof()
    }

    /// Whether the writing direction can be ended on its own.
    pub fn can_write_eof(&self) -> bool {
        self.raw().can_write_eof()
    }

    /// Sends `data` over a Unix socket, and with it `fds`, open descriptors that the peer gets copies of.
    ///
    /// What was written before leaves before, and what comes after leaves after: `data` and the descriptors go to
    /// the system in a call of their own, at once if it takes them. If the system takes nothing now they wait,
    /// in order with the bytes; what waits is closed if the connection is lost. However this ends, `fds` are ours
    /// no more: sent, refused or dropped, they are closed here.
    ///
    /// The peer finds the descriptors with the first of these bytes. On Linux the read that brings them may bring
    /// bytes from before, and none from after. A peer that has not opted in does not get them
    /// ([`take_fds`](Transport::take_fds)), and is not told.
    ///
    /// The answer is that of [`write`](Transport::write); no descriptors make this a write. asyncio has no
    /// counterpart for transports; Python's is `socket.send_fds()`.
    ///
    /// # Errors
    ///
    /// - A [`SendFdsError`]: no data, more than [`MAX_FDS`](crate::MAX_FDS) descriptors, not a Unix socket or one
    ///   with layers, or a file is being sent. Nothing has happened then.
    /// - What the system says to the descriptors, such as that too many are on their way (`ETOOMANYREFS`) or that
    ///   one of that kind cannot be passed (`EINVAL`). Nothing was sent, and the connection goes on. If they had to wait,
    ///   the same ends the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(transport: &tidegate_protocols::Transport) -> std::io::Result<()> {
    /// let log = std::fs::File::open("/var/log/messages")?;
    /// transport.send_with_fds(b"the log\n", vec![log.into()])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_with_fds(&self, data: &[u8], fds: Vec<OwnedFd>) -> io::Result<Flow> {
        SendFdsError::check(data.len(), fds.len())?;
        if fds.is_empty() {
            return Ok(self.write(data));
        }
        self.raw().send_with_fds(data, fds)
    }

    /// What a write would answer now.
    pub fn flow(&self) -> Flow {
        self.raw().flow()
    }

    /// How many bytes were accepted and not yet taken by the system, those of the present step included.
    pub fn get_write_buffer_size(&self) -> usize {
        self.raw().get_write_buffer_size()
    }

    /// The limits at which writing is paused and resumed.
    pub fn get_write_buffer_limits(&self) -> WriteLimits {
        self.raw().get_write_buffer_limits()
    }

    /// Sets the limits at which writing is paused and resumed, as [`WriteLimits::new`] makes them of one or
    /// both. Neither means the transport's default: 64 KiB and 16 KiB, or [`WriteLimits::TLS`].
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
        let raw = self.raw();
        let limits = match (high, low) {
            (None, None) => raw.default_write_buffer_limits(),
            _ => WriteLimits::new(high, low)?,
        };
        raw.set_write_buffer_limits(limits);
        Ok(())
    }
}

/// Reading.
impl Transport {
    /// Stops reading: neither data nor the end of the stream is noticed until
    /// [`resume_reading`](Transport::resume_reading). Nothing is lost.
    pub fn pause_reading(&self) {
        self.raw().pause_reading();
    }

    /// Goes on reading.
    pub fn resume_reading(&self) {
        self.raw().resume_reading();
    }

    /// Takes the descriptors that the peer has passed with the bytes that are being received.
    ///
    /// To be called inside of [`data_received`](Protocol::data_received) or
    /// [`buffer_updated`](Protocol::buffer_updated); what is not taken is closed when the callback returns. They
    /// are there only on a Unix socket that was opened with `receive_fds`; otherwise none enter the process. They
    /// are close-on-exec, and in the order in which they were passed: those of one
    /// [`send_with_fds`](Transport::send_with_fds) in one callback on Linux.
    pub fn take_fds(&self) -> Vec<OwnedFd> {
        self.raw().take_fds()
    }

    /// Whether reading goes on: not paused, not closing, and not at the end of the stream.
    pub fn is_reading(&self) -> bool {
        self.raw().is_reading()
    }

    /// Whether the peer was seen to hang up; it can be known while reading is paused.
    pub fn peer_hung_up(&self) -> bool {
        self.raw().peer_hung_up()
    }
}

/// Closing.
impl Transport {
    /// Closes: reading stops at once, what was written is still sent, then
    /// [`connection_lost`](Protocol::connection_lost) follows with no cause.
    ///
    /// A peer that never reads keeps it waiting; [`abort`](Transport::abort) still works. Input that was
    /// not read makes the system answer with a reset, which can destroy what was sent last: see
    /// [`close_lingering`](Transport::close_lingering).
    pub fn close(&self) {
        self.raw().close();
    }

    /// Ends the connection now: what was written in this step is offered once, what the system has refused
    /// is dropped, and [`connection_lost`](Protocol::connection_lost) follows with no cause.
    pub fn abort(&self) {
        self.raw().abort();
    }

    /// As [`close`](Transport::close), and reads on after everything is sent, so that the last bytes reach a
    /// peer that is still sending: until it ends too, or has sent `bytes` more, or `time` has passed. With no bytes it
    /// reads nothing more, and waits for nothing of the peer's.
    pub fn close_lingering(&self, bytes: usize, time: Duration) {
        self.raw().close_lingering(bytes, time);
    }

    /// As [`abort`](Transport::abort), with a cause for [`connection_lost`](Protocol::connection_lost).
    ///
    /// A cause that is no error of the operating system is reported to the loop's exception handler too.
    pub fn fail(&self, cause: Cause) {
        self.raw().fail(cause);
    }

    /// Whether the connection is closing or lost.
    pub fn is_closing(&self) -> bool {
        self.raw().is_closing()
    }

    /// Waits until [`connection_lost`](Protocol::connection_lost) was delivered, and answers with its cause.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; any number may wait.
    pub fn closed(&self) -> Closed {
        Closed { transport: self.clone(), waiter: Waiter::new() }
    }
}

/// The protocol.
impl Transport {
    /// Makes `protocol` the protocol of this connection: at once, or when the callback that is running
    /// returns. It gets every later callback, and no `connection_made`; the old one is dropped.
    ///
    /// Nor is it told what the old one was told: when that was paused, the new one gets its `resume_writing`
    /// without a `pause_writing` before. [`flow`](Transport::flow) says how things stand. Nor does it get
    /// bytes that the old one was given already: what came behind a handshake is the old one's to hand over.
    ///
    /// Several changes asked for in one callback are made in their order, so the last one stays.
    pub fn set_protocol(&self, protocol: impl Protocol) {
        self.raw().change_protocol(Box::new(|old| {
            drop(old);
            Box::new(protocol)
        }));
    }

    /// As [`set_protocol`](Transport::set_protocol), with the new protocol made of the old one.
    pub fn wrap_protocol(
        &self,
        wrap: impl FnOnce(Box<dyn Protocol>) -> Box<dyn Protocol> + 'static,
    ) {
        self.raw().change_protocol(Box::new(wrap));
    }

    /// Looks at the protocol, which must be of type `P`. The asyncio counterpart is `get_protocol`.
    ///
    /// It is the protocol that this handle belongs to: the program's, not that of a layer below. A `P` that
    /// was given to the connection as a `Box<dyn Protocol>` or an `Rc<RefCell<P>>` is seen as well.
    ///
    /// While the loop does not run, `look` may run it. What comes for this protocol meanwhile is told afterwards, and
    /// nothing is read for it before.
    ///
    /// # Errors
    ///
    /// [`Busy`](WithProtocolError::Busy) inside one of its callbacks, or while a share of it is borrowed,
    /// [`OtherType`](WithProtocolError::OtherType) if it is no `P`, [`Lost`](WithProtocolError::Lost) once
    /// the connection is.
    ///
    /// # Panics
    ///
    /// If `look` does, or a change of protocol that it asked for; the latter ends the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tidegate_protocols::{Protocol, Transport, WithProtocolError};
    /// struct Counter(u32);
    /// impl Protocol for Counter {}
    ///
    /// fn count(transport: &Transport) -> Result<u32, WithProtocolError> {
    ///     transport.with_protocol(|counter: &mut Counter| counter.0)
    /// }
    /// ```
    pub fn with_protocol<P: Protocol, R>(
        &self,
        look: impl FnOnce(&mut P) -> R,
    ) -> Result<R, WithProtocolError> {
        let (mut look, mut answer) = (Some(look), Err(WithProtocolError::OtherType));
        let raw = self.raw();
        let looked = catch_unwind(AssertUnwindSafe(|| {
            raw.with_protocol(&mut |protocol| {
                if let Some(look) = look.take() {
                    answer = look_at(protocol, look);
                }
            })
        }));
        match looked {
            Ok(looked) => looked.and(answer),
            Err(payload) => {
                // If it was a change of protocol asked for by `look`, nobody is left to receive.
                if raw.with_protocol(&mut |_| {}) == Err(WithProtocolError::Lost) {
                    raw.fail(Cause::of_panic(&*payload));
                }
                resume_unwind(payload)
            }
        }
    }
}

/// What is known of the connection.
impl Transport {
    /// The peer's address; kept after the loss. A client on a Unix socket mostly has none of its own, and is
    /// [`Unnamed`](Address::Unnamed).
    pub fn peername(&self) -> Option<Address> {
        self.raw().peername()
    }

    /// The own address; kept after the loss.
    pub fn sockname(&self) -> Option<Address> {
        self.raw().sockname()
    }

    /// The information of type `T`, such as [`PeerName`](crate::PeerName), if there is any.
    ///
    /// ```
    /// # fn example(transport: &tidegate_protocols::Transport) {
    /// use tidegate_protocols::PeerName;
    ///
    /// if let Some(PeerName(address)) = transport.get_extra_info() {
    ///     println!("connected to {address}");
    /// }
    /// # }
    /// ```
    pub fn get_extra_info<T: Any + Clone>(&self) -> Option<T> {
        let found = self.raw().extra_info(TypeId::of::<T>())?;
        found.downcast_ref::<T>().cloned()
    }

    /// Looks at the socket, to set an option, say. None if there is no socket, or none any more.
    ///
    /// Reading, writing or closing it behind the transport's back breaks the connection.
    pub fn with_socket<R>(&self, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        let (mut look, mut answer) = (Some(look), None);
        self.raw().with_socket(&mut |socket| {
            if let Some(look) = look.take() {
                answer = Some(look(socket));
            }
        });
        answer
    }

    /// Counts of what the transport has done so far.
    pub fn statistics(&self) -> TransportStatistics {
        self.raw().statistics()
    }
}

/// Going on elsewhere.
impl Transport {
    /// Takes the connection out of its loop, to go on with it in another one: in another thread, say.
    ///
    /// What was written is offered to the system once more. Then reading stops, and the answer carries the socket
    /// with all that is unread and unsent: no byte is lost, and none is sent or received twice. The end of the
    /// writing direction goes along too, sent or not; an end of the peer's is found again by whoever reads next.
    /// To this end it is an end like any other: writes answer [`Flow::Closed`], a flush that still had something to
    /// send fails, and [`connection_lost`](Protocol::connection_lost) follows with no cause, from the loop.
    ///
    /// It may be called inside of every callback. What `data_received` was given counts as read; the part of it that
    /// is for the next protocol is put back by [`with_unread`](Detached::with_unread).
    ///
    /// Options of the socket stay as they are. Write limits and the limits of a server stay behind.
    ///
    /// asyncio has no counterpart.
    ///
    /// # Errors
    ///
    /// Before `connection_made` was called; once the connection is closing or lost; with a layer in it, also if that
    /// has stepped aside; where it is not carried by one descriptor, as in memory; and inside of
    /// [`with_socket`](Transport::with_socket). See [`DetachError`]. The connection goes on as if nothing had
    /// happened.
    ///
    /// # Examples
    ///
    /// Who greets with a `!` is served elsewhere:
    ///
    /// ```
    /// use std::io;
    /// use std::sync::mpsc::Sender;
    /// use tidegate_protocols::{Detached, Protocol, Transport};
    ///
    /// struct Usher(Sender<Detached>);
    ///
    /// impl Protocol for Usher {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
    ///         if let Some(rest) = data.strip_prefix(b"!") {
    ///             let detached = transport.detach()?.with_unread(rest);
    ///             // Nobody there to take it: then it is closed.
    ///             let _ = self.0.send(detached);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn detach(&self) -> Result<Detached, DetachError> {
        self.raw().detach()
    }
}

/// For those who write transports and layers.
impl Transport {
    /// A handle on `raw`.
    pub fn new(raw: Rc<dyn RawTransport>) -> Transport {
        Transport(Rc::new(Face { raw: RefCell::new(raw) }))
    }

    /// What is behind the handle now.
    pub fn raw(&self) -> Rc<dyn RawTransport> {
        self.0.raw.borrow().clone()
    }

    /// Puts another transport behind this handle and all its shares, one that stands on the present one.
    ///
    /// `above` is given a private handle on what was behind this one. The callbacks that come from there are
    /// bound to it before `above` is called, so they are given the private handle from now on;
    /// [`rebind`](RawTransport::rebind) binds them otherwise. Nothing that is written to a share of this
    /// handle afterwards can pass the new transport by. This is what `start_tls` is made of.
    ///
    /// # Panics
    ///
    /// If `above` does; this handle is then as it was, and callbacks are given the private one.
    pub fn raise(&self, above: impl FnOnce(Transport) -> Rc<dyn RawTransport>) {
        let below = Transport::new(self.raw());
        below.raw().rebind(below.clone());
        let above = above(below);
        let before = self.0.raw.replace(above);
        drop(before);
    }

    /// Whether both are shares of one handle.
    pub fn ptr_eq(&self, other: &Transport) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// A handle that does not keep what it names in memory.
    pub fn downgrade(&self) -> WeakTransport {
        WeakTransport(Rc::downgrade(&self.0))
    }
}

/// Finds the `P` that a protocol is, holds or shares.
fn look_at<P: Protocol, R>(
    protocol: &mut dyn Protocol,
    look: impl FnOnce(&mut P) -> R,
) -> Result<R, WithProtocolError> {
    let protocol: &mut dyn Any = protocol;
    if let Some(protocol) = protocol.downcast_mut::<P>() {
        return Ok(look(protocol));
    }
    if let Some(boxed) = protocol.downcast_mut::<Box<dyn Protocol>>() {
        return look_at(&mut **boxed, look);
    }
    match protocol.downcast_ref::<Rc<RefCell<P>>>().map(|share| share.try_borrow_mut()) {
        Some(Ok(mut protocol)) => Ok(look(&mut protocol)),
        Some(Err(_)) => Err(WithProtocolError::Busy),
        None => Err(WithProtocolError::OtherType),
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("peername", &self.peername())
            .field("closing", &self.is_closing())
            .finish_non_exhaustive()
    }
}

/// A [`Transport`] that does not keep what it names in memory.
#[derive(Clone, Debug)]
pub struct WeakTransport(Weak<Face>);

impl WeakTransport {
    /// The handle, if anything still has one.
    pub fn upgrade(&self) -> Option<Transport> {
        self.0.upgrade().map(Transport)
    }
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Face")
    }
}

/// The future of [`Transport::closed`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Closed {
    transport: Transport,
    waiter: Waiter,
}

impl Future for Closed {
    type Output = Option<Cause>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        self.transport.raw().poll_closed(&self.waiter, context)
    }
}

/// The future of [`Transport::flush`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Flush {
    transport: Transport,
    waiter: Waiter,
}

impl Future for Flush {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.raw().poll_flush(&self.waiter, context)
    }
}

#[cfg(test)]
mod tests;
