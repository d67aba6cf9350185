//! Where a Unix socket can be: a path in a folder of its own.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A folder of its own, and a path in it at which nothing is.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        Place { folder, path }
    }

    /// Whether there is something at the path.
    pub(crate) fn is_taken(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    pub(crate) fn inode(&self) -> u64 {
        self.path.symlink_metadata().expect("a file").ino()
    }
}
