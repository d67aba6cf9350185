//! The turn of one who sends a file over TLS: bytes that go past what is written, encrypted as they are taken.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_protocols::{Flow, Turn, TurnError, Waiter, Waiters};

use crate::connection::Tls;
use crate::lifecycle::{Life, Writing};
use crate::scratch::Scratch;
use crate::writing::BATCH;

/// A turn that is held.
#[derive(Default)]
pub(crate) struct Held {
    over: Cell<bool>,
    waiters: Waiters,
}

/// The turn of a connection, in the hands of its holder.
pub(crate) struct TlsTurn {
    tls: Rc<Tls>,
    held: Rc<Held>,
}

impl Tls {
    /// Whether somebody else than the writers sends.
    pub(crate) fn turn_is_taken(&self) -> bool {
        self.if_seldom(|seldom| seldom.turn.is_some())
    }

    /// Gives the turn away, behind what was written before.
    pub(crate) fn grant_turn(&self) -> Result<TlsTurn, TurnError> {
        self.check_turn()?;
        self.encrypt_all();
        // Owners of what was sent were dropped, and may have closed or taken the turn.
        self.check_turn()?;
        let held = Rc::new(Held::default());
        self.keep_seldom(|seldom| seldom.turn = Some(held.clone()));
        self.update_reading();
        Ok(TlsTurn { tls: self.share(), held })
    }

    fn check_turn(&self) -> Result<(), TurnError> {
        // While the session is at work nothing can be sent before the turn: whoever lets it work goes first.
        if self.turn_is_taken() || self.is_at_work() {
            return Err(TurnError::Taken);
        }
        match (self.life.get(), self.writing.get()) {
            (Life::Open, Writing::Open) => Ok(()),
            _ => Err(TurnError::Closing),
        }
    }

    /// The transport below takes more, or nothing any more: the holder finds out.
    pub(crate) fn wake_turn(&self) {
        if let Some(held) = self.if_seldom(|seldom| seldom.turn.clone()) {
            held.waiters.wake_all();
        }
    }

    /// The connection closes or ends, and with it the turn.
    pub(crate) fn break_turn(&self) {
        if let Some(held) = self.if_seldom(|seldom| seldom.turn.take()) {
            held.over.set(true);
            held.waiters.wake_all();
        }
    }

    /// The holder has finished: what was written meanwhile goes out, and reading goes on.
    fn end_turn(&self) {
        self.if_seldom(|seldom| drop(seldom.turn.take()));
        self.update_reading();
        self.encrypt_waiting();
    }
}

impl Turn for TlsTurn {
    fn poll_write(
        &self,
        data: &[u8],
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let tls = &self.tls;
        if self.held.over.get() || tls.below().flow() == Flow::Closed {
            let closes = matches!(tls.life.get(), Life::Draining | Life::Parting);
            if closes || tls.knows_why() {
                return Poll::Ready(Err(tls.unsent_error()));
            }
            // The transport below will say why.
            tls.closed.register(waiter, context.waker());
            return Poll::Pending;
        }
        if tls.below().flow() == Flow::Paused {
            self.held.waiters.register(waiter, context.waker());
            return Poll::Pending;
        }
        let now = &data[..data.len().min(BATCH)];
        let mut scratch = Scratch::take();
        match tls.work(|session| session.encrypt(now, &mut scratch.out)) {
            Ok(()) => {
                tls.give_below(&mut scratch, 0);
                Poll::Ready(Ok(now.len()))
            }
            Err(error) => {
                tls.broken(error.clone());
                Poll::Ready(Err(error.into()))
            }
        }
    }
}

impl Drop for TlsTurn {
    fn drop(&mut self) {
        if !self.held.over.get() {
            self.tls.end_turn();
        }
    }
}
