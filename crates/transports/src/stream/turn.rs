//! The turn of one who sends what was not written, a file: who sends when, and who waits meanwhile.
//!
//! ```text
//!               TakeBehind              Clear             Refuse
//!   Writers ─────────────────▶ Ahead ───────────▶ Holder ─────────▶ Awaiting
//!    ▲   │                       │                ▲ │  ▲              │ │
//!    │   └───────────────────────┼────── Take ────┘ │  └─── Clear ────┘ │
//!    └──────────── End ──────────┴──────────────────┴───────────────────┘
//! ```
//!
//! While anybody but the writers sends, `refused` is true: so a write has nothing to ask besides what it asks anyway.

use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_protocols::{Cause, Turn, TurnError, Waiter, Waiters};

use super::{Connection, Wire, is_nothing_now};
use crate::lifecycle::{Reading, Writing};
use crate::sendfile::is_of_the_connection;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Whoever writes.
    Writers,
    /// The turn is taken, and what was written before goes first.
    Ahead,
    /// The holder of the turn, who is busy elsewhere.
    Holder,
    /// The holder, who waits until the wire takes more.
    Awaiting,
}

/// What can happen to who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SenderEvent {
    /// The turn is given away, and nothing waits.
    Take,
    /// The turn is given away, and what was written before waits.
    TakeBehind,
    /// Nothing is in the holder's way: what goes first is sent, or the wire takes more, or has answered.
    Clear,
    /// The wire takes nothing of the holder's now.
    Refuse,
    /// The turn is given back, or the connection closes or ends.
    End,
}

impl Sender {
    /// The state that follows; an event that means nothing in a state leaves it as it is.
    fn on(self, event: SenderEvent) -> Sender {
        use Sender::*;
        use SenderEvent as On;
        match (self, event) {
            (Writers, On::Take) => Holder,
            (Writers, On::TakeBehind) => Ahead,
            (Ahead | Awaiting, On::Clear) => Holder,
            (Holder, On::Refuse) => Awaiting,
            (_, On::End) => Writers,
            (same, _) => same,
        }
    }

    /// Whether it has to be told when the wire takes more.
    pub(super) fn awaits_wire(self) -> bool {
        self != Sender::Holder
    }
}

/// A turn that is held.
#[derive(Default)]
pub(super) struct Held {
    /// How many of the bytes that wait were written before.
    ahead: Cell<usize>,
    over: Cell<bool>,
    waiters: Waiters,
}

/// The turn of a connection, in the hands of its holder.
pub(super) struct StreamTurn<W: Wire> {
    connection: Rc<Connection<W>>,
    held: Rc<Held>,
}

impl<W: Wire> Connection<W> {
    /// Whether somebody else than the writers sends.
    pub(super) fn turn_is_taken(&self) -> bool {
        self.sender.get() != Sender::Writers
    }

    /// Whether what arrives is delivered.
    pub(super) fn is_flowing(&self) -> bool {
        self.reading.get() == Reading::Flowing && !self.turn_is_taken()
    }

    /// Gives the turn away, with what was written before offered at once.
    pub(super) fn grant_turn(&self) -> Result<StreamTurn<W>, TurnError> {
        if self.turn_is_taken() {
            return Err(TurnError::Taken);
        }
        if !self.refused.get() {
            self.offer_buffer();
        }
        // Those who waited for a flush were woken, and may have taken the turn or closed.
        if self.turn_is_taken() {
            return Err(TurnError::Taken);
        }
        if self.life.get().is_closing() || self.writing.get() != Writing::Open {
            return Err(TurnError::Closing);
        }
        let ahead = self.buffer.borrow().len();
        let held = Rc::new(Held { ahead: Cell::new(ahead), ..Held::default() });
        self.keep_seldom(|seldom| seldom.turn = Some(held.clone()));
        self.refused.set(true);
        self.sender_event(if ahead > 0 { SenderEvent::TakeBehind } else { SenderEvent::Take });
        Ok(StreamTurn { connection: self.share(), held })
    }

    /// The wire can take bytes again: those that go first, or the holder's.
    pub(super) fn turn_on(&self) {
        let Some(held) = self.with_seldom(|seldom| seldom.turn.clone()) else { return };
        if self.sender.get() == Sender::Ahead {
            if let Err(error) = self.send_ahead(&held) {
                return self.fatal("Fatal write error on stream transport", error);
            }
            if held.over.get() {
                return;
            }
            let waiting = self.buffer.borrow().len();
            self.look_at_flow(waiting);
            if held.ahead.get() > 0 {
                return;
            }
        }
        self.sender_event(SenderEvent::Clear);
        if self.buffer.borrow().is_empty() {
            // The end that was written meanwhile, if any, has to wait for the holder.
            self.flushed.wake_all();
        }
        held.waiters.wake_all();
    }

    /// Notes what has happened, and whether the wire is waited for.
    fn sender_event(&self, event: SenderEvent) {
        let before = self.sender.get();
        let after = before.on(event);
        self.sender.set(after);
        if before != after {
            self.update_interest();
        }
    }

