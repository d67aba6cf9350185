//! Making servers over real sockets: where they listen, with which options, and what can go wrong.

#![cfg(not(windows))]

use std::cell::Cell;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::sockopt;
use tidegate_protocols::Address;
use tidegate_reactor::LoopHandle;
use tidegate_testkit::{Event, alone, open_descriptors, run, watched};
use tidegate_transports::{ArgumentError, BindError, Hosts, Server, ServerError, create_server};

mod support;
use support::{Idle, LOOPBACK, address_of, connect, inner, listener, recording, until};

#[test]
fn a_contradiction_is_an_error_before_anything_is_done() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let check = |result: io::Result<Server>, expected: ArgumentError, text: &str| {
                let error = result.expect_err("a contradiction");
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert_eq!(inner(&error), Some(&expected));
                assert_eq!(error.to_string(), text);
                // The socket that was given is closed as well.
                assert_eq!(open_descriptors(), before);
            };
            // S-01
            check(
                create_server(|| Idle, LOOPBACK).sock(listener().0).await,
                ArgumentError::HostAndSocket,
                "host/port and sock can not be specified at the same time",
            );
            check(
                create_server(|| Idle, ()).await,
                ArgumentError::NowhereToServe,
                "Neither host/port nor sock were specified",
            );
            check(
                create_server(|| Idle, ()).sock(UdpSocket::bind(LOOPBACK).unwrap()).await,
                ArgumentError::NotAStreamSocket,
                "A Stream Socket was expected",
            );
        });
    });
}

