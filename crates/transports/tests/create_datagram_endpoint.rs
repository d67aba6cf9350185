//! Opening datagram endpoints: addresses, families, options, sockets that exist, and everything that is refused.

#![cfg(not(windows))]

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt;
use tidegate_protocols::{
    Address, DatagramProtocol, DatagramTransport, PeerName, SendtoError, SockName, UnixAddress,
    WriteLimits,
};
use tidegate_reactor::{LoopError, LoopHandle, resolve};
use tidegate_testkit::{alone, open_descriptors, run, turns, until, watched};
use tidegate_transports::{BindError, DatagramArgumentError, Family, create_datagram_endpoint};

mod datagrams;
mod support;
use datagrams::{Diary, LOOPBACK, Recorder, Told, datagram, end, own};
use support::{inner, poll_once};

struct Idle;

impl DatagramProtocol for Idle {}

/// A factory for tests in which nothing may be made.
fn never() -> Idle {
    panic!("the factory is not to be called")
}

#[test]
fn it_resolves_when_it_was_greeted_and_before_anything_is_received() {
    run(async {
        let peer = UdpSocket::bind(LOOPBACK)?;
        let early = peer.local_addr()?;
        let diary = Diary::default();
        let given = diary.clone();
        let script = move |transport: &DatagramTransport, told: &Told| {
            if *told == Told::Made {
                peer.send_to(b"early", own(transport))?;
            }
            Ok(())
        };
        let factory = move || Recorder::doing(&given, script);
        let transport = create_datagram_endpoint(factory).local_addr(LOOPBACK).await?;
        // G-01
        assert_eq!(diary.entries(), [Told::Made]);
        until(|| diary.has(&datagram(b"early"))).await;
        assert_eq!(diary.senders(), [Address::Inet(early)]);
        assert_eq!(transport.get_extra_info(), Some(SockName(Address::Inet(own(&transport)))));
        assert_eq!(transport.get_extra_info::<PeerName>(), None);
        let name = transport.sockname();
        end(&transport).await;
        assert_eq!(transport.sockname(), name, "it is kept");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn options_are_off_unless_asked_for() {
    run(async {
        let options = |transport: &DatagramTransport| {
            transport.with_socket(|socket| {
                (
                    sockopt::socket_reuseaddr(socket).unwrap(),
                    sockopt::socket_reuseport(socket).unwrap(),
                    sockopt::socket_broadcast(socket).unwrap(),
                )
            })
        };
        let plain = create_datagram_endpoint(|| Idle).local_addr(LOOPBACK).await?;
        // G-16
        assert_eq!(options(&plain), Some((false, false, false)));
        let shared = || create_datagram_endpoint(|| Idle).reuse_port(true).allow_broadcast(true);
        let first = shared().local_addr(LOOPBACK).await?;
        assert_eq!(options(&first), Some((false, true, true)));
        let second = shared().local_addr(own(&first)).await?;
        assert_eq!(own(&first), own(&second));
        for transport in [plain, first, second] {
            end(&transport).await;
        }
        let limits = WriteLimits::new(Some(10), Some(5)).unwrap();
        let limited = create_datagram_endpoint(|| Idle).local_addr(LOOPBACK);
        let limited = limited.write_buffer_limits(limits).await?;
        assert_eq!(limited.get_write_buffer_limits(), limits);
        end(&limited).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_family_alone_makes_a_socket_without_an_address() {
    run(async {
        let peer = UdpSocket::bind(LOOPBACK)?;
        let transport = create_datagram_endpoint(|| Idle).family(Family::Inet).await?;
        // G-16
        assert_eq!((own(&transport).port(), transport.peername()), (0, None));
        transport.sendto(b"x", peer.local_addr()?)?;
        transport.flush().await?;
        assert_eq!(peer.recv_from(&mut [0; 9])?.1.port(), own(&transport).port());
        // G-06
        let v6: SocketAddr = "[::1]:9".parse().unwrap();
        let address = Address::Inet(v6);
        assert_eq!(transport.sendto(b"x", v6), Err(SendtoError::WrongAddress { address }));
        let unix = Address::Unix(UnixAddress::path("/tmp/nobody"));
        let wrong = SendtoError::WrongAddress { address: unix.clone() };
        assert_eq!(transport.sendto(b"x", &unix), Err(wrong));
        end(&transport).await;

        let six = create_datagram_endpoint(|| Idle).family(Family::Inet6).await?;
        assert!(own(&six).is_ipv6());
        end(&six).await;
        let unix = create_datagram_endpoint(|| Idle).unix().await?;
        assert_eq!(unix.sockname(), Some(Address::Unnamed));
        end(&unix).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_remote_address_connects_unless_broadcasts_are_allowed() {
    run(async {
        let peer = UdpSocket::bind(LOOPBACK)?;
        let to = peer.local_addr()?;
        let diary = Diary::default();
        for allow in [false, true] {
            let given = diary.clone();
            let endpoint = create_datagram_endpoint(move || Recorder::new(&given));
            let endpoint = endpoint.remote_addr(to).local_addr(LOOPBACK).allow_broadcast(allow);
            let transport = endpoint.await?;
            // G-16
            let connected =
                transport.with_socket(|socket| rustix::net::getpeername(socket).is_ok());
            assert_eq!(connected, Some(!allow));
            assert_eq!(transport.get_extra_info(), Some(PeerName(Address::Inet(to))));
            transport.sendto(b"x", None)?;
            transport.sendto(b"y", to)?;
            // G-05: a name that would lead there is another address
            let other: SocketAddr = "127.0.0.2:9".parse().unwrap();
            let remote = Address::Inet(to);
            assert_eq!(transport.sendto(b"x", other), Err(SendtoError::OtherAddress { remote }));
            transport.flush().await?;
            for expected in [b"x", b"y"] {
                let mut data = [0];
                assert_eq!(peer.recv_from(&mut data)?.1, own(&transport));
                assert_eq!(data, *expected);
            }
            // Only who is not connected hears of a stranger.
            let before = diary.datagrams().len();
            let stranger = UdpSocket::bind(LOOPBACK)?;
            stranger.send_to(b"stranger", own(&transport))?;
            peer.send_to(b"peer", own(&transport))?;
            let heard = || diary.datagrams()[before..].to_vec();
            until(|| heard().contains(&b"peer".to_vec())).await;
            assert_eq!(heard().len(), 1 + usize::from(allow));
            end(&transport).await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Awaits a builder that must refuse.
async fn refusal<T>(builder: impl IntoFuture<Output = io::Result<T>>) -> DatagramArgumentError {
    let error = builder.into_future().await.err().expect("it has to be refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    inner::<DatagramArgumentError>(&error).expect("the reason").clone()
}

#[test]
fn what_does_not_go_together_is_refused_before_there_is_a_socket() {
    watched(|| {
        let _alone = alone();
        run(async {
            use DatagramArgumentError::*;
            let endpoint = || create_datagram_endpoint(never);
            let before = open_descriptors();
            // G-15
            assert_eq!(refusal(endpoint()).await, UnexpectedFamily);
            assert_eq!(UnexpectedFamily.to_string(), "unexpected address family");
            assert_eq!(refusal(endpoint().local_addr(())).await, UnexpectedFamily);
            let mixed = endpoint().local_addr(LOOPBACK).remote_path("/tmp/x");
            assert_eq!(refusal(mixed).await, MixedFamilies);
            let mixed = endpoint().local_path("/tmp/x").family(Family::Inet);
            assert_eq!(refusal(mixed).await, MixedFamilies);
            let six: SocketAddr = "[::1]:0".parse().unwrap();
            let common = endpoint().local_addr(six).remote_addr(("127.0.0.1", 9));
            assert_eq!(refusal(common).await, NoCommonFamily);
            assert_eq!(NoCommonFamily.to_string(), "can not get address information");
            let none = endpoint().local_addr(six).family(Family::Inet).await;
            assert!(none.unwrap_err().to_string().contains("empty list"));
            let none = endpoint().remote_addr(Vec::<SocketAddr>::new()).await;
            assert!(none.unwrap_err().to_string().contains("empty list"));

            let stream = || TcpListener::bind(LOOPBACK).unwrap();
            assert_eq!(refusal(endpoint().sock(stream())).await, NotADatagramSocket);
            assert_eq!(NotADatagramSocket.to_string(), "A datagram socket was expected");
            let (near, _far) = UnixStream::pair()?;
            assert_eq!(refusal(endpoint().sock(near)).await, NotADatagramSocket);
            let file = fs::File::open("/dev/null")?;
            assert_eq!(refusal(endpoint().sock(file)).await, NotADatagramSocket);
            drop(_far);
            assert_eq!(open_descriptors(), before, "those that were given are closed too");
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn a_socket_takes_no_option_for_making_one() {
    run(async {
        let sock = || UdpSocket::bind(LOOPBACK).unwrap();
        let check = async |builder, expected: &[&'static str]| {
            // G-15
            let names = expected.to_vec();
            let error = DatagramArgumentError::OptionsWithSocket { names };
            assert_eq!(refusal(builder).await, error);
            assert!(error.to_string().ends_with(&format!("({})", expected.join(", "))));
        };
        let endpoint = || create_datagram_endpoint(never as fn() -> Idle).sock(sock());
        check(endpoint().local_addr(LOOPBACK), &["local_addr"]).await;
        check(endpoint().remote_addr(LOOPBACK), &["remote_addr"]).await;
        check(endpoint().local_path("x").remote_path("y"), &["local_path", "remote_path"]).await;
        check(endpoint().unix(), &["unix"]).await;
        check(endpoint().family(Family::Inet).proto(17), &["family", "proto"]).await;
        check(endpoint().flags(resolve::AI_PASSIVE), &["flags"]).await;
        let sharing = endpoint().reuse_port(true).allow_broadcast(true);
        check(sharing, &["reuse_port", "allow_broadcast"]).await;

        // What is not about making it goes with it.
        let limits = WriteLimits::default();
        let endpoint = create_datagram_endpoint(|| Idle).sock(sock());
        let transport = endpoint.write_buffer_limits(limits).segmentation(false).await?;
        end(&transport).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_socket_that_exists_is_made_ours_as_it_is() {
    run(async {
        let peer = UdpSocket::bind(LOOPBACK)?;
        let blocking = UdpSocket::bind(LOOPBACK)?;
        blocking.connect(peer.local_addr()?)?;
        let transport = create_datagram_endpoint(|| Idle).sock(blocking).await?;
        // G-14
        assert_eq!(transport.peername(), Some(Address::Inet(peer.local_addr()?)));
        let flags = transport.with_socket(|socket| rustix::fs::fcntl_getfl(socket).unwrap());
        assert!(flags.is_some_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK)));
        end(&transport).await;

        let (near, far) = UnixDatagram::pair()?;
        let transport = create_datagram_endpoint(|| Idle).sock(near).await?;
        // G-14: one of an unnamed pair is connected all the same
        assert_eq!(transport.peername(), Some(Address::Unnamed));
        transport.sendto(b"x", None)?;
        transport.sendto(b"y", &Address::Unnamed)?;
        transport.flush().await?;
        let mut data = [0; 2];
        assert_eq!((far.recv(&mut data)?, far.recv(&mut data[1..])?), (1, 1));
        assert_eq!(&data, b"xy");
        end(&transport).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn every_address_is_tried_and_the_first_error_is_the_one() {
    watched(|| {
        let _alone = alone();
        run(async {
            let taken = UdpSocket::bind(LOOPBACK)?;
            let before = open_descriptors();
            let here = taken.local_addr()?;
            // Not one of this machine's: 192.0.2.0/24 is for documentation.
            let elsewhere: SocketAddr = "192.0.2.1:0".parse().unwrap();
            // G-17
            let error = create_datagram_endpoint(never).local_addr(vec![here, elsewhere]).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let bind = inner::<BindError>(&error).expect("the address");
            assert_eq!(bind.address, here);
            let error = create_datagram_endpoint(never).local_addr(vec![elsewhere, here]).await;
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
            assert_eq!(open_descriptors(), before);

            let any = vec![here, elsewhere, SocketAddr::from(([127, 0, 0, 1], 0))];
            let transport = create_datagram_endpoint(|| Idle).local_addr(any).await?;
            assert_eq!(open_descriptors(), before + 1);
            end(&transport).await;
            assert_eq!(open_descriptors(), before);

            // The broadcast address is refused by connecting, unless that is allowed.
            let broadcast: SocketAddr = "255.255.255.255:9".parse().unwrap();
            let error = create_datagram_endpoint(never).remote_addr(broadcast).await.unwrap_err();
            assert!(error.raw_os_error().is_some(), "{error}");
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn a_name_is_resolved_for_datagrams() {
    run(async {
        let transport = create_datagram_endpoint(|| Idle)
            .local_addr(("localhost", 0))
            .family(Family::Inet)
            .proto(resolve::IPPROTO_UDP)
            .await?;
        assert!(own(&transport).ip().is_loopback());
        // TCP has no datagrams.
        let error = create_datagram_endpoint(never)
            .local_addr(("localhost", 0))
            .proto(resolve::IPPROTO_TCP)
            .await;
        assert!(error.is_err());
        end(&transport).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Where a test's socket files are.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn at(path: &Path) -> Option<Address> {
    Some(Address::Unix(UnixAddress::path(path)))
}

#[test]
fn a_socket_file_that_is_stale_is_replaced_and_stays_after_a_close() {
    run(async {
        let folder = folder();
        let path = folder.path().join("socket");
        drop(UnixDatagram::bind(&path)?);
        // G-18
        let transport = create_datagram_endpoint(|| Idle).local_path(&path).await?;
        assert_eq!(transport.sockname(), at(&path));
        end(&transport).await;
        assert!(path.exists(), "it is not removed");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn only_one_of_those_that_start_at_once_removes_a_stale_file() {
    run(async {
        let folder = folder();
        let path = folder.path().join("socket");
        drop(UnixDatagram::bind(&path)?);
        // As if another were between its question and its removal.
        let lock = fs::File::open(folder.path())?;
        lock.lock()?;
        let mut starts = create_datagram_endpoint(|| Idle).local_path(&path).into_future();
        assert!(poll_once(&mut starts).await.is_none());
        fs::remove_file(&path)?;
        let other = UnixDatagram::bind(&path)?;
        lock.unlock()?;
        // G-18
        assert_eq!(starts.await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        UnixDatagram::unbound()?.send_to(b"x", &path)?;
        assert_eq!(other.recv(&mut [0; 1])?, 1);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn one_that_cannot_be_connected_leaves_no_file() {
    run(async {
        let folder = folder();
        let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
        let endpoint = create_datagram_endpoint(never).local_path(&ours).remote_path(&theirs);
        assert_eq!(endpoint.await.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!ours.exists());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_live_socket_and_every_other_file_stay() {
    run(async {
        let folder = folder();
        let live = folder.path().join("live");
        let receiver = UnixDatagram::bind(&live)?;
        let file = folder.path().join("file");
        fs::write(&file, "text")?;
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link)?;
        for path in [&live, &file, &link, &folder.path().to_owned()] {
            // G-18
            let error = create_datagram_endpoint(never).local_path(path).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{}", path.display());
        }
        assert_eq!(fs::read_to_string(&file)?, "text");
        UnixDatagram::unbound()?.send_to(b"x", &live)?;
        assert_eq!(receiver.recv(&mut [0; 1])?, 1);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_path_that_cannot_be_is_an_error_of_its_kind() {
    watched(|| {
        let _alone = alone();
        run(async {
            let folder = folder();
            let before = open_descriptors();
            let check = async |path: &Path, errno: Errno| {
                let local = create_datagram_endpoint(never).local_path(path).await;
                assert_eq!(local.unwrap_err().raw_os_error(), Some(errno.raw_os_error()));
                assert_eq!(open_descriptors(), before);
            };
            check(&folder.path().join("x".repeat(200)), Errno::NAMETOOLONG).await;
            check(&folder.path().join("missing/socket"), Errno::NOENT).await;
            // Nobody is there: refused by connecting, and nothing is left.
            let nobody = folder.path().join("nobody");
            let error = create_datagram_endpoint(never).remote_path(&nobody).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            drop(UnixDatagram::bind(&nobody)?);
            let error = create_datagram_endpoint(never).remote_path(&nobody).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert!(nobody.exists(), "only who binds may remove it");
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_begins_with_a_zero_byte_has_no_file() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    run(async {
        let name = format!("\0tidegate-{}", std::process::id());
        let path = OsStr::from_bytes(name.as_bytes());
        let transport = create_datagram_endpoint(|| Idle).local_path(path).await?;
        let address = Address::Unix(UnixAddress::abstract_name(&name.as_bytes()[1..]));
        // G-18
        assert_eq!(transport.sockname(), Some(address.clone()));
        let error = create_datagram_endpoint(never).local_path(path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let client = create_datagram_endpoint(|| Idle).remote_path(path).await?;
        assert_eq!(client.peername(), Some(address));
        end(&client).await;
        end(&transport).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_greeting_that_panics_is_the_builders_error() {
    struct Rude;
    impl DatagramProtocol for Rude {
        fn connection_made(&mut self, _: &DatagramTransport) {
            panic!("not you");
        }
    }
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let _reports = support::keep_reports();
            let error = create_datagram_endpoint(|| Rude).local_addr(LOOPBACK).await.unwrap_err();
            assert!(error.to_string().contains("not you"), "{error}");
            turns(2).await;
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn one_that_closes_in_its_greeting_is_answered_closed() {
    struct Brief;
    impl DatagramProtocol for Brief {
        fn connection_made(&mut self, transport: &DatagramTransport) {
            transport.close();
        }
    }
    run(async {
        let transport = create_datagram_endpoint(|| Brief).local_addr(LOOPBACK).await?;
        assert!(transport.is_closing());
        assert!(transport.closed().await.is_none());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_future_that_is_dropped_closes_what_it_opened() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let diary = Diary::default();
            let given = diary.clone();
            let builder = create_datagram_endpoint(move || Recorder::new(&given));
            let mut future = builder.local_addr(LOOPBACK).into_future();
            while poll_once(&mut future).await.is_none() && open_descriptors() == before {
                turns(1).await;
            }
            drop(future);
            until(|| diary.has(&Told::Dropped)).await;
            assert_eq!(diary.entries(), [Told::Made, Told::Lost(None), Told::Dropped]);

            let unused = create_datagram_endpoint(never).sock(UdpSocket::bind(LOOPBACK)?);
            drop(unused);
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn a_factory_that_panics_closes_the_socket() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let handle = LoopHandle::current()?;
            let builder = create_datagram_endpoint(never).local_addr(LOOPBACK);
            let task = handle.spawn(builder.into_future())?;
            assert!(task.await.is_err());
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn it_needs_a_loop_that_runs_and_ends_with_it() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let builder = create_datagram_endpoint(never).local_addr(LOOPBACK);
        let error = at_once(builder.into_future()).unwrap_err();
        assert!(inner::<LoopError>(&error).is_some(), "{error}");

        // `run` delivers the loss, and closes what is left.
        let diary = Diary::default();
        let given = diary.clone();
        tidegate_reactor::run(async {
            let builder = create_datagram_endpoint(move || Recorder::new(&given));
            builder.local_addr(LOOPBACK).await?;
            Ok::<(), io::Error>(())
        })
        .unwrap();
        assert_eq!(diary.entries(), [Told::Made, Told::Lost(None), Told::Dropped]);
        assert_eq!(open_descriptors(), before);
    });
}

/// Polls a future that is ready at once.
fn at_once<F: Future + Unpin>(mut future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits for a loop that does not run"),
    }
}
