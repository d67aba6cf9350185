//! The provider that stands on ring.

use std::sync::Arc;

use rustls::crypto::ring;

use super::Provider;

impl Provider {
    /// Cryptography by ring. It needs the feature `ring` of this crate.
    ///
    /// # Examples
    ///
    /// ```
    /// let provider = tidegate_tls::Provider::ring();
    /// ```
    pub fn ring() -> Provider {
        built_in()
    }
}

pub(super) fn built_in() -> Provider {
    Provider { crypto: Arc::new(ring::default_provider()), ticketer: Some(ring::Ticketer::new) }
}
