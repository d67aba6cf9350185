//! The home of one protocol, which lends it out for one callback at a time.
//!
//! ```text
//!            lend                 the callback returns;
//!   Home ───────────▶ Lent ────── waiting changes are applied ──────▶ Home
//!    │  change: at once │ change, empty, when_home: wait
//!    │ empty            └──────── or it was emptied, or a change panicked ──▶ Empty
//!    └─────────────────────────────────────────────────────────────────────▶ Empty
//! ```

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::rc::Rc;

use crate::{Change, Protocol, RawTransport, WithProtocolError};

/// How lending a protocol ended.
#[derive(Debug)]
pub enum Lent<R> {
    /// The callback has returned this.
    Gave(R),
    /// Nobody is at home: the slot is empty, or its protocol is lent out already.
    Nobody,
    /// The callback, or a change that waited for its end, has panicked with this.
    Panicked(Box<dyn Any + Send>),
}

/// One who has a callback for a protocol that is out; see [`Slot::when_home`].
pub trait Caller: 'static {
    /// The protocol is home. This is inside of somebody's call: the callback is for the loop to make.
    fn protocol_is_home(self: Rc<Self>);
}

/// What is caught of a panic.
type Payload = Box<dyn Any + Send>;

/// Makes the next protocol of the present one.
type SlotChange<P> = Box<dyn FnOnce(Box<P>) -> Box<P>>;

/// The home of one protocol.
///
/// A transport calls its protocol through [`lend`](Slot::lend) only. While the protocol is out nothing is
/// borrowed, so the callback may do whatever it likes with the transport; a change of protocol asked for
/// meanwhile waits until the callback has returned.
///
/// ```
/// use tidegate_protocols::{Lent, Slot};
///
/// let slot: Slot<String> = Slot::new(Box::new("hello".to_owned()));
/// assert!(matches!(slot.lend(|text| text.len()), Lent::Gave(5)));
/// assert!(matches!(slot.lend(|_| panic!("on purpose")), Lent::<()>::Panicked(_)));
/// // The protocol has come home all the same.
/// assert!(matches!(slot.lend(|text| text.len()), Lent::Gave(5)));
/// ```
pub struct Slot<P: ?Sized = dyn Protocol>(Cell<State<P>>);

enum State<P: ?Sized> {
    Empty,
    Home(Box<P>),
    Lent(Option<Box<Waiting<P>>>),
}

/// What waits for the end of a callback.
struct Waiting<P: ?Sized> {
    changes: Vec<SlotChange<P>>,
    callers: Vec<Rc<dyn Caller>>,
    emptied: bool,
}

impl<P: ?Sized> Default for Waiting<P> {
    fn default() -> Waiting<P> {
        Waiting { changes: Vec::new(), callers: Vec::new(), emptied: false }
    }
}

