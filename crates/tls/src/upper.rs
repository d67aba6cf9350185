//! The face that the protocol above sees: a transport.

use std::any::{Any, TypeId};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocols::{
    Address, Cause, Change, Flow, Protocol, RawTransport, Transport, TransportStatistics, Turn,
    TurnError, Waiter, WithProtocolError, WriteLimits,
};

use crate::connection::Tls;
use crate::info::TlsConfig;
use crate::lifecycle::{Life, Reading};
use crate::writing::records_of;

impl RawTransport for Tls {
    fn write(&self, data: &[u8]) -> Flow {
        self.accept(data)
    }

    fn write_bytes(&self, data: Bytes) -> Flow {
        self.accept_bytes(data)
    }

    fn writelines(&self, lines: &[&[u8]]) -> Flow {
        self.accept_lines(lines)
    }

    fn poll_flush(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.encrypt_waiting();
        if self.unsent.get() {
            if self.knows_why() {
                return Poll::Ready(Err(self.unsent_error()));
            }
            // The transport below will say why.
            self.flushed.register(waiter, context.waker());
            return Poll::Pending;
        }
        if self.plain.borrow().is_empty() {
            return self.below().raw().poll_flush(waiter, context);
        }
        self.flushed.register(waiter, context.waker());
        Poll::Pending
    }

    fn take_turn(&self) -> Result<Box<dyn Turn>, TurnError> {
        Ok(Box::new(self.grant_turn()?))
    }

    fn turn_is_taken(&self) -> bool {
        Tls::turn_is_taken(self)
    }

    fn write_eof(&self) -> io::Result<()> {
        self.end_writing();
        Ok(())
    }

    fn can_write_eof(&self) -> bool {
        true
    }

    fn close(&self) {
        self.close_gently();
    }

    fn abort(&self) {
        self.abort_now();
    }

    fn close_lingering(&self, bytes: usize, time: Duration) {
        self.close_and_linger(bytes, time);
    }

    fn fail(&self, cause: Cause) {
        self.fail_with(cause);
    }

    fn is_closing(&self) -> bool {
        // asyncio: gh-118950, either layer's closing is this one's.
        self.life.get().is_closing() || self.below().is_closing()
    }

    fn pause_reading(&self) {
        self.change_reading(Reading::Flowing, Reading::Paused);
    }

    fn resume_reading(&self) {
        self.change_reading(Reading::Paused, Reading::Flowing);
    }

    fn is_reading(&self) -> bool {
        self.reading.get() == Reading::Flowing
            && !self.life.get().is_closing()
            && !self.turn_is_taken()
    }

    fn flow(&self) -> Flow {
        match self.below().is_closing() {
            true => Flow::Closed,
            false => self.flow_now(),
        }
    }

    fn flow_told(&self) -> Flow {
        self.owed.get().told()
    }

    fn get_write_buffer_size(&self) -> usize {
        self.waiting()
    }

    fn get_write_buffer_limits(&self) -> WriteLimits {
        self.limits.get()
    }

    fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.limits.set(limits);
        if self.plain.borrow().len() > limits.high() {
            self.encrypt_waiting();
        }
        self.look_above(self.waiting());
    }

    fn default_write_buffer_limits(&self) -> WriteLimits {
        WriteLimits::TLS
    }

    fn abort_above(&self) -> Option<usize> {
        Some(self.abort_above.get()).filter(|limit| *limit < usize::MAX)
    }

    fn set_abort_above(&self, limit: Option<usize>) {
        self.abort_above.set(limit.unwrap_or(usize::MAX));
        self.below().raw().set_abort_above(limit.map(records_of));
    }

    fn change_protocol(&self, change: Change) {
        if let Err(payload) = self.slot.change_above(&*self.below().raw(), change) {
            self.fail_with(Cause::from_panic(payload));
        }
    }

    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn Protocol),
    ) -> Result<(), WithProtocolError> {
        self.slot.visit_above(&*self.below().raw(), look)
    }

    fn rebind(&self, handle: Transport) {
        if self.life.get() != Life::Lost {
            self.set_face(handle);
        }
    }

    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        if self.life.get() == Life::Lost {
            return Poll::Ready(self.copy_of_verdict());
        }
        self.closed.register(waiter, context.waker());
        Poll::Pending
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
        if wanted == TypeId::of::<TlsConfig>() {
            return Some(Rc::new(self.config.clone()));
        }
        let facts = self.facts.take();
        let own = facts.as_deref().and_then(|facts| facts.find(wanted));
        self.facts.set(facts);
        own.or_else(|| self.below().raw().extra_info(wanted))
    }

    fn with_socket(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool {
        self.below().raw().with_socket(look)
    }

    fn statistics(&self) -> TransportStatistics {
        let since = self.paused_since.get();
        TransportStatistics {
            buffered: self.waiting(),
            paused_for: since.map(|since| self.handle.time().saturating_sub(since)),
            ..self.below().statistics()
        }
    }
}

impl Tls {
    fn change_reading(&self, from: Reading, to: Reading) {
        if self.reading.get() == from && !self.life.get().is_closing() {
            self.reading.set(to);
            self.update_reading();
        }
    }
}
