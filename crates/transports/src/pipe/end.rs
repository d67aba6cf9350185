//! One end of a pipe: the system calls that move its bytes, and how the loop learns that they would not wait.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::buffer::spare_capacity;
use rustix::fs::{self, OFlags};
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};
use tidegate_protocols::PipeKind;
use tidegate_reactor::{Interest, LoopHandle, Source, Watcher};

use super::always_ready::AlwaysReady;
use super::helper::Helper;

/// The most that one write to a file takes, so that the loop comes back to everybody else: 1 MiB.
const MOST_INTO_A_FILE: usize = 1024 * 1024;

/// A receive neither waits nor needs a flag that others would notice.
const NO_WAIT: RecvFlags = RecvFlags::DONTWAIT;

/// The same for a send, which also raises no SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
const NO_WAIT_QUIET: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// Here there is no such flag, and Rust's start-up has ignored the signal.
#[cfg(target_vendor = "apple")]
const NO_WAIT_QUIET: SendFlags = SendFlags::DONTWAIT;

/// What an end is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// How a descriptor may be used.
pub(crate) enum Access {
    /// It is our own: a call that would wait says so.
    Own { descriptor: OwnedFd, kind: PipeKind },
    /// The same, but whether a call would wait is asked of another descriptor of the same thing.
    Reopened { descriptor: OwnedFd, watched: OwnedFd, kind: PipeKind },
    /// Others share it, and a call that would wait waits.
    Shared { descriptor: OwnedFd, kind: PipeKind },
}

impl Access {
    pub(crate) fn kind(&self) -> PipeKind {
        match self {
            Access::Own { kind, .. }
            | Access::Reopened { kind, .. }
            | Access::Shared { kind, .. } => *kind,
        }
    }
}

/// One end of a pipe; dropped, it is deregistered first and closed then.
pub(crate) struct End {
    kind: PipeKind,
    /// It is written to, and readable when its reader is gone.
    shows_its_reader: bool,
    by: By,
}

/// Who waits.
enum By {
    /// The loop: it watches a descriptor, which need not be the one that is used.
    Loop(Source<Rc<OwnedFd>>, Rc<OwnedFd>),
    /// Nobody: the descriptor never makes one wait, and cannot be watched.
    Nobody(AlwaysReady, Rc<OwnedFd>),
    /// A thread.
    Thread(Helper, Rc<OwnedFd>),
}

impl End {
    /// Has the loop look after a descriptor, with no interest yet.
    pub(super) fn open(
        handle: &LoopHandle,
        access: Access,
        direction: Direction,
        watcher: &Rc<dyn Watcher>,
    ) -> io::Result<End> {
        let kind = access.kind();
        // What is shared may be what somebody else reads from: a socket that is standard input and output, say.
        let is_shared = matches!(access, Access::Shared { .. });
        let watch = |io: &Rc<OwnedFd>| {
            Source::new(handle, Rc::clone(io), Interest::NONE, Rc::clone(watcher))
        };
        let by = match access {
            Access::Shared { descriptor, kind: PipeKind::File } => {
                By::Nobody(AlwaysReady::new(handle, watcher)?, Rc::new(descriptor))
            }
            Access::Reopened { descriptor, watched, .. } => {
                By::Loop(watch(&Rc::new(watched))?, Rc::new(descriptor))
            }
            Access::Own { descriptor, .. } => {
                let io = Rc::new(descriptor);
                match watch(&io) {
                    Ok(source) => By::Loop(source, io),
                    // A device such as /dev/null: there is nothing that it could wait for.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        By::Nobody(AlwaysReady::new(handle, watcher)?, io)
                    }
                    Err(error) => return Err(error),
                }
            }
            Access::Shared { descriptor, .. } => {
                let io = Rc::new(descriptor);
                match watch(&io) {
                    Ok(source) if kind == PipeKind::Socket => By::Loop(source, io),
                    Ok(_source) => By::Thread(Helper::start(handle, &io, direction, watcher)?, io),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        By::Nobody(AlwaysReady::new(handle, watcher)?, io)
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let shows_its_reader =
            direction == Direction::Write && !is_shared && shows_its_reader(&by, kind);
        Ok(End { kind, shows_its_reader, by })
    }

    fn io(&self) -> &Rc<OwnedFd> {
        match &self.by {
            By::Loop(_, io) | By::Nobody(_, io) | By::Thread(_, io) => io,
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.io().as_fd()
    }

    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        if let By::Thread(helper, _) = &self.by {
            return helper.read(into);
        }
        match self.kind {
            PipeKind::Socket => Ok(net::recv(self.io(), into, NO_WAIT)?.0),
            _ => Ok(rustix::io::read(self.io(), into)?),
        }
    }

    pub(super) fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        if let By::Thread(helper, _) = &self.by {
            return helper.append(into);
        }
        match self.kind {
            PipeKind::Socket => Ok(net::recv(self.io(), spare_capacity(into), NO_WAIT)?.0),
            _ => Ok(rustix::io::read(self.io(), spare_capacity(into))?),
        }
    }

    pub(super) fn write(&self, from: &[u8]) -> io::Result<usize> {
        let from = match &self.by {
            By::Thread(helper, _) => return helper.write(&[IoSlice::new(from)]),
            By::Nobody(..) => &from[..from.len().min(MOST_INTO_A_FILE)],
            By::Loop(..) => from,
        };
        match self.kind {
            PipeKind::Socket => Ok(net::send(self.io(), from, NO_WAIT_QUIET)?),
            _ => Ok(rustix::io::write(self.io(), from)?),
        }
    }

    pub(super) fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        if let By::Thread(helper, _) = &self.by {
            return helper.write(from);
        }
        match self.kind {
            PipeKind::Socket => {
                let mut nothing_else = SendAncillaryBuffer::default();
                Ok(sendmsg(self.io(), from, &mut nothing_else, NO_WAIT_QUIET)?)
            }
            _ => match (&self.by, front(from)) {
                (By::Nobody(..), [first]) => self.write(first),
                (By::Nobody(..), some) => Ok(rustix::io::writev(self.io(), some)?),
                _ => Ok(rustix::io::writev(self.io(), from)?),
            },
        }
    }

