//! Names and addresses: the system's own resolver, asked on the loop's pool.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind};
use nix::libc;

use crate::{LoopHandle, Offloaded};

/// For [`Hints::flags`]: addresses to bind to; without a host they are the wildcards, not loopback.
pub const AI_PASSIVE: i32 = libc::AI_PASSIVE;
/// For [`Hints::flags`]: ask for the canonical name, which comes with the first address.
pub const AI_CANONNAME: i32 = libc::AI_CANONNAME;
/// For [`Hints::flags`]: the host is an address in digits; no name is looked up.
pub const AI_NUMERICHOST: i32 = libc::AI_NUMERICHOST;
/// For [`Hints::flags`]: the service is a port in digits; no name is looked up.
pub const AI_NUMERICSERV: i32 = libc::AI_NUMERICSERV;
/// For [`Hints::flags`]: with family [`AF_INET6`], answer IPv4 addresses mapped into IPv6 if there are no others.
pub const AI_V4MAPPED: i32 = libc::AI_V4MAPPED;
/// For [`Hints::flags`]: with [`AI_V4MAPPED`], answer the mapped ones as well.
pub const AI_ALL: i32 = libc::AI_ALL;
/// For [`Hints::flags`]: only families of which this machine has an address.
pub const AI_ADDRCONFIG: i32 = libc::AI_ADDRCONFIG;

/// For [`getnameinfo`](LoopHandle::getnameinfo): the host in digits; no name is looked up.
pub const NI_NUMERICHOST: i32 = libc::NI_NUMERICHOST;
/// For [`getnameinfo`](LoopHandle::getnameinfo): the port in digits; no name is looked up.
pub const NI_NUMERICSERV: i32 = libc::NI_NUMERICSERV;
/// For [`getnameinfo`](LoopHandle::getnameinfo): of a local host, the name without its domain.
pub const NI_NOFQDN: i32 = libc::NI_NOFQDN;
/// For [`getnameinfo`](LoopHandle::getnameinfo): a host without a name is an error; else it is given in digits.
pub const NI_NAMEREQD: i32 = libc::NI_NAMEREQD;
/// For [`getnameinfo`](LoopHandle::getnameinfo): the service is one of datagrams (UDP).
pub const NI_DGRAM: i32 = libc::NI_DGRAM;

/// For [`Hints::family`]: IPv4.
pub const AF_INET: i32 = libc::AF_INET;
/// For [`Hints::family`]: IPv6.
pub const AF_INET6: i32 = libc::AF_INET6;
/// For [`Hints::socktype`]: streams.
pub const SOCK_STREAM: i32 = libc::SOCK_STREAM;
/// For [`Hints::socktype`]: datagrams.
pub const SOCK_DGRAM: i32 = libc::SOCK_DGRAM;
/// For [`Hints::protocol`]: TCP.
pub const IPPROTO_TCP: i32 = libc::IPPROTO_TCP;
/// For [`Hints::protocol`]: UDP.
pub const IPPROTO_UDP: i32 = libc::IPPROTO_UDP;

/// In [`ResolveError::code`]: the name server failed for now; asking again may help.
pub const EAI_AGAIN: i32 = libc::EAI_AGAIN;
/// In [`ResolveError::code`]: the flags are not valid.
pub const EAI_BADFLAGS: i32 = libc::EAI_BADFLAGS;
/// In [`ResolveError::code`]: the name server failed for good.
pub const EAI_FAIL: i32 = libc::EAI_FAIL;
/// In [`ResolveError::code`]: the family is not supported.
pub const EAI_FAMILY: i32 = libc::EAI_FAMILY;
/// In [`ResolveError::code`]: out of memory.
pub const EAI_MEMORY: i32 = libc::EAI_MEMORY;
/// In [`ResolveError::code`]: the host or the service is not known, or neither was given.
pub const EAI_NONAME: i32 = libc::EAI_NONAME;
/// In [`ResolveError::code`]: the service is not there for this type of socket.
pub const EAI_SERVICE: i32 = libc::EAI_SERVICE;
/// In [`ResolveError::code`]: the type of socket is not supported.
pub const EAI_SOCKTYPE: i32 = libc::EAI_SOCKTYPE;

