//! What is written: gathered while a step lasts, offered when it ends, with the flow that follows from it.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::io::Errno;
use tidegate_protocols::{Flow, FlowEvent, Notice, Owed, SendFdsError};

use super::{Connection, Wire, is_nothing_now};
use crate::lifecycle::{Life, Reading, Writing};

/// Unoffered bytes are offered at once when they reach this.
const OFFER_AT: usize = 64 * 1024;

/// A piece of this length is offered at once: the copy would cost more than the system call it may save.
const NOT_WORTH_COPYING: usize = 16 * 1024;

/// The most slices that one gathered write may have (IOV_MAX on Linux and the BSDs).
const MOST_SLICES: usize = 1024;

/// As many slices as most writes need; more are gathered on the heap.
const FEW_SLICES: usize = 16;

impl<W: Wire> Connection<W> {
    /// Takes a piece: into the buffer while a step lasts, else straight to the system.
    #[inline]
    pub(super) fn accept(&self, piece: &[u8]) -> Flow {
        let mut buffer = self.buffer.borrow_mut();
        let gathered = piece.len() < NOT_WORTH_COPYING
            && !piece.is_empty()
            && self.takes_bytes()
            && !self.refused.get()
            && !self.is_due(buffer.len() + piece.len());
        if !gathered {
            drop(buffer);
            return self.accept_all(&[piece]);
        }
        buffer.push(piece);
        drop(buffer);
        self.await_step_end();
        self.owed.get().flow()
    }

    /// Takes `pieces` in order, as one.
    pub(super) fn accept_all(&self, pieces: &[&[u8]]) -> Flow {
        if !self.takes_bytes() {
            return Flow::Closed;
        }
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if length == 0 {
            return self.owed.get().flow();
        }
        let due = self.is_due(self.buffer.borrow().len() + length)
            || pieces.iter().any(|piece| piece.len() >= NOT_WORTH_COPYING);
        if due && !self.refused.get() {
            self.offer_with(pieces);
        } else {
            let mut buffer = self.buffer.borrow_mut();
            for piece in pieces {
                buffer.push(piece);
            }
        }
        self.accepted()
    }

    /// As [`accept`](Connection::accept), of bytes that need not be copied.
    pub(super) fn accept_bytes(&self, data: Bytes) -> Flow {
        if !self.takes_bytes() {
            return Flow::Closed;
        }
        if data.is_empty() {
            return self.owed.get().flow();
        }
        let unoffered = self.buffer.borrow().len() + data.len();
        let due = !self.refused.get() && self.is_due(unoffered);
        let copied = self.buffer.borrow_mut().push_bytes(data);
        drop(copied);
        if due {
            self.offer_buffer();
        }
        self.accepted()
    }

    /// Takes a piece and the descriptors that travel with it: what was written before is offered, then these, at once.
    pub(super) fn accept_with_fds(&self, data: &[u8], fds: Vec<OwnedFd>) -> io::Result<Flow> {
        if self.ask_wire(Wire::passes_fds) == Some(false) {
            return Err(SendFdsError::Unsupported.into());
        }
        if self.turn_is_taken() {
            return Err(SendFdsError::Busy.into());
        }
        if self.takes_bytes() && !self.refused.get() {
            self.offer_buffer();
        }
        if !self.takes_bytes() {
            return Ok(Flow::Closed);
        }
        // What still waits was refused: the wire keeps the descriptors until it is gone.
        let behind = self.buffer.borrow().len();
        let sent = match self.ask_wire(|wire| wire.write_with_fds(data, fds, behind)) {
            Some(Ok(taken)) => {
                self.sent.set(self.sent.get() + taken as u64);
                self.buffer.borrow_mut().push(&data[taken..]);
                Ok(())
            }
            Some(Err(error)) if concerns_fds(&error) => return Err(error),
            Some(Err(error)) => {
                self.unsent.set(true);
                Err(error)
            }
            None => return Ok(Flow::Closed),
        };
        self.offered(sent);
        Ok(self.accepted())
    }

