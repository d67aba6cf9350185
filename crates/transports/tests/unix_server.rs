//! Servers on Unix sockets: whose file it is, when it is replaced and removed, and what keeps a server from starting.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use tidegate_protocols::{Address, Layered, UnixAddress, layer::Transparent};
use tidegate_reactor::{EventLoop, timeout};
use tidegate_testkit::{Event, Log, Recorder, alone, open_descriptors, run, turns, until, watched};
use tidegate_transports::{
    ArgumentError, Server, UnixError, UnixPath, UnixReason, create_server, create_unix_connection,
    create_unix_server,
};

mod support;
use support::places::Place;
use support::{Idle, inner, keep_reports, messages, never, poll_once};

/// Makes a server that must not start, and answers what was wrong at that path.
async fn refused(path: &Path, kind: io::ErrorKind) -> UnixReason {
    let error = create_unix_server(never, path).await.expect_err("no server");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    if !path.as_os_str().is_empty() && !path.to_string_lossy().contains('\0') {
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
    }
    let error = error.into_inner().expect("an inner error").downcast::<UnixError>();
    let error = error.expect("a UnixError");
    assert_eq!(error.address, UnixAddress::path(path));
    error.reason
}

/// Whether the server answers.
async fn answers(path: &Path, server: &Server) -> bool {
    let before = server.statistics().accepted;
    let transport = create_unix_connection(|| Idle, path).await.expect("a connection");
    until(|| server.statistics().accepted > before).await;
    transport.abort();
    transport.closed().await;
    true
}

