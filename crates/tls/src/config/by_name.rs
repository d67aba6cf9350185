//! The choice of a certificate by the name that a client asks for.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a server, in the order in which they were given: at least one.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

impl ByName {
    /// The first that is valid for the name and can sign as the client wants it; else the first that can sign; else
    /// the first.
    fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        if let [only] = &*self.0 {
            return Some(only);
        }
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let mut signing = self.0.iter().filter(|c| c.key.choose_scheme(schemes).is_some());
        let first = signing.next().or(self.0.first())?;
        let named = |c: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_valid(c, name));
        Some([first].into_iter().chain(signing).find(named).unwrap_or(first))
    }
}

fn is_valid(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    certified
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

#[cfg(test)]
mod tests;
