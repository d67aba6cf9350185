//! asyncio's networking model for Rust: an event loop, callback protocols over transports with exact write
//! flow control, and the servers, connections, pipes and endpoints they run on.
//!
//! ```no_run
//! use std::io;
//! use tidegate::prelude::*;
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
//!         transport.write(data);
//!         Ok(())
//!     }
//!     fn pause_writing(&mut self, transport: &Transport) {
//!         transport.pause_reading();
//!     }
//!     fn resume_writing(&mut self, transport: &Transport) {
//!         transport.resume_reading();
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     tidegate::run(async {
//!         let server = create_server(|| Echo, ("127.0.0.1", 8888)).await?;
//!         println!("serving on {}", server.sockets()[0].sockname());
//!         server.serve_forever().await
//!     })
//! }
//! ```
//!
//! This crate has no logic of its own: it re-exports, by name, what the crates below it define.
//!
//! | crate | what it is |
//! |---|---|
//! | [`reactor`] | the loop: callbacks, timers, tasks, readers, signals, with no protocol and no transport |
//! | [`protocols`] | the contract: protocols, transports, flow, layers, with no loop and no socket |
//! | [`transports`] | connections and servers: the contract on the loop's sockets |
//! | [`streams`] | the same connections from a task: readers and writers that are awaited |
//! | `tls` | TLS as a layer in between, with a feature |
//! | `subprocess` | children under the same contract, and from a task; with the feature of that name |
//!
//! The loop, TCP, pipes, standard streams and streams are always there. What else there is has a feature, which brings
//! the names of a room into this crate and changes nothing else:
//!
//! | feature | what it brings |
//! |---|---|
//! | `unix` | Unix sockets: `create_unix_connection`, `create_unix_server`, `open_unix_connection`, `start_unix_server`, passing descriptors |
//! | `datagram` | datagrams: `create_datagram_endpoint`, `open_datagram` |
//! | `tls` | TLS: the module `tls`, `.tls(..)` on the builders, `start_tls`; the cryptography is that of aws-lc-rs |
//! | `tls-ring` | the same, and the cryptography is ring's, unless `tls` is there too |
//! | `subprocess` | children: `subprocess_exec`, `subprocess_shell`, `create_subprocess_exec`, `create_subprocess_shell` |
//! | `full` | all of them, ring excepted |
//!
//! Whoever comes from asyncio finds every name and every difference in [`from_asyncio`].

#![forbid(unsafe_code)]

#[cfg(windows)]
compile_error!("Tidegate runs on Unix: Windows is not supported.");

pub mod from_asyncio;

pub use tidegate_protocols as protocols;
pub use tidegate_reactor as reactor;
pub use tidegate_streams as streams;
#[cfg(feature = "subprocess")]
pub use tidegate_subprocess as subprocess;
#[cfg(any(feature = "tls", feature = "tls-ring"))]
pub use tidegate_tls as tls;
pub use tidegate_transports as transports;

pub use tidegate_protocols::{
    Above, Address, AtEof, Cause, DetachError, Detached, Flow, Gate, Incoming, Layer, Layered,
    LimitsError, PeerName, Pipe, PipeKind, Protocol, Raise, ReadTransport, SockName, Transport,
    TransportStatistics, UnixAddress, WithProtocolError, WriteLimits, WriteTransport,
};
pub use tidegate_reactor::{
    Abandoned, Clock, EventLoop, Future, Handle, JoinError, JoinHandle, LoopError, LoopHandle,
    LoopStatistics, OffloadError, Promise, Remote, Report, Signal, SignalError, TimeoutError,
    TimerHandle, create_future, run, sleep, spawn, timeout,
};
pub use tidegate_streams::{
    AdoptStreams, DEFAULT_LIMIT, Feeder, FillToEndError, Handler, IncompleteReadError, LimitError,
    LimitOverrunError, Lines, OpenConnection, OpenPipes, OpenReadPipe, OpenWritePipe, Outcome,
    ReadExactlyError, ReadUntilError, SeparatorError, StartServer, StreamLimit, StreamPair,
    StreamReader, StreamReaderProtocol, StreamTlsError, StreamWriter, adopt_streams,
    open_connection, open_pipes, open_read_pipe, open_stderr, open_stdin, open_stdout,
    open_write_pipe, start_server,
};
pub use tidegate_transports::{
    Adopt, ArgumentError, BindError, ConnectAcceptedSocket, ConnectCallError, ConnectError,
    ConnectPipe, ConnectionFactory, CreateConnection, CreateServer, Family, Hosts, ProtocolFactory,
    Sendfile, SendfileError, Server, ServerError, ServerSocket, ServerStatistics, SockTarget,
    Standard, Target, adopt, connect_accepted_socket, connect_pipes, connect_read_pipe,
    connect_stderr, connect_stdin, connect_stdout, connect_write_pipe, create_connection,
    create_server, sendfile, sock_accept, sock_connect, sock_recv, sock_recv_into, sock_recvfrom,
    sock_recvfrom_into, sock_sendall, sock_sendfile, sock_sendto,
};

#[cfg(feature = "unix")]
pub use tidegate_protocols::{MAX_FDS, PeerCredentials, SendFdsError};
#[cfg(feature = "unix")]
pub use tidegate_streams::{
    OpenUnixConnection, StartUnixServer, open_unix_connection, start_unix_server,
};
#[cfg(feature = "unix")]
pub use tidegate_transports::{
    CreateUnixConnection, CreateUnixServer, TruncatedFds, UnixError, UnixPath, UnixReason,
    create_unix_connection, create_unix_server,
};

#[cfg(feature = "datagram")]
pub use tidegate_protocols::{
    DatagramProtocol, DatagramStatistics, DatagramTransport, Destination, SendtoError,
};
#[cfg(feature = "datagram")]
pub use tidegate_streams::{DatagramStream, OpenDatagram, open_datagram};
#[cfg(feature = "datagram")]
pub use tidegate_transports::{
    CreateDatagramEndpoint, DatagramArgumentError, DatagramFactory, create_datagram_endpoint,
};

#[cfg(feature = "subprocess")]
pub use tidegate_subprocess::{
    ChildProcess, Communicate, CommunicateError, CreateSubprocess, PipeTransport, Process,
    ProcessOutput, SendSignalError, SpawnArgumentError, SpawnError, SpawnSubprocess, Stdio,
    SubprocessFactory, SubprocessProtocol, SubprocessTransport, create_subprocess_exec,
    create_subprocess_shell, subprocess_exec, subprocess_shell,
};

/// What most programs use, in one line.
pub mod prelude {
    pub use tidegate_protocols::{AtEof, Cause, Flow, Layered, Protocol, Transport};
    pub use tidegate_reactor::{LoopHandle, create_future, run, sleep, spawn, timeout};
    pub use tidegate_streams::{
        ReadUntilError, StreamLimit, StreamPair, StreamReader, StreamWriter, open_connection,
        open_stdin, open_stdout, start_server,
    };
    pub use tidegate_transports::{
        Server, connect_accepted_socket, connect_read_pipe, connect_write_pipe, create_connection,
        create_server, sendfile,
    };

    #[cfg(feature = "datagram")]
    pub use tidegate_protocols::{Address, DatagramProtocol, DatagramTransport};
    #[cfg(feature = "datagram")]
    pub use tidegate_streams::{DatagramStream, open_datagram};
    #[cfg(feature = "unix")]
    pub use tidegate_streams::{open_unix_connection, start_unix_server};
    #[cfg(feature = "subprocess")]
    pub use tidegate_subprocess::{
        Process, Stdio, SubprocessProtocol, SubprocessTransport, create_subprocess_exec,
        create_subprocess_shell, subprocess_exec, subprocess_shell,
    };
    #[cfg(any(feature = "tls", feature = "tls-ring"))]
    pub use tidegate_tls::{ClientTls, ServerTls};
    #[cfg(feature = "datagram")]
    pub use tidegate_transports::create_datagram_endpoint;
    #[cfg(feature = "unix")]
    pub use tidegate_transports::{create_unix_connection, create_unix_server};
}
