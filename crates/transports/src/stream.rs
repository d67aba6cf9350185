//! The stream transport: one for every kind of descriptor.
//!
//! The loop owns a connection through the [`Watcher`] that its wire registers, until it is lost; the
//! connection owns its protocol in a [`Slot`]. What a connection does is in seven rooms: `reading`,
//! `writing` (with the flow), `turn` (what is sent without being written), `closing` (with the loss), `linger`,
//! `detaching`, and `face` (what a [`Transport`] handle can ask of it).

mod closing;
mod detaching;
mod face;
mod linger;
mod reading;
mod turn;
mod writing;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use tidegate_protocols::{
    Address, Caller, Cause, Owed, Protocol, Slot, Transport, Waiters, WriteBuffer, WriteLimits,
};
use tidegate_reactor::{Deferred, Interest, LoopHandle, OfferReason, Queued, Readiness, Watcher};

use crate::lifecycle::{Life, LifeEvent, Reading, ReadingEvent, Writing};
use linger::Linger;
use turn::{Held, Sender};

pub use crate::socket::Socket;
pub use crate::unix::UnixSocket;
use crate::wire::is_nothing_now;
pub use crate::wire::{Directions, Wire};

/// Is told once when a connection is gone: `connection_lost` was delivered and its wire is closed.
///
/// A server keeps account of its connections so.
pub trait Attached: 'static {
    /// The connection that was opened with the number `member` is gone.
    fn detached(&self, member: usize);
}

/// Is called once, directly after `connection_made` has returned or panicked; never if the loop closes first.
pub type Greeted = Box<dyn FnOnce(&Transport)>;

/// What a stream transport is opened with.
#[derive(Default)]
pub struct StreamOptions {
    /// When `pause_writing` and `resume_writing` come; 64 KiB and 16 KiB unless set.
    pub limits: WriteLimits,
    /// Ends the connection when more bytes than this wait to be sent; no limit unless set.
    pub abort_above: Option<usize>,
    /// The peer's address, where it is known already; else the wire is asked.
    pub peername: Option<Address>,
    /// Whom to tell when the connection is gone, and by which number it knows this one.
    pub attached: Option<(Rc<dyn Attached>, usize)>,
    /// What to call after `connection_made`.
    pub greeted: Option<Greeted>,
    /// The protocol is that of a layer, so the connection cannot be detached; not so unless set.
    pub layered: bool,
}

/// Opens a stream transport over a wire.
///
/// `wire` is called once with the watcher that the wire has to register, with
/// [`Interest::READ`] for a connection that was accepted and [`Interest::NONE`] for one that was made:
/// either way reading starts when `connection_made` has returned. `connection_made` itself is queued: it
/// comes in the loop's next batch.
///
/// The asyncio counterpart is `_SelectorSocketTransport.__init__`.
///
/// # Errors
///
/// What `wire` answers, or that the loop is closed; the protocol is then dropped without a callback.
pub fn open<W: Wire>(
    handle: &LoopHandle,
    wire: impl FnOnce(Rc<dyn Watcher>) -> io::Result<W>,
    protocol: Box<dyn Protocol>,
    options: StreamOptions,
) -> io::Result<Transport> {
    open_connection(handle, wire, protocol, options).map(|connection| connection.transport())
}

/// As [`open`], with what was written before: `unsent` is sent first, and `write_eof` says that nothing follows it.
pub(crate) fn go_on<W: Wire>(
    handle: &LoopHandle,
    wire: impl FnOnce(Rc<dyn Watcher>) -> io::Result<W>,
    protocol: Box<dyn Protocol>,
    options: StreamOptions,
    (unsent, write_eof): (WriteBuffer, bool),
) -> io::Result<Transport> {
    let connection = open_connection(handle, wire, protocol, options)?;
    connection.carry_on(unsent, write_eof);
    Ok(connection.transport())
}

