//! How a connection leaves its loop alive, and how it goes on in another one.

use std::mem;
use std::rc::Rc;

use tidegate_protocols::{Caller, DetachError, Detached, RawTransport, WriteBuffer};
use tidegate_reactor::{Enrolled, Queued};

use super::{Connection, Wire};
use crate::lifecycle::{Life, LifeEvent, ReadingEvent, Writing};

impl<W: Wire> Connection<W> {
    /// Gives the descriptor away with everything that is unread and unsent; `connection_lost` is queued.
    pub(super) fn leave(&self) -> Result<Detached, DetachError> {
        self.check_detachable()?;
        if !self.refused.get() {
            self.offer_buffer();
        }
        // The system may have refused for good, and those who waited for a flush were woken.
        self.check_detachable()?;
        let hung_up = self.peer_hung_up();
        self.keep();
        let _enrolled = self.handle.enrol(self.share()).map_err(|_closed| DetachError::Closing)?;

        let wire = self.wire.borrow_mut().take();
        let wire = wire.ok_or(DetachError::Closing)?;
        let (descriptor, unread) = match wire.detach() {
            Ok(parts) => parts,
            Err((wire, error)) => {
                *self.wire.borrow_mut() = Some(wire);
                return Err(error);
            }
        };
        let unsent = mem::take(&mut *self.buffer.borrow_mut());
        self.life.set(self.life.get().on(LifeEvent::Detach));
        self.reading.set(self.reading.get().on(ReadingEvent::End));
        self.refused.set(false);
        self.paused_since.set(u64::MAX);
        self.hung_up.set(hung_up);
        if !unsent.is_empty() {
            self.unsent.set(true);
        }
        // A loop that is closed has no enrolled watchers: this one is open.
        let _open = self.handle.queue(Rc::new(Departure { connection: self.share(), _enrolled }));

        let mut detached = Detached::new(descriptor);
        detached.unread = unread;
        detached.unsent = unsent;
        detached.write_eof = self.writing.get() != Writing::Open;
        detached.peername = self.peername();
        Ok(detached)
    }

    fn check_detachable(&self) -> Result<(), DetachError> {
        match self.life.get() {
            Life::Opening if !self.greeted.get() => return Err(DetachError::Opening),
            Life::Opening | Life::Open => {}
            Life::Draining | Life::Lingering | Life::Losing | Life::Lost => {
                return Err(DetachError::Closing);
            }
        }
        if self.layered.get() {
            return Err(DetachError::Layered);
        }
        match self.wire.try_borrow_mut() {
            Ok(_) if !self.turn_is_taken() => Ok(()),
            _ => Err(DetachError::Busy),
        }
    }

    /// Takes over what was written before this connection was opened.
    pub(super) fn carry_on(&self, unsent: WriteBuffer, write_eof: bool) {
        let waiting = unsent.len();
        *self.buffer.borrow_mut() = unsent;
        self.writing.set(match (write_eof, waiting) {
            (false, _) => Writing::Open,
            (true, 0) => Writing::Finished,
            (true, _) => Writing::Finishing,
        });
        self.refused.set(waiting > 0);
        self.look_above(waiting);
        self.update_interest();
    }
}

/// A connection without a wire on the way to its loss: should the loop close before that, it is told all the same.
struct Departure<W: Wire> {
    connection: Rc<Connection<W>>,
    _enrolled: Enrolled,
}

impl<W: Wire> Caller for Departure<W> {
    fn protocol_is_home(self: Rc<Self>) {
        // A loop that is closed calls nobody.
        let _closed = self.connection.handle.queue(self.clone());
    }
}

impl<W: Wire> Queued for Departure<W> {
    fn run(self: Rc<Self>) {
        if self.connection.slot.is_lent() {
            // Somebody looks at the protocol and runs the loop meanwhile.
            self.connection.slot.when_home(self.clone());
        } else {
            self.connection.lose();
        }
    }

    fn name(&self) -> String {
        self.connection.title()
    }
}
