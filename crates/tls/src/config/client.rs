//! The client's side: whom it believes, what it shows of itself, how long it waits.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls_platform_verifier::Verifier;

use super::choices::Choices;
use super::identity::Identity;
use super::name::server_name;
use super::roots;
use super::terms::{Terms, positive};
use super::verifiers::{Lenient, Proof};
use super::{ConfigError, NameError, Roots, Version};
use crate::Provider;

/// How many sessions a client remembers, unless it is told otherwise; rustls's own number.
const SESSIONS: usize = 256;

/// How a client behaves: made once, cheap to clone, the same for any number of connections.
///
/// Sessions are resumed among the connections of one client and its clones.
///
/// The asyncio counterpart is the `ssl.SSLContext` of a client, together with `ssl_handshake_timeout` and
/// `ssl_shutdown_timeout`.
///
/// # Examples
///
/// ```no_run
/// use tidegate_tls::Client;
///
/// # fn clients() -> Result<(), tidegate_tls::ConfigError> {
/// let everyday = Client::new()?;
/// let particular = Client::builder()
///     .root_certificates("our-authority.pem")
///     .certificate_files("me.pem", "my-key.pem")
///     .alpn(["h2", "http/1.1"])
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    rustls: Arc<ClientConfig>,
    terms: Terms,
    verifies_names: bool,
}

impl Client {
    /// A client that trusts whom the system trusts, and verifies names.
    ///
    /// It reads the system's root certificates, which takes some milliseconds: make it once, before the loop runs.
    /// On Linux the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` say where else they are.
    ///
    /// The asyncio counterpart is `ssl=True`, or `ssl.create_default_context()`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::SystemTrust`], if the system has no root certificates.
    pub fn new() -> Result<Client, ConfigError> {
        Client::builder().build()
    }

    /// Begins a client with all that can be chosen.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            choices: Choices::default(),
            system_roots: false,
            roots: Vec::new(),
            trust: Trust::Verified,
            identity: None,
            sessions: SESSIONS,
            server_name_indication: true,
        }
    }

    /// Takes a configuration of rustls as it is, with the timeouts' defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tidegate_tls::{Client, rustls};
    ///
    /// # fn client(config: rustls::ClientConfig) -> Result<Client, tidegate_tls::ConfigError> {
    /// let client = Client::from_config(Arc::new(config))
    ///     .with_handshake_timeout(Duration::from_secs(5))?;
    /// # Ok(client) }
    /// ```
    pub fn from_config(config: Arc<ClientConfig>) -> Client {
        Client { rustls: config, terms: Terms::default(), verifies_names: true }
    }

    /// The same client with another limit for the handshake; see [`ClientBuilder::handshake_timeout`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Timeout`], if it is zero.
    pub fn with_handshake_timeout(mut self, limit: Duration) -> Result<Client, ConfigError> {
        self.terms.handshake_timeout = positive("ssl_handshake_timeout", limit)?;
        Ok(self)
    }

    /// The same client with another limit for the shutdown; see [`ClientBuilder::shutdown_timeout`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Timeout`], if it is zero.
    pub fn with_shutdown_timeout(mut self, limit: Duration) -> Result<Client, ConfigError> {
        self.terms.shutdown_timeout = positive("ssl_shutdown_timeout", limit)?;
        Ok(self)
    }

    /// The same client, which takes an end without close_notify for an end; see
    /// [`ClientBuilder::accept_truncation`].
    pub fn with_truncation_accepted(mut self) -> Client {
        self.terms.accepts_truncation = true;
        self
    }
}

impl Client {
    pub(crate) fn rustls(&self) -> &Arc<ClientConfig> {
        &self.rustls
    }

    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    pub(crate) fn with_terms(mut self, terms: Terms) -> Client {
        self.terms = terms;
        self
    }

    /// The name of the server as rustls has it. It may be empty if names are not verified; then none is sent.
    pub(crate) fn server_name(&self, text: &str) -> Result<ServerName<'static>, NameError> {
        // asyncio: no name is no check. rustls sends no address to the server.
        if text.is_empty() && !self.verifies_names {
            return Ok(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()));
        }
        server_name(text)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("alpn", &self.rustls.alpn_protocols)
            .field("terms", &self.terms)
            .field("verifies_names", &self.verifies_names)
            .finish_non_exhaustive()
    }
}

