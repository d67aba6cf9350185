//! Streams that leave their loop, and streams of a connection that was detached.

use tidegate_protocols::{DetachError, Detached};
use tidegate_transports::Adopt;

use crate::io_traits::StreamPair;
use crate::open::{DEFAULT_LIMIT, StreamLimit, Streams};

impl StreamPair {
    /// Takes the connection out of its loop, to go on with it in another one, as streams
    /// ([`adopt_streams`]) or with a protocol ([`adopt`](tidegate_transports::adopt)).
    ///
    /// It is [`Transport::detach`](tidegate_protocols::Transport::detach), and what the reader holds goes along
    /// unread. These streams are at their end then, and clones of the writer too: reads and drains answer an error of
    /// the kind [`NotConnected`](std::io::ErrorKind::NotConnected), writes [`Flow::Closed`](tidegate_protocols::Flow),
    /// and dropping them does nothing to the connection. An end or an error that was set on the reader by hand stays
    /// behind. asyncio has no counterpart.
    ///
    /// # Errors
    ///
    /// [`DetachError::Unpaired`] if the two belong to different connections, and those of
    /// [`Transport::detach`](tidegate_protocols::Transport::detach); the streams go on as if nothing had happened.
    ///
    /// # Examples
    ///
    /// One loop reads the first line, and another one the second:
    ///
    /// ```
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::sync::mpsc;
    /// use std::thread;
    /// use tidegate_streams::{StreamPair, adopt_streams, open_connection};
    ///
    /// fn main() -> io::Result<()> {
    ///     let (ours, mut theirs) = UnixStream::pair()?;
    ///     theirs.write_all(b"for one\nfor the other\n")?;
    ///     let (sender, receiver) = mpsc::channel();
    ///     let other = thread::spawn(move || {
    ///         tidegate_reactor::run(async move {
    ///             let detached = receiver.recv().expect("a connection");
    ///             let (mut reader, writer) = adopt_streams(detached).await?;
    ///             writer.write(&reader.readline().await?.to_ascii_uppercase());
    ///             writer.close().await
    ///         })
    ///     });
    ///
    ///     tidegate_reactor::run(async move {
    ///         let mut pair = StreamPair::from(open_connection(()).sock(ours).await?);
    ///         assert_eq!(pair.reader.readline().await?, "for one\n");
    ///         sender.send(pair.detach()?).map_err(io::Error::other)
    ///     })?;
    ///     let mut answer = String::new();
    ///     theirs.read_to_string(&mut answer)?;
    ///     assert_eq!(answer, "FOR THE OTHER\n");
    ///     other.join().expect("a loop")
    /// }
    /// ```
    pub fn detach(&mut self) -> Result<Detached, DetachError> {
        let link = self.reader.link().clone();
        if !self.writer.belongs_to(&link) {
            return Err(DetachError::Unpaired);
        }
        let detached = self.writer.wire().detach()?;
        let unread = self.reader.take_all();
        link.leave();
        Ok(detached.with_unread(&unread))
    }
}

/// Goes on with a connection that was detached from its loop, and answers its reader and its writer.
///
/// The answer is a builder; await it. It has the options of [`Adopt`], and, by [`StreamLimit`], the reader's
/// [`limit`](StreamLimit::limit). The connection may have had a protocol before. What was unread is read first, also
/// if it is more than the limit. asyncio has no counterpart.
///
/// # Errors
///
/// Those of [`adopt`](tidegate_transports::adopt), and a [`LimitError`](crate::LimitError).
///
/// # Cancel safety
///
/// As for [`adopt`](tidegate_transports::adopt): dropping the future closes everything.
///
/// # Examples
///
/// See [`StreamPair::detach`].
pub fn adopt_streams(detached: Detached) -> AdoptStreams {
    Adopt::new(Streams { limit: DEFAULT_LIMIT }, detached)
}

/// The builder of [`adopt_streams`].
pub type AdoptStreams = Adopt<Streams>;

impl StreamLimit for AdoptStreams {
    fn limit(self, bytes: usize) -> Self {
        self.with_factory(|streams| streams.limit = bytes)
    }
}
