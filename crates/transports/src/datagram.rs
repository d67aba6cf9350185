//! The datagram transport: one for every kind of socket that keeps datagrams apart.
//!
//! The loop owns an endpoint through the [`Watcher`] that its wire registers, until it is lost; the endpoint owns its
//! protocol in a [`Slot`]. What an endpoint does is in four rooms: `receiving`, `sending` (with the flow), `closing`
//! (with the loss), and `face` (what a [`DatagramTransport`] handle can ask of it).

mod closing;
mod face;
mod offload;
mod queue;
mod receiving;
mod segments;
mod sending;
mod socket;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::{Rc, Weak};

use tidegate_protocols::{
    Address, Caller, Cause, DatagramProtocol, DatagramStatistics, DatagramTransport, Owed, Slot,
    Waiters, WriteLimits,
};
use tidegate_reactor::{Deferred, Interest, LoopHandle, OfferReason, Queued, Readiness, Watcher};

use crate::lifecycle::{Life, LifeEvent, Reading, ReadingEvent};
use queue::Queue;
use receiving::{Held, Pace};
use segments::Segments;

pub use socket::DatagramSocket;
pub(crate) use socket::unix_name;
pub use wire::{DatagramWire, Received};

/// Is called once, directly after `connection_made` has returned, with the cause if it has failed; never if the loop
/// closes first.
pub type DatagramGreeted = Box<dyn FnOnce(Result<&DatagramTransport, Cause>)>;

/// What a datagram transport is opened with.
#[derive(Default)]
pub struct DatagramOptions {
    /// When `pause_writing` and `resume_writing` come; 64 KiB and 16 KiB unless set.
    pub limits: WriteLimits,
    /// The only address to which it sends, if there is one.
    pub remote: Option<Address>,
    /// Whether the wire is connected to `remote`, so that it sends there without being told.
    pub connected: bool,
    /// What to call after `connection_made`.
    pub greeted: Option<DatagramGreeted>,
}

/// Opens a datagram transport over a wire.
///
/// `wire` is called once with the watcher that the wire has to register, with [`Interest::NONE`]: receiving starts when
/// `connection_made` has returned. `connection_made` itself is queued: it comes in the loop's next batch.
///
/// The asyncio counterpart is `_SelectorDatagramTransport.__init__`.
///
/// # Errors
///
/// What `wire` answers, or that the loop is closed; the protocol is then dropped without a callback.
pub fn open<W: DatagramWire>(
    handle: &LoopHandle,
    wire: impl FnOnce(Rc<dyn Watcher>) -> io::Result<W>,
    protocol: Box<dyn DatagramProtocol>,
    options: DatagramOptions,
) -> io::Result<DatagramTransport> {
    let endpoint = Rc::new_cyclic(|me: &Weak<Endpoint<W>>| Endpoint {
        life: Cell::new(Life::Opening),
        reading: Cell::new(Reading::NotYet),
        owed: Cell::new(Owed::Open),
        refused: Cell::new(false),
        resting: Cell::new(false),
        enlisted: Cell::new(false),
        receiving: Cell::new(false),
        greeted: Cell::new(false),
        unsent: Cell::new(false),
        connected: options.connected,
        segments: Cell::new(Segments::Off),
        me: me.clone(),
        handle: handle.clone(),
        wire: RefCell::new(None),
        slot: Slot::new(protocol),
        face: Cell::new(None),
        queue: RefCell::new(Queue::default()),
        limits: Cell::new(options.limits),
        touched: Cell::new(0),
        counts: Cell::new(DatagramStatistics::default()),
        errors: RefCell::new(VecDeque::new()),
        held: Cell::new(None),
        pace: Pace::default(),
        flushed: Waiters::new(),
        closed: Waiters::new(),
        paused_since: Cell::new(None),
        cause: Cell::new(None),
        remote: options.remote,
        sockname: RefCell::new(None),
        at_greeting: Cell::new(options.greeted),
    });
    let wire = wire(endpoint.clone())?;
    if wire.can_send_segments() {
        endpoint.segments.set(Segments::Any);
    }
    *endpoint.wire.borrow_mut() = Some(wire);
    if let Err(error) = handle.queue(endpoint.clone()) {
        endpoint.close_wire();
        return Err(error.into());
    }
    let transport = DatagramTransport::new(endpoint.clone());
    endpoint.face.set(Some(transport.clone()));
    Ok(transport)
}

/// One endpoint. Every field that may hold a user's value is a cell that is taken, used and put back.
struct Endpoint<W: DatagramWire> {
    life: Cell<Life>,
    reading: Cell<Reading>,
    owed: Cell<Owed>,
    /// The system did not take the head of the queue: it waits until the wire is writable.
    refused: Cell<bool>,
    /// The wire said that it is writable and took nothing: it is not asked again before a while has passed.
    resting: Cell<bool>,
    /// This is on the loop's list of what is done when the step ends.
    enlisted: Cell<bool>,
    /// Datagrams are being delivered; what the callbacks send is offered when that is over.
    receiving: Cell<bool>,
    /// `connection_made` was called.
    greeted: Cell<bool>,
    /// The endpoint's end has dropped datagrams that were accepted.
    unsent: Cell<bool>,
    connected: bool,
    segments: Cell<Segments>,
    me: Weak<Endpoint<W>>,
    handle: LoopHandle,
    /// Gone when the endpoint is lost, so that a stray handle keeps no socket open.
    wire: RefCell<Option<W>>,
    slot: Slot<dyn DatagramProtocol>,
    /// The handle that the protocol's callbacks are given; gone when the endpoint is lost.
    face: Cell<Option<DatagramTransport>>,
    queue: RefCell<Queue>,
    limits: Cell<WriteLimits>,
    /// The step in which a datagram was last sent.
    touched: Cell<u64>,
    counts: Cell<DatagramStatistics>,
    /// Errors of the system that the protocol has not been told of.
    errors: RefCell<VecDeque<io::Error>>,
    /// What is left of a batch in whose middle reading was paused.
    held: Cell<Option<Box<Held>>>,
    pace: Pace,
    flushed: Waiters,
    closed: Waiters,
    /// When the flow was paused, by the loop's clock.
    paused_since: Cell<Option<std::time::Duration>>,
    cause: Cell<Option<Cause>>,
    remote: Option<Address>,
    /// Kept when the wire is closed, which knows it until then.
    sockname: RefCell<Option<Address>>,
    at_greeting: Cell<Option<DatagramGreeted>>,
}

