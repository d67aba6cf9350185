//! The `sock_*` calls on plain sockets: tried first, waiting beside each other, and cancelled without a trace.

#![cfg(not(windows))]

use std::fs::File;
use std::future::{Future, IntoFuture};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rustix::net::{AddressFamily, SocketType, socket};
use tidegate_protocols::{Address, UnixAddress};
use tidegate_reactor::resolve::{self, Hints, ResolveError};
use tidegate_reactor::{LoopHandle, spawn};
use tidegate_testkit::{alone, open_descriptors, run, turns};
use tidegate_transports::{
    ArgumentError, ConnectCallError, SendfileError, create_connection, sock_accept, sock_connect,
    sock_recv, sock_recv_into, sock_recvfrom, sock_recvfrom_into, sock_sendall, sock_sendfile,
    sock_sendto,
};

mod files;
mod support;
use files::{file_of, pattern, position};
use support::{Idle, Refusing, inner, poll_once};

/// Two sockets that are connected and do not block.
fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().expect("sockets");
    near.set_nonblocking(true).expect("a socket");
    far.set_nonblocking(true).expect("a socket");
    (near, far)
}

fn unconnected(family: AddressFamily, kind: SocketType) -> OwnedFd {
    let sock = socket(family, kind, None).expect("a socket");
    rustix::io::ioctl_fionbio(&sock, true).expect("a socket");
    sock
}

fn listener() -> (TcpListener, SocketAddr) {
    let (listener, address) = support::listener();
    listener.set_nonblocking(true).expect("a socket");
    (listener, address)
}

/// How many descriptors the running loop watches.
fn watched_now() -> usize {
    LoopHandle::current().expect("a running loop").statistics().sources
}

