//! The cryptography that TLS is made with, as a value that is handed on.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

#[cfg(feature = "aws-lc-rs")]
mod aws_lc_rs;
#[cfg(feature = "ring")]
mod ring;

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs::built_in as preferred;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
use ring::built_in as preferred;

/// Where cryptography comes from: a library, with the cipher suites and key exchanges that it offers.
///
/// The features `aws-lc-rs` and `ring` of this crate build one in; both may be. The default is aws-lc-rs if it is
/// built in, else ring. Any other provider for rustls becomes one by `From`. It is cheap to clone, and nothing is ever
/// installed for the whole process: two connections of one program may well use two providers.
///
/// asyncio has no counterpart; its cryptography is OpenSSL.
///
/// # Examples
///
/// ```
/// use tidegate_tls::{Client, Provider};
///
/// # fn client() -> Result<Client, tidegate_tls::ConfigError> {
/// let client = Client::builder().provider(Provider::default()).build()?;
/// # Ok(client) }
/// ```
#[derive(Clone)]
pub struct Provider {
    crypto: Arc<CryptoProvider>,
    ticketer: Option<MakeTicketer>,
}

/// How a provider makes what encrypts session tickets.
type MakeTicketer = fn() -> Result<Arc<dyn ProducesTickets>, rustls::Error>;

impl Provider {
    /// The provider as rustls has it: for a configuration of rustls, or to make another provider of it.
    ///
    /// # Examples
    ///
    /// A provider that knows one way to exchange keys less:
    ///
    /// ```
    /// use tidegate_tls::{Provider, rustls::crypto::CryptoProvider};
    ///
    /// let mut crypto = CryptoProvider::clone(Provider::default().crypto());
    /// crypto.kx_groups.pop();
    /// let provider = Provider::from(crypto);
    /// ```
    pub fn crypto(&self) -> &Arc<CryptoProvider> {
        &self.crypto
    }

    /// What encrypts session tickets, with fresh keys; nothing if the provider is not one of ours.
    pub(crate) fn ticketer(&self) -> Option<Result<Arc<dyn ProducesTickets>, rustls::Error>> {
        self.ticketer.map(|make| make())
    }
}

impl Default for Provider {
    /// aws-lc-rs if it is built in, else ring.
    fn default() -> Provider {
        preferred()
    }
}

impl From<CryptoProvider> for Provider {
    /// Takes any provider for rustls, such as one of the built-in ones with fewer cipher suites.
    ///
    /// Session tickets are not encrypted by it: a server made with it keeps sessions in memory.
    fn from(crypto: CryptoProvider) -> Provider {
        Provider::from(Arc::new(crypto))
    }
}

impl From<Arc<CryptoProvider>> for Provider {
    fn from(crypto: Arc<CryptoProvider>) -> Provider {
        Provider { crypto, ticketer: None }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suites = self.crypto.cipher_suites.iter().map(|suite| suite.suite());
        formatter.debug_tuple("Provider").field(&suites.collect::<Vec<_>>()).finish()
    }
}
