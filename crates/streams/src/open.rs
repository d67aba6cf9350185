//! Connections and servers whose ends are streams.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;

use tidegate_protocols::{Protocol, Transport};
use tidegate_transports::{
    ConnectionFactory, CreateConnection, CreateServer, Hosts, ProtocolFactory, Target,
};

use crate::errors::LimitError;
use crate::handler::Handler;
use crate::link::Link;
use crate::protocol::StreamReaderProtocol;
use crate::reader::StreamReader;
use crate::writer::StreamWriter;

/// The limit of a reader unless another one is asked for, in bytes.
pub const DEFAULT_LIMIT: usize = 64 * 1024;

/// Opens a connection and answers its reader and its writer.
///
/// The answer is a builder; await it. It has every option of [`CreateConnection`]: a socket that exists
/// ([`sock`](CreateConnection::sock), with `()` as the target), the local address, families, Happy Eyeballs,
/// [`write_buffer_limits`](CreateConnection::write_buffer_limits), and, by [`StreamLimit`], the reader's
/// [`limit`](StreamLimit::limit). The asyncio counterpart is `asyncio.open_connection()`.
///
/// # Errors
///
/// Those of [`create_connection`](tidegate_transports::create_connection), and a [`LimitError`].
///
/// # Cancel safety
///
/// As for [`create_connection`](tidegate_transports::create_connection): dropping the future closes everything.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_streams::{StreamLimit, open_connection};
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let (mut reader, writer) = open_connection(("127.0.0.1", 8888)).limit(1024).await?;
///         writer.write(b"hello\n");
///         print!("{}", String::from_utf8_lossy(&reader.readline().await?));
///         writer.close().await
///     })
/// }
/// ```
pub fn open_connection(target: impl Into<Target>) -> OpenConnection {
    CreateConnection::new(Streams { limit: DEFAULT_LIMIT }, target)
}

/// Serves: `handler` is given the streams of each client.
///
/// The answer is a builder; await it for the same [`Server`](tidegate_transports::Server) that
/// [`create_server`](tidegate_transports::create_server) makes. It has every option of [`CreateServer`], such as
/// [`backlog`](CreateServer::backlog), [`max_connections`](CreateServer::max_connections),
/// [`idle_timeout`](CreateServer::idle_timeout), [`write_buffer_limits`](CreateServer::write_buffer_limits) and
/// [`abort_above`](CreateServer::abort_above) (whose error every read and drain of that client then answers), and, by
/// [`StreamLimit`], the readers' [`limit`](StreamLimit::limit). What a handler may be, and what becomes of its errors,
/// says [`Handler`]. The asyncio counterpart is `asyncio.start_server()`.
///
/// # Errors
///
/// Those of [`create_server`](tidegate_transports::create_server), and a [`LimitError`].
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_streams::{StreamReader, StreamWriter, start_server};
///
/// async fn greet(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     let name = reader.readline().await?;
///     writer.writelines([&b"hello "[..], &name]);
///     writer.close().await
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         start_server(greet, ("127.0.0.1", 8888)).await?.serve_forever().await
///     })
/// }
/// ```
pub fn start_server<H, M>(handler: H, hosts: impl Into<Hosts>) -> StartServer<H, M>
where
    H: Handler<M>,
    M: 'static,
{
    let serve = Serve { limit: DEFAULT_LIMIT, handler: Rc::new(handler), marker: PhantomData };
    CreateServer::new(serve, hosts)
}

/// The builder of [`open_connection`].
pub type OpenConnection = CreateConnection<Streams>;

/// The builder of [`start_server`].
pub type StartServer<H, M> = CreateServer<Serve<H, M>>;

/// The option of a builder of streams that other builders do not have.
pub trait StreamLimit {
    /// Sets the reader's limit in bytes; 64 KiB unless set. See [`StreamReader`].
    ///
    /// With 0 the builder answers a [`LimitError`] when it is awaited.
    fn limit(self, bytes: usize) -> Self;
}

impl StreamLimit for OpenConnection {
    fn limit(self, bytes: usize) -> Self {
        self.with_factory(|streams| streams.limit = bytes)
    }
}

impl<H: Handler<M>, M: 'static> StreamLimit for StartServer<H, M> {
    fn limit(self, bytes: usize) -> Self {
        self.with_factory(|serve| serve.limit = bytes)
    }
}

/// What [`open_connection`] makes of its connection: a reader and a writer.
#[derive(Debug)]
pub struct Streams {
    pub(crate) limit: usize,
}

impl ConnectionFactory for Streams {
    type Opened = (StreamReader, StreamWriter);
    type Kept = StreamReader;

    fn check(&self) -> io::Result<()> {
        Ok(LimitError::check(self.limit)?)
    }

    fn make(self) -> (Box<dyn Protocol>, StreamReader) {
        let reader = StreamReader::of(&Rc::new(Link::new(self.limit)));
        (Box::new(StreamReaderProtocol::of(reader.link())), reader)
    }

    fn opened(reader: StreamReader, transport: Transport) -> (StreamReader, StreamWriter) {
        // It is set already, unless a layer has opened before it greeted.
        reader.link().set_transport(&transport);
        let writer = StreamWriter::new(reader.link());
        (reader, writer)
    }
}

/// What [`start_server`] makes of each connection: a reader and a writer, for its handler.
pub struct Serve<H, M> {
    limit: usize,
    handler: Rc<H>,
    marker: PhantomData<M>,
}

impl<H: Handler<M>, M: 'static> ProtocolFactory for Serve<H, M> {
    fn check(&self) -> io::Result<()> {
        Ok(LimitError::check(self.limit)?)
    }

    fn make(&mut self) -> Box<dyn Protocol> {
        let handler = Rc::clone(&self.handler);
        let connected = move |reader, writer| handler.handle(reader, writer);
        Box::new(StreamReaderProtocol::with(Link::new(self.limit), connected))
    }
}

impl<H, M> fmt::Debug for Serve<H, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("limit", &self.limit).finish_non_exhaustive()
    }
}