#[test]
fn a_client_is_served_and_both_ends_hear_all_of_it() {
    run(async {
        let (server, logs) = recording(LOOPBACK);
        let server = server.await?;
        let mut client = connect(&server);
        client.write_all(b"hello")?;
        until(|| logs.borrow().len() == 1).await;
        let log = logs.borrow()[0].clone();
        log.received_at_least(5).await;
        drop(client);
        log.lost().await;
        log.assert(&[Event::Made, Event::data("hello"), Event::Eof, Event::Lost(None)]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn no_host_is_every_interface_of_both_families() {
    run(async {
        // S-02
        for hosts in [Hosts::from((None::<&str>, 0)), Hosts::from(("", 0))] {
            let server = create_server(|| Idle, hosts).await?;
            let addresses: Vec<_> =
                server.sockets().iter().filter_map(|socket| socket.sockname().as_inet()).collect();
            let [first, second] = addresses[..] else { panic!("{addresses:?}") };
            assert!(first.ip().is_unspecified() && second.ip().is_unspecified());
            assert_ne!(first.is_ipv4(), second.is_ipv4());
            // S-04: each has a port of its own
            assert_ne!(first.port(), second.port());
            server.close();
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn an_address_is_bound_once_however_often_it_is_named() {
    run(async {
        // S-02
        let hosts = ["127.0.0.1", "localhost", "127.0.0.1"];
        let server =
            create_server(|| Idle, (hosts, 0)).family(tidegate_transports::Family::Inet).await?;
        assert_eq!(server.sockets().len(), 1);
        // S-09: in the order of the hosts
        let server = create_server(|| Idle, (vec!["::1", "127.0.0.1"], 0)).await?;
        let families: Vec<_> =
            server.sockets().iter().map(|s| s.sockname().as_inet().unwrap().is_ipv4()).collect();
        assert_eq!(families, [false, true]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn both_families_share_a_port() {
    run(async {
        let four = create_server(|| Idle, ("0.0.0.0", 0)).await?;
        let port = address_of(&four).port();
        // S-03
        let six = create_server(|| Idle, ("::", port)).await?;
        let only = six.sockets()[0].with_socket(|socket| sockopt::ipv6_v6only(socket));
        assert_eq!(only, Some(Ok(true)));
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        TcpStream::connect((Ipv6Addr::LOCALHOST, port))?;
        until(|| four.statistics().accepted == 1 && six.statistics().accepted == 1).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn sockets_share_as_they_are_told() {
    run(async {
        let options = |server: &Server| {
            let socket = &server.sockets()[0];
            let all = socket.with_socket(|socket| {
                [
                    sockopt::socket_reuseaddr(socket),
                    sockopt::socket_reuseport(socket),
                    sockopt::socket_keepalive(socket),
                ]
            });
            all.expect("open").map(|option| option.expect("an option"))
        };
        // S-05
        let usual = create_server(|| Idle, LOOPBACK).await?;
        assert_eq!(options(&usual), [true, false, false]);
        let other = create_server(|| Idle, LOOPBACK)
            .reuse_address(false)
            .reuse_port(true)
            .keep_alive(true)
            .await?;
        assert_eq!(options(&other), [false, true, true]);
        let beside = create_server(|| Idle, address_of(&other)).reuse_port(true).await?;
        assert_eq!(address_of(&beside), address_of(&other));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn an_address_in_use_is_named_and_everything_closed() {
    watched(|| {
        let _alone = alone();
        run(async {
            let (_other, taken) = listener();
            let before = open_descriptors();
            // S-06
            let addresses = vec![SocketAddr::from(LOOPBACK), taken];
            let error = create_server(|| Idle, addresses).await.expect_err("in use");
            assert_eq!(
                error.to_string(),
                format!(
                    "error while attempting to bind on address {taken}: address already in use"
                )
            );
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let number = inner::<BindError>(&error).and_then(|inner| inner.error.raw_os_error());
            assert_eq!(number, Some(Errno::ADDRINUSE.raw_os_error()));
            assert_eq!(open_descriptors(), before);
        });
    });
}

#[test]
fn an_address_of_another_machine_is_skipped() {
    run(async {
        // S-06; 203.0.113.0/24 belongs to nobody (RFC 5737)
        let server = create_server(|| Idle, (["203.0.113.1", "127.0.0.1"], 0)).await?;
        assert_eq!(server.sockets().len(), 1);
        let error = create_server(|| Idle, (["203.0.113.1", "203.0.113.2"], 80)).await;
        let error = error.expect_err("nothing is left");
        assert_eq!(
            error.to_string(),
            "could not bind on any address out of [203.0.113.1:80, 203.0.113.2:80]"
        );
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_server_that_was_not_started_refuses() {
    run(async {
        // S-07
        let (server, logs) = recording(LOOPBACK);
        let server = server.start_serving(false).await?;
        assert!(!server.is_serving());
        let address = address_of(&server);
        let refused = TcpStream::connect(address).expect_err("it is bound only");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        // S-35: idempotent
        server.start_serving().await?;
        server.start_serving().await?;
        assert!(server.is_serving());
        let _client = TcpStream::connect(address)?;
        until(|| logs.borrow().len() == 1).await;

        server.close();
        // S-35
        let error = server.start_serving().await.expect_err("closed");
        assert_eq!(inner(&error), Some(&ServerError::Closed));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_server_that_cannot_listen_is_closed() {
    watched(|| {
        let _alone = alone();
        run(async {
            let first = create_server(|| Idle, LOOPBACK).start_serving(false).await?;
            let before = open_descriptors();
            let second = create_server(|| Idle, address_of(&first)).start_serving(false).await?;
            first.start_serving().await?;
            // S-35: both were bound, and only one can listen
            let error = second.start_serving().await.expect_err("in use");
            assert_eq!(error.raw_os_error(), Some(Errno::ADDRINUSE.raw_os_error()));
            assert!(!second.is_serving());
            assert!(second.sockets().is_empty());
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn one_turn_passes_before_a_server_is_there() {
    run(async {
        let handle = LoopHandle::current()?;
        let turns = Rc::new(Cell::new(0));
        let count = || {
            let turns = turns.clone();
            handle.call_soon(move || turns.set(turns.get() + 1)).map(drop)
        };
        // S-08
        count()?;
        let server = create_server(|| Idle, LOOPBACK).await?;
        assert_eq!(turns.get(), 1);
        // S-35
        count()?;
        server.start_serving().await?;
        assert_eq!(turns.get(), 2);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_given_socket_is_served() {
    run(async {
        let (given, address) = listener();
        let (server, logs) = recording(());
        let server = server.sock(given).await?;
        assert_eq!(server.sockets()[0].sockname(), Address::Inet(address));
        let _client = connect(&server);
        until(|| logs.borrow().len() == 1).await;
        let log = logs.borrow()[0].clone();
        log.made().await;

        let name = format!("served-{}.socket", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let (server, logs) = recording(());
        let server = server.sock(UnixListener::bind(&path)?).await?;
        assert_eq!(server.sockets()[0].sockname().to_string(), path.display().to_string());
        let _client = UnixStream::connect(&path)?;
        std::fs::remove_file(&path)?;
        until(|| logs.borrow().len() == 1).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn dropping_the_future_of_a_server_closes_its_sockets() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let mut making = create_server(|| Idle, LOOPBACK).into_future();
            std::future::poll_fn(|context| {
                assert!(making.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            assert!(open_descriptors() > before);
            drop(making);
            assert_eq!(open_descriptors(), before);
        });
    });
}
