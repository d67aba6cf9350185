//! How a TLS connection ends: closed on both sides, aborted, or broken, and then lost exactly once.

use std::io;
use std::panic::resume_unwind;
use std::time::Duration;

use tidegate_protocols::{Cause, Lent};

use crate::connection::Tls;
use crate::error::TlsError;
use crate::lifecycle::{Life, LifeEvent, PeerEnd, Reading, Writing};

/// How many bytes, and for how long, a peer may go on sending that has been sent an alert: a socket that is closed with
/// unread input would destroy it.
const ALERT_BYTES: usize = 256 * 1024;
const ALERT_TIME: Duration = Duration::from_secs(1);

impl Tls {
    /// Closes: what was written is still sent, then the end is said, and the peer's awaited.
    pub(crate) fn close_gently(&self) {
        match self.life.get() {
            Life::Open => {}
            Life::Handshaking => {
                if !self.plain.borrow().is_empty() {
                    self.judge(TlsError::ClosedInHandshake);
                }
                return self.abort_now();
            }
            _ => return,
        }
        self.live(LifeEvent::Close);
        self.reading.set(Reading::Ended);
        self.drop_undelivered();
        self.break_turn();
        self.start_shutdown_deadline();
        self.encrypt_waiting();
        self.update_reading();
    }

    /// As [`close_gently`](Tls::close_gently); when everything is sent, reads so many bytes more, for so long.
    pub(crate) fn close_and_linger(&self, bytes: usize, time: Duration) {
        if self.life.get() == Life::Open {
            self.keep_seldom(|seldom| seldom.linger = Some((bytes, time)));
        }
        self.close_gently();
    }

    /// Closes, and the loss will have this cause.
    pub(crate) fn close_because(&self, error: TlsError) {
        self.judge(error);
        self.close_gently();
    }

    /// A closing connection has nothing left to encrypt.
    pub(crate) fn finish_close(&self) {
        // One that is ending already has dropped what was left.
        let below = self.below();
        self.all_sent.set(!below.is_closing() && below.get_write_buffer_size() == 0);
        if self.writing.get() != Writing::Finished {
            // asyncio: sslproto.py answers a stream that was cut short with nothing.
            match self.peer_end.get() {
                PeerEnd::CutShort => self.writing.set(Writing::Finished),
                PeerEnd::Open | PeerEnd::Notified => self.say_end(),
            }
        }
        self.live(LifeEvent::Said);
        match self.if_seldom(|seldom| seldom.linger) {
            Some((0, _)) => self.peer_end.set(PeerEnd::CutShort),
            Some((_, time)) => self.start_linger_deadline(time),
            None => {}
        }
        self.look_at_end();
    }

    /// A closing connection ends the one below when both sides have said their ends.
    pub(crate) fn look_at_end(&self) {
        if self.life.get() == Life::Parting && self.peer_end.get() != PeerEnd::Open {
            self.live(LifeEvent::Heard);
            // Whoever is below need not wait for the peer: all that counts was said, one layer higher.
            self.below().close_lingering(0, Duration::ZERO);
        }
    }

    /// Ends the connection now, with one last try to send.
    pub(crate) fn abort_now(&self) {
        if self.is_ending() {
            self.below().abort();
        }
    }

    /// The same, with a cause.
    pub(crate) fn fail_with(&self, cause: Cause) {
        let first = !self.life.get().is_over();
        if self.is_ending() {
            if first {
                self.judge(cause.clone());
            }
            self.below().fail(cause);
        }
    }

    /// A callback has failed, and the transport below ends the connection for it: nothing but the loss follows.
    pub(crate) fn failed(&self) {
        let _before = self.is_ending();
    }

    /// Prepares for the end that comes now; false if it has come before.
    fn is_ending(&self) -> bool {
        if self.life.get() == Life::Lost {
            return false;
        }
        if self.life.get().sends() {
            self.encrypt_waiting();
        }
        self.end();
        true
    }

    /// From now on nothing is received, and nothing of what waits is sent.
    fn end(&self) {
        self.live(LifeEvent::End);
        self.reading.set(Reading::Ended);
        self.drop_undelivered();
        self.break_turn();
        self.drop_waiting();
    }

