//! What a readable wire leads to: one read, handed to the protocol, and the end of the stream.

use std::io;

use rustix::io::Errno;
use tidegate_protocols::{AtEof, Cause, Incoming, Lent, Outcome, Protocol, ReadSource};
use tidegate_reactor::{READ_SIZE, Report, SharedBuffer};

use super::{Connection, Wire};
use crate::lifecycle::{Life, LifeEvent, Reading, ReadingEvent, Writing};

impl<W: Wire> Connection<W> {
    /// Lets the protocol make one read.
    pub(super) fn on_readable(&self) {
        if self.life.get() == Life::Lingering {
            return self.discard();
        }
        if self.life.get() != Life::Open || self.reading.get() != Reading::Flowing {
            return self.readable_unasked();
        }
        let Some(face) = self.face() else { return };
        let mut source = Reader { connection: self, buffer: None };
        let mut incoming = Incoming::new(&mut source);
        self.receiving.set(true);
        let lent = self.slot.lend(|protocol| protocol.receive(&face, &mut incoming));
        self.receiving.set(false);
        if let Lent::Nobody = lent {
            return self.nobody_reads();
        }
        self.close_fds();
        let stage = incoming.stage();
        let outcome = incoming.outcome();
        drop(source);
        if let Outcome::Data(length) = outcome {
            self.received.set(self.received.get() + length as u64);
        }
        if self.came_home(stage, lent).is_none() {
            return;
        }
        // Nobody else is as likely to add to an answer as the callback that has just returned, and the system
        // has this connection at hand: so the answer leaves now.
        if !self.refused.get() {
            self.offer_buffer();
        }
        match outcome {
            Outcome::Data(_) | Outcome::Nothing => {}
            Outcome::Eof => self.on_eof(),
            Outcome::Failed(error) => self.read_failed(error),
            // One that has closed or aborted instead owes no read.
            Outcome::Unread if self.life.get() != Life::Open => {}
            Outcome::Unread => {
                let error = io::Error::other("receive() returned without reading");
                self.protocol_failed("receive", Cause::from(error));
            }
        }
    }

    /// Closes the descriptors that came with a read and that nobody has taken.
    #[inline]
    pub(super) fn close_fds(&self) {
        if W::BRINGS_FDS {
            drop(self.ask_wire(Wire::take_fds));
        }
    }

    /// The wire is readable, and nobody reads: of a pipe that is only written to it says that its reader is gone.
    #[cold]
    fn readable_unasked(&self) {
        if self.reading.get() == Reading::Absent {
            self.peer_gone();
        }
    }

    /// The wire is readable, and the protocol is out.
    #[cold]
    fn nobody_reads(&self) {
        if self.slot.is_lent() {
            self.wait_for_home();
        }
    }

    /// A read has failed, and with it the connection.
    fn read_failed(&self, error: io::Error) {
        let cause = Cause::from(error);
        let expected = match self.writing.get() {
            // asyncio: unix_events.py expects this one alone, which a terminal gives whose other side is closed.
            Writing::Absent => cause.raw_os_error() == Some(Errno::IO.raw_os_error()),
            _ => cause.is_os_error(),
        };
        if !expected {
            self.report_soon("Fatal read error on stream transport", &cause);
        }
        self.end_with(Some(cause));
    }

    /// The peer has sent everything.
    fn on_eof(&self) {
        if self.life.get() != Life::Open {
            return;
        }
        let Some(face) = self.face() else { return };
        self.reading.set(self.reading.get().on(ReadingEvent::End));
        let is_all = self.writing.get() == Writing::Absent;
        if is_all {
            // asyncio: unix_events.py closes a pipe before it tells of the end.
            self.life.set(self.life.get().on(LifeEvent::Close));
            self.ask_wire(Wire::release);
        }
        self.update_interest();
        let lent = self.slot.lend(|protocol| protocol.eof_received(&face));
        let answer = self.came_home("eof_received", lent);
        if is_all {
            self.finish_close();
        } else if let Some(AtEof::Close) = answer {
            self.close_gently();
        }
    }

