//! What a handle can ask of a connection.

use std::any::{Any, TypeId};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocols::{
    Address, Cause, Change, DetachError, Detached, Flow, PeerName, Protocol, RawTransport,
    SockName, Transport, TransportStatistics, Turn, TurnError, Waiter, WithProtocolError,
    WriteLimits,
};

use super::{Connection, Kept, Wire};
use crate::lifecycle::{Life, Reading, ReadingEvent, Writing};

impl<W: Wire> RawTransport for Connection<W> {
    fn write(&self, data: &[u8]) -> Flow {
        self.accept(data)
    }

    fn write_bytes(&self, data: Bytes) -> Flow {
        self.accept_bytes(data)
    }

    fn writelines(&self, lines: &[&[u8]]) -> Flow {
        self.accept_all(lines)
    }

    fn send_with_fds(&self, data: &[u8], fds: Vec<OwnedFd>) -> io::Result<Flow> {
        self.accept_with_fds(data, fds)
    }

    fn take_fds(&self) -> Vec<OwnedFd> {
        self.ask_wire(Wire::take_fds).unwrap_or_default()
    }

    fn poll_flush(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.refused.get() {
            self.offer_buffer();
        }
        if self.unsent.get() {
            return Poll::Ready(Err(self.unsent_error()));
        }
        if self.buffer.borrow().is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.flushed.register(waiter, context.waker());
        Poll::Pending
    }

    fn take_turn(&self) -> Result<Box<dyn Turn>, TurnError> {
        Ok(Box::new(self.grant_turn()?))
    }

    fn turn_is_taken(&self) -> bool {
        Connection::turn_is_taken(self)
    }

    fn write_eof(&self) -> io::Result<()> {
        self.end_writing()
    }

    fn can_write_eof(&self) -> bool {
        self.ask_wire(Wire::can_write_eof).unwrap_or(false)
    }

    fn close(&self) {
        self.close_gently();
    }

    fn abort(&self) {
        self.abort_with(None);
    }

    fn close_lingering(&self, bytes: usize, time: Duration) {
        self.close_and_linger(bytes, time);
    }

    fn fail(&self, cause: Cause) {
        self.report_unless_os("Fatal error on stream transport", &cause);
        self.abort_with(Some(cause));
    }

    fn is_closing(&self) -> bool {
        self.life.get().is_closing()
    }

    fn pause_reading(&self) {
        self.reading_event(ReadingEvent::Pause);
    }

    fn resume_reading(&self) {
        self.reading_event(ReadingEvent::Resume);
    }

    fn is_reading(&self) -> bool {
        matches!(self.reading.get(), Reading::NotYet | Reading::Flowing) && !self.turn_is_taken()
    }

    fn flow(&self) -> Flow {
        if self.life.get().takes_bytes() && self.writing.get() == Writing::Open {
            self.owed.get().flow()
        } else {
            Flow::Closed
        }
    }

    fn flow_told(&self) -> Flow {
        self.owed.get().told()
    }

    fn get_write_buffer_size(&self) -> usize {
        self.buffer.borrow().len()
    }

    fn get_write_buffer_limits(&self) -> WriteLimits {
        self.limits.get()
    }

    fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.limits.set(limits);
        self.limits_changed();
    }

    fn abort_above(&self) -> Option<usize> {
        Some(self.abort_above.get()).filter(|limit| *limit < usize::MAX)
    }

    fn set_abort_above(&self, limit: Option<usize>) {
        self.abort_above.set(limit.unwrap_or(usize::MAX));
    }

    fn change_protocol(&self, change: Change) {
        if let Err(payload) = self.slot.change(change) {
            let cause = Cause::from_panic(payload);
            self.report_unless_os("Fatal error: a change of protocol failed.", &cause);
            self.abort_with(Some(cause));
        }
    }

    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn Protocol),
    ) -> Result<(), WithProtocolError> {
        self.slot.visit(look)
    }

    fn rebind(&self, handle: Transport) {
        if self.life.get() != Life::Lost {
            // A handle straight on this is the private one of a layer. Any other belongs to somebody who watches.
            self.layered.set(ptr::addr_eq(Rc::as_ptr(&handle.raw()), self));
            let before = self.face.replace(Some(handle));
            drop(before);
        }
    }

    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        if self.life.get() == Life::Lost {
            return Poll::Ready(self.copy_of_cause());
        }
        self.closed.register(waiter, context.waker());
        Poll::Pending
    }

    fn peer_hung_up(&self) -> bool {
        self.ask_wire(Wire::hung_up).unwrap_or(self.hung_up.get())
    }

    fn peername(&self) -> Option<Address> {
        self.peername.borrow().clone()
    }

    fn sockname(&self) -> Option<Address> {
        match self.ask_wire(Wire::sockname) {
            Some(live) => live,
            None => self.kept(|kept| kept.sockname.clone()),
        }
    }

    fn extra_info(&self, wanted: TypeId) -> Option<Rc<dyn Any>> {
        if wanted == TypeId::of::<PeerName>() {
            self.peername().map(|address| Rc::new(PeerName(address)) as Rc<dyn Any>)
        } else if wanted == TypeId::of::<SockName>() {
            self.sockname().map(|address| Rc::new(SockName(address)) as Rc<dyn Any>)
        } else {
            let own = match self.ask_wire(Wire::extra_info) {
                Some(live) => live,
                None => self.kept(|kept| kept.extra_info.clone()),
            };
            own.filter(|own| (**own).type_id() == wanted)
        }
    }

    fn with_socket(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool {
        // The one borrow that is held while a user looks: the wire must not go meanwhile. If the user closes
        // the whole loop from there, the wire goes right after.
        let closing = CloseIfLost(self);
        let looked = match &*self.wire.borrow() {
            Some(wire) => wire.descriptor().map(look).is_some(),
            None => false,
        };
        drop(closing);
        looked
    }

    fn detach(&self) -> Result<Detached, DetachError> {
        self.leave()
    }

    fn statistics(&self) -> TransportStatistics {
        let paused_for = match self.paused_since.get() {
            u64::MAX => None,
            since => Some(self.handle.time().saturating_sub(Duration::from_nanos(since))),
        };
        TransportStatistics {
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            buffered: self.buffer.borrow().len(),
            paused_for,
        }
    }
}

/// Closes the wire of a connection that was lost meanwhile.
struct CloseIfLost<'a, W: Wire>(&'a Connection<W>);

impl<W: Wire> Drop for CloseIfLost<'_, W> {
    fn drop(&mut self) {
        if self.0.life.get() == Life::Lost {
            self.0.close_wire();
        }
    }
}

impl<W: Wire> Connection<W> {
    /// Looks at what was kept of a wire that is gone.
    fn kept<R>(&self, look: impl FnOnce(&Kept) -> Option<R>) -> Option<R> {
        let kept = self.kept.take();
        let found = kept.as_deref().and_then(look);
        self.kept.set(kept);
        found
    }

    fn reading_event(&self, event: ReadingEvent) {
        if self.life.get().is_closing() {
            return;
        }
        let before = self.reading.get();
        let after = before.on(event);
        self.reading.set(after);
        if (before == Reading::Flowing) != (after == Reading::Flowing) {
            self.update_interest();
        }
    }
}
