//! The table of sources: who watches what, and what the system was told of it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::rc::Rc;

use slab::Slab;

use super::{Interest, Readiness, Watcher};
use crate::parts::Core;
use crate::poller::{Found, Poller, Trigger};

/// What was seen of a descriptor that holds for good. (An error may pass, and is treated as if it did not: that
/// costs a read that brings nothing.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Nothing,
    /// A short read does not empty the descriptor.
    ReadOn,
    /// Both directions are gone, so the above too; the watcher has not been told.
    HungUpUntold,
    /// The watcher was told of it.
    HungUp,
}

/// Where a source is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The system does not know it yet, or not any more.
    Unregistered,
    Registered,
    /// Its owner closes: others may watch its descriptor again.
    Released,
}

/// What a source and the table share. There is one for each idle connection, so it is kept small.
pub(super) struct Entry<T: ?Sized> {
    /// Place in the table and version of it.
    pub(super) key: Cell<u64>,
    pub(super) number: RawFd,
    /// What is wanted.
    pub(super) interest: Cell<Interest>,
    /// What the system was told. It may be more than is wanted, where edges are told.
    told: Cell<Interest>,
    trigger: Trigger,
    /// What is known to be ready, where edges are told.
    ready: Cell<Interest>,
    pub(super) seen: Cell<Seen>,
    /// It is on the list of those to be told again.
    again: Cell<bool>,
    /// It is on the list of changes.
    listed: Cell<bool>,
    pub(super) stage: Cell<Stage>,
    pub(super) io: T,
}

impl<T> Entry<T> {
    pub(super) fn new(io: T, number: RawFd, interest: Interest, trigger: Trigger) -> Entry<T> {
        Entry {
            key: Cell::new(0),
            number,
            interest: Cell::new(interest),
            told: Cell::new(interest),
            trigger,
            ready: Cell::new(Interest::NONE),
            seen: Cell::new(Seen::Nothing),
            again: Cell::new(false),
            listed: Cell::new(false),
            stage: Cell::new(Stage::Unregistered),
            io,
        }
    }
}

impl<T: ?Sized> Entry<T> {
    /// The directions that are ready, now that this was found.
    #[inline]
    fn ready_with(&self, found: Found) -> Interest {
        let directions = found.directions();
        if found.hung_up {
            self.seen.set(self.seen.get().max(Seen::HungUpUntold));
        }
        if self.trigger == Trigger::Level {
            return directions;
        }
        let ready = self.ready.get() | directions;
        self.ready.set(ready);
        if found.read_on {
            self.seen.set(self.seen.get().max(Seen::ReadOn));
        }
        ready
    }

    /// Whether it has to be told without being found ready once more.
    fn is_still_ready(&self) -> bool {
        self.ready.get() & self.interest.get() != Interest::NONE
    }

    pub(super) fn clear_ready(&self, direction: Interest) {
        self.ready.set(self.ready.get().without(direction));
    }
}

/// All sources of a loop.
pub(crate) struct Sources {
    table: RefCell<Table>,
    /// Keys of sources whose interest is not what the system was told.
    changed: RefCell<Vec<u64>>,
    /// What is told in the next turn, whatever the system says then: sources that are ready still, where edges
    /// are told; and what could not be told when it was found.
    again: RefCell<VecDeque<Found>>,
    events: Cell<u64>,
}

struct Table {
    rows: Slab<Row>,
    /// Row of each descriptor, by its number; `VACANT` where there is none.
    by_number: Vec<u32>,
    version: u32,
    descriptors: usize,
}

/// One watcher, and the source it watches if there is one.
pub(crate) struct Row {
    key: u64,
    watcher: Rc<dyn Watcher>,
    entry: Option<Rc<Entry<dyn AsFd>>>,
}

const VACANT: u32 = u32::MAX;

impl Sources {
    pub(crate) fn new() -> Sources {
        Sources {
            table: RefCell::new(Table {
                rows: Slab::new(),
                by_number: Vec::new(),
                version: 0,
                descriptors: 0,
            }),
            changed: RefCell::new(Vec::new()),
            again: RefCell::new(VecDeque::new()),
            events: Cell::new(0),
        }
    }

    /// Sources and enrolled watchers.
    pub(crate) fn len(&self) -> usize {
        self.table.borrow().rows.len()
    }

    /// Sources alone.
    pub(crate) fn descriptors(&self) -> usize {
        self.table.borrow().descriptors
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.get()
    }

