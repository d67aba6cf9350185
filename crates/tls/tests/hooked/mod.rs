//! A client and a server whose every hook does what the test wants.

use std::cell::RefCell;
use std::sync::Arc;

use tidegate_tls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tidegate_tls::rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
    Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
};
use tidegate_tls::rustls::pki_types::pem::PemObject;
use tidegate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tidegate_tls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tidegate_tls::rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions, WebPkiClientVerifier,
};
use tidegate_tls::rustls::sign::CertifiedKey;
use tidegate_tls::rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, KeyLog, NamedGroup,
    RootCertStore, ServerConfig, SignatureScheme,
};
use tidegate_tls::{Client, Provider, Server};

use crate::authority::Pem;
use crate::support::Both;

pub(crate) mod encrypting;

/// Where rustls calls code of the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The client verifies the server's certificate.
    Verifier,
    /// The client logs a key.
    ClientLog,
    /// The client is given a ticket, with the connection open.
    TicketComes,
    /// The client looks for a ticket, before there is a connection.
    TicketWanted,
    /// The server chooses its certificate.
    Certificate,
    /// The server logs a key.
    ServerLog,
    /// The server keeps a session.
    SessionKept,
    /// The client chooses the certificate that it shows.
    OwnCertificate,
    /// The server verifies the client's certificate.
    ClientVerifier,
    /// The server makes a ticket.
    TicketMade,
    /// The client encrypts, which may be inside of a call of the user's.
    Encrypter,
}

/// All that are reached in a handshake or behind it, when something was received.
pub(crate) const PLACES: [Place; 9] = [
    Place::Verifier,
    Place::ClientLog,
    Place::TicketComes,
    Place::Certificate,
    Place::ServerLog,
    Place::SessionKept,
    Place::OwnCertificate,
    Place::ClientVerifier,
    Place::TicketMade,
];

impl Place {
    pub(crate) fn is_of_client(self) -> bool {
        use Place::*;
        matches!(
            self,
            Verifier | ClientLog | TicketComes | TicketWanted | OwnCertificate | Encrypter
        )
    }
}

type Act = Box<dyn FnOnce()>;

thread_local! {
    /// What is done next, and where: hooks have to be `Send` and can hold no transport.
    static ACT: RefCell<Option<(Place, Act)>> = const { RefCell::new(None) };
}

/// The next time rustls is at `place`, `act` is done there.
pub(crate) fn at(place: Place, act: impl FnOnce() + 'static) {
    ACT.set(Some((place, Box::new(act))));
}

fn reached(place: Place) {
    match ACT.take() {
        Some((wanted, act)) if wanted == place => act(),
        other => ACT.set(other),
    }
}

/// A client with all hooks.
pub(crate) fn client(tls: &Both) -> Client {
    let provider = Provider::default().crypto().clone();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(tls), provider.clone());
    let verifier = verifier.build().expect("a verifier");
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifying(verifier)))
        .with_client_cert_resolver(Arc::new(Showing(key_of(
            tls.authority.client_certificate("me"),
        ))));
    config.key_log = Arc::new(Logging(Place::ClientLog));
    config.resumption = Resumption::store(Arc::new(Storing(ClientSessionMemoryCache::new(8))));
    Client::from_config(Arc::new(config))
}

fn roots(tls: &Both) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(tls.authority.roots_pem()).expect("a root");
    roots.add(root).expect("a root");
    Arc::new(roots)
}

fn key_of(pem: Pem) -> Arc<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(&pem.chain).expect("a chain");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_file(&pem.key).expect("a key");
    let key = CertifiedKey::from_der(chain, key, Provider::default().crypto());
    Arc::new(key.expect("a key that fits"))
}

/// A server with all hooks; it makes tickets or keeps its sessions, as `place` wants.
pub(crate) fn server(tls: &Both, place: Place) -> Server {
    let key = key_of(tls.authority.certificate(&["localhost"]));
    let provider = Provider::default().crypto().clone();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(tls), provider.clone());
    let verifier = verifier.allow_unauthenticated().build().expect("a verifier");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(Arc::new(Checking(verifier)))
        .with_cert_resolver(Arc::new(Choosing(key)));
    config.key_log = Arc::new(Logging(Place::ServerLog));
    config.session_storage = Arc::new(Keeping(ServerSessionMemoryCache::new(8)));
    if place == Place::TicketMade {
        config.ticketer = Arc::new(Ticketing);
    }
    Server::from_config(Arc::new(config))
}

#[derive(Debug)]
struct Verifying(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Verifying {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        reached(Place::Verifier);
        self.0.verify_server_cert(end, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Logging(Place);

impl KeyLog for Logging {
    fn log(&self, _label: &str, _random: &[u8], _secret: &[u8]) {
        reached(self.0);
    }
}

#[derive(Debug)]
struct Storing(ClientSessionMemoryCache);

impl ClientSessionStore for Storing {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        reached(Place::TicketComes);
        self.0.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        reached(Place::TicketWanted);
        self.0.take_tls13_ticket(name)
    }
}

#[derive(Debug)]
struct Choosing(Arc<CertifiedKey>);

impl ResolvesServerCert for Choosing {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        reached(Place::Certificate);
        Some(self.0.clone())
    }
}

#[derive(Debug)]
struct Keeping(Arc<ServerSessionMemoryCache>);

impl StoresServerSessions for Keeping {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        reached(Place::SessionKept);
        self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Showing(Arc<CertifiedKey>);

impl ResolvesClientCert for Showing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        reached(Place::OwnCertificate);
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Checking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Checking {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        reached(Place::ClientVerifier);
        self.0.verify_client_cert(end, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Tickets in clear: nobody comes back with them.
#[derive(Debug)]
struct Ticketing;

impl ProducesTickets for Ticketing {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        reached(Place::TicketMade);
        Some(plain.to_vec())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        Some(cipher.to_vec())
    }
}