    fn takes_bytes(&self) -> bool {
        self.life.get().takes_bytes() && self.writing.get() == Writing::Open
    }

    /// Whether so many unoffered bytes are offered now rather than when the step ends.
    fn is_due(&self, unoffered: usize) -> bool {
        unoffered >= OFFER_AT
            || unoffered > self.limits.get().high().min(self.abort_above.get())
            || !self.handle.in_step()
    }

    /// Bytes were taken: looks after the step's list, the flow, and the user's last resort.
    fn accepted(&self) -> Flow {
        if self.life.get().is_over() {
            return Flow::Closed;
        }
        let waiting = self.buffer.borrow().len();
        let limit = self.abort_above.get();
        if waiting > limit {
            let text =
                format!("more than {limit} bytes wait to be sent: the peer reads too slowly");
            self.fatal(
                "Fatal error: the write buffer has passed abort_above",
                io::Error::other(text),
            );
            return Flow::Closed;
        }
        if self.refused.get() {
            // Only sending resumes (T-48).
            self.look_above(waiting);
        } else if waiting > 0 {
            self.await_step_end();
        }
        self.owed.get().flow()
    }

    /// There are unoffered bytes: they are offered when the step ends, or the receiving callback before that.
    #[inline]
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

    /// The wire can take bytes again.
    pub(super) fn on_writable(&self) {
        if !self.refused.get() || !self.life.get().takes_bytes() {
            return;
        }
        match self.turn_is_taken() {
            false => self.offer_buffer(),
            true => self.turn_on(),
        }
        self.settle();
    }

    /// Offers what is in the buffer to the system.
    pub(super) fn offer_buffer(&self) {
        if !self.life.get().takes_bytes() {
            return;
        }
        let chunks = self.buffer.borrow().chunks();
        let sent = match chunks {
            0 => return,
            1 => self.send_run(),
            _ => self.send(&[]),
        };
        self.offered(sent);
    }

    /// Offers the buffer, then `pieces` from the caller's memory; only what is refused of them is copied.
    fn offer_with(&self, pieces: &[&[u8]]) {
        let sent = self.send(pieces);
        if sent.is_err() {
            self.unsent.set(true);
        }
        self.offered(sent);
    }

    /// The system has taken what it wanted: what follows for the interest, the flow, and those who wait.
    fn offered(&self, sent: io::Result<()>) {
        if let Err(error) = sent {
            return self.fatal("Fatal write error on stream transport", error);
        }
        let waiting = self.buffer.borrow().len();
        if self.refused.replace(waiting > 0) != (waiting > 0) {
            self.update_interest();
        }
        self.look_at_flow(waiting);
        if waiting == 0 {
            self.flushed_all();
        }
    }

    /// Sends until everything is taken or the system takes less than it was offered.
    fn send(&self, pieces: &[&[u8]]) -> io::Result<()> {
        let mut pieces = pieces;
        let mut offset = 0;
        // Dropped last: the owner of sent bytes may come back here, and must find the rest in its place.
        let mut all_spent = Vec::new();
        loop {
            let (offered, taken) = self.send_once(pieces, offset)?;
            self.sent.set(self.sent.get() + taken as u64);
            let buffered = {
                let mut buffer = self.buffer.borrow_mut();
                let buffered = buffer.len();
                let spent = buffer.advance(taken.min(buffered));
                if !spent.is_empty() {
                    all_spent.push(spent);
                }
                buffered
            };
            if pieces.is_empty() && taken == buffered {
                return Ok(());
            }
            offset += taken.saturating_sub(buffered);
            while let Some(piece) = pieces.first()
                && offset >= piece.len()
            {
                offset -= piece.len();
                pieces = &pieces[1..];
            }
            if taken < offered {
                break;
            }
            if pieces.is_empty() && self.buffer.borrow().is_empty() {
                return Ok(());
            }
        }
        let mut buffer = self.buffer.borrow_mut();
        for piece in pieces {
            buffer.push(&piece[offset..]);
            offset = 0;
        }
        drop(buffer);
        drop(all_spent);
        Ok(())
    }

