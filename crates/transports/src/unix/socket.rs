//! A connected Unix socket as a wire: a socket that can pass descriptors.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use bytes::Bytes;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, recvmsg};
use tidegate_protocols::{Address, DetachError, MAX_FDS};
use tidegate_reactor::{Interest, LoopHandle, Watcher};

use crate::socket::Socket;
use crate::unix::TruncatedFds;
use crate::wire::{Wire, is_nothing_now};

/// A connected, non-blocking Unix stream socket that is registered with a loop.
///
/// As a [`Socket`], and it passes descriptors. It receives some only after
/// [`receive_fds`](UnixSocket::receive_fds); the system keeps them out of the process until then.
pub struct UnixSocket {
    socket: Socket,
    fds: RefCell<Option<Box<Fds>>>,
}

/// The descriptors that come and go.
#[derive(Default)]
struct Fds {
    /// How many one read may bring.
    most: usize,
    /// Room for what the system tells beside the bytes.
    room: Vec<MaybeUninit<u8>>,
    arrived: Vec<OwnedFd>,
    waiting: VecDeque<Waiting>,
}

/// Descriptors that wait for the bytes before them to be sent.
struct Waiting {
    /// How many bytes go before them, counted from the end of those that travel with the descriptors before.
    behind: usize,
    /// How many bytes travel with them.
    length: usize,
    fds: Vec<OwnedFd>,
}

