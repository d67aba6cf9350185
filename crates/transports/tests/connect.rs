//! Connecting over real sockets: `create_connection` and `connect_accepted_socket`.

#![cfg(not(windows))]

use std::future::Future;
use std::io::{self};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tidegate_protocols::{Address, Transport};
use tidegate_reactor::{LoopError, LoopHandle, TimeoutError, resolve, timeout};
use tidegate_testkit::{alone, open_descriptors, run, watched};
use tidegate_transports::{
    ArgumentError, BindError, ConnectCallError, ConnectError, CreateConnection, Family, Target,
    connect_accepted_socket, create_connection,
};

mod support;
use support::{BlackHole, Idle, Refusing, inner, listener, never, poll_once, turns, until};

#[test]
fn a_contradiction_is_an_error_before_anything_is_done() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let check = |result: io::Result<Transport>, expected: ArgumentError| {
                let error = result.expect_err("a contradiction");
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert_eq!(inner(&error), Some(&expected));
                // The socket that was given is closed as well.
                assert_eq!(open_descriptors(), before);
            };
            // C-01
            let pair = || UnixStream::pair().expect("a pair").0;
            let both = create_connection(never, ("127.0.0.1", 1)).sock(pair()).await;
            check(both, ArgumentError::HostAndSocket);
            check(create_connection(never, ()).await, ArgumentError::NowhereToConnect);
            let datagrams = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
            let wrong = create_connection(never, ()).sock(datagrams).await;
            check(wrong, ArgumentError::NotAStreamSocket);
            let (pipe, _) = io::pipe().expect("a pipe");
            let wrong = create_connection(never, ()).sock(pipe).await;
            check(wrong, ArgumentError::NotAStreamSocket);
            // C-16
            let (datagrams, _) = UnixDatagram::pair().expect("a pair");
            let wrong = connect_accepted_socket(never, datagrams).await;
            check(wrong, ArgumentError::NotAStreamSocket);
        });
    });
}

#[test]
fn without_a_loop_the_error_names_what_to_do() {
    watched(|| {
        let mut future = pin!(create_connection(never, ("127.0.0.1", 1)).into_future());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Err(error)) = future.as_mut().poll(&mut context) else {
            panic!("there is no loop")
        };
        assert_eq!(inner(&error), Some(&LoopError::NotRunning));
    });
}

