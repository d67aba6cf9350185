//! Callbacks for descriptors of the user's own: `add_reader` and its three companions.

mod repeating;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

pub(crate) use self::repeating::Repeating;
use crate::sources::used_by;
use crate::{Interest, LoopError, LoopHandle, Readiness, Source, Watcher};

impl LoopHandle {
    /// Calls `callback` in every turn of the loop in which `fd` is readable, or hung up, until
    /// [`remove_reader`](LoopHandle::remove_reader).
    ///
    /// A reader that does not read is called again in the next turn. A reader that `fd` has already is
    /// cancelled and dropped; its writer stays. The callback may remove or replace itself and others.
    ///
    /// The loop watches a duplicate of the descriptor. Remove the callbacks before you close it: until then the
    /// open file lives on, and a peer does not see it closed. asyncio: `loop.add_reader()`.
    ///
    /// # Errors
    ///
    /// "File descriptor N is used by transport ..." while a transport owns it and is not closing;
    /// [`LoopError::Closed`] inside on a closed loop; `PermissionDenied` for a regular file where the system
    /// does not watch those (Linux), which are always ready; any other that the system has.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::rc::Rc;
    /// use tidegate_reactor::EventLoop;
    ///
    /// let event_loop = EventLoop::new()?;
    /// let handle = event_loop.handle();
    /// let (near, mut far) = UnixStream::pair()?;
    /// let near = Rc::new(near);
    /// handle.add_reader(&near, {
    ///     let (handle, near) = (handle.clone(), Rc::clone(&near));
    ///     move || {
    ///         let mut word = [0; 5];
    ///         (&*near).read_exact(&mut word).unwrap();
    ///         assert_eq!(&word, b"hello");
    ///         handle.stop();
    ///     }
    /// })?;
    /// far.write_all(b"hello")?;
    /// event_loop.run_forever()?;
    /// assert!(handle.remove_reader(&near)?);
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn add_reader(&self, fd: impl AsFd, callback: impl FnMut() + 'static) -> io::Result<()> {
        let fd = fd.as_fd();
        let callback = Repeating::new("add_reader", fd.as_raw_fd(), callback);
        self.add_callback(fd, Direction::Read, callback)
    }

    /// Removes the reader of `fd`, and answers whether there was one. Its writer stays. On a closed loop there is
    /// none. asyncio: `loop.remove_reader()`.
    ///
    /// # Errors
    ///
    /// While a transport owns the descriptor and is not closing.
    pub fn remove_reader(&self, fd: impl AsFd) -> io::Result<bool> {
        self.remove_callback(fd.as_fd(), Direction::Read)
    }

    /// Calls `callback` in every turn of the loop in which `fd` is writable, or hung up, until
    /// [`remove_writer`](LoopHandle::remove_writer).
    ///
    /// It is called after the reader of the same descriptor if both are due. Everything else is as for
    /// [`add_reader`](LoopHandle::add_reader). asyncio: `loop.add_writer()`.
    ///
    /// # Errors
    ///
    /// As [`add_reader`](LoopHandle::add_reader).
    pub fn add_writer(&self, fd: impl AsFd, callback: impl FnMut() + 'static) -> io::Result<()> {
        let fd = fd.as_fd();
        let callback = Repeating::new("add_writer", fd.as_raw_fd(), callback);
        self.add_callback(fd, Direction::Write, callback)
    }

    /// Removes the writer of `fd`, and answers whether there was one. Its reader stays. On a closed loop there is
    /// none. asyncio: `loop.remove_writer()`.
    ///
    /// # Errors
    ///
    /// While a transport owns the descriptor and is not closing.
    pub fn remove_writer(&self, fd: impl AsFd) -> io::Result<bool> {
        self.remove_callback(fd.as_fd(), Direction::Write)
    }

    fn add_callback(
        &self,
        fd: BorrowedFd<'_>,
        direction: Direction,
        callback: Rc<Repeating>,
    ) -> io::Result<()> {
        if self.is_closed() {
            return Err(LoopError::Closed.into());
        }
        self.ensure_fd_no_transport(fd)?;

        let readers = &self.core().readers;
        let number = fd.as_raw_fd();
        let duplicate = File::from(fd.try_clone_to_owned()?);
        let file = Identity::of(&duplicate)?;
        if let Some(replaced) = readers.replace(number, file, direction, &callback) {
            if let Some(replaced) = replaced {
                replaced.cancel();
            }
            return Ok(());
        }

        // What the number stood for was another file, which was closed behind our back.
        let stale = readers.take(number);
        drop(stale);
        let watched = Rc::new(Watched::new(self.clone(), number));
        drop(watched.direction(direction).replace(Some(callback)));
        let watcher: Rc<dyn Watcher> = Rc::clone(&watched) as _;
        let source = Source::new(self, OwnedFd::from(duplicate), direction.interest(), watcher)?;
        readers.insert(number, Entry { source, watched, file });
        Ok(())
    }

    fn remove_callback(&self, fd: BorrowedFd<'_>, direction: Direction) -> io::Result<bool> {
        if self.is_closed() {
            return Ok(false);
        }
        self.ensure_fd_no_transport(fd)?;
        let (removed, emptied) = self.core().readers.remove(fd.as_raw_fd(), direction);
        drop(emptied);
        if let Some(callback) = &removed {
            callback.cancel();
        }
        Ok(removed.is_some())
    }