    /// Calls one of the callbacks that answer nothing. One that panics ends the connection.
    pub(super) fn callback(&self, stage: &'static str, call: impl FnOnce(&mut dyn Protocol)) {
        let lent = self.slot.lend(|protocol| {
            call(protocol);
            Ok(())
        });
        self.came_home(stage, lent);
    }

    /// What a callback answered; none if it failed, and with it the connection.
    fn came_home<R>(&self, stage: &'static str, lent: Lent<io::Result<R>>) -> Option<R> {
        match lent {
            Lent::Gave(Ok(answer)) => Some(answer),
            Lent::Gave(Err(error)) => {
                self.protocol_failed(stage, Cause::from(error));
                None
            }
            Lent::Panicked(payload) => {
                self.protocol_failed(stage, Cause::from_panic(payload));
                None
            }
            Lent::Nobody => None,
        }
    }

    /// A callback has failed: its connection ends with that cause.
    fn protocol_failed(&self, stage: &'static str, cause: Cause) {
        // First of all, so that a handler that ends the connection too does not take the cause away.
        self.abort_with(Some(cause.clone()));
        if !cause.is_os_error() {
            self.report(&format!("Fatal error: protocol.{stage}() call failed."), cause);
        }
    }

    /// An error ends the connection; nothing more is offered to the system.
    pub(super) fn fatal(&self, message: &'static str, error: io::Error) {
        let cause = Cause::from(error);
        self.report_unless_os(message, &cause);
        self.end_with(Some(cause));
    }

    /// Tells the exception handler of an error here, unless it is one of the operating system's.
    ///
    /// This may be inside a call of the user's, where no code of the user's may run, so the handler is told in
    /// the loop's next batch, before the loss.
    pub(super) fn report_unless_os(&self, message: &'static str, cause: &Cause) {
        // asyncio: selector_events.py _fatal_error keeps those to itself.
        if !cause.is_os_error() {
            self.report_soon(message, cause);
        }
    }

    /// Tells the exception handler of an error, on a fresh stack.
    fn report_soon(&self, message: &'static str, cause: &Cause) {
        let (connection, cause) = (self.share(), cause.clone());
        // A loop that is closed has nobody to tell.
        let _closed = self.handle.call_soon(move || connection.report(message, cause));
    }

    /// Tells the exception handler of something that went wrong here; on a fresh stack only.
    pub(super) fn report(&self, message: &str, cause: Cause) {
        let mut report = Report::new(message).error(cause).transport(self.title());
        if let Some(name) = self.slot.type_name() {
            report = report.protocol(name);
        }
        let peer = self.peername.borrow().as_ref().map(ToString::to_string);
        if let Some(peer) = peer {
            report = report.peer(peer);
        }
        self.handle.call_exception_handler(report);
    }
}

/// One read of a wire, into the protocol's memory or into the buffer that the whole loop shares.
struct Reader<'a, W: Wire> {
    connection: &'a Connection<W>,
    buffer: Option<SharedBuffer<'a>>,
}

impl<W: Wire> ReadSource for Reader<'_, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(READ_SIZE);
        self.connection
            .ask_wire(|wire| wire.read(&mut into[..length]))
            .unwrap_or(Err(io::ErrorKind::WouldBlock.into()))
    }

    fn append(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.connection
            .ask_wire(|wire| wire.append(into))
            .unwrap_or(Err(io::ErrorKind::WouldBlock.into()))
    }

    fn shared(&mut self) -> io::Result<&[u8]> {
        let connection = self.connection;
        let buffer = self.buffer.get_or_insert_with(|| connection.handle.shared_buffer());
        let length = connection
            .ask_wire(|wire| wire.read(buffer))
            .unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        Ok(&buffer[..length])
    }
}