    /// Puts a watcher into the table, with the source it watches if there is one, and gives it a key.
    pub(super) fn insert(
        &self,
        entry: Option<&Rc<Entry<dyn AsFd>>>,
        watcher: Rc<dyn Watcher>,
    ) -> u64 {
        let mut table = self.table.borrow_mut();
        // The highest versions are left out, because the poller has keys of its own.
        table.version = (table.version + 1) % (u32::MAX - 1);
        let version = table.version;
        let row = table.rows.vacant_key();
        let key = u64::from(version) << 32 | row as u64;
        table.rows.insert(Row { key, watcher, entry: entry.cloned() });
        if let Some(entry) = entry {
            entry.key.set(key);
            table.descriptors += 1;
        }
        key
    }

    /// The system has accepted a source's descriptor, so whoever had the same number has lost it.
    pub(super) fn claim<T>(&self, entry: &Entry<T>) {
        let mut table = self.table.borrow_mut();
        let number = entry.number as usize;
        if table.by_number.len() <= number {
            table.by_number.resize(number + 1, VACANT);
        }
        table.by_number[number] = entry.key.get() as u32;
    }

    /// Takes a watcher out, for the caller to drop.
    pub(super) fn remove(&self, key: u64) -> Option<Rc<dyn Watcher>> {
        let row = {
            let mut table = self.table.borrow_mut();
            table.row(key)?;
            let place = key as u32;
            let row = table.rows.remove(place as usize);
            if let Some(entry) = &row.entry {
                table.descriptors -= 1;
                let number = entry.number as usize;
                if table.by_number.get(number) == Some(&place) {
                    table.by_number[number] = VACANT;
                }
            }
            row
        };
        Some(row.watcher)
    }

    /// Who watches the descriptor with that number, unless it is closing.
    pub(crate) fn owner(&self, number: RawFd) -> Option<Rc<dyn Watcher>> {
        let table = self.table.borrow();
        let place = *table.by_number.get(usize::try_from(number).ok()?)?;
        let row = table.rows.get(place as usize)?;
        let entry = row.entry.as_ref()?;
        if entry.stage.get() == Stage::Released {
            return None;
        }
        Some(Rc::clone(&row.watcher))
    }

    /// A source's interest has changed.
    pub(super) fn interest_changed<T>(&self, entry: &Entry<T>) {
        match entry.trigger {
            Trigger::Level => self.note_change(entry),
            // A direction that is given up needs no word, as long as nothing is found in it.
            Trigger::Edge => {
                let interest = entry.interest.get();
                if interest.without(entry.told.get()) != Interest::NONE {
                    self.note_change(entry);
                }
                self.look_again_at(entry);
            }
        }
    }

    /// Notes that the system has to be told of a source's interest.
    fn note_change<T: ?Sized>(&self, entry: &Entry<T>) {
        if !entry.listed.replace(true) {
            self.changed.borrow_mut().push(entry.key.get());
        }
    }

    /// Who is to be told of what was found, by the system or `again`, and what. Nobody if the source is gone, or
    /// it is not wanted.
    #[inline]
    fn called_by(&self, found: Found, again: bool) -> Option<(Rc<dyn Watcher>, Readiness)> {
        let table = self.table.borrow();
        let row = table.row(found.key)?;
        let entry = row.entry.as_deref()?;
        let interest = entry.interest.get();
        let wanted = entry.ready_with(found) & interest;
        if again {
            entry.again.set(false);
        } else if entry.again.get() {
            // It is told in this turn anyway, and not twice.
            return None;
        }
        let news = entry.seen.get() == Seen::HungUpUntold;
        if news {
            entry.seen.set(Seen::HungUp);
        }
        if wanted == Interest::NONE {
            if entry.trigger == Trigger::Edge {
                self.note_change(entry);
            }
            // With no interest left a hang-up is told once.
            if !(news && interest == Interest::NONE) {
                return None;
            }
        }
        self.events.set(self.events.get() + 1);
        let readiness = Readiness {
            readable: wanted.readable(),
            writable: wanted.writable(),
            hung_up: entry.seen.get() >= Seen::HungUpUntold,
        };
        Some((Rc::clone(&row.watcher), readiness))
    }

    /// Whether a source that is ready still, though the system will not say so again, is to be told again.
    #[inline]
    fn look_again(&self, key: u64) {
        let table = self.table.borrow();
        if let Some(row) = table.row(key)
            && let Some(entry) = row.entry.as_deref()
        {
            self.look_again_at(entry);
        }
    }

    fn look_again_at<T: ?Sized>(&self, entry: &Entry<T>) {
        if entry.is_still_ready() && !entry.again.replace(true) {
            self.again.borrow_mut().push_back(Found::again(entry.key.get()));
        }
    }

    /// How many sources are to be told whatever the system finds.
    pub(crate) fn to_tell_again(&self) -> usize {
        self.again.borrow().len()
    }

