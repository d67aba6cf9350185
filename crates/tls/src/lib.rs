//! TLS as a layer between a transport and a protocol, after asyncio's `ssl` arguments and `start_tls`.
//!
//! [`Client`] and [`Server`] say how either side behaves: whom it trusts, what it shows, how long it waits. Both are
//! made once and cheap to clone. The cryptography is a [`Provider`], chosen by a feature of this crate and handed on by
//! value; nothing is installed for the whole process.
//!
//! | you want to | look at |
//! |---|---|
//! | connect by TLS | [`ClientTls`], [`Client`] |
//! | serve by TLS | [`ServerTls`], [`Server`] |
//! | go on in TLS with a connection that began in clear | [`start_tls`], [`Upgrade`]; `start_tls` of a stream's writer |
//! | be believed without an authority, in tests | [`ClientBuilder::root_certificates`], with a certificate made by `rcgen`, say |
//! | know what was agreed on, and with whom | [`Cipher`], [`Alpn`], [`PeerCertificates`], by `get_extra_info` |
//! | know what went wrong | [`TlsError::of`], [`ConfigError`], [`StartTlsError`] |
//!
//! The [`Server`] of this crate says how; the one of `tidegate-transports`, which is in the prelude of `tidegate`, is
//! one that listens. So there this one is best called `tls::Server`.
//!
//! # Examples
//!
//! With streams, each side in one line more than without TLS:
//!
//! ```no_run
//! use std::io;
//! use tidegate_streams::{StreamReader, StreamWriter, open_connection, start_server};
//! use tidegate_tls::{Cipher, Client, ClientTls, Server, ServerTls};
//!
//! async fn greet(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
//!     let name = reader.readline().await?;
//!     writer.writelines([&b"hello "[..], &name]);
//!     writer.close().await
//! }
//!
//! fn main() -> io::Result<()> {
//!     let server = Server::from_pem_files("chain.pem", "key.pem")?;
//!     let client = Client::builder().root_certificates("authority.pem").build()?;
//!     tidegate_reactor::run(async {
//!         let _serving = start_server(greet, ("localhost", 8443)).tls(server).await?;
//!         let (mut reader, writer) = open_connection(("localhost", 8443)).tls(client, "").await?;
//!         println!("{:?}", writer.get_extra_info::<Cipher>());
//!         writer.write(b"tide\n");
//!         assert_eq!(reader.readline().await?, "hello tide\n");
//!         writer.close().await
//!     })
//! }
//! ```

#![forbid(unsafe_code)]
#![cfg(not(windows))]

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "tidegate-tls needs cryptography: switch on the feature `aws-lc-rs` (the default) or `ring`"
);

mod config;
mod connection;
mod deadlines;
mod ending;
mod error;
mod info;
mod layer;
mod lifecycle;
mod lower;
mod provider;
mod reading;
mod scratch;
mod session;
mod start_tls;
mod turn;
mod upper;
mod writing;

// The authority of the tests names this crate as its users do.
#[cfg(test)]
extern crate self as tidegate_tls;
#[cfg(test)]
#[path = "../tests/authority/mod.rs"]
mod authority;

pub use config::{
    Client, ClientBuilder, ConfigError, NameError, Origin, Roots, Server, ServerBuilder, Version,
};
pub use error::{Alert, CertificateProblem, TlsError};
pub use info::{Alpn, Cipher, Compression, PeerCertificates, SessionReused, TlsConfig, TlsName};
pub use layer::{ClientLayer, ClientTls, ServerLayer, ServerTls};
pub use provider::Provider;
/// The library that does the work: for [`Client::from_config`] and [`Server::from_config`], in the version that fits.
pub use rustls;
pub use start_tls::{StartTls, StartTlsError, Upgrade, start_tls};
