//! The provider that stands on aws-lc-rs.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;

use super::Provider;

impl Provider {
    /// Cryptography by aws-lc-rs. It needs the feature `aws-lc-rs` of this crate.
    ///
    /// # Examples
    ///
    /// ```
    /// let provider = tidegate_tls::Provider::aws_lc_rs();
    /// ```
    pub fn aws_lc_rs() -> Provider {
        built_in()
    }
}

pub(super) fn built_in() -> Provider {
    Provider {
        crypto: Arc::new(aws_lc_rs::default_provider()),
        ticketer: Some(aws_lc_rs::Ticketer::new),
    }
}
