//! What a readable wire leads to: receives, whose datagrams are delivered one by one.

use std::cell::Cell;
use std::io;

use tidegate_protocols::{Address, Cause, DatagramProtocol, Lent};
use tidegate_reactor::Report;

use super::{DatagramWire, Endpoint, Received};
use crate::lifecycle::{Life, Reading};
use crate::wire::is_nothing_now;

/// The most receives that one readiness leads to, before others have their turn.
const MOST_RECEIVES: u16 = 64;

/// The most bytes that one readiness leads to; the last receive may go beyond that.
const MOST_BYTES: usize = 256 * 1024;

/// After a receive that was one too many, at least so many readinesses go by before one more is tried again; twice as
/// many each time, up to [`LONGEST_PATIENCE`].
const PATIENCE: u16 = 16;
const LONGEST_PATIENCE: u16 = 256;

/// How many receives a readiness is worth: as many as brought something the last time.
///
/// A receive that finds nothing costs a system call, and a turn of the loop for each datagram costs another. So this
/// learns how many come together: it is doubled for as long as nothing is found to be too much.
pub(super) struct Pace {
    receives: Cell<u16>,
    /// How many readinesses go by before it is raised.
    patience: Cell<u16>,
    /// What the patience will be the next time.
    next_patience: Cell<u16>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { receives: Cell::new(1), patience: Cell::new(0), next_patience: Cell::new(PATIENCE) }
    }
}

impl Pace {
    /// At a readiness so many receives have brought something; the next one found nothing, or was not made.
    fn learn(&self, found: u16, emptied: bool) {
        let receives = self.receives.get();
        if emptied {
            let was_raised_in_vain = 2 * found.max(1) <= receives;
            let next = if was_raised_in_vain { 2 * self.next_patience.get() } else { PATIENCE };
            self.receives.set(found.max(1));
            self.patience.set(self.next_patience.replace(next.min(LONGEST_PATIENCE)));
        } else if found < receives || receives == MOST_RECEIVES {
            // Others have their turn, or somebody has paused: that says nothing about those that wait.
        } else if self.patience.get() > 0 {
            self.patience.set(self.patience.get() - 1);
        } else {
            self.receives.set((2 * receives).min(MOST_RECEIVES));
        }
    }
}

/// What is left of a batch in whose middle reading was paused.
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Where the first datagram begins.
    start: usize,
    size: usize,
    from: Address,
}

impl<W: DatagramWire> Endpoint<W> {
    /// Receives a few times, and delivers what came.
    pub(super) fn on_readable(&self) {
        if self.slot.is_lent() {
            return self.wait_for_home();
        }
        let (mut found, mut bytes) = (0, 0);
        let mut emptied = false;
        while found < self.pace.receives.get() && bytes < MOST_BYTES && !emptied {
            // A notice or an error that is due is told before anything newer is received.
            if !self.receives() || self.owes_callbacks() {
                break;
            }
            match self.receive_once() {
                Some(length) => (found, bytes) = (found + 1, bytes + length),
                None => emptied = true,
            }
        }
        self.pace.learn(found, emptied);
        self.delivered();
    }

    /// Receives once, and delivers what came: so many bytes, or none if nothing is there.
    fn receive_once(&self) -> Option<usize> {
        let mut buffer = self.handle.shared_buffer();
        let received = match self.ask_wire(|wire| wire.receive(&mut buffer))? {
            Ok(received) => received,
            Err(error) => {
                drop(buffer);
                return self.receive_failed(error);
            }
        };
        let Received { length, size, from } = received;
        let data = &buffer[..length];
        let left = self.deliver(data, size, &from);
        if left > 0 {
            let bytes = data[length - left..].to_vec();
            self.hold(Held { bytes, start: 0, size, from });
        }
        Some(length)
    }

    /// Delivers what is left of a batch, if reading goes on.
    pub(super) fn deliver_held(&self) {
        if self.life.get() != Life::Open || self.reading.get() != Reading::Flowing {
            return;
        }
        let Some(mut held) = self.held.take() else { return };
        if self.slot.is_lent() {
            self.held.set(Some(held));
            return self.wait_for_home();
        }
        let left = self.deliver(&held.bytes[held.start..], held.size, &held.from);
        if left > 0 {
            held.start = held.bytes.len() - left;
            self.held.set(Some(held));
        }
        self.update_interest();
        self.delivered();
    }

    /// Keeps what is left of a batch: it comes before anything newer, which is not received before.
    fn hold(&self, held: Held) {
        self.held.set(Some(Box::new(held)));
        self.update_interest();
    }

    fn receives(&self) -> bool {
        self.life.get() == Life::Open
            && self.reading.get() == Reading::Flowing
            && !self.holds_datagrams()
    }

