//! The file of a Unix socket: who is there already, and who takes it away.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, SocketAddrUnix, SocketType};
use tidegate_reactor::sleep;

use crate::tcp;
use crate::unix::UnixReason;

/// How often a lock that somebody else has is tried, and how long the waits in between are.
const LOCK_TRIES: usize = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file that a bound socket has made. Dropped, it is removed if it is still that one.
pub(crate) struct SocketFile {
    /// Whole, since the program may change its folder. None once there is nothing to remove.
    path: Option<PathBuf>,
    /// Device and inode. The socket that is bound keeps the number from being given to another file.
    identity: (u64, u64),
}

impl SocketFile {
    /// The file at `path`, as it is now.
    pub(crate) fn at(path: &Path) -> io::Result<SocketFile> {
        let identity = identity(&fs::symlink_metadata(path)?);
        Ok(SocketFile { path: Some(absolute(path)?), identity })
    }

    /// Removes the file; one that is gone, or is another by now, is left alone.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        let Some(path) = self.path.take() else { return Ok(()) };
        let removed = match fs::symlink_metadata(&path) {
            Ok(now) if identity(&now) == self.identity => fs::remove_file(&path),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        removed.or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        })
    }

    /// Leaves the file to whoever comes next.
    pub(crate) fn leave(mut self) {
        self.path = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A server that is closed has removed it already; this is for those that could not be made.
        let _ = self.remove();
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Binds `socket` to a path: a stale socket file is replaced, anything else there is left and refused.
pub(crate) async fn bind(
    socket: &OwnedFd,
    path: &Path,
    address: &SocketAddrUnix,
    mode: Option<u32>,
) -> Result<SocketFile, UnixReason> {
    let lock = match who_is_there(path, address)? {
        There::Nobody => None,
        // Of servers that start at once and find the same stale file, only one may remove it: another would
        // remove the fresh file of the first.
        There::Stale => lock(path).await,
    };
    if who_is_there(path, address)? == There::Stale {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(UnixReason::Bind(error));
            }
            _ => {}
        }
    }
    match net::bind(socket, address) {
        Ok(()) => {}
        Err(Errno::ADDRINUSE) => return Err(UnixReason::Live),
        Err(error) => return Err(UnixReason::Bind(error.into())),
    }
    let file = SocketFile::at(path).map_err(UnixReason::Bind)?;
    drop(lock);
    if let Some(mode) = mode {
        // Nobody can have connected: it does not listen yet.
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(UnixReason::Bind)?;
    }
    Ok(file)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Nobody,
    /// The file of a socket that is gone.
    Stale,
}

/// Who is at `path`, if it can be bound, at least when what is there is removed.
fn who_is_there(path: &Path, address: &SocketAddrUnix) -> Result<There, UnixReason> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(UnixReason::NotASocket),
        // Whatever else is wrong with the path, binding will say.
        Err(_) => return Ok(There::Nobody),
    }
    // A socket of another kind is asked for, so that no server takes this for a client. The system refuses a
    // socket that is there for its kind, whether it listens or not, and one that is gone for being gone.
    let probe = tcp::unix_socket(SocketType::DGRAM).map_err(UnixReason::Bind)?;
    match net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => Ok(There::Stale),
        Err(Errno::NOENT) => Ok(There::Nobody),
        Ok(()) | Err(Errno::PROTOTYPE | Errno::PERM) => Err(UnixReason::Live),
        Err(error) => Err(UnixReason::Bind(error.into())),
    }
}

/// Keeps others that do the same from removing files in the folder of `path`, until the answer is dropped.
///
/// It goes without where it cannot have the lock: somebody else may need it for something else, for long.
async fn lock(path: &Path) -> Option<File> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).ok()?;
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await.ok()?,
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}
