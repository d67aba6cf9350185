//! Connections over Unix sockets: where they can go, what is known of them, and what keeps them from standing.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{
    Address, Layered, PeerCredentials, PeerName, SockName, Transport, UnixAddress, WriteLimits,
};
use tidegate_reactor::sleep;
#[cfg(target_os = "linux")]
use tidegate_reactor::{EventLoop, LoopHandle};
use tidegate_testkit::{Callback, Event, Recorder, alone, open_descriptors, run, turns, watched};
use tidegate_transports::{
    ArgumentError, UnixError, UnixPath, UnixReason, connect_accepted_socket,
    create_unix_connection, create_unix_server,
};

mod support;
use support::pipes::{is_nonblocking, twin};
use support::{Idle, inner, never, poll_once, until};

fn unix_error(error: &io::Error) -> &UnixError {
    inner(error).unwrap_or_else(|| panic!("{error:?} is no UnixError"))
}

// U-06, C-12
#[test]
fn a_connection_knows_its_peer_and_has_no_name() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path)?;
        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = create_unix_connection(|| recorder, &path).await?;
        log.assert(&[Event::Made]);

        let peer = Address::Unix(UnixAddress::path(&path));
        assert_eq!(transport.peername(), Some(peer.clone()));
        assert_eq!(transport.get_extra_info(), Some(PeerName(peer.clone())));
        assert_eq!(transport.sockname(), Some(Address::Unnamed));
        assert!(format!("{transport:?}").contains(&*path.to_string_lossy()));

        let (mut accepted, _) = listener.accept()?;
        accepted.write_all(b"hello")?;
        log.received_at_least(5).await;
        transport.write(b"good day");
        transport.close();
        assert!(transport.closed().await.is_none());
        let mut all = String::new();
        accepted.read_to_string(&mut all)?;
        assert_eq!(all, "good day");
        log.assert(&[Event::Made, Event::data("hello"), Event::Lost(None)]);
        // T-05
        assert_eq!(transport.peername(), Some(peer));
        assert_eq!(transport.get_extra_info(), Some(SockName(Address::Unnamed)));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn the_peer_of_an_accepted_connection_has_its_name_or_none() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let peers = Rc::<RefCell<Vec<_>>>::default();
        let kept = peers.clone();
        let factory = move || {
            let kept = kept.clone();
            Recorder::new().on(Callback::ConnectionMade, move |transport| {
                kept.borrow_mut().push((transport.peername(), transport.sockname()));
            })
        };
        let _server = create_unix_server(factory, &path).await?;
        let _client = UnixStream::connect(&path)?;
        until(|| peers.borrow().len() == 1).await;
        let sockname = Address::Unix(UnixAddress::path(&path));
        assert_eq!(*peers.borrow(), [(Some(Address::Unnamed), Some(sockname))]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn both_ends_know_who_the_other_is_and_keep_it() {
    run(async {
        let (left, right) = UnixStream::pair()?;
        let client = create_unix_connection(|| Idle, ()).sock(left).await?;
        let server = connect_accepted_socket(|| Idle, right).await?;
        // A file that is made belongs to whoever makes it.
        let own_file = tempfile::tempfile()?.metadata()?;
        let own = PeerCredentials {
            pid: Some(std::process::id().cast_signed()),
            uid: own_file.uid(),
            gid: own_file.gid(),
        };
        let told = cfg!(all(target_os = "linux", not(tidegate_portable)));
        let expected = told.then_some(own);
        assert_eq!(client.get_extra_info(), expected);
        assert_eq!(server.get_extra_info(), expected);
        client.close();
        client.closed().await;
        assert_eq!(client.get_extra_info(), expected);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_connection_over_tcp_has_no_credentials_and_passes_no_descriptors() {
    run(async {
        let _alone = alone();
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        let transport = connect_accepted_socket(|| Idle, near).await?;
        assert_eq!(transport.get_extra_info::<PeerCredentials>(), None);
        let before = open_descriptors();
        let passed = vec![File::open("/dev/null")?.into()];
        let refused = transport.send_with_fds(b"x", passed).expect_err("TCP");
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        assert_eq!(open_descriptors(), before);
        transport.write(b"y");
        transport.flush().await?;
        let mut byte = [0; 2];
        assert_eq!((&far).read(&mut byte)?, 1, "nothing was sent before");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-01, U-05
#[test]
fn a_contradiction_is_refused_before_anything_is_done() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let _listener = UnixListener::bind(&path)?;
        let before = open_descriptors();
        let check = async |path: UnixPath, sock: Option<OwnedFd>, expected, text| {
            let builder = create_unix_connection(never, path);
            let builder = match sock {
                Some(sock) => builder.sock(sock),
                None => builder,
            };
            let error = builder.await.expect_err("a contradiction");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(inner(&error), Some(&expected));
            assert_eq!(error.to_string(), text);
        };
        let unix = || UnixStream::pair().map(|(near, _)| OwnedFd::from(near));
        check(
            UnixPath::from(&path),
            Some(unix()?),
            ArgumentError::PathAndSocket,
            "path and sock can not be specified at the same time",
        )
        .await;
        check(
            ().into(),
            None,
            ArgumentError::NeitherPathNorSocket,
            "no path and sock were specified",
        )
        .await;
        let expected = "A UNIX Domain Stream Socket was expected";
        for other in [
            OwnedFd::from(TcpListener::bind(("127.0.0.1", 0))?),
            OwnedFd::from(UnixDatagram::unbound()?),
            OwnedFd::from(File::open("/dev/null")?),
        ] {
            let shared = twin(&other);
            check(().into(), Some(other), ArgumentError::NotAUnixSocket, expected).await;
            assert!(!is_nonblocking(shared), "it is left as it was");
        }
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-01
#[test]
fn a_path_that_leads_nowhere_is_named_with_the_reason() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "")?;
        drop(UnixListener::bind(at("stale"))?);
        let _datagram = UnixDatagram::bind(at("datagram"))?;
        let before = open_descriptors();

        let check = async |path: &Path, kind: io::ErrorKind, number: Option<Errno>| {
            let error = create_unix_connection(never, path).await.expect_err("nowhere");
            assert_eq!(error.kind(), kind, "{error}");
            let UnixError { address, reason } = unix_error(&error);
            assert_eq!(address.as_path(), Some(path));
            let system = match reason {
                UnixReason::Connect(error) => error.raw_os_error(),
                _ => None,
            };
            assert_eq!(system, number.map(Errno::raw_os_error), "{error}");
            if number.is_some() {
                let text = format!("Connect call failed {}: ", path.display());
                assert!(error.to_string().starts_with(&text), "{error}");
            }
        };
        check(&at("missing"), io::ErrorKind::NotFound, Some(Errno::NOENT)).await;
        check(&at("no/parent"), io::ErrorKind::NotFound, Some(Errno::NOENT)).await;
        check(&at("file"), io::ErrorKind::ConnectionRefused, Some(Errno::CONNREFUSED)).await;
        check(folder.path(), io::ErrorKind::ConnectionRefused, Some(Errno::CONNREFUSED)).await;
        check(&at("stale"), io::ErrorKind::ConnectionRefused, Some(Errno::CONNREFUSED)).await;
        check(&at("file/s"), io::ErrorKind::NotADirectory, Some(Errno::NOTDIR)).await;
        let prototype = io::Error::from(Errno::PROTOTYPE).kind();
        check(&at("datagram"), prototype, Some(Errno::PROTOTYPE)).await;
        check(Path::new(""), io::ErrorKind::InvalidInput, None).await;
        check(&at(&"x".repeat(200)), io::ErrorKind::InvalidInput, None).await;
        check(&at("a\0b"), io::ErrorKind::InvalidInput, None).await;
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn outside_of_a_loop_there_is_an_error_and_no_socket() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let mut connecting = create_unix_connection(never, "/nowhere").into_future();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(&mut connecting).poll(&mut context) {
            std::task::Poll::Ready(Err(error)) => assert!(error.to_string().contains("run")),
            _ => panic!("without a loop"),
        }
        assert_eq!(open_descriptors(), before);
    });
}

// U-03
#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_needs_no_file() {
    run(async {
        let name = format!("tidegate-connect-{}", std::process::id());
        let server = create_unix_server(|| Idle, UnixAddress::abstract_name(name.clone())).await?;
        for path in [
            UnixPath::from(format!("\0{name}")),
            UnixPath::from(UnixAddress::abstract_name(name.clone())),
            UnixPath::from(server.sockets()[0].sockname()),
        ] {
            let transport = create_unix_connection(|| Idle, path).await?;
            let peer = Address::Unix(UnixAddress::abstract_name(name.clone()));
            assert_eq!(transport.peername(), Some(peer.clone()));
            assert_eq!(peer.to_string(), format!("@{name}"));
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A listener whose queue is full, and the clients in it.
#[cfg(target_os = "linux")]
fn full(path: &Path) -> io::Result<(OwnedFd, Vec<OwnedFd>)> {
    let socket = || -> io::Result<OwnedFd> {
        let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    };
    let address = SocketAddrUnix::new(path)?;
    let listener = socket()?;
    net::bind(&listener, &address)?;
    net::listen(&listener, 0)?;
    let mut waiting = Vec::new();
    loop {
        let client = socket()?;
        match net::connect(&client, &address) {
            Ok(()) => waiting.push(client),
            Err(Errno::AGAIN) => return Ok((listener, waiting)),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_queue_is_waited_for() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let (listener, waiting) = full(&path)?;
        let mut connecting = create_unix_connection(|| Idle, &path).into_future();
        assert!(poll_once(&mut connecting).await.is_none(), "it waits");
        for _ in &waiting {
            net::accept(&listener)?;
        }
        let transport = connecting.await?;
        assert!(!transport.is_closing());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// C-10: given up, nothing stays open
#[cfg(target_os = "linux")]
#[test]
fn a_queue_that_stays_full_is_given_up_in_the_end() {
    watched(|| {
        let _alone = alone();
        let event_loop = EventLoop::new().unwrap();
        event_loop
            .run_until_complete(async {
                let folder = tempfile::tempdir()?;
                let path = folder.path().join("s");
                let (_listener, _waiting) = full(&path)?;
                let before = open_descriptors();
                let start = LoopHandle::current()?.time();
                let error = create_unix_connection(never, &path).await.expect_err("full");
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                let UnixReason::Connect(inner) = &unix_error(&error).reason else {
                    panic!("{error:?}");
                };
                assert_eq!(inner.raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
                assert!(LoopHandle::current()?.time() - start > Duration::from_millis(500));
                assert_eq!(open_descriptors(), before);

                let mut connecting = create_unix_connection(never, &path).into_future();
                assert!(poll_once(&mut connecting).await.is_none());
                drop(connecting);
                assert_eq!(open_descriptors(), before);
                Ok::<(), io::Error>(())
            })
            .unwrap()
            .unwrap();
        event_loop.close().unwrap();
    });
}

// C-11
#[test]
fn a_connection_that_nobody_waits_for_is_closed() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path)?;
        let recorder = Recorder::new();
        let log = recorder.log();
        let mut connecting = create_unix_connection(|| recorder, &path).into_future();
        assert!(poll_once(&mut connecting).await.is_none());
        drop(connecting);
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
        let (mut accepted, _) = listener.accept()?;
        assert_eq!(accepted.read(&mut [0])?, 0);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn the_options_of_every_connection_are_there() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path)?;
        let limits = WriteLimits::new(Some(100), Some(10)).expect("10 is below 100");
        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = create_unix_connection(|| recorder, &path)
            .write_buffer_limits(limits)
            .abort_above(1000)
            .layer(Transparent)
            .await?;
        assert_eq!(transport.get_write_buffer_limits(), limits);
        let (_accepted, _) = listener.accept()?;
        // More than the system takes of one that does not read.
        let reports = support::keep_reports();
        let much = vec![0; 8 << 20];
        transport.write(&much);
        log.lost().await;
        assert!(log.cause().expect("a cause").to_string().contains("1000 bytes"));
        turns(2).await;
        assert_eq!(reports.borrow().len(), 1);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A connection that is made again and again leaves nothing behind.
#[test]
fn connections_come_and_go_without_a_trace() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let server = create_unix_server(Recorder::new, &path).await?;
        let before = open_descriptors();
        for _ in 0..50 {
            let transport: Transport = create_unix_connection(|| Idle, &path).await?;
            transport.close();
            transport.closed().await;
        }
        while server.statistics().open > 0 {
            sleep(Duration::ZERO).await.expect("an open loop");
        }
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