    /// Nobody else is as likely to add to the answers as the callbacks that have just returned: so they leave now.
    fn delivered(&self) {
        if !self.refused.get() {
            self.offer_queue();
        }
    }

    /// Delivers datagrams one by one. Answers how many bytes are left for later; what a close has left is dropped.
    fn deliver(&self, data: &[u8], size: usize, from: &Address) -> usize {
        let Some(face) = self.face() else { return 0 };
        let mut rest = data;
        self.receiving.set(true);
        loop {
            let length = if size == 0 { rest.len() } else { size.min(rest.len()) };
            let (datagram, behind) = rest.split_at(length);
            self.count(|counts| {
                counts.datagrams_received += 1;
                counts.bytes_received += length as u64;
            });
            self.callback("datagram_received", |protocol| {
                protocol.datagram_received(&face, datagram, from)
            });
            rest = behind;
            if rest.is_empty() || self.life.get() != Life::Open {
                rest = &[];
                break;
            }
            if self.reading.get() != Reading::Flowing {
                break;
            }
        }
        self.receiving.set(false);
        rest.len()
    }

    /// Tells of an error, unless it says that nothing is there.
    fn receive_failed(&self, error: io::Error) -> Option<usize> {
        if is_nothing_now(&error) {
            return None;
        }
        if error.raw_os_error().is_none() {
            self.fatal("Fatal read error on datagram transport", error);
            return None;
        }
        let face = self.face()?;
        self.receiving.set(true);
        self.callback("error_received", |protocol| protocol.error_received(&face, error));
        self.receiving.set(false);
        Some(0)
    }

    /// Calls the protocol. A callback that fails is reported, and only the greeting ends the endpoint by it.
    pub(super) fn callback(
        &self,
        stage: &'static str,
        call: impl FnOnce(&mut dyn DatagramProtocol) -> io::Result<()>,
    ) {
        let cause = match self.slot.lend(call) {
            Lent::Gave(Ok(())) | Lent::Nobody => return,
            Lent::Gave(Err(error)) => Cause::from(error),
            Lent::Panicked(payload) => Cause::from_panic(payload),
        };
        // A change of protocol that panicked has left nobody to go on with.
        if self.slot.is_empty() || stage == "connection_made" {
            self.abort_with(Some(cause.clone()));
        }
        self.report(&format!("Exception in protocol.{stage}()"), cause);
    }

    /// An error ends the endpoint; nothing more is offered to the system.
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
        if cause.is_os_error() {
            return;
        }
        let (endpoint, cause) = (self.share(), cause.clone());
        // A loop that is closed has nobody to tell.
        let _closed = self.handle.call_soon(move || endpoint.report(message, cause));
    }

    /// Tells the exception handler of something that went wrong here; on a fresh stack only.
    pub(super) fn report(&self, message: &str, cause: Cause) {
        let mut report = Report::new(message).error(cause).transport(self.title());
        if let Lent::Gave(name) = self.slot.lend(|protocol| DatagramProtocol::type_name(protocol)) {
            report = report.protocol(name);
        }
        if let Some(remote) = &self.remote {
            report = report.peer(remote.to_string());
        }
        self.handle.call_exception_handler(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many readinesses, each with so many datagrams that wait: how many receives they lead to.
    fn receives(pace: &Pace, readinesses: usize, waiting: u16) -> usize {
        let mut calls = 0;
        for _ in 0..readinesses {
            let most = pace.receives.get();
            pace.learn(most.min(waiting), most > waiting);
            calls += usize::from(most.min(waiting + 1));
        }
        calls
    }

    #[test]
    fn what_comes_alone_is_received_by_one_call() {
        let pace = Pace::default();
        assert!(receives(&pace, 1000, 1) < 1010);
        assert_eq!(pace.receives.get(), 1);
    }

    #[test]
    fn what_comes_together_is_soon_received_together() {
        let pace = Pace::default();
        receives(&pace, 100, 1);
        receives(&pace, 1000, 32);
        assert_eq!(pace.receives.get(), 32);
        assert!(receives(&pace, 1000, 32) < 33_000);
        receives(&pace, 1000, 1000);
        assert_eq!(pace.receives.get(), MOST_RECEIVES);
        receives(&pace, 1, 1);
        assert_eq!(pace.receives.get(), 1);
    }

    #[test]
    fn a_delivery_that_was_broken_off_teaches_nothing() {
        let pace = Pace::default();
        receives(&pace, 1000, 8);
        assert_eq!(pace.receives.get(), 8);
        pace.learn(3, false);
        assert_eq!(pace.receives.get(), 8);
    }
}
