//! Cryptography of the user's, which does what the test wants when it encrypts.

use tidegate_tls::rustls::crypto::CryptoProvider;
use tidegate_tls::rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage, OutboundPlainMessage,
    Tls13AeadAlgorithm, UnsupportedOperationError,
};
use tidegate_tls::rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls13CipherSuite,
};
use tidegate_tls::{Client, Provider};

use super::{Place, reached};
use crate::support::Both;

/// A client that encrypts so.
pub(crate) fn client(tls: &Both) -> Client {
    let mut crypto = CryptoProvider::clone(Provider::default().crypto());
    let suites = crypto.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13);
    crypto.cipher_suites = suites.map(hooked).collect();
    let client = Client::builder().provider(crypto.into());
    client.root_certificates_file(tls.authority.roots_pem()).build().expect("a client")
}

fn hooked(suite: &'static Tls13CipherSuite) -> SupportedCipherSuite {
    let common = CipherSuiteCommon {
        suite: suite.common.suite,
        hash_provider: suite.common.hash_provider,
        confidentiality_limit: suite.common.confidentiality_limit,
    };
    let hooked = Tls13CipherSuite {
        common,
        hkdf_provider: suite.hkdf_provider,
        aead_alg: Box::leak(Box::new(Hooked(suite.aead_alg))),
        quic: None,
    };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(hooked)))
}

struct Hooked(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Hooked {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Encrypting(self.0.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

struct Encrypting(Box<dyn MessageEncrypter>);

impl MessageEncrypter for Encrypting {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        reached(Place::Encrypter);
        self.0.encrypt(message, number)
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        self.0.encrypted_payload_len(length)
    }
}
