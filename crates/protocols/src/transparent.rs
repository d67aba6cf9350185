//! The layer that does nothing: what every layer has to do besides its own work, and nothing else.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Above, Address, AtEof, Cause, Change, Flow, Gate, Incoming, Layer, Lent, Protocol,
    RawTransport, Slot, Transport, TransportStatistics, Turn, TurnError, Waiter, WithProtocolError,
    WriteLimits,
};

/// The layer that does nothing: calls go down and callbacks come up as if it were not there.
///
/// Tests run under it to see that a layer changes nothing, and a layer of one's own can begin as a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transparent;

impl Layer for Transparent {
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        let upper = Upper {
            below: RefCell::new(None),
            slot: Slot::new(above.protocol),
            face: Cell::new(None),
        };
        Box::new(Lower { upper: Rc::new(upper), greeted: above.greeted, gate: Some(gate) })
    }
}

/// The protocol below: what it is told, it tells the protocol above.
struct Lower {
    upper: Rc<Upper>,
    greeted: bool,
    gate: Option<Gate>,
}

/// The transport above: what it is asked, it asks the transport below.
struct Upper {
    below: RefCell<Option<Transport>>,
    slot: Slot<dyn Protocol>,
    /// The handle of the protocol above; gone when the connection is lost.
    face: Cell<Option<Transport>>,
}

impl Lower {
    /// Opens at the first word from below, and answers with the handle of the protocol above.
    fn face(&mut self, below: &Transport) -> Transport {
        if let Some(face) = self.upper.face() {
            return face;
        }
        *self.upper.below.borrow_mut() = Some(below.clone());
        let face = Transport::new(self.upper.clone());
        self.upper.face.set(Some(face.clone()));
        face
    }

    /// Calls the protocol above. A panic of its callback goes on to the transport below, which ends the
    /// connection; by then the protocol is at home again.
    fn above<R>(
        &mut self,
        below: &Transport,
        callback: impl FnOnce(&mut dyn Protocol, &Transport) -> R,
    ) -> Option<R> {
        let face = self.face(below);
        match self.upper.slot.lend(|protocol| callback(protocol, &face)) {
            Lent::Gave(answer) => Some(answer),
            Lent::Nobody => None,
            Lent::Panicked(payload) => resume_unwind(payload),
        }
    }
}

impl Protocol for Lower {
    fn connection_made(&mut self, below: &Transport) {
        if !self.greeted {
            self.greeted = true;
            self.above(below, |protocol, face| protocol.connection_made(face));
        }
        let face = self.face(below);
        if let Some(gate) = self.gate.take() {
            gate.open(&face);
        }
    }

    fn receive(&mut self, below: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        self.above(below, |protocol, face| protocol.receive(face, incoming)).unwrap_or(Ok(()))
    }

    fn eof_received(&mut self, below: &Transport) -> io::Result<AtEof> {
        self.above(below, |protocol, face| protocol.eof_received(face)).unwrap_or(Ok(AtEof::Close))
    }

    fn pause_writing(&mut self, below: &Transport) {
        self.above(below, |protocol, face| protocol.pause_writing(face));
    }

    fn resume_writing(&mut self, below: &Transport) {
        self.above(below, |protocol, face| protocol.resume_writing(face));
    }

    fn connection_lost(&mut self, below: &Transport, cause: Option<Cause>) {
        // The gate is still here if `connection_made` has panicked: whoever opens is told why.
        if let Some(gate) = self.gate.take()
            && let Some(cause) = &cause
        {
            gate.fail(cause.clone());
        }
        self.above(below, |protocol, face| protocol.connection_lost(face, cause));
    }

    fn type_name(&self) -> &'static str {
        self.upper.slot.type_name().unwrap_or("a protocol that is out")
    }
}

