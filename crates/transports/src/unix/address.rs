//! Where a Unix socket is: the forms in which it can be given, and the one that the system takes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::net::SocketAddrUnix;
use tidegate_protocols::{Address, UnixAddress};

use crate::unix::UnixReason;

/// Where [`create_unix_connection`](crate::create_unix_connection) connects to, or where
/// [`create_unix_server`](crate::create_unix_server) serves.
///
/// Made from a path in any of its forms, from a [`UnixAddress`], or from `()`, which is nowhere, for a socket that
/// exists. What begins with a zero byte is an abstract name of Linux's, as in asyncio:
/// `"\0name"` and `UnixAddress::abstract_name("name")` are the same.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use tidegate_protocols::UnixAddress;
/// use tidegate_transports::UnixPath;
///
/// let path = UnixPath::from("/run/service.sock");
/// let same = UnixPath::from(Path::new("/run").join("service.sock"));
/// let name = UnixPath::from("\0service");
/// let same = UnixPath::from(UnixAddress::abstract_name("service"));
/// let nowhere = UnixPath::from(());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixPath(pub(crate) Option<UnixAddress>);

impl UnixPath {
    fn of(name: &OsStr) -> UnixPath {
        UnixPath(Some(match name.as_bytes() {
            [0, name @ ..] => UnixAddress::abstract_name(name),
            _ => UnixAddress::path(name),
        }))
    }
}

impl From<()> for UnixPath {
    fn from((): ()) -> UnixPath {
        UnixPath(None)
    }
}

impl From<UnixAddress> for UnixPath {
    fn from(address: UnixAddress) -> UnixPath {
        UnixPath(Some(address))
    }
}

/// An address that is none of a Unix socket is nowhere.
impl From<Address> for UnixPath {
    fn from(address: Address) -> UnixPath {
        match address {
            Address::Unix(address) => UnixPath(Some(address)),
            Address::Inet(_) | Address::Unnamed => UnixPath(None),
        }
    }
}

/// `From` for the forms that a path can have.
macro_rules! paths {
    ($($form:ty)*) => {
        $(impl From<$form> for UnixPath {
            fn from(path: $form) -> UnixPath {
                UnixPath::of(path.as_ref())
            }
        })*
    };
}

paths! { &str String &String &Path PathBuf &PathBuf &OsStr OsString &OsString }

/// The address as the system takes it.
///
/// # Errors
///
/// What is wrong with it, before anything has happened.
pub(crate) fn system_address(address: &UnixAddress) -> Result<SocketAddrUnix, UnixReason> {
    let (name, made) = match (address.as_path(), address.as_abstract_name()) {
        (Some(path), _) => {
            let name = path.as_os_str().as_bytes();
            if name.contains(&0) {
                return Err(UnixReason::ZeroByte);
            }
            // The system would do without a zero byte behind it, and other programs would not.
            let room = SocketAddrUnix::new([name, b"0"].concat());
            (name, room.and_then(|_| SocketAddrUnix::new(path)))
        }
        (None, name) => {
            let name = name.unwrap_or_default();
            (name, abstract_address(name)?)
        }
    };
    if name.is_empty() {
        return Err(UnixReason::Empty);
    }
    // What else is wrong was looked for above.
    made.map_err(|_| UnixReason::TooLong(name.len()))
}

/// Where there are abstract names.
#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> Result<rustix::io::Result<SocketAddrUnix>, UnixReason> {
    Ok(SocketAddrUnix::new_abstract_name(name))
}

/// Where there are none.
#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> Result<rustix::io::Result<SocketAddrUnix>, UnixReason> {
    Err(UnixReason::NoAbstractNames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_given_as_it_comes() {
        let path = UnixPath(Some(UnixAddress::path("/run/s")));
        assert_eq!(UnixPath::from("/run/s"), path);
        assert_eq!(UnixPath::from(String::from("/run/s")), path);
        assert_eq!(UnixPath::from(Path::new("/run/s")), path);
        assert_eq!(UnixPath::from(Address::Unix(UnixAddress::path("/run/s"))), path);
        assert_eq!(UnixPath::from(Address::Unnamed), UnixPath::from(()));
    }

    // U-03
    #[test]
    fn a_leading_zero_byte_makes_an_abstract_name() {
        let name = UnixPath(Some(UnixAddress::abstract_name("s")));
        assert_eq!(UnixPath::from("\0s"), name);
        assert_eq!(UnixPath::from(UnixAddress::abstract_name("s")), name);
    }

    #[test]
    fn what_no_address_can_be_is_told_apart() {
        let check = |address: UnixAddress, expected: &str| {
            let reason = system_address(&address).expect_err(expected);
            assert_eq!(format!("{reason:?}"), expected);
        };
        check(UnixAddress::path(""), "Empty");
        check(UnixAddress::path("a\0b"), "ZeroByte");
        check(UnixAddress::path("x".repeat(300)), "TooLong(300)");
        #[cfg(target_os = "linux")]
        {
            check(UnixAddress::abstract_name(""), "Empty");
            check(UnixAddress::abstract_name("x".repeat(108)), "TooLong(108)");
            assert!(system_address(&UnixAddress::abstract_name("a\0b")).is_ok());
            check(UnixAddress::path("x".repeat(108)), "TooLong(108)");
            assert!(system_address(&UnixAddress::path("x".repeat(107))).is_ok());
        }
    }
}
