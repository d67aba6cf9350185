//! A thread that waits in place of the loop, for a descriptor that blocks and must go on to block for others.
//!
//! The loop and the thread share a small desk with one piece of work on it: bytes that the thread has read and the loop
//! has not taken, or bytes that it has to write. A byte in the `bell` says that the loop has something to find on the
//! desk; one in the `nudge` says the same to the thread. So the loop learns of it as of any descriptor, by levels.
//!
//! ```text
//!   reading:  Empty ── thread reads ──▶ Read ── loop takes all ──▶ Empty
//!   writing:  Empty ── loop offers ──▶ Offered ── thread takes it ──▶ Busy ──▶ Written ── loop hears of it ──▶ Empty
//! ```
//!
//! Whoever has offered something may withdraw it: what is `Offered` then goes from the desk, and what is `Busy` becomes
//! `Withdrawn`. It is written all the same, and nobody is told that it was.

use std::io::{self, IoSlice, PipeReader, PipeWriter, Write, pipe};
use std::mem;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};
use tidegate_reactor::{Interest, LoopHandle, Readiness, Source, Watcher};

use super::end::Direction;

/// The most that is read or written at a time: 64 KiB.
const PIECE: usize = 64 * 1024;

/// The loop's side. Dropped, it lets the thread finish the write it was given, and end.
pub(super) struct Helper {
    direction: Direction,
    desk: Arc<Mutex<Desk>>,
    bell: Source<PipeReader>,
    nudge: PipeWriter,
}

struct Desk {
    lies: Lies,
    /// The loop wants to read.
    wanted: bool,
    /// The loop wants nothing any more.
    over: bool,
}

/// What lies on the desk.
enum Lies {
    Empty,
    /// From here on it has not been taken; nothing at all is the end of the stream.
    Read(Vec<u8>, usize),
    Offered(Vec<u8>),
    Busy,
    /// The thread is busy with something that nobody asks for any more.
    Withdrawn,
    Written(usize),
    Failed(io::Error),
}

