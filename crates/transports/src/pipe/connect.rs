//! `connect_read_pipe`, `connect_write_pipe` and `connect_pipes`: descriptors that exist become transports.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use tidegate_protocols::{
    Layer, Layered, Protocol, ReadTransport, Transport, WriteLimits, WriteTransport,
};
use tidegate_reactor::LoopHandle;

use super::{Direction, Ends};
use crate::factory::ConnectionFactory;
use crate::opening::{Carrier, Choices, Connected, Connecting};
use crate::stdio::Standard;

/// Reads from a pipe, a FIFO, a socket or a character device.
///
/// The answer is a builder: set options on it, then await it. It resolves when the protocol's `connection_made` has
/// returned. The descriptor is the transport's own from the call on: it is closed by whatever ends the connection, by
/// every error and with the builder. It is made non-blocking, which affects every process that shares the open file
/// description, and stays so; for a program's own standard input there is
/// [`connect_stdin`](crate::connect_stdin), which leaves it as it is.
///
/// At the end of the stream `eof_received` comes and then `connection_lost`, whatever the former answers. An error of a
/// read is reported to the exception handler, unless it is EIO, by which a terminal says that its other side is closed.
/// [`Pipe`](tidegate_protocols::Pipe) is in the extra info. The asyncio counterpart is `loop.connect_read_pipe()`.
///
/// # Errors
///
/// [`ArgumentError::NotAPipe`](crate::ArgumentError::NotAPipe) for a regular file, a directory or a block device,
/// [`ArgumentError::NotReadable`](crate::ArgumentError::NotReadable) for what is not open for reading (both of the kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput), and before anything has happened);
/// [`LoopError`](tidegate_reactor::LoopError) outside of a running loop; `AlreadyExists` if the loop watches the
/// descriptor already.
///
/// # Panics
///
/// When `factory` does; the descriptor is closed then.
///
/// # Cancel safety
///
/// Dropping the future closes the descriptor. If the transport exists already it is closed.
///
/// # Examples
///
/// ```
/// use std::io::{self, Write};
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::connect_read_pipe;
///
/// struct Print;
/// impl Protocol for Print {
///     fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
///         println!("{} bytes", data.len());
///         Ok(())
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let (reader, mut writer) = io::pipe()?;
///         let transport = connect_read_pipe(|| Print, reader).await?;
///         writer.write_all(b"hello")?;
///         drop(writer);
///         assert!(transport.closed().await.is_none());
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
pub fn connect_read_pipe<F, P>(
    factory: F,
    descriptor: impl Into<OwnedFd>,
) -> ConnectPipe<Reading<F>>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    ConnectPipe::reading(Reading(factory), descriptor)
}

/// Writes to a pipe, a FIFO, a socket or a character device.
///
/// As [`connect_read_pipe`], which says what becomes of the descriptor. A transport that is only written to differs from
/// a connection: `write_eof` is `close`, and what is written after either is [`Flow::Closed`], also while something
/// waits still. When the last reader of a pipe or the peer of a socket goes away, the connection ends without being
/// written to: with no cause, or with a broken pipe if something was still to be sent. A byte that comes from a
/// socket's peer is taken for that too. Of character devices nothing is noticed.
///
/// Writes to a pipe rely on SIGPIPE being ignored, as Rust's start-up does. The asyncio counterpart is
/// `loop.connect_write_pipe()`.
///
/// [`Flow::Closed`]: tidegate_protocols::Flow::Closed
///
/// # Errors
///
/// As for [`connect_read_pipe`], with [`ArgumentError::NotWritable`](crate::ArgumentError::NotWritable) for what is not
/// open for writing.
///
/// # Panics
///
/// When `factory` does; the descriptor is closed then.
///
/// Opening a FIFO may wait for its other end, and the loop with it: open it before, on the
/// [pool](tidegate_reactor::LoopHandle::run_in_executor), or with `O_NONBLOCK`.
///
/// # Cancel safety
///
/// As for [`connect_read_pipe`].
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_protocols::Protocol;
/// use tidegate_transports::connect_write_pipe;
///
/// struct Idle;
/// impl Protocol for Idle {}
///
/// fn main() -> io::Result<()> {
///     let (reader, writer) = io::pipe()?;
///     tidegate_reactor::run(async {
///         let transport = connect_write_pipe(|| Idle, writer).await?;
///         transport.write(b"hello");
///         transport.close();
///         transport.closed().await;
///         Ok::<(), io::Error>(())
///     })?;
///     assert_eq!(io::read_to_string(reader)?, "hello");
///     Ok(())
/// }
/// ```
pub fn connect_write_pipe<F, P>(
    factory: F,
    descriptor: impl Into<OwnedFd>,
) -> ConnectPipe<Writing<F>>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    ConnectPipe::writing(Writing(factory), descriptor)
}

