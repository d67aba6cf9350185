//! The handles on connections that have one direction only: the ends of pipes.

use std::any::Any;
use std::io;
use std::os::fd::BorrowedFd;

use bytes::Bytes;

use crate::{
    Cause, Closed, Flow, Flush, LimitsError, Protocol, Transport, TransportStatistics,
    WithProtocolError, WriteLimits,
};

/// The handle on a connection that is only read from.
///
/// It is a [`Transport`] without the methods that write. The protocol's callbacks are given the `Transport` itself,
/// which answers truthfully: a write is [`Flow::Closed`], [`write_eof`](Transport::write_eof) is unsupported. At the
/// end of the stream the connection ends, whatever [`eof_received`](Protocol::eof_received) answers. The asyncio
/// counterpart is `asyncio.ReadTransport`.
///
/// # Examples
///
/// There is nothing to write with:
///
/// ```compile_fail,E0599
/// # fn example(transport: tidegate_protocols::ReadTransport) {
/// transport.write(b"data");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadTransport(Transport);

/// The handle on a connection that is only written to.
///
/// It is a [`Transport`] without the methods that read. The protocol's callbacks are given the `Transport` itself,
/// which answers truthfully: it is not [reading](Transport::is_reading), and pausing does nothing. The asyncio
/// counterpart is `asyncio.WriteTransport`.
///
/// # Examples
///
/// There is nothing to read with:
///
/// ```compile_fail,E0599
/// # fn example(transport: tidegate_protocols::WriteTransport) {
/// transport.pause_reading();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WriteTransport(Transport);

impl ReadTransport {
    /// As [`Transport::pause_reading`].
    pub fn pause_reading(&self) {
        self.0.pause_reading();
    }

    /// As [`Transport::resume_reading`].
    pub fn resume_reading(&self) {
        self.0.resume_reading();
    }

    /// As [`Transport::is_reading`].
    pub fn is_reading(&self) -> bool {
        self.0.is_reading()
    }
}

impl WriteTransport {
    /// As [`Transport::write`].
    pub fn write(&self, data: &[u8]) -> Flow {
        self.0.write(data)
    }

    /// As [`Transport::write_bytes`].
    pub fn write_bytes(&self, data: Bytes) -> Flow {
        self.0.write_bytes(data)
    }

    /// As [`Transport::writelines`].
    pub fn writelines<I>(&self, lines: I) -> Flow
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.0.writelines(lines)
    }

    /// As [`Transport::flush`].
    pub fn flush(&self) -> Flush {
        self.0.flush()
    }

    /// Ends the connection as [`close`](WriteTransport::close) does, since writing is all there is.
    ///
    /// # Errors
    ///
    /// None for pipes.
    pub fn write_eof(&self) -> io::Result<()> {
        self.0.write_eof()
    }

    /// As [`Transport::can_write_eof`]; true for pipes.
    pub fn can_write_eof(&self) -> bool {
        self.0.can_write_eof()
    }

    /// As [`Transport::flow`].
    pub fn flow(&self) -> Flow {
        self.0.flow()
    }

    /// As [`Transport::get_write_buffer_size`].
    pub fn get_write_buffer_size(&self) -> usize {
        self.0.get_write_buffer_size()
    }

    /// As [`Transport::get_write_buffer_limits`].
    pub fn get_write_buffer_limits(&self) -> WriteLimits {
        self.0.get_write_buffer_limits()
    }

    /// As [`Transport::set_write_buffer_limits`].
    ///
    /// # Errors
    ///
    /// If `low` is above `high`; the old limits stay.
    pub fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), LimitsError> {
        self.0.set_write_buffer_limits(high, low)
    }
}

/// What both have: asyncio's `BaseTransport`.
macro_rules! of_every_transport {
    ($name:ident) => {
        impl $name {
            /// As [`Transport::close`]: what was written is still sent, and nothing more is taken.
            pub fn close(&self) {
                self.0.close();
            }

            /// As [`Transport::abort`].
            pub fn abort(&self) {
                self.0.abort();
            }

            /// As [`Transport::fail`].
            pub fn fail(&self, cause: Cause) {
                self.0.fail(cause);
            }

            /// As [`Transport::is_closing`].
            pub fn is_closing(&self) -> bool {
                self.0.is_closing()
            }

            /// As [`Transport::closed`].
            pub fn closed(&self) -> Closed {
                self.0.closed()
            }

            /// As [`Transport::peer_hung_up`].
            pub fn peer_hung_up(&self) -> bool {
                self.0.peer_hung_up()
            }

            /// As [`Transport::set_protocol`].
            pub fn set_protocol(&self, protocol: impl Protocol) {
                self.0.set_protocol(protocol);
            }

            /// As [`Transport::wrap_protocol`].
            pub fn wrap_protocol(
                &self,
                wrap: impl FnOnce(Box<dyn Protocol>) -> Box<dyn Protocol> + 'static,
            ) {
                self.0.wrap_protocol(wrap);
            }

            /// As [`Transport::with_protocol`].
            ///
            /// # Errors
            ///
            /// As there.
            ///
            /// # Panics
            ///
            /// As there.
            pub fn with_protocol<P: Protocol, R>(
                &self,
                look: impl FnOnce(&mut P) -> R,
            ) -> Result<R, WithProtocolError> {
                self.0.with_protocol(look)
            }

            /// As [`Transport::get_extra_info`]; [`Pipe`](crate::Pipe) is there for pipes.
            pub fn get_extra_info<T: Any + Clone>(&self) -> Option<T> {
                self.0.get_extra_info()
            }

            /// As [`Transport::with_socket`], of the descriptor, whatever it is.
            pub fn with_socket<R>(&self, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
                self.0.with_socket(look)
            }

            /// As [`Transport::statistics`].
            pub fn statistics(&self) -> TransportStatistics {
                self.0.statistics()
            }

            /// Whether both are shares of one handle.
            pub fn ptr_eq(&self, other: &$name) -> bool {
                self.0.ptr_eq(&other.0)
            }

            /// The handle without the direction that `transport` does not have; for those who open connections.
            pub fn new(transport: Transport) -> $name {
                $name(transport)
            }
        }

        /// The handle as the protocol's callbacks are given it; for what is made for every transport.
        impl From<$name> for Transport {
            fn from(transport: $name) -> Transport {
                transport.0
            }
        }
    };
}

of_every_transport!(ReadTransport);
of_every_transport!(WriteTransport);
