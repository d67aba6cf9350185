//! Segmented sends (`UDP_SEGMENT`): one call, which the kernel splits into datagrams.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{MsgHdr, SockAddr, SockRef};

/// Whether [`send_segments`] can work.
pub(in super::super) const KNOWS_SEGMENTS: bool = true;

/// The level of options and messages of UDP.
const SOL_UDP: i32 = 17;
/// The message that tells the kernel into how long datagrams to split.
const UDP_SEGMENT: i32 = 103;

/// How long the head of a control message is: its own length, its level and its type.
const HEAD: usize = size_of::<usize>() + 2 * size_of::<i32>();
/// A control message with a number of two bytes, filled up to whole words.
const SPACE: usize = HEAD + size_of::<usize>();

/// Sends `data` as datagrams of `size` bytes, of which the last may be shorter.
pub(in super::super) fn send_segments(
    descriptor: &OwnedFd,
    data: &[u8],
    size: usize,
    to: Option<SocketAddr>,
) -> io::Result<()> {
    let size = u16::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    let control = segment_message(size);
    let pieces = [IoSlice::new(data)];
    let to = to.map(SockAddr::from);
    let mut message = MsgHdr::new().with_buffers(&pieces).with_control(&control);
    if let Some(to) = &to {
        message = message.with_addr(to);
    }
    SockRef::from(descriptor).sendmsg(&message, 0)?;
    Ok(())
}

/// A `struct cmsghdr` with its number behind it, as the kernel reads it.
fn segment_message(size: u16) -> [u8; SPACE] {
    let mut message = [0; SPACE];
    let length = HEAD + size_of::<u16>();
    let (head, data) = message.split_at_mut(HEAD);
    let (own_length, kind) = head.split_at_mut(size_of::<usize>());
    own_length.copy_from_slice(&length.to_ne_bytes());
    kind[..4].copy_from_slice(&SOL_UDP.to_ne_bytes());
    kind[4..].copy_from_slice(&UDP_SEGMENT.to_ne_bytes());
    data[..2].copy_from_slice(&size.to_ne_bytes());
    message
}
