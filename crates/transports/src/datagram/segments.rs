//! How many bytes a datagram may have to be sent together with others of its size.
//!
//! ```text
//!           a size is refused                the kernel refuses, or a size that fits everywhere
//!   Any ───────────────────────▶ Below(size) ─────────────────────────────────────────────────▶ Off
//! ```

use std::io;

use rustix::io::Errno;

/// At most so many datagrams leave in one call, as Linux has it.
pub(super) const MOST_SEGMENTS: usize = 64;

/// At most so many bytes leave in one call: what one IPv4 packet can carry.
pub(super) const MOST_BYTES: usize = 65_507;

/// A datagram that every path carries in one piece: what IPv6 guarantees, less the headers.
const FITS_EVERYWHERE: usize = 1280 - 48;

/// Which datagrams are sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segments {
    /// All that can be.
    Any,
    /// Those below this size; the route has refused one of it.
    Below(usize),
    /// None: the wire does not know how.
    Off,
}

impl Segments {
    /// Whether datagrams of this size are sent together.
    pub(super) fn allows(self, size: usize) -> bool {
        match self {
            Segments::Any => true,
            Segments::Below(limit) => size < limit,
            Segments::Off => false,
        }
    }

    /// What follows from an error of a call that was to send several of `size`; none if it says nothing about that.
    pub(super) fn refused(self, error: &io::Error, size: usize) -> Option<Segments> {
        let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        // Linux says either of a segment that is longer than the route carries in one piece.
        if (is(Errno::INVAL) || is(Errno::MSGSIZE)) && size > FITS_EVERYWHERE {
            return Some(Segments::Below(size));
        }
        let off = [Errno::INVAL, Errno::MSGSIZE, Errno::IO, Errno::OPNOTSUPP, Errno::NOPROTOOPT];
        (off.into_iter().any(is) || error.kind() == io::ErrorKind::Unsupported)
            .then_some(Segments::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_one_consequence() {
        let check = |errno: Errno, size, expected| {
            for before in [Segments::Any, Segments::Below(9000)] {
                assert_eq!(before.refused(&errno.into(), size), expected, "{errno} of {size}");
            }
        };
        check(Errno::INVAL, 1500, Some(Segments::Below(1500)));
        check(Errno::MSGSIZE, 1500, Some(Segments::Below(1500)));
        for errno in [Errno::INVAL, Errno::MSGSIZE, Errno::IO, Errno::OPNOTSUPP, Errno::NOPROTOOPT]
        {
            check(errno, 1200, Some(Segments::Off));
        }
        check(Errno::IO, 1500, Some(Segments::Off));
        for errno in [Errno::NOBUFS, Errno::CONNREFUSED, Errno::HOSTUNREACH] {
            check(errno, 1200, None);
        }
    }

    #[test]
    fn only_smaller_ones_go_on_together() {
        let sizes = [1, 1499, 1500, 1501];
        assert_eq!(sizes.map(|size| Segments::Any.allows(size)), [true; 4]);
        let below = Segments::Below(1500);
        assert_eq!(sizes.map(|size| below.allows(size)), [true, true, false, false]);
        assert_eq!(sizes.map(|size| Segments::Off.allows(size)), [false; 4]);
    }
}