#[test]
fn only_what_is_not_in_digits_is_looked_up() {
    run(async {
        let (listener, address) = listener();
        LoopHandle::current()?.shutdown_default_executor(None).await;
        // C-03: the resolver is not to be had any more
        for target in [
            Target::from(("127.0.0.1", address.port())),
            Target::from(("127.0.0.1", address.port().to_string())),
            Target::from((Ipv4Addr::LOCALHOST, address.port())),
            Target::from(address),
        ] {
            create_connection(|| Idle, target).await?.abort();
            drop(listener.accept()?);
        }
        let by_name = create_connection(never, ("localhost", address.port())).await;
        let error = by_name.expect_err("no resolver");
        assert_eq!(error.to_string(), "Executor shutdown has been called");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_name_and_a_service_go_through_the_resolver() {
    run(async {
        let (listener, address) = listener();
        // C-03
        let service = address.port().to_string();
        let target = ("localhost", service.as_str());
        let transport = create_connection(|| Idle, target).family(Family::Inet).await?;
        assert_eq!(transport.peername(), Some(Address::Inet(address)));
        drop(listener);

        let not_a_number =
            create_connection(never, ("localhost", 1)).flags(resolve::AI_NUMERICHOST);
        let error = not_a_number.await.expect_err("no such address");
        assert_eq!(
            inner::<resolve::ResolveError>(&error).map(|inner| inner.code()),
            Some(resolve::EAI_NONAME)
        );
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn no_address_at_all_is_an_error_of_its_own() {
    run(async {
        // C-04
        let error = create_connection(never, Vec::<SocketAddr>::new()).await.expect_err("nowhere");
        assert_eq!(error.to_string(), "getaddrinfo() returned empty list");
        let (_listener, address) = listener();
        let error = create_connection(never, address)
            .local_addr(Vec::<SocketAddr>::new())
            .await
            .expect_err("from nowhere");
        assert_eq!(error.to_string(), "getaddrinfo() returned empty list");
    });
}

#[test]
fn a_single_refusal_says_where_and_keeps_kind_and_number() {
    run(async {
        // C-06
        let nobody = Refusing::new();
        let error = create_connection(never, nobody.address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let refused = io::Error::from(Errno::CONNREFUSED);
        let text = format!("Connect call failed {}: {refused}", nobody.address);
        assert_eq!(error.to_string(), text);
        let inside = inner::<ConnectCallError>(&error).expect("what the system said");
        assert_eq!(inside.address, Address::Inet(nobody.address));
        assert_eq!(inside.error.raw_os_error(), refused.raw_os_error());
    });
}

#[test]
fn a_failed_lookup_says_of_what() {
    run(async {
        let check = async |host: &str, service: &str, asked: &str| {
            let connecting = create_connection(never, (host, service));
            let connecting = connecting.flags(resolve::AI_NUMERICHOST);
            let error = connecting.await.expect_err("no such thing");
            let text = error.to_string();
            assert!(text.starts_with(&format!("cannot look up {asked}: ")), "{text}");
            assert!(inner::<resolve::ResolveError>(&error).is_some(), "{error:?}");
        };
        check("nobody", "1", r#"the host "nobody""#).await;
        check("127.0.0.1", "nothing", r#"the service "nothing" of the host "127.0.0.1""#).await;
        check("", "nothing", r#"the service "nothing""#).await;
    });
}

#[test]
fn all_refusals_are_kept_in_order() {
    run(async {
        // replaced: C-06
        let nobody = [Refusing::new(), Refusing::new(), Refusing::new()];
        let addresses = nobody.each_ref().map(|nobody| nobody.address);
        let error = create_connection(never, &addresses[..]).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let kept = inner::<ConnectError>(&error).expect("all of them");
        let tried: Vec<_> = kept.attempts.iter().map(|(address, _)| *address).collect();
        assert_eq!(tried, addresses);
        for (_, error) in &kept.attempts {
            assert_eq!(error.raw_os_error(), Some(Errno::CONNREFUSED.raw_os_error()));
        }
        assert!(error.to_string().starts_with("Multiple exceptions: "), "{error}");
    });
}

#[test]
fn families_take_turns_unless_told_otherwise() {
    run(async {
        let nobody = [Refusing::new(), Refusing::new()];
        let [first, second] = nobody.each_ref().map(|nobody| nobody.address);
        // Port 1 is nobody's.
        let other = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));
        let addresses = vec![first, second, other];
        let connecting = || create_connection(never, addresses.clone());
        let check = async |connecting: CreateConnection<_>, expected: [SocketAddr; 3]| {
            let error = connecting.await.expect_err("nobody listens");
            let kept = inner::<ConnectError>(&error).expect("all of them");
            let tried: Vec<_> = kept.attempts.iter().map(|(address, _)| *address).collect();
            assert_eq!(tried, expected);
        };
        // replaced: C-08: the default
        check(connecting(), [first, other, second]).await;
        // C-08
        check(connecting().interleave(2), [first, second, other]).await;
        check(connecting().interleave(0), [first, second, other]).await;
        check(connecting().happy_eyeballs_delay(None), [first, second, other]).await;
        let both = connecting().happy_eyeballs_delay(None).interleave(1);
        check(both, [first, other, second]).await;
    });
}

#[test]
fn an_attempt_that_nobody_looks_at_keeps_the_loop_asleep() {
    run(async {
        let (_listener, address) = listener();
        let mut connecting = create_connection(|| Idle, address).into_future();
        assert!(poll_once(&mut connecting).await.is_none());
        let handle = LoopHandle::current()?;
        until(|| handle.statistics().events > 0).await;
        let before = handle.statistics().events;
        turns(20).await;
        assert_eq!(handle.statistics().events, before);
        assert!(!connecting.await?.is_closing());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_refused_first_address_starts_the_second_at_once() {
    run(async {
        let (nobody, (_listener, address)) = (Refusing::new(), listener());
        // C-07: the delay is never reached
        let transport = create_connection(|| Idle, vec![nobody.address, address])
            .happy_eyeballs_delay(Some(Duration::from_secs(3600)))
            .await?;
        assert_eq!(transport.peername(), Some(Address::Inet(address)));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_black_hole_costs_the_delay_only() {
    watched(|| {
        let _alone = alone();
        run(async {
            let (hole, (listener, address)) = (BlackHole::new(), listener());
            let before = open_descriptors();
            let started = Instant::now();
            // C-07, and replaced: C-05: it is the default
            let transport = create_connection(|| Idle, vec![hole.address, address]).await?;
            let taken = started.elapsed();
            assert_eq!(transport.peername(), Some(Address::Inet(address)));
            assert!(taken >= Duration::from_millis(250), "{taken:?}");
            // C-07: the other attempt is closed
            assert_eq!(open_descriptors(), before + 1);
            drop(listener);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn without_a_delay_a_black_hole_holds_up_the_others() {
    watched(|| {
        let _alone = alone();
        run(async {
            let (hole, (listener, address)) = (BlackHole::new(), listener());
            listener.set_nonblocking(true)?;
            let before = open_descriptors();
            let connecting = create_connection(never, vec![hole.address, address])
                .happy_eyeballs_delay(None)
                .into_future();
            // C-05
            let ended = timeout(Duration::from_millis(400), connecting).await;
            assert!(matches!(ended, Err(TimeoutError::Elapsed)));
            let untouched = listener.accept().expect_err("nobody has come");
            assert_eq!(untouched.kind(), io::ErrorKind::WouldBlock);
            // C-10: the timeout has dropped the attempt
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn a_local_address_is_bound() {
    run(async {
        let (listener, address) = listener();
        // C-09
        let transport = create_connection(|| Idle, address).local_addr(("127.0.0.1", 0)).await?;
        let (_, peer) = listener.accept()?;
        assert_eq!(transport.sockname(), Some(Address::Inet(peer)));

        // C-09: those of another family are skipped
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let locals = vec!["[::1]:0".parse().expect("an address"), any];
        let transport = create_connection(|| Idle, address).local_addr(locals).await?;
        let (_, peer) = listener.accept()?;
        assert_eq!(transport.sockname(), Some(Address::Inet(peer)));

        // C-09: and so are those that cannot be bound, if another can
        let transport = create_connection(|| Idle, address).local_addr(vec![address, any]).await?;
        let (_, peer) = listener.accept()?;
        assert_eq!(transport.sockname(), Some(Address::Inet(peer)));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_local_address_that_cannot_be_bound_is_named() {
    watched(|| {
        let _alone = alone();
        run(async {
            let ((_listener, address), (_other, taken)) = (listener(), listener());
            let before = open_descriptors();
            // C-09
            let error =
                create_connection(never, address).local_addr(taken).await.expect_err("in use");
            assert_eq!(
                error.to_string(),
                format!(
                    "error while attempting to bind on address {taken}: address already in use"
                )
            );
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let number = inner::<BindError>(&error).and_then(|inner| inner.error.raw_os_error());
            assert_eq!(number, Some(Errno::ADDRINUSE.raw_os_error()));

            // C-09
            let error = create_connection(never, address).local_addr(("::1", 0)).await;
            assert_eq!(
                error.expect_err("another family").to_string(),
                "no matching local address with family=AF_INET found"
            );

            // C-06: each of the local addresses that failed is told
            let locals = vec![taken, address];
            let error = create_connection(never, address).local_addr(locals).await;
            let error = error.expect_err("both in use");
            assert_eq!(inner::<ConnectError>(&error).map(|kept| kept.attempts.len()), Some(2));
            assert_eq!(open_descriptors(), before);
        });
    });
}

#[test]
fn dropping_the_future_closes_every_socket() {
    watched(|| {
        let _alone = alone();
        run(async {
            let holes = [BlackHole::new(), BlackHole::new()];
            let before = open_descriptors();
            {
                let addresses = holes.iter().map(|hole| hole.address).collect::<Vec<_>>();
                let mut connecting = create_connection(never, addresses)
                    .happy_eyeballs_delay(Some(Duration::ZERO))
                    .into_future();
                for _ in 0..50 {
                    assert!(poll_once(&mut connecting).await.is_none());
                    turns(1).await;
                }
                assert_eq!(open_descriptors(), before + 2);
            }
            // C-10
            assert_eq!(open_descriptors(), before);
        });
    });
}
