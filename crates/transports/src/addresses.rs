//! Where to connect to and where to serve: hosts, ports and families, and how they become socket addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tidegate_protocols::Address;
use tidegate_reactor::LoopHandle;
use tidegate_reactor::resolve::{self, Service};

/// Where [`create_connection`](crate::create_connection) connects to, or what it binds to.
///
/// Made from `(host, port)`, where the host is a name, an address or nothing (the own machine) and the port is
/// a number or the name of a service; from a [`SocketAddr`]; from a list of them, which are tried in order; or
/// from `()`, which is nowhere, for a connection over a socket that exists.
///
/// # Examples
///
/// ```
/// use std::net::{Ipv6Addr, SocketAddr};
/// use tidegate_transports::Target;
///
/// let name = Target::from(("example.org", 80));
/// let service = Target::from(("example.org", "http"));
/// let literal = Target::from((Ipv6Addr::LOCALHOST, 8888));
/// let address = Target::from(SocketAddr::from(([127, 0, 0, 1], 8888)));
/// let nowhere = Target::from(());
/// ```
#[derive(Clone, Debug)]
pub struct Target(pub(crate) Place);

/// Where [`create_server`](crate::create_server) serves.
///
/// Made from what makes a [`Target`], and from `(hosts, port)` with a list of hosts. No host, or an empty one,
/// means every interface of every family; `()` means a server over a socket that exists.
///
/// # Examples
///
/// ```
/// use tidegate_transports::Hosts;
///
/// let one = Hosts::from(("127.0.0.1", 8888));
/// let several = Hosts::from((["127.0.0.1", "::1"], 8888));
/// let every_interface = Hosts::from((None::<&str>, 8888));
/// let nowhere = Hosts::from(());
/// ```
#[derive(Clone, Debug)]
pub struct Hosts(pub(crate) Place);

/// One machine, by its name, by its address, or left open.
///
/// An empty text leaves it open, as `None` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(Option<String>);

/// The family that addresses must have. The asyncio counterpart is the argument `family`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Any: `AF_UNSPEC`.
    #[default]
    Any,
    /// IPv4 only: `AF_INET`.
    Inet,
    /// IPv6 only: `AF_INET6`.
    Inet6,
}

/// What targets and hosts come down to.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Nowhere,
    Named { hosts: Vec<Host>, service: Service },
    Addresses(Vec<SocketAddr>),
}

/// What sockets are made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Stream,
    Datagram,
}

/// What an address must be; the numbers are the system's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    pub(crate) protocol: i32,
    pub(crate) flags: i32,
}

/// An address, and the protocol that its socket is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: i32,
}

impl Place {
    pub(crate) fn is_nowhere(&self) -> bool {
        matches!(self, Place::Nowhere)
    }

    /// The name by which a peer there can be expected to call itself.
    pub(crate) fn host(&self) -> Option<String> {
        match self {
            Place::Named { hosts, .. } => hosts.first().and_then(|host| host.0.clone()),
            Place::Addresses(addresses) => {
                addresses.first().map(|address| address.ip().to_string())
            }
            Place::Nowhere => None,
        }
    }

    /// The addresses, each once, in the order given and within that in the resolver's.
    ///
    /// # Errors
    ///
    /// The resolver's, or that it has answered nothing.
    pub(crate) async fn resolve(
        &self,
        handle: &LoopHandle,
        wanted: Wanted,
    ) -> io::Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        match self {
            Place::Nowhere => {}
            Place::Addresses(addresses) => {
                let fitting = addresses.iter().filter(|address| wanted.family.has(address));
                candidates.extend(fitting.map(|address| wanted.candidate(*address)));
            }
            Place::Named { hosts, service } => {
                for host in hosts {
                    candidates.extend(host.resolve(handle, service, wanted).await?);
                }
            }
        }
        let mut each_once: Vec<Candidate> = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if !each_once.iter().any(|known| known.address == candidate.address) {
                each_once.push(candidate);
            }
        }
        Ok(each_once)
    }
}

