//! What is sent: gathered while a step lasts, offered when it ends, with the flow that follows from it.

use std::io;
use std::time::Duration;

use tidegate_protocols::{Address, DatagramTransport, Flow, FlowEvent, Notice, Owed, SendtoError};

use super::queue::HEADER;
use super::segments::{MOST_BYTES, MOST_SEGMENTS};
use super::{DatagramWire, Endpoint};
use crate::lifecycle::Life;
use crate::wire::is_nothing_now;

/// How long a wire is left alone that said it is writable and then took nothing.
///
/// A Unix socket that is not connected always says so, however full the socket is that it sends to.
const REST: Duration = Duration::from_millis(1);

impl<W: DatagramWire> Endpoint<W> {
    /// Takes a datagram: into the queue while a step lasts, else straight to the system.
    pub(super) fn accept(&self, data: &[u8], to: Option<&Address>) -> Result<Flow, SendtoError> {
        if !self.life.get().takes_bytes() {
            return Ok(Flow::Closed);
        }
        let to = self.checked(data.len(), to)?;
        if !self.refused.get() && self.is_full_with(data.len()) {
            self.offer_queue();
        }
        if !self.life.get().takes_bytes() {
            return Ok(Flow::Closed);
        }
        self.queue.borrow_mut().push(data, to);
        let size = self.queue.borrow().size();
        if self.refused.get() {
            // Only sending resumes (T-48).
            self.look_above(size);
        } else if size > self.limits.get().high() || !self.handle.in_step() {
            self.offer_queue();
        } else {
            self.await_step_end();
        }
        Ok(self.present_flow())
    }

