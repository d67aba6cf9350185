//! Datagrams: the protocol of an endpoint, and the handle on it.

mod protocol;
mod raw;
mod shares;
mod transport;

pub use protocol::DatagramProtocol;
pub use raw::{DatagramChange, DatagramStatistics, RawDatagramTransport, SendtoError};
pub use transport::{DatagramClosed, DatagramFlush, DatagramTransport, Destination};
