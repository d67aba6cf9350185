//! Readiness through `polling`, on every system it knows.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, PollMode};

use super::{EVENTS_PER_WAIT, Found, Trigger};
use crate::Interest;

/// A poller of `polling`, which brings its own bell.
pub(crate) struct Poller {
    poller: Arc<polling::Poller>,
}

impl Poller {
    /// Whether [`Trigger::Edge`] may be asked for: no, since not every system has edges.
    pub(crate) const TELLS_EDGES: bool = false;

    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller { poller: Arc::new(polling::Poller::new()?) })
    }

    /// The bell, for other threads to ring.
    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.poller))
    }

    #[allow(unsafe_code, reason = "registering is unsafe in polling, and the loop exists to do it")]
    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        key: u64,
        interest: Interest,
        _level: Trigger,
    ) -> io::Result<()> {
        let (event, mode) = event(key, interest);
        // SAFETY: polling asks that a descriptor be open when it is added, and deleted before it is closed.
        // It is open, because it is borrowed. The only caller is `Source`, which keeps the descriptor's
        // owner for as long as it is registered and deletes the registration in its destructor, before the
        // owner is dropped. If that destructor never runs (a leaked `Source`), neither does the owner's,
        // and the descriptor stays open.
        unsafe { self.poller.add_with_mode(fd.as_raw_fd(), event, mode) }
    }

    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        key: u64,
        interest: Interest,
        _level: Trigger,
    ) -> io::Result<()> {
        let (event, mode) = event(key, interest);
        self.poller.modify_with_mode(fd, event, mode)
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.poller.delete(fd)
    }

    /// Waits for at most `timeout`, which is a whole number of milliseconds and at most a day, and replaces
    /// what is in `events`. `polling` silences the bell by itself, and goes on waiting after a signal.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.list.clear();
        self.poller.wait(&mut events.list, timeout)?;
        Ok(())
    }
}

/// What ends a wait from another thread.
#[derive(Clone)]
pub(crate) struct Bell(Arc<polling::Poller>);

impl Bell {
    pub(crate) fn ring(&self) {
        // As with a full pipe: if it cannot ring, it rings already.
        let _ = self.0.notify();
    }
}

/// What a wait found.
pub(crate) struct Events {
    list: polling::Events,
}

impl Events {
    pub(crate) fn new() -> Events {
        let capacity = NonZeroUsize::new(EVENTS_PER_WAIT).unwrap_or(NonZeroUsize::MIN);
        Events { list: polling::Events::with_capacity(capacity) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Found> {
        self.list.iter().map(|event| Found {
            key: event.key as u64,
            readable: event.readable,
            writable: event.writable,
            hung_up: event.is_interrupt() || event.is_err() == Some(true),
            read_on: false,
        })
    }
}

/// With no interest a hang-up is told once, or a peer's reset would make the loop spin.
fn event(key: u64, interest: Interest) -> (Event, PollMode) {
    let mode = if interest == Interest::NONE { PollMode::Oneshot } else { PollMode::Level };
    let event = Event::new(key as usize, interest.readable(), interest.writable());
    (event, mode)
}
