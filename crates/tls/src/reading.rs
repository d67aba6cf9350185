//! What is received: decrypted, handed to the protocol above, and the end of it.

use std::io;
use std::mem;

use tidegate_protocols::{AtEof, Incoming, Lent, Outcome, ReadSource, Transport};

use crate::connection::{Failure, Rest, Tls};
use crate::error::TlsError;
use crate::lifecycle::{Life, LifeEvent, PeerEnd, Reading};
use crate::scratch::Scratch;
use crate::session::Session;

impl Tls {
    /// One read of the transport below, and everything that follows from it.
    pub(crate) fn receive(&self, incoming: &mut Incoming<'_>) -> Result<(), Failure> {
        let mut scratch = Scratch::take();
        let rest = self.take_received();
        scratch.begin(&rest);
        if incoming.append(&mut scratch.received).is_none() {
            self.keep_received(&rest);
            return Ok(());
        }
        self.take_in(scratch)
    }

    /// Whether the peer's side of the handshake was received before there was a TLS connection.
    pub(crate) fn has_head_start(&self) -> bool {
        self.head_start.get() && self.life.get() == Life::Handshaking
    }

    /// As [`receive`](Tls::receive), of that.
    pub(crate) fn receive_rest(&self) -> Result<(), Failure> {
        self.head_start.set(false);
        let mut scratch = Scratch::take();
        scratch.begin(&self.take_received());
        self.take_in(scratch)
    }

    /// Decrypts what was received, and does what follows from it.
    fn take_in(&self, mut scratch: Scratch) -> Result<(), Failure> {
        self.receiving.set(true);
        let done = self.digest(&mut scratch);
        self.receiving.set(false);
        // Before the memory goes to others: what the callbacks have written is encrypted there too.
        self.encrypt_waiting_in(&mut scratch);
        done
    }

    fn digest(&self, scratch: &mut Scratch) -> Result<(), Failure> {
        let buffers = &mut **scratch;
        let taken = self.work(|session| {
            session.receive(&mut buffers.received, &mut buffers.plain, &mut buffers.out)
        });
        if !buffers.out.bytes().is_empty() {
            self.count_overhead(buffers.out.bytes().len());
            self.below().write(buffers.out.bytes());
            buffers.out.clear();
        }
        let broken = taken.err();
        let mut handed_on = Ok(());
        if broken.is_none() && self.is_just_open() {
            handed_on = self.open();
        }
        if handed_on.is_ok() {
            self.note_peer_end();
            // The memory is lent to the callback; nothing of ours is borrowed while that runs.
            let plain = mem::take(&mut scratch.plain);
            handed_on = self.hand_on(&plain);
            scratch.plain = plain;
        }
        if let Some(error) = broken {
            self.broken(error);
        }
        handed_on
    }

    fn is_just_open(&self) -> bool {
        self.life.get() == Life::Handshaking && self.if_session(|session| !session.is_handshaking())
    }

    /// The handshake is done: the protocol is told, and whoever opens.
    fn open(&self) -> Result<(), Failure> {
        let Some(face) = self.face() else { return Ok(()) };
        self.live(LifeEvent::Opened);
        self.cancel_deadline();
        if self.owed.get().due().is_some() {
            self.enlist();
        }
        let facts = self.if_session(|session| session.facts());
        self.facts.set(facts.map(Box::new));
        if !self.greeted.replace(true) {
            let lent = self.slot.lend(|protocol| {
                protocol.connection_made(&face);
                Ok(())
            });
            Failure::unless("connection_made", lent)?;
        }
        self.update_reading();
        if let Some(gate) = self.take_gate() {
            gate.open(&face);
        }
        if self.greets_later.get() {
            // asyncio hands the data on in the same step; uvloop lets whoever called start_tls go first, as here.
            self.queue_again();
        }
        Ok(())
    }

    /// The peer may have sent its close_notify.
    fn note_peer_end(&self) {
        let ended = self.if_session(|session| session.peer_has_ended());
        if ended && self.peer_end.get() == PeerEnd::Open {
            self.peer_end.set(PeerEnd::Notified);
        }
    }

