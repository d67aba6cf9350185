//! What can be wrong with descriptors that are to be passed to the peer.

use std::error::Error;
use std::fmt;
use std::io;

/// The most descriptors that one [`send_with_fds`](crate::Transport::send_with_fds) may pass: 253, Linux's
/// `SCM_MAX_FD`.
pub const MAX_FDS: usize = 253;

/// Why descriptors were not passed. Nothing was sent then, and the descriptors are closed.
///
/// It travels in an [`io::Error`] of the kind [`InvalidInput`](io::ErrorKind::InvalidInput), or
/// [`Unsupported`](io::ErrorKind::Unsupported) and [`ResourceBusy`](io::ErrorKind::ResourceBusy) for the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendFdsError {
    /// There are descriptors and no data: in a stream they travel with a byte.
    NoData,
    /// There are so many, which is more than [`MAX_FDS`].
    TooMany(usize),
    /// The transport is no Unix socket, or there is a layer in between.
    Unsupported,
    /// A file is being sent: descriptors cannot wait behind it.
    Busy,
}

impl SendFdsError {
    /// Looks at what is to be sent.
    pub(crate) fn check(bytes: usize, fds: usize) -> Result<(), SendFdsError> {
        match (bytes, fds) {
            (_, 0) => Ok(()),
            (0, _) => Err(SendFdsError::NoData),
            (_, fds) if fds > MAX_FDS => Err(SendFdsError::TooMany(fds)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for SendFdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendFdsError::NoData => {
                f.write_str("descriptors need at least one byte to travel with")
            }
            SendFdsError::TooMany(fds) => {
                write!(f, "{fds} descriptors at once are too many: at most {MAX_FDS} can be passed")
            }
            SendFdsError::Unsupported => f.write_str("this transport cannot pass descriptors"),
            SendFdsError::Busy => f.write_str("descriptors cannot be passed during a sendfile"),
        }
    }
}

impl Error for SendFdsError {}

impl From<SendFdsError> for io::Error {
    fn from(error: SendFdsError) -> io::Error {
        let kind = match error {
            SendFdsError::NoData | SendFdsError::TooMany(_) => io::ErrorKind::InvalidInput,
            SendFdsError::Unsupported => io::ErrorKind::Unsupported,
            SendFdsError::Busy => io::ErrorKind::ResourceBusy,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_need_a_byte_and_are_not_too_many() {
        let check = |bytes, fds, expected: Result<(), SendFdsError>| {
            assert_eq!(
                SendFdsError::check(bytes, fds),
                expected,
                "{bytes} bytes, {fds} descriptors"
            );
        };
        check(0, 0, Ok(()));
        check(1, MAX_FDS, Ok(()));
        check(0, 1, Err(SendFdsError::NoData));
        check(1, MAX_FDS + 1, Err(SendFdsError::TooMany(254)));
    }

    #[test]
    fn the_reason_can_be_matched_inside_an_io_error() {
        for (error, kind) in [
            (SendFdsError::NoData, io::ErrorKind::InvalidInput),
            (SendFdsError::TooMany(300), io::ErrorKind::InvalidInput),
            (SendFdsError::Unsupported, io::ErrorKind::Unsupported),
            (SendFdsError::Busy, io::ErrorKind::ResourceBusy),
        ] {
            let outer = io::Error::from(error);
            let found = outer.get_ref().and_then(|inner| inner.downcast_ref::<SendFdsError>());
            assert_eq!((outer.kind(), found), (kind, Some(&error)));
        }
    }
}
