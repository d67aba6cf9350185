//! Certificates that are trusted, wherever they come from.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::{ConfigError, Origin, pem};

/// Certificates of authorities, which are trusted: a PEM file, or certificates that are at hand.
///
/// Paths and vectors of certificates become one by themselves.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use tidegate_tls::{Client, Roots};
///
/// let builder = Client::builder()
///     .root_certificates("authority.pem")
///     .root_certificates(Path::new("/etc/ours/authority.pem"));
/// assert!(matches!(Roots::from("authority.pem"), Roots::File(_)));
/// # drop(builder);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Roots {
    /// All certificates in this PEM file.
    File(PathBuf),
    /// These certificates.
    Certificates(Vec<CertificateDer<'static>>),
}

impl Roots {
    fn load(&self) -> Result<(Origin, Vec<CertificateDer<'static>>), ConfigError> {
        match self {
            Roots::File(path) => Ok((Origin::File(path.clone()), pem::certificates(path)?)),
            Roots::Certificates(certificates) if certificates.is_empty() => {
                Err(ConfigError::NoCertificateFound { origin: Origin::Memory })
            }
            Roots::Certificates(certificates) => Ok((Origin::Memory, certificates.clone())),
        }
    }
}

/// All of the roots in one store, and as they are; every single one has to be usable.
pub(super) fn load(
    roots: &[Roots],
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), ConfigError> {
    let mut store = RootCertStore::empty();
    let mut all = Vec::new();
    for roots in roots {
        let (origin, certificates) = roots.load()?;
        for (position, certificate) in (1..).zip(certificates) {
            store.add(certificate.clone()).map_err(|error| ConfigError::UnusableCertificate {
                origin: origin.clone(),
                position,
                error: error.into(),
            })?;
            all.push(certificate);
        }
    }
    Ok((store, all))
}

/// Adds what the system trusts. It has always a few that cannot be used; what counts is that some can.
pub(super) fn add_system(store: &mut RootCertStore) -> Result<(), ConfigError> {
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = store.add_parsable_certificates(found.certs);
    if usable > 0 || !store.is_empty() {
        return Ok(());
    }
    let error = match found.errors.into_iter().next() {
        Some(error) => error.into(),
        None => "there are none".into(),
    };
    Err(ConfigError::SystemTrust { error })
}

impl From<PathBuf> for Roots {
    fn from(path: PathBuf) -> Roots {
        Roots::File(path)
    }
}

impl From<&Path> for Roots {
    fn from(path: &Path) -> Roots {
        Roots::File(path.to_owned())
    }
}

impl From<&PathBuf> for Roots {
    fn from(path: &PathBuf) -> Roots {
        Roots::File(path.clone())
    }
}

impl From<&str> for Roots {
    fn from(path: &str) -> Roots {
        Roots::File(path.into())
    }
}

impl From<Vec<CertificateDer<'static>>> for Roots {
    fn from(certificates: Vec<CertificateDer<'static>>) -> Roots {
        Roots::Certificates(certificates)
    }
}
