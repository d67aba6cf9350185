//! The name of a server: what the client asks for, and what the certificate has to be valid for.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use rustls::pki_types::{DnsName, ServerName};

/// A server's name that is none, found before any connection is opened.
///
/// It becomes an [`io::Error`] of the kind [`InvalidInput`](io::ErrorKind::InvalidInput) with `?`. The asyncio
/// counterpart is the `ValueError` that is raised for such a `server_hostname`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty, and the client verifies names.
    Empty,
    /// The name has letters outside of ASCII.
    NotAscii {
        /// The name as it was given.
        name: String,
    },
    /// The name is neither a DNS name nor an IP address.
    Invalid {
        /// The name as it was given.
        name: String,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // asyncio: the first half is ssl.py's text.
            NameError::Empty => formatter.write_str(
                "check_hostname requires server_hostname: give the server's name, which its certificate is checked for",
            ),
            NameError::NotAscii { name } => write!(
                formatter,
                "the server's name {name:?} is not ASCII: give the form that begins with xn--"
            ),
            NameError::Invalid { name } => {
                write!(formatter, "the server's name {name:?} is neither a DNS name nor an IP address")
            }
        }
    }
}

impl Error for NameError {}

impl From<NameError> for io::Error {
    fn from(error: NameError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The name of a server as rustls has it: a DNS name or an IP address.
///
/// An address of IPv6 may stand in brackets and may have a zone, a DNS name may end with the dot of the root; none of
/// these is ever part of a certificate, and so all of them are left out.
pub(crate) fn server_name(text: &str) -> Result<ServerName<'static>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(address) = address(text) {
        return Ok(ServerName::IpAddress(address.into()));
    }
    if !text.is_ascii() {
        return Err(NameError::NotAscii { name: text.to_owned() });
    }
    DnsName::try_from(text.to_owned())
        .map(ServerName::DnsName)
        .map_err(|_| NameError::Invalid { name: text.to_owned() })
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let without_zone = |text: &str| text.split('%').next()?.parse::<Ipv6Addr>().ok();
    match bare {
        Some(bare) => without_zone(bare).map(IpAddr::V6),
        None => text.parse().ok().or_else(|| without_zone(text).map(IpAddr::V6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, NameError>) {
        let found = server_name(text).map(|name| name.to_str().into_owned());
        assert_eq!(found, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn names_and_addresses_are_told_apart() {
        check("localhost", Ok("localhost"));
        check("Example.ORG", Ok("Example.ORG"));
        check("a_b.example.org", Ok("a_b.example.org"));
        check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("127.0.0.1", Ok("127.0.0.1"));
        check("::1", Ok("::1"));
    }

    #[test]
    fn what_no_certificate_has_is_left_out() {
        check("example.org.", Ok("example.org"));
        check("[::1]", Ok("::1"));
        check("fe80::1%eth0", Ok("fe80::1"));
        check("[fe80::1%2]", Ok("fe80::1"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let invalid = |text: &str| check(text, Err(NameError::Invalid { name: text.to_owned() }));
        check("", Err(NameError::Empty));
        invalid(".");
        invalid("..");
        invalid(".example.org");
        invalid("example..org");
        invalid("example.org..");
        invalid("two words");
        invalid("*.example.org");
        invalid("[localhost]");
        invalid("[127.0.0.1]");
        invalid("example.org:443");
        invalid("https://example.org");
        invalid("nul\0");
        invalid(&"a".repeat(64));
        invalid(&["abcdefg"; 40].join("."));
        let name = "bücher.example";
        check(name, Err(NameError::NotAscii { name: name.to_owned() }));
    }

    #[test]
    fn the_error_says_what_to_do_and_stays_inside_an_error_of_io() {
        let text = |name: &str| server_name(name).unwrap_err().to_string();
        assert!(text("").starts_with("check_hostname requires server_hostname"));
        assert!(text("bücher.example").contains("xn--"));
        assert!(text("two words").contains("\"two words\""));
        let error = io::Error::from(NameError::Empty);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(inner, Some(&NameError::Empty));
    }
}
