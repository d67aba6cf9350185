//! Readiness by epoll itself: one system call a turn.
//!
//! `polling` makes the descriptor; registering and waiting go straight to it, because `polling`'s own wait
//! spends five system calls where one will do.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::{EVENTS_PER_WAIT, Found, Trigger};
use crate::Interest;

/// The key of the bell. No source has it, and `polling` keeps the one above for itself.
const BELL: u64 = u64::MAX - 1;

/// An epoll descriptor and the bell that ends its wait.
pub(crate) struct Poller {
    poller: polling::Poller,
    bell: Bell,
}

impl Poller {
    /// Whether [`Trigger::Edge`] may be asked for.
    pub(crate) const TELLS_EDGES: bool = true;

    pub(crate) fn new() -> io::Result<Poller> {
        let poller = polling::Poller::new()?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = Bell(Arc::new(eventfd(0, flags)?));
        epoll::add(&poller, &bell.0, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Poller { poller, bell })
    }

    /// The bell, for other threads to ring.
    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        key: u64,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        epoll::add(&self.poller, fd, EventData::new_u64(key), flags(interest, trigger))?;
        Ok(())
    }

    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        key: u64,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        epoll::modify(&self.poller, fd, EventData::new_u64(key), flags(interest, trigger))?;
        Ok(())
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(&self.poller, fd)?;
        Ok(())
    }

    /// Waits for at most `timeout`, which is a whole number of milliseconds and at most a day, and replaces
    /// what is in `events`. A signal that interrupts the wait ends it with no events.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos() as _,
        });
        events.list.clear();
        match epoll::wait(&self.poller, spare_capacity(&mut events.list), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }

        // The bell is level-triggered, so it is silenced as soon as it is heard. The mail is read later.
        if let Some(place) = events.list.iter().position(|event| event.data.u64() == BELL) {
            events.list.swap_remove(place);
            self.bell.silence();
        }
        Ok(())
    }
}

/// What ends a wait from another thread: a counter of the kernel's.
#[derive(Clone)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(crate) fn ring(&self) {
        // It fails only when the counter is at its end, and then the bell rings already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// As if it had been rung 2^64 - 2 times.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        let _ = rustix::io::write(&self.0, &(u64::MAX - 1).to_ne_bytes());
    }

    fn silence(&self) {
        let mut counted = [0; 8];
        let _ = rustix::io::read(&self.0, &mut counted);
    }
}

/// What a wait found.
pub(crate) struct Events {
    list: Vec<epoll::Event>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { list: Vec::with_capacity(EVENTS_PER_WAIT) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Found> {
        self.list.iter().map(|event| {
            let flags = event.flags;
            Found {
                key: event.data.u64(),
                readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP),
                writable: flags.intersects(EventFlags::OUT),
                hung_up: flags.intersects(EventFlags::HUP | EventFlags::ERR),
                read_on: flags.intersects(READ_ON),
            }
        })
    }
}

/// What a short read can leave behind without a new edge to come.
const READ_ON: EventFlags =
    EventFlags::RDHUP.union(EventFlags::PRI).union(EventFlags::HUP).union(EventFlags::ERR);

/// Hang-up and error are told whatever the flags. With no interest they are told once, or a peer's reset
/// would make the loop spin.
fn flags(interest: Interest, trigger: Trigger) -> EventFlags {
    let directions = match (interest.readable(), interest.writable()) {
        (false, false) => EventFlags::empty(),
        (true, false) => EventFlags::IN | EventFlags::RDHUP,
        (false, true) => EventFlags::OUT,
        (true, true) => EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT,
    };
    match trigger {
        Trigger::Level if interest == Interest::NONE => EventFlags::ONESHOT,
        Trigger::Level => directions,
        Trigger::Edge if interest.readable() => directions | EventFlags::PRI | EventFlags::ET,
        Trigger::Edge => directions | EventFlags::ET,
    }
}
