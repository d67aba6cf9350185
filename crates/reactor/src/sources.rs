//! Descriptors that the loop watches, and who is told when they are ready.

use std::fmt;
use std::io;
use std::ops::{BitAnd, BitOr};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use crate::LoopHandle;
use crate::poller::{Poller, Trigger};

mod table;

pub(crate) use table::Sources;
pub(crate) use table::used_by;
use table::{Entry, Seen, Stage};

/// The directions in which a descriptor is watched.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::Interest;
///
/// let interest = Interest::NONE | Interest::WRITE;
/// assert!(interest.writable() && !interest.readable());
/// assert_eq!(Interest::READ | Interest::WRITE, Interest::BOTH);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// Neither direction. A hang-up is told all the same, once.
    pub const NONE: Interest = Interest(0);
    /// Reading.
    pub const READ: Interest = Interest(1);
    /// Writing.
    pub const WRITE: Interest = Interest(2);
    /// Both directions.
    pub const BOTH: Interest = Interest(3);

    /// Whether reading is among them.
    #[must_use]
    pub fn readable(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether writing is among them.
    #[must_use]
    pub fn writable(self) -> bool {
        self.0 & 2 != 0
    }

    /// Without the directions of `other`.
    pub(crate) fn without(self, other: Interest) -> Interest {
        Interest(self.0 & !other.0)
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl BitAnd for Interest {
    type Output = Interest;

    fn bitand(self, other: Interest) -> Interest {
        Interest(self.0 & other.0)
    }
}

/// What was found about a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// A read would not wait, and the present interest includes reading.
    pub readable: bool,
    /// A write would not wait, and the present interest includes writing.
    pub writable: bool,
    /// The connection is gone in both directions, or an error waits. It makes every direction of interest
    /// ready.
    pub hung_up: bool,
}

/// Whoever is told that a descriptor is ready.
pub trait Watcher: 'static {
    /// Called once a turn while interest and readiness hold; level-triggered. It is a step of the loop: a
    /// panic is caught and reported, and the loop goes on.
    fn ready(self: Rc<Self>, readiness: Readiness);

    /// What it is called in reports and refusals.
    fn name(&self) -> String;

    /// `run` has ended and wants everything to end: transports abort, servers close. The loop still makes
    /// turns, so callbacks are delivered. The default does nothing.
    fn shut_down(self: Rc<Self>) {}

    /// The loop is being closed, and its tasks live still: listening ends. The default does nothing.
    fn stop_listening(self: Rc<Self>) {}

    /// The loop is closed: nothing will ever be called again. Whatever the watcher owns, its [`Source`] and
    /// the user's protocol included, should be dropped now, with no callback; it cuts the cycle of a watcher
    /// that owns its source. The default does nothing.
    fn loop_closed(self: Rc<Self>) {}
}

/// Owns a descriptor and its registration: dropped, it is deregistered first and closed then.
///
/// # Examples
///
/// ```
/// use std::{io::Write, os::unix::net::UnixStream, rc::Rc};
/// use tidegate_reactor::{EventLoop, Interest, LoopHandle, Readiness, Source, Watcher};
///
/// struct Stop(LoopHandle);
///
/// impl Watcher for Stop {
///     fn ready(self: Rc<Self>, readiness: Readiness) {
///         assert!(readiness.readable);
///         self.0.stop();
///     }
///     fn name(&self) -> String {
///         "stop".to_owned()
///     }
/// }
///
/// let event_loop = EventLoop::new()?;
/// let handle = event_loop.handle();
/// let (mut near, far) = UnixStream::pair()?;
/// let source = Source::new(&handle, far, Interest::READ, Rc::new(Stop(handle.clone())))?;
/// near.write_all(b"!")?;
/// event_loop.run_forever()?;
/// drop(source);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Source<T: AsFd + 'static> {
    entry: Rc<Entry<T>>,
    home: LoopHandle,
}

