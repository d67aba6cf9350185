//! Readiness of what never makes one wait and cannot be watched: regular files, and devices such as `/dev/null`.

use std::cell::Cell;
use std::io;
use std::rc::{Rc, Weak};

use tidegate_reactor::{Enrolled, Interest, LoopHandle, Queued, Readiness, Watcher};

/// Tells a watcher once a turn, for as long as it is interested. It forgets the watcher when it is dropped.
pub(super) struct AlwaysReady {
    turns: Rc<Turns>,
    /// Has the watcher told of the loop's end, as a registered descriptor would.
    _enrolled: Enrolled,
}

struct Turns {
    me: Weak<Turns>,
    handle: LoopHandle,
    watcher: Cell<Option<Rc<dyn Watcher>>>,
    interest: Cell<Interest>,
    queued: Cell<bool>,
}

impl AlwaysReady {
    pub(super) fn new(handle: &LoopHandle, watcher: &Rc<dyn Watcher>) -> io::Result<AlwaysReady> {
        let enrolled = handle.enrol(Rc::clone(watcher))?;
        let turns = Rc::new_cyclic(|me| Turns {
            me: me.clone(),
            handle: handle.clone(),
            watcher: Cell::new(Some(Rc::clone(watcher))),
            interest: Cell::new(Interest::NONE),
            queued: Cell::new(false),
        });
        Ok(AlwaysReady { turns, _enrolled: enrolled })
    }

    pub(super) fn set_interest(&self, interest: Interest) {
        self.turns.interest.set(interest);
        self.turns.announce();
    }
}

impl Drop for AlwaysReady {
    fn drop(&mut self) {
        self.turns.interest.set(Interest::NONE);
        drop(self.turns.watcher.take());
    }
}

impl Turns {
    /// Queues a call of the watcher if it is interested, once.
    fn announce(&self) {
        if self.interest.get() != Interest::NONE && !self.queued.replace(true) {
            // A closed loop hears nothing any more.
            let queued = self.me.upgrade().is_some_and(|me| self.handle.queue(me).is_ok());
            self.queued.set(queued);
        }
    }

    fn watcher(&self) -> Option<Rc<dyn Watcher>> {
        let watcher = self.watcher.take();
        let share = watcher.clone();
        self.watcher.set(watcher);
        share
    }
}

impl Queued for Turns {
    fn run(self: Rc<Self>) {
        self.queued.set(false);
        let interest = self.interest.get();
        let Some(watcher) = self.watcher() else { return };
        if interest == Interest::NONE {
            return;
        }
        // Queued before the call, so that a callback that panics ends nothing here.
        self.announce();
        let (readable, writable) = (interest.readable(), interest.writable());
        watcher.ready(Readiness { readable, writable, hung_up: false });
    }

    fn name(&self) -> String {
        self.watcher().map_or_else(|| "a file".to_owned(), |watcher| watcher.name())
    }
}
