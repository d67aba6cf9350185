//! Connections and servers: the contract of `tidegate-protocols` on the event loop of `tidegate-reactor`.
//!
//! A [`Protocol`](tidegate_protocols::Protocol) is what a program writes; a
//! [`Transport`](tidegate_protocols::Transport) is the handle it is given. This crate is what joins the two
//! to sockets: [`create_connection`] opens a connection, [`create_server`] accepts them,
//! [`connect_accepted_socket`] takes over one that was accepted elsewhere, and [`adopt`] goes on with one that
//! was [detached](tidegate_protocols::Transport::detach) from another loop. [`create_unix_connection`] and
//! [`create_unix_server`] do the same over Unix sockets, which can pass descriptors.
//!
//! [`connect_read_pipe`] and [`connect_write_pipe`] do the same with pipes and whatever is like them,
//! [`connect_stdin`], [`connect_stdout`] and [`connect_stderr`] with the program's own streams.
//!
//! [`create_datagram_endpoint`] sends and receives datagrams.
//!
//! For plain non-blocking sockets, without a transport, there are the `sock_*` calls, such as [`sock_recv`]; and
//! [`sendfile`] sends a file on either.
//!
//! Below all but the datagrams there is one stream transport for every kind of descriptor, in [`stream`]; whoever
//! carries bytes over a medium of their own implements [`stream::Wire`] and gets everything else.

#![deny(unsafe_code)]
#![cfg(not(windows))]

mod accepted;
mod addresses;
mod connect;
mod create_datagram_endpoint;
mod create_server;
pub mod datagram;
mod detach;
mod endpoint_socket;
mod errors;
mod factory;
mod happy_eyeballs;
mod kind;
mod lifecycle;
mod opening;
mod pipe;
mod read_ahead;
mod sendfile;
mod server;
mod sock;
mod socket;
mod stdio;
pub mod stream;
mod tcp;
mod unix;
mod wire;

pub use accepted::{ConnectAcceptedSocket, connect_accepted_socket};
pub use addresses::{Family, Host, Hosts, Target};
pub use connect::{CreateConnection, Route, create_connection};
pub use create_datagram_endpoint::{CreateDatagramEndpoint, create_datagram_endpoint};
pub use create_server::{CreateServer, Places, create_server};
pub use detach::{Adopt, adopt};
pub use errors::{
    ArgumentError, BindError, ConnectCallError, ConnectError, DatagramArgumentError, ServerError,
};
pub use factory::{ConnectionFactory, DatagramFactory, ProtocolFactory};
pub use opening::Connecting;
pub use pipe::{
    ConnectPipe, PipeEnds, Reading, Writing, connect_pipes, connect_read_pipe, connect_write_pipe,
};
pub use sendfile::{Sendfile, SendfileError, Sending, sendfile};
pub use server::{Server, ServerSocket, ServerStatistics};
pub use sock::{
    SockTarget, sock_accept, sock_connect, sock_recv, sock_recv_into, sock_recvfrom,
    sock_recvfrom_into, sock_sendall, sock_sendfile, sock_sendto,
};
pub use socket::Socket;
pub use stdio::{Standard, connect_stderr, connect_stdin, connect_stdout};
pub use unix::{
    CreateUnixConnection, CreateUnixServer, TruncatedFds, UnixError, UnixPath, UnixPlace,
    UnixReason, UnixRoute, create_unix_connection, create_unix_server,
};