impl Host {
    /// What it is called; none if it was left open.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    async fn resolve(
        &self,
        handle: &LoopHandle,
        service: &Service,
        wanted: Wanted,
    ) -> io::Result<Vec<Candidate>> {
        if let Some(known) = self.known(service, wanted) {
            return Ok(known);
        }
        let hints = resolve::Hints {
            family: wanted.family.number(),
            socktype: wanted.kind.number(),
            protocol: wanted.protocol,
            flags: wanted.flags,
        };
        // An empty name of a service is none, and with no host either the resolver wants to hear a number.
        let service = match (service, &self.0) {
            (Service::Any, None) => Service::Port(0),
            (Service::Name(name), _) if name.is_empty() => Service::Port(0),
            (other, _) => other.clone(),
        };
        let found = handle.getaddrinfo(self.0.as_deref(), service, hints).await?;
        Ok(found
            .into_iter()
            .map(|info| Candidate { address: info.address, protocol: info.protocol })
            .collect())
    }

    /// The addresses of a host for which nobody has to be asked: one in digits with a port in digits.
    fn known(&self, service: &Service, wanted: Wanted) -> Option<Vec<Candidate>> {
        let port = port_of(service)?;
        let ip: IpAddr = self.0.as_deref()?.parse().ok()?;
        let address = SocketAddr::new(ip, port);
        let usual_protocol = [0, wanted.kind.usual_protocol()].contains(&wanted.protocol);
        (usual_protocol && wanted.family.has(&address)).then(|| vec![wanted.candidate(address)])
    }
}

fn port_of(service: &Service) -> Option<u16> {
    match service {
        Service::Any => Some(0),
        Service::Port(port) => Some(*port),
        Service::Name(name) if name.is_empty() => Some(0),
        Service::Name(name) => name.parse().ok(),
    }
}

/// The answer for which the resolver had no address.
pub(crate) fn empty_answer() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "getaddrinfo() returned empty list")
}

impl Family {
    fn number(self) -> i32 {
        match self {
            Family::Any => 0,
            Family::Inet => resolve::AF_INET,
            Family::Inet6 => resolve::AF_INET6,
        }
    }

    fn has(self, address: &SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::Inet => address.is_ipv4(),
            Family::Inet6 => address.is_ipv6(),
        }
    }
}

impl Kind {
    fn number(self) -> i32 {
        match self {
            Kind::Stream => resolve::SOCK_STREAM,
            Kind::Datagram => resolve::SOCK_DGRAM,
        }
    }

    fn usual_protocol(self) -> i32 {
        match self {
            Kind::Stream => resolve::IPPROTO_TCP,
            Kind::Datagram => resolve::IPPROTO_UDP,
        }
    }
}

impl Wanted {
    fn candidate(self, address: SocketAddr) -> Candidate {
        let usual = self.kind.usual_protocol();
        let protocol = if self.protocol == 0 { usual } else { self.protocol };
        Candidate { address, protocol }
    }
}

/// An address that is no internet address is nowhere to connect to.
impl From<Address> for Target {
    fn from(address: Address) -> Target {
        match address.as_inet() {
            Some(address) => Target::from(address),
            None => Target::from(()),
        }
    }
}

impl From<&str> for Host {
    fn from(host: &str) -> Host {
        Host::from(host.to_owned())
    }
}

impl From<String> for Host {
    fn from(host: String) -> Host {
        Host(Some(host).filter(|host| !host.is_empty()))
    }
}

impl From<&String> for Host {
    fn from(host: &String) -> Host {
        Host::from(host.clone())
    }
}

impl From<IpAddr> for Host {
    fn from(host: IpAddr) -> Host {
        Host(Some(host.to_string()))
    }
}

impl From<Ipv4Addr> for Host {
    fn from(host: Ipv4Addr) -> Host {
        IpAddr::from(host).into()
    }
}

impl From<Ipv6Addr> for Host {
    fn from(host: Ipv6Addr) -> Host {
        IpAddr::from(host).into()
    }
}

impl<H: Into<Host>> From<Option<H>> for Host {
    fn from(host: Option<H>) -> Host {
        host.map_or(Host(None), Into::into)
    }
}

/// `From` for the forms in which a place can be given.
macro_rules! places {
    ($place:ident: $($form:ty, $value:ident $(: $generic:ident)? => $made:expr;)*) => {
        $(impl $(<$generic: Into<Host>>)? From<$form> for $place {
            fn from($value: $form) -> $place {
                $place($made)
            }
        })*
    };
}

