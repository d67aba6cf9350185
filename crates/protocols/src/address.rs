//! Where one end of a connection is.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The address of one end of a connection.
///
/// asyncio has a tuple for internet addresses, a string or bytes for those of Unix sockets, and an empty
/// string for none. What is shown ([`Display`](fmt::Display)) is what logs want: `127.0.0.1:80`,
/// `[::1]:80`, `/run/socket`, `@abstract`, `(unnamed)`.
///
/// ```
/// use std::net::SocketAddr;
/// use tidegate_protocols::Address;
///
/// let address = Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
/// assert_eq!(address.to_string(), "127.0.0.1:80");
/// assert_eq!(address.as_inet().map(|inet| inet.port()), Some(80));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An internet address and port.
    Inet(SocketAddr),
    /// The address of a Unix socket.
    Unix(UnixAddress),
    /// An end without a name: a Unix socket that was never bound, a socket pair, memory.
    Unnamed,
}

impl Address {
    /// The internet address, if it is one.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => write!(f, "{address}"),
            Address::Unix(address) => write!(f, "{address}"),
            Address::Unnamed => f.write_str("(unnamed)"),
        }
    }
}

/// The address of a Unix socket that has one. Clones share its memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixAddress(Arc<Name>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl UnixAddress {
    /// The address with a path in the file system.
    pub fn path(path: impl AsRef<OsStr>) -> UnixAddress {
        UnixAddress(Arc::new(Name::Path(PathBuf::from(path.as_ref()))))
    }

    /// The address with a name in Linux's abstract name space, without its leading zero byte.
    pub fn abstract_name(name: impl Into<Vec<u8>>) -> UnixAddress {
        UnixAddress(Arc::new(Name::Abstract(name.into())))
    }

    /// The path, if it has one.
    pub fn as_path(&self) -> Option<&Path> {
        match &*self.0 {
            Name::Path(path) => Some(path),
            Name::Abstract(_) => None,
        }
    }

    /// The abstract name, if it has one.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &*self.0 {
            Name::Path(_) => None,
            Name::Abstract(name) => Some(name),
        }
    }
}

/// A path as it is; an abstract name behind an `@`, as `ss` and `netstat` show it.
impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Name::Path(path) => write!(f, "{}", path.display()),
            Name::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_shown_as_the_field_shows_it() {
        let inet: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(Address::from(inet).to_string(), "[::1]:80");
        assert_eq!(Address::from(inet).as_inet(), Some(inet));
        assert_eq!(Address::Unix(UnixAddress::path("/run/s")).to_string(), "/run/s");
        assert_eq!(Address::Unix(UnixAddress::abstract_name(*b"s\n")).to_string(), "@s\\n");
        assert_eq!(Address::Unnamed.to_string(), "(unnamed)");
    }

    #[test]
    fn an_address_is_small() {
        assert!(size_of::<Option<Address>>() <= 32);
    }
}
