//! The name that a client asks a server for, which rustls tells its choice of a certificate and nobody else.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    /// The name that was asked for since [`asked_name_of`] has begun to listen.
    static ASKED: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// Does a part of a server's handshake, and answers the name as well, if the client asked for one in it.
pub(crate) fn asked_name_of<R>(handshake: impl FnOnce() -> R) -> (R, Option<Box<str>>) {
    ASKED.take();
    let done = handshake();
    (done, ASKED.take())
}

/// The same configuration, which notes the name on the way to its choice of a certificate.
pub(super) fn noted(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.cert_resolver = Arc::new(Noting(config.cert_resolver));
    Arc::new(config)
}

#[derive(Debug)]
struct Noting(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED.replace(hello.server_name().map(Box::from));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}