places! { Target:
    (), _nowhere => Place::Nowhere;
    (H, u16), pair: H => named([pair.0], pair.1);
    (H, &str), pair: H => named([pair.0], pair.1);
    (H, String), pair: H => named([pair.0], pair.1);
    SocketAddr, address => Place::Addresses(vec![address]);
    Vec<SocketAddr>, addresses => Place::Addresses(addresses);
    &[SocketAddr], addresses => Place::Addresses(addresses.to_vec());
}

places! { Hosts:
    (), _nowhere => Place::Nowhere;
    (H, u16), pair: H => named([pair.0], pair.1);
    (H, &str), pair: H => named([pair.0], pair.1);
    (H, String), pair: H => named([pair.0], pair.1);
    (Vec<H>, u16), pair: H => named(pair.0, pair.1);
    (Vec<H>, &str), pair: H => named(pair.0, pair.1);
    SocketAddr, address => Place::Addresses(vec![address]);
    Vec<SocketAddr>, addresses => Place::Addresses(addresses);
    &[SocketAddr], addresses => Place::Addresses(addresses.to_vec());
}

impl<H: Into<Host>, const N: usize> From<([H; N], u16)> for Hosts {
    fn from((hosts, port): ([H; N], u16)) -> Hosts {
        Hosts(named(hosts, port))
    }
}

impl<H: Into<Host> + Clone> From<(&[H], u16)> for Hosts {
    fn from((hosts, port): (&[H], u16)) -> Hosts {
        Hosts(named(hosts.iter().cloned(), port))
    }
}

fn named<H: Into<Host>>(hosts: impl IntoIterator<Item = H>, service: impl Into<Service>) -> Place {
    Place::Named { hosts: hosts.into_iter().map(Into::into).collect(), service: service.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(host: &str, service: impl Into<Service>, wanted: Wanted) -> Option<Vec<Candidate>> {
        Host::from(host).known(&service.into(), wanted)
    }

    #[test]
    fn an_address_in_digits_needs_no_resolver() {
        // C-03
        let check = |host: &str, service: Service, expected: Option<&str>| {
            let address = expected.map(|text| text.parse().expect("an address"));
            let expected =
                address.map(|address| vec![Candidate { address, protocol: resolve::IPPROTO_TCP }]);
            assert_eq!(known(host, service, Wanted::default()), expected, "{host}");
        };
        check("1.2.3.4", 80.into(), Some("1.2.3.4:80"));
        check("::3", 80.into(), Some("[::3]:80"));
        check("1.2.3.4", "80".into(), Some("1.2.3.4:80"));
        // No port, or an empty one, is 0.
        check("1.2.3.4", "".into(), Some("1.2.3.4:0"));
        check("1.2.3.4", Service::Any, Some("1.2.3.4:0"));
        check("::3", Service::Any, Some("[::3]:0"));
        // What the resolver has to be asked.
        check("1.2.3.4", "http".into(), None);
        check("1.2.3.4", "65536".into(), None);
        check("::3%lo0", 80.into(), None);
        check("example.org", 80.into(), None);
        check("1.2", 80.into(), None);
        check("", 80.into(), None);
    }

    #[test]
    fn an_address_of_another_family_or_protocol_is_left_to_the_resolver() {
        let only = |family| Wanted { family, ..Wanted::default() };
        assert!(known("1.2.3.4", 80, only(Family::Inet)).is_some());
        assert!(known("1.2.3.4", 80, only(Family::Inet6)).is_none());
        assert!(known("::1", 80, only(Family::Inet6)).is_some());
        assert!(known("::1", 80, only(Family::Inet)).is_none());
        let over = |protocol| Wanted { protocol, ..Wanted::default() };
        assert!(known("::1", 80, over(resolve::IPPROTO_TCP)).is_some());
        assert!(known("::1", 80, over(132)).is_none());
    }

    #[test]
    fn a_host_left_open_has_no_name() {
        for open in [Host::from(""), Host::from(None::<&str>), Host::from(Some(""))] {
            assert_eq!(open, Host(None));
        }
        let host = |target: Target| target.0.host();
        assert_eq!(host(("", 80).into()), None);
        assert_eq!(host(().into()), None);
        assert_eq!(host(("example.org", "http").into()).as_deref(), Some("example.org"));
        assert_eq!(host((Ipv6Addr::LOCALHOST, 1).into()).as_deref(), Some("::1"));
        assert_eq!(host(SocketAddr::from(([1, 2, 3, 4], 5)).into()).as_deref(), Some("1.2.3.4"));
    }
}
