//! Names and addresses.

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use support::{watched, with_loop};
use tidegate_reactor::resolve::{self, AddressInfo, Hints, ResolveError, Service};
use tidegate_reactor::{EventLoop, LoopError};

fn look_up(
    host: Option<&str>,
    service: impl Into<Service>,
    hints: Hints,
) -> std::io::Result<Vec<AddressInfo>> {
    let event_loop = EventLoop::new().unwrap();
    let lookup = event_loop.handle().getaddrinfo(host, service, hints);
    let found = event_loop.run_until_complete(lookup).unwrap();
    event_loop.close().unwrap();
    found
}

const STREAM: Hints = Hints { family: 0, socktype: resolve::SOCK_STREAM, protocol: 0, flags: 0 };

#[test]
fn addresses_in_digits_come_with_everything_a_socket_needs() {
    watched(|| {
        for service in [Service::from(80), Service::from("80"), Service::from("http")] {
            let found = look_up(Some("127.0.0.1"), service, STREAM).unwrap();
            let expected = AddressInfo {
                family: resolve::AF_INET,
                socktype: resolve::SOCK_STREAM,
                protocol: resolve::IPPROTO_TCP,
                address: "127.0.0.1:80".parse().unwrap(),
                canonical_name: None,
            };
            assert_eq!(found, [expected]);
        }

        let scoped = look_up(Some("fe80::1%1"), 7, STREAM).unwrap();
        let SocketAddr::V6(address) = scoped[0].address else { panic!("{scoped:?}") };
        assert_eq!((address.scope_id(), address.port()), (1, 7));
    });
}

#[test]
fn hints_narrow_what_is_found() {
    watched(|| {
        let any = look_up(Some("127.0.0.1"), 53, Hints::default()).unwrap();
        assert!(any.len() > 1, "one for each type of socket: {any:?}");
        let hints = Hints { protocol: resolve::IPPROTO_UDP, ..Hints::default() };
        let found = look_up(Some("127.0.0.1"), (), hints).unwrap();
        assert_eq!((found.len(), found[0].socktype), (1, resolve::SOCK_DGRAM));
        assert_eq!(found[0].address.port(), 0);

        let hints = Hints { family: resolve::AF_INET6, ..STREAM };
        assert!(look_up(Some("127.0.0.1"), 80, hints).is_err());
        let hints = Hints { flags: resolve::AI_V4MAPPED, ..hints };
        let found = look_up(Some("127.0.0.1"), 80, hints).unwrap();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        assert_eq!(found[0].address.ip(), IpAddr::V6(mapped));

        let hints = Hints { flags: resolve::AI_CANONNAME, ..STREAM };
        let found = look_up(Some("127.0.0.1"), 80, hints).unwrap();
        assert_eq!(found[0].canonical_name.as_deref(), Some("127.0.0.1"));
    });
}

#[test]
fn without_a_host_the_addresses_are_loopback_or_the_wildcards() {
    watched(|| {
        let passive = Hints { flags: resolve::AI_PASSIVE, ..STREAM };
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let wildcards: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for (hints, expected) in [(STREAM, loopback), (passive, wildcards)] {
            let found = look_up(None, 8080, hints).unwrap();
            assert!(!found.is_empty());
            assert!(found.iter().all(|found| expected.contains(&found.address.ip())), "{found:?}");
        }
    });
}

#[test]
fn a_lookup_that_fails_says_why_and_can_be_matched() {
    watched(|| {
        let numeric = Hints { flags: resolve::AI_NUMERICHOST, ..STREAM };
        let cases = [
            (
                look_up(Some("no digits"), 80, numeric),
                r#"the host "no digits""#,
                resolve::EAI_NONAME,
                ErrorKind::NotFound,
            ),
            (
                look_up(None, (), STREAM),
                "an address of this machine",
                resolve::EAI_NONAME,
                ErrorKind::NotFound,
            ),
            (
                look_up(Some("127.0.0.1"), "no-such-service", STREAM),
                r#"the service "no-such-service" of the host "127.0.0.1""#,
                resolve::EAI_SERVICE,
                ErrorKind::InvalidInput,
            ),
            (
                look_up(None, "no-such-service", STREAM),
                r#"the service "no-such-service""#,
                resolve::EAI_SERVICE,
                ErrorKind::InvalidInput,
            ),
            (
                look_up(Some("127.0.0.1"), "80", Hints { family: 12_345, ..STREAM }),
                r#"the host "127.0.0.1""#,
                resolve::EAI_FAMILY,
                ErrorKind::InvalidInput,
            ),
            (
                look_up(Some("127.0.0.1"), 80, Hints { flags: i32::MIN, ..STREAM }),
                r#"the host "127.0.0.1""#,
                resolve::EAI_BADFLAGS,
                ErrorKind::InvalidInput,
            ),
        ];
        for (found, asked, code, kind) in cases {
            let error = found.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<ResolveError>());
            let inside = inside.unwrap_or_else(|| panic!("{error:?}"));
            assert_eq!(inside.code(), code, "{error}");
            let text = error.to_string();
            assert_eq!(text, format!("cannot look up {asked}: {} (code {code})", inside.text()));
            assert!(!inside.text().is_empty());
        }

        let error = look_up(Some("zero\0byte"), 80, STREAM).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn names_of_an_address() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let numeric = resolve::NI_NUMERICHOST | resolve::NI_NUMERICSERV;
        let names = event_loop.run_until_complete(handle.getnameinfo(address, numeric)).unwrap();
        assert_eq!(names.unwrap(), ("127.0.0.1".to_owned(), "80".to_owned()));
        let named = handle.getnameinfo(address, resolve::NI_NUMERICHOST);
        let (_, service) = event_loop.run_until_complete(named).unwrap().unwrap();
        assert_eq!(service, "http");
    });
}

// L-33
#[test]
fn resolving_needs_the_pool() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        assert!(event_loop.run_until_complete(handle.shutdown_default_executor(None)).unwrap());
        let lookup = handle.getaddrinfo(Some("127.0.0.1"), 80, STREAM);
        let error = event_loop.run_until_complete(lookup).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "Executor shutdown has been called");
        let inside = error.into_inner().unwrap().downcast::<LoopError>().unwrap();
        assert_eq!(*inside, LoopError::ExecutorShutdown);
    });
}
