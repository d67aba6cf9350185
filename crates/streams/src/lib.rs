//! Streams: the same connections as transports and protocols, seen from a task.
//!
//! A [`StreamReader`] is awaited for what the peer sends, and a [`StreamWriter`] sends. Between them and the
//! transport stands a protocol, [`StreamReaderProtocol`], which fills the reader, pauses the transport when
//! nobody reads, and wakes those who wait in [`drain`](StreamWriter::drain). So streams cost no more system
//! calls than protocols do, and what several tasks write in one turn leaves together.
//!
//! | you want to | look at |
//! |---|---|
//! | connect | [`open_connection`], [`open_unix_connection`] |
//! | serve | [`start_server`], [`start_unix_server`] |
//! | read from a pipe, or write to one | [`open_read_pipe`], [`open_write_pipe`], [`open_pipes`] |
//! | read standard input, write standard output | [`open_stdin`], [`open_stdout`], [`open_stderr`] |
//! | send and receive datagrams | [`open_datagram`] |
//! | go on in TLS | [`StreamWriter::start_tls`], [`StreamPair::start_tls`] |
//! | go on in another loop | [`StreamPair::detach`], [`adopt_streams`] |
//! | give a connection to a crate of the futures ecosystem | [`StreamPair`] |
//! | feed a reader yourself | [`StreamReader::new`], [`Feeder`] |
//!
//! # Examples
//!
//! ```
//! use std::io;
//! use tidegate_streams::{StreamReader, StreamWriter, open_connection, start_server};
//!
//! async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
//!     loop {
//!         let line = reader.readline().await?;
//!         if line.is_empty() {
//!             return writer.close().await;
//!         }
//!         writer.write(&line);
//!         writer.drain().await?;
//!     }
//! }
//!
//! tidegate_reactor::run(async {
//!     let server = start_server(echo, ("127.0.0.1", 0)).await?;
//!     let address = server.sockets()[0].sockname().as_inet().unwrap();
//!
//!     let (mut reader, writer) = open_connection(address).await?;
//!     writer.write(b"hello\n");
//!     assert_eq!(reader.readline().await?, "hello\n");
//!     writer.close().await
//! })?;
//! # Ok::<(), io::Error>(())
//! ```

#![forbid(unsafe_code)]
#![cfg(not(windows))]

mod datagram;
mod detach;
mod errors;
mod feeder;
mod handler;
mod inbox;
mod io_traits;
mod lines;
mod link;
mod open;
mod pipes;
mod protocol;
mod reader;
mod run;
mod scan;
mod sendfile;
mod start_tls;
mod unix;
mod until;
mod writer;

pub use datagram::{DatagramStream, Datagrams, OpenDatagram, open_datagram};
pub use detach::{AdoptStreams, adopt_streams};
pub use errors::{
    FillToEndError, IncompleteReadError, LimitError, LimitOverrunError, ReadExactlyError,
    ReadUntilError, SeparatorError,
};
pub use feeder::Feeder;
pub use handler::{Handler, Outcome, Plain, Spawned};
pub use io_traits::StreamPair;
pub use lines::Lines;
pub use open::{
    DEFAULT_LIMIT, OpenConnection, Serve, StartServer, StreamLimit, Streams, open_connection,
    start_server,
};
pub use pipes::{
    OpenPipes, OpenReadPipe, OpenWritePipe, ReadStream, WriteStream, open_pipes, open_read_pipe,
    open_stderr, open_stdin, open_stdout, open_write_pipe,
};
pub use protocol::StreamReaderProtocol;
pub use reader::StreamReader;
pub use start_tls::StreamTlsError;
pub use unix::{OpenUnixConnection, StartUnixServer, open_unix_connection, start_unix_server};
pub use until::ReadUntil;
pub use writer::{Drain, StreamWriter, WaitClosed};
