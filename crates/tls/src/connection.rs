//! One TLS connection: what its two faces, the protocol below and the transport above, have in common.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tidegate_protocols::{
    Caller, Cause, Flow, FlowEvent, Gate, Lent, Notice, Owed, Protocol, Slot, Transport, Waiters,
    WriteBuffer, WriteLimits,
};
use tidegate_reactor::{Deferred, LoopHandle, OfferReason, Queued, Report, TimerHandle};

use crate::error::TlsError;
use crate::info::{Facts, TlsConfig};
use crate::lifecycle::{Life, LifeEvent, PeerEnd, Reading, Writing};
use crate::scratch::Scratch;
use crate::session::{Session, caught};
use crate::turn::Held;
use crate::writing::records_of;

/// One TLS connection. Every field that may hold a user's value is a cell that is taken, used and put back.
pub(crate) struct Tls {
    pub(crate) life: Cell<Life>,
    pub(crate) reading: Cell<Reading>,
    pub(crate) writing: Cell<Writing>,
    pub(crate) peer_end: Cell<PeerEnd>,
    pub(crate) owed: Cell<Owed>,
    /// The session is out of its cell: it may be in a call of the user's.
    at_work: Cell<bool>,
    /// One of the receiving callbacks is running; what it writes is encrypted when it returns.
    pub(crate) receiving: Cell<bool>,
    /// This is on the loop's list of what is done when the step ends.
    enlisted: Cell<bool>,
    /// `connection_made` was called, here or before `start_tls`.
    pub(crate) greeted: Cell<bool>,
    /// What comes with the end of the handshake is for a later callback: whoever waits for `start_tls` goes on first.
    pub(crate) greets_later: Cell<bool>,
    /// What was received before `start_tls` is still to be looked at.
    pub(crate) head_start: Cell<bool>,
    /// Everything that was written was sent: what goes wrong now costs nobody a byte.
    pub(crate) all_sent: Cell<bool>,
    /// Bytes that were accepted have been dropped.
    pub(crate) unsent: Cell<bool>,
    me: Weak<Tls>,
    pub(crate) handle: LoopHandle,
    below: OnceCell<Transport>,
    /// Out while it is [worked with](Tls::work); gone when the connection is lost.
    session: Cell<Option<Session>>,
    pub(crate) slot: Slot<dyn Protocol>,
    /// The handle that the protocol's callbacks are given; gone when the connection is lost.
    face: Cell<Option<Transport>>,
    /// What was written and is not encrypted yet.
    pub(crate) plain: RefCell<WriteBuffer>,
    pub(crate) limits: Cell<WriteLimits>,
    pub(crate) abort_above: Cell<usize>,
    /// How much of what waits below was not written here, at most; counted if there is a limit to keep to.
    pub(crate) overhead: Cell<usize>,
    /// The step in which bytes were last written.
    pub(crate) touched: Cell<u64>,
    /// When the flow was paused, by the loop's clock.
    pub(crate) paused_since: Cell<Option<Duration>>,
    pub(crate) rest: Cell<Option<Box<Rest>>>,
    pub(crate) seldom: Cell<Option<Box<Seldom>>>,
    /// Why the connection ends, if it is not the transport below that knows.
    pub(crate) verdict: Cell<Option<Cause>>,
    pub(crate) facts: Cell<Option<Box<Facts>>>,
    pub(crate) deadline: Cell<Option<TimerHandle>>,
    pub(crate) config: TlsConfig,
    pub(crate) flushed: Waiters,
    pub(crate) closed: Waiters,
}

/// What was decrypted and is not delivered.
#[derive(Default)]
pub(crate) struct Rest {
    /// It is there from `at` on.
    pub(crate) plain: Vec<u8>,
    pub(crate) at: usize,
}

/// What few connections need, behind one pointer.
#[derive(Default)]
pub(crate) struct Seldom {
    pub(crate) turn: Option<Rc<Held>>,
    /// How many bytes more, and for how long, a closed connection reads.
    pub(crate) linger: Option<(usize, Duration)>,
    /// Who opens the connection, until that is told how it went.
    pub(crate) gate: Option<Gate>,
}