    /// Hands plaintext on, or keeps it, or drops it if nobody is to get it any more.
    fn hand_on(&self, plain: &[u8]) -> Result<(), Failure> {
        match self.life.get() {
            Life::Open => {}
            Life::Draining | Life::Parting => {
                self.discard(plain.len());
                return Ok(());
            }
            Life::Handshaking | Life::Leaving | Life::Lost => return Ok(()),
        }
        if self.has_undelivered() {
            self.keep_plain(plain);
            return self.go_on();
        }
        let mut at = 0;
        let delivered = self.deliver(plain, &mut at);
        if self.life.get() == Life::Open {
            self.keep_plain(&plain[at..]);
        }
        delivered?;
        self.deliver_end()
    }

    /// Delivers what was kept, and the end behind it; on a fresh stack only.
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        while self.can_deliver() && self.has_undelivered() {
            if self.slot.is_lent() {
                self.wait_for_home();
                return Ok(());
            }
            let Some(mut rest) = self.rest.take() else { break };
            let (plain, at) = (mem::take(&mut rest.plain), mem::take(&mut rest.at));
            self.keep_rest(rest);
            let mut delivered = at;
            let outcome = self.deliver(&plain, &mut delivered);
            if delivered < plain.len() && self.life.get() == Life::Open {
                let mut rest = self.rest.take().unwrap_or_default();
                // What came meanwhile comes behind it.
                let behind = mem::replace(&mut rest.plain, plain);
                rest.plain.extend_from_slice(&behind[mem::replace(&mut rest.at, delivered)..]);
                self.keep_rest(rest);
            }
            outcome?;
            if delivered == at {
                break;
            }
        }
        self.deliver_end()
    }

    /// Lends the protocol plaintext for as long as it takes some; `at` says how far it got.
    fn deliver(&self, plain: &[u8], at: &mut usize) -> Result<(), Failure> {
        let was_receiving = self.receiving.replace(true);
        let mut answer = Ok(());
        while *at < plain.len() && self.is_flowing() && answer.is_ok() {
            let Some(face) = self.face() else { break };
            if self.slot.is_lent() {
                self.wait_for_home();
                break;
            }
            answer = self.deliver_once(&face, plain, at);
        }
        self.receiving.set(was_receiving);
        if !was_receiving {
            self.encrypt_waiting();
        }
        answer
    }

    fn deliver_once(&self, face: &Transport, plain: &[u8], at: &mut usize) -> Result<(), Failure> {
        let mut source = Plain { bytes: &plain[*at..], read: 0 };
        let mut incoming = Incoming::new(&mut source);
        let lent = self.slot.lend(|protocol| protocol.receive(face, &mut incoming));
        let stage = incoming.stage();
        let outcome = incoming.outcome();
        *at += source.read;
        Failure::unless(stage, lent)?;
        match outcome {
            Outcome::Failed(error) => Err(Failure { stage, error }),
            // One that has closed, aborted or gone elsewhere instead owes no read.
            Outcome::Unread if self.is_flowing() => {
                let error = io::Error::other("receive() returned without reading");
                Err(Failure { stage: "receive", error })
            }
            _ => Ok(()),
        }
    }

    /// Tells the protocol of the end, once everything before it was delivered.
    fn deliver_end(&self) -> Result<(), Failure> {
        if !self.is_flowing() || self.has_undelivered() {
            return Ok(());
        }
        match self.peer_end.get() {
            PeerEnd::Open => return Ok(()),
            PeerEnd::CutShort if !self.config.terms().accepts_truncation => {
                self.reading.set(Reading::Ended);
                self.close_because(TlsError::Truncated);
                return Ok(());
            }
            PeerEnd::Notified | PeerEnd::CutShort => {}
        }
        let Some(face) = self.face() else { return Ok(()) };
        if self.slot.is_lent() {
            self.wait_for_home();
            return Ok(());
        }
        let was_receiving = self.receiving.replace(true);
        // A read finds the end, as it does everywhere; the callback may have closed or paused instead of reading.
        let found = self.deliver_once(&face, &[], &mut 0);
        let lent = match found.is_ok() && self.is_flowing() {
            true => {
                self.reading.set(Reading::Ended);
                self.slot.lend(|protocol| protocol.eof_received(&face))
            }
            false => Lent::Nobody,
        };
        self.receiving.set(was_receiving);
        found?;
        match Failure::unless("eof_received", lent)? {
            Some(AtEof::Close) => self.close_gently(),
            Some(AtEof::KeepWriting) if !was_receiving => self.encrypt_waiting(),
            Some(AtEof::KeepWriting) | None => {}
        }
        Ok(())
    }

    /// The stream below has ended.
    pub(crate) fn below_ended(&self) -> Result<AtEof, Failure> {
        if self.peer_end.get() == PeerEnd::Open {
            self.peer_end.set(PeerEnd::CutShort);
        }
        let told = match self.life.get() {
            Life::Handshaking => {
                self.broken(TlsError::EndedInHandshake);
                Ok(())
            }
            Life::Open => self.deliver_end(),
            Life::Draining | Life::Parting => {
                self.look_at_end();
                Ok(())
            }
            Life::Leaving | Life::Lost => Ok(()),
        };
        told?;
        // What waits is sent first; this connection closes the one below when it is.
        Ok(if self.life.get().is_over() { AtEof::Close } else { AtEof::KeepWriting })
    }

    /// What comes while nobody is to get it is dropped; so much, if there is a limit.
    fn discard(&self, bytes: usize) {
        let over = self.if_seldom(|seldom| match &mut seldom.linger {
            Some((left, _)) if self.life.get() == Life::Parting => {
                *left = left.saturating_sub(bytes);
                *left == 0
            }
            _ => false,
        });
        if over {
            self.peer_end.set(PeerEnd::CutShort);
        }
        self.look_at_end();
    }

    /// Whether what arrives is delivered now.
    fn is_flowing(&self) -> bool {
        self.life.get() == Life::Open
            && self.reading.get() == Reading::Flowing
            && !self.greets_later.get()
            && !self.turn_is_taken()
    }

    /// Whether something is there to be delivered now.
    pub(crate) fn can_deliver(&self) -> bool {
        self.is_flowing() && (self.has_undelivered() || self.peer_end.get() != PeerEnd::Open)
    }

    fn has_undelivered(&self) -> bool {
        let rest = self.rest.take();
        let has = rest.as_ref().is_some_and(|rest| rest.at < rest.plain.len());
        self.rest.set(rest);
        has
    }

    /// What the user wants of reading has changed, or the life: the transport below follows.
    pub(crate) fn update_reading(&self) {
        let below = match self.life.get() {
            Life::Open if self.reading.get() == Reading::Paused || self.turn_is_taken() => false,
            Life::Handshaking | Life::Open | Life::Draining | Life::Parting => true,
            Life::Leaving | Life::Lost => return,
        };
        match below {
            true => self.below().resume_reading(),
            false => self.below().pause_reading(),
        }
        if self.can_deliver() {
            self.enlist();
        }
    }

    /// Takes the beginning of a record that was kept.
    fn take_received(&self) -> Vec<u8> {
        self.if_session(Session::take_rest)
    }

    /// Keeps the beginning of a record, or what was received before there was TLS.
    pub(crate) fn keep_received(&self, received: &[u8]) {
        self.if_session(|session| session.keep_rest(received));
    }

    fn keep_plain(&self, plain: &[u8]) {
        if !plain.is_empty() {
            let mut rest = self.rest.take().unwrap_or_default();
            rest.plain.extend_from_slice(plain);
            self.rest.set(Some(rest));
        }
    }

    fn keep_rest(&self, rest: Box<Rest>) {
        let needed = rest.at < rest.plain.len();
        self.rest.set(needed.then_some(rest));
    }

    /// Nobody gets any more what was kept for the protocol.
    pub(crate) fn drop_undelivered(&self) {
        drop(self.rest.take());
    }
}

/// Plaintext as the protocol above reads it.
struct Plain<'a> {
    bytes: &'a [u8],
    read: usize,
}

impl ReadSource for Plain<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.bytes.len());
        into[..length].copy_from_slice(&self.bytes[..length]);
        self.read = length;
        Ok(length)
    }

    fn shared(&mut self) -> io::Result<&[u8]> {
        self.read = self.bytes.len();
        Ok(self.bytes)
    }

    fn append(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let length = (into.capacity() - into.len()).min(self.bytes.len());
        into.extend_from_slice(&self.bytes[..length]);
        self.read = length;
        Ok(length)
    }
}
