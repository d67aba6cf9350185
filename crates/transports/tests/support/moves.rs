//! What the tests of connections that move share: sockets that hold little, loops in other threads, bytes that differ.

use std::future::Future;
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use rustix::net::sockopt;
use tidegate_protocols::{Protocol, Transport};
use tidegate_reactor::EventLoop;
use tidegate_transports::connect_accepted_socket;

use super::listener;

/// The accepted end of a connection that holds little, and its peer.
pub(crate) fn sockets() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let peer = TcpStream::connect(address).expect("a listener");
    let (accepted, _) = listener.accept().expect("a client");
    sockopt::set_socket_send_buffer_size(&accepted, 128 << 10).expect("a socket");
    (accepted, peer)
}

pub(crate) async fn open(protocol: impl Protocol) -> (Transport, TcpStream) {
    let (accepted, peer) = sockets();
    (connect_accepted_socket(|| protocol, accepted).await.expect("a connection"), peer)
}

/// Runs a future in a loop of another thread.
pub(crate) fn elsewhere<F: Future<Output: Send>>(
    main: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<F::Output>
where
    F::Output: 'static,
{
    thread::spawn(move || {
        let event_loop = EventLoop::new().expect("an event loop");
        let answer = event_loop.run_until_complete(main()).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        answer
    })
}

/// Bytes of which no piece is like its neighbours.
pub(crate) fn numbered(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 4);
    for number in 0..=length as u32 / 4 {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[track_caller]
pub(crate) fn assert_same(received: &[u8], sent: &[u8]) {
    let differs = || received.iter().zip(sent).position(|(one, other)| one != other);
    assert!(received == sent, "{} of {} bytes, {:?}", received.len(), sent.len(), differs());
}
