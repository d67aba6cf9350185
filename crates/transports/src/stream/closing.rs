//! How a connection ends: closed, aborted, failed or forgotten, and then lost exactly once.

use std::io;

use rustix::io::Errno;
use tidegate_protocols::{Cause, RawTransport};

use super::{Connection, Kept, Wire};
use crate::lifecycle::{Life, LifeEvent, Reading, ReadingEvent, Writing};

impl<W: Wire> Connection<W> {
    /// Closes: reading stops now, what was written is still sent, `connection_lost` follows.
    pub(super) fn close_gently(&self) {
        if self.life.get().is_closing() {
            return;
        }
        self.life.set(self.life.get().on(LifeEvent::Close));
        self.reading.set(self.reading.get().on(ReadingEvent::End));
        // Whoever is woken for it finds a connection that closes.
        self.break_turn();
        if self.reading.get() == Reading::Absent {
            // asyncio: unix_events.py takes nothing more for a pipe that closes, where a socket does.
            self.writing.set(Writing::Finished);
        }
        self.ask_wire(Wire::release);
        if !self.refused.get() {
            self.offer_buffer();
        }
        if self.life.get().is_over() {
            return;
        }
        self.update_interest();
        if self.nothing_is_left() && !self.start_linger() {
            self.life.set(self.life.get().on(LifeEvent::Drained));
            self.queue_loss();
        }
    }

    /// The reader of a pipe is gone: what waits for it cannot be sent.
    pub(super) fn peer_gone(&self) {
        if !self.refused.get() {
            self.offer_buffer();
        }
        let lost = !self.buffer.borrow().is_empty() || self.turn_is_taken();
        self.end_with(lost.then(|| io::Error::from(Errno::PIPE).into()));
    }

    /// Ends the connection with one last try to send, which is only made if nothing was refused before.
    pub(super) fn abort_with(&self, cause: Option<Cause>) {
        self.try_once_more();
        self.end_with(cause);
    }

    /// Ends the connection: what waits is dropped, and `connection_lost` is queued.
    pub(super) fn end_with(&self, cause: Option<Cause>) {
        let life = self.life.get();
        if life.is_over() {
            return;
        }
        self.life.set(life.on(LifeEvent::Fail));
        self.reading.set(self.reading.get().on(ReadingEvent::End));
        self.cause.set(cause);
        self.break_turn();
        self.paused_since.set(u64::MAX);
        self.drop_buffer();
        self.ask_wire(Wire::release);
        self.update_interest();
        self.queue_loss();
    }

    /// A closing connection with nothing to send and nothing to tell goes on to its loss.
    ///
    /// It is called on a fresh stack, so the callback comes straight from here.
    pub(super) fn finish_close(&self) {
        if self.life.get() != Life::Draining || !self.nothing_is_left() || self.start_linger() {
            return;
        }
        self.life.set(self.life.get().on(LifeEvent::Drained));
        self.handle.step(&|| self.title(), || self.lose());
    }

    /// Lets the loop call back with the loss.
    pub(super) fn queue_loss(&self) {
        // A loop that closes calls nobody back; it tells the connection so, which is lost then.
        let _closing = self.handle.queue(self.share());
    }

    /// Delivers `connection_lost`, then lets go of everything.
    pub(super) fn lose(&self) {
        let Some(face) = self.face() else { return };
        if self.slot.is_lent() {
            return self.wait_for_home();
        }
        let cause = self.copy_of_cause();
        self.callback("connection_lost", |protocol| protocol.connection_lost(&face, cause));
        self.life.set(self.life.get().on(LifeEvent::Delivered));
        self.let_go();
    }

    /// The loop closes: unoffered bytes get their one try, and no callback comes any more.
    pub(super) fn forget(&self) {
        if self.life.get() == Life::Lost {
            return;
        }
        self.try_once_more();
        self.life.set(self.life.get().on(LifeEvent::LoopClosed));
        self.break_turn();
        self.reading.set(self.reading.get().on(ReadingEvent::End));
        self.paused_since.set(u64::MAX);
        self.drop_buffer();
        self.let_go();
    }

    /// Closes the wire, drops the protocol, and tells whoever waits. It breaks every cycle through here.
    fn let_go(&self) {
        let face = self.face.take();
        self.keep();
        self.hung_up.set(self.peer_hung_up());
        self.close_wire();
        self.cancel_linger();
        if let Err(payload) = self.slot.empty() {
            self.report("Exception in the destructor of a protocol", Cause::from_panic(payload));
        }
        drop(self.at_greeting.take());
        if let Some((attached, member)) = self.attached.take() {
            attached.detached(member);
        }
        self.flushed.wake_all();
        self.closed.wake_all();
        drop(face);
    }

    /// Keeps what is known of the wire, which is to be closed or given away, unless it has gone already.
    pub(super) fn keep(&self) {
        let known = self.ask_wire(|wire| (wire.sockname(), wire.extra_info()));
        let Some((sockname, extra_info)) = known else { return };
        if sockname.is_some() || extra_info.is_some() {
            self.kept.set(Some(Box::new(Kept { sockname, extra_info })));
        }
    }

    /// Closes the wire, unless a user is looking at its descriptor just now; it is closed after that.
    pub(super) fn close_wire(&self) {
        let wire = match self.wire.try_borrow_mut() {
            Ok(mut wire) => wire.take(),
            Err(_) => None,
        };
        drop(wire);
    }

    /// Another share of the cause.
    pub(super) fn copy_of_cause(&self) -> Option<Cause> {
        let cause = self.cause.take();
        let copy = cause.clone();
        self.cause.set(cause);
        copy
    }
}