/// Reads from one descriptor and writes to another, as one connection.
///
/// As [`connect_read_pipe`] and [`connect_write_pipe`] for what the descriptors may be and what becomes of them. The
/// connection is one of two directions, like that of a socket: `write_eof` closes the descriptor that is written to, a
/// protocol may go on writing after the end of the stream, and a closing connection that still sends takes more.
/// That the other side reads no more is noticed by the next write. asyncio has no counterpart.
///
/// # Errors
///
/// As for [`connect_read_pipe`] and [`connect_write_pipe`]; if one of the descriptors is refused, the other one is as it
/// was, but closed as well.
///
/// # Panics
///
/// When `factory` does; the descriptors are closed then.
///
/// # Cancel safety
///
/// As for [`connect_read_pipe`].
///
/// # Examples
///
/// ```
/// use std::io::{self, Write};
/// use tidegate_protocols::{AtEof, Protocol, Transport};
/// use tidegate_transports::connect_pipes;
///
/// struct Echo;
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
///         transport.write(data);
///         Ok(())
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let ((their_input, output), (input, mut their_output)) = (io::pipe()?, io::pipe()?);
///     their_output.write_all(b"hello")?;
///     drop(their_output);
///     tidegate_reactor::run(async {
///         let transport = connect_pipes(|| Echo, input, output).await?;
///         transport.closed().await;
///         Ok::<(), io::Error>(())
///     })?;
///     assert_eq!(io::read_to_string(their_input)?, "hello");
///     Ok(())
/// }
/// ```
pub fn connect_pipes<F, P>(
    factory: F,
    read: impl Into<OwnedFd>,
    write: impl Into<OwnedFd>,
) -> ConnectPipe<F>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    ConnectPipe::both(factory, read, write)
}

/// The options of a transport over pipes or standard streams; see [`connect_read_pipe`] and
/// [`connect_stdin`](crate::connect_stdin).
///
/// Layers are allowed: one that decompresses what a pipe brings, say. Those that talk with the other side, as TLS does,
/// need both directions.
#[must_use = "a pipe is connected when this is awaited"]
pub struct ConnectPipe<F> {
    factory: F,
    wanted: Wanted,
    choices: Choices,
}

/// What is to become the wire.
#[derive(Debug)]
enum Wanted {
    Read(OwnedFd),
    Write(OwnedFd),
    Both(OwnedFd, OwnedFd),
    Standard(Standard),
}

impl<F> ConnectPipe<F> {
    /// As [`connect_read_pipe`], for whatever makes something of a connection.
    pub fn reading(factory: F, descriptor: impl Into<OwnedFd>) -> Self {
        ConnectPipe::new(factory, Wanted::Read(descriptor.into()))
    }

    /// As [`connect_write_pipe`], for whatever makes something of a connection.
    pub fn writing(factory: F, descriptor: impl Into<OwnedFd>) -> Self {
        ConnectPipe::new(factory, Wanted::Write(descriptor.into()))
    }