impl<T: AsFd + 'static> Source<T> {
    /// Registers `io`, whose descriptor must stay the same, and from now on tells `watcher` what `interest`
    /// asks for. The loop keeps a share of the watcher until the source is dropped.
    ///
    /// A socket that is not connected yet counts as hung up; start the connection first.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the loop watches the same descriptor already, with the name of its watcher;
    /// `PermissionDenied` for regular files and directories, which are never waited for; the error of
    /// [`LoopError::Closed`](crate::LoopError::Closed) if the loop is closed; whatever else the system says.
    /// In each case `io` is dropped, and so is `watcher`.
    pub fn new(
        handle: &LoopHandle,
        io: T,
        interest: Interest,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<Source<T>> {
        Source::register(handle, io, interest, Trigger::Level, watcher)
    }

    /// As [`new`](Source::new), for an owner that says when a direction is not ready any more, by
    /// [`clear_ready`](Source::clear_ready).
    ///
    /// The watcher is told just as often: once a turn, for as long as interest and readiness hold. But the loop
    /// takes the owner's word for it, where it would have to ask the system at each wait otherwise. (Measured
    /// on echoes: a tenth of all processor time.) And it tells the system that a direction is not wanted any
    /// more only once that direction was found ready all the same.
    ///
    /// An owner that forgets to say so is told in every turn; one that says so though something is left may
    /// wait for ever. Where the system does not tell edges this is `new`.
    ///
    /// # Errors
    ///
    /// As for [`new`](Source::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::OnceCell, io::{Read, Write}, os::unix::net::UnixStream, rc::Rc};
    /// use tidegate_reactor::{EventLoop, Interest, LoopHandle, Readiness, Source, Watcher};
    ///
    /// struct Reads(LoopHandle, OnceCell<Source<UnixStream>>);
    ///
    /// impl Watcher for Reads {
    ///     fn ready(self: Rc<Self>, _readiness: Readiness) {
    ///         let source = self.1.get().unwrap();
    ///         let read = source.get_ref().read(&mut [0; 3]).unwrap();
    ///         if read < 3 && source.short_read_empties() {
    ///             source.clear_ready(Interest::READ);
    ///             self.0.stop();
    ///         }
    ///     }
    ///     fn name(&self) -> String {
    ///         "reads three bytes a turn".to_owned()
    ///     }
    /// }
    ///
    /// let event_loop = EventLoop::new()?;
    /// let handle = event_loop.handle();
    /// let (mut near, far) = UnixStream::pair()?;
    /// far.set_nonblocking(true)?;
    /// let reads = Rc::new(Reads(handle.clone(), OnceCell::new()));
    /// reads.1.set(Source::edge_triggered(&handle, far, Interest::READ, reads.clone())?).unwrap();
    /// near.write_all(b"hello")?;
    /// event_loop.run_forever()?;
    /// # event_loop.close()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn edge_triggered(
        handle: &LoopHandle,
        io: T,
        interest: Interest,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<Source<T>> {
        let trigger = if Poller::TELLS_EDGES { Trigger::Edge } else { Trigger::Level };
        Source::register(handle, io, interest, trigger, watcher)
    }

    fn register(
        handle: &LoopHandle,
        io: T,
        interest: Interest,
        trigger: Trigger,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<Source<T>> {
        let core = handle.core();
        core.check_open()?;
        let number = io.as_fd().as_raw_fd();
        let entry = Rc::new(Entry::new(io, number, interest, trigger));
        let shared: Rc<Entry<dyn AsFd>> = entry.clone();
        core.sources.insert(Some(&shared), watcher);

        // From here on the destructor undoes it.
        let source = Source { entry, home: handle.clone() };
        let fd = source.entry.io.as_fd();
        let added =
            core.with_poller(|poller| poller.add(fd, source.entry.key.get(), interest, trigger));
        match added {
            Ok(()) => {
                source.entry.stage.set(Stage::Registered);
                core.sources.claim(&source.entry);
                Ok(source)
            }
            Err(error) => Err(core.explain_refusal(number, error)),
        }
    }

    /// What it owns.
    pub fn get_ref(&self) -> &T {
        &self.entry.io
    }

    /// The directions in which it is watched.
    #[must_use]
    pub fn interest(&self) -> Interest {
        self.entry.interest.get()
    }

    /// Changes the directions in which it is watched. It holds at once: a direction given up is not reported
    /// any more, even if it was found ready already.
    ///
    /// The system is told at most once a turn, before the loop waits, and only if something differs then. Should it refuse,
    /// the watcher is told that every direction is ready, so that its next read or write meets the error.
    pub fn set_interest(&self, interest: Interest) {
        if self.entry.interest.replace(interest) != interest {
            self.home.core().sources.interest_changed(&self.entry);
        }
    }

    /// The owner has found that `direction` is not ready any more: a read or a write would wait, or has
    /// transferred less than it was asked to.
    ///
    /// A short read empties the descriptor only where [`short_read_empties`](Source::short_read_empties) says
    /// so. It does nothing to a source that is not [edge-triggered](Source::edge_triggered).
    pub fn clear_ready(&self, direction: Interest) {
        self.entry.clear_ready(direction);
    }

    /// Whether a read from a stream that brings less than was asked for leaves nothing behind.
    ///
    /// It does not once the end of the stream, an error or an urgent byte was found, or its owner has
    /// [said](Source::distrust_short_reads) that it never does: then only a read that would wait has read everything.
    #[must_use]
    pub fn short_read_empties(&self) -> bool {
        self.entry.seen.get() == Seen::Nothing
    }

    /// The owner knows that a short read can leave something behind, as on Unix sockets, where a read ends behind
    /// each passed descriptor.
    pub fn distrust_short_reads(&self) {
        self.entry.seen.set(self.entry.seen.get().max(Seen::ReadOn));
    }

    /// Whether a hang-up was found: the connection is gone in both directions, or an error was waiting.
    #[must_use]
    pub fn hung_up(&self) -> bool {
        self.entry.seen.get() >= Seen::HungUpUntold
    }

    /// The owner is closing: `add_reader` and `add_writer` are allowed on this descriptor from now on.
    pub fn release(&self) {
        self.entry.stage.set(Stage::Released);
    }

    /// Deregisters, and gives back what it owned, still open.
    pub fn into_inner(self) -> T {
        self.deregister();
        let entry = Rc::clone(&self.entry);
        drop(self);
        // The loop's share went with the registration; others live only inside of calls of the loop's own
        // that call no user code.
        match Rc::into_inner(entry) {
            Some(entry) => entry.io,
            None => unreachable!("a source was taken apart by its own descriptor"),
        }
    }

    fn deregister(&self) {
        let core = self.home.core();
        if self.entry.stage.replace(Stage::Unregistered) != Stage::Unregistered {
            let fd = self.entry.io.as_fd();
            // Always before the descriptor is closed: a duplicate of it would keep the registration alive.
            // A refusal means that it is gone already.
            let _ = core.with_poller(|poller| poller.delete(fd));
        }
        if let Some(watcher) = core.sources.remove(self.entry.key.get()) {
            core.release(watcher);
        }
    }
}

impl<T: AsFd + 'static> Drop for Source<T> {
    fn drop(&mut self) {
        self.deregister();
    }
}