    /// Where a datagram goes: none where the endpoint has one address for all.
    fn checked<'a>(
        &self,
        length: usize,
        to: Option<&'a Address>,
    ) -> Result<Option<&'a Address>, SendtoError> {
        let to = match (&self.remote, to) {
            (Some(remote), Some(to)) if to != remote => {
                return Err(SendtoError::OtherAddress { remote: remote.clone() });
            }
            (Some(_), _) => None,
            (None, None) => return Err(SendtoError::NoAddress),
            (None, Some(Address::Unnamed)) => {
                return Err(SendtoError::WrongAddress { address: Address::Unnamed });
            }
            (None, Some(to)) => Some(to),
        };
        let destination = to.or(self.remote.as_ref());
        self.ask_wire(|wire| wire.check(length, destination)).unwrap_or(Ok(()))?;
        Ok(to)
    }

    /// Whether what waits is to leave before a datagram of that length joins it: more does not leave in one call anyway.
    fn is_full_with(&self, length: usize) -> bool {
        let queue = self.queue.borrow();
        !queue.is_empty()
            && (queue.bytes() + length > MOST_BYTES
                || queue.size() + length + HEADER > self.limits.get().high())
    }

    pub(super) fn present_flow(&self) -> Flow {
        if self.life.get().takes_bytes() { self.owed.get().flow() } else { Flow::Closed }
    }

    /// There is something to offer when the step ends, or the delivery of a datagram before that.
    fn await_step_end(&self) {
        if self.receiving.get() {
            return;
        }
        self.touched.set(self.handle.step_number());
        // One that owes callbacks besides has said so when it came to owe them.
        if !self.enlisted.get() {
            self.enlist();
        }
    }

    /// The wire can take datagrams again.
    pub(super) fn on_writable(&self) {
        if !self.refused.get() || !self.life.get().takes_bytes() {
            return;
        }
        let before = self.queue.borrow().datagrams();
        self.offer_queue();
        if self.refused.get() && self.queue.borrow().datagrams() == before {
            self.rest();
        }
        self.settle();
    }

    /// Leaves the wire alone for a while: it would only say again that it is writable.
    fn rest(&self) {
        let me = self.me.clone();
        let rested = self.handle.call_later(REST, move || {
            if let Some(endpoint) = me.upgrade() {
                endpoint.resting.set(false);
                endpoint.update_interest();
            }
        });
        if rested.is_ok() {
            self.resting.set(true);
            self.update_interest();
        }
    }

    /// Offers what waits to the system.
    pub(super) fn offer_queue(&self) {
        if !self.life.get().takes_bytes() || self.queue.borrow().is_empty() {
            return;
        }
        if let Err(error) = self.send_queue() {
            return self.fatal("Fatal write error on datagram transport", error);
        }
        let size = self.queue.borrow().size();
        if self.refused.replace(size > 0) != (size > 0) {
            self.update_interest();
        }
        self.look_at_flow(size);
        if size == 0 {
            self.flushed.wake_all();
        }
    }

    /// Sends until nothing waits, or the system takes nothing, or has told an error.
    fn send_queue(&self) -> io::Result<()> {
        // How many of those at the head go one by one, since together they were refused, and why they were.
        let mut alone = 0_usize;
        let mut why = None;
        // What follows for sending together if one of them goes: only then was it not the address that refused.
        let mut suspected = None;
        while !self.queue.borrow().is_empty() {
            let (count, size, sent) = self.send_first(alone > 0);
            match sent {
                Ok(()) => {
                    if let Some(segments) = suspected.take() {
                        self.segments.set(segments);
                    }
                    self.taken(count);
                    alone = alone.saturating_sub(count);
                    if alone == 0
                        && let Some(error) = why.take()
                    {
                        self.note_error(error);
                    }
                }
                Err(error) if is_nothing_now(&error) => {
                    if let Some(error) = why.take() {
                        self.note_error(error);
                    }
                    return Ok(());
                }
                Err(error) if count > 1 => {
                    alone = count;
                    suspected = self.segments.get().refused(&error, size);
                    why = suspected.is_none().then_some(error);
                }
                // asyncio: selector_events.py drops it, and leaves the rest for the next round.
                Err(error) if error.raw_os_error().is_some() => {
                    let other = why.filter(|why| why.raw_os_error() != error.raw_os_error());
                    self.queue.borrow_mut().advance(1);
                    self.count(|counts| counts.datagrams_dropped += 1);
                    if let Some(other) = other {
                        self.note_error(other);
                    }
                    self.note_error(error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One system call: how many datagrams it was to send and of which size, and how that went.
    fn send_first(&self, alone: bool) -> (usize, usize, io::Result<()>) {
        let queue = self.queue.borrow();
        let together = !alone && self.segments.get().allows(queue.first_size());
        let most = if together { MOST_SEGMENTS } else { 1 };
        let Some(batch) = queue.first(most, MOST_BYTES) else { return (0, 0, Ok(())) };
        let to = batch.to.or(if self.connected { None } else { self.remote.as_ref() });
        let sent = self.ask_wire(|wire| match batch.count {
            1 => wire.send(batch.data, to),
            _ => wire.send_segments(batch.data, batch.size, to),
        });
        (batch.count, batch.size, sent.unwrap_or(Err(io::ErrorKind::WouldBlock.into())))
    }

    /// The system has taken so many.
    fn taken(&self, count: usize) {
        let bytes = self.queue.borrow_mut().advance(count);
        self.count(|counts| {
            counts.datagrams_sent += count as u64;
            counts.bytes_sent += bytes as u64;
        });
    }

    /// Offers what waits for the last time; what the system says to it changes nothing any more.
    pub(super) fn try_once_more(&self) {
        if self.refused.get() || !self.life.get().takes_bytes() {
            return;
        }
        let _anyway = self.send_queue();
    }

    /// An error of the system: the protocol is told on a fresh stack.
    pub(super) fn note_error(&self, error: io::Error) {
        self.errors.borrow_mut().push_back(error);
        if self.greeted.get() {
            self.enlist();
        }
    }

    /// Compares what waits with the limits, and notes what the protocol is owed for it.
    fn look_at_flow(&self, size: usize) {
        let owed = self.owed.get();
        if size <= self.limits.get().low() {
            self.note_owed(owed, owed.on(FlowEvent::Below));
        } else {
            self.look_above(size);
        }
    }

    /// As [`look_at_flow`](Endpoint::look_at_flow), where nothing was sent.
    fn look_above(&self, size: usize) {
        let owed = self.owed.get();
        if size > self.limits.get().high() {
            self.note_owed(owed, owed.on(FlowEvent::Above));
        }
    }

    /// The limits have changed: they may pause at once, and never resume by themselves.
    pub(super) fn limits_changed(&self) {
        if !self.refused.get() && self.queue.borrow().size() > self.limits.get().high() {
            self.offer_queue();
        }
        let size = self.queue.borrow().size();
        if self.life.get().takes_bytes() {
            self.look_above(size);
        }
    }

    fn note_owed(&self, before: Owed, after: Owed) {
        if before == after {
            return;
        }
        self.owed.set(after);
        match (before.flow(), after.flow()) {
            (Flow::Open, Flow::Paused) => self.paused_since.set(Some(self.handle.time())),
            (Flow::Paused, Flow::Open) => self.paused_since.set(None),
            _ => {}
        }
        if after.due().is_some() && self.greeted.get() {
            self.enlist();
        }
    }

    /// Delivers the errors and notices that are due, each as a step, and finishes a close that has nothing left to do.
    ///
    /// It is called on a fresh stack: by the loop when a step ends, or at the end of an I/O callback.
    pub(super) fn settle(&self) {
        if !self.greeted.get() || !self.owes_callbacks() {
            return;
        }
        if self.slot.is_lent() {
            return self.wait_for_home();
        }
        // Errors that are met while these are told have their turn in the next round of the list.
        let errors = self.errors.take();
        for error in errors {
            let Some(face) = self.face_of_living() else { return };
            self.handle.step(&|| self.title(), || {
                self.callback("error_received", |protocol| protocol.error_received(&face, error))
            });
        }
        while let Some(notice) = self.owed.get().due()
            && let Some(face) = self.face_of_living()
        {
            self.owed.set(self.owed.get().on(FlowEvent::Told));
            self.handle.step(&|| self.title(), || match notice {
                Notice::Pause => self.callback("pause_writing", |protocol| {
                    protocol.pause_writing(&face);
                    Ok(())
                }),
                Notice::Resume => self.callback("resume_writing", |protocol| {
                    protocol.resume_writing(&face);
                    Ok(())
                }),
            });
        }
        if self.life.get() == Life::Draining && !self.refused.get() {
            self.offer_queue();
        }
        self.finish_close();
    }

    /// The handle for a callback, as long as one may come.
    fn face_of_living(&self) -> Option<DatagramTransport> {
        self.face().filter(|_| !self.life.get().is_over())
    }

    /// Whether nothing waits to be sent, and nothing to be told.
    pub(super) fn nothing_is_left(&self) -> bool {
        self.queue.borrow().is_empty()
            && self.owed.get().due().is_none()
            && self.errors.borrow().is_empty()
    }

    /// Drops what waits. `unsent` remembers that there was something.
    pub(super) fn drop_queue(&self) {
        if !self.queue.borrow().is_empty() {
            self.unsent.set(true);
        }
        let waiting = self.queue.take();
        self.count(|counts| counts.datagrams_dropped += waiting.datagrams() as u64);
        self.refused.set(false);
    }
}