    /// Sends of what was written before the turn as much as the system takes.
    fn send_ahead(&self, held: &Held) -> io::Result<()> {
        loop {
            let mut buffer = self.buffer.borrow_mut();
            let first = buffer.first();
            let piece = &first[..first.len().min(held.ahead.get())];
            let offered = piece.len();
            let taken = match self.ask_wire(|wire| wire.write(piece)) {
                Some(Ok(taken)) => taken,
                Some(Err(error)) if !is_nothing_now(&error) => return Err(error),
                _ => 0,
            };
            let spent = buffer.advance(taken);
            drop(buffer);
            self.sent.set(self.sent.get() + taken as u64);
            held.ahead.set(held.ahead.get() - taken);
            drop(spent);
            // The owner of spent bytes may have closed the connection.
            if taken < offered || held.ahead.get() == 0 || held.over.get() {
                return Ok(());
            }
        }
    }

    /// The connection closes or ends, and with it the turn: its holder finds that out.
    pub(super) fn break_turn(&self) {
        if let Some(held) = self.take_back() {
            held.waiters.wake_all();
        }
    }

    /// From now on the writers send.
    fn take_back(&self) -> Option<Rc<Held>> {
        let held = self.with_seldom(|seldom| seldom.turn.take())?;
        held.over.set(true);
        self.refused.set(false);
        if self.sender.replace(self.sender.get().on(SenderEvent::End)) != Sender::Ahead {
            // What the holder has offered: the writers offer something else.
            self.ask_wire(Wire::withdraw);
        }
        Some(held)
    }

    /// The holder has finished: what was written meanwhile goes out, and reading goes on.
    fn end_turn(&self) {
        // Nobody is left to be told.
        drop(self.take_back());
        self.update_interest();
        if self.buffer.borrow().is_empty() {
            self.flushed_all();
        } else {
            self.offer_buffer();
        }
    }

    /// Lets the holder send, once it is its turn and the wire takes something.
    fn poll_turn(
        &self,
        held: &Held,
        waiter: &Waiter,
        context: &mut Context<'_>,
        send: impl FnOnce(&W) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if held.over.get() {
            return Poll::Ready(Err(self.turn_is_over()));
        }
        if self.sender.get() != Sender::Ahead {
            let (event, answer) = match self.ask_wire(send) {
                Some(Err(error)) if is_nothing_now(&error) => (SenderEvent::Refuse, Poll::Pending),
                Some(Err(error)) => (SenderEvent::Clear, Poll::Ready(Err(error))),
                Some(Ok(taken)) => {
                    self.sent.set(self.sent.get() + taken as u64);
                    (SenderEvent::Clear, Poll::Ready(Ok(taken)))
                }
                None => (SenderEvent::Clear, Poll::Ready(Err(self.turn_is_over()))),
            };
            self.sender_event(event);
            if answer.is_ready() {
                return answer;
            }
        }
        held.waiters.register(waiter, context.waker());
        Poll::Pending
    }

    /// What was sent for the holder has met an error of the connection, which ends with it.
    fn turn_failed(&self, error: io::Error) -> io::Error {
        let cause = Cause::from(error);
        self.report_unless_os("Fatal write error on stream transport", &cause);
        self.end_with(Some(cause.clone()));
        cause.into()
    }

    /// Why the turn has ended before its holder gave it back.
    fn turn_is_over(&self) -> io::Error {
        match self.copy_of_cause() {
            Some(cause) => cause.into(),
            None => io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the transport was closed while a file was being sent",
            ),
        }
    }
}

impl<W: Wire> Turn for StreamTurn<W> {
    fn poll_write(
        &self,
        data: &[u8],
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let send = |wire: &W| wire.write(data);
        let answer = self.connection.poll_turn(&self.held, waiter, context, send);
        answer.map_err(|error| match self.held.over.get() {
            true => error,
            false => self.connection.turn_failed(error),
        })
    }

    fn poll_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let send = |wire: &W| wire.send_file(file, offset, count);
        let answer = self.connection.poll_turn(&self.held, waiter, context, send);
        answer.map_err(|error| match self.held.over.get() || !is_of_the_connection(&error) {
            true => error,
            false => self.connection.turn_failed(error),
        })
    }
}

impl<W: Wire> Drop for StreamTurn<W> {
    fn drop(&mut self) {
        if !self.held.over.get() {
            self.connection.end_turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDERS: [Sender; 4] = [Sender::Writers, Sender::Ahead, Sender::Holder, Sender::Awaiting];

    #[test]
    fn every_sender_meets_every_event() {
        use Sender::*;
        let row = |event| SENDERS.map(|sender| sender.on(event));
        // F-05: one who has the turn keeps it
        assert_eq!(row(SenderEvent::Take), [Holder, Ahead, Holder, Awaiting]);
        assert_eq!(row(SenderEvent::TakeBehind), [Ahead, Ahead, Holder, Awaiting]);
        assert_eq!(row(SenderEvent::Clear), [Writers, Holder, Holder, Holder]);
        // What goes first is not overtaken.
        assert_eq!(row(SenderEvent::Refuse), [Writers, Ahead, Awaiting, Awaiting]);
        assert_eq!(row(SenderEvent::End), [Writers; 4]);
    }

    #[test]
    fn only_a_busy_holder_is_not_told_that_the_wire_takes_more() {
        assert_eq!(SENDERS.map(Sender::awaits_wire), [true, true, false, true]);
    }
}