    /// Keeps what was found and could not be told, if the system will not find it again by itself.
    pub(crate) fn keep(&self, found: Found) {
        if let Some(entry) = self.entry(found.key)
            // A hang-up is told once where there is no interest.
            && (entry.trigger == Trigger::Edge || entry.told.get() == Interest::NONE)
        {
            self.tell_later(&entry, found);
        }
    }

    /// Has this told in the next turn, whatever the system finds then.
    fn tell_later(&self, entry: &Entry<dyn AsFd>, found: Found) {
        let later = match entry.trigger {
            Trigger::Level => found,
            Trigger::Edge => {
                entry.ready_with(found);
                if entry.again.replace(true) {
                    return;
                }
                Found::again(found.key)
            }
        };
        self.again.borrow_mut().push_back(later);
    }

    /// Shares of all watchers, in no order.
    pub(crate) fn watchers(&self) -> Vec<Rc<dyn Watcher>> {
        let table = self.table.borrow();
        table.rows.iter().map(|(_, row)| Rc::clone(&row.watcher)).collect()
    }

    /// Empties the table and gives its rows back, for the caller to drop.
    pub(crate) fn take(&self) -> Vec<Row> {
        let mut table = self.table.borrow_mut();
        table.descriptors = 0;
        table.by_number = Vec::new();
        table.rows.drain().collect()
    }

    fn entry(&self, key: u64) -> Option<Rc<Entry<dyn AsFd>>> {
        self.table.borrow().row(key)?.entry.clone()
    }
}

impl Table {
    /// The row with that key, or the part of it that the poller could carry.
    #[inline]
    fn row(&self, key: u64) -> Option<&Row> {
        let row = self.rows.get(key as u32 as usize)?;
        (row.key as usize == key as usize).then_some(row)
    }
}

impl Core {
    /// Calls the poller, which calls no user code. A closed loop has none.
    pub(super) fn with_poller<R>(&self, f: impl FnOnce(&Poller) -> io::Result<R>) -> io::Result<R> {
        match &*self.poller.borrow() {
            Some(poller) => f(poller),
            None => Err(crate::LoopError::Closed.into()),
        }
    }

    /// Tells the system of changed interests, each once. Those it refuses count as found ready.
    #[inline]
    pub(crate) fn tell_interests(&self) {
        if !self.sources.changed.borrow().is_empty() {
            self.tell_changed();
        }
    }

    fn tell_changed(&self) {
        let mut changed = self.sources.changed.take();
        for key in changed.drain(..) {
            let Some(entry) = self.sources.entry(key) else { continue };
            entry.listed.set(false);
            let interest = entry.interest.get();
            if entry.told.replace(interest) == interest {
                continue;
            }
            let (fd, trigger) = (entry.io.as_fd(), entry.trigger);
            if self.with_poller(|poller| poller.modify(fd, key, interest, trigger)).is_err() {
                let both = Found { readable: true, writable: true, ..Found::again(key) };
                self.sources.tell_later(&entry, both);
            }
        }
        // The list is put back for its memory; asking for a descriptor changes no interest.
        self.sources.changed.replace(changed);
    }

    /// Tells whoever watches a descriptor what was found about it, as a step.
    #[inline]
    pub(crate) fn dispatch(&self, found: Found, again: bool) {
        let Some((watcher, readiness)) = self.sources.called_by(found, again) else { return };
        let share = Rc::clone(&watcher);
        self.step(crate::steps::Doing::Ready(&watcher), || share.ready(readiness));
        self.sources.look_again(found.key);
        self.release(watcher);
    }

    /// Tells the first `count` of those that are told whatever the system has found.
    #[inline]
    pub(crate) fn dispatch_again(&self, count: usize) {
        for _ in 0..count {
            // A name of its own, so that nothing is borrowed while it is told.
            let next = self.sources.again.borrow_mut().pop_front();
            let Some(found) = next else { break };
            self.dispatch(found, true);
        }
    }

    /// Makes the system's refusal to register a descriptor understandable.
    pub(super) fn explain_refusal(&self, number: RawFd, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::AlreadyExists => match self.sources.owner(number) {
                Some(owner) => used_by(number, &*owner),
                None => io::Error::new(
                    error.kind(),
                    format!("File descriptor {number} is watched already"),
                ),
            },
            io::ErrorKind::PermissionDenied => io::Error::new(
                error.kind(),
                format!(
                    "File descriptor {number} cannot be watched: regular files and directories are always ready"
                ),
            ),
            _ => error,
        }
    }
}

/// The refusal of a descriptor that somebody uses.
pub(crate) fn used_by(number: RawFd, owner: &dyn Watcher) -> io::Error {
    let text = format!("File descriptor {number} is used by {}", owner.name());
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}