impl Tls {
    /// A connection at its beginning, over a transport that is not known yet.
    pub(crate) fn new(
        handle: LoopHandle,
        session: Session,
        slot: Slot<dyn Protocol>,
        config: TlsConfig,
        gate: Gate,
    ) -> Rc<Tls> {
        let seldom = Seldom { gate: Some(gate), ..Seldom::default() };
        Rc::new_cyclic(|me: &Weak<Tls>| Tls {
            life: Cell::new(Life::Handshaking),
            reading: Cell::new(Reading::Flowing),
            writing: Cell::new(Writing::Open),
            peer_end: Cell::new(PeerEnd::Open),
            owed: Cell::new(Owed::Open),
            at_work: Cell::new(false),
            receiving: Cell::new(false),
            enlisted: Cell::new(false),
            greeted: Cell::new(false),
            greets_later: Cell::new(false),
            head_start: Cell::new(false),
            all_sent: Cell::new(false),
            unsent: Cell::new(false),
            me: me.clone(),
            handle,
            below: OnceCell::new(),
            session: Cell::new(Some(session)),
            slot,
            face: Cell::new(None),
            plain: RefCell::new(WriteBuffer::new()),
            limits: Cell::new(WriteLimits::TLS),
            abort_above: Cell::new(usize::MAX),
            overhead: Cell::new(0),
            touched: Cell::new(0),
            paused_since: Cell::new(None),
            rest: Cell::new(None),
            seldom: Cell::new(Some(Box::new(seldom))),
            verdict: Cell::new(None),
            facts: Cell::new(None),
            deadline: Cell::new(None),
            config,
            flushed: Waiters::new(),
            closed: Waiters::new(),
        })
    }

    /// Carries a protocol that was greeted before, and told of the flow.
    pub(crate) fn carry(&self, greeted: bool, told: Flow) {
        self.greeted.set(greeted);
        self.greets_later.set(greeted);
        if told == Flow::Paused {
            self.owed.set(Owed::Paused);
        }
    }

    /// Stands on `below` from now on. Limits that were set there are this connection's.
    ///
    /// Below, none wait: so it tells whenever everything that it was given is sent.
    pub(crate) fn stand_on(&self, below: &Transport) {
        let limits = below.get_write_buffer_limits();
        let raw = below.raw();
        if limits != raw.default_write_buffer_limits() {
            self.limits.set(limits);
        }
        if let Some(limit) = raw.abort_above() {
            self.abort_above.set(limit);
            raw.set_abort_above(Some(records_of(limit)));
        }
        raw.set_write_buffer_limits(WriteLimits::new(Some(0), Some(0)).expect("equal limits"));
        // It stands on one for good.
        let _first = self.below.set(below.clone());
    }

    /// Whether it stands on something already.
    pub(crate) fn stands(&self) -> bool {
        self.below.get().is_some()
    }

    /// Begins the handshake.
    pub(crate) fn begin(&self) {
        self.start_handshake_deadline();
        self.update_reading();
        let mut scratch = Scratch::take();
        let buffers = &mut *scratch;
        let begun =
            self.work(|session| session.receive(&mut [], &mut buffers.plain, &mut buffers.out));
        self.give_below(&mut scratch, 0);
        if let Err(error) = begun {
            self.broken(error);
        }
    }

