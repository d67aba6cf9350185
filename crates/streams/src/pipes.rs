//! Pipes and standard streams, seen from a task.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tidegate_protocols::{Protocol, ReadTransport, Transport, WriteTransport};
use tidegate_transports::{ConnectPipe, ConnectionFactory, Standard};

use crate::errors::LimitError;
use crate::link::Link;
use crate::open::{DEFAULT_LIMIT, StreamLimit, Streams};
use crate::protocol::StreamReaderProtocol;
use crate::reader::StreamReader;
use crate::writer::StreamWriter;

/// Opens a pipe, a FIFO, a socket or a character device for reading.
///
/// The answer is a builder; await it. It has the options of [`ConnectPipe`] and, by [`StreamLimit`], the reader's
/// [`limit`](StreamLimit::limit). The descriptor is consumed, and made non-blocking for everybody who shares it; see
/// [`connect_read_pipe`](tidegate_transports::connect_read_pipe). It is closed at the end of the stream, by an error, and
/// when the reader is dropped. asyncio has no counterpart but `connect_read_pipe` with a `StreamReaderProtocol`.
///
/// # Errors
///
/// Those of [`connect_read_pipe`](tidegate_transports::connect_read_pipe), and a [`LimitError`].
///
/// # Cancel safety
///
/// Dropping the future closes the descriptor.
///
/// # Examples
///
/// ```
/// use std::io::{self, Write};
/// use tidegate_streams::open_read_pipe;
///
/// tidegate_reactor::run(async {
///     let (reader, mut writer) = io::pipe()?;
///     let mut reader = open_read_pipe(reader).await?;
///     writer.write_all(b"one\ntwo")?;
///     drop(writer);
///     assert_eq!(reader.readline().await?, "one\n");
///     assert_eq!(reader.read_to_end().await?, "two");
///     Ok::<(), io::Error>(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn open_read_pipe(descriptor: impl Into<OwnedFd>) -> OpenReadPipe {
    ConnectPipe::reading(ReadStream { limit: DEFAULT_LIMIT }, descriptor)
}

/// Opens a pipe, a FIFO, a socket or a character device for writing.
///
/// The answer is a builder; await it. It has the options of [`ConnectPipe`]. The descriptor is consumed, and made
/// non-blocking for everybody who shares it; see
/// [`connect_write_pipe`](tidegate_transports::connect_write_pipe). Closing the writer, or dropping its last clone, sends
/// what was written and closes the descriptor; nothing more is taken meanwhile. asyncio has no counterpart but
/// `connect_write_pipe` with a protocol of its own.
///
/// # Errors
///
/// Those of [`connect_write_pipe`](tidegate_transports::connect_write_pipe).
///
/// # Cancel safety
///
/// Dropping the future closes the descriptor.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_streams::open_write_pipe;
///
/// let (reader, writer) = io::pipe()?;
/// tidegate_reactor::run(async {
///     let writer = open_write_pipe(writer).await?;
///     writer.write(b"hello");
///     writer.drain().await?;
///     writer.close().await
/// })?;
/// assert_eq!(io::read_to_string(reader)?, "hello");
/// # Ok::<(), io::Error>(())
/// ```
pub fn open_write_pipe(descriptor: impl Into<OwnedFd>) -> OpenWritePipe {
    ConnectPipe::writing(WriteStream(()), descriptor)
}

/// Opens two descriptors, of which one is read from and the other written to, as one connection.
///
/// The answer is a builder; await it for a reader and a writer, such as those of
/// [`open_connection`](crate::open_connection). See [`connect_pipes`](tidegate_transports::connect_pipes). asyncio has no
/// counterpart.
///
/// # Errors
///
/// Those of [`connect_pipes`](tidegate_transports::connect_pipes), and a [`LimitError`].
///
/// # Cancel safety
///
/// Dropping the future closes the descriptors.
///
/// # Examples
///
/// ```
/// use std::io::{self, Write};
/// use tidegate_streams::open_pipes;
///
/// let ((theirs, output), (input, mut their_output)) = (io::pipe()?, io::pipe()?);
/// their_output.write_all(b"hello\n")?;
/// tidegate_reactor::run(async {
///     let (mut reader, writer) = open_pipes(input, output).await?;
///     writer.write(&reader.readline().await?);
///     writer.close().await
/// })?;
/// assert_eq!(io::read_to_string(theirs)?, "hello\n");
/// # Ok::<(), io::Error>(())
/// ```
pub fn open_pipes(read: impl Into<OwnedFd>, write: impl Into<OwnedFd>) -> OpenPipes {
    ConnectPipe::both(Streams { limit: DEFAULT_LIMIT }, read, write)
}

/// Reads the program's standard input, whatever it is: a terminal, a pipe, a socket, a file or `/dev/null`.
///
/// The answer is a builder; await it. Standard input is left as it was found, and open, when the reader is dropped; see
/// [`connect_stdin`](tidegate_transports::connect_stdin). What the reader holds by then is gone, at most twice its limit
/// and one read: so read to the end, or hand over nothing afterwards. asyncio has no counterpart.
///
/// # Errors
///
/// Those of [`connect_stdin`](tidegate_transports::connect_stdin), and a [`LimitError`].
///
/// # Cancel safety
///
/// Dropping the future loses nothing: nothing has been read.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_streams::{open_stdin, open_stdout};
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let (mut stdin, stdout) = (open_stdin().await?, open_stdout().await?);
///         loop {
///             let line = stdin.readline().await?;
///             if line.is_empty() {
///                 return stdout.close().await;
///             }
///             stdout.write(&line.to_ascii_uppercase());
///             stdout.drain().await?;
///         }
///     })
/// }
/// ```
pub fn open_stdin() -> OpenReadPipe {
    ConnectPipe::standard(ReadStream { limit: DEFAULT_LIMIT }, Standard::Input)
}