    pub(super) fn withdraw(&self) {
        if let By::Thread(helper, _) = &self.by {
            helper.withdraw();
        }
    }

    pub(super) fn set_interest(&self, interest: Interest) {
        match &self.by {
            By::Loop(source, _) => source.set_interest(interest),
            By::Nobody(ready, _) => ready.set_interest(interest),
            By::Thread(helper, _) => helper.set_interest(interest),
        }
    }

    pub(super) fn hung_up(&self) -> bool {
        match &self.by {
            By::Loop(source, _) => source.hung_up(),
            By::Nobody(..) | By::Thread(..) => false,
        }
    }

    pub(super) fn release(&self) {
        if let By::Loop(source, _) = &self.by {
            source.release();
        }
    }

    /// Whether it is to be watched for the loss of its reader.
    pub(super) fn shows_its_reader(&self) -> bool {
        self.shows_its_reader
    }

    /// Ends the writing direction, of which this is the descriptor.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.kind {
            PipeKind::Socket => Ok(net::shutdown(self.io(), Shutdown::Write)?),
            _ => Ok(()),
        }
    }
}

/// So many of the slices as one write to a file takes, from the first that is not empty; that one, whatever its length.
fn front<'s, 'b>(from: &'s [IoSlice<'b>]) -> &'s [IoSlice<'b>] {
    let empty = from.iter().take_while(|slice| slice.is_empty()).count();
    let mut length = 0;
    let fits = |slice: &&IoSlice<'_>| {
        length += slice.len();
        length <= MOST_INTO_A_FILE
    };
    let most = from[empty..].iter().take_while(fits).count().max(1);
    &from[empty..][..most.min(from.len() - empty)]
}

/// Whether an end to write to is readable when its reader is gone, and at no other time that matters.
fn shows_its_reader(by: &By, kind: PipeKind) -> bool {
    // asyncio: unix_events.py watches sockets and FIFOs. One that is open for reading too reads what it wrote.
    let By::Loop(source, _) = by else { return false };
    let flags = fs::fcntl_getfl(source.get_ref());
    let is_write_only = || flags.is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::WRONLY);
    kind == PipeKind::Socket || (kind == PipeKind::Fifo && is_write_only())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gathered_write_to_a_file_takes_no_more_than_another() {
        let check = |lengths: &[usize], expected: &[usize]| {
            let bytes = vec![0; 2 * MOST_INTO_A_FILE];
            let slices: Vec<_> =
                lengths.iter().map(|&length| IoSlice::new(&bytes[..length])).collect();
            let front: Vec<_> = front(&slices).iter().map(|slice| slice.len()).collect();
            assert_eq!(front, expected, "{lengths:?}");
        };
        check(&[], &[]);
        check(&[0, 0], &[]);
        check(&[0, 1, 0, 2], &[1, 0, 2]);
        check(&[MOST_INTO_A_FILE - 1, 1, 1], &[MOST_INTO_A_FILE - 1, 1]);
        check(&[0, MOST_INTO_A_FILE + 1, 1], &[MOST_INTO_A_FILE + 1]);
    }
}
