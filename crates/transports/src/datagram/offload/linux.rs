//! Datagrams that the kernel splits when they are sent (`UDP_SEGMENT`), and joins when they are received (`UDP_GRO`).
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvFlags, SocketAddrAny, recvmsg};
use socket2::{MsgHdr, SockAddr, SockRef};

/// Whether [`send_segments`] can work.
pub(in super::super) const KNOWS_SEGMENTS: bool = true;

/// The level of options and messages of UDP.
const SOL_UDP: i32 = 17;
/// The message that tells the kernel into how long datagrams to split.
const UDP_SEGMENT: i32 = 103;
/// The option that lets the kernel join datagrams, and the message that tells how long each is.
const UDP_GRO: i32 = 104;

/// How long the head of a control message is: its own length, its level and its type.
const HEAD: usize = size_of::<usize>() + 2 * size_of::<i32>();
/// A control message with a number behind its head, filled up to whole words.
const SPACE: usize = HEAD + size_of::<usize>();
/// Room for all that can come before the length of joined datagrams, if a user has asked the socket for it: timestamps of
/// every kind, how many datagrams were lost, marks and priorities. A length for which no room is left is not told.
const ROOM: usize = 256;

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

/// Lets the kernel join datagrams of one sender that wait together, or no more; whether it does then.
pub(in super::super) fn join_segments(descriptor: &OwnedFd, joins: bool) -> bool {
    let on = libc::c_int::from(joins);
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option is read from `on`, which lives until the call has returned, and has that length.
    let answer = unsafe {
        libc::setsockopt(descriptor.as_raw_fd(), SOL_UDP, UDP_GRO, (&raw const on).cast(), length)
    };
    answer == 0 && joins
}

/// Receives one datagram, or several of one sender that were joined: all their bytes, how long each is, and the sender.
pub(in super::super) fn receive_segments(
    descriptor: &OwnedFd,
    into: &mut [u8],
) -> rustix::io::Result<(usize, usize, Option<SocketAddrAny>)> {
    let mut room = Room([const { MaybeUninit::new(0) }; ROOM]);
    let mut pieces = [IoSliceMut::new(into)];
    let mut control = RecvAncillaryBuffer::new(&mut room.0);
    let answer = recvmsg(descriptor, &mut pieces, &mut control, RecvFlags::empty())?;
    drop(control);
    // SAFETY: a byte that may be unset is laid out as a byte, and none is unset: all were set when the room was made, and
    // nobody but the kernel has written into it since.
    let messages = unsafe { &*(&raw const room.0).cast::<[u8; ROOM]>() };
    let size = joined_size(messages).unwrap_or(answer.bytes);
    Ok((answer.bytes, size, answer.address))
}

/// Where control messages are put, the first of which begins at a whole word.
#[repr(align(8))]
struct Room([MaybeUninit<u8>; ROOM]);

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

/// How long joined datagrams are, if one of the messages that the kernel has written says so; nothing but zeros is
/// behind the last one.
fn joined_size(messages: &[u8]) -> Option<usize> {
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
    let mut rest = messages;
    loop {
        let (head, behind) = rest.split_at_checked(HEAD)?;
        let (length, kind) = head.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        let data = behind.get(..length.checked_sub(HEAD)?)?;
        if number(kind) == Some(SOL_UDP) && number(&kind[4..]) == Some(UDP_GRO) {
            return number(data)
                .and_then(|size| usize::try_from(size).ok())
                .filter(|size| *size > 0);
        }
        rest = rest.get(length.next_multiple_of(size_of::<usize>())..)?;
    }
}

#[cfg(test)]
mod tests;