// S-07, S-30
#[test]
fn a_server_accepts_and_says_where_it_is() {
    run(async {
        let place = Place::new();
        let logs = Rc::<RefCell<Vec<Log>>>::default();
        let kept = logs.clone();
        let factory = move || {
            let recorder = Recorder::new();
            kept.borrow_mut().push(recorder.log());
            recorder
        };
        let server = create_unix_server(factory, &place.path).backlog(5).await?;
        assert!(server.is_serving());
        let socket = server.sockets().remove(0);
        assert_eq!(socket.sockname(), Address::Unix(UnixAddress::path(&place.path)));
        let shown = place.path.to_string_lossy();
        assert_eq!(socket.sockname().to_string(), shown);
        assert!(format!("{server:?}").contains(&*shown));
        assert!(fs::symlink_metadata(&place.path)?.file_type().is_socket());

        let mut client = UnixStream::connect(&place.path)?;
        client.write_all(b"hello")?;
        until(|| logs.borrow().len() == 1).await;
        let log = logs.borrow()[0].clone();
        log.received_at_least(5).await;
        log.assert(&[Event::Made, Event::data("hello")]);
        server.close();
        assert!(UnixStream::connect(&place.path).is_err());
        assert!(!server.is_serving() && server.sockets().is_empty());
        drop(client);
        log.lost().await;
        server.wait_closed().await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-01, U-05
#[test]
fn a_contradiction_is_refused_and_the_socket_closed() {
    run(async {
        let _alone = alone();
        let place = Place::new();
        let bound = || UnixListener::bind(place.folder.path().join("other"));
        let before = open_descriptors();
        let check = async |path: UnixPath, sock: Option<OwnedFd>, mode, expected| {
            let mut builder = create_unix_server(never, path);
            if let Some(sock) = sock {
                builder = builder.sock(sock);
            }
            if let Some(mode) = mode {
                builder = builder.mode(mode);
            }
            let error = builder.await.expect_err("a contradiction");
            assert_eq!(
                (error.kind(), inner(&error)),
                (io::ErrorKind::InvalidInput, Some(&expected))
            );
        };
        let path = || UnixPath::from(&place.path);
        let nowhere = || UnixPath::from(());
        check(path(), Some(bound()?.into()), None, ArgumentError::PathAndSocket).await;
        check(nowhere(), None, None, ArgumentError::NeitherPathNorSocket).await;
        let inet = TcpListener::bind(("127.0.0.1", 0))?;
        check(nowhere(), Some(inet.into()), None, ArgumentError::NotAUnixSocket).await;
        let inet = UdpSocket::bind(("127.0.0.1", 0))?;
        check(nowhere(), Some(inet.into()), None, ArgumentError::NotAUnixSocket).await;
        let datagram = UnixDatagram::unbound()?;
        check(nowhere(), Some(datagram.into()), None, ArgumentError::NotAUnixSocket).await;
        let file = File::open("/dev/null")?;
        check(nowhere(), Some(file.into()), None, ArgumentError::NotAUnixSocket).await;

        check(path(), None, Some(0o1777), ArgumentError::SocketFileMode).await;
        fs::remove_file(place.folder.path().join("other"))?;
        check(nowhere(), Some(bound()?.into()), Some(0o600), ArgumentError::SocketFileMode).await;
        check("\0name".into(), None, Some(0o600), ArgumentError::SocketFileMode).await;
        assert_eq!(open_descriptors(), before);
        assert!(!place.is_taken());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-05: and every path that cannot be served at
#[test]
fn a_path_that_cannot_be_bound_is_named_and_leaves_nothing() {
    run(async {
        let _alone = alone();
        let place = Place::new();
        let at = |name: &str| place.folder.path().join(name);
        fs::write(at("file"), "kept")?;
        symlink(at("nowhere"), at("link"))?;
        let before = open_descriptors();

        let reason = refused(&at("no/parent"), io::ErrorKind::NotFound).await;
        assert!(matches!(reason, UnixReason::Bind(_)), "{reason:?}");
        let reason = refused(&at("file/s"), io::ErrorKind::NotADirectory).await;
        assert!(matches!(reason, UnixReason::Bind(_)), "{reason:?}");
        let reason = refused(Path::new(""), io::ErrorKind::InvalidInput).await;
        assert!(matches!(reason, UnixReason::Empty), "{reason:?}");
        let reason = refused(&at(&"x".repeat(200)), io::ErrorKind::InvalidInput).await;
        assert!(matches!(reason, UnixReason::TooLong(_)), "{reason:?}");
        let reason = refused(&at("a\0b"), io::ErrorKind::InvalidInput).await;
        assert!(matches!(reason, UnixReason::ZeroByte), "{reason:?}");

        // replaced: U-02: what is not a socket is left alone, a link that leads nowhere too
        for other in [at("file"), at("link"), place.folder.path().to_owned()] {
            let reason = refused(&other, io::ErrorKind::AddrInUse).await;
            assert!(matches!(reason, UnixReason::NotASocket), "{reason:?}");
        }
        assert_eq!(fs::read_to_string(at("file"))?, "kept");
        assert_eq!(fs::read_link(at("link"))?, at("nowhere"));
        assert_eq!(open_descriptors(), before);
        assert_eq!(fs::read_dir(place.folder.path())?.count(), 2);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// replaced: U-02
#[test]
fn a_stale_socket_file_is_replaced() {
    run(async {
        let place = Place::new();
        for stale in 0..2 {
            match stale {
                0 => drop(UnixListener::bind(&place.path)?),
                _ => drop(UnixDatagram::bind(&place.path)?),
            }
            // A second name keeps the number of the file from being used again.
            let name = place.folder.path().join(format!("stale {stale}"));
            fs::hard_link(&place.path, name)?;
            let before = place.inode();
            let server = create_unix_server(|| Idle, &place.path).await?;
            assert_ne!(place.inode(), before);
            assert!(answers(&place.path, &server).await);
            server.close();
            assert!(!place.is_taken());
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// replaced: U-02
#[test]
fn a_live_socket_is_refused_and_not_told() {
    run(async {
        let _alone = alone();
        let place = Place::new();
        let server = create_unix_server(|| Idle, &place.path).await?;
        let before = (place.inode(), open_descriptors());
        for _ in 0..3 {
            let reason = refused(&place.path, io::ErrorKind::AddrInUse).await;
            assert!(matches!(reason, UnixReason::Live), "{reason:?}");
        }
        assert_eq!((place.inode(), open_descriptors()), before);
        turns(3).await;
        assert_eq!(server.statistics().accepted, 0, "nobody has knocked");
        assert!(answers(&place.path, &server).await);
        server.close();

        // One that was bound and does not listen lives too, and so does any other kind.
        let bound = create_unix_server(|| Idle, &place.path).start_serving(false).await?;
        let reason = refused(&place.path, io::ErrorKind::AddrInUse).await;
        assert!(matches!(reason, UnixReason::Live), "{reason:?}");
        bound.start_serving().await?;
        assert!(answers(&place.path, &bound).await);
        bound.close();

        let _datagram = UnixDatagram::bind(&place.path)?;
        let reason = refused(&place.path, io::ErrorKind::AddrInUse).await;
        assert!(matches!(reason, UnixReason::Live), "{reason:?}");
        let text = UnixError { address: UnixAddress::path("/s"), reason }.to_string();
        assert_eq!(text, "Address '/s' is already in use");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

const KILLED: &str = "TIDEGATE_TESTS_KILLED_SERVER";

// replaced: U-02: a server that was killed leaves its file
#[test]
fn what_a_killed_server_leaves_is_replaced() {
    let name = "what_a_killed_server_leaves_is_replaced";
    if let Some(path) = std::env::var_os(KILLED) {
        return watched(|| serve_until_killed(Path::new(&path)));
    }
    run(async {
        let place = Place::new();
        let mut killed = Command::new(std::env::current_exe()?)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(KILLED, &place.path)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(killed.stdout.take().expect("a pipe"));
        let serves = output.lines().any(|line| line.is_ok_and(|line| line.ends_with("serving")));
        assert!(serves);
        let reason = refused(&place.path, io::ErrorKind::AddrInUse).await;
        assert!(matches!(reason, UnixReason::Live), "{reason:?}");
        killed.kill()?;
        killed.wait()?;
        assert!(place.is_taken(), "it could not clean up");
        let server = create_unix_server(|| Idle, &place.path).await?;
        assert!(answers(&place.path, &server).await);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

fn serve_until_killed(path: &Path) {
    let event_loop = EventLoop::new().unwrap();
    let served: io::Result<()> = event_loop
        .run_until_complete(async {
            let server = create_unix_server(|| Idle, path).await?;
            println!("\nserving");
            server.serve_forever().await
        })
        .unwrap();
    event_loop.close().unwrap();
    served.unwrap();
}

// replaced: U-02: and of several that start at once on a stale file, one serves
#[test]
fn one_of_many_that_start_at_once_serves() {
    watched(|| {
        const RACERS: usize = 8;
        for _ in 0..25 {
            let place = Place::new();
            drop(UnixListener::bind(&place.path).unwrap());
            let start = Arc::new(Barrier::new(RACERS));
            // No winner goes before every other has tried.
            let end = Arc::new(Barrier::new(RACERS));
            let race = |_| {
                let (path, start, end) = (place.path.clone(), start.clone(), end.clone());
                thread::spawn(move || {
                    let event_loop = EventLoop::new().unwrap();
                    start.wait();
                    let server = event_loop
                        .run_until_complete(async { create_unix_server(|| Idle, path).await })
                        .unwrap();
                    end.wait();
                    let served = match &server {
                        Ok(_) => true,
                        Err(error) => {
                            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
                            false
                        }
                    };
                    end.wait();
                    event_loop.close().unwrap();
                    served
                })
            };
            let racers: Vec<_> = (0..RACERS).map(race).collect();
            let served = racers.into_iter().map(|racer| racer.join().unwrap());
            assert_eq!(served.filter(|served| *served).count(), 1);
            assert!(!place.is_taken(), "the winner has cleaned up what was its own");
        }
    });
}

// replaced: U-02: whoever has waited for another looks again
#[test]
fn a_file_that_another_has_replaced_meanwhile_is_left() {
    run(async {
        let place = Place::new();
        drop(UnixListener::bind(&place.path)?);
        let folder = File::open(place.folder.path())?;
        folder.lock()?;
        let mut starting = create_unix_server(never, &place.path).into_future();
        assert!(poll_once(&mut starting).await.is_none(), "it waits");
        fs::remove_file(&place.path)?;
        let other = UnixListener::bind(&place.path)?;
        folder.unlock()?;
        let error = starting.await.expect_err("the other lives");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(UnixStream::connect(&place.path)?);
        drop(other);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// replaced: U-02: somebody else's lock on the folder holds nobody up for long
#[test]
fn a_lock_that_is_never_given_back_is_gone_without() {
    run(async {
        let place = Place::new();
        let folder = File::open(place.folder.path())?;
        folder.lock()?;
        drop(UnixListener::bind(&place.path)?);
        let starting = create_unix_server(|| Idle, &place.path).into_future();
        let server = timeout(Duration::from_secs(30), starting).await.expect("soon enough")?;
        assert!(answers(&place.path, &server).await);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-03
#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_is_never_looked_for_in_the_file_system() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let before_folder = std::env::current_dir()?;
        std::env::set_current_dir(folder.path())?;
        let name = format!("tidegate-server-{}", std::process::id());
        // A file of that name is nobody's business.
        fs::write(&name, "kept")?;
        let server = create_unix_server(|| Idle, format!("\0{name}")).await?;
        let sockname = server.sockets()[0].sockname();
        assert_eq!(sockname, Address::Unix(UnixAddress::abstract_name(name.clone())));
        let _client = create_unix_connection(|| Idle, sockname.clone()).await?;
        let taken = create_unix_server(never, sockname).await.expect_err("in use");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(taken.to_string(), format!("Address '@{name}' is already in use"));
        server.close();
        assert_eq!(fs::read_to_string(&name)?, "kept");
        // It is free at once.
        create_unix_server(|| Idle, format!("\0{name}")).await?.close();
        std::env::set_current_dir(before_folder)?;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// How a server ends in a case.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Dropped,
    LoopClosed,
}

// U-04
#[test]
fn the_file_goes_with_the_server_if_it_is_still_the_same() {
    let check = |end: End, cleanup: bool, by_sock: bool, meddle: fn(&Path), stays: bool| {
        watched(|| {
            let _alone = alone();
            let place = Place::new();
            let before = open_descriptors();
            let event_loop = EventLoop::new().unwrap();
            let server = event_loop
                .run_until_complete(async {
                    let idle: fn() -> Idle = || Idle;
                    let builder = match by_sock {
                        true => create_unix_server(idle, ()).sock(UnixListener::bind(&place.path)?),
                        false => create_unix_server(idle, &place.path),
                    };
                    let serves = !matches!(end, End::Dropped);
                    builder.cleanup_socket(cleanup).start_serving(serves).await
                })
                .unwrap()
                .unwrap();
            meddle(&place.path);
            match end {
                End::Closed => server.close(),
                End::Dropped => drop(server),
                End::LoopClosed => event_loop.close().unwrap(),
            }
            assert_eq!(place.is_taken(), stays, "{end:?} {cleanup} {by_sock}");
            event_loop.close().unwrap();
            drop(event_loop);
            assert_eq!(open_descriptors(), before, "{end:?}");
        });
    };
    let nothing = |_: &Path| ();
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let replace = |path: &Path| {
        fs::remove_file(path).unwrap();
        drop(UnixListener::bind(path).unwrap());
    };
    let rewrite = |path: &Path| {
        fs::remove_file(path).unwrap();
        fs::write(path, "").unwrap();
    };
    for end in [End::Closed, End::Dropped, End::LoopClosed] {
        for by_sock in [false, true] {
            check(end, true, by_sock, nothing, false);
            check(end, false, by_sock, nothing, true);
            check(end, true, by_sock, remove, false);
            check(end, true, by_sock, replace, true);
            check(end, true, by_sock, rewrite, true);
        }
    }
}

// U-04: not with create_server(sock = a Unix socket)
#[test]
fn the_server_of_hosts_leaves_files_alone() {
    run(async {
        let place = Place::new();
        let server = create_server(|| Idle, ()).sock(UnixListener::bind(&place.path)?).await?;
        assert!(answers(&place.path, &server).await);
        server.close();
        assert!(place.is_taken());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-04: by its whole path, wherever the program has gone meanwhile
#[test]
fn a_relative_path_is_remembered_whole() {
    run(async {
        let _alone = alone();
        let place = Place::new();
        let before = std::env::current_dir()?;
        std::env::set_current_dir(place.folder.path())?;
        let server = create_unix_server(|| Idle, "s").await?;
        std::env::set_current_dir(before)?;
        assert!(place.is_taken());
        server.close();
        assert!(!place.is_taken());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-05: a server that is not wanted any more leaves neither socket nor file
#[test]
fn a_server_that_nobody_waits_for_is_closed() {
    run(async {
        let _alone = alone();
        let place = Place::new();
        let before = open_descriptors();
        let mut starting = create_unix_server(|| Idle, &place.path).into_future();
        assert!(poll_once(&mut starting).await.is_none());
        assert!(place.is_taken());
        drop(starting);
        assert!(!place.is_taken());
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// replaced: U-02: a server that cannot start replaces nothing
#[test]
fn outside_of_a_loop_a_stale_file_stays() {
    watched(|| {
        let _alone = alone();
        let place = Place::new();
        drop(UnixListener::bind(&place.path).expect("a socket"));
        let (before, inode) = (open_descriptors(), place.inode());
        for cleanup in [true, false] {
            let server = create_unix_server(never, &place.path).cleanup_socket(cleanup);
            let mut serving = server.into_future();
            let mut context = Context::from_waker(Waker::noop());
            match serving.as_mut().poll(&mut context) {
                Poll::Ready(Err(error)) => assert!(error.to_string().contains("run")),
                _ => panic!("without a loop"),
            }
            assert_eq!((open_descriptors(), place.inode()), (before, inode));
        }
    });
}

#[test]
fn the_mode_is_the_files() {
    run(async {
        let place = Place::new();
        for mode in [0o600, 0o660, 0o777, 0o000] {
            let server = create_unix_server(|| Idle, &place.path).mode(mode).await?;
            assert_eq!(fs::symlink_metadata(&place.path)?.permissions().mode() & 0o7777, mode);
            server.close();
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-04: what cannot be removed is told
#[test]
fn a_file_that_cannot_be_removed_is_reported() {
    run(async {
        let place = Place::new();
        let reports = keep_reports();
        let folder = place.folder.path().join("folder");
        fs::create_dir(&folder)?;
        let path = folder.join("s");
        let server = create_unix_server(|| Idle, &path).await?;
        // Nobody may do that, whatever else he may.
        fs::rename(&folder, place.folder.path().join("elsewhere"))?;
        fs::write(&folder, "")?;
        server.close();
        turns(2).await;
        assert_eq!(messages(&reports), ["Unable to unlink UNIX socket"]);
        assert!(reports.borrow()[0].to_string().contains("folder/s"));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn the_options_of_every_server_are_there() {
    run(async {
        let place = Place::new();
        let server = create_unix_server(Recorder::new, &place.path)
            .max_connections(1)
            .max_opening(5)
            .idle_timeout(Duration::from_millis(20))
            .abort_above(1 << 20)
            .layer(Transparent)
            .await?;
        let mut first = UnixStream::connect(&place.path)?;
        let second = UnixStream::connect(&place.path)?;
        until(|| server.statistics().open == 1).await;
        turns(3).await;
        assert_eq!(server.statistics().accepted, 1, "the second waits");
        until(|| server.statistics().timed_out == 2).await;
        assert_eq!(first.read(&mut [0])?, 0);
        drop(second);
        server.drain(Duration::from_secs(10)).await;
        assert!(!place.is_taken());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