impl<P: ?Sized + 'static> Slot<P> {
    /// A slot with a protocol at home.
    pub fn new(protocol: Box<P>) -> Slot<P> {
        Slot(Cell::new(State::Home(protocol)))
    }

    /// A slot whose protocol is out still: one of its callbacks runs, in another slot that it moves here from.
    ///
    /// Until it has [come home](Slot::come_home) changes wait for it, as during any callback.
    pub fn awaiting() -> Slot<P> {
        Slot(Cell::new(State::Lent(None)))
    }

    /// Lends the protocol to `callback`. It always comes home, also when the callback panics.
    pub fn lend<R>(&self, callback: impl FnOnce(&mut P) -> R) -> Lent<R> {
        let mut protocol = match self.0.replace(State::Lent(None)) {
            State::Home(protocol) => protocol,
            other => {
                self.0.set(other);
                return Lent::Nobody;
            }
        };
        let answer = catch_unwind(AssertUnwindSafe(|| callback(&mut protocol)));
        let home = match self.0.replace(State::Home(protocol)) {
            State::Lent(None) => Ok(()),
            changed => self.catch_up(changed),
        };
        match (answer, home) {
            (Ok(answer), Ok(())) => Lent::Gave(answer),
            (Ok(answer), Err(payload)) => {
                // The panic of the change is told; one of the answer's destructor would come second.
                let _second = drop_caught(answer);
                Lent::Panicked(payload)
            }
            (Err(payload), Ok(())) => Lent::Panicked(payload),
            (Err(payload), Err(second)) => {
                let _third = drop_caught(second);
                Lent::Panicked(payload)
            }
        }
    }

    /// Makes another protocol of the present one: at once, or when the callback that has it now returns.
    ///
    /// In an empty slot the change is dropped unrun.
    ///
    /// # Errors
    ///
    /// The payload of a panic in the change or in the destructor of the old protocol, if it ran at once. A
    /// change that panics leaves the slot empty.
    pub fn change(
        &self,
        change: Box<dyn FnOnce(Box<P>) -> Box<P>>,
    ) -> Result<(), Box<dyn Any + Send>> {
        match self.0.replace(State::Lent(None)) {
            State::Home(protocol) => {
                let waiting = Waiting { changes: vec![change], ..Waiting::default() };
                self.0.set(State::Lent(Some(Box::new(waiting))));
                self.come_home(protocol)
            }
            State::Lent(waiting) => {
                let mut waiting = waiting.unwrap_or_default();
                waiting.changes.push(change);
                self.0.set(State::Lent(Some(waiting)));
                Ok(())
            }
            State::Empty => {
                self.0.set(State::Empty);
                drop_caught(change)
            }
        }
    }

    /// Empties the slot for good: now, or when the callback that has the protocol returns.
    ///
    /// # Errors
    ///
    /// The payload of a panic in the protocol's destructor.
    pub fn empty(&self) -> Result<(), Box<dyn Any + Send>> {
        match self.0.replace(State::Empty) {
            State::Empty => Ok(()),
            State::Home(protocol) => drop_caught(protocol),
            State::Lent(waiting) => {
                let mut waiting = waiting.unwrap_or_default();
                waiting.emptied = true;
                let changes = std::mem::take(&mut waiting.changes);
                let callers = std::mem::take(&mut waiting.callers);
                self.0.set(State::Lent(Some(waiting)));
                drop_caught((changes, callers))
            }
        }
    }

    /// Tells `caller` when the protocol has come home, once, however often it asks; never if the slot is emptied first.
    /// Should a change panic, it is told that nobody is out any more: what ends the connection may be what waits.
    ///
    /// A transport finds its protocol out if somebody [looks at it](crate::Transport::with_protocol) and runs the loop
    /// meanwhile. To try again in each turn would keep the loop from ever waiting.
    pub fn when_home(&self, caller: Rc<dyn Caller>) {
        match self.0.replace(State::Lent(None)) {
            State::Lent(waiting) => {
                let mut waiting = waiting.unwrap_or_default();
                let is_same =
                    |known: &Rc<dyn Caller>| ptr::addr_eq(Rc::as_ptr(known), Rc::as_ptr(&caller));
                if !waiting.emptied && !waiting.callers.iter().any(is_same) {
                    waiting.callers.push(Rc::clone(&caller));
                }
                self.0.set(State::Lent(Some(waiting)));
            }
            State::Home(protocol) => {
                self.0.set(State::Home(protocol));
                caller.protocol_is_home();
            }
            State::Empty => self.0.set(State::Empty),
        }
    }

    /// Whether somebody waits for the protocol to come home.
    pub fn is_awaited(&self) -> bool {
        self.peek(|state| match state {
            State::Lent(Some(waiting)) => !waiting.callers.is_empty(),
            _ => false,
        })
    }

    /// Whether the protocol is out.
    pub fn is_lent(&self) -> bool {
        self.peek(|state| matches!(state, State::Lent(_)))
    }

    /// Whether there is no protocol any more.
    pub fn is_empty(&self) -> bool {
        self.peek(|state| matches!(state, State::Empty))
    }

    /// Looks at the state. `look` is ours: it runs no code of a user's.
    fn peek<R>(&self, look: impl FnOnce(&State<P>) -> R) -> R {
        let state = self.0.replace(State::Empty);
        let answer = look(&state);
        self.0.set(state);
        answer
    }

    /// The protocol is home, and finds that something waited for it.
    #[cold]
    fn catch_up(&self, waiting: State<P>) -> Result<(), Payload> {
        match self.0.replace(waiting) {
            State::Home(protocol) => self.come_home(protocol),
            other => {
                self.0.set(other);
                Ok(())
            }
        }
    }

    /// Applies what waited and puts the protocol back. The slot stays `Lent` as long as users' code runs.
    ///
    /// Called from outside it brings the protocol for which the slot is [`awaiting`](Slot::awaiting).
    ///
    /// # Errors
    ///
    /// The payload of a panic in a change or in a destructor.
    pub fn come_home(&self, protocol: Box<P>) -> Result<(), Payload> {
        let mut protocol = protocol;
        let mut callers = Vec::new();
        loop {
            match self.0.replace(State::Lent(None)) {
                State::Lent(Some(waiting)) if waiting.emptied => {
                    self.0.set(State::Empty);
                    return drop_caught((waiting, protocol, callers));
                }
                State::Lent(Some(mut waiting)) => {
                    callers.append(&mut waiting.callers);
                    let mut changes = waiting.changes.into_iter();
                    for change in &mut changes {
                        match catch_unwind(AssertUnwindSafe(|| change(protocol))) {
                            Ok(changed) => protocol = changed,
                            Err(payload) => {
                                let mut unrun = self.0.replace(State::Empty);
                                if let State::Lent(Some(waiting)) = &mut unrun {
                                    callers.append(&mut waiting.callers);
                                }
                                let _second = drop_caught((changes, unrun));
                                callers.into_iter().for_each(|caller| caller.protocol_is_home());
                                return Err(payload);
                            }
                        }
                    }
                }
                _ => {
                    self.0.set(State::Home(protocol));
                    callers.into_iter().for_each(|caller| caller.protocol_is_home());
                    return Ok(());
                }
            }
        }
    }
}

