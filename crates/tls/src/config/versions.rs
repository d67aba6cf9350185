//! The versions of TLS, and which of them are spoken.

use std::fmt;
use std::ops::RangeInclusive;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::ConfigError;

/// A version of TLS. What is older is spoken by nobody here.
///
/// The asyncio counterpart is `ssl.TLSVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl fmt::Display for Version {
    /// OpenSSL's names, which are also those of the extra info `cipher`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        })
    }
}

/// Every version that can be spoken.
pub(super) const ALL: RangeInclusive<Version> = Version::Tls12..=Version::Tls13;

/// rustls's names for a range.
pub(super) fn supported(
    range: &RangeInclusive<Version>,
) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
    let known = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)];
    let chosen: Vec<_> =
        known.into_iter().filter(|(version, _)| range.contains(version)).map(|(_, v)| v).collect();
    if chosen.is_empty() { Err(unsupported(range)) } else { Ok(chosen) }
}

/// The error for a range of which nothing can be spoken.
pub(super) fn unsupported(range: &RangeInclusive<Version>) -> ConfigError {
    ConfigError::Versions { lowest: *range.start(), highest: *range.end() }
}
