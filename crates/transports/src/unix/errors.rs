//! What can be wrong with the address of a Unix socket, and with descriptors that are passed through one.

use std::error::Error;
use std::fmt;
use std::io;

use tidegate_protocols::UnixAddress;

/// A Unix socket could not be connected to, or served at, its address.
///
/// It travels in an [`io::Error`] of the kind that [`reason`](UnixError::reason) has. Every text names the
/// address.
#[derive(Debug)]
pub struct UnixError {
    /// Which address it was.
    pub address: UnixAddress,
    /// What was wrong.
    pub reason: UnixReason,
}

/// What was wrong with the address of a Unix socket; see [`UnixError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum UnixReason {
    /// It is empty. Kind: [`InvalidInput`](io::ErrorKind::InvalidInput).
    Empty,
    /// There is a zero byte in the path, behind the first byte. Kind: [`InvalidInput`](io::ErrorKind::InvalidInput).
    ZeroByte,
    /// It has so many bytes, which is more than an address holds: 107 on Linux. Kind:
    /// [`InvalidInput`](io::ErrorKind::InvalidInput).
    TooLong(usize),
    /// It is an abstract name, and this is not Linux. Kind: [`Unsupported`](io::ErrorKind::Unsupported).
    NoAbstractNames,
    /// Somebody is there already: a server answers, or may. Kind: [`AddrInUse`](io::ErrorKind::AddrInUse).
    Live,
    /// There is something else than a socket: a file, a folder, a link. Kind:
    /// [`AddrInUse`](io::ErrorKind::AddrInUse).
    NotASocket,
    /// The system refused to connect. Kind: that of the error.
    Connect(io::Error),
    /// The system refused to bind, to remove the stale socket before, or to set the permissions after. Kind: that
    /// of the error.
    Bind(io::Error),
}

impl UnixReason {
    fn kind(&self) -> io::ErrorKind {
        match self {
            UnixReason::Empty | UnixReason::ZeroByte | UnixReason::TooLong(_) => {
                io::ErrorKind::InvalidInput
            }
            UnixReason::NoAbstractNames => io::ErrorKind::Unsupported,
            UnixReason::Live | UnixReason::NotASocket => io::ErrorKind::AddrInUse,
            UnixReason::Connect(error) | UnixReason::Bind(error) => error.kind(),
        }
    }

    /// The whole error, about that address.
    pub(crate) fn at(self, address: &UnixAddress) -> io::Error {
        UnixError { address: address.clone(), reason: self }.into()
    }
}

impl fmt::Display for UnixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnixError { address, reason } = self;
        match reason {
            UnixReason::Empty => f.write_str("the address of a Unix socket is empty"),
            UnixReason::ZeroByte => {
                let path = format!("{address}");
                write!(f, "there is a zero byte in the path '{}'", path.escape_default())
            }
            UnixReason::TooLong(bytes) => {
                write!(f, "the address of a Unix socket cannot have {bytes} bytes: '{address}'")
            }
            UnixReason::NoAbstractNames => {
                write!(f, "there are no abstract names on this system: '{address}'")
            }
            // asyncio: unix_events.py has this text.
            UnixReason::Live => write!(f, "Address '{address}' is already in use"),
            UnixReason::NotASocket => {
                write!(f, "Address '{address}' is already in use, and not by a socket")
            }
            UnixReason::Connect(error) => write!(f, "Connect call failed {address}: {error}"),
            UnixReason::Bind(error) => {
                let text = error.to_string();
                let reason = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
                write!(f, "error while attempting to bind on address {address}: {reason}")
            }
        }
    }
}

impl Error for UnixError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            UnixReason::Connect(error) | UnixReason::Bind(error) => Some(error),
            _ => None,
        }
    }
}

impl From<UnixError> for io::Error {
    fn from(error: UnixError) -> io::Error {
        io::Error::new(error.reason.kind(), error)
    }
}

/// A peer has passed more descriptors at once than `receive_fds` allows, or than the process may have open.
///
/// It is the cause of the connection's end, in an [`io::Error`] of the kind
/// [`InvalidData`](io::ErrorKind::InvalidData): some descriptors are lost, and which bytes they belonged to is not
/// known. Those that came are closed, and the bytes that came with them are not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncatedFds {
    /// How many were allowed.
    pub most: usize,
}

impl fmt::Display for TruncatedFds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most;
        write!(
            f,
            "the peer has passed more descriptors at once than could be received: at most {most}"
        )
    }
}

impl Error for TruncatedFds {}

impl From<TruncatedFds> for io::Error {
    fn from(error: TruncatedFds) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}