/// The connection is gone, or the loop: the protocol above goes too, and with it the cycle through its handle.
impl Drop for Lower {
    fn drop(&mut self) {
        let face = self.upper.face.take();
        let emptied = self.upper.slot.empty();
        drop(face);
        if let Err(payload) = emptied
            && !std::thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}

impl Upper {
    fn face(&self) -> Option<Transport> {
        let face = self.face.take();
        let copy = face.clone();
        self.face.set(face);
        copy
    }

    /// The transport below; a handle on this one exists only since that is known.
    fn below(&self) -> Transport {
        self.below.borrow().clone().expect("known since the handle was made")
    }
}

impl RawTransport for Upper {
    fn write(&self, data: &[u8]) -> Flow {
        self.below().write(data)
    }

    fn write_bytes(&self, data: Bytes) -> Flow {
        self.below().write_bytes(data)
    }

    fn writelines(&self, lines: &[&[u8]]) -> Flow {
        self.below().raw().writelines(lines)
    }

    fn poll_flush(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below().raw().poll_flush(waiter, context)
    }

    fn take_turn(&self) -> Result<Box<dyn Turn>, TurnError> {
        self.below().raw().take_turn()
    }

    fn turn_is_taken(&self) -> bool {
        self.below().raw().turn_is_taken()
    }

    fn write_eof(&self) -> io::Result<()> {
        self.below().write_eof()
    }

    fn can_write_eof(&self) -> bool {
        self.below().can_write_eof()
    }

    fn close(&self) {
        self.below().close();
    }

    fn abort(&self) {
        self.below().abort();
    }

    fn close_lingering(&self, bytes: usize, time: Duration) {
        self.below().close_lingering(bytes, time);
    }

    fn fail(&self, cause: Cause) {
        self.below().fail(cause);
    }

    fn is_closing(&self) -> bool {
        self.below().is_closing()
    }

    fn pause_reading(&self) {
        self.below().pause_reading();
    }

    fn resume_reading(&self) {
        self.below().resume_reading();
    }

    fn is_reading(&self) -> bool {
        self.below().is_reading()
    }

    fn flow(&self) -> Flow {
        self.below().flow()
    }

    fn flow_told(&self) -> Flow {
        self.below().raw().flow_told()
    }

    fn get_write_buffer_size(&self) -> usize {
        self.below().get_write_buffer_size()
    }

    fn get_write_buffer_limits(&self) -> WriteLimits {
        self.below().get_write_buffer_limits()
    }

    fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.below().raw().set_write_buffer_limits(limits);
    }

    fn abort_above(&self) -> Option<usize> {
        self.below().raw().abort_above()
    }

    fn set_abort_above(&self, limit: Option<usize>) {
        self.below().raw().set_abort_above(limit);
    }

    fn default_write_buffer_limits(&self) -> WriteLimits {
        self.below().raw().default_write_buffer_limits()
    }

    fn change_protocol(&self, change: Change) {
        if let Err(payload) = self.slot.change_above(&*self.below().raw(), change) {
            self.below().fail(Cause::from_panic(payload));
        }
    }

    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn Protocol),
    ) -> Result<(), WithProtocolError> {
        self.slot.visit_above(&*self.below().raw(), look)
    }

    fn rebind(&self, handle: Transport) {
        if !self.slot.is_empty() {
            let before = self.face.replace(Some(handle));
            drop(before);
        }
    }

    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        self.below().raw().poll_closed(waiter, context)
    }

    fn peer_hung_up(&self) -> bool {
        self.below().peer_hung_up()
    }

    fn peername(&self) -> Option<Address> {
        self.below().peername()
    }

    fn sockname(&self) -> Option<Address> {
        self.below().sockname()
    }

    fn extra_info(&self, wanted: TypeId) -> Option<Rc<dyn Any>> {
        self.below().raw().extra_info(wanted)
    }

    fn with_socket(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool {
        self.below().raw().with_socket(look)
    }

    fn statistics(&self) -> TransportStatistics {
        self.below().statistics()
    }
}

#[cfg(test)]
mod tests;
