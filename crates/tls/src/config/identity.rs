//! A certificate with its chain and its private key, which is what a side shows of itself.

use std::path::{Path, PathBuf};

use rustls::Error;
use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};

use super::{ConfigError, Origin, pem};

/// Where a certificate and its private key come from.
#[derive(Debug)]
pub(super) enum Identity {
    Files { chain: PathBuf, key: PathBuf },
    Values { chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static> },
}

impl Identity {
    pub(super) fn files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Identity {
        Identity::Files { chain: chain.as_ref().to_owned(), key: key.as_ref().to_owned() }
    }

    /// Reads what has to be read, and sees to it that the key is that of the chain's first certificate.
    pub(super) fn load(self, provider: &CryptoProvider) -> Result<CertifiedKey, ConfigError> {
        let (chain_origin, chain, key_origin, key) = match self {
            Identity::Files { chain, key } => {
                let certificates = pem::certificates(&chain)?;
                let private_key = pem::private_key(&key)?;
                (Origin::File(chain), certificates, Origin::File(key), private_key)
            }
            Identity::Values { chain, key } => (Origin::Memory, chain, Origin::Memory, key),
        };
        if chain.is_empty() {
            return Err(ConfigError::NoCertificateFound { origin: chain_origin });
        }
        let key = provider.key_provider.load_private_key(key).map_err(|error| {
            ConfigError::UnusablePrivateKey { origin: key_origin.clone(), error: error.into() }
        })?;
        let position = position_of(&*key, &chain);
        let certified = CertifiedKey::new(chain, key);
        match (certified.keys_match(), position) {
            // A key that does not tell its public half is taken on trust.
            (Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)), _) => Ok(certified),
            (Err(Error::InconsistentKeys(_)), Some(position)) => {
                Err(ConfigError::ChainOrder { origin: chain_origin, position })
            }
            (Err(Error::InconsistentKeys(_)), None) => {
                Err(ConfigError::KeyMismatch { certificate: chain_origin, key: key_origin })
            }
            (Err(error), _) => Err(ConfigError::UnusableCertificate {
                origin: chain_origin,
                position: 1,
                error: error.into(),
            }),
        }
    }
}

/// Which certificate of a chain the key belongs to, counted from 1.
fn position_of(key: &dyn SigningKey, chain: &[CertificateDer<'static>]) -> Option<usize> {
    let public_key = key.public_key()?;
    let belongs = |certificate: &CertificateDer<'_>| {
        ParsedCertificate::try_from(certificate)
            .is_ok_and(|parsed| parsed.subject_public_key_info() == public_key)
    };
    chain.iter().position(belongs).map(|index| index + 1)
}
