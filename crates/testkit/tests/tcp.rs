//! The conformance suite over TCP on loopback: whole and a byte at a time, plain and under a layer.

mod loopback;

use loopback::{open, sockets};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tidegate_protocols::Protocol;
use tidegate_protocols::layer::Transparent;
use tidegate_testkit::conformance::{Capabilities, Connecting, Ground, UnderLayer, run_all};
use tidegate_testkit::watched;

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
            let (near, far) = sockets()?;
            for socket in [&near, &far] {
                set_socket_send_buffer_size(socket, 8 * 1024)?;
                set_socket_recv_buffer_size(socket, 8 * 1024)?;
            }
            let left = open(near, left, bytes_at_a_time)?;
            Ok((left, open(far, right, bytes_at_a_time)?))
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { bytes_at_a_time: self.bytes_at_a_time, ..Capabilities::default() }
    }
}

fn check(ground: impl Ground) {
    watched(|| run_all(ground));
}

#[test]
fn tcp_conforms() {
    check(Tcp { bytes_at_a_time: None });
}

#[test]
fn tcp_conforms_a_byte_at_a_time() {
    check(Tcp { bytes_at_a_time: Some(1) });
}

#[test]
fn tcp_conforms_under_a_layer() {
    check(UnderLayer::new(Tcp { bytes_at_a_time: None }, || Transparent));
}

#[test]
fn tcp_conforms_under_a_layer_a_byte_at_a_time() {
    check(UnderLayer::new(Tcp { bytes_at_a_time: Some(1) }, || Transparent));
}