impl Helper {
    /// Starts a thread for that descriptor, which it has a duplicate of.
    pub(super) fn start(
        handle: &LoopHandle,
        descriptor: &Rc<OwnedFd>,
        direction: Direction,
        watcher: &Rc<dyn Watcher>,
    ) -> io::Result<Helper> {
        let ((heard, bell), (nudged, nudge)) = (pipe()?, pipe()?);
        ioctl_fionbio(&nudge, true)?;
        let watcher: Rc<dyn Watcher> = match direction {
            Direction::Read => Rc::clone(watcher),
            Direction::Write => Rc::new(HeardIsWritable(Rc::clone(watcher))),
        };
        let heard = Source::new(handle, heard, Interest::NONE, watcher)?;
        let desk = Arc::new(Mutex::new(Desk { lies: Lies::Empty, wanted: false, over: false }));
        let worker = Worker {
            direction,
            desk: Arc::clone(&desk),
            descriptor: descriptor.try_clone()?,
            bell,
            nudged,
        };
        thread::Builder::new().name("tidegate-pipe".to_owned()).spawn(move || worker.work())?;
        Ok(Helper { direction, desk, bell: heard, nudge })
    }

    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(|bytes| {
            let length = bytes.len().min(into.len());
            into[..length].copy_from_slice(&bytes[..length]);
            length
        })
    }

    pub(super) fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.take(|bytes| {
            let length = bytes.len().min(into.capacity() - into.len());
            into.extend_from_slice(&bytes[..length]);
            length
        })
    }

    /// Lets `take` have a part of what was read.
    fn take(&self, take: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let mut desk = lock(&self.desk);
        match &mut desk.lies {
            // It stays there: the end is the end, however often one asks.
            Lies::Read(bytes, _) if bytes.is_empty() => Ok(0),
            Lies::Read(bytes, from) => {
                let taken = take(&bytes[*from..]);
                *from += taken;
                if *from == bytes.len() {
                    self.clear(&mut desk)?;
                    self.nudge();
                }
                Ok(taken)
            }
            Lies::Failed(_) => self.clear(&mut desk),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Answers how much of what was offered before is written, and offers what follows.
    ///
    /// What is offered stays at the front of the caller's buffer until it is told to be written, so it is the same
    /// bytes that are offered again.
    pub(super) fn write(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut desk = lock(&self.desk);
        let written = match desk.lies {
            Lies::Empty => 0,
            Lies::Written(_) | Lies::Failed(_) => self.clear(&mut desk)?,
            _ => return Err(io::ErrorKind::WouldBlock.into()),
        };
        let rest = piece_behind(from, written);
        if !rest.is_empty() {
            desk.lies = Lies::Offered(rest);
            self.nudge();
        }
        if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    /// What was offered is not offered again: what follows is something else.
    pub(super) fn withdraw(&self) {
        let mut desk = lock(&self.desk);
        desk.lies = match mem::replace(&mut desk.lies, Lies::Empty) {
            Lies::Offered(_) => Lies::Empty,
            Lies::Busy => Lies::Withdrawn,
            Lies::Written(_) => Lies::Written(0),
            lies => lies,
        };
    }

    /// Takes away what lies on the desk, and answers how much was written if it says so.
    fn clear(&self, desk: &mut Desk) -> io::Result<usize> {
        // The thread rings once for what it puts there.
        rustix::io::read(self.bell.get_ref(), &mut [0])?;
        match mem::replace(&mut desk.lies, Lies::Empty) {
            Lies::Written(length) => Ok(length),
            Lies::Failed(error) => Err(error),
            _ => Ok(0),
        }
    }

    pub(super) fn set_interest(&self, interest: Interest) {
        let wanted = match self.direction {
            Direction::Read => interest.readable(),
            Direction::Write => interest.writable(),
        };
        self.bell.set_interest(if wanted { Interest::READ } else { Interest::NONE });
        let mut desk = lock(&self.desk);
        if mem::replace(&mut desk.wanted, wanted) != wanted && self.direction == Direction::Read {
            self.nudge();
        }
    }

    fn nudge(&self) {
        // It fails only when the pipe is full of them.
        let _nudged_already = (&self.nudge).write(&[0]);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        lock(&self.desk).over = true;
        self.nudge();
    }
}

/// What follows the first `skip` bytes, as far as it makes one piece.
fn piece_behind(from: &[IoSlice<'_>], skip: usize) -> Vec<u8> {
    let mut piece = Vec::new();
    let mut skip = skip;
    for slice in from {
        let skipped = skip.min(slice.len());
        skip -= skipped;
        let room = PIECE - piece.len();
        piece.extend_from_slice(&slice[skipped..][..room.min(slice.len() - skipped)]);
    }
    piece
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side.
struct Worker {
    direction: Direction,
    desk: Arc<Mutex<Desk>>,
    descriptor: OwnedFd,
    bell: PipeWriter,
    nudged: PipeReader,
}

impl Worker {
    fn work(self) {
        loop {
            let desk = lock(&self.desk);
            let to_do = match self.direction {
                Direction::Read => desk.wanted && matches!(desk.lies, Lies::Empty),
                Direction::Write => matches!(desk.lies, Lies::Offered(_)),
            };
            let over = desk.over;
            drop(desk);
            match (self.direction, to_do, over) {
                (Direction::Write, true, true) => return self.write(),
                (_, _, true) => return,
                _ => {}
            }
            if self.waited(to_do) {
                match self.direction {
                    Direction::Read => self.read(),
                    Direction::Write => self.write(),
                }
            }
        }
    }

    /// Waits for a nudge, and for the descriptor if there is something to do; whether the descriptor is ready.
    fn waited(&self, to_do: bool) -> bool {
        let wanted = match self.direction {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
        };
        let mut both =
            [PollFd::new(&self.nudged, PollFlags::IN), PollFd::new(&self.descriptor, wanted)];
        let watched = if to_do { &mut both[..] } else { &mut both[..1] };
        if poll(watched, None).is_err() {
            return false;
        }
        let nudged = !both[0].revents().is_empty();
        if nudged {
            let _some = rustix::io::read(&self.nudged, &mut [0; 64]);
        }
        to_do && !nudged && !both[1].revents().is_empty()
    }

    fn read(&self) {
        let mut bytes = vec![0; PIECE];
        let lies = match rustix::io::read(&self.descriptor, &mut bytes[..]) {
            Ok(length) => {
                bytes.truncate(length);
                Lies::Read(bytes, 0)
            }
            Err(Errno::INTR | Errno::WOULDBLOCK) => return,
            Err(error) => Lies::Failed(error.into()),
        };
        self.put(&mut lock(&self.desk), lies);
    }

    fn write(&self) {
        let mut desk = lock(&self.desk);
        let Lies::Offered(bytes) = &mut desk.lies else { return };
        let bytes = mem::take(bytes);
        desk.lies = Lies::Busy;
        drop(desk);
        let written = rustix::io::write(&self.descriptor, &bytes);

        let mut desk = lock(&self.desk);
        let is_withdrawn = matches!(desk.lies, Lies::Withdrawn);
        let lies = match written {
            Ok(_) | Err(Errno::INTR | Errno::WOULDBLOCK) if is_withdrawn => Lies::Written(0),
            Ok(length) => Lies::Written(length),
            Err(Errno::INTR | Errno::WOULDBLOCK) => {
                desk.lies = Lies::Offered(bytes);
                return;
            }
            Err(error) => Lies::Failed(error.into()),
        };
        self.put(&mut desk, lies);
    }

    /// Puts something on the desk, and rings. The bell never blocks: there is at most one byte in it.
    fn put(&self, desk: &mut Desk, lies: Lies) {
        desk.lies = lies;
        if !desk.over {
            let _heard = (&self.bell).write(&[0]);
        }
    }
}

/// To the loop a thread that has written is a bell to be read; to the connection it is room to write.
struct HeardIsWritable(Rc<dyn Watcher>);

impl Watcher for HeardIsWritable {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        let writable = readiness.readable;
        Rc::clone(&self.0).ready(Readiness { readable: false, writable, hung_up: false });
    }

    fn name(&self) -> String {
        self.0.name()
    }

    fn shut_down(self: Rc<Self>) {
        Rc::clone(&self.0).shut_down();
    }

    fn stop_listening(self: Rc<Self>) {
        Rc::clone(&self.0).stop_listening();
    }

    fn loop_closed(self: Rc<Self>) {
        Rc::clone(&self.0).loop_closed();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use tidegate_reactor::EventLoop;

    use super::*;

    struct Idle;

    impl Watcher for Idle {
        fn ready(self: Rc<Self>, _: Readiness) {}

        fn name(&self) -> String {
            "idle".to_owned()
        }
    }

    /// A thread that writes into a pipe, and the pipe's other end.
    fn writing(handle: &LoopHandle) -> (Helper, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        let writer: Rc<OwnedFd> = Rc::new(writer.into());
        let watcher: Rc<dyn Watcher> = Rc::new(Idle);
        (Helper::start(handle, &writer, Direction::Write, &watcher).unwrap(), reader)
    }

    /// Offers until it is written, as the loop does whenever the bell rings.
    fn write(helper: &Helper, bytes: &[u8]) -> usize {
        loop {
            match helper.write(&[IoSlice::new(bytes)]) {
                Ok(written) => return written,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            let bell = helper.bell.get_ref().as_fd();
            poll(&mut [PollFd::new(&bell, PollFlags::IN)], None).unwrap();
        }
    }

    fn read(reader: &mut PipeReader, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    // What the thread has written for one is not taken for what another one offers next.
    #[test]
    fn what_was_withdrawn_is_not_told_to_be_written() {
        let event_loop = EventLoop::new().unwrap();
        let (helper, mut reader) = writing(&event_loop.handle());
        assert!(helper.write(&[IoSlice::new(b"a file")]).is_err());
        // So it is written, whether or not the thread has said so yet.
        assert_eq!(read(&mut reader, 6), b"a file");
        helper.withdraw();
        assert_eq!(write(&helper, b"what follows"), 12);
        assert_eq!(read(&mut reader, 12), b"what follows");
        drop(helper);
        event_loop.close().unwrap();
    }

    // The same while the thread waits in a write.
    #[test]
    #[cfg(target_os = "linux")]
    fn what_follows_is_written_behind_what_was_withdrawn() {
        let event_loop = EventLoop::new().unwrap();
        let (helper, mut reader) = writing(&event_loop.handle());
        // A page is left, which is room enough to begin.
        assert_eq!(write(&helper, &[1; PIECE - 4096]), PIECE - 4096);
        assert!(helper.write(&[IoSlice::new(&[2; PIECE])]).is_err());
        while !matches!(lock(&helper.desk).lies, Lies::Busy) {
            thread::yield_now();
        }
        helper.withdraw();
        assert!(helper.write(&[IoSlice::new(b"what follows")]).is_err());
        assert_eq!(read(&mut reader, PIECE - 4096), [1; PIECE - 4096]);
        assert_eq!(read(&mut reader, PIECE), [2; PIECE]);
        assert_eq!(write(&helper, b"what follows"), 12);
        assert_eq!(read(&mut reader, 12), b"what follows");
        drop(helper);
        event_loop.close().unwrap();
    }
}
