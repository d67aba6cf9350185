//! Where each datagram takes a call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, SocketAddrAny, recvfrom};

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

/// Nothing is joined.
pub(in super::super) fn join_segments(_descriptor: &OwnedFd, _joins: bool) -> bool {
    false
}

/// Receives one datagram, which is all there is of its size.
pub(in super::super) fn receive_segments(
    descriptor: &OwnedFd,
    into: &mut [u8],
) -> rustix::io::Result<(usize, usize, Option<SocketAddrAny>)> {
    let (length, _, from) = recvfrom(descriptor, into, RecvFlags::empty())?;
    Ok((length, length, from))
}
