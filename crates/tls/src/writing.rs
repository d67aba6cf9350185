//! What is written: gathered while a step lasts, encrypted when it ends, and never more than the transport below takes.

use std::io;

use bytes::Bytes;
use tidegate_protocols::{Flow, FlowEvent, Owed, Spent};

use crate::connection::Tls;
use crate::error::TlsError;
use crate::lifecycle::{Life, Writing};
use crate::scratch::Scratch;
use crate::session::RECORD;

/// How much plaintext is encrypted before it is given to the transport below; waiting bytes are encrypted at once when
/// they reach this.
pub(crate) const BATCH: usize = 4 * RECORD;

/// How many bytes so much plaintext is below, at most, and what goes past it besides.
pub(crate) fn records_of(plain: usize) -> usize {
    plain.saturating_add(plain / 8).saturating_add(2 * BATCH)
}

impl Tls {
    /// Takes a piece: into the buffer while a step lasts, else straight to be encrypted.
    pub(crate) fn accept(&self, piece: &[u8]) -> Flow {
        if !self.takes_bytes() {
            return Flow::Closed;
        }
        if piece.is_empty() {
            return self.owed.get().flow();
        }
        let due = self.is_due(piece.len());
        if !due && self.receiving.get() && self.below().flow() == Flow::Open {
            // The common case, an answer: it is encrypted when the callback returns, and cannot be more than the marks
            // allow, since nothing waits below.
            self.plain.borrow_mut().push(piece);
            return self.owed.get().flow();
        }
        if due && self.plain.borrow().is_empty() && self.can_send() {
            self.encrypt_straight(piece);
        } else {
            self.plain.borrow_mut().push(piece);
            if due {
                self.encrypt_waiting();
            }
        }
        self.accepted()
    }

    /// As [`accept`](Tls::accept), of bytes that need not be copied.
    pub(crate) fn accept_bytes(&self, data: Bytes) -> Flow {
        if !self.takes_bytes() {
            return Flow::Closed;
        }
        if data.is_empty() {
            return self.owed.get().flow();
        }
        let due = self.is_due(data.len());
        let copied = self.plain.borrow_mut().push_bytes(data);
        drop(copied);
        if due {
            self.encrypt_waiting();
        }
        self.accepted()
    }

    /// Takes `lines` in order, as one: what is written by those whom the sending of some wakes, or drops, comes behind.
    pub(crate) fn accept_lines(&self, lines: &[&[u8]]) -> Flow {
        if let [line] = lines {
            return self.accept(line);
        }
        if !self.takes_bytes() {
            return Flow::Closed;
        }
        let length = lines.iter().map(|line| line.len()).sum();
        if length == 0 {
            return self.owed.get().flow();
        }
        let due = self.is_due(length);
        let mut plain = self.plain.borrow_mut();
        for line in lines {
            plain.push(line);
        }
        drop(plain);
        if due {
            self.encrypt_waiting();
        }
        self.accepted()
    }

    pub(crate) fn takes_bytes(&self) -> bool {
        matches!(self.life.get(), Life::Handshaking | Life::Open)
            && self.writing.get() == Writing::Open
            && !self.below().is_closing()
    }

    /// Whether with so many bytes more everything is encrypted now rather than when the step ends.
    fn is_due(&self, more: usize) -> bool {
        let waiting = self.plain.borrow().len() + more;
        more >= RECORD
            || waiting >= BATCH
            || waiting > self.limits.get().high().min(self.abort_above.get())
            || !self.handle.in_step()
    }

    /// Whether plaintext can be encrypted now: the handshake is done, and the transport below has nothing waiting.
    fn can_send(&self) -> bool {
        self.life.get().sends()
            && !self.is_at_work()
            && !self.turn_is_taken()
            && self.below().flow() == Flow::Open
    }

    /// Bytes were taken: looks after the step's list, the flow, and the user's last resort.
    fn accepted(&self) -> Flow {
        if self.life.get().is_over() || self.below().is_closing() {
            return Flow::Closed;
        }
        let waiting = self.waiting();
        let limit = self.abort_above.get();
        if waiting > limit && self.written_and_waiting() > limit {
            let text =
                format!("more than {limit} bytes wait to be sent: the peer reads too slowly");
            self.fail_with(io::Error::other(text).into());
            return Flow::Closed;
        }
        // Only sending resumes (T-48).
        self.look_above(waiting);
        if !self.plain.borrow().is_empty() && !self.receiving.get() && self.can_send() {
            self.touched.set(self.handle.step_number());
            self.enlist();
        }
        self.owed.get().flow()
    }

    /// How many bytes wait, here and below.
    pub(crate) fn waiting(&self) -> usize {
        self.plain.borrow().len() + self.below().get_write_buffer_size()
    }

    /// The same without what TLS has added. While some of it was sent it may be too few, by as much as was added to that.
    fn written_and_waiting(&self) -> usize {
        let below = self.below().get_write_buffer_size();
        self.plain.borrow().len() + below.saturating_sub(self.overhead.get())
    }

    /// Encrypts from the caller's memory; only what the transport below does not take now is copied.
    fn encrypt_straight(&self, piece: &[u8]) {
        let mut scratch = Scratch::take();
        let mut left = piece;
        while !left.is_empty() && self.can_send() {
            let (now, later) = left.split_at(left.len().min(BATCH));
            let encrypted = self.work(|session| session.encrypt(now, &mut scratch.out));
            if let Err(error) = encrypted {
                return self.broken(error);
            }
            self.give_below(&mut scratch, now.len());
            left = later;
        }
        self.plain.borrow_mut().push(left);
        self.look_at_flow();
    }

