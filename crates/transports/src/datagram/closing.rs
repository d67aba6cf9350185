//! How an endpoint ends: closed, aborted, failed or forgotten, and then lost exactly once.

use tidegate_protocols::{Cause, DatagramTransport};

use super::{DatagramWire, Endpoint};
use crate::lifecycle::{Life, LifeEvent, ReadingEvent};

impl<W: DatagramWire> Endpoint<W> {
    /// Closes: receiving stops now, what waits is still sent, `connection_lost` follows.
    pub(super) fn close_gently(&self) {
        if self.life.get().is_closing() {
            return;
        }
        self.life.set(self.life.get().on(LifeEvent::Close));
        self.stop_reading();
        self.ask_wire(DatagramWire::release);
        if !self.refused.get() {
            self.offer_queue();
        }
        if self.life.get().is_over() {
            return;
        }
        self.update_interest();
        if self.nothing_is_left() {
            self.life.set(self.life.get().on(LifeEvent::Drained));
            self.queue_loss();
        }
    }

    /// Ends the endpoint with one last try to send, which is only made if nothing was refused before.
    pub(super) fn abort_with(&self, cause: Option<Cause>) {
        self.try_once_more();
        self.end_with(cause);
    }

    /// Ends the endpoint: what waits is dropped, and `connection_lost` is queued.
    pub(super) fn end_with(&self, cause: Option<Cause>) {
        let life = self.life.get();
        if life.is_over() {
            return;
        }
        self.life.set(life.on(LifeEvent::Fail));
        self.stop_reading();
        self.cause.set(cause);
        self.paused_since.set(None);
        self.drop_queue();
        self.ask_wire(DatagramWire::release);
        self.update_interest();
        self.queue_loss();
    }

    /// What is left of a batch goes too.
    fn stop_reading(&self) {
        self.reading.set(self.reading.get().on(ReadingEvent::End));
        drop(self.held.take());
    }

    /// A closing endpoint with nothing to send and nothing to tell goes on to its loss.
    ///
    /// It is called on a fresh stack, so the callback comes straight from here.
    pub(super) fn finish_close(&self) {
        if self.life.get() != Life::Draining || !self.nothing_is_left() {
            return;
        }
        self.life.set(self.life.get().on(LifeEvent::Drained));
        self.handle.step(&|| self.title(), || self.lose());
    }

    /// Lets the loop call back with the loss.
    fn queue_loss(&self) {
        // A loop that closes calls nobody back; it tells the endpoint so, which is lost then.
        let _closing = self.handle.queue(self.share());
    }

    /// Delivers `connection_lost`, then lets go of everything.
    pub(super) fn lose(&self) {
        let Some(face) = self.face() else { return };
        if self.slot.is_lent() {
            return self.wait_for_home();
        }
        let cause = self.copy_of_cause();
        self.callback("connection_lost", |protocol| {
            protocol.connection_lost(&face, cause);
            Ok(())
        });
        self.life.set(self.life.get().on(LifeEvent::Delivered));
        self.let_go();
    }

    /// The loop closes: unoffered datagrams get their one try, and no callback comes any more.
    pub(super) fn forget(&self) {
        if self.life.get() == Life::Lost {
            return;
        }
        self.try_once_more();
        self.life.set(self.life.get().on(LifeEvent::LoopClosed));
        self.stop_reading();
        self.paused_since.set(None);
        self.drop_queue();
        self.let_go();
    }

    /// Closes the wire, drops the protocol, and tells whoever waits. It breaks every cycle through here.
    fn let_go(&self) {
        let face: Option<DatagramTransport> = self.face.take();
        let sockname = self.ask_wire(DatagramWire::sockname).flatten();
        self.sockname.replace(sockname);
        self.close_wire();
        // None of these is a user's value.
        self.errors.take();
        if let Err(payload) = self.slot.empty() {
            self.report("Exception in the destructor of a protocol", Cause::from_panic(payload));
        }
        drop(self.at_greeting.take());
        self.flushed.wake_all();
        self.closed.wake_all();
        drop(face);
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