    /// The session cannot go on: the peer is sent an alert, if there is one, and then the connection ends.
    pub(crate) fn broken(&self, error: TlsError) {
        let panicked = matches!(error, TlsError::Panicked(_));
        let cause = Cause::from(error);
        if panicked {
            self.report_soon("Fatal error: a callback of the TLS configuration failed.", &cause);
        }
        if !self.life.get().is_over() {
            self.end();
            self.judge(cause.clone());
            if let Some(gate) = self.take_gate() {
                gate.fail(cause.clone());
            }
            self.start_shutdown_deadline();
            self.below().close_lingering(ALERT_BYTES, ALERT_TIME);
        }
    }

    /// The connection ends for this reason, whatever the transport below says; the first one counts.
    pub(crate) fn judge(&self, cause: impl Into<Cause>) {
        let before = self.verdict.take();
        self.verdict.set(before.or_else(|| Some(cause.into())));
    }

    /// The transport below says why it was lost. Bytes that could not be sent count more than some that may be missing.
    fn judge_loss(&self, cause: Cause) {
        let verdict = self.verdict.take();
        let cut_short = verdict
            .as_ref()
            .is_some_and(|verdict| TlsError::of(verdict) == Some(&TlsError::Truncated));
        self.verdict.set(match verdict {
            Some(verdict) if !(cut_short && cause.is_os_error()) => Some(verdict),
            _ => Some(cause),
        });
    }

    /// The transport below is lost: delivers `connection_lost`, then lets go of everything.
    pub(crate) fn lose(&self, cause: Option<Cause>) {
        if let Some(cause) = cause.filter(|cause| !self.is_harmless(cause)) {
            self.judge_loss(cause);
        }
        self.live(LifeEvent::End);
        self.cancel_deadline();
        self.drop_waiting();
        if let Some(gate) = self.take_gate()
            && let Some(cause) = self.copy_of_verdict()
        {
            gate.fail(cause);
        }
        self.deliver_loss();
    }

    /// Whether the connection has ended well, though this is what the transport below says.
    fn is_harmless(&self, cause: &Cause) -> bool {
        if !self.all_sent.get() {
            return false;
        }
        match TlsError::of(cause) {
            // TLS in TLS: the end of the stream below, which is as good as the peer's word to who has said its own.
            Some(error) => *error == TlsError::Truncated,
            // All that was left to be sent, or to be heard, is that nothing follows.
            None => cause.is_os_error(),
        }
    }

    fn deliver_loss(&self) {
        let cause = self.copy_of_verdict();
        let lent = match self.face() {
            Some(face) if self.greeted.get() => {
                Some(self.slot.lend(|protocol| protocol.connection_lost(&face, cause)))
            }
            _ => None,
        };
        if let Some(Lent::Panicked(payload)) = lent {
            // Whoever reports it asks for the protocol's name: it is let go of after that.
            resume_unwind(payload);
        }
        self.let_go();
    }

    /// Drops the protocol and the session, and tells whoever waits. It breaks every cycle through here.
    pub(crate) fn let_go(&self) {
        if self.life.get() == Life::Lost {
            return;
        }
        self.live(LifeEvent::Delivered);
        self.cancel_deadline();
        self.drop_waiting();
        self.break_turn();
        self.reading.set(Reading::Ended);
        self.paused_since.set(None);
        drop(self.take_gate());
        drop(self.rest.take());
        let session = self.take_session();
        let face = self.take_face();
        let emptied = self.slot.empty();
        self.flushed.wake_all();
        self.closed.wake_all();
        drop(face);
        // Last of all, since it may hold what is the user's, whose destructor may panic.
        drop(session);
        if let Err(payload) = emptied
            && !std::thread::panicking()
        {
            resume_unwind(payload);
        }
    }

    /// Whether it is known why the connection ends.
    pub(crate) fn knows_why(&self) -> bool {
        let verdict = self.verdict.take();
        let known = verdict.is_some() || self.life.get() == Life::Lost;
        self.verdict.set(verdict);
        known
    }

    /// Why a flush could not be finished.
    pub(crate) fn unsent_error(&self) -> io::Error {
        match self.copy_of_verdict() {
            Some(cause) => cause.into(),
            None => io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was aborted before everything was sent",
            ),
        }
    }
}