impl LoopHandle {
    /// Looks up the addresses of a host and a service, as the system is set up to (`/etc/hosts`, DNS, ...).
    ///
    /// It runs on the loop's pool, see [`run_in_executor`](LoopHandle::run_in_executor), and has no time limit of
    /// its own. Without a host the addresses are those of loopback, or the wildcards with [`AI_PASSIVE`]. Names
    /// go to the system as they are: one that is not ASCII has to be given in its ASCII form (`xn--...`).
    /// asyncio: `loop.getaddrinfo()`.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] with a [`ResolveError`] inside if the system has no answer; kind `NotFound` for a name or
    /// a service that does not exist, `InvalidInput` for hints that are not supported. An OS error if the
    /// resolver met one, `InvalidInput` for a name with a zero byte. Those of
    /// [`OffloadError`](crate::OffloadError) as well.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets the answer; the pool's thread is busy until the system has it.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::{EventLoop, resolve};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let hints = resolve::Hints { socktype: resolve::SOCK_STREAM, ..resolve::Hints::default() };
    /// let lookup = event_loop.handle().getaddrinfo(Some("127.0.0.1"), 80, hints);
    /// let found = event_loop.run_until_complete(lookup)??;
    /// assert_eq!(found[0].address, "127.0.0.1:80".parse().unwrap());
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn getaddrinfo(
        &self,
        host: Option<&str>,
        service: impl Into<Service>,
        hints: Hints,
    ) -> Lookup<Vec<AddressInfo>> {
        let host = host.map(str::to_owned);
        let service = service.into();
        Lookup(self.run_in_executor(move || addresses(host.as_deref(), &service, hints)))
    }

    /// Looks up the names of a host and a service: the opposite of [`getaddrinfo`](LoopHandle::getaddrinfo).
    ///
    /// What has no name comes in digits, unless `flags` (`NI_...`, zero for none) say otherwise. asyncio:
    /// `loop.getnameinfo()`.
    ///
    /// # Errors
    ///
    /// As [`getaddrinfo`](LoopHandle::getaddrinfo).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets the answer; the pool's thread is busy until the system has it.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_reactor::{EventLoop, resolve};
    ///
    /// let event_loop = EventLoop::new()?;
    /// let flags = resolve::NI_NUMERICHOST | resolve::NI_NUMERICSERV;
    /// let lookup = event_loop.handle().getnameinfo("127.0.0.1:80".parse().unwrap(), flags);
    /// assert_eq!(event_loop.run_until_complete(lookup)??, ("127.0.0.1".into(), "80".into()));
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn getnameinfo(&self, address: SocketAddr, flags: i32) -> Lookup<(String, String)> {
        Lookup(self.run_in_executor(move || {
            dns_lookup::getnameinfo(&address, flags)
                .map_err(|error| explain(error, format!("the name of {address}")))
        }))
    }
}

/// The answer of the system's resolver; the future of [`LoopHandle::getaddrinfo`] and
/// [`LoopHandle::getnameinfo`].
///
/// # Panics
///
/// Polling it again after it gave its answer panics, as for most futures.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Lookup<T>(Offloaded<io::Result<T>>);

impl<T> Future for Lookup<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer?)
    }
}

/// Which addresses [`getaddrinfo`](LoopHandle::getaddrinfo) is to answer. The numbers are the system's; zero, the
/// default, is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The family of addresses: [`AF_INET`], [`AF_INET6`].
    pub family: i32,
    /// The type of socket: [`SOCK_STREAM`], [`SOCK_DGRAM`]. With zero each address comes once for every type.
    pub socktype: i32,
    /// The protocol: [`IPPROTO_TCP`], [`IPPROTO_UDP`].
    pub protocol: i32,
    /// Flags (`AI_...`), joined by `|`.
    pub flags: i32,
}

/// One address that [`getaddrinfo`](LoopHandle::getaddrinfo) found, with what to make its socket of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// The family of addresses: [`AF_INET`] or [`AF_INET6`].
    pub family: i32,
    /// The type of socket, such as [`SOCK_STREAM`].
    pub socktype: i32,
    /// The protocol, such as [`IPPROTO_TCP`].
    pub protocol: i32,
    /// The address and the port.
    pub address: SocketAddr,
    /// The canonical name of the host, with the first address, if [`AI_CANONNAME`] asked for it.
    pub canonical_name: Option<String>,
}

