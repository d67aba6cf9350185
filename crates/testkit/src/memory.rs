//! Connections over memory: the real stream transport on a wire that needs no descriptor.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::rc::{Rc, Weak};

use rustix::io::Errno;
use tidegate_protocols::{Protocol, Transport};
use tidegate_reactor::{Enrolled, EventLoop, Interest, LoopHandle, Queued, Readiness, Watcher};
use tidegate_transports::stream::{self, StreamOptions, Wire};

use crate::clock::JumpingClock;
use crate::conformance::{Capabilities, Connecting, Ground};
use crate::dribble::Dribble;

/// How a memory connection is made.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::memory::PairOptions;
///
/// let dribbling = PairOptions { bytes_at_a_time: Some(1), ..PairOptions::default() };
/// assert_eq!(dribbling.capacity, 65_536);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairOptions {
    /// The most bytes that one read or write moves; no limit unless set. One is the hardest test of a
    /// protocol that splits what it receives.
    pub bytes_at_a_time: Option<usize>,
    /// How many bytes fit in each direction between the two ends, as in the buffers of a system; 64 KiB
    /// unless set.
    pub capacity: usize,
    /// Whether one direction can end before the other; true unless set.
    pub half_close: bool,
}

impl Default for PairOptions {
    fn default() -> PairOptions {
        PairOptions { bytes_at_a_time: None, capacity: 64 * 1024, half_close: true }
    }
}

/// Connects `left` and `right` over memory, with the real stream transport at each end.
///
/// No descriptor is registered: readiness goes through the loop's queue, so a
/// [`JumpingClock`] works, and everything happens in the same order each time. Both
/// `connection_made` come in the loop's next batch. An end that goes away is an end of stream for the other,
/// whose writes then fail with `EPIPE`; there are no addresses.
///
/// # Panics
///
/// If the loop is closed, or the capacity or the bytes at a time are zero.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidegate_reactor::{EventLoop, LoopHandle, sleep};
/// use tidegate_testkit::memory::{PairOptions, pair};
/// use tidegate_testkit::{Event, JumpingClock, Recorder};
///
/// let event_loop = EventLoop::with_clock(JumpingClock::new())?;
/// let right = Recorder::new();
/// let heard = right.log();
/// event_loop.run_until_complete(async {
///     let handle = LoopHandle::current().expect("a running loop");
///     let options = PairOptions { bytes_at_a_time: Some(1), ..PairOptions::default() };
///     let (left, _right) = pair(&handle, Recorder::new(), right, options);
///     left.write(b"slowly");
///     sleep(Duration::from_secs(10)).await.expect("the loop lives");
/// })?;
/// heard.assert(&[Event::Made, Event::data("slowly")]);
/// assert_eq!(heard.events().len(), 7);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pair(
    handle: &LoopHandle,
    left: impl Protocol,
    right: impl Protocol,
    options: PairOptions,
) -> (Transport, Transport) {
    let line = Line::open(handle, Box::new(left), Box::new(right), options);
    let line = line.expect("a memory connection on a loop that is not closed");
    (line.left, line.right)
}

/// A memory connection with what lies between its ends, for tests that disturb it.
///
/// # Examples
///
/// ```
/// use std::io::ErrorKind;
/// use tidegate_testkit::memory::{Line, PairOptions};
/// use tidegate_testkit::{Event, Recorder};
///
/// tidegate_testkit::run(async {
///     let left = Recorder::new();
///     let said = left.log();
///     let handle = tidegate_reactor::LoopHandle::current()?;
///     let line = Line::open(&handle, Box::new(left), Box::new(Recorder::new()), PairOptions::default())?;
///     said.made().await;
///     line.reset();
///     said.lost().await;
///     said.assert(&[Event::Made, Event::Lost(Some(ErrorKind::ConnectionReset))]);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Line {
    /// The transport of the left protocol.
    pub left: Transport,
    /// The transport of the right protocol.
    pub right: Transport,
    ends: [Rc<End>; 2],
}

impl Line {
    /// Connects `left` and `right`; see [`pair`].
    ///
    /// # Errors
    ///
    /// If the loop is closed.
    ///
    /// # Panics
    ///
    /// If the capacity or the bytes at a time are zero.
    pub fn open(
        handle: &LoopHandle,
        left: Box<dyn Protocol>,
        right: Box<dyn Protocol>,
        options: PairOptions,
    ) -> io::Result<Line> {
        let ends = End::pair(handle, options);
        let attach = |end: &Rc<End>, protocol| {
            let wire = |watcher: Rc<dyn Watcher>| {
                let enrolled = handle.enrol(Rc::clone(&watcher))?;
                end.watcher.set(Some(watcher));
                let wire = MemoryWire { end: end.clone(), _enrolled: enrolled };
                Ok(Dribble::new(wire, options.bytes_at_a_time))
            };
            stream::open(handle, wire, protocol, StreamOptions::default())
        };
        let left = attach(&ends[0], left)?;
        let right = attach(&ends[1], right)?;
        Ok(Line { left, right, ends })
    }

