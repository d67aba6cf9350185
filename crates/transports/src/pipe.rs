//! The ends of pipes as a wire: one that is read from, one that is written to, or one of each.

mod always_ready;
mod connect;
mod end;
mod helper;

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{self, FileType, OFlags};
use rustix::io::Errno;
use tidegate_protocols::{Pipe, PipeKind};
use tidegate_reactor::{Interest, LoopHandle, Watcher};

use crate::errors::ArgumentError;
use crate::wire::{Directions, Wire};
use end::End;

pub use connect::{
    ConnectPipe, Reading, Writing, connect_pipes, connect_read_pipe, connect_write_pipe,
};
pub(crate) use end::{Access, Direction};

/// One or two descriptors that bytes flow through: pipes, FIFOs, sockets, character devices.
///
/// With one of them it is a wire of [one direction](Directions). With both it is a connection: the end of what is
/// read is the end of the stream, and ending the writing direction closes the descriptor that is written to.
///
/// Readiness is told by levels. A pipe is read empty by one read, so that edges would save nothing but cost a read that
/// finds nothing; and terminals, and pipes that keep packets apart, do not tell edges that can be relied on. Of a pipe
/// or a socket that is only written to it is noticed when nobody reads any more, and of a socket any byte that comes is
/// taken for that.
///
/// Dropping it deregisters the descriptors, then closes them. The asyncio counterparts are `_UnixReadPipeTransport` and
/// `_UnixWritePipeTransport`.
pub struct PipeEnds {
    shape: Shape,
    pipe: Pipe,
}

/// Which ends there are.
enum Shape {
    Read(End),
    Write(End),
    Both {
        read: End,
        /// Gone when the writing direction has ended.
        write: RefCell<Option<End>>,
    },
}