impl Slot<dyn Protocol> {
    /// Shows the protocol to `look`, for [`with_protocol`](crate::Transport::with_protocol).
    ///
    /// # Errors
    ///
    /// [`Busy`](WithProtocolError::Busy) while a callback has it, [`Lost`](WithProtocolError::Lost) when
    /// there is none.
    ///
    /// # Panics
    ///
    /// If `look` does; the protocol is at home again by then.
    pub fn visit(&self, look: &mut dyn FnMut(&mut dyn Protocol)) -> Result<(), WithProtocolError> {
        match self.lend(look) {
            Lent::Gave(()) => Ok(()),
            Lent::Nobody if self.is_lent() => Err(WithProtocolError::Busy),
            Lent::Nobody => Err(WithProtocolError::Lost),
            Lent::Panicked(payload) => resume_unwind(payload),
        }
    }

    /// As [`visit`](Slot::visit), for a layer: its face below is out as well meanwhile, as it is in each callback.
    ///
    /// So the transport `below` keeps what it has to tell until both are home.
    ///
    /// # Errors
    ///
    /// As for `visit`; [`Busy`](WithProtocolError::Busy) in the callbacks of the face below, too.
    ///
    /// # Panics
    ///
    /// As `visit`.
    pub fn visit_above(
        &self,
        below: &dyn RawTransport,
        look: &mut dyn FnMut(&mut dyn Protocol),
    ) -> Result<(), WithProtocolError> {
        if self.is_empty() {
            return Err(WithProtocolError::Lost);
        }
        let mut looked = Ok(());
        below.with_protocol(&mut |_face_below| looked = self.visit(look))?;
        looked
    }

    /// As [`change`](Slot::change), for a layer: its face below is out as well while a change is made at once, which may run
    /// the loop like whoever looks.
    ///
    /// # Errors
    ///
    /// As for `change`.
    pub fn change_above(
        &self,
        below: &dyn RawTransport,
        change: Change,
    ) -> Result<(), Box<dyn Any + Send>> {
        let mut change = Some(change);
        let mut changed = Ok(());
        let mut make = || change.take().map_or(Ok(()), |change| self.change(change));
        match below.with_protocol(&mut |_face_below| changed = make()) {
            Ok(()) => changed,
            // It is out already, or there is none any more.
            Err(_) => make(),
        }
    }

    /// The name of the protocol's type, for reports; none if it is out or gone.
    pub fn type_name(&self) -> Option<&'static str> {
        match self.lend(|protocol| Protocol::type_name(protocol)) {
            Lent::Gave(name) => Some(name),
            Lent::Nobody | Lent::Panicked(_) => None,
        }
    }
}

/// Drops a user's value; a panic of its destructor is answered, not passed on.
fn drop_caught<T>(value: T) -> Result<(), Payload> {
    catch_unwind(AssertUnwindSafe(|| drop(value)))
}

#[cfg(test)]
mod tests;
