//! TLS as a layer between a transport and a protocol, after asyncio's `ssl` arguments and `start_tls`.
//!
//! [`Client`] and [`Server`] say how either side behaves: whom it trusts, what it shows, how long it waits. Both are
//! made once and cheap to clone. The cryptography is a [`Provider`], chosen by a feature of this crate and handed on by
//! value; nothing is installed for the whole process.

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