/// A [`Client`] in the making; [`build`](ClientBuilder::build) checks everything and reads the files.
#[derive(Debug)]
#[must_use = "it makes no client before `build`"]
pub struct ClientBuilder {
    choices: Choices,
    system_roots: bool,
    roots: Vec<Roots>,
    trust: Trust,
    identity: Option<Identity>,
    sessions: usize,
    server_name_indication: bool,
}

/// How much a server has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Verified,
    AnyName,
    AnyCertificate,
}

impl ClientBuilder {
    /// Trusts whom the system trusts. It is the default, unless other roots are given.
    ///
    /// Together with [`root_certificates`](ClientBuilder::root_certificates) both are trusted.
    ///
    /// The asyncio counterpart is `SSLContext.load_default_certs()`.
    pub fn system_roots(mut self) -> ClientBuilder {
        self.system_roots = true;
        self
    }

    /// Trusts these certificates of authorities: a PEM file, or certificates that are at hand. It may be called again.
    ///
    /// The system's roots are not trusted then, unless [`system_roots`](ClientBuilder::system_roots) is called too.
    ///
    /// The asyncio counterpart is `SSLContext.load_verify_locations(cafile)`, or `create_default_context(cafile=…)`.
    pub fn root_certificates(mut self, roots: impl Into<Roots>) -> ClientBuilder {
        self.roots.push(roots.into());
        self
    }

    /// Trusts the certificates of authorities in a PEM file: [`root_certificates`](ClientBuilder::root_certificates)
    /// for any kind of path.
    pub fn root_certificates_file(self, path: impl AsRef<Path>) -> ClientBuilder {
        self.root_certificates(path.as_ref())
    }

    /// Shows this certificate to servers that ask for one: a chain and its private key, both as PEM files.
    ///
    /// The file of the chain begins with the client's own certificate, and its issuers follow. Both may be one file.
    ///
    /// The asyncio counterpart is `SSLContext.load_cert_chain(certfile, keyfile)`.
    pub fn certificate_files(
        mut self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> ClientBuilder {
        self.identity = Some(Identity::files(chain, key));
        self
    }

    /// Shows this certificate to servers that ask for one: a chain, the client's own first, and its private key.
    pub fn certificate(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> ClientBuilder {
        self.identity = Some(Identity::Values { chain, key });
        self
    }

    /// Offers these application protocols, the most wanted first; each is 1 to 255 bytes long.
    ///
    /// A server that knows none of them may refuse the connection.
    ///
    /// The asyncio counterpart is `SSLContext.set_alpn_protocols`.
    pub fn alpn<A: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = A>) -> ClientBuilder {
        self.choices.set_alpn(protocols);
        self
    }

    /// Speaks these versions only. The default is `Version::Tls12..=Version::Tls13`.
    ///
    /// The asyncio counterparts are `SSLContext.minimum_version` and `maximum_version`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_tls::{Client, Version};
    ///
    /// let newest_only = Client::builder().versions(Version::Tls13..=Version::Tls13);
    /// # drop(newest_only);
    /// ```
    pub fn versions(mut self, versions: RangeInclusive<Version>) -> ClientBuilder {
        self.choices.versions = versions;
        self
    }

    /// How long a handshake may take before the connection is given up. The default is 60 seconds.
    ///
    /// The asyncio counterpart is `ssl_handshake_timeout`.
    pub fn handshake_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.choices.terms.handshake_timeout = limit;
        self
    }

