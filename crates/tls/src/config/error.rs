//! What can be wrong with a configuration of TLS, as values that a program can match.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Version;

/// A configuration that cannot be used, found when it is built: before any connection and any listener.
///
/// It becomes an [`io::Error`] with `?`: of the file's own kind if a file could not be read, else of the kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput). `error.get_ref().and_then(|inner| inner.downcast_ref())` finds it
/// again.
///
/// The asyncio counterparts are the `ValueError` of the same text, the `FileNotFoundError` and the `ssl.SSLError` that
/// `SSLContext.load_cert_chain` and its sisters raise.
///
/// # Examples
///
/// ```
/// use tidegate_tls::{ConfigError, Server};
///
/// match Server::from_pem_files("/no/such/chain.pem", "/no/such/key.pem") {
///     Err(ConfigError::File { path, .. }) => assert_eq!(path.to_str(), Some("/no/such/chain.pem")),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file is missing, or cannot be read.
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no certificate in PEM form.
    NoCertificateFound {
        /// What was searched.
        origin: Origin,
    },
    /// There is no private key in PEM form.
    NoPrivateKeyFound {
        /// What was searched.
        origin: Origin,
    },
    /// The private key is protected by a password.
    EncryptedPrivateKey {
        /// Where it is.
        origin: Origin,
    },
    /// The text between `BEGIN` and `END` is damaged, or one of the two is missing.
    DamagedPem {
        /// Where it is.
        origin: Origin,
        /// What could not be read.
        error: Box<dyn Error + Send + Sync>,
    },
    /// A certificate was found, but it is none that can be used.
    UnusableCertificate {
        /// Where it is.
        origin: Origin,
        /// The how-manieth it is there, counted from 1.
        position: usize,
        /// What is wrong with it.
        error: Box<dyn Error + Send + Sync>,
    },
    /// A private key was found, but it is none that the provider can use.
    UnusablePrivateKey {
        /// Where it is.
        origin: Origin,
        /// What is wrong with it.
        error: Box<dyn Error + Send + Sync>,
    },
    /// The private key is not that of the certificate.
    KeyMismatch {
        /// Where the certificate is.
        certificate: Origin,
        /// Where the private key is.
        key: Origin,
    },
    /// The certificate of the private key is not the first one of its chain.
    ChainOrder {
        /// Where the chain is.
        origin: Origin,
        /// The how-manieth of the chain it is, counted from 1.
        position: usize,
    },
    /// A server was to be made without any certificate.
    NoCertificate,
    /// The system's trusted root certificates cannot be used, or there are none.
    SystemTrust {
        /// What is wrong with them.
        error: Box<dyn Error + Send + Sync>,
    },
    /// A name of an application protocol is empty, or longer than 255 bytes.
    Alpn {
        /// The name as it was given.
        protocol: Vec<u8>,
    },
    /// A time limit is zero.
    Timeout {
        /// asyncio's name of the limit.
        name: &'static str,
        /// What was given.
        given: Duration,
    },
    /// There is no version from the lowest to the highest, or the provider has no cipher suite for any.
    Versions {
        /// The lowest that was asked for.
        lowest: Version,
        /// The highest that was asked for.
        highest: Version,
    },
    /// The file that `SSLKEYLOGFILE` names cannot be written.
    KeyLog {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The provider cannot make keys for session tickets.
    Tickets {
        /// What it said.
        error: Box<dyn Error + Send + Sync>,
    },
}

/// Where a certificate or a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A value that was given.
    Memory,
}

impl Origin {
    /// The path, if it is a file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Origin::File(path) => Some(path),
            Origin::Memory => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => path.display().fmt(formatter),
            Origin::Memory => formatter.write_str("what was given"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::File { path, error } => {
                write!(formatter, "cannot read {}: {error}", path.display())
            }
            ConfigError::NoCertificateFound { origin } => write!(
                formatter,
                "no certificate in {origin}: PEM with a section BEGIN CERTIFICATE was expected"
            ),
            ConfigError::NoPrivateKeyFound { origin } => write!(
                formatter,
                "no private key in {origin}: PEM with a section BEGIN PRIVATE KEY was expected"
            ),
            ConfigError::EncryptedPrivateKey { origin } => write!(
                formatter,
                "the private key in {origin} is encrypted: decrypt it first, with `openssl pkey -in FILE -out FILE`"
            ),
            ConfigError::DamagedPem { origin, error } => {
                write!(formatter, "damaged PEM in {origin}: {error}")
            }
            ConfigError::UnusableCertificate { origin, position, error } => {
                write!(formatter, "certificate {position} in {origin} cannot be used: {error}")
            }
            ConfigError::UnusablePrivateKey { origin, error } => {
                write!(formatter, "the private key in {origin} cannot be used: {error}")
            }
            ConfigError::KeyMismatch { certificate, key } => write!(
                formatter,
                "the private key in {key} is not that of the first certificate in {certificate}: give the pair that belongs together"
            ),
            ConfigError::ChainOrder { origin, position } => write!(
                formatter,
                "the private key is that of certificate {position} in {origin}: put it first, and its issuers after it"
            ),
            ConfigError::NoCertificate => formatter.write_str(
                "a server needs a certificate: give it `certificate_files(chain, key)`, or `certificate`",
            ),
            ConfigError::SystemTrust { error } => write!(
                formatter,
                "the system's root certificates cannot be used: {error}; install them, or give `root_certificates`"
            ),
            ConfigError::Alpn { protocol } => write!(
                formatter,
                "ALPN protocols must be 1 to 255 bytes long, got {} bytes",
                protocol.len()
            ),
            ConfigError::Timeout { name, given } => write!(
                formatter,
                "{name} should be a positive number, got {}",
                given.as_secs_f64()
            ),
            ConfigError::Versions { lowest, highest } => write!(
                formatter,
                "the provider supports no version of TLS from {lowest} to {highest}"
            ),
            ConfigError::KeyLog { path, error } => write!(
                formatter,
                "cannot write {}, which SSLKEYLOGFILE names: {error}",
                path.display()
            ),
            ConfigError::Tickets { error } => {
                write!(formatter, "no keys for session tickets: {error}")
            }
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConfigError::File { error, .. } | ConfigError::KeyLog { error, .. } => Some(error),
            ConfigError::DamagedPem { error, .. }
            | ConfigError::UnusableCertificate { error, .. }
            | ConfigError::UnusablePrivateKey { error, .. }
            | ConfigError::SystemTrust { error }
            | ConfigError::Tickets { error } => Some(&**error),
            _ => None,
        }
    }
}

impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> io::Error {
        let kind = match &error {
            ConfigError::File { error, .. } | ConfigError::KeyLog { error, .. } => error.kind(),
            _ => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}