impl PipeEnds {
    /// A pipe to read from.
    ///
    /// # Errors
    ///
    /// Those of [`connect_read_pipe`], and what registering with the loop answers.
    pub fn read_only(
        handle: &LoopHandle,
        read: OwnedFd,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<PipeEnds> {
        PipeEnds::open(handle, Ends::given(read, Direction::Read)?, watcher)
    }

    /// A pipe to write to.
    ///
    /// # Errors
    ///
    /// Those of [`connect_write_pipe`], and what registering with the loop answers.
    pub fn write_only(
        handle: &LoopHandle,
        write: OwnedFd,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<PipeEnds> {
        PipeEnds::open(handle, Ends::given(write, Direction::Write)?, watcher)
    }

    /// A pipe to read from and another one to write to, as one connection.
    ///
    /// # Errors
    ///
    /// Those of [`connect_pipes`], and what registering with the loop answers.
    pub fn both(
        handle: &LoopHandle,
        read: OwnedFd,
        write: OwnedFd,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<PipeEnds> {
        PipeEnds::open(handle, Ends::both(read, write)?, watcher)
    }

    /// Has the loop watch the ends, with no interest yet.
    pub(crate) fn open(
        handle: &LoopHandle,
        ends: Ends,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<PipeEnds> {
        let open = |access, direction| End::open(handle, access, direction, &watcher);
        let pipe = ends.pipe();
        let shape = match ends {
            Ends::Read(read) => Shape::Read(open(read, Direction::Read)?),
            Ends::Write(write) => Shape::Write(open(write, Direction::Write)?),
            Ends::Both(read, write) => Shape::Both {
                read: open(read, Direction::Read)?,
                write: RefCell::new(Some(open(write, Direction::Write)?)),
            },
        };
        Ok(PipeEnds { shape, pipe })
    }

    /// Asks the end that is read from.
    fn with_read<R>(&self, ask: impl FnOnce(&End) -> R) -> Option<R> {
        match &self.shape {
            Shape::Read(read) | Shape::Both { read, .. } => Some(ask(read)),
            Shape::Write(_) => None,
        }
    }

    /// Asks the end that is written to.
    fn with_write<R>(&self, ask: impl FnOnce(&End) -> R) -> Option<R> {
        match &self.shape {
            Shape::Write(write) => Some(ask(write)),
            Shape::Both { write, .. } => write.borrow().as_ref().map(ask),
            Shape::Read(_) => None,
        }
    }

    fn reads<R>(&self, read: impl FnOnce(&End) -> io::Result<R>) -> io::Result<R> {
        self.with_read(read).unwrap_or(Err(io::ErrorKind::WouldBlock.into()))
    }

    fn writes<R>(&self, write: impl FnOnce(&End) -> io::Result<R>) -> io::Result<R> {
        self.with_write(write).unwrap_or(Err(Errno::PIPE.into()))
    }
}

impl Wire for PipeEnds {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.reads(|end| end.read(into))
    }

    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.reads(|end| end.append(into))
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        self.writes(|end| end.write(from))
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes(|end| end.write_vectored(from))
    }

    fn withdraw(&self) {
        self.with_write(End::withdraw);
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let Shape::Both { write, .. } = &self.shape else { return Ok(()) };
        let write = write.take();
        write.map_or(Ok(()), End::finish)
    }

    fn can_write_eof(&self) -> bool {
        match self.shape {
            Shape::Read(_) => false,
            Shape::Write(_) => true,
            // Nobody learns of it when one of several descriptors of a device is closed.
            Shape::Both { .. } => self.pipe.write != Some(PipeKind::CharacterDevice),
        }
    }

    fn directions(&self) -> Directions {
        match self.shape {
            Shape::Read(_) => Directions::ReadOnly,
            Shape::Write(_) => Directions::WriteOnly,
            Shape::Both { .. } => Directions::Both,
        }
    }

    fn set_interest(&self, interest: Interest) {
        match &self.shape {
            Shape::Write(write) if write.shows_its_reader() => write.set_interest(interest),
            _ => {
                self.with_read(|read| read.set_interest(interest & Interest::READ));
                self.with_write(|write| write.set_interest(interest & Interest::WRITE));
            }
        }
    }

    fn hung_up(&self) -> bool {
        // An end that is not there, or not any more, keeps nobody.
        self.with_read(End::hung_up).unwrap_or(true)
            && self.with_write(End::hung_up).unwrap_or(true)
    }

    fn release(&self) {
        self.with_read(End::release);
        self.with_write(End::release);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.shape {
            Shape::Read(end) | Shape::Write(end) | Shape::Both { read: end, .. } => {
                Some(end.descriptor())
            }
        }
    }

    fn extra_info(&self) -> Option<Rc<dyn Any>> {
        Some(Rc::new(self.pipe))
    }
}

/// Descriptors that were found fit, and how they are to be used.
pub(crate) enum Ends {
    Read(Access),
    Write(Access),
    Both(Access, Access),
}

impl Ends {
    /// A descriptor of the user's, which is made non-blocking if nothing is wrong with it.
    pub(crate) fn given(descriptor: OwnedFd, direction: Direction) -> io::Result<Ends> {
        let kind = pipe_kind(&descriptor, direction)?;
        let access = own(descriptor, kind)?;
        Ok(match direction {
            Direction::Read => Ends::Read(access),
            Direction::Write => Ends::Write(access),
        })
    }

    /// The same with two; neither is changed if something is wrong with the other.
    pub(crate) fn both(read: OwnedFd, write: OwnedFd) -> io::Result<Ends> {
        let reads = pipe_kind(&read, Direction::Read)?;
        let writes = pipe_kind(&write, Direction::Write)?;
        Ok(Ends::Both(own(read, reads)?, own(write, writes)?))
    }

    fn pipe(&self) -> Pipe {
        match self {
            Ends::Read(read) => Pipe { read: Some(read.kind()), write: None },
            Ends::Write(write) => Pipe { read: None, write: Some(write.kind()) },
            Ends::Both(read, write) => Pipe { read: Some(read.kind()), write: Some(write.kind()) },
        }
    }
}

/// Makes a descriptor non-blocking, for everybody who shares it.
fn own(descriptor: OwnedFd, kind: PipeKind) -> io::Result<Access> {
    let flags = fs::fcntl_getfl(&descriptor)?;
    if !flags.contains(OFlags::NONBLOCK) {
        fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
    }
    Ok(Access::Own { descriptor, kind })
}

/// What a descriptor is that may be a transport's, if it is open in that direction.
fn pipe_kind(descriptor: impl AsFd, direction: Direction) -> io::Result<PipeKind> {
    match any_kind(descriptor, direction)? {
        PipeKind::File => Err(ArgumentError::NotAPipe.into()),
        kind => Ok(kind),
    }
}

/// As [`pipe_kind`], where files are welcome.
pub(crate) fn any_kind(descriptor: impl AsFd, direction: Direction) -> io::Result<PipeKind> {
    let stat = fs::fstat(&descriptor)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => PipeKind::Fifo,
        FileType::Socket => PipeKind::Socket,
        FileType::CharacterDevice => PipeKind::CharacterDevice,
        FileType::RegularFile | FileType::BlockDevice => PipeKind::File,
        _ => return Err(ArgumentError::NotAPipe.into()),
    };
    let open_for = fs::fcntl_getfl(&descriptor)? & OFlags::ACCMODE;
    match direction {
        Direction::Read if open_for == OFlags::WRONLY => Err(ArgumentError::NotReadable.into()),
        Direction::Write if open_for == OFlags::RDONLY => Err(ArgumentError::NotWritable.into()),
        _ => Ok(kind),
    }
}