fn open_connection<W: Wire>(
    handle: &LoopHandle,
    wire: impl FnOnce(Rc<dyn Watcher>) -> io::Result<W>,
    protocol: Box<dyn Protocol>,
    options: StreamOptions,
) -> io::Result<Rc<Connection<W>>> {
    let connection = Rc::new_cyclic(|me: &Weak<Connection<W>>| Connection {
        me: me.clone(),
        handle: handle.clone(),
        wire: RefCell::new(None),
        slot: Slot::new(protocol),
        face: Cell::new(None),
        life: Cell::new(Life::Opening),
        reading: Cell::new(Reading::NotYet),
        writing: Cell::new(Writing::Open),
        owed: Cell::new(Owed::Open),
        refused: Cell::new(false),
        enlisted: Cell::new(false),
        receiving: Cell::new(false),
        greeted: Cell::new(false),
        unsent: Cell::new(false),
        sender: Cell::new(Sender::Writers),
        layered: Cell::new(options.layered),
        limits: Cell::new(options.limits),
        abort_above: Cell::new(options.abort_above.unwrap_or(usize::MAX)),
        buffer: RefCell::new(WriteBuffer::new()),
        touched: Cell::new(0),
        received: Cell::new(0),
        sent: Cell::new(0),
        paused_since: Cell::new(u64::MAX),
        cause: Cell::new(None),
        peername: RefCell::new(options.peername),
        kept: Cell::new(None),
        hung_up: Cell::new(false),
        closed: Waiters::new(),
        flushed: Waiters::new(),
        at_greeting: Cell::new(options.greeted.map(Box::new)),
        attached: Cell::new(options.attached),
        seldom: Cell::new(None),
    });
    let wire = wire(connection.clone())?;
    if connection.peername.borrow().is_none() {
        let peername = wire.peername();
        *connection.peername.borrow_mut() = peername;
    }
    connection.reading.set(Reading::of(wire.directions()));
    connection.writing.set(Writing::of(wire.directions()));
    *connection.wire.borrow_mut() = Some(wire);
    if let Err(error) = handle.queue(connection.clone()) {
        connection.close_wire();
        return Err(error.into());
    }
    Ok(connection)
}

/// One connection. Every field that may hold a user's value is a cell that is taken, used and put back.
///
/// What every event touches comes first, so that it lies in few cache lines.
#[repr(C)]
struct Connection<W: Wire> {
    life: Cell<Life>,
    reading: Cell<Reading>,
    writing: Cell<Writing>,
    owed: Cell<Owed>,
    /// The system took less than it was offered: the rest waits until the wire is writable.
    refused: Cell<bool>,
    /// This is on the loop's list of what is done when the step ends.
    enlisted: Cell<bool>,
    /// One of the receiving callbacks is running; what it writes is offered when it returns.
    receiving: Cell<bool>,
    /// `connection_made` was called.
    greeted: Cell<bool>,
    /// Bytes that were accepted have been dropped.
    unsent: Cell<bool>,
    /// Who sends; unless it is the writers, `refused` holds back what they write.
    sender: Cell<Sender>,
    /// A layer is part of this, so it cannot be detached.
    layered: Cell<bool>,
    me: Weak<Connection<W>>,
    handle: LoopHandle,
    /// Gone when the connection is lost, so that a stray handle never keeps the peer waiting.
    wire: RefCell<Option<W>>,
    slot: Slot<dyn Protocol>,
    /// The handle that the protocol's callbacks are given; gone when the connection is lost.
    face: Cell<Option<Transport>>,
    buffer: RefCell<WriteBuffer>,
    limits: Cell<WriteLimits>,
    abort_above: Cell<usize>,
    /// The step in which bytes were last written.
    touched: Cell<u64>,
    received: Cell<u64>,
    sent: Cell<u64>,
    flushed: Waiters,

    closed: Waiters,
    /// When the flow was paused, in nanoseconds of the loop's clock; `u64::MAX` while it is open.
    paused_since: Cell<u64>,
    cause: Cell<Option<Cause>>,
    peername: RefCell<Option<Address>>,
    /// Kept when the wire is closed, which knows it until then.
    kept: Cell<Option<Box<Kept>>>,
    /// Whether the peer had hung up when the wire was closed.
    hung_up: Cell<bool>,
    at_greeting: Cell<Option<Box<Greeted>>>,
    attached: Cell<Option<(Rc<dyn Attached>, usize)>>,
    seldom: Cell<Option<Box<Seldom>>>,
}

/// What few connections need, behind one pointer.
#[derive(Default)]
struct Seldom {
    linger: Option<Linger>,
    turn: Option<Rc<Held>>,
}

/// What is known of a wire that is closed.
struct Kept {
    sockname: Option<Address>,
    extra_info: Option<Rc<dyn Any>>,
}

impl<W: Wire> Connection<W> {
    /// The handle on a connection that has just been opened.
    fn transport(self: &Rc<Self>) -> Transport {
        let transport = Transport::new(self.clone());
        self.face.set(Some(transport.clone()));
        transport
    }

    /// A share of this connection. It is called with one alive, so there is always another to be had.
    fn share(&self) -> Rc<Connection<W>> {
        self.me.upgrade().expect("a connection is asked through a share of it")
    }

    /// The handle for a callback; none once the connection is lost.
    fn face(&self) -> Option<Transport> {
        let face = self.face.take();
        let copy = face.clone();
        self.face.set(face);
        copy
    }

    /// Asks the wire, unless it is gone. `ask` is ours: it runs no code of the user's.
    fn ask_wire<R>(&self, ask: impl FnOnce(&W) -> R) -> Option<R> {
        self.wire.borrow().as_ref().map(ask)
    }

    /// Adds to what few connections need.
    fn keep_seldom(&self, add: impl FnOnce(&mut Seldom)) {
        let mut seldom = self.seldom.take().unwrap_or_default();
        add(&mut seldom);
        self.seldom.set(Some(seldom));
    }

