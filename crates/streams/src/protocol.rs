//! The protocol that fills a reader and wakes those who wait for a writer.

use std::fmt;
use std::io;
use std::rc::Rc;

use tidegate_protocols::{AtEof, Cause, Incoming, Protocol, Transport};

use crate::errors::LimitError;
use crate::link::Link;
use crate::reader::StreamReader;
use crate::run::Large;
use crate::writer::StreamWriter;

/// A read that brought this much is expected to be followed by another as long, which is then read into memory of
/// the reader's own. A shorter one is copied, so that it does not keep much more memory than it fills.
const LARGE: usize = 16 * 1024;

/// The protocol behind a [`StreamReader`] and a [`StreamWriter`].
///
/// [`open_connection`](crate::open_connection) and [`start_server`](crate::start_server) make it. By itself it
/// makes streams of connections that are opened in another way. When the connection is given another protocol, its
/// streams answer an error of the kind [`NotConnected`](io::ErrorKind::NotConnected) and leave it alone. The asyncio
/// counterpart is `asyncio.StreamReaderProtocol`.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::os::unix::net::UnixStream;
/// use tidegate_streams::{DEFAULT_LIMIT, StreamReaderProtocol};
/// use tidegate_transports::create_connection;
///
/// tidegate_reactor::run(async {
///     let (ours, theirs) = UnixStream::pair()?;
///     let protocol = StreamReaderProtocol::new(DEFAULT_LIMIT, |mut reader, writer| {
///         let echo = async move {
///             let word = reader.read(100).await?;
///             writer.write(&word);
///             writer.close().await
///         };
///         tidegate_reactor::spawn(echo).expect("a running loop");
///     })?;
///     let transport = create_connection(|| protocol, ()).sock(ours).await?;
///     io::Write::write_all(&mut &theirs, b"hello")?;
///     transport.closed().await;
///     assert_eq!(io::read_to_string(theirs)?, "hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub struct StreamReaderProtocol {
    link: Rc<Link>,
    connected: Option<Connected>,
}

/// Is given the streams when the connection is made.
type Connected = Box<dyn FnOnce(StreamReader, StreamWriter)>;

impl StreamReaderProtocol {
    /// A protocol that gives `connected` the streams of its connection, in `connection_made`.
    ///
    /// `limit` is the reader's, in bytes; see [`StreamReader`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn new(
        limit: usize,
        connected: impl FnOnce(StreamReader, StreamWriter) + 'static,
    ) -> Result<StreamReaderProtocol, LimitError> {
        let link = Link::checked(limit)?;
        // Whoever opens the connection has its transport as well.
        link.hand_out();
        Ok(StreamReaderProtocol::with(link, connected))
    }

    /// The same, of a link whose limit is fine.
    pub(crate) fn with(
        link: Link,
        connected: impl FnOnce(StreamReader, StreamWriter) + 'static,
    ) -> StreamReaderProtocol {
        let mut protocol = StreamReaderProtocol::of(&Rc::new(link));
        protocol.connected = Some(Box::new(connected));
        protocol
    }

    /// The protocol that fills the reader of `link`.
    pub(crate) fn of(link: &Rc<Link>) -> StreamReaderProtocol {
        StreamReaderProtocol { link: Rc::clone(link), connected: None }
    }
}

impl Protocol for StreamReaderProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        self.link.set_transport(transport);
        if let Some(connected) = self.connected.take() {
            connected(StreamReader::of(&self.link), StreamWriter::new(&self.link));
        }
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.link.inbox.put(data);
        self.link.received();
        Ok(())
    }

    fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        if !self.link.inbox.expects_much.get() || !self.link.inbox.is_empty() {
            let Some(data) = incoming.shared() else { return Ok(()) };
            self.link.inbox.expects_much.set(data.len() >= LARGE);
            return self.data_received(transport, data);
        }
        let mut large = Large::new();
        let Some(length) = incoming.append(large.memory()) else { return Ok(()) };
        self.link.inbox.expects_much.set(length >= LARGE);
        if length < LARGE {
            return self.data_received(transport, large.bytes());
        }
        self.link.inbox.append(large.into_run());
        self.link.received();
        Ok(())
    }

    fn eof_received(&mut self, _transport: &Transport) -> io::Result<AtEof> {
        self.link.inbox.end_with_eof();
        Ok(AtEof::KeepWriting)
    }

    fn pause_writing(&mut self, _transport: &Transport) {
        self.link.told_paused.set(true);
        self.link.alarmed.set(true);
    }

    fn resume_writing(&mut self, _transport: &Transport) {
        self.link.told_paused.set(false);
        self.link.drained.wake_all();
    }

    fn connection_lost(&mut self, _transport: &Transport, cause: Option<Cause>) {
        self.link.lose(cause);
    }
}

/// Whoever gives the connection another protocol leaves its streams behind: they must not wait for ever.
impl Drop for StreamReaderProtocol {
    fn drop(&mut self) {
        if !self.link.is_lost() {
            let text = "the connection was given another protocol, or its loop was closed";
            self.link.detach(io::Error::new(io::ErrorKind::NotConnected, text).into());
        }
    }
}

impl fmt::Debug for StreamReaderProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReaderProtocol").finish_non_exhaustive()
    }
}
