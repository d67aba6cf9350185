//! What every server of this measurement does besides serving: it tells where, and then how it is, line by line.

use std::io::{BufRead, stdin};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::allocated::{allocated, resident};

/// How many connections are past their handshake.
pub(crate) static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Tells where the server listens, and goes on answering each line of the standard input, on a thread of its own. The
/// process ends with that input.
pub(crate) fn announce(address: SocketAddr) {
    println!("listening on {address}");
    std::thread::spawn(|| {
        for _question in stdin().lock().lines() {
            println!("{} {} {}", OPEN.load(Ordering::Relaxed), allocated(), resident());
        }
        std::process::exit(0);
    });
}