#[test]
fn bytes_go_both_ways() {
    run(async {
        let (near, far) = pair();
        // L-75: tried first, so nothing is registered
        let before = watched_now();
        sock_sendall(&near, b"hello").await?;
        assert_eq!(sock_recv(&far, 3).await?, b"hel");
        let mut into = [0; 10];
        assert_eq!(sock_recv_into(&far, &mut into).await?, 2);
        assert_eq!((&into[..2], watched_now()), (&b"lo"[..], before));
        // L-75: registered only when it would wait
        let mut waiting = pin!(sock_recv(&near, 100));
        assert!(poll_once(&mut waiting).await.is_none());
        assert_eq!(watched_now(), before + 1);
        sock_sendall(&far, b"answer").await?;
        assert_eq!(waiting.await?, b"answer");
        assert_eq!(watched_now(), before);
        drop(far);
        assert_eq!(sock_recv(&near, 100).await?, b"");
        assert_eq!(sock_recv_into(&near, &mut into).await?, 0);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn much_is_sent_while_it_is_read() {
    run(async {
        let (near, far) = pair();
        let data = pattern(4 * 1024 * 1024);
        let sent = data.clone();
        let sending = spawn(async move { sock_sendall(&near, &sent).await })?;
        let mut received = Vec::new();
        loop {
            let piece = sock_recv(&far, 100_000).await?;
            if piece.is_empty() {
                break;
            }
            received.extend(piece);
        }
        sending.await.unwrap()?;
        assert!(received == data);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_cancelled_call_takes_back_its_own_registration_only() {
    run(async {
        let (near, far) = pair();
        let before = watched_now();
        while (&near).write(&[0; 65_536]).is_ok() {}
        let full = pattern(100);
        let mut first = Box::pin(sock_recv(&near, 100));
        let mut second = Box::pin(sock_recv(&near, 100));
        let mut writing = Box::pin(sock_sendall(&near, &full));
        assert!(poll_once(&mut first).await.is_none());
        assert!(poll_once(&mut second).await.is_none());
        assert!(poll_once(&mut writing).await.is_none());
        assert_eq!(watched_now(), before + 3);
        // L-75: cancel, and at once a new operation on the same descriptor
        drop(first);
        let mut third = Box::pin(sock_recv(&near, 100));
        assert!(poll_once(&mut third).await.is_none());
        drop(second);
        (&far).write_all(b"x")?;
        assert_eq!(third.await?, b"x");
        while (&far).read(&mut [0; 65_536]).is_ok() {}
        writing.await?;
        assert_eq!(watched_now(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_reader_of_the_loop_and_a_call_wait_beside_each_other() {
    run(async {
        let (near, far) = pair();
        let handle = LoopHandle::current()?;
        let (told, heard) = tidegate_reactor::create_future();
        let mut told = Some(told);
        handle.add_reader(&near, move || {
            if let Some(told) = told.take() {
                told.set_result(()).unwrap();
            }
        })?;
        let mut waiting = Box::pin(sock_recv(&near, 100));
        assert!(poll_once(&mut waiting).await.is_none());
        (&far).write_all(b"x")?;
        heard.await.unwrap();
        assert_eq!(waiting.await?, b"x");
        assert!(handle.remove_reader(&near)?);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_connection_is_accepted_and_made() {
    run(async {
        let (listener, address) = listener();
        let sock = unconnected(AddressFamily::INET, SocketType::STREAM);
        let mut accepting = Box::pin(sock_accept(&listener));
        assert!(poll_once(&mut accepting).await.is_none());
        sock_connect(&sock, address).await?;
        let (accepted, from) = accepting.await?;
        let ours = rustix::net::getsockname(&sock)?;
        assert_eq!(from.as_inet(), SocketAddr::try_from(ours).ok());
        // It is non-blocking, and so ready for the other calls.
        let mut waiting = Box::pin(sock_recv(&accepted, 5));
        assert!(poll_once(&mut waiting).await.is_none());
        sock_sendall(&sock, b"hello").await?;
        assert_eq!(waiting.await?, b"hello");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_cancelled_accept_leaves_the_connection_in_the_queue() {
    run(async {
        let (listener, address) = listener();
        let mut accepting = Box::pin(sock_accept(&listener));
        assert!(poll_once(&mut accepting).await.is_none());
        let client = TcpStream::connect(address)?;
        // L-75 [D]: it becomes ready while it is cancelled
        turns(1).await;
        drop(accepting);
        let (_accepted, from) = sock_accept(&listener).await?;
        assert_eq!(from.as_inet(), Some(client.local_addr()?));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_failed_connect_says_where() {
    run(async {
        let refusing = Refusing::new();
        let sock = unconnected(AddressFamily::INET, SocketType::STREAM);
        // L-76
        let error = sock_connect(&sock, refusing.address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let expected = format!("Connect call failed {}: ", refusing.address);
        assert!(error.to_string().starts_with(&expected), "{error}");
        let inside = inner::<ConnectCallError>(&error).unwrap();
        assert_eq!(inside.address, Address::from(refusing.address));
        let refused = rustix::io::Errno::CONNREFUSED.raw_os_error();
        assert_eq!(inside.error.raw_os_error(), Some(refused));
    });
}

#[test]
fn a_name_is_looked_up_for_just_that_socket() {
    run(async {
        let (listener, address) = listener();
        let sock = unconnected(AddressFamily::INET, SocketType::STREAM);
        // L-76: with its family, a name that may have addresses of both
        sock_connect(&sock, ("localhost", address.port())).await?;
        sock_accept(&listener).await?;
        // L-76: an address in digits is of one family, too
        let sock = unconnected(AddressFamily::INET6, SocketType::STREAM);
        let error = sock_connect(&sock, ("127.0.0.1", address.port())).await.unwrap_err();
        assert!(inner::<ResolveError>(&error).is_some(), "{error}");
        // L-76: with its type
        let peer = UdpSocket::bind("127.0.0.1:0")?;
        let sock = unconnected(AddressFamily::INET, SocketType::DGRAM);
        sock_connect(&sock, ("localhost", peer.local_addr()?.port())).await?;
        sock_sendall(&sock, b"hello").await?;
        assert_eq!(peer.recv(&mut [0; 10])?, 5);
        // A service of datagrams only, where the system knows one.
        let handle = LoopHandle::current()?;
        let datagrams = Hints { socktype: resolve::SOCK_DGRAM, ..Hints::default() };
        let streams = Hints { socktype: resolve::SOCK_STREAM, ..Hints::default() };
        if handle.getaddrinfo(Some("127.0.0.1"), "tftp", datagrams).await.is_ok()
            && handle.getaddrinfo(Some("127.0.0.1"), "tftp", streams).await.is_err()
        {
            sock_connect(&sock, ("127.0.0.1", "tftp")).await?;
            let sock = unconnected(AddressFamily::INET, SocketType::STREAM);
            let error = sock_connect(&sock, ("127.0.0.1", "tftp")).await.unwrap_err();
            assert!(inner::<ResolveError>(&error).is_some(), "{error}");
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn unix_sockets_have_paths() {
    run(async {
        let path = std::env::temp_dir().join(format!("tidegate-sock-{}", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let sock = unconnected(AddressFamily::UNIX, SocketType::STREAM);
        sock_connect(&sock, &*path).await?;
        let (_accepted, from) = sock_accept(&listener).await?;
        assert_eq!(from, Address::Unnamed);
        std::fs::remove_file(&path)?;
        let sock = unconnected(AddressFamily::UNIX, SocketType::STREAM);
        let error = sock_connect(&sock, UnixAddress::path(&path)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = sock_connect(&sock, Address::Unnamed).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn datagrams_say_whom_they_are_from() {
    run(async {
        let (near, far) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let from_near = Address::from(near.local_addr()?);
        let mut waiting = Box::pin(sock_recvfrom(&far, 100));
        assert!(poll_once(&mut waiting).await.is_none());
        assert_eq!(sock_sendto(&near, b"hello", far.local_addr()?).await?, 5);
        assert_eq!(waiting.await?, (b"hello".to_vec(), from_near.clone()));
        sock_sendto(&near, b"", far.local_addr()?).await?;
        sock_sendto(&near, b"too long", far.local_addr()?).await?;
        assert_eq!(sock_recvfrom(&far, 100).await?, (Vec::new(), from_near.clone()));
        let mut into = [0; 3];
        assert_eq!(sock_recvfrom_into(&far, &mut into).await?, (3, from_near));
        assert_eq!(&into, b"too");
        let error = sock_sendto(&near, b"x", Address::Unnamed).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

        let path = std::env::temp_dir().join(format!("tidegate-dgram-{}", std::process::id()));
        let far = UnixDatagram::bind(&path)?;
        let near = UnixDatagram::unbound()?;
        near.set_nonblocking(true)?;
        sock_sendto(&near, b"hello", Address::Unix(UnixAddress::path(&path))).await?;
        assert_eq!(far.recv(&mut [0; 10])?, 5);
        std::fs::remove_file(&path)?;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Checks what every call answers for a socket.
async fn every_call_refuses<S: std::os::fd::AsFd>(sock: &S, refused: impl Fn(&io::Error) -> bool) {
    let check = |error: io::Error| assert!(refused(&error), "{error}");
    let nowhere: SocketAddr = ([127, 0, 0, 1], 9).into();
    check(sock_recv(sock, 1).await.unwrap_err());
    check(sock_recv_into(sock, &mut [0]).await.unwrap_err());
    check(sock_recvfrom(sock, 1).await.unwrap_err());
    check(sock_recvfrom_into(sock, &mut [0]).await.unwrap_err());
    check(sock_sendall(sock, b"x").await.unwrap_err());
    check(sock_sendto(sock, b"x", nowhere).await.unwrap_err());
    check(sock_accept(sock).await.unwrap_err());
    check(sock_connect(sock, nowhere).await.unwrap_err());
    match sock_sendfile(sock, &file_of(b"x")).await.unwrap_err() {
        SendfileError::Failed { sent: 0, error } => check(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_blocking_socket_is_refused() {
    run(async {
        let (sock, peer) = UnixStream::pair()?;
        peer.set_nonblocking(true)?;
        // L-77: in debug mode, and out of it too
        for debug in [true, false] {
            LoopHandle::current()?.set_debug(debug);
            every_call_refuses(&sock, |error| {
                inner::<ArgumentError>(error) == Some(&ArgumentError::BlockingSocket)
                    && error.to_string() == "the socket must be non-blocking"
            })
            .await;
        }
        assert_eq!((&peer).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_socket_of_a_transport_is_refused() {
    run(async {
        let (ours, _theirs) = UnixStream::pair()?;
        let number = ours.as_raw_fd();
        let transport = create_connection(|| Idle, ()).sock(ours).await?;
        // L-72
        let refusal = transport.with_socket(|socket| {
            let mut call = pin!(sock_recv(&socket, 1));
            let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            match polled {
                Poll::Ready(Err(error)) => error.to_string(),
                other => panic!("{other:?}"),
            }
        });
        let expected = format!("File descriptor {number} is used by transport");
        assert!(refusal.unwrap().starts_with(&expected));
        transport.abort();
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn without_a_loop_every_call_says_so() {
    let (sock, _peer) = pair();
    let mut call = pin!(every_call_refuses(&sock, |error| {
        error.to_string().starts_with("no running event loop")
    }));
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready());
}

#[test]
fn a_file_is_sent_on_a_plain_socket() {
    run(async {
        let (near, far) = pair();
        let content = pattern(4 * 1024 * 1024);
        let file = file_of(&content);
        let reading = spawn(async move {
            let mut received = Vec::new();
            loop {
                let piece = sock_recv(&far, 100_000).await?;
                if piece.is_empty() {
                    return Ok::<_, io::Error>(received);
                }
                received.extend(piece);
            }
        })?;
        // F-03 F-04
        let sent = sock_sendfile(&near, &file).offset(5).await.unwrap();
        assert_eq!((sent, position(&file)), (content.len() as u64 - 5, content.len() as u64));
        let zeroes = File::open("/dev/zero")?;
        assert_eq!(sock_sendfile(&near, &zeroes).count(70_000).await.unwrap(), 70_000);
        let error = sock_sendfile(&near, &zeroes).count(1).fallback(false).await.unwrap_err();
        assert!(matches!(error, SendfileError::NotAvailable));
        // F-03
        assert_eq!(sock_sendfile(&near, &file_of(b"")).await.unwrap(), 0);
        drop(near);
        let received = reading.await.unwrap()?;
        assert!(received == [&content[5..], &[0; 70_000]].concat());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_cancelled_file_leaves_its_position() {
    run(async {
        for name in ["regular", "zeroes"] {
            let (near, far) = pair();
            let file = match name {
                "regular" => file_of(&pattern(4 * 1024 * 1024)),
                _ => File::open("/dev/zero")?,
            };
            let mut sending = sock_sendfile(&near, &file).count(4 * 1024 * 1024).into_future();
            let (mut received, mut memory) = (0, [0; 4096]);
            while received == 0 {
                assert!(poll_once(&mut sending).await.is_none());
                received = (&far).read(&mut memory).unwrap_or(0);
            }
            // F-03 F-07: a plain socket, too
            drop(sending);
            while let Ok(more) = (&far).read(&mut memory) {
                received += more;
            }
            if name == "regular" {
                assert_eq!(position(&file), received as u64);
            }
            sock_sendall(&near, b"usable").await?;
            assert_eq!(sock_recv(&far, 100).await?, b"usable");
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_peer_that_goes_away_ends_the_file() {
    run(async {
        let (near, far) = pair();
        let file = file_of(&pattern(4 * 1024 * 1024));
        let mut sending = sock_sendfile(&near, &file).into_future();
        assert!(poll_once(&mut sending).await.is_none());
        drop(far);
        // F-06
        let error = sending.await.unwrap_err();
        assert_eq!(position(&file), error.sent());
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn nothing_is_left_open() {
    let _alone = alone();
    let before = open_descriptors();
    run(async {
        let (near, _far) = pair();
        let (listener, _) = listener();
        let mut calls = (Box::pin(sock_recv(&near, 1)), Box::pin(sock_accept(&listener)));
        assert!(poll_once(&mut calls.0).await.is_none());
        assert!(poll_once(&mut calls.1).await.is_none());
        assert!(open_descriptors() > before);
        drop(calls);
    });
    assert_eq!(open_descriptors(), before);
}

#[test]
fn no_bytes_may_be_asked_for() {
    run(async {
        let (near, far) = pair();
        sock_sendall(&far, b"hello").await?;
        assert_eq!(sock_recv(&near, 0).await?, b"");
        assert_eq!(sock_recv(&near, 9).await?, b"hello");

        let (near, far) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
        near.set_nonblocking(true)?;
        for datagram in [b"lost", b"next"] {
            far.send_to(datagram, near.local_addr()?)?;
        }
        let from = Address::Inet(far.local_addr()?);
        assert_eq!(sock_recvfrom(&near, 0).await?, (Vec::new(), from.clone()));
        assert_eq!(sock_recvfrom(&near, 9).await?, (b"next".to_vec(), from));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