    /// Breaks the connection, as a RST does: what was on the way is lost, and reading and writing fail with
    /// `ECONNRESET` at both ends.
    pub fn reset(&self) {
        for end in &self.ends {
            end.incoming.reset.set(true);
            end.incoming.bytes.borrow_mut().clear();
        }
        self.ends.iter().for_each(|end| end.announce());
    }

    /// How many bytes are on their way to the right end: taken from the left one, and not yet read.
    pub fn on_the_way(&self) -> usize {
        self.ends[1].incoming.bytes.borrow().len()
    }
}

/// Memory connections as a [`Ground`] of the conformance suite, with a clock that jumps.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::conformance::run_case;
/// use tidegate_testkit::memory::{Memory, PairOptions};
///
/// run_case(Memory::new(PairOptions::default()), "every_ending_keeps_the_grammar");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Memory(PairOptions);

impl Memory {
    /// Connections with these options.
    pub fn new(options: PairOptions) -> Memory {
        Memory(options)
    }
}

impl Ground for Memory {
    fn name(&self) -> String {
        match self.0.bytes_at_a_time {
            None => "memory".to_owned(),
            Some(bytes) => format!("memory, at most {bytes} bytes at a time"),
        }
    }

    fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting {
        let options = self.0;
        Box::pin(async move {
            let line = Line::open(&LoopHandle::current()?, left, right, options)?;
            Ok((line.left, line.right))
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            half_close: self.0.half_close,
            addresses: false,
            descriptor: false,
            bytes_at_a_time: Some(
                self.0.bytes_at_a_time.unwrap_or(usize::MAX).min(self.0.capacity),
            ),
            ..Capabilities::default()
        }
    }

    fn event_loop(&self) -> io::Result<EventLoop> {
        EventLoop::with_clock(JumpingClock::new())
    }
}

/// One direction between the two ends.
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    capacity: usize,
    /// Nothing is written any more: shut down, or the writing end is gone.
    ended: Cell<bool>,
    /// The reading end is gone.
    abandoned: Cell<bool>,
    reset: Cell<bool>,
}

impl Pipe {
    fn new(capacity: usize) -> Rc<Pipe> {
        Rc::new(Pipe {
            bytes: RefCell::new(VecDeque::new()),
            capacity,
            ended: Cell::new(false),
            abandoned: Cell::new(false),
            reset: Cell::new(false),
        })
    }

    fn is_broken(&self) -> bool {
        self.abandoned.get() || self.reset.get()
    }
}

/// One end of a memory connection: what it reads, what it writes, and who waits for which.
struct End {
    me: Weak<End>,
    handle: LoopHandle,
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
    peer: Weak<End>,
    half_close: bool,
    /// Gone with the wire, which breaks the cycle of wire, watcher and transport.
    watcher: Cell<Option<Rc<dyn Watcher>>>,
    interest: Cell<Interest>,
    queued: Cell<bool>,
    hang_up_told: Cell<bool>,
}

impl std::fmt::Debug for End {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("End")
            .field("interest", &self.interest.get())
            .finish_non_exhaustive()
    }
}

impl End {
    fn pair(handle: &LoopHandle, options: PairOptions) -> [Rc<End>; 2] {
        assert!(options.capacity > 0, "a memory connection that holds no byte carries none");
        let to_right = Pipe::new(options.capacity);
        let to_left = Pipe::new(options.capacity);
        let end = |me: &Weak<End>, peer, incoming: &Rc<Pipe>, outgoing: &Rc<Pipe>| End {
            me: me.clone(),
            handle: handle.clone(),
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            peer,
            half_close: options.half_close,
            watcher: Cell::new(None),
            interest: Cell::new(Interest::NONE),
            queued: Cell::new(false),
            hang_up_told: Cell::new(false),
        };
        let mut right = None;
        let left = Rc::new_cyclic(|left: &Weak<End>| {
            let made = Rc::new_cyclic(|me| end(me, left.clone(), &to_right, &to_left));
            let peer = Rc::downgrade(&made);
            right = Some(made);
            end(left, peer, &to_left, &to_right)
        });
        [left, right.expect("made with the left end")]
    }

