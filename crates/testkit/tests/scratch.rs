//! The conformance suite over TCP on loopback: whole and a byte at a time, plain and under a layer.

mod loopback;

use loopback::{open, sockets};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tidegate_protocols::Protocol;
use tidegate_testkit::conformance::{Capabilities, Connecting, Ground, case_names, run_case};

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

#[test]
fn timings() {
    for n in case_names() {
        let t = std::time::Instant::now();
        let ok = std::panic::catch_unwind(|| run_case(Tcp { bytes_at_a_time: Some(1) }, n)).is_ok();
        eprintln!("TIME {:?} {n} {ok}", t.elapsed());
    }
}