    /// As [`connect_pipes`], for whatever makes something of a connection.
    pub fn both(factory: F, read: impl Into<OwnedFd>, write: impl Into<OwnedFd>) -> Self {
        ConnectPipe::new(factory, Wanted::Both(read.into(), write.into()))
    }

    /// As [`connect_stdin`](crate::connect_stdin) and its kin, for whatever makes something of a connection.
    pub fn standard(factory: F, stream: Standard) -> Self {
        ConnectPipe::new(factory, Wanted::Standard(stream))
    }

    fn new(factory: F, wanted: Wanted) -> Self {
        ConnectPipe { factory, wanted, choices: Choices::default() }
    }

    /// Changes what makes something of the connection; for the options of those who stand on this.
    pub fn with_factory(mut self, change: impl FnOnce(&mut F)) -> Self {
        change(&mut self.factory);
        self
    }

    /// When `pause_writing` and `resume_writing` come; 64 KiB and 16 KiB unless set.
    pub fn write_buffer_limits(mut self, limits: WriteLimits) -> Self {
        self.choices.limits = limits;
        self
    }

    /// Aborts the connection when more than this many bytes wait to be sent; no limit unless set.
    ///
    /// For protocols that do not heed the flow. The cause is an error of the kind `Other` that says so, and it
    /// is reported to the exception handler.
    pub fn abort_above(mut self, bytes: usize) -> Self {
        self.choices.abort_above = Some(bytes);
        self
    }
}

impl<F> Layered for ConnectPipe<F> {
    fn layer(mut self, layer: impl Layer) -> Self {
        self.choices.add_layer(layer);
        self
    }
}

impl<F> fmt::Debug for ConnectPipe<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ConnectPipe").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl<F: ConnectionFactory> IntoFuture for ConnectPipe<F> {
    type Output = io::Result<F::Opened>;
    type IntoFuture = Connecting<F>;

    fn into_future(self) -> Connecting<F> {
        let wanted = self.wanted;
        let dialling = async move {
            let handle = LoopHandle::current()?;
            let ends = match wanted {
                Wanted::Read(descriptor) => Ends::given(descriptor, Direction::Read)?,
                Wanted::Write(descriptor) => Ends::given(descriptor, Direction::Write)?,
                Wanted::Both(read, write) => Ends::both(read, write)?,
                Wanted::Standard(stream) => stream.ends()?,
            };
            Ok((handle, Connected { carrier: Carrier::Pipe(ends), peername: None, host: None }))
        };
        Connecting::new(self.factory, self.choices, dialling)
    }
}

/// Makes a [`ReadTransport`] of what another factory makes a transport of.
#[derive(Debug)]
pub struct Reading<F>(pub F);

/// Makes a [`WriteTransport`] of what another factory makes a transport of.
#[derive(Debug)]
pub struct Writing<F>(pub F);

impl<F: ConnectionFactory<Opened = Transport>> ConnectionFactory for Reading<F> {
    type Opened = ReadTransport;
    type Kept = F::Kept;

    fn check(&self) -> io::Result<()> {
        self.0.check()
    }

    fn make(self) -> (Box<dyn Protocol>, F::Kept) {
        self.0.make()
    }

    fn opened(kept: F::Kept, transport: Transport) -> ReadTransport {
        ReadTransport::new(F::opened(kept, transport))
    }
}

impl<F: ConnectionFactory<Opened = Transport>> ConnectionFactory for Writing<F> {
    type Opened = WriteTransport;
    type Kept = F::Kept;

    fn check(&self) -> io::Result<()> {
        self.0.check()
    }

    fn make(self) -> (Box<dyn Protocol>, F::Kept) {
        self.0.make()
    }

    fn opened(kept: F::Kept, transport: Transport) -> WriteTransport {
        WriteTransport::new(F::opened(kept, transport))
    }
}