    /// How long the peer may take to answer a close before the connection is given up. The default is 30 seconds.
    ///
    /// The asyncio counterpart is `ssl_shutdown_timeout`.
    pub fn shutdown_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.choices.terms.shutdown_timeout = limit;
        self
    }

    /// Takes an end of the connection without close_notify for a regular end.
    ///
    /// By default it is an error, since anyone on the way can cut a connection, and what was received may be less than
    /// what was sent. Some servers never say close_notify; with protocols that tell themselves where a message ends,
    /// nothing is lost by this.
    ///
    /// asyncio always does this.
    pub fn accept_truncation(mut self) -> ClientBuilder {
        self.choices.terms.accepts_truncation = true;
        self
    }

    /// Writes the keys of each connection to the file that the environment variable `SSLKEYLOGFILE` names, if it is set.
    ///
    /// Whoever has this file can read what was sent. It is for looking at connections with programs such as Wireshark.
    ///
    /// asyncio's default context does this without being asked; see `SSLContext.keylog_filename`.
    pub fn key_log_file(mut self) -> ClientBuilder {
        self.choices.key_log_file = true;
        self
    }

    /// How many sessions are remembered, so that a later connection to the same server has a shorter handshake. The
    /// default is 256; 0 remembers none.
    ///
    /// The asyncio counterpart is `SSLObject.session`, which each program has to remember itself.
    pub fn resumption(mut self, sessions: usize) -> ClientBuilder {
        self.sessions = sessions;
        self
    }

    /// Whether the server is told the name that is wanted (SNI), in clear. The default is yes.
    pub fn enable_sni(mut self, enabled: bool) -> ClientBuilder {
        self.server_name_indication = enabled;
        self
    }

    /// Does the cryptography with this provider. The default is [`Provider::default`].
    pub fn provider(mut self, provider: Provider) -> ClientBuilder {
        self.choices.provider = provider;
        self
    }

    /// Verifies that a trusted authority knows the server, but not under which name: **any server whose certificate
    /// is valid for anything can pose as the one that is wanted.**
    ///
    /// The name of the server may then be empty; otherwise it is still sent to the server (SNI).
    ///
    /// The asyncio counterpart is an empty `server_hostname` with `ssl=True`, or `SSLContext.check_hostname = False`.
    pub fn danger_accept_any_hostname(mut self) -> ClientBuilder {
        self.trust = self.trust.max(Trust::AnyName);
        self
    }

    /// Believes every certificate, whoever made it, for whatever name and time: **anyone on the way can read and
    /// change what is sent.** It is for tests.
    ///
    /// The name of the server may then be empty. The system's roots are not read.
    ///
    /// The asyncio counterpart is `SSLContext.verify_mode = ssl.CERT_NONE`.
    pub fn danger_accept_any_certificate(mut self) -> ClientBuilder {
        self.trust = Trust::AnyCertificate;
        self
    }

    /// Makes the client: checks what was given, then reads the files.
    ///
    /// It waits for the disk; make a client before the loop runs, or in `run_in_executor`.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says what was wrong, and with which file.
    pub fn build(self) -> Result<Client, ConfigError> {
        self.choices.check()?;
        let provider = self.choices.provider.crypto().clone();
        let system_roots = self.system_roots || self.roots.is_empty();
        let verifier = verifier(&provider, self.trust, system_roots, &self.roots)?;
        let identity = self.identity.map(|identity| identity.load(&provider)).transpose()?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.choices.supported_versions()?)
            .map_err(|_| self.choices.unsupported_versions())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.choices.alpn.clone();
        config.enable_sni = self.server_name_indication;
        config.resumption = match self.sessions {
            0 => Resumption::disabled(),
            sessions => Resumption::in_memory_sessions(sessions),
        };
        if let Some(key_log) = self.choices.key_log()? {
            config.key_log = key_log;
        }
        Ok(Client {
            rustls: Arc::new(config),
            terms: self.choices.terms,
            verifies_names: self.trust == Trust::Verified,
        })
    }
}

/// Who decides whether a server is believed. The roots are always read, so that a bad file never goes unnoticed.
fn verifier(
    provider: &Arc<CryptoProvider>,
    trust: Trust,
    system_roots: bool,
    roots: &[Roots],
) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
    let (mut store, certificates) = roots::load(roots)?;
    let provider = provider.clone();
    match trust {
        Trust::Verified if system_roots => Verifier::new_with_extra_roots(certificates, provider)
            .map(|verifier| Arc::new(verifier) as Arc<dyn ServerCertVerifier>)
            .map_err(|error| ConfigError::SystemTrust { error: error.into() }),
        Trust::Verified => Ok(WebPkiServerVerifier::builder_with_provider(store.into(), provider)
            .build()
            .expect("roots were given, each of them is one at least, and nothing else can fail")),
        Trust::AnyName => {
            if system_roots {
                roots::add_system(&mut store)?;
            }
            Ok(Arc::new(Lenient { provider, proof: Proof::Chain(store) }))
        }
        Trust::AnyCertificate => Ok(Arc::new(Lenient { provider, proof: Proof::Key })),
    }
}
