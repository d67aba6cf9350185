//! Where each datagram takes a call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Whether [`send_segments`] can work.
pub(in super::super) const KNOWS_SEGMENTS: bool = false;

/// Refuses: each is to be sent by itself.
pub(in super::super) fn send_segments(
    _descriptor: &OwnedFd,
    _data: &[u8],
    _size: usize,
    _to: Option<SocketAddr>,
) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
