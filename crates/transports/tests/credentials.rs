//! Who is at the other end of a Unix socket, in a container too; and credentials that a socket was asked for by others.

#![cfg(all(target_os = "linux", not(tidegate_portable)))]

use std::cell::Cell;
use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use rustix::net::sockopt::{set_socket_passcred, socket_passcred};
use tidegate_protocols::{PeerCredentials, Protocol, Transport};
use tidegate_testkit::{run, watched};
use tidegate_transports::{connect_accepted_socket, create_unix_connection};

mod support;
use support::Idle;

/// Names the socket to the process that is inside of a namespace of its own.
const OUTSIDE: &str = "TIDEGATE_TESTS_SOCKET_OUTSIDE";

/// As in a container that the socket of a server outside is mounted into.
#[test]
fn a_peer_outside_of_the_namespace_has_a_user_and_no_number() {
    let name = "a_peer_outside_of_the_namespace_has_a_user_and_no_number";
    if let Some(path) = env::var_os(OUTSIDE) {
        return run(async {
            let transport = create_unix_connection(|| Idle, Path::new(&path)).await?;
            let own_file = tempfile::tempfile()?.metadata()?;
            let peer = PeerCredentials { pid: None, uid: own_file.uid(), gid: own_file.gid() };
            assert_eq!(transport.get_extra_info(), Some(peer));
            Ok::<(), io::Error>(())
        })
        .unwrap();
    }
    watched(|| {
        let inside = || {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--pid", "--fork"]);
            command
        };
        if !inside().arg("true").output().is_ok_and(|ended| ended.status.success()) {
            return eprintln!("skipped: {name}: unshare cannot make a namespace of processes");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let _listener = UnixListener::bind(&path).expect("a socket");
        let ended = inside()
            .arg(env::current_exe().expect("this program"))
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(OUTSIDE, &path)
            .output()
            .expect("unshare starts");
        let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    });
}

/// They would take the room of the descriptors, which are few enough.
#[test]
fn credentials_that_a_socket_was_asked_for_do_not_come_beside_descriptors() {
    struct Taker(Rc<Cell<usize>>);

    impl Protocol for Taker {
        fn data_received(&mut self, transport: &Transport, _: &[u8]) -> io::Result<()> {
            self.0.set(self.0.get() + transport.take_fds().len());
            Ok(())
        }
    }

    run(async {
        for (most, passed) in [(1, 1), (0, 0)] {
            let (ours, theirs) = UnixStream::pair()?;
            set_socket_passcred(&theirs, true)?;
            let kept = theirs.try_clone()?;
            let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;
            let taken = Rc::<Cell<usize>>::default();
            let taker = Taker(taken.clone());
            let receiver = connect_accepted_socket(|| taker, theirs).receive_fds(most).await?;
            sender.send_with_fds(b"x", vec![File::open("/dev/null")?.into()])?;
            sender.close();
            let cause = receiver.closed().await;
            assert!(cause.is_none(), "{cause:?}");
            assert_eq!(taken.get(), passed);
            assert_eq!(receiver.statistics().bytes_received, 1);
            // A connection that receives no descriptors does not see them, and leaves the option alone.
            assert_eq!(socket_passcred(&kept)?, most == 0);
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
