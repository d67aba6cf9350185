//! Readers and writers as the futures ecosystem knows them, and the pair of both.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};
use tidegate_protocols::Flow;
use tidegate_reactor::budget;

use crate::reader::StreamReader;
use crate::writer::StreamWriter;

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let there = ready!(self.poll_fill(context))?;
        let length = there.len().min(into.len());
        into[..length].copy_from_slice(&there[..length]);
        self.drop_front(length);
        Poll::Ready(Ok(length))
    }
}

impl AsyncBufRead for StreamReader {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_fill(context)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.drop_front(amount);
    }
}

/// The most that one write takes, in bytes: so much is offered at once, and leaves without a copy if it can.
const ONE_WRITE: usize = 64 * 1024;

/// Writes wait while the flow is paused, and take 64 KiB at most, so that no more than that and the high mark is
/// unsent. A flush waits until the system has taken everything. Closing ends the writing direction where that can
/// be, else the connection.
impl AsyncWrite for StreamWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context))?;
        let piece = &from[..from.len().min(ONE_WRITE)];
        self.write(piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context))?;
        let mut taken = 0;
        self.writelines(from.iter().map(|slice| {
            let piece = &slice[..slice.len().min(ONE_WRITE - taken)];
            taken += piece.len();
            piece
        }));
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiters = self.waiters.take().unwrap_or_default();
        let flushed = self.wire().raw().poll_flush(&waiters.flush, context);
        self.waiters = Some(waiters);
        flushed
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closing() {
            if self.can_write_eof() {
                self.write_eof()?;
            } else {
                let _not_awaited = self.close();
            }
        }
        self.poll_flush(context)
    }
}

impl StreamWriter {
    /// Whether a write is welcome, and will be sent.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The waiter stays, whatever comes of this: dropped it would leave whoever waits asleep.
        let mut room = self.waiters.as_mut().and_then(|waiters| waiters.room.take());
        let welcome = self.poll_welcome(context, &mut room);
        if room.is_some() {
            self.waiters.get_or_insert_default().room = room;
        }
        ready!(welcome)?;
        if self.flow() == Flow::Closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        budget::poll_proceed(context).map(Ok)
    }
}

/// A reader and a writer of one connection, joined: for crates that want one value that reads and writes.
///
/// It is what asyncio has no name for: `(reader, writer)`. [`split`](StreamPair::split) takes it apart again. Writing
/// waits while the flow is paused, flushing waits until the system has taken everything, and closing ends the writing
/// direction: what the peer still sends can be read. Dropping it closes the connection.
///
/// The example `hyper_server` serves HTTP on it with `hyper`, which knows nothing of Tidegate.
///
/// # Examples
///
/// ```
/// use futures_lite::{AsyncReadExt, AsyncWriteExt};
/// use tidegate_streams::{StreamPair, open_connection, start_server};
///
/// tidegate_reactor::run(async {
///     let shout = async |reader, writer| {
///         let mut peer = StreamPair::new(reader, writer);
///         let mut said = String::new();
///         peer.read_to_string(&mut said).await?;
///         peer.write_all(said.to_uppercase().as_bytes()).await?;
///         peer.close().await
///     };
///     let server = start_server(shout, ("127.0.0.1", 0)).await?;
///     let address = server.sockets()[0].sockname().as_inet().unwrap();
///
///     let mut peer = StreamPair::from(open_connection(address).await?);
///     peer.write_all(b"hello").await?;
///     peer.close().await?;
///     let mut answer = String::new();
///     peer.read_to_string(&mut answer).await?;
///     assert_eq!(answer, "HELLO");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct StreamPair {
    /// What the peer sends.
    pub reader: StreamReader,
    /// What the peer is sent.
    pub writer: StreamWriter,
}

impl StreamPair {
    /// Joins the two, which should belong to one connection.
    pub fn new(reader: StreamReader, writer: StreamWriter) -> StreamPair {
        StreamPair { reader, writer }
    }

    /// Takes the two apart.
    pub fn split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }
}

impl From<(StreamReader, StreamWriter)> for StreamPair {
    fn from((reader, writer): (StreamReader, StreamWriter)) -> StreamPair {
        StreamPair { reader, writer }
    }
}

impl AsyncRead for StreamPair {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        AsyncRead::poll_read(Pin::new(&mut self.reader), context, into)
    }
}

impl AsyncBufRead for StreamPair {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().reader.poll_fill(context)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.reader.drop_front(amount);
    }
}

/// As the writer alone.
impl AsyncWrite for StreamPair {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_close(context)
    }
}

impl fmt::Debug for StreamPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPair")
            .field("reader", &self.reader)
            .field("writer", &self.writer)
            .finish()
    }
}