    /// Has the session do something.
    ///
    /// rustls calls code of the user's in the midst of it: verifiers, stores, key logs. Whatever comes back from there to
    /// this connection finds the session [at work](Tls::is_at_work): what is written waits until it is back, and so does
    /// what is to be said for a close. Whoever lets the session receive looks after that.
    ///
    /// # Errors
    ///
    /// What the session says; that code of the user's has panicked; that the connection is lost.
    pub(crate) fn work<R>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<R, TlsError>,
    ) -> Result<R, TlsError> {
        let Some(mut session) = self.session.take() else { return Err(TlsError::NotReady) };
        self.at_work.set(true);
        let done = caught(|| work(&mut session));
        self.at_work.set(false);
        if self.life.get() != Life::Lost {
            self.session.set(Some(session));
        }
        done
    }

    /// Whether the session is out, and cannot be asked for anything.
    #[inline]
    pub(crate) fn is_at_work(&self) -> bool {
        self.at_work.get()
    }

    /// Looks at the session, if it is there. `look` is ours: it runs no code of the user's.
    pub(crate) fn if_session<R: Default>(&self, look: impl FnOnce(&mut Session) -> R) -> R {
        let Some(mut session) = self.session.take() else { return R::default() };
        let answer = look(&mut session);
        self.session.set(Some(session));
        answer
    }

    /// Nothing is encrypted any more.
    pub(crate) fn take_session(&self) -> Option<Session> {
        self.session.take()
    }

    /// The transport below; a handle on this one exists only since that is known.
    #[inline]
    pub(crate) fn below(&self) -> &Transport {
        self.below.get().expect("known since there is a handle")
    }

    /// A share of this connection. It is called with one alive, so there is always another to be had.
    pub(crate) fn share(&self) -> Rc<Tls> {
        self.me.upgrade().expect("a connection is asked through a share of it")
    }

    /// A handle that does not keep it in memory.
    pub(crate) fn weak(&self) -> Weak<Tls> {
        self.me.clone()
    }

    /// The handle for a callback; none once the connection is lost.
    pub(crate) fn face(&self) -> Option<Transport> {
        let face = self.face.take();
        let copy = face.clone();
        self.face.set(face);
        copy
    }

    /// Binds the callbacks to a handle.
    pub(crate) fn set_face(&self, face: Transport) {
        let before = self.face.replace(Some(face));
        drop(before);
    }

    /// No callback comes any more: lets go of the handle.
    pub(crate) fn take_face(&self) -> Option<Transport> {
        self.face.take()
    }

    /// Puts this on the list of what the loop does when the step ends, once.
    pub(crate) fn enlist(&self) {
        if self.enlisted.replace(true) {
            if self.owes_callbacks() {
                self.handle.hurry();
            }
        } else if self.handle.at_step_end(self.share()).is_err() {
            self.enlisted.set(false);
        }
    }

    /// Whether a notice is due, or something can be delivered.
    fn owes_callbacks(&self) -> bool {
        (self.tells_flow() && self.owed.get().due().is_some())
            || self.can_deliver()
            || self.has_head_start()
    }

    /// Whether the flow is the protocol's business by now.
    pub(crate) fn tells_flow(&self) -> bool {
        self.greeted.get() && self.life.get().sends()
    }

    /// Delivers the notices that are due, each as a step; on a fresh stack only.
    pub(crate) fn settle(&self) {
        while self.tells_flow()
            && let Some(notice) = self.owed.get().due()
        {
            if self.slot.is_lent() {
                return self.wait_for_home();
            }
            let Some(face) = self.face() else { return };
            self.owed.set(self.owed.get().on(FlowEvent::Told));
            self.handle.step(&|| self.title(), || {
                let stage = match notice {
                    Notice::Pause => "pause_writing",
                    Notice::Resume => "resume_writing",
                };
                let lent = self.slot.lend(|protocol| {
                    match notice {
                        Notice::Pause => protocol.pause_writing(&face),
                        Notice::Resume => protocol.resume_writing(&face),
                    }
                    Ok(())
                });
                if let Err(failure) = Failure::unless(stage, lent) {
                    self.protocol_failed(failure);
                }
            });
        }
    }

    /// Somebody looks at the protocol and runs the loop meanwhile: what is due waits until the protocol is home.
    #[cold]
    pub(crate) fn wait_for_home(&self) {
        self.slot.when_home(self.share());
    }

    /// What is due is for a later turn.
    pub(crate) fn queue_again(&self) {
        // A loop that is closed has no later turn, and calls nobody.
        let _closed = self.handle.queue(self.share());
    }

    /// Everything that is owed on a fresh stack.
    fn catch_up(&self) {
        self.settle();
        self.handle.step(&|| self.title(), || {
            let done = match self.has_head_start() {
                true => self.receive_rest(),
                false => self.go_on(),
            };
            if let Err(failure) = done {
                self.protocol_failed(failure);
            }
        });
    }

    /// A callback has failed that was not made by the transport below, which reports its own.
    fn protocol_failed(&self, Failure { stage, error }: Failure) {
        let cause = Cause::from(error);
        // First of all, so that a handler that ends the connection too does not take the cause away.
        self.judge(cause.clone());
        self.abort_now();
        if !cause.is_os_error() {
            self.report(&format!("Fatal error: protocol.{stage}() call failed."), cause);
        }
    }

    /// Tells the exception handler what has ended this connection, before the loss: this may be inside of a call of the
    /// user's.
    pub(crate) fn report_soon(&self, message: &'static str, cause: &Cause) {
        let (tls, cause) = (self.share(), cause.clone());
        // A loop that is closed has nobody to tell.
        let _closed = self.handle.call_soon(move || tls.report(message, cause));
    }

    /// The same now; on a fresh stack only.
    fn report(&self, message: &str, cause: Cause) {
        let mut report = Report::new(message).error(cause).transport(self.title());
        if let Some(name) = self.slot.type_name() {
            report = report.protocol(name);
        }
        if let Some(peer) = self.below().peername() {
            report = report.peer(peer.to_string());
        }
        self.handle.call_exception_handler(report);
    }

    /// What reports call this connection.
    pub(crate) fn title(&self) -> String {
        match self.below.get().and_then(Transport::peername) {
            Some(peer) => format!("TLS transport to {peer}"),
            None => "TLS transport".to_owned(),
        }
    }

    /// Adds to what few connections need. `add` is ours: it runs no code of the user's.
    pub(crate) fn keep_seldom(&self, add: impl FnOnce(&mut Seldom)) {
        let mut seldom = self.seldom.take().unwrap_or_default();
        add(&mut seldom);
        self.seldom.set(Some(seldom));
    }

    /// Looks at what few connections need, if this one does. `look` is ours, too.
    #[inline]
    pub(crate) fn if_seldom<R: Default>(&self, look: impl FnOnce(&mut Seldom) -> R) -> R {
        let Some(mut seldom) = self.seldom.take() else { return R::default() };
        let answer = look(&mut seldom);
        let needed = seldom.turn.is_some() || seldom.linger.is_some() || seldom.gate.is_some();
        self.seldom.set(needed.then_some(seldom));
        answer
    }

    /// Who opens the connection, the first time.
    pub(crate) fn take_gate(&self) -> Option<Gate> {
        self.if_seldom(|seldom| seldom.gate.take())
    }

    /// What a write answers.
    pub(crate) fn flow_now(&self) -> Flow {
        if self.takes_bytes() { self.owed.get().flow() } else { Flow::Closed }
    }

    /// The life goes on.
    pub(crate) fn live(&self, event: LifeEvent) {
        self.life.set(self.life.get().on(event));
    }

    /// Another share of why it ends.
    pub(crate) fn copy_of_verdict(&self) -> Option<Cause> {
        let verdict = self.verdict.take();
        let copy = verdict.clone();
        self.verdict.set(verdict);
        copy
    }
}

