//! `start_tls`: streams that stand already go on in TLS.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tidegate_protocols::{Flow, Raise};

use crate::io_traits::StreamPair;
use crate::reader::StreamReader;
use crate::writer::StreamWriter;

impl StreamWriter {
    /// Goes on in TLS with a connection that stands already, and answers when the handshake is done.
    ///
    /// `tls` is what `start_tls` of `tidegate-tls` takes: a `&Server`, a client with the name of its server
    /// `(&client, "mail.example.org")`, or an `Upgrade` of one of them with options. It says which of the two this end is.
    ///
    /// It drains first. Then, in one go, the connection is TLS for the reader, for this writer and its clones, and for
    /// whoever has the [`transport`](StreamWriter::transport): what was written before leaves before the handshake, and
    /// what is written afterwards can only leave encrypted. Reader and writer stay the same.
    ///
    /// What the peer has sent and `reader` has not given away yet is an error by default, since whoever is between the
    /// two may have put it there. Nothing has happened then, and it can still be read. `Upgrade::hand_over` takes it for
    /// the beginning of the handshake instead.
    ///
    /// The asyncio counterpart is `StreamWriter.start_tls()`.
    ///
    /// # Errors
    ///
    /// - A [`StreamTlsError`] if `reader` belongs to another connection, or the peer has ended its side.
    /// - As for [`drain`](StreamWriter::drain), if the connection is lost or has an error.
    /// - Those of `tls` if the connection is closing, a file is being sent, bytes are unread, or the name of the server is
    ///   no name or empty: a `StartTlsError` of `tidegate-tls`, inside of the [`io::Error`].
    ///
    /// Nothing has happened after one of these, and the streams go on in clear. A handshake that fails, however, ends the
    /// connection: its error is answered, and by reads and drains too.
    ///
    /// # Cancel safety
    ///
    /// While it drains, dropping the future leaves everything as it is, in clear. Afterwards the switch has happened, and
    /// dropping it changes nothing about that.
    ///
    /// # Examples
    ///
    /// A server's side of the switch. The type of `tls` is left open here, as it is in this crate:
    ///
    /// ```
    /// use std::io;
    /// use tidegate_protocols::Raise;
    /// use tidegate_streams::{StreamReader, StreamWriter};
    ///
    /// async fn serve<T: Raise<By>, By>(
    ///     mut reader: StreamReader,
    ///     writer: StreamWriter,
    ///     tls: T,
    /// ) -> io::Result<()> {
    ///     if reader.readline().await? == "STARTTLS\n" {
    ///         writer.write(b"go ahead\n");
    ///         writer.start_tls(&mut reader, tls).await?;
    ///     }
    ///     writer.write(b"hello\n");
    ///     writer.close().await
    /// }
    /// ```
    pub async fn start_tls<T, By>(&self, reader: &mut StreamReader, tls: T) -> io::Result<()>
    where
        T: Raise<By>,
    {
        if !self.belongs_to(reader.link()) {
            return Err(StreamTlsError::Unpaired.into());
        }
        self.drain_in_clear(reader).await?;
        let raised = tls.raise(self.wire(), reader.unread())?;
        // They are the layer's now. Reading goes on, if they had stopped it.
        let length = reader.unread().len();
        reader.drop_front(length);
        raised.await.map(drop)
    }

    /// As [`drain`](StreamWriter::drain), for a switch that is to follow at once.
    ///
    /// A drain that need not wait makes room for others now and then. Here the peer could answer meanwhile, already in
    /// TLS, what this step has just written.
    async fn drain_in_clear(&self, reader: &StreamReader) -> io::Result<()> {
        let mut waiter = None;
        poll_fn(|context| {
            self.check_lost()?;
            if reader.link().inbox.has_eof() {
                return Poll::Ready(Err(StreamTlsError::Ended.into()));
            }
            if self.flow() == Flow::Closed || self.is_closing() {
                // There is nothing to wait for; what is wrong is said when it is tried.
                return Poll::Ready(Ok(()));
            }
            self.poll_welcome(context, &mut waiter)
        })
        .await
    }
}

impl StreamPair {
    /// Goes on in TLS; see [`StreamWriter::start_tls`].
    ///
    /// # Errors
    ///
    /// As for [`StreamWriter::start_tls`].
    ///
    /// # Cancel safety
    ///
    /// As for [`StreamWriter::start_tls`].
    pub async fn start_tls<T: Raise<By>, By>(&mut self, tls: T) -> io::Result<()> {
        self.writer.start_tls(&mut self.reader, tls).await
    }
}

/// Why streams could not begin to go on in TLS, beside what is wrong with the connection or with the TLS. Nothing has
/// happened then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamTlsError {
    /// The reader and the writer belong to different connections.
    Unpaired,
    /// The peer has ended its side, and cannot take part in a handshake.
    Ended,
}

impl fmt::Display for StreamTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamTlsError::Unpaired => "the reader and the writer belong to different connections",
            StreamTlsError::Ended => "TLS cannot be started: the peer has ended its side",
        })
    }
}

impl Error for StreamTlsError {}

impl From<StreamTlsError> for io::Error {
    fn from(error: StreamTlsError) -> io::Error {
        let kind = match error {
            StreamTlsError::Unpaired => io::ErrorKind::InvalidInput,
            StreamTlsError::Ended => io::ErrorKind::UnexpectedEof,
        };
        io::Error::new(kind, error)
    }
}
