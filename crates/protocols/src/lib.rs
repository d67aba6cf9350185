//! The contract between protocols and transports, with no loop, no socket and no clock.
//!
//! > **Calls go down at any time. Callbacks come up only from the loop, one at a time.**
//!
//! A [`Protocol`] is what a program writes: a value whose callbacks are told what happens to one
//! connection. A [`Transport`] is the handle on that connection that every callback is given. No method of
//! a transport ever calls a protocol, so a program may hold any borrow of its own while it calls one.
//!
//! | you want to | look at |
//! |---|---|
//! | write a protocol | [`Protocol`], [`Transport`], [`Flow`], [`Cause`] |
//! | send and receive datagrams | [`DatagramProtocol`], [`DatagramTransport`] |
//! | put something between a protocol and the wire, such as TLS | [`layer`] |
//! | carry bytes in a way of your own | [`RawTransport`], and the parts it is made of: [`Slot`], [`Owed`], [`WriteBuffer`], [`Waiters`] |

#![forbid(unsafe_code)]

mod address;
mod cause;
mod datagram;
mod detached;
mod extra;
#[cfg(test)]
mod fake;
mod fds;
mod flow;
mod incoming;
pub mod layer;
mod limits;
mod one_way;
mod protocol;
mod raise;
mod raw;
mod shares;
mod slot;
mod transparent;
mod transport;
mod turn;
mod waiters;
mod write_buffer;

pub use address::{Address, UnixAddress};
pub use cause::Cause;
pub use datagram::{
    DatagramChange, DatagramClosed, DatagramFlush, DatagramProtocol, DatagramStatistics,
    DatagramTransport, Destination, RawDatagramTransport, SendtoError,
};
pub use detached::{DetachError, Detached};
pub use extra::{PeerCredentials, PeerName, Pipe, PipeKind, SockName};
pub use fds::{MAX_FDS, SendFdsError};
pub use flow::{Flow, FlowEvent, Notice, Owed};
pub use incoming::{Incoming, Outcome, ReadSource};
pub use layer::{Above, Connects, Gate, Layer, Layered, Serves};
pub use limits::{LimitsError, WriteLimits};
pub use one_way::{ReadTransport, WriteTransport};
pub use protocol::{AtEof, Protocol};
pub use raise::Raise;
pub use raw::{Change, RawTransport, TransportStatistics, WithProtocolError};
pub use shares::share_is_borrowed;
pub use slot::{Caller, Lent, Slot};
pub use transport::{Closed, Flush, Transport, WeakTransport};
pub use turn::{Turn, TurnError};
pub use waiters::{Waiter, Waiters};
pub use write_buffer::{Spent, WriteBuffer};
