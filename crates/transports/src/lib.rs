//! Connections and servers: the contract of `tidegate-protocols` on the event loop of `tidegate-reactor`.
//!
//! A [`Protocol`](tidegate_protocols::Protocol) is what a program writes; a
//! [`Transport`](tidegate_protocols::Transport) is the handle it is given. This crate is what joins the two
//! to sockets: [`create_connection`] opens a connection, [`create_server`] accepts them,
//! [`connect_accepted_socket`] takes over one that was accepted elsewhere, and [`adopt`] goes on with one that
//! was [detached](tidegate_protocols::Transport::detach) from another loop.
//!
//! Below those there is one stream transport for every kind of descriptor, in [`stream`]; whoever
//! carries bytes over a medium of their own implements [`stream::Wire`] and gets everything else.

#![forbid(unsafe_code)]
#![cfg(not(windows))]

mod accepted;
mod addresses;
mod connect;
mod create_server;
mod detach;
mod errors;
mod factory;
mod happy_eyeballs;
mod lifecycle;
mod opening;
mod read_ahead;
mod server;
mod socket;
pub mod stream;
mod tcp;
mod wire;

pub use accepted::{ConnectAcceptedSocket, connect_accepted_socket};
pub use addresses::{Family, Host, Hosts, Target};
pub use connect::{CreateConnection, create_connection};
pub use create_server::{CreateServer, create_server};
pub use detach::{Adopt, adopt};
pub use errors::{ArgumentError, BindError, ConnectError, ServerError};
pub use factory::{ConnectionFactory, ProtocolFactory};
pub use opening::Connecting;
pub use server::{Server, ServerSocket, ServerStatistics};
pub use socket::Socket;