impl UnixSocket {
    /// Registers `descriptor`, which must be a connected non-blocking Unix stream socket.
    ///
    /// # Errors
    ///
    /// As for [`Socket::new`].
    pub fn new(
        handle: &LoopHandle,
        descriptor: OwnedFd,
        interest: Interest,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<UnixSocket> {
        // Its short reads are trusted, for the system says when one has ended behind a descriptor.
        let socket = Socket::tcp(handle, descriptor, interest, watcher)?;
        Ok(UnixSocket { socket, fds: RefCell::new(None) })
    }

    /// From now on a read may bring so many descriptors, at most [`MAX_FDS`]; with 0 it brings none.
    ///
    /// With some, `SO_PASSCRED` is switched off: nobody reads the credentials that would come beside each of them.
    #[must_use]
    pub fn receive_fds(self, most: usize) -> UnixSocket {
        let most = most.min(MAX_FDS);
        if most > 0 {
            system::refuse_credentials(self.socket.owned());
            let mut room = Vec::new();
            room.resize(rustix::cmsg_space!(ScmRights(most)), MaybeUninit::uninit());
            *self.fds.borrow_mut() = Some(Box::new(Fds { most, room, ..Fds::default() }));
        }
        self
    }

    /// Sends what it can of the bytes, and of the descriptors that wait for their turn among them.
    fn write_among_fds(&self, fds: &mut Fds, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: usize = from.iter().map(|slice| slice.len()).sum();
        let mut written = 0;
        while written < all {
            let left = all - written;
            let (length, passed) = match fds.waiting.front() {
                None => (left, &[][..]),
                Some(next) if next.behind > 0 => (next.behind.min(left), &[][..]),
                Some(next) => (next.length.min(left), &next.fds[..]),
            };
            match self.socket.send_message(&cut(from, written, length), passed) {
                Ok(taken) => {
                    fds.have_left(taken);
                    written += taken;
                    if taken < length {
                        break;
                    }
                }
                // It comes again when the rest is offered.
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn has_fds_waiting(&self) -> bool {
        self.fds.borrow().as_ref().is_some_and(|fds| !fds.waiting.is_empty())
    }
}

impl Fds {
    /// So many bytes of the present piece were taken, and with the first the descriptors that were offered with it.
    fn have_left(&mut self, taken: usize) {
        let Some(next) = self.waiting.front_mut() else { return };
        if next.behind > 0 {
            next.behind -= taken;
        } else if taken > 0 {
            let rest = next.length - taken;
            let sent = self.waiting.pop_front();
            if let Some(next) = self.waiting.front_mut() {
                next.behind += rest;
            }
            drop(sent);
        }
    }

    /// Reads bytes and the descriptors that come with them.
    fn receive(&mut self, socket: &OwnedFd, into: &mut [u8]) -> rustix::io::Result<Arrival> {
        let mut control = RecvAncillaryBuffer::new(&mut self.room);
        let mut slices = [IoSliceMut::new(into)];
        let answer = recvmsg(socket, &mut slices, &mut control, system::CLOSE_ON_EXEC)?;
        let mut told = false;
        for message in control.drain() {
            told = true;
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.arrived.extend(fds);
            }
        }
        system::close_on_exec(&self.arrived)?;
        let truncated =
            answer.flags.contains(ReturnFlags::CTRUNC) || self.arrived.len() > self.most;
        Ok(Arrival { bytes: answer.bytes, truncated, more: told })
    }
}

/// What one read has brought.
struct Arrival {
    bytes: usize,
    /// There were more descriptors than it brought.
    truncated: bool,
    /// It may have left bytes behind though it was short: it ended behind descriptors, or between two senders.
    more: bool,
}

/// A part of the slices, from the byte `start` on.
fn cut<'a>(slices: &'a [IoSlice<'_>], mut start: usize, mut length: usize) -> Vec<IoSlice<'a>> {
    let mut part = Vec::new();
    for slice in slices {
        let skipped = start.min(slice.len());
        let taken = length.min(slice.len() - skipped);
        if taken > 0 {
            part.push(IoSlice::new(&slice[skipped..skipped + taken]));
        }
        start -= skipped;
        length -= taken;
    }
    part
}

impl Wire for UnixSocket {
    const BRINGS_FDS: bool = true;

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len();
        let socket = self.socket.owned();
        let arrival = match &mut *self.fds.borrow_mut() {
            Some(fds) if fds.most > 0 => fds.receive(socket, into),
            _ => receive_bytes(socket, into),
        };
        let arrival = arrival.map_err(|error| self.socket.would_block(Interest::READ, error))?;
        if arrival.truncated {
            drop(self.take_fds());
            let most = self.fds.borrow().as_ref().map_or(0, |fds| fds.most);
            return Err(TruncatedFds { most }.into());
        }
        if arrival.bytes < length && !arrival.more {
            self.socket.emptied();
        }
        Ok(arrival.bytes)
    }

    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        if self.fds.borrow().as_ref().is_some_and(|fds| fds.most > 0) {
            let before = into.len();
            into.resize(into.capacity(), 0);
            let read = self.read(&mut into[before..]);
            into.truncate(before + read.as_ref().copied().unwrap_or(0));
            return read;
        }
        self.socket.append_and_read_on(into)
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        if self.has_fds_waiting() {
            return self.write_vectored(&[IoSlice::new(from)]);
        }
        self.socket.write(from)
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.fds.borrow_mut() {
            Some(fds) if !fds.waiting.is_empty() => self.write_among_fds(fds, from),
            _ => self.socket.write_vectored(from),
        }
    }

    fn write_with_fds(
        &self,
        from: &[u8],
        passed: Vec<OwnedFd>,
        behind: usize,
    ) -> io::Result<usize> {
        if behind == 0 {
            match self.socket.send_message(&[IoSlice::new(from)], &passed) {
                Err(error) if is_nothing_now(&error) => {}
                answer => return answer,
            }
        }
        let mut fds = self.fds.borrow_mut();
        let waiting = &mut fds.get_or_insert_default().waiting;
        let counted: usize = waiting.iter().map(|before| before.behind + before.length).sum();
        waiting.push_back(Waiting { behind: behind - counted, length: from.len(), fds: passed });
        Ok(0)
    }

    fn passes_fds(&self) -> bool {
        true
    }

    fn take_fds(&self) -> Vec<OwnedFd> {
        match &mut *self.fds.borrow_mut() {
            Some(fds) => std::mem::take(&mut fds.arrived),
            None => Vec::new(),
        }
    }

    fn send_file(&self, file: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<usize> {
        self.socket.send_file(file, offset, count)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    fn set_interest(&self, interest: Interest) {
        self.socket.set_interest(interest);
    }

    fn hung_up(&self) -> bool {
        self.socket.hung_up()
    }

    fn release(&self) {
        self.socket.release();
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.descriptor()
    }

    fn peername(&self) -> Option<Address> {
        self.socket.peername()
    }

    fn sockname(&self) -> Option<Address> {
        self.socket.sockname()
    }

    fn detach(self) -> Result<(OwnedFd, Bytes), (UnixSocket, DetachError)> {
        if self.has_fds_waiting() {
            return Err((self, DetachError::Busy));
        }
        Ok((self.socket.into_descriptor(), Bytes::new()))
    }

    fn extra_info(&self) -> Option<Rc<dyn Any>> {
        let peer = system::peer_credentials(self.socket.owned().as_fd())?;
        Some(Rc::new(peer))
    }
}

/// Reads bytes alone. The system closes the descriptors that come with them, and says so.
#[inline]
fn receive_bytes(socket: &OwnedFd, into: &mut [u8]) -> rustix::io::Result<Arrival> {
    let mut no_room = RecvAncillaryBuffer::default();
    let mut slices = [IoSliceMut::new(into)];
    let answer = recvmsg(socket, &mut slices, &mut no_room, system::CLOSE_ON_EXEC)?;
    let more = answer.flags.contains(ReturnFlags::CTRUNC);
    Ok(Arrival { bytes: answer.bytes, truncated: false, more })
}

/// Where descriptors are close-on-exec from the first, and the peer is known.
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod system {
    use rustix::net::RecvFlags;
    use rustix::net::sockopt::set_socket_passcred;

    use super::*;
    pub(super) use crate::unix::credentials::peer_credentials;

    pub(super) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;

    pub(super) fn close_on_exec(_: &[OwnedFd]) -> rustix::io::Result<()> {
        Ok(())
    }

    /// They would take the room of the descriptors, and rustix must not see those of a process that this one cannot see:
    /// their number is 0, which no `Pid` may be.
    pub(super) fn refuse_credentials(socket: &OwnedFd) {
        set_socket_passcred(socket, false).expect("every Unix socket has the option");
    }
}

/// Where it takes a call a descriptor, and no safe one tells the peer.
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod system {
    use rustix::io::{FdFlags, fcntl_setfd};
    use rustix::net::RecvFlags;
    use tidegate_protocols::PeerCredentials;

    use super::*;

    pub(super) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

    pub(super) fn close_on_exec(fds: &[OwnedFd]) -> rustix::io::Result<()> {
        fds.iter().try_for_each(|fd| fcntl_setfd(fd, FdFlags::CLOEXEC))
    }

    pub(super) fn refuse_credentials(_: &OwnedFd) {}

    pub(super) fn peer_credentials(_: BorrowedFd<'_>) -> Option<PeerCredentials> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_what_it_says_and_no_slice_is_empty() {
        let check = |start, length, expected: &[&[u8]]| {
            let slices = [b"abc".as_slice(), b"", b"defg"].map(IoSlice::new);
            let part = cut(&slices, start, length);
            let part: Vec<&[u8]> = part.iter().map(|slice| &**slice).collect();
            assert_eq!(part, expected, "{length} from {start}");
        };
        check(0, 7, &[b"abc", b"defg"]);
        check(0, 3, &[b"abc"]);
        check(1, 3, &[b"bc", b"d"]);
        check(3, 2, &[b"de"]);
        check(5, 9, &[b"fg"]);
        check(7, 1, &[]);
    }

    #[test]
    fn what_a_message_leaves_behind_goes_before_the_next() {
        let waiting = |behind, length| Waiting { behind, length, fds: Vec::new() };
        let mut fds = Fds { waiting: [waiting(5, 4), waiting(2, 3)].into(), ..Fds::default() };
        let mut check = |taken, expected: &[(usize, usize)]| {
            fds.have_left(taken);
            let left: Vec<_> = fds.waiting.iter().map(|next| (next.behind, next.length)).collect();
            assert_eq!(left, expected);
        };
        check(3, &[(2, 4), (2, 3)]);
        check(0, &[(2, 4), (2, 3)]);
        check(2, &[(0, 4), (2, 3)]);
        check(0, &[(0, 4), (2, 3)]);
        check(1, &[(5, 3)]);
        check(5, &[(0, 3)]);
        check(3, &[]);
        check(9, &[]);
    }
}
