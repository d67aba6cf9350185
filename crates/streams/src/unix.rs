//! Connections and servers over Unix sockets whose ends are streams.

use tidegate_transports::{CreateUnixConnection, CreateUnixServer, UnixPath};

use crate::handler::Handler;
use crate::open::{Serve, Streams};

/// Opens a connection to a Unix socket and answers its reader and its writer.
///
/// The answer is a builder; await it. It has every option of [`CreateUnixConnection`], and, by
/// [`StreamLimit`](crate::StreamLimit), the reader's limit. The asyncio counterpart is
/// `asyncio.open_unix_connection()`.
///
/// A stream has no place for descriptors that the peer passes: with
/// [`receive_fds`](tidegate_transports::CreateConnection::receive_fds) they are closed as they come. They can be sent, by
/// [`StreamWriter::transport`](crate::StreamWriter::transport).
///
/// # Errors
///
/// Those of [`create_unix_connection`](tidegate_transports::create_unix_connection), and a
/// [`LimitError`](crate::LimitError).
///
/// # Cancel safety
///
/// As for [`create_unix_connection`](tidegate_transports::create_unix_connection): dropping the future closes
/// everything.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_streams::open_unix_connection;
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let (mut reader, writer) = open_unix_connection("/run/service.sock").await?;
///         writer.write(b"hello\n");
///         print!("{}", String::from_utf8_lossy(&reader.readline().await?));
///         writer.close().await
///     })
/// }
/// ```
pub fn open_unix_connection(path: impl Into<UnixPath>) -> OpenUnixConnection {
    CreateUnixConnection::of(Streams::new(), path)
}

/// Serves on a Unix socket: `handler` is given the streams of each client.
///
/// The answer is a builder; await it for the same [`Server`](tidegate_transports::Server) that
/// [`create_unix_server`](tidegate_transports::create_unix_server) makes, which says what becomes of a file that is
/// there already. It has every option of [`CreateUnixServer`], and, by [`StreamLimit`](crate::StreamLimit), the
/// readers' limit. The asyncio counterpart is `asyncio.start_unix_server()`.
///
/// # Errors
///
/// Those of [`create_unix_server`](tidegate_transports::create_unix_server), and a
/// [`LimitError`](crate::LimitError).
///
/// # Cancel safety
///
/// As for [`create_unix_server`](tidegate_transports::create_unix_server): dropping the future closes the socket and
/// removes its file.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_streams::{StreamReader, StreamWriter, start_unix_server};
///
/// async fn greet(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     let name = reader.readline().await?;
///     writer.writelines([&b"hello "[..], &name]);
///     writer.close().await
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         start_unix_server(greet, "/run/greet.sock").await?.serve_forever().await
///     })
/// }
/// ```
pub fn start_unix_server<H, M>(handler: H, path: impl Into<UnixPath>) -> StartUnixServer<H, M>
where
    H: Handler<M>,
    M: 'static,
{
    CreateUnixServer::of(Serve::new(handler), path)
}

/// The builder of [`open_unix_connection`].
pub type OpenUnixConnection = CreateUnixConnection<Streams>;

/// The builder of [`start_unix_server`].
pub type StartUnixServer<H, M> = CreateUnixServer<Serve<H, M>>;