/// A callback that failed, and with what.
pub(crate) struct Failure {
    pub(crate) stage: &'static str,
    pub(crate) error: io::Error,
}

impl Failure {
    /// What a callback answered, or how it failed; none if nobody is there to be called.
    pub(crate) fn unless<R>(
        stage: &'static str,
        lent: Lent<io::Result<R>>,
    ) -> Result<Option<R>, Failure> {
        match lent {
            Lent::Gave(Ok(answer)) => Ok(Some(answer)),
            Lent::Gave(Err(error)) => Err(Failure { stage, error }),
            Lent::Panicked(payload) => {
                Err(Failure { stage, error: Cause::from_panic(payload).into() })
            }
            Lent::Nobody => Ok(None),
        }
    }
}

/// A connection is on the step's list with bytes to encrypt, notices to deliver, or a rest to hand on.
impl Deferred for Tls {
    fn touched(&self) -> u64 {
        if self.owes_callbacks() { 0 } else { self.touched.get() }
    }

    fn offer(self: Rc<Self>, reason: OfferReason) {
        self.enlisted.set(false);
        self.encrypt_waiting();
        match reason {
            OfferReason::Closing => {}
            // Somebody's call is on the stack: what is owed waits for the end of the step.
            OfferReason::Asked if self.owes_callbacks() => self.enlist(),
            OfferReason::Asked => {}
            _ if self.owes_callbacks() => self.catch_up(),
            _ => {}
        }
    }
}

impl Caller for Tls {
    fn protocol_is_home(self: Rc<Self>) {
        self.queue_again();
    }
}

/// A connection queues itself when somebody looked at its protocol just when a callback was due, and when a handshake
/// is done for which somebody waits.
impl Queued for Tls {
    fn run(self: Rc<Self>) {
        self.greets_later.set(false);
        self.catch_up();
    }

    fn name(&self) -> String {
        self.title()
    }
}
