//! What a transport is made of below its handle.

use std::any::{Any, TypeId};
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Address, Cause, DetachError, Detached, Flow, Protocol, SendFdsError, Transport, Turn,
    TurnError, Waiter, WriteLimits,
};

/// Makes the next protocol of the present one; see [`Transport::wrap_protocol`].
pub type Change = Box<dyn FnOnce(Box<dyn Protocol>) -> Box<dyn Protocol>>;

/// What a [`Transport`] is made of below its handle: implemented by stream transports and by layers.
///
/// Each method has its namesake on [`Transport`], which says what it means; here is only what an
/// implementation must keep to besides:
///
/// - No method calls a protocol. What is owed to it is delivered later, by the loop.
/// - Each may be called at any time: in a callback, in a destructor, and after the connection was lost,
///   when those that act do nothing.
/// - No user's value (protocol, change, waker, [`Bytes`] with an owner) is called, cloned, woken or dropped
///   while a cell is borrowed.
///
/// asyncio has no counterpart: there, one class is both.
pub trait RawTransport: 'static {
    /// Accepts a copy of `data`, unless it can be sent at once.
    fn write(&self, data: &[u8]) -> Flow;

    /// Accepts `data`, and keeps it as it is if that is worth it.
    fn write_bytes(&self, data: Bytes) -> Flow;

    /// Accepts copies of `lines` in their order, empty ones skipped.
    fn writelines(&self, lines: &[&[u8]]) -> Flow;

    /// Passes `fds` along with `data`, which is not empty. As provided it refuses, as every layer does: what a
    /// layer makes of bytes has no place for descriptors.
    ///
    /// # Errors
    ///
    /// [`SendFdsError::Unsupported`], before anything has happened; what the system says to descriptors that it
    /// will not pass.
    fn send_with_fds(&self, data: &[u8], fds: Vec<OwnedFd>) -> io::Result<Flow> {
        let _closed = (data, fds);
        Err(SendFdsError::Unsupported.into())
    }

    /// The descriptors that came with the bytes being received; none unless overridden.
    fn take_fds(&self) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// Offers everything to the system; ready when nothing waits any more, an error once bytes were lost.
    fn poll_flush(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Grants the right to send something that was not written, in its place among what is; see [`Turn`].
    ///
    /// No transport grants any unless it overrides this. One that keeps bytes of its own between `write` and the
    /// transport below, as layers do, holds them back behind the turn.
    fn take_turn(&self) -> Result<Box<dyn Turn>, TurnError> {
        Err(TurnError::Unsupported)
    }

    /// Whether somebody has such a turn now. One that grants turns says so.
    fn turn_is_taken(&self) -> bool {
        false
    }

    /// Ends the writing direction, after what was written before.
    fn write_eof(&self) -> io::Result<()>;

    /// Whether that is possible.
    fn can_write_eof(&self) -> bool;

    /// Closes, after everything was sent.
    fn close(&self);

    /// Ends the connection now, with no cause.
    fn abort(&self);

    /// Closes, and reads on for a while.
    fn close_lingering(&self, bytes: usize, time: Duration);

    /// Ends the connection now, with this cause. The first cause counts.
    fn fail(&self, cause: Cause);

    /// Whether it is closing or lost.
    fn is_closing(&self) -> bool;

    /// Stops reading.
    fn pause_reading(&self);

    /// Goes on reading; nothing is delivered before this returns.
    fn resume_reading(&self);

    /// Whether it reads.
    fn is_reading(&self) -> bool;

    /// What a write would answer.
    fn flow(&self) -> Flow;

    /// What the protocol was told of the flow last, whatever it is owed since: for layers that come later.
    fn flow_told(&self) -> Flow;

    /// How many bytes wait, in this transport and in all below it.
    fn get_write_buffer_size(&self) -> usize;

    /// The present limits.
    fn get_write_buffer_limits(&self) -> WriteLimits;

    /// Sets the limits: they may pause at once, and resume when bytes are sent next.
    fn set_write_buffer_limits(&self, limits: WriteLimits);

    /// The number of waiting bytes above which the connection is aborted, if there is one: a layer that keeps bytes
    /// back from the transport below keeps to it.
    fn abort_above(&self) -> Option<usize> {
        None
    }

    /// Replaces that number; with none there is no limit. One that has a limit keeps to this one from now on.
    ///
    /// A layer that makes more bytes of what is written takes the number upon itself, and raises it below by what it
    /// adds: users count what they wrote.
    fn set_abort_above(&self, limit: Option<usize>) {
        let _no_limit = limit;
    }

    /// The limits that a user sets by giving neither; 64 KiB and 16 KiB unless overridden.
    fn default_write_buffer_limits(&self) -> WriteLimits {
        WriteLimits::default()
    }

    /// Makes another protocol of the present one: at once, or when its callback returns. A change that
    /// panics ends the connection; one that comes after the loss is dropped unrun.
    ///
    /// One that is made at once may run the loop, as `look` may in [`with_protocol`](RawTransport::with_protocol); a layer
    /// makes it with [`Slot::change_above`](crate::Slot::change_above).
    fn change_protocol(&self, change: Change);

    /// Calls `look` with the protocol, unless that is out or gone. A panic of `look` goes on to the caller.
    ///
    /// `look` may run the loop. What is due to the protocol meanwhile is kept until it is home
    /// ([`Slot::when_home`](crate::Slot::when_home)); in a layer it is the transport below that keeps it
    /// ([`Slot::visit_above`](crate::Slot::visit_above)).
    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn Protocol),
    ) -> Result<(), WithProtocolError>;

    /// From now on the protocol's callbacks are given `handle`; see [`Transport::raise`].
    fn rebind(&self, handle: Transport);

    /// Ready with the cause once `connection_lost` was delivered, or the loop closed.
    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>>;

    /// Whether the peer was seen to hang up.
    fn peer_hung_up(&self) -> bool;

    /// The peer's address; kept after the loss.
    fn peername(&self) -> Option<Address>;

    /// The own address; kept after the loss.
    fn sockname(&self) -> Option<Address>;

    /// The information of the type with the id `wanted`, if there is any. A layer answers its own and asks
    /// below for the rest.
    fn extra_info(&self, wanted: TypeId) -> Option<Rc<dyn Any>>;

    /// Calls `look` with the socket; false if there is none, or none any more.
    fn with_socket(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool;

    /// Takes the connection out of its loop. As provided it refuses, as every layer has to.
    fn detach(&self) -> Result<Detached, DetachError> {
        Err(DetachError::Layered)
    }

    /// Counts of what was done so far.
    fn statistics(&self) -> TransportStatistics;
}

/// What a transport has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportStatistics {
    /// Bytes read from the peer.
    pub bytes_received: u64,
    /// Bytes that the system has taken, those of a file that is being sent among them.
    pub bytes_sent: u64,
    /// Bytes that were accepted and that the system has not taken yet.
    pub buffered: usize,
    /// For how long writing has been paused; none while it is not.
    pub paused_for: Option<Duration>,
}

/// Why a protocol could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithProtocolError {
    /// One of its callbacks is running, or somebody looks at it already.
    Busy,
    /// It is of another type.
    OtherType,
    /// The connection was lost, and the protocol with it.
    Lost,
}

impl fmt::Display for WithProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WithProtocolError::Busy => "the protocol is in use: one of its callbacks is running",
            WithProtocolError::OtherType => "the protocol is of another type",
            WithProtocolError::Lost => "the connection was lost, and its protocol dropped",
        })
    }
}

impl Error for WithProtocolError {}

impl From<WithProtocolError> for io::Error {
    fn from(error: WithProtocolError) -> io::Error {
        let kind = match error {
            WithProtocolError::Busy => io::ErrorKind::ResourceBusy,
            WithProtocolError::OtherType => io::ErrorKind::InvalidInput,
            WithProtocolError::Lost => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}
