//! The conformance suite over TCP on loopback: whole and a byte at a time, plain and under a layer.

mod loopback;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use loopback::open;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{self, AddressFamily, SocketType};
use tidegate_protocols::Protocol;
use tidegate_protocols::layer::Transparent;
use tidegate_testkit::conformance::{Capabilities, Connecting, Ground, UnderLayer, run_all};

/// TCP on loopback, with small buffers in the system, so that what is written soon waits.
struct Tcp {
    bytes_at_a_time: Option<usize>,
}

impl Ground for Tcp {
    fn name(&self) -> String {
        match self.bytes_at_a_time {
            None => "TCP".to_owned(),
            Some(bytes) => format!("TCP, at most {bytes} bytes at a time"),
        }
    }

    fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting {
        let bytes_at_a_time = self.bytes_at_a_time;
        Box::pin(async move {
            let (near, far) = small_sockets(bytes_at_a_time.map_or(8 * 1024, |_| 1024))?;
            let left = open(near, left, bytes_at_a_time)?;
            Ok((left, open(far, right, bytes_at_a_time)?))
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { bytes_at_a_time: self.bytes_at_a_time, ..Capabilities::default() }
    }
}

/// Two connected sockets whose buffers in the system hold about `size` bytes.
///
/// The sizes are set before there is a connection: a window that shrinks afterwards makes the sender wait for
/// its timers.
fn small_sockets(size: usize) -> io::Result<(TcpStream, TcpStream)> {
    let shrink = |socket: BorrowedFd<'_>| {
        set_socket_send_buffer_size(socket, size)?;
        set_socket_recv_buffer_size(socket, size)
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    shrink(listener.as_fd())?;
    let near = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    shrink(near.as_fd())?;
    net::connect(&near, &listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near.into(), far))
}

#[test]
fn tcp_conforms() {
    run_all(Tcp { bytes_at_a_time: None });
}

#[test]
fn tcp_conforms_a_byte_at_a_time() {
    run_all(Tcp { bytes_at_a_time: Some(1) });
}

#[test]
fn tcp_conforms_under_a_layer() {
    run_all(UnderLayer::new(Tcp { bytes_at_a_time: None }, || Transparent));
}

#[test]
fn tcp_conforms_under_a_layer_a_byte_at_a_time() {
    run_all(UnderLayer::new(Tcp { bytes_at_a_time: Some(1) }, || Transparent));
}
