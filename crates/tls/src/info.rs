//! What a TLS connection can tell of itself, by type, besides what the transport below it tells.

use std::any::{Any, TypeId};
use std::fmt;
use std::rc::Rc;

use rustls::pki_types::CertificateDer;

use crate::config::{Client, Server, Terms, Version};

/// Whose rules the connection keeps, as `get_extra_info` answers it at once, also before the handshake (asyncio's
/// `"sslcontext"`). It tells that there is TLS, and which of its sides this end is.
///
/// ```
/// # fn example(transport: &tidegate_protocols::Transport) {
/// use tidegate_tls::TlsConfig;
///
/// let is_secure = transport.get_extra_info::<TlsConfig>().is_some();
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum TlsConfig {
    /// This end is the client.
    Client(Client),
    /// This end is the server.
    Server(Server),
}

impl TlsConfig {
    pub(crate) fn terms(&self) -> Terms {
        match self {
            TlsConfig::Client(client) => client.terms(),
            TlsConfig::Server(server) => server.terms(),
        }
    }
}

/// The cipher that was agreed on, as `get_extra_info` answers it (asyncio's `"cipher"`).
///
/// ```
/// # fn example(transport: &tidegate_protocols::Transport) {
/// use tidegate_tls::Cipher;
///
/// if let Some(cipher) = transport.get_extra_info::<Cipher>() {
///     println!("{} over {}, {} bits", cipher.name, cipher.version, cipher.bits);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cipher {
    /// The suite, as IANA calls it: `TLS_AES_256_GCM_SHA384`.
    pub name: String,
    /// The version of the protocol.
    pub version: Version,
    /// How many secret bits the key has.
    pub bits: u16,
}

impl Cipher {
    /// The cipher of the suite that rustls calls so.
    pub(crate) fn of(suite: &str, version: Version) -> Cipher {
        let bits = if suite.contains("AES_128") { 128 } else { 256 };
        Cipher { name: suite.replace("TLS13_", "TLS_"), version, bits }
    }
}

/// The chain of certificates that the peer has shown, as `get_extra_info` answers it (asyncio's `"peercert"`).
///
/// A client has that of its server. A server has one if it asks for certificates and the client has shown some; asyncio
/// answers `{}` otherwise, and here there is none.
///
/// It is `getpeercert(binary_form=True)`: the certificates as they are, for a crate that looks into them, such as
/// `x509-parser`. Nothing here takes them apart into names and dates.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificates(Rc<[Vec<u8>]>);

impl PeerCertificates {
    pub(crate) fn new(chain: &[CertificateDer<'_>]) -> PeerCertificates {
        PeerCertificates(chain.iter().map(|certificate| certificate.to_vec()).collect())
    }

    /// The peer's own certificate, in DER.
    pub fn end_entity(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// All of them in DER, the peer's own first.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

impl fmt::Debug for PeerCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificates").field("count", &self.0.len()).finish()
    }
}

/// The protocol that was agreed on by ALPN, such as `h2`, as `get_extra_info` answers it (asyncio:
/// `ssl_object.selected_alpn_protocol()`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alpn(pub Vec<u8>);

/// The name of the server, as `get_extra_info` answers it: that which a client has verified, or which a server was asked
/// for, if it was (asyncio: `ssl_object.server_hostname`, for clients).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(pub String);

/// Whether the handshake has gone on with an earlier session, as `get_extra_info` answers it (asyncio:
/// `ssl_object.session_reused`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionReused(pub bool);

/// The compression that was agreed on, as `get_extra_info` answers it (asyncio's `"compression"`): there never is any,
/// since it would tell an eavesdropper of what it compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression(());

/// What is known of a session, kept when that is gone.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) cipher: Option<Cipher>,
    pub(crate) peer_certificates: Option<PeerCertificates>,
    pub(crate) alpn: Option<Alpn>,
    pub(crate) name: Option<TlsName>,
    pub(crate) reused: Option<SessionReused>,
}

impl Facts {
    /// The one of the type with this id.
    pub(crate) fn find(&self, wanted: TypeId) -> Option<Rc<dyn Any>> {
        fn fact<T: Any + Clone>(fact: &Option<T>) -> Option<Rc<dyn Any>> {
            fact.clone().map(|fact| Rc::new(fact) as Rc<dyn Any>)
        }
        if wanted == TypeId::of::<Cipher>() {
            fact(&self.cipher)
        } else if wanted == TypeId::of::<PeerCertificates>() {
            fact(&self.peer_certificates)
        } else if wanted == TypeId::of::<Alpn>() {
            fact(&self.alpn)
        } else if wanted == TypeId::of::<TlsName>() {
            fact(&self.name)
        } else if wanted == TypeId::of::<SessionReused>() {
            fact(&self.reused)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_their_names_and_bits() {
        let check = |suite, name, bits| {
            let cipher = Cipher::of(suite, Version::Tls13);
            assert_eq!((cipher.name.as_str(), cipher.bits), (name, bits));
        };
        // TLS-05
        check("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", 256);
        check("TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", 128);
        check("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", 256);
        check(
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            128,
        );
    }
}
