//! Connections and servers: the contract of `tidegate-protocols` on the event loop of `tidegate-reactor`.
//!
//! A [`Protocol`](tidegate_protocols::Protocol) is what a program writes; a
//! [`Transport`](tidegate_protocols::Transport) is the handle it is given. This crate is what joins the two
//! to sockets: [`create_connection`] opens a connection, [`create_server`] accepts them,
//! [`connect_accepted_socket`] takes over one that was accepted elsewhere, [`create_datagram_endpoint`] sends and
//! receives datagrams.
//!
//! Below the first three there is one stream transport for every kind of descriptor, in [`stream`]; whoever
//! carries bytes over a medium of their own implements [`stream::Wire`] and gets everything else.

#![forbid(unsafe_code)]
#![cfg(not(windows))]

mod accepted;
mod addresses;
mod connect;
mod create_datagram_endpoint;
mod create_server;
pub mod datagram;
mod endpoint_socket;
mod errors;
mod factory;
mod happy_eyeballs;
mod lifecycle;
mod opening;
mod server;
mod socket;
pub mod stream;
mod tcp;
mod wire;

pub use accepted::{ConnectAcceptedSocket, connect_accepted_socket};
pub use addresses::{Family, Host, Hosts, Target};
pub use connect::{CreateConnection, create_connection};
pub use create_datagram_endpoint::{CreateDatagramEndpoint, create_datagram_endpoint};
pub use create_server::{CreateServer, create_server};
pub use errors::{ArgumentError, BindError, ConnectError, DatagramArgumentError, ServerError};
pub use factory::{ConnectionFactory, DatagramFactory, ProtocolFactory};
pub use opening::Connecting;
pub use server::{Server, ServerSocket, ServerStatistics};
pub use socket::Socket;
