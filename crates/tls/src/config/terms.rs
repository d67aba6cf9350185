//! How long a handshake and a goodbye may take, and whether the goodbye may be missing.

use std::time::Duration;

use super::ConfigError;

/// What a connection needs to know beside rustls's own configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) handshake_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) accepts_truncation: bool,
}

impl Default for Terms {
    // asyncio: constants.py has these two.
    fn default() -> Terms {
        Terms {
            handshake_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
            accepts_truncation: false,
        }
    }
}

impl Terms {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        positive("ssl_handshake_timeout", self.handshake_timeout)?;
        positive("ssl_shutdown_timeout", self.shutdown_timeout)?;
        Ok(())
    }
}

/// A time limit, unless it is zero.
pub(crate) fn positive(name: &'static str, given: Duration) -> Result<Duration, ConfigError> {
    if given.is_zero() { Err(ConfigError::Timeout { name, given }) } else { Ok(given) }
}
