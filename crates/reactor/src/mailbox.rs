//! The mailbox of a loop: how other threads hand it letters and end its sleep.
//!
//! A letter is put in under a lock, and the bell is rung only if the loop sleeps. The loop says that it goes
//! to sleep *before* it looks for letters, and a writer says that there is a letter *before* it looks whether
//! the loop sleeps; a fence stands between the two on either side, so one of them always sees the other.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
#[cfg(not(all(loom, test)))]
use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, fence},
};

#[cfg(all(loom, test))]
use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, fence},
};

#[cfg(all(loom, test))]
mod interleavings;
#[cfg(all(not(loom), test))]
mod tests;

/// What ends the sleep of a loop.
pub(crate) trait Ring {
    fn ring(&self);
}

pub(crate) struct Mailbox<L, B> {
    /// There are letters. Never false while there are, but for moments under the lock.
    waiting: AtomicBool,
    /// The loop sleeps, or is about to, and nobody has rung yet.
    asleep: AtomicBool,
    room: Mutex<Room<L, B>>,
    /// Told of letters that somebody waits for; see [`Mailbox::wait`].
    delivered: Condvar,
}

struct Room<L, B> {
    door: Door,
    letters: Vec<L>,
    /// Somebody waits for letters; telling nobody would still be a system call.
    awaited: bool,
    /// Kept under the lock so that nobody rings a bell that is being taken down.
    bell: Option<B>,
}

/// Who may put a letter in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    Open,
    /// The loop closes: calls are refused, wake-ups of its remaining tasks are not.
    WakesOnly,
    Shut,
}

/// What kind of letter it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Wake,
}

impl<L, B: Ring> Mailbox<L, B> {
    pub(crate) fn new(bell: B) -> Mailbox<L, B> {
        Mailbox {
            waiting: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            room: Mutex::new(Room {
                door: Door::Open,
                letters: Vec::new(),
                awaited: false,
                bell: Some(bell),
            }),
            delivered: Condvar::new(),
        }
    }

    /// Puts a letter in, from any thread; gives it back if the door is closed to its kind.
    pub(crate) fn post(&self, kind: Kind, letter: L) -> Result<(), L> {
        let mut room = self.lock();
        match (room.door, kind) {
            (Door::Open, _) | (Door::WakesOnly, Kind::Wake) => {}
            (Door::WakesOnly, Kind::Call) | (Door::Shut, _) => return Err(letter),
        }
        room.letters.push(letter);
        if room.awaited {
            self.delivered.notify_one();
        }
        self.waiting.store(true, Relaxed);
        fence(SeqCst);
        if self.asleep.swap(false, Relaxed)
            && let Some(bell) = &room.bell
        {
            bell.ring();
        }
        Ok(())
    }

    /// Whether there are letters; cheap enough to ask at every turn.
    pub(crate) fn has_letters(&self) -> bool {
        self.waiting.load(Relaxed)
    }

    /// Whether calls are still accepted.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().door == Door::Open
    }

    /// Moves all letters to the end of `into`, in the order in which they came.
    pub(crate) fn take(&self, into: &mut Vec<L>) {
        let mut room = self.lock();
        into.append(&mut room.letters);
        self.waiting.store(false, Relaxed);
    }

    /// The loop is about to sleep: from now on the bell is rung. False, and nothing changed, if it must read
    /// its letters first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
        let must_read = self.waiting.load(Relaxed);
        if must_read {
            self.asleep.store(false, Relaxed);
        }
        !must_read
    }

    /// The loop is awake. A ring that comes too late makes one more empty turn.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Relaxed);
    }

    /// Closes the door as far as `door` says; gives back the bell when it is shut, to be taken down with no
    /// lock held.
    pub(crate) fn close(&self, door: Door) -> Option<B> {
        let mut room = self.lock();
        room.door = room.door.max(door);
        if room.door == Door::Shut { room.bell.take() } else { None }
    }

    /// Waits until there is a letter. For a loop that drops its tasks, and knows that one is on its way.
    pub(crate) fn wait(&self) {
        let mut room = self.lock();
        room.awaited = true;
        while room.letters.is_empty() {
            room = self.delivered.wait(room).unwrap_or_else(PoisonError::into_inner);
        }
        room.awaited = false;
    }

    /// Whether somebody is in [`wait`](Self::wait).
    #[cfg(all(not(loom), test))]
    pub(crate) fn is_awaited(&self) -> bool {
        self.lock().awaited
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, Room<L, B>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
