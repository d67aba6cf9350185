//! Files to send, and connections to send them on.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod layer;

use std::fs::File;
use std::future::IntoFuture;
use std::io::{Seek, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::sockopt;
use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{Layered, Protocol, Transport};
use tidegate_reactor::LoopHandle;
use tidegate_testkit::memory::{PairOptions, pair};
use tidegate_testkit::{Log, Recorder};
use tidegate_transports::{Sending, connect_accepted_socket, create_connection, sendfile};

use super::support::{poll_once, turns};

/// Bytes of which each place looks different from its neighbours.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8 ^ (place / 251 % 256) as u8).collect()
}

/// A file with this in it and no name.
pub(crate) fn file_of(content: &[u8]) -> File {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("tidegate-file-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    let mut file = options.read(true).write(true).create_new(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("it was made just now");
    file.write_all(content).expect("room for a file");
    file.rewind().expect("a regular file");
    file
}

/// Where a file stands.
pub(crate) fn position(file: &File) -> u64 {
    (&mut &*file).stream_position().expect("a regular file")
}

/// A kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
    /// TCP, with the layer that does nothing.
    Layered,
    /// Without a descriptor: the fallback.
    Memory,
    /// The same, 100 bytes at a time.
    Dribbling,
}

pub(crate) const ALL: [Kind; 5] =
    [Kind::Tcp, Kind::Unix, Kind::Layered, Kind::Memory, Kind::Dribbling];

impl Kind {
    /// Whether the system sends files on it by itself.
    pub(crate) fn is_native(self) -> bool {
        cfg!(all(target_os = "linux", not(tidegate_portable)))
            && !matches!(self, Kind::Memory | Kind::Dribbling)
    }
}

/// One end of a connection, and what its protocol was told.
pub(crate) struct End {
    pub(crate) transport: Transport,
    pub(crate) log: Log,
}

/// Two ends that are connected: the near one with this protocol, which writes to a log.
pub(crate) async fn connected_with(kind: Kind, near: impl Protocol, log: Log) -> (End, End) {
    let peer = Recorder::new();
    let peer_log = peer.log();
    let handle = LoopHandle::current().expect("a running loop");
    let (near, far) = match kind {
        Kind::Memory => pair(&handle, near, peer, PairOptions::default()),
        Kind::Dribbling => {
            let options = PairOptions { bytes_at_a_time: Some(100), ..PairOptions::default() };
            pair(&handle, near, peer, options)
        }
        Kind::Unix => {
            let (ours, theirs) = UnixStream::pair().expect("sockets");
            let near = create_connection(|| near, ()).sock(ours).await.expect("connected");
            (near, connect_accepted_socket(|| peer, theirs).await.expect("connected"))
        }
        Kind::Tcp | Kind::Layered => {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = listener.local_addr().expect("an address");
            let builder = create_connection(|| near, address);
            let near = match kind {
                Kind::Layered => builder.layer(Transparent).await,
                _ => builder.await,
            };
            let (theirs, _) = listener.accept().expect("a connection");
            let far = connect_accepted_socket(|| peer, theirs).await.expect("connected");
            (near.expect("connected"), far)
        }
    };
    for end in [&near, &far] {
        end.with_socket(|socket| {
            sockopt::set_socket_send_buffer_size(socket, 64 * 1024).expect("a socket");
            sockopt::set_socket_recv_buffer_size(socket, 64 * 1024).expect("a socket");
        });
    }
    log.made().await;
    peer_log.made().await;
    (End { transport: near, log }, End { transport: far, log: peer_log })
}

/// Two ends that are connected.
pub(crate) async fn connected(kind: Kind) -> (End, End) {
    let near = Recorder::new();
    let log = near.log();
    connected_with(kind, near, log).await
}

/// More than the buffers between two ends ever hold.
pub(crate) const MUCH: usize = 2 * 1024 * 1024;

/// As much as a connection over memory does not hold; one that dribbles takes its time.
pub(crate) fn much(kind: Kind) -> usize {
    match kind {
        Kind::Memory => 1024 * 1024,
        Kind::Dribbling => 200 * 1024,
        _ => MUCH,
    }
}

/// Begins to send a file to a peer that does not read, until nothing moves any more.
pub(crate) async fn stuck<'f>(near: &End, far: &End, file: &'f File) -> Sending<'f> {
    far.transport.pause_reading();
    let mut sending = sendfile(&near.transport, file).into_future();
    let mut before = u64::MAX;
    let mut quiet = 0;
    // The fallback's reads come from other threads; the transport waits for the wire when no turn brings more.
    while quiet < 200 {
        assert!(poll_once(&mut sending).await.is_none(), "the file cannot be sent");
        // A step completes only so many operations.
        turns(1).await;
        let now = near.transport.statistics().bytes_sent;
        quiet = if now == before && now > 0 { quiet + 1 } else { 0 };
        before = now;
    }
    sending
}