/// What [`getaddrinfo`](LoopHandle::getaddrinfo) looks up beside the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// No service: the ports are zero.
    Any,
    /// A port.
    Port(u16),
    /// The name of a service ("https"), or a port in digits.
    Name(String),
}

impl Service {
    fn to_text(&self) -> Option<String> {
        match self {
            Service::Any => None,
            Service::Port(port) => Some(port.to_string()),
            Service::Name(name) => Some(name.clone()),
        }
    }
}

impl From<()> for Service {
    fn from((): ()) -> Service {
        Service::Any
    }
}

impl From<u16> for Service {
    fn from(port: u16) -> Service {
        Service::Port(port)
    }
}

impl From<&str> for Service {
    fn from(name: &str) -> Service {
        Service::Name(name.to_owned())
    }
}

impl From<String> for Service {
    fn from(name: String) -> Service {
        Service::Name(name)
    }
}

impl<S: Into<Service>> From<Option<S>> for Service {
    fn from(service: Option<S>) -> Service {
        service.map_or(Service::Any, Into::into)
    }
}

/// The system has no answer; found inside the [`io::Error`] of a lookup, with
/// `error.get_ref().and_then(|inside| inside.downcast_ref::<ResolveError>())`.
///
/// Its message says what was looked up, and why that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    asked: String,
    code: i32,
    kind: io::ErrorKind,
    text: String,
}

impl ResolveError {
    /// The number the system gave (`EAI_...`). The numbers differ between systems.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }

    /// What the system says about it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot look up {}: {} (code {})", self.asked, self.text, self.code)
    }
}

impl Error for ResolveError {}

impl From<ResolveError> for io::Error {
    fn from(error: ResolveError) -> io::Error {
        io::Error::new(error.kind, error)
    }
}

/// Asks the system. Blocks.
fn addresses(host: Option<&str>, service: &Service, hints: Hints) -> io::Result<Vec<AddressInfo>> {
    let asked = question(host, service);
    let service = service.to_text();
    // The system says so as well, but the crate between us has another error for it.
    if host.is_none() && service.is_none() {
        return Err(explain(LookupError::new(EAI_NONAME), asked));
    }
    let hints = AddrInfoHints {
        flags: hints.flags,
        address: hints.family,
        socktype: hints.socktype,
        protocol: hints.protocol,
    };
    let found = dns_lookup::getaddrinfo(host, service.as_deref(), Some(hints));
    let found = found.map_err(|error| explain(error, asked))?;
    found
        .map(|found| {
            let found = found?;
            Ok(AddressInfo {
                family: found.address,
                socktype: found.socktype,
                protocol: found.protocol,
                address: found.sockaddr,
                canonical_name: found.canonname,
            })
        })
        .collect()
}

/// What is looked up, in words. A port is nothing that could be missing.
fn question(host: Option<&str>, service: &Service) -> String {
    let name = match service {
        Service::Name(name) if name.parse::<u16>().is_err() => Some(name),
        _ => None,
    };
    match (host, name) {
        (Some(host), Some(name)) => format!("the service {name:?} of the host {host:?}"),
        (Some(host), None) => format!("the host {host:?}"),
        (None, Some(name)) => format!("the service {name:?}"),
        (None, None) => "an address of this machine".to_owned(),
    }
}

fn explain(error: LookupError, asked: String) -> io::Error {
    let code = error.error_num();
    // Zero: not from the resolver at all. EAI_SYSTEM: the system's own error number says more.
    if code == 0 || code == libc::EAI_SYSTEM {
        return error.into();
    }
    let text = error.to_string();
    let text =
        text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned();
    let kind = match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => io::ErrorKind::NotFound,
        LookupErrorKind::Badflags
        | LookupErrorKind::Family
        | LookupErrorKind::Service
        | LookupErrorKind::Socktype => io::ErrorKind::InvalidInput,
        LookupErrorKind::Memory => io::ErrorKind::OutOfMemory,
        _ => io::ErrorKind::Other,
    };
    ResolveError { asked, code, kind, text }.into()
}