    /// What could be done now: as a poller would report it for the present interest.
    fn readiness(&self) -> Readiness {
        let interest = self.interest.get();
        let hung_up = self.hung_up();
        let readable =
            !self.incoming.bytes.borrow().is_empty() || self.incoming.ended.get() || hung_up;
        let room = self.outgoing.bytes.borrow().len() < self.outgoing.capacity;
        let writable = room || self.outgoing.is_broken() || hung_up;
        Readiness {
            readable: readable && interest.readable(),
            writable: writable && interest.writable(),
            hung_up,
        }
    }

    /// Both directions are over, or the connection is broken.
    fn hung_up(&self) -> bool {
        self.incoming.reset.get() || (self.incoming.ended.get() && self.outgoing.is_broken())
    }

    /// What the watcher has to be told now, if anything.
    fn news(&self) -> Option<Readiness> {
        let readiness = self.readiness();
        let first_hang_up = readiness.hung_up && !self.hang_up_told.get();
        (readiness.readable || readiness.writable || first_hang_up).then_some(readiness)
    }

    /// Queues a call of the watcher if there is something to say, once.
    fn announce(&self) {
        if self.news().is_some() && !self.queued.replace(true) {
            // A closed loop hears nothing any more.
            let queued = self.me.upgrade().is_some_and(|me| self.handle.queue(me).is_ok());
            self.queued.set(queued);
        }
    }

    fn announce_peer(&self) {
        if let Some(peer) = self.peer.upgrade() {
            peer.announce();
        }
    }

    fn watcher(&self) -> Option<Rc<dyn Watcher>> {
        let watcher = self.watcher.take();
        let share = watcher.clone();
        self.watcher.set(watcher);
        share
    }
}

/// Level-triggered: the watcher is called once a turn, for as long as there is something to do.
impl Queued for End {
    fn run(self: Rc<Self>) {
        self.queued.set(false);
        let (Some(watcher), Some(readiness)) = (self.watcher(), self.news()) else { return };
        self.hang_up_told.set(readiness.hung_up);
        // Queued before the call, so that a callback that panics ends nothing here.
        self.announce();
        watcher.ready(readiness);
    }

    fn name(&self) -> String {
        self.watcher().map_or_else(|| "memory connection".to_owned(), |watcher| watcher.name())
    }
}

/// One end of a memory connection as a wire; the end goes away with it.
struct MemoryWire {
    end: Rc<End>,
    /// Has the watcher told of the loop's end, as a registered descriptor would.
    _enrolled: Enrolled,
}

impl Wire for MemoryWire {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let incoming = &self.end.incoming;
        if incoming.reset.get() {
            return Err(Errno::CONNRESET.into());
        }
        let mut bytes = incoming.bytes.borrow_mut();
        let length = bytes.read(into)?;
        drop(bytes);
        if length == 0 && !into.is_empty() && !incoming.ended.get() {
            return Err(Errno::WOULDBLOCK.into());
        }
        self.end.announce_peer();
        Ok(length)
    }

    /// Zeroes no more memory than it needs.
    fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        let waiting = self.end.incoming.bytes.borrow().len().max(1);
        into.resize(into.capacity().min(before + waiting), 0);
        let read = self.read(&mut into[before..]);
        into.truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        let outgoing = &self.end.outgoing;
        if outgoing.reset.get() {
            return Err(Errno::CONNRESET.into());
        }
        if outgoing.abandoned.get() || outgoing.ended.get() {
            return Err(Errno::PIPE.into());
        }
        let room = outgoing.capacity - outgoing.bytes.borrow().len();
        let length = from.len().min(room);
        if length == 0 && !from.is_empty() {
            return Err(Errno::WOULDBLOCK.into());
        }
        outgoing.bytes.borrow_mut().extend(&from[..length]);
        self.end.announce_peer();
        Ok(length)
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for piece in from {
            match self.write(piece) {
                Ok(length) => written += length,
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(written)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        if self.end.outgoing.reset.get() {
            return Err(Errno::NOTCONN.into());
        }
        self.end.outgoing.ended.set(true);
        self.end.announce_peer();
        Ok(())
    }

    fn can_write_eof(&self) -> bool {
        self.end.half_close
    }

    fn set_interest(&self, interest: Interest) {
        self.end.interest.set(interest);
        self.end.announce();
    }

    fn hung_up(&self) -> bool {
        self.end.hung_up()
    }
}

impl Drop for MemoryWire {
    fn drop(&mut self) {
        let end = &self.end;
        end.interest.set(Interest::NONE);
        end.outgoing.ended.set(true);
        end.incoming.abandoned.set(true);
        drop(end.watcher.take());
        end.announce_peer();
    }
}
