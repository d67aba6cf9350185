//! Certificates and private keys out of PEM files, with an error that names the file.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{ConfigError, Origin};

/// All certificates of a file, in its order: at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(path, error))?;
    if certificates.is_empty() {
        return Err(ConfigError::NoCertificateFound { origin: origin(path) });
    }
    Ok(certificates)
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        _ if is_encrypted(&text) => ConfigError::EncryptedPrivateKey { origin: origin(path) },
        pem::Error::NoItemsFound => ConfigError::NoPrivateKeyFound { origin: origin(path) },
        error => damaged(path, error),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })
}

/// Whether a key is there in one of the two forms that need a password: that of PKCS #8, or OpenSSL's old one.
fn is_encrypted(text: &[u8]) -> bool {
    let has = |mark: &str| text.windows(mark.len()).any(|window| window == mark.as_bytes());
    has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED")
}

fn damaged(path: &Path, error: pem::Error) -> ConfigError {
    ConfigError::DamagedPem { origin: origin(path), error: error.into() }
}

fn origin(path: &Path) -> Origin {
    Origin::File(path.to_owned())
}
