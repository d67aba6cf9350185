//! A wire that carries only a few bytes at a time.

use std::any::Any;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use bytes::Bytes;
use tidegate_protocols::{Address, DetachError};
use tidegate_reactor::Interest;
use tidegate_transports::stream::{Directions, Wire};

/// Another wire, of which each read and each write moves only so many bytes.
///
/// Everything else is the other wire's. With one byte at a time every place where a protocol may find its
/// input cut is tried, and each write leaves a rest behind, over real sockets too.
///
/// # Examples
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use tidegate_reactor::{Interest, LoopHandle};
/// use tidegate_testkit::{Dribble, Recorder};
/// use tidegate_transports::stream::{self, Socket, StreamOptions};
///
/// tidegate_testkit::run(async {
///     let handle = LoopHandle::current()?;
///     let (near, far) = UnixStream::pair()?;
///     near.set_nonblocking(true)?;
///     let wire = |watcher| {
///         let socket = Socket::new(&handle, near.into(), Interest::READ, watcher)?;
///         Ok(Dribble::new(socket, Some(1)))
///     };
///     let recorder = Recorder::new();
///     let log = recorder.log();
///     stream::open(&handle, wire, Box::new(recorder), StreamOptions::default())?;
///     std::io::Write::write_all(&mut &far, b"abc")?;
///     log.received_at_least(3).await;
///     assert_eq!(log.events().len(), 4);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Dribble<W> {
    wire: W,
    most: usize,
}

impl<W: Wire> Dribble<W> {
    /// Lets each read and write of `wire` move at most `bytes_at_a_time`; none is no limit.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn new(wire: W, bytes_at_a_time: Option<usize>) -> Dribble<W> {
        let most = bytes_at_a_time.unwrap_or(usize::MAX);
        assert!(most > 0, "a wire that moves no bytes never ends");
        Dribble { wire, most }
    }
}

impl<W: Wire> Wire for Dribble<W> {
    const BRINGS_FDS: bool = W::BRINGS_FDS;

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.most);
        self.wire.read(&mut into[..length])
    }

    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        let room = into.capacity() - before;
        if room <= self.most {
            return self.wire.append(into);
        }
        into.resize(before + self.most, 0);
        let read = self.wire.read(&mut into[before..]);
        into.truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        self.wire.write(&from[..from.len().min(self.most)])
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = from.iter().map(|piece| piece.len()).sum();
        if offered <= self.most {
            return self.wire.write_vectored(from);
        }
        match from.iter().find(|piece| !piece.is_empty()) {
            Some(piece) => self.write(piece),
            None => Ok(0),
        }
    }

    fn withdraw(&self) {
        self.wire.withdraw();
    }

    fn send_file(&self, file: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<usize> {
        self.wire.send_file(file, offset, count.min(self.most))
    }

    /// What goes with descriptors is not cut.
    fn write_with_fds(&self, from: &[u8], fds: Vec<OwnedFd>, behind: usize) -> io::Result<usize> {
        self.wire.write_with_fds(from, fds, behind)
    }

    fn passes_fds(&self) -> bool {
        self.wire.passes_fds()
    }

    fn take_fds(&self) -> Vec<OwnedFd> {
        self.wire.take_fds()
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.wire.shutdown_write()
    }

    fn can_write_eof(&self) -> bool {
        self.wire.can_write_eof()
    }

    fn directions(&self) -> Directions {
        self.wire.directions()
    }

    fn set_interest(&self, interest: Interest) {
        self.wire.set_interest(interest);
    }

    fn hung_up(&self) -> bool {
        self.wire.hung_up()
    }

    fn release(&self) {
        self.wire.release();
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.wire.descriptor()
    }

    fn detach(self) -> Result<(OwnedFd, Bytes), (Dribble<W>, DetachError)> {
        let most = self.most;
        self.wire.detach().map_err(|(wire, error)| (Dribble { wire, most }, error))
    }

    fn peername(&self) -> Option<Address> {
        self.wire.peername()
    }

    fn sockname(&self) -> Option<Address> {
        self.wire.sockname()
    }

    fn extra_info(&self) -> Option<Rc<dyn Any>> {
        self.wire.extra_info()
    }
}