impl<T: AsFd + 'static> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("descriptor", &self.entry.number)
            .field("interest", &self.interest())
            .field("hung_up", &self.hung_up())
            .finish()
    }
}

/// A watcher's place in a loop without a descriptor; see [`LoopHandle::enrol`]. Dropped, it is given up.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use tidegate_reactor::{EventLoop, Readiness, Watcher};
///
/// #[derive(Default)]
/// struct InMemory {
///     lost: Cell<bool>,
/// }
///
/// impl Watcher for InMemory {
///     fn ready(self: Rc<Self>, _readiness: Readiness) {}
///     fn name(&self) -> String {
///         "a connection in memory".to_owned()
///     }
///     fn loop_closed(self: Rc<Self>) {
///         self.lost.set(true);
///     }
/// }
///
/// let event_loop = EventLoop::new()?;
/// let connection = Rc::new(InMemory::default());
/// let enrolled = event_loop.handle().enrol(connection.clone())?;
/// event_loop.close()?;
/// assert!(connection.lost.get());
/// drop(enrolled);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Enrolled {
    home: LoopHandle,
    key: u64,
}

impl Enrolled {
    pub(crate) fn new(home: &LoopHandle, watcher: Rc<dyn Watcher>) -> Enrolled {
        let key = home.core().sources.insert(None, watcher);
        Enrolled { home: home.clone(), key }
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        let core = self.home.core();
        if let Some(watcher) = core.sources.remove(self.key) {
            core.release(watcher);
        }
    }
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolled").finish_non_exhaustive()
    }
}
