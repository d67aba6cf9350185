//! What a handle can ask of an endpoint.

use std::any::{Any, TypeId};
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_protocols::{
    Address, Cause, DatagramChange, DatagramProtocol, DatagramStatistics, Flow, Lent, PeerName,
    RawDatagramTransport, SendtoError, SockName, Waiter, WithProtocolError, WriteLimits,
};

use super::{DatagramWire, Endpoint};
use crate::lifecycle::{Life, Reading, ReadingEvent};

impl<W: DatagramWire> RawDatagramTransport for Endpoint<W> {
    fn sendto(&self, data: &[u8], to: Option<&Address>) -> Result<Flow, SendtoError> {
        self.accept(data, to)
    }

    fn poll_flush(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.refused.get() {
            self.offer_queue();
        }
        if self.unsent.get() {
            let aborted = "the endpoint was aborted before everything was sent";
            return Poll::Ready(Err(match self.copy_of_cause() {
                Some(cause) => cause.into(),
                None => io::Error::new(io::ErrorKind::ConnectionAborted, aborted),
            }));
        }
        if self.queue.borrow().is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.flushed.register(waiter, context.waker());
        Poll::Pending
    }

    fn close(&self) {
        self.close_gently();
    }

    fn abort(&self) {
        self.abort_with(None);
    }

    fn fail(&self, cause: Cause) {
        if !self.life.get().is_over() {
            self.report_unless_os("Fatal error on datagram transport", &cause);
        }
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
        matches!(self.reading.get(), Reading::NotYet | Reading::Flowing)
    }

    fn flow(&self) -> Flow {
        self.present_flow()
    }

    fn get_write_buffer_size(&self) -> usize {
        self.queue.borrow().size()
    }

    fn get_write_buffer_limits(&self) -> WriteLimits {
        self.limits.get()
    }

    fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.limits.set(limits);
        self.limits_changed();
    }

    fn change_protocol(&self, change: DatagramChange) {
        if let Err(payload) = self.slot.change(change) {
            let cause = Cause::from_panic(payload);
            self.report_unless_os("Fatal error: a change of protocol failed.", &cause);
            self.abort_with(Some(cause));
        }
    }

    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn DatagramProtocol),
    ) -> Result<(), WithProtocolError> {
        match self.slot.lend(look) {
            Lent::Gave(()) => Ok(()),
            Lent::Nobody if self.slot.is_lent() => Err(WithProtocolError::Busy),
            Lent::Nobody => Err(WithProtocolError::Lost),
            Lent::Panicked(payload) => resume_unwind(payload),
        }
    }

    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        if self.life.get() == Life::Lost {
            return Poll::Ready(self.copy_of_cause());
        }
        self.closed.register(waiter, context.waker());
        Poll::Pending
    }

    fn peername(&self) -> Option<Address> {
        self.remote.clone()
    }

    fn sockname(&self) -> Option<Address> {
        match self.ask_wire(DatagramWire::sockname) {
            Some(live) => live,
            None => self.sockname.borrow().clone(),
        }
    }

    fn extra_info(&self, wanted: TypeId) -> Option<Rc<dyn Any>> {
        if wanted == TypeId::of::<PeerName>() {
            self.peername().map(|address| Rc::new(PeerName(address)) as Rc<dyn Any>)
        } else if wanted == TypeId::of::<SockName>() {
            self.sockname().map(|address| Rc::new(SockName(address)) as Rc<dyn Any>)
        } else {
            None
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

    fn statistics(&self) -> DatagramStatistics {
        let queue = self.queue.borrow();
        DatagramStatistics {
            waiting: queue.datagrams(),
            buffered: queue.size(),
            paused_for: self
                .paused_since
                .get()
                .map(|since| self.handle.time().saturating_sub(since)),
            ..self.counts.get()
        }
    }
}

/// Closes the wire of an endpoint that was lost meanwhile.
struct CloseIfLost<'a, W: DatagramWire>(&'a Endpoint<W>);

impl<W: DatagramWire> Drop for CloseIfLost<'_, W> {
    fn drop(&mut self) {
        if self.0.life.get() == Life::Lost {
            self.0.close_wire();
        }
    }
}

impl<W: DatagramWire> Endpoint<W> {
    fn reading_event(&self, event: ReadingEvent) {
        if self.life.get().is_closing() {
            return;
        }
        let before = self.reading.get();
        let after = before.on(event);
        self.reading.set(after);
        if (before == Reading::Flowing) == (after == Reading::Flowing) {
            return;
        }
        self.update_interest();
        // What is left of a batch comes from the loop, before anything newer.
        if after == Reading::Flowing && self.holds_datagrams() {
            self.queue_again();
        }
    }
}
