//! The server's side: what it shows of itself, whom it lets in, how long it waits.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier,
};

use super::by_name::ByName;
use super::choices::Choices;
use super::identity::Identity;
use super::terms::{Terms, positive};
use super::{ConfigError, Roots, Version, asked_name, roots};
use crate::Provider;

/// How many sessions a server remembers, unless it is told otherwise; rustls's own number.
const SESSIONS: usize = 256;

/// How a server behaves: made once, cheap to clone, the same for any number of connections.
///
/// The asyncio counterpart is the `ssl.SSLContext` of a server, together with `ssl_handshake_timeout` and
/// `ssl_shutdown_timeout`.
///
/// # Examples
///
/// ```no_run
/// use tidegate_tls::Server;
///
/// # fn servers() -> Result<(), tidegate_tls::ConfigError> {
/// let plain = Server::from_pem_files("chain.pem", "key.pem")?;
/// let particular = Server::builder()
///     .certificate_files("example.org.pem", "example.org.key")
///     .certificate_files("example.net.pem", "example.net.key")
///     .client_certificates_required("our-authority.pem")
///     .alpn(["h2", "http/1.1"])
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Server {
    rustls: Arc<ServerConfig>,
    terms: Terms,
}

impl Server {
    /// A server with one certificate and the defaults: a chain and its private key, both as PEM files.
    ///
    /// The file of the chain begins with the server's own certificate, and its issuers follow. Both may be one file.
    ///
    /// The asyncio counterpart is `SSLContext.load_cert_chain(certfile, keyfile)` on a context for a server.
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::build`].
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Server, ConfigError> {
        Server::builder().certificate_files(chain, key).build()
    }

    /// Begins a server with all that can be chosen.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            choices: Choices::default(),
            identities: Vec::new(),
            client_roots: Vec::new(),
            clients: Clients::Anyone,
            sessions: SESSIONS,
            session_tickets: false,
        }
    }

    /// Takes a configuration of rustls as it is, with the timeouts' defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tidegate_tls::{Server, rustls};
    ///
    /// # fn server(config: rustls::ServerConfig) -> Result<Server, tidegate_tls::ConfigError> {
    /// let server = Server::from_config(Arc::new(config))
    ///     .with_handshake_timeout(Duration::from_secs(5))?;
    /// # Ok(server) }
    /// ```
    pub fn from_config(config: Arc<ServerConfig>) -> Server {
        Server { rustls: asked_name::noted(Arc::unwrap_or_clone(config)), terms: Terms::default() }
    }

    /// The same server with another limit for the handshake; see [`ServerBuilder::handshake_timeout`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Timeout`], if it is zero.
    pub fn with_handshake_timeout(mut self, limit: Duration) -> Result<Server, ConfigError> {
        self.terms.handshake_timeout = positive("ssl_handshake_timeout", limit)?;
        Ok(self)
    }

    /// The same server with another limit for the shutdown; see [`ServerBuilder::shutdown_timeout`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Timeout`], if it is zero.
    pub fn with_shutdown_timeout(mut self, limit: Duration) -> Result<Server, ConfigError> {
        self.terms.shutdown_timeout = positive("ssl_shutdown_timeout", limit)?;
        Ok(self)
    }

    /// The same server, which takes an end without close_notify for an end; see
    /// [`ServerBuilder::accept_truncation`].
    pub fn with_truncation_accepted(mut self) -> Server {
        self.terms.accepts_truncation = true;
        self
    }
}

