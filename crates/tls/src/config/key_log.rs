//! The file that keys are written to for those who look on.

use std::env;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{KeyLog, KeyLogFile};

use super::ConfigError;

/// The file that `SSLKEYLOGFILE` names, or nothing if it names none.
///
/// rustls would go on in silence if the file cannot be written. So it is opened here first, as rustls does it.
pub(super) fn open() -> Result<Arc<dyn KeyLog>, ConfigError> {
    if let Some(path) = env::var_os("SSLKEYLOGFILE").map(PathBuf::from) {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| ConfigError::KeyLog { path, error })?;
    }
    Ok(Arc::new(KeyLogFile::new()))
}