/// Writes the program's standard output, whatever it is.
///
/// The answer is a builder; await it. Standard output is left as it was found, and open; see
/// [`connect_stdout`](tidegate_transports::connect_stdout). Before the program ends await
/// [`flush`](StreamWriter::flush) or [`close`](StreamWriter::close): what waits for a slow reader is lost otherwise.
/// asyncio has no counterpart.
///
/// **A reader that goes away**, as `head` does, ends it: [`drain`](StreamWriter::drain) then answers an error of the kind
/// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe) if something was waiting for that reader, and
/// [`ConnectionReset`](std::io::ErrorKind::ConnectionReset) if not. A filter takes both for its end. One that waits for
/// input meanwhile notices by [`wait_closed`](StreamWriter::wait_closed).
///
/// # Errors
///
/// Those of [`connect_stdout`](tidegate_transports::connect_stdout).
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_streams::open_stdout;
///
/// tidegate_reactor::run(async {
///     let stdout = open_stdout().await?;
///     stdout.write(b"hello\n");
///     stdout.close().await
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn open_stdout() -> OpenWritePipe {
    ConnectPipe::standard(WriteStream(()), Standard::Output)
}

/// Writes the program's standard error, whatever it is; as [`open_stdout`].
///
/// # Errors
///
/// Those of [`connect_stderr`](tidegate_transports::connect_stderr).
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
pub fn open_stderr() -> OpenWritePipe {
    ConnectPipe::standard(WriteStream(()), Standard::Error)
}

/// The builder of [`open_read_pipe`] and [`open_stdin`].
pub type OpenReadPipe = ConnectPipe<ReadStream>;

/// The builder of [`open_write_pipe`], [`open_stdout`] and [`open_stderr`].
pub type OpenWritePipe = ConnectPipe<WriteStream>;

/// The builder of [`open_pipes`].
pub type OpenPipes = ConnectPipe<Streams>;

impl StreamLimit for OpenReadPipe {
    fn limit(self, bytes: usize) -> Self {
        self.with_factory(|stream| stream.limit = bytes)
    }
}

impl StreamLimit for OpenPipes {
    fn limit(self, bytes: usize) -> Self {
        self.with_factory(|streams| streams.limit = bytes)
    }
}

/// What [`open_read_pipe`] and [`open_stdin`] make of their pipe: a reader, whose end closes it.
#[derive(Debug)]
pub struct ReadStream {
    limit: usize,
}

impl ConnectionFactory for ReadStream {
    type Opened = StreamReader;
    type Kept = StreamReader;

    fn check(&self) -> io::Result<()> {
        Ok(LimitError::check(self.limit)?)
    }

    fn make(self) -> (Box<dyn Protocol>, StreamReader) {
        let reader = StreamReader::of(&Rc::new(Link::new(self.limit)));
        (Box::new(StreamReaderProtocol::of(reader.link())), reader)
    }

    fn opened(reader: StreamReader, transport: Transport) -> StreamReader {
        // It is set already, unless a layer has opened before it greeted.
        reader.link().set_transport(&transport);
        reader.link().reader_closes.set(true);
        reader
    }
}

/// What [`open_write_pipe`], [`open_stdout`] and [`open_stderr`] make of their pipe: a writer.
#[derive(Debug)]
pub struct WriteStream(());

impl ConnectionFactory for WriteStream {
    type Opened = StreamWriter;
    type Kept = StreamReader;

    fn make(self) -> (Box<dyn Protocol>, StreamReader) {
        let reader = StreamReader::of(&Rc::new(Link::new(DEFAULT_LIMIT)));
        (Box::new(StreamReaderProtocol::of(reader.link())), reader)
    }

    fn opened(reader: StreamReader, transport: Transport) -> StreamWriter {
        let (_reader, writer) = Streams::opened(reader, transport);
        writer
    }
}

/// Streams of pipes that somebody else has opened, such as those of a child.
impl StreamReaderProtocol {
    /// The reader of a pipe, and the protocol that fills it. The pipe has to be
    /// [given](ReadTransport::set_protocol) that protocol before it reads anything.
    ///
    /// `limit` is the reader's, in bytes; see [`StreamReader`]. Dropping the reader closes the pipe, as that of
    /// [`open_read_pipe`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn reading(
        pipe: &ReadTransport,
        limit: usize,
    ) -> Result<(StreamReader, StreamReaderProtocol), LimitError> {
        let link = Rc::new(Link::checked(limit)?);
        link.set_transport(&pipe.clone().into());
        link.reader_closes.set(true);
        Ok((StreamReader::of(&link), StreamReaderProtocol::of(&link)))
    }

    /// The writer of a pipe, and the protocol that tells it how the flow stands. The pipe has to be
    /// [given](WriteTransport::set_protocol) that protocol before anything is written.
    pub fn writing(pipe: &WriteTransport) -> (StreamWriter, StreamReaderProtocol) {
        let link = Rc::new(Link::new(DEFAULT_LIMIT));
        link.set_transport(&pipe.clone().into());
        // Whoever has opened the pipe can close it.
        link.hand_out();
        (StreamWriter::new(&link), StreamReaderProtocol::of(&link))
    }
}