impl Server {
    pub(crate) fn rustls(&self) -> &Arc<ServerConfig> {
        &self.rustls
    }

    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    pub(crate) fn with_terms(mut self, terms: Terms) -> Server {
        self.terms = terms;
        self
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("alpn", &self.rustls.alpn_protocols)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

/// A [`Server`] in the making; [`build`](ServerBuilder::build) checks everything and reads the files.
#[derive(Debug)]
#[must_use = "it makes no server before `build`"]
pub struct ServerBuilder {
    choices: Choices,
    identities: Vec<Identity>,
    client_roots: Vec<Roots>,
    clients: Clients,
    sessions: usize,
    session_tickets: bool,
}

/// Which clients are let in.
#[derive(Clone, Copy, Debug)]
enum Clients {
    Anyone,
    KnownOrSilent,
    Known,
}

impl ServerBuilder {
    /// Shows this certificate to clients: a chain and its private key, both as PEM files.
    ///
    /// The file of the chain begins with the server's own certificate, and its issuers follow. Both may be one file.
    ///
    /// It may be called again for other names. A client that asks for a name (SNI) is shown the first certificate that
    /// is valid for it, wildcards included; if none is, or if it asks for no name, it is shown the first of all. If
    /// there are certificates with keys of several kinds, those come first with which the client can work.
    ///
    /// The asyncio counterparts are `SSLContext.load_cert_chain(certfile, keyfile)` and `SSLContext.sni_callback`.
    pub fn certificate_files(
        mut self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> ServerBuilder {
        self.identities.push(Identity::files(chain, key));
        self
    }

    /// Shows this certificate to clients: a chain, the server's own first, and its private key.
    ///
    /// It may be called again; see [`certificate_files`](ServerBuilder::certificate_files).
    pub fn certificate(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> ServerBuilder {
        self.identities.push(Identity::Values { chain, key });
        self
    }

    /// Lets only those clients in who show a certificate that one of these authorities has issued: a PEM file, or
    /// certificates that are at hand.
    ///
    /// It may be called again to trust more of them.
    ///
    /// With TLS 1.3 a client is done before the server has looked at its certificate. So one that is refused has
    /// connected all the same, and is told by its first read or drain.
    ///
    /// The asyncio counterparts are `SSLContext.verify_mode = ssl.CERT_REQUIRED` and `load_verify_locations`.
    pub fn client_certificates_required(mut self, roots: impl Into<Roots>) -> ServerBuilder {
        self.client_roots.push(roots.into());
        self.clients = Clients::Known;
        self
    }

    /// Asks clients for a certificate. Who shows none is let in; who shows one is let in if one of these authorities
    /// has issued it.
    ///
    /// It may be called again to trust more of them. If
    /// [`client_certificates_required`](ServerBuilder::client_certificates_required) is called too, the later call says
    /// whether a certificate is required.
    ///
    /// The asyncio counterparts are `SSLContext.verify_mode = ssl.CERT_OPTIONAL` and `load_verify_locations`.
    pub fn client_certificates_optional(mut self, roots: impl Into<Roots>) -> ServerBuilder {
        self.client_roots.push(roots.into());
        self.clients = Clients::KnownOrSilent;
        self
    }

    /// Knows these application protocols, the most wanted first; each is 1 to 255 bytes long.
    ///
    /// A client that offers protocols, and none of these, is refused. A client that offers nothing is let in.
    ///
    /// The asyncio counterpart is `SSLContext.set_alpn_protocols`, which lets both in.
    pub fn alpn<A: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = A>) -> ServerBuilder {
        self.choices.set_alpn(protocols);
        self
    }

    /// Speaks these versions only. The default is `Version::Tls12..=Version::Tls13`.
    ///
    /// The asyncio counterparts are `SSLContext.minimum_version` and `maximum_version`.
    pub fn versions(mut self, versions: RangeInclusive<Version>) -> ServerBuilder {
        self.choices.versions = versions;
        self
    }

    /// How long a handshake may take before the connection is given up. The default is 60 seconds.
    ///
    /// The asyncio counterpart is `ssl_handshake_timeout`.
    pub fn handshake_timeout(mut self, limit: Duration) -> ServerBuilder {
        self.choices.terms.handshake_timeout = limit;
        self
    }

    /// How long the peer may take to answer a close before the connection is given up. The default is 30 seconds.
    ///
    /// The asyncio counterpart is `ssl_shutdown_timeout`.
    pub fn shutdown_timeout(mut self, limit: Duration) -> ServerBuilder {
        self.choices.terms.shutdown_timeout = limit;
        self
    }

    /// Takes an end of the connection without close_notify for a regular end.
    ///
    /// By default it is an error, since anyone on the way can cut a connection, and what was received may be less than
    /// what was sent.
    ///
    /// asyncio always does this.
    pub fn accept_truncation(mut self) -> ServerBuilder {
        self.choices.terms.accepts_truncation = true;
        self
    }

    /// Writes the keys of each connection to the file that the environment variable `SSLKEYLOGFILE` names, if it is set.
    ///
    /// Whoever has this file can read what was sent. It is for looking at connections with programs such as Wireshark.
    ///
    /// asyncio's default context does this without being asked; see `SSLContext.keylog_filename`.
    pub fn key_log_file(mut self) -> ServerBuilder {
        self.choices.key_log_file = true;
        self
    }

    /// How many sessions are remembered, so that a later connection of the same client has a shorter handshake. The
    /// default is 256; 0 remembers none.
    ///
    /// It does not matter if there are [`session_tickets`](ServerBuilder::session_tickets).
    pub fn resumption(mut self, sessions: usize) -> ServerBuilder {
        self.sessions = sessions;
        self
    }

    /// Lets the clients keep their sessions themselves, encrypted, so that any number of them can be resumed and the
    /// server remembers none.
    ///
    /// The keys are made when the server is built, and made anew every six hours; no other process knows them. It needs
    /// a [`Provider`] of ours; with another one it changes nothing.
    ///
    /// asyncio does this unless `SSLContext.options` has `ssl.OP_NO_TICKET`.
    pub fn session_tickets(mut self) -> ServerBuilder {
        self.session_tickets = true;
        self
    }

    /// Does the cryptography with this provider. The default is [`Provider::default`].
    pub fn provider(mut self, provider: Provider) -> ServerBuilder {
        self.choices.provider = provider;
        self
    }

    /// Makes the server: checks what was given, then reads the files.
    ///
    /// It waits for the disk; make a server before the loop runs, or in `run_in_executor`.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says what was wrong, and with which file.
    pub fn build(self) -> Result<Server, ConfigError> {
        self.choices.check()?;
        if self.identities.is_empty() {
            return Err(ConfigError::NoCertificate);
        }
        let provider = self.choices.provider.crypto().clone();
        let certificates = self
            .identities
            .into_iter()
            .map(|identity| identity.load(&provider).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let verifier = verifier(&provider, self.clients, &self.client_roots)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.choices.supported_versions()?)
            .map_err(|_| self.choices.unsupported_versions())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(ByName(certificates)));
        config.alpn_protocols = self.choices.alpn.clone();
        config.session_storage = match self.sessions {
            0 => Arc::new(NoServerSessionStorage {}),
            sessions => ServerSessionMemoryCache::new(sessions),
        };
        if self.session_tickets
            && let Some(ticketer) = self.choices.provider.ticketer()
        {
            config.ticketer =
                ticketer.map_err(|error| ConfigError::Tickets { error: error.into() })?;
        }
        if let Some(key_log) = self.choices.key_log()? {
            config.key_log = key_log;
        }
        Ok(Server { rustls: asked_name::noted(config), terms: self.choices.terms })
    }
}

/// Who decides whether a client is let in.
fn verifier(
    provider: &Arc<CryptoProvider>,
    clients: Clients,
    roots: &[Roots],
) -> Result<Arc<dyn ClientCertVerifier>, ConfigError> {
    let (store, _) = roots::load(roots)?;
    let builder = WebPkiClientVerifier::builder_with_provider(store.into(), provider.clone());
    let builder = match clients {
        Clients::Anyone => return Ok(Arc::new(NoClientAuth)),
        Clients::KnownOrSilent => builder.allow_unauthenticated(),
        Clients::Known => builder,
    };
    let verifier = builder.build();
    Ok(verifier.expect("roots were given, each of them is one at least, and nothing else can fail"))
}
