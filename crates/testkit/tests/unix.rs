//! The conformance suite over Unix sockets: made by the builders, a byte at a time, receiving descriptors, under a layer.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use rustix::net::sockopt::set_socket_send_buffer_size;
use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{Protocol, Transport};
use tidegate_reactor::{Interest, LoopHandle, spawn};
use tidegate_testkit::conformance::{Capabilities, Connecting, Ground, UnderLayer, run_all};
use tidegate_testkit::{Dribble, Recorder, Tripwire, run, until};
use tidegate_transports::stream::{self, StreamOptions, UnixSocket};
use tidegate_transports::{connect_accepted_socket, create_unix_connection};

/// Unix sockets with small buffers in the system, so that what is written soon waits.
#[derive(Clone, Copy)]
enum Unix {
    /// What the builders make; both ends may receive so many descriptors.
    Built { receive_fds: usize },
    /// Over a wire that moves so many bytes at a time.
    Dribbling { bytes: usize, receive_fds: usize },
}

impl Ground for Unix {
    fn name(&self) -> String {
        match self {
            Unix::Built { receive_fds } => format!("Unix sockets, {receive_fds} descriptors"),
            Unix::Dribbling { bytes, receive_fds } => {
                format!("Unix sockets, {bytes} bytes at a time, {receive_fds} descriptors")
            }
        }
    }

    fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting {
        let ground = *self;
        Box::pin(async move {
            let (near, far) = small_sockets()?;
            match ground {
                Unix::Built { receive_fds } => {
                    let builder = create_unix_connection(|| left, ()).sock(near);
                    let left = spawn(builder.receive_fds(receive_fds).into_future())?;
                    let builder = connect_accepted_socket(|| right, far);
                    let right = builder.receive_fds(receive_fds).await?;
                    Ok((left.await.expect("an opening that does not panic")?, right))
                }
                Unix::Dribbling { bytes, receive_fds } => {
                    let left = dribbling(near, left, bytes, receive_fds)?;
                    Ok((left, dribbling(far, right, bytes, receive_fds)?))
                }
            }
        })
    }

    fn capabilities(&self) -> Capabilities {
        let bytes_at_a_time = match self {
            Unix::Built { .. } => None,
            Unix::Dribbling { bytes, .. } => Some(*bytes),
        };
        Capabilities { bytes_at_a_time, ..Capabilities::default() }
    }
}

/// Two connected sockets whose buffers in the system hold about 8 KiB.
fn small_sockets() -> io::Result<(UnixStream, UnixStream)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path)?;
    let near = UnixStream::connect(&path)?;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        set_socket_send_buffer_size(end.as_fd(), 8 * 1024)?;
    }
    Ok((near, far))
}

fn dribbling(
    socket: UnixStream,
    protocol: Box<dyn Protocol>,
    bytes: usize,
    receive_fds: usize,
) -> io::Result<Transport> {
    let handle = LoopHandle::current()?;
    socket.set_nonblocking(true)?;
    let wire = |watcher| {
        let socket = UnixSocket::new(&handle, socket.into(), Interest::READ, watcher)?;
        Ok(Dribble::new(socket.receive_fds(receive_fds), Some(bytes)))
    };
    stream::open(&handle, wire, protocol, StreamOptions::default())
}

#[test]
fn unix_sockets_conform() {
    run_all(Unix::Built { receive_fds: 0 });
}

#[test]
fn unix_sockets_that_receive_descriptors_conform() {
    run_all(Unix::Built { receive_fds: 3 });
}

#[test]
fn unix_sockets_conform_a_byte_at_a_time() {
    run_all(Unix::Dribbling { bytes: 1, receive_fds: 0 });
    run_all(Unix::Dribbling { bytes: 1, receive_fds: 3 });
}

#[test]
fn unix_sockets_conform_under_a_layer() {
    run_all(UnderLayer::new(Unix::Built { receive_fds: 0 }, || Transparent));
}

#[test]
fn unix_sockets_conform_under_a_layer_a_byte_at_a_time() {
    let dribbling = Unix::Dribbling { bytes: 1, receive_fds: 0 };
    run_all(UnderLayer::new(dribbling, || Transparent));
}

/// Keeps the one descriptor that comes.
struct Keeper(Rc<Cell<Option<OwnedFd>>>);

impl Protocol for Keeper {
    fn data_received(&mut self, transport: &Transport, _: &[u8]) -> io::Result<()> {
        self.0.set(transport.take_fds().pop());
        Ok(())
    }
}

#[test]
fn a_tripwire_hands_descriptors_on() {
    run(async {
        let (near, far) = small_sockets().expect("a pair");
        let passed = Rc::new(Cell::new(None));
        let keeper = Keeper(passed.clone());
        let far = connect_accepted_socket(|| keeper, far).receive_fds(1).await.expect("connected");
        let near = create_unix_connection(Recorder::new, ()).sock(near).await;
        let (near, tripwire) = (near.expect("connected"), Tripwire::new());
        tripwire.watch(&near);
        tripwire.watch(&far);
        near.send_with_fds(b"one", vec![File::open("/dev/null").expect("a file").into()])
            .expect("a Unix socket");
        until(|| far.statistics().bytes_received == 3).await;
        assert!(passed.take().is_some());
        tripwire.assert_intact();
        near.abort();
    });
}
