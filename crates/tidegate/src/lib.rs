//! asyncio's networking model for Rust: an event loop, callback protocols over transports with exact write
//! flow control, and the servers and connections they run on.
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
//!
//! Whoever comes from asyncio finds every name and every difference in [`from_asyncio`].

#![forbid(unsafe_code)]

#[cfg(windows)]
compile_error!("Tidegate runs on Unix: Windows is not supported.");

pub mod from_asyncio;

pub use tidegate_protocols as protocols;
pub use tidegate_reactor as reactor;
pub use tidegate_streams as streams;
pub use tidegate_transports as transports;

pub use tidegate_protocols::{
    Above, Address, AtEof, Cause, Flow, Gate, Incoming, Layer, Layered, LimitsError, PeerName,
    Protocol, SockName, Transport, TransportStatistics, UnixAddress, WithProtocolError,
    WriteLimits,
};
pub use tidegate_reactor::{
    Abandoned, Clock, EventLoop, Future, Handle, JoinError, JoinHandle, LoopError, LoopHandle,
    LoopStatistics, OffloadError, Promise, Remote, Report, Signal, SignalError, TimeoutError,
    TimerHandle, create_future, run, sleep, spawn, timeout,
};
pub use tidegate_streams::{
    DEFAULT_LIMIT, Feeder, Handler, IncompleteReadError, LimitError, LimitOverrunError, Lines,
    OpenConnection, Outcome, ReadExactlyError, ReadUntilError, SeparatorError, StartServer,
    StreamLimit, StreamPair, StreamReader, StreamReaderProtocol, StreamWriter, open_connection,
    start_server,
};
pub use tidegate_transports::{
    ArgumentError, BindError, ConnectAcceptedSocket, ConnectError, ConnectionFactory,
    CreateConnection, CreateServer, Family, Hosts, ProtocolFactory, Server, ServerError,
    ServerSocket, ServerStatistics, Target, connect_accepted_socket, create_connection,
    create_server,
};

/// What most programs use, in one line.
pub mod prelude {
    pub use tidegate_protocols::{AtEof, Cause, Flow, Layered, Protocol, Transport};
    pub use tidegate_reactor::{LoopHandle, create_future, run, sleep, spawn, timeout};
    pub use tidegate_streams::{
        ReadUntilError, StreamLimit, StreamPair, StreamReader, StreamWriter, open_connection,
        start_server,
    };
    pub use tidegate_transports::{
        Server, connect_accepted_socket, create_connection, create_server,
    };
}