    /// Encrypts what waits, as far as the transport below takes it.
    pub(crate) fn encrypt_waiting(&self) {
        if !self.plain.borrow().is_empty() && self.can_send() {
            self.encrypt_waiting_in(&mut Scratch::take());
        } else {
            self.look_at_writing();
        }
    }

    /// The same, in memory that is at hand.
    pub(crate) fn encrypt_waiting_in(&self, scratch: &mut Scratch) {
        while !self.plain.borrow().is_empty() && self.can_send() {
            let mut spent = Vec::new();
            match self.encrypt_batch(scratch, &mut spent) {
                Ok(plain) => self.give_below(scratch, plain),
                Err(error) => return self.broken(error),
            }
            drop(spent);
            self.look_at_flow();
        }
        self.look_at_writing();
    }

    /// Encrypts everything that waits, whether the transport below takes it or has to keep it.
    pub(crate) fn encrypt_all(&self) {
        let mut scratch = Scratch::take();
        while !self.plain.borrow().is_empty() && self.life.get().sends() {
            let mut spent = Vec::new();
            match self.encrypt_batch(&mut scratch, &mut spent) {
                Ok(plain) => self.give_below(&mut scratch, plain),
                Err(error) => return self.broken(error),
            }
        }
    }

    /// Moves a batch of what waits into `scratch`, encrypted, and answers how much that was.
    ///
    /// `spent` is dropped when that was given on: its owners may write, and records must leave in their order.
    fn encrypt_batch(
        &self,
        scratch: &mut Scratch,
        spent: &mut Vec<Spent>,
    ) -> Result<usize, TlsError> {
        let mut left = BATCH;
        while left > 0 {
            let mut plain = self.plain.borrow_mut();
            let first = plain.first();
            let piece = &first[..first.len().min(left)];
            if piece.is_empty() {
                break;
            }
            self.work(|session| session.encrypt(piece, &mut scratch.out))?;
            let length = piece.len();
            let owners = plain.advance(length);
            drop(plain);
            if !owners.is_empty() {
                spent.push(owners);
            }
            left -= length;
        }
        Ok(BATCH - left)
    }

    /// Gives records to the transport below, with so much in them that was written here.
    pub(crate) fn give_below(&self, scratch: &mut Scratch, plain: usize) {
        if !scratch.out.bytes().is_empty() {
            self.count_overhead(scratch.out.bytes().len() - plain);
            let taken = self.below().write(scratch.out.bytes());
            scratch.out.clear();
            if taken == Flow::Closed {
                // It says why in its `connection_lost`.
                self.unsent.set(true);
            }
        }
    }

    /// So many bytes that nobody has written are given to the transport below, as soon as this returns.
    pub(crate) fn count_overhead(&self, bytes: usize) {
        if self.abort_above.get() < usize::MAX {
            let waits = self.below().get_write_buffer_size() > 0;
            self.overhead.set(if waits { self.overhead.get() + bytes } else { bytes });
        }
    }

    /// Compares what waits with the limits, and notes what the protocol is owed for it.
    pub(crate) fn look_at_flow(&self) {
        let waiting = self.waiting();
        if waiting <= self.limits.get().low() {
            self.note_owed(self.owed.get().on(FlowEvent::Below));
        } else {
            self.look_above(waiting);
        }
    }

    /// The same where nothing was sent.
    pub(crate) fn look_above(&self, waiting: usize) {
        if waiting > self.limits.get().high() {
            self.note_owed(self.owed.get().on(FlowEvent::Above));
        }
    }

    fn note_owed(&self, after: Owed) {
        let before = self.owed.replace(after);
        if before == after {
            return;
        }
        match (before.flow(), after.flow()) {
            (Flow::Open, Flow::Paused) => self.paused_since.set(Some(self.handle.time())),
            (Flow::Paused, Flow::Open) => self.paused_since.set(None),
            _ => {}
        }
        if after.due().is_some() && self.tells_flow() {
            self.enlist();
        }
    }

    /// Everything may be encrypted: those who wait for that go on, and a half close or a close is finished.
    fn look_at_writing(&self) {
        if !self.plain.borrow().is_empty()
            || !self.life.get().sends()
            || self.is_at_work()
            || self.turn_is_taken()
        {
            return;
        }
        self.flushed.wake_all();
        if self.writing.get() == Writing::Finishing {
            self.say_end();
        }
        if self.life.get() == Life::Draining {
            self.finish_close();
        }
    }

    /// Tells the peer that nothing follows.
    pub(crate) fn say_end(&self) {
        self.writing.set(Writing::Finished);
        let mut scratch = Scratch::take();
        match self.work(|session| session.close_notify(&mut scratch.out)) {
            Ok(()) => self.give_below(&mut scratch, 0),
            Err(error) => self.broken(error),
        }
    }

    /// Ends the writing direction, once what was written before is sent.
    pub(crate) fn end_writing(&self) {
        if self.life.get().is_closing() || self.writing.get() != Writing::Open {
            return;
        }
        self.writing.set(Writing::Finishing);
        self.encrypt_waiting();
    }

    /// Drops what waits. `unsent` remembers that there was something.
    pub(crate) fn drop_waiting(&self) {
        if !self.plain.borrow().is_empty() {
            self.unsent.set(true);
        }
        let spent = self.plain.borrow_mut().take();
        drop(spent);
    }
}
