//! What a client and a server choose alike, before it is checked.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rustls::SupportedProtocolVersion;

use super::terms::Terms;
use super::{ConfigError, Version, key_log, versions};
use crate::Provider;

#[derive(Debug)]
pub(super) struct Choices {
    pub(super) provider: Provider,
    pub(super) versions: RangeInclusive<Version>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) terms: Terms,
    pub(super) key_log_file: bool,
}

impl Default for Choices {
    fn default() -> Choices {
        Choices {
            provider: Provider::default(),
            versions: versions::ALL,
            alpn: Vec::new(),
            terms: Terms::default(),
            key_log_file: false,
        }
    }
}

impl Choices {
    pub(super) fn set_alpn<A: AsRef<[u8]>>(&mut self, protocols: impl IntoIterator<Item = A>) {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
    }

    /// Looks at everything that can be wrong without a look at any file.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.terms.check()?;
        versions::supported(&self.versions)?;
        match self.alpn.iter().find(|protocol| !(1..=255).contains(&protocol.len())) {
            Some(protocol) => Err(ConfigError::Alpn { protocol: protocol.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn supported_versions(
        &self,
    ) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
        versions::supported(&self.versions)
    }

    pub(super) fn unsupported_versions(&self) -> ConfigError {
        versions::unsupported(&self.versions)
    }

    /// Where keys are written to, if they are to be.
    pub(super) fn key_log(&self) -> Result<Option<Arc<dyn rustls::KeyLog>>, ConfigError> {
        if self.key_log_file { key_log::open().map(Some) } else { Ok(None) }
    }
}