    /// Looks at what few connections need, if this one does. `look` is ours: it runs no code of the user's.
    fn with_seldom<R>(&self, look: impl FnOnce(&mut Seldom) -> Option<R>) -> Option<R> {
        let mut seldom = self.seldom.take()?;
        let answer = look(&mut seldom);
        let needed = seldom.linger.is_some() || seldom.turn.is_some();
        self.seldom.set(needed.then_some(seldom));
        answer
    }

    /// Tells the wire what this connection waits for now.
    fn update_interest(&self) {
        let life = self.life.get();
        let reads = match life {
            Life::Opening | Life::Open if self.is_flowing() => !self.slot.is_awaited(),
            // Whether the reader of a pipe is there still.
            Life::Opening | Life::Open | Life::Draining => self.reading.get() == Reading::Absent,
            Life::Lingering => true,
            Life::Losing | Life::Lost => false,
        };
        let writes = self.refused.get() && life.takes_bytes() && self.sender.get().awaits_wire();
        let interest = match (reads, writes) {
            (false, false) => Interest::NONE,
            (true, false) => Interest::READ,
            (false, true) => Interest::WRITE,
            (true, true) => Interest::BOTH,
        };
        self.ask_wire(|wire| wire.set_interest(interest));
    }

    /// Puts this on the list of what the loop does when the step ends, once.
    fn enlist(&self) {
        if self.enlisted.replace(true) {
            if self.owes_callbacks() {
                self.handle.hurry();
            }
        } else if self.handle.at_step_end(self.share()).is_err() {
            self.enlisted.set(false);
        }
    }

    /// Delivers `connection_made`, then lets the bytes flow.
    fn greet(&self) {
        let Some(face) = self.face() else { return };
        if self.slot.is_lent() {
            return self.wait_for_home();
        }
        self.greeted.set(true);
        self.callback("connection_made", |protocol| protocol.connection_made(&face));
        self.life.set(self.life.get().on(LifeEvent::Greeted));
        self.reading.set(self.reading.get().on(ReadingEvent::Start));
        if !self.life.get().is_over() {
            self.update_interest();
        }
        // Notices that fell due before the greeting, and a close before it, go on from here.
        if self.owes_callbacks() {
            self.enlist();
        }
        if let Some(greeted) = self.at_greeting.take() {
            greeted(&face);
        }
    }

    /// Whether a notice is due, or a close to be finished.
    fn owes_callbacks(&self) -> bool {
        self.owed.get().due().is_some() || self.life.get() == Life::Draining
    }

    /// Somebody looks at the protocol and runs the loop meanwhile: what is due waits until the protocol is home, and
    /// nothing is read before.
    #[cold]
    fn wait_for_home(&self) {
        self.slot.when_home(self.share());
        self.update_interest();
    }

    /// What reports call this connection.
    fn title(&self) -> String {
        match &*self.peername.borrow() {
            Some(peer) => format!("transport to {peer}"),
            None => "transport".to_owned(),
        }
    }
}

impl<W: Wire> Watcher for Connection<W> {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        if readiness.readable {
            self.on_readable();
        }
        if readiness.writable {
            self.on_writable();
        }
    }

    fn name(&self) -> String {
        self.title()
    }

    fn shut_down(self: Rc<Self>) {
        self.abort_with(None);
    }

    fn loop_closed(self: Rc<Self>) {
        self.forget();
    }
}

impl<W: Wire> Caller for Connection<W> {
    fn protocol_is_home(self: Rc<Self>) {
        self.update_interest();
        // A loop that is closed calls nobody.
        let _closed = self.handle.queue(self.clone());
        if !self.greeted.get() && self.life.get() == Life::Losing {
            // Both have waited.
            self.queue_loss();
        }
    }
}

/// A connection queues itself for the two callbacks that frame its life.
impl<W: Wire> Queued for Connection<W> {
    fn run(self: Rc<Self>) {
        if !self.greeted.get() {
            self.greet();
        } else if self.life.get() == Life::Losing {
            self.lose();
        } else {
            self.settle();
        }
    }

    fn name(&self) -> String {
        self.title()
    }
}

/// A connection is on the step's list with bytes to offer, notices to deliver, or a close to finish.
impl<W: Wire> Deferred for Connection<W> {
    fn touched(&self) -> u64 {
        if self.owes_callbacks() { 0 } else { self.touched.get() }
    }

    fn offer(self: Rc<Self>, reason: OfferReason) {
        self.enlisted.set(false);
        if !self.refused.get() {
            self.offer_buffer();
        }
        match reason {
            OfferReason::Closing => {}
            // Somebody's call is on the stack: what is owed waits for the end of the step.
            OfferReason::Asked if self.owes_callbacks() => self.enlist(),
            OfferReason::Asked => {}
            _ => self.settle(),
        }
    }
}