impl<W: DatagramWire> Endpoint<W> {
    /// A share of this endpoint. It is called with one alive, so there is always another to be had.
    fn share(&self) -> Rc<Endpoint<W>> {
        self.me.upgrade().expect("an endpoint is asked through a share of it")
    }

    /// The handle for a callback; none once the endpoint is lost.
    fn face(&self) -> Option<DatagramTransport> {
        let face = self.face.take();
        let copy = face.clone();
        self.face.set(face);
        copy
    }

    /// Asks the wire, unless it is gone. `ask` is ours: it runs no code of the user's.
    fn ask_wire<R>(&self, ask: impl FnOnce(&W) -> R) -> Option<R> {
        self.wire.borrow().as_ref().map(ask)
    }

    fn count(&self, count: impl FnOnce(&mut DatagramStatistics)) {
        let mut counts = self.counts.get();
        count(&mut counts);
        self.counts.set(counts);
    }

    /// Whether a part of a batch waits for its delivery.
    fn holds_datagrams(&self) -> bool {
        let held = self.held.take();
        let holds = held.is_some();
        self.held.set(held);
        holds
    }

    /// Tells the wire what this endpoint waits for now.
    fn update_interest(&self) {
        let life = self.life.get();
        let reads = matches!(life, Life::Opening | Life::Open)
            && self.reading.get() == Reading::Flowing
            && !self.holds_datagrams()
            && !self.slot.is_awaited();
        let writes = self.refused.get() && !self.resting.get() && life.takes_bytes();
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

    /// Delivers `connection_made`, then lets the datagrams flow.
    fn greet(&self) {
        let Some(face) = self.face() else { return };
        if self.slot.is_lent() {
            return self.wait_for_home();
        }
        self.greeted.set(true);
        self.callback("connection_made", |protocol| {
            protocol.connection_made(&face);
            Ok(())
        });
        self.life.set(self.life.get().on(LifeEvent::Greeted));
        self.reading.set(self.reading.get().on(ReadingEvent::Start));
        if !self.life.get().is_over() {
            self.update_interest();
        }
        // Errors and notices that fell due before the greeting, and a close before it, go on from here.
        if self.owes_callbacks() {
            self.enlist();
        }
        if let Some(greeted) = self.at_greeting.take() {
            match self.copy_of_cause() {
                Some(cause) => greeted(Err(cause)),
                None => greeted(Ok(&face)),
            }
        }
    }

    /// Whether an error or a notice is due, or a close to be finished.
    fn owes_callbacks(&self) -> bool {
        self.owed.get().due().is_some()
            || self.life.get() == Life::Draining
            || !self.errors.borrow().is_empty()
    }

    /// Somebody looks at the protocol and runs the loop meanwhile: what is due waits until the protocol is home, and
    /// nothing is received before.
    #[cold]
    fn wait_for_home(&self) {
        self.slot.when_home(self.share());
        self.update_interest();
    }

    /// The callbacks that are due are for a later turn.
    fn queue_again(&self) {
        // A loop that is closed has no later turn, and calls nobody.
        let _closed = self.handle.queue(self.share());
    }

    /// What reports call this endpoint.
    fn title(&self) -> String {
        let own = self.ask_wire(DatagramWire::sockname).unwrap_or(self.sockname.borrow().clone());
        match (&self.remote, own) {
            (Some(remote), _) => format!("datagram transport to {remote}"),
            (None, Some(own)) => format!("datagram transport on {own}"),
            (None, None) => "datagram transport".to_owned(),
        }
    }
}

impl<W: DatagramWire> Watcher for Endpoint<W> {
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

impl<W: DatagramWire> Caller for Endpoint<W> {
    fn protocol_is_home(self: Rc<Self>) {
        self.update_interest();
        self.queue_again();
        if !self.greeted.get() && self.life.get() == Life::Losing {
            // Both have waited.
            self.queue_again();
        }
    }
}

/// An endpoint queues itself for the callbacks that frame its life, and for what is left of a batch.
impl<W: DatagramWire> Queued for Endpoint<W> {
    fn run(self: Rc<Self>) {
        if !self.greeted.get() {
            self.greet();
        } else if self.life.get() == Life::Losing {
            self.lose();
        } else {
            self.deliver_held();
            self.settle();
        }
    }

    fn name(&self) -> String {
        self.title()
    }
}

/// An endpoint is on the step's list with datagrams to offer, errors and notices to deliver, or a close to finish.
impl<W: DatagramWire> Deferred for Endpoint<W> {
    fn touched(&self) -> u64 {
        if self.owes_callbacks() { 0 } else { self.touched.get() }
    }

    fn offer(self: Rc<Self>, reason: OfferReason) {
        self.enlisted.set(false);
        if !self.refused.get() {
            self.offer_queue();
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
