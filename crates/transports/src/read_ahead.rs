//! A socket of which bytes were read already, as a wire that gives those first.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use tidegate_protocols::Address;
use tidegate_reactor::{Interest, LoopHandle, Queued, Readiness, Watcher};

use crate::socket::Socket;
use crate::wire::Wire;

/// A socket, and what was read of it before.
///
/// As long as some of that is left the watcher is told by the loop's queue, once a turn, and the socket is not
/// asked whether there is more.
pub(crate) struct ReadAhead {
    socket: Socket,
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

impl ReadAhead {
    /// Registers `socket` with no interest yet, and puts `bytes`, of which there is at least one, before what it reads.
    pub(crate) fn new(
        handle: &LoopHandle,
        bytes: Vec<u8>,
        watcher: Rc<dyn Watcher>,
        socket: impl FnOnce(Rc<dyn Watcher>) -> io::Result<Socket>,
    ) -> io::Result<ReadAhead> {
        let rest = Rest {
            bytes: RefCell::new(bytes),
            given: Cell::new(0),
            is_left: Cell::new(true),
            is_wanted: Cell::new(false),
            queued: Cell::new(false),
            handle: handle.clone(),
            watcher: Rc::downgrade(&watcher),
        };
        let socket = socket(watcher)?;
        Ok(ReadAhead { socket, interest: Cell::new(Interest::NONE), rest: Rc::new(rest) })
    }

    /// Lets `put` take up to `most` of the bytes, and answers how many there were.
    fn give(&self, most: usize, put: impl FnOnce(&[u8])) -> usize {
        let given = self.rest.give(most, put);
        if !self.rest.is_left.get() {
            self.socket.set_interest(self.interest.get());
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

impl Wire for ReadAhead {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        if !self.rest.is_left.get() {
            return self.socket.read(into);
        }
        Ok(self.give(into.len(), |bytes| into[..bytes.len()].copy_from_slice(bytes)))
    }

    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        if !self.rest.is_left.get() {
            return self.socket.append(into);
        }
        let room = into.capacity() - into.len();
        Ok(self.give(room, |bytes| into.extend_from_slice(bytes)))
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        self.socket.write(from)
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_vectored(from)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    fn set_interest(&self, interest: Interest) {
        self.interest.set(interest);
        if self.rest.is_left.get() {
            self.socket.set_interest(interest & Interest::WRITE);
            self.rest.is_wanted.set(interest.readable());
            self.rest.announce();
        } else {
            self.socket.set_interest(interest);
        }
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

    fn detach(self) -> Result<(OwnedFd, Bytes), ReadAhead> {
        self.rest.is_left.set(false);
        let left = Bytes::from(mem::take(&mut *self.rest.bytes.borrow_mut()));
        let given = self.rest.given.get().min(left.len());
        Ok((self.socket.into_descriptor(), left.slice(given..)))
    }

    fn peername(&self) -> Option<Address> {
        self.socket.peername()
    }

    fn sockname(&self) -> Option<Address> {
        self.socket.sockname()
    }
}
