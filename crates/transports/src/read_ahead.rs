//! A wire of which bytes were read already, and which gives those first.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use tidegate_protocols::{Address, DetachError};
use tidegate_reactor::{Interest, LoopHandle, Queued, Readiness, Watcher};

use crate::wire::{Directions, Wire};

/// Another wire, and what was read of it before.
///
/// As long as some of that is left the watcher is told by the loop's queue, once a turn, and the wire is not
/// asked whether there is more.
pub(crate) struct ReadAhead<W> {
    wire: W,
    interest: Cell<Interest>,
    rest: Rc<Rest>,
}

/// What was read before and not given yet, and who is told of it.
struct Rest {
    bytes: RefCell<Vec<u8>>,
    /// How many of them were given.
    given: Cell<usize>,
    is_left: Cell<bool>,
    is_wanted: Cell<bool>,
    queued: Cell<bool>,
    handle: LoopHandle,
    watcher: Weak<dyn Watcher>,
}

impl<W: Wire> ReadAhead<W> {
    /// Makes the wire, and puts `bytes`, of which there is at least one, before what it reads.
    pub(crate) fn new(
        handle: &LoopHandle,
        bytes: Vec<u8>,
        watcher: Rc<dyn Watcher>,
        wire: impl FnOnce(Rc<dyn Watcher>) -> io::Result<W>,
    ) -> io::Result<ReadAhead<W>> {
        let rest = Rest {
            bytes: RefCell::new(bytes),
            given: Cell::new(0),
            is_left: Cell::new(true),
            is_wanted: Cell::new(false),
            queued: Cell::new(false),
            handle: handle.clone(),
            watcher: Rc::downgrade(&watcher),
        };
        let wire = wire(watcher)?;
        Ok(ReadAhead { wire, interest: Cell::new(Interest::NONE), rest: Rc::new(rest) })
    }

    /// Lets `put` take up to `most` of the bytes, and answers how many there were.
    fn give(&self, most: usize, put: impl FnOnce(&[u8])) -> usize {
        let given = self.rest.give(most, put);
        if !self.rest.is_left.get() {
            self.wire.set_interest(self.interest.get());
        }
        given
    }
}

impl Rest {
    fn give(&self, most: usize, put: impl FnOnce(&[u8])) -> usize {
        let mut bytes = self.bytes.borrow_mut();
        let before = self.given.get();
        let after = bytes.len().min(before.saturating_add(most));
        put(&bytes[before..after]);
        self.given.set(after);
        if after == bytes.len() {
            *bytes = Vec::new();
            self.is_left.set(false);
        }
        after - before
    }

    /// Queues a call of the watcher if there is something to tell, once.
    fn announce(self: &Rc<Self>) {
        if self.is_left.get() && self.is_wanted.get() && !self.queued.replace(true) {
            // A closed loop hears nothing any more.
            let _closed = self.handle.queue(self.clone());
        }
    }
}

/// Level-triggered: the watcher is called once a turn, for as long as something is left.
impl Queued for Rest {
    fn run(self: Rc<Self>) {
        self.queued.set(false);
        let Some(watcher) = self.watcher.upgrade() else { return };
        // Queued before the call, so that nothing depends on how that ends.
        self.announce();
        if self.queued.get() {
            watcher.ready(Readiness { readable: true, writable: false, hung_up: false });
        }
    }

    fn name(&self) -> String {
        self.watcher.upgrade().map_or_else(|| "transport".to_owned(), |watcher| watcher.name())
    }
}

impl<W: Wire> Wire for ReadAhead<W> {
    const BRINGS_FDS: bool = W::BRINGS_FDS;

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        if !self.rest.is_left.get() {
            return self.wire.read(into);
        }
        Ok(self.give(into.len(), |bytes| into[..bytes.len()].copy_from_slice(bytes)))
    }

    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        if !self.rest.is_left.get() {
            return self.wire.append(into);
        }
        let room = into.capacity() - into.len();
        Ok(self.give(room, |bytes| into.extend_from_slice(bytes)))
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        self.wire.write(from)
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.wire.write_vectored(from)
    }

    fn withdraw(&self) {
        self.wire.withdraw();
    }

    fn write_with_fds(&self, from: &[u8], fds: Vec<OwnedFd>, behind: usize) -> io::Result<usize> {
        self.wire.write_with_fds(from, fds, behind)
    }

    fn passes_fds(&self) -> bool {
        self.wire.passes_fds()
    }

    fn take_fds(&self) -> Vec<OwnedFd> {
        self.wire.take_fds()
    }

    fn send_file(&self, file: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<usize> {
        self.wire.send_file(file, offset, count)
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
        self.interest.set(interest);
        if self.rest.is_left.get() {
            self.wire.set_interest(interest & Interest::WRITE);
            self.rest.is_wanted.set(interest.readable());
            self.rest.announce();
        } else {
            self.wire.set_interest(interest);
        }
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

    fn detach(self) -> Result<(OwnedFd, Bytes), (ReadAhead<W>, DetachError)> {
        let ReadAhead { wire, interest, rest } = self;
        // What a socket reads it gives at once: it has nothing unread of its own.
        let (descriptor, _nothing) = match wire.detach() {
            Ok(parts) => parts,
            Err((wire, error)) => return Err((ReadAhead { wire, interest, rest }, error)),
        };
        rest.is_left.set(false);
        let left = Bytes::from(mem::take(&mut *rest.bytes.borrow_mut()));
        let given = rest.given.get().min(left.len());
        Ok((descriptor, left.slice(given..)))
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