    /// Sends the only piece of the buffer, as far as the system takes it: the common case.
    fn send_run(&self) -> io::Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        let taken = match self.ask_wire(|wire| wire.write(buffer.first())) {
            Some(Ok(taken)) => taken,
            Some(Err(error)) if !is_nothing_now(&error) => return Err(error),
            _ => 0,
        };
        self.sent.set(self.sent.get() + taken as u64);
        let spent = buffer.advance(taken);
        drop(buffer);
        drop(spent);
        Ok(())
    }

    /// Offers the buffer for the last time; what the system says to it changes nothing any more.
    pub(super) fn try_once_more(&self) {
        if self.refused.get() || !self.life.get().takes_bytes() || self.buffer.borrow().is_empty() {
            return;
        }
        let sent = self.send(&[]);
        if sent.is_ok()
            && self.buffer.borrow().is_empty()
            && self.writing.get() == Writing::Finishing
        {
            self.writing.set(Writing::Finished);
            let _refused = self.ask_wire(Wire::shutdown_write);
        }
    }

    /// One system call: how many bytes it was offered, and how many it took.
    fn send_once(&self, pieces: &[&[u8]], offset: usize) -> io::Result<(usize, usize)> {
        let buffer = self.buffer.borrow();
        let answer = |offered: usize, taken: Option<io::Result<usize>>| match taken {
            Some(Ok(taken)) => Ok((offered, taken)),
            Some(Err(error)) if is_nothing_now(&error) => Ok((offered, 0)),
            Some(Err(error)) => Err(error),
            None => Ok((offered, 0)),
        };
        if buffer.is_empty() && pieces.len() == 1 {
            let data = &pieces[0][offset..];
            return answer(data.len(), self.ask_wire(|wire| wire.write(data)));
        }
        let mut few = [IoSlice::new(&[]); FEW_SLICES];
        let mut many = Vec::new();
        let wanted = (buffer.chunks() + pieces.len()).min(MOST_SLICES);
        let slices = if wanted <= FEW_SLICES {
            &mut few[..wanted]
        } else {
            many.resize(wanted, IoSlice::new(&[]));
            &mut many[..]
        };
        let mut filled = buffer.slices(slices);
        let mut skip = offset;
        for piece in pieces.iter().take(slices.len() - filled) {
            slices[filled] = IoSlice::new(&piece[skip..]);
            skip = 0;
            filled += 1;
        }
        let slices = &slices[..filled];
        let offered = slices.iter().map(|slice| slice.len()).sum();
        answer(offered, self.ask_wire(|wire| wire.write_vectored(slices)))
    }

    /// Compares what waits with the limits, and notes what the protocol is owed for it.
    pub(super) fn look_at_flow(&self, waiting: usize) {
        let owed = self.owed.get();
        if waiting <= self.limits.get().low() {
            self.note_owed(owed, owed.on(FlowEvent::Below));
        } else {
            self.look_above(waiting);
        }
    }

    /// As [`look_at_flow`](Connection::look_at_flow), where nothing was sent.
    pub(super) fn look_above(&self, waiting: usize) {
        let owed = self.owed.get();
        if waiting > self.limits.get().high() {
            self.note_owed(owed, owed.on(FlowEvent::Above));
        }
    }

    /// The limits have changed: they may pause at once, and never resume by themselves.
    pub(super) fn limits_changed(&self) {
        if !self.refused.get() && self.buffer.borrow().len() > self.limits.get().high() {
            self.offer_buffer();
        }
        let waiting = self.buffer.borrow().len();
        if self.life.get().takes_bytes() {
            self.look_above(waiting);
        }
    }

    fn note_owed(&self, before: Owed, after: Owed) {
        if before == after {
            return;
        }
        self.owed.set(after);
        match (before.flow(), after.flow()) {
            (Flow::Open, Flow::Paused) => self.paused_since.set(nanos(self.handle.time())),
            (Flow::Paused, Flow::Open) => self.paused_since.set(u64::MAX),
            _ => {}
        }
        if after.due().is_some() && self.greeted.get() {
            self.enlist();
        }
    }

    /// Everything is sent: those who wait for that go on, and a half close is finished.
    #[inline]
    pub(super) fn flushed_all(&self) {
        if self.writing.get() == Writing::Finishing {
            self.finish_writing();
        }
        self.flushed.wake_all();
    }

    /// Tells the peer the end. The connection's own end follows if that fails.
    fn finish_writing(&self) {
        self.writing.set(Writing::Finished);
        if let Some(Err(error)) = self.ask_wire(Wire::shutdown_write) {
            self.fatal("Fatal error: the end could not be sent", error);
        }
    }

    /// Ends the writing direction, once what was written before is sent.
    pub(super) fn end_writing(&self) -> io::Result<()> {
        let has_ended = matches!(self.writing.get(), Writing::Finishing | Writing::Finished);
        if self.life.get().is_closing() || has_ended {
            return Ok(());
        }
        if !self.ask_wire(Wire::can_write_eof).unwrap_or(false) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this transport cannot write EOF",
            ));
        }
        if self.reading.get() == Reading::Absent {
            // asyncio: unix_events.py has one end for both.
            self.close_gently();
            return Ok(());
        }
        if !self.refused.get() {
            self.offer_buffer();
        }
        if self.life.get().is_over() {
            return Ok(());
        }
        if !self.buffer.borrow().is_empty() || self.turn_is_taken() {
            self.writing.set(Writing::Finishing);
            return Ok(());
        }
        self.writing.set(Writing::Finished);
        self.ask_wire(Wire::shutdown_write).unwrap_or(Ok(()))
    }

    /// Delivers the notices that are due, each as a step, and finishes a close that has nothing left to do.
    ///
    /// It is called on a fresh stack: by the loop when a step ends, or at the end of an I/O callback.
    pub(super) fn settle(&self) {
        if !self.greeted.get() || !self.owes_callbacks() {
            return;
        }
        if self.slot.is_lent() {
            return self.wait_for_home();
        }
        while !self.life.get().is_over()
            && let Some(notice) = self.owed.get().due()
        {
            let Some(face) = self.face() else { return };
            self.owed.set(self.owed.get().on(FlowEvent::Told));
            self.handle.step(&|| self.title(), || match notice {
                Notice::Pause => {
                    self.callback("pause_writing", |protocol| protocol.pause_writing(&face))
                }
                Notice::Resume => {
                    self.callback("resume_writing", |protocol| protocol.resume_writing(&face))
                }
            });
            // What the callback wrote is offered with the close, below, or when the step ends.
        }
        if self.life.get() == Life::Draining && !self.refused.get() {
            self.offer_buffer();
        }
        self.finish_close();
    }

    /// Whether nothing waits to be sent, and no notice to be delivered.
    pub(super) fn nothing_is_left(&self) -> bool {
        self.buffer.borrow().is_empty() && self.owed.get().due().is_none()
    }

    /// Drops what waits. `unsent` remembers that there was something.
    pub(super) fn drop_buffer(&self) {
        if !self.buffer.borrow().is_empty() {
            self.unsent.set(true);
        }
        let spent = self.buffer.borrow_mut().take();
        drop(spent);
        self.refused.set(false);
    }

    /// Why a flush could not be finished.
    pub(super) fn unsent_error(&self) -> io::Error {
        match self.copy_of_cause() {
            Some(cause) => cause.into(),
            None => io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was aborted or detached before everything was sent",
            ),
        }
    }
}

/// Whether the system will not pass these descriptors, and has nothing against the connection.
fn concerns_fds(error: &io::Error) -> bool {
    let of_them = [Errno::TOOMANYREFS, Errno::INVAL];
    of_them.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}