    /// Refuses a descriptor that a transport owns which is not closing, as
    /// [`add_reader`](LoopHandle::add_reader) does. asyncio: `_ensure_fd_no_transport`.
    ///
    /// # Errors
    ///
    /// "File descriptor N is used by transport ...".
    pub fn ensure_fd_no_transport(&self, fd: impl AsFd) -> io::Result<()> {
        let number = fd.as_fd().as_raw_fd();
        match self.core().sources.owner(number) {
            Some(owner) => Err(used_by(number, &*owner)),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

impl Direction {
    fn interest(self) -> Interest {
        match self {
            Direction::Read => Interest::READ,
            Direction::Write => Interest::WRITE,
        }
    }
}

/// The descriptors of one loop that have callbacks, by the numbers the user knows them by.
pub(crate) struct Readers {
    table: RefCell<BTreeMap<RawFd, Entry>>,
}

struct Entry {
    source: Source<OwnedFd>,
    watched: Rc<Watched>,
    file: Identity,
}

impl Readers {
    pub(crate) fn new() -> Readers {
        Readers { table: RefCell::new(BTreeMap::new()) }
    }

    /// The loop is closed: drops all callbacks.
    pub(crate) fn close(&self) {
        let table = self.table.take();
        for Entry { source, watched, .. } in table.into_values() {
            drop(source);
            for direction in [Direction::Read, Direction::Write] {
                if let Some(callback) = watched.direction(direction).take() {
                    callback.end(watched.handle.core());
                }
            }
        }
    }

    /// Descriptors with callbacks.
    pub(crate) fn len(&self) -> usize {
        self.table.borrow().len()
    }

    /// Puts the callback into the entry of the same open file, if there is one; answers what was there before.
    fn replace(
        &self,
        number: RawFd,
        file: Identity,
        direction: Direction,
        callback: &Rc<Repeating>,
    ) -> Option<Option<Rc<Repeating>>> {
        let table = self.table.borrow();
        let entry = table.get(&number).filter(|entry| entry.file == file)?;
        let replaced = entry.watched.direction(direction).replace(Some(Rc::clone(callback)));
        entry.source.set_interest(entry.watched.interest());
        Some(replaced)
    }

    /// There is none of that number yet.
    fn insert(&self, number: RawFd, entry: Entry) {
        self.table.borrow_mut().insert(number, entry);
    }

    fn take(&self, number: RawFd) -> Option<Entry> {
        self.table.borrow_mut().remove(&number)
    }

    /// Takes out a callback, and with the last one the whole entry; the caller drops both.
    fn remove(
        &self,
        number: RawFd,
        direction: Direction,
    ) -> (Option<Rc<Repeating>>, Option<Entry>) {
        let mut table = self.table.borrow_mut();
        let Some(entry) = table.get(&number) else {
            return (None, None);
        };
        let removed = entry.watched.direction(direction).take();
        let rest = entry.watched.interest();
        if rest == Interest::NONE {
            return (removed, table.remove(&number));
        }
        entry.source.set_interest(rest);
        (removed, None)
    }
}

/// The callbacks of one descriptor, as the loop sees them.
struct Watched {
    handle: LoopHandle,
    number: RawFd,
    reader: RefCell<Option<Rc<Repeating>>>,
    writer: RefCell<Option<Rc<Repeating>>>,
}

impl Watched {
    fn new(handle: LoopHandle, number: RawFd) -> Watched {
        Watched { handle, number, reader: RefCell::new(None), writer: RefCell::new(None) }
    }

    fn direction(&self, direction: Direction) -> &RefCell<Option<Rc<Repeating>>> {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    fn interest(&self) -> Interest {
        match (self.reader.borrow().is_some(), self.writer.borrow().is_some()) {
            (false, false) => Interest::NONE,
            (true, false) => Interest::READ,
            (false, true) => Interest::WRITE,
            (true, true) => Interest::BOTH,
        }
    }

    /// A share of the callback that is due, so that none is borrowed while it runs.
    fn due(&self, direction: Direction, ready: bool) -> Option<Rc<Repeating>> {
        if ready { self.direction(direction).borrow().clone() } else { None }
    }
}

impl Watcher for Watched {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        let reader = self.due(Direction::Read, readiness.readable);
        let writer = self.due(Direction::Write, readiness.writable);
        match (reader, writer) {
            (Some(reader), None) => reader.call(),
            (None, Some(writer)) => writer.call(),
            // Each is a step of its own. The writer is not called if the reader removed or replaced it.
            (Some(reader), Some(writer)) => {
                for callback in [reader, writer] {
                    self.handle.step(&|| callback.name(), || callback.call());
                }
            }
            (None, None) => {}
        }
    }

    fn name(&self) -> String {
        format!("add_reader/add_writer({})", self.number)
    }
}

/// Tells open files apart where their descriptors have the same number, one after the other. Files without a
/// name of their own (event counters, timers) all look the same.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &File) -> io::Result<Identity> {
        let metadata = file.metadata()?;
        Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
    }
}
