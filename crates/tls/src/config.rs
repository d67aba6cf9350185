//! How either side of TLS behaves: made once, from files or values, and checked before anything is opened.

mod asked_name;
mod by_name;
mod choices;
mod client;
mod error;
mod identity;
mod key_log;
mod name;
mod pem;
mod roots;
mod server;
mod terms;
mod verifiers;
mod versions;

pub use client::{Client, ClientBuilder};
pub use error::{ConfigError, Origin};
pub use name::NameError;
pub use roots::Roots;
pub use server::{Server, ServerBuilder};
pub use versions::Version;

pub(crate) use asked_name::asked_name_of;
pub(crate) use terms::Terms;

#[cfg(test)]
mod tests;
