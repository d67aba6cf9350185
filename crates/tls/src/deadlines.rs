//! How long a handshake and a shutdown may take: the only thing for which TLS needs a clock.

use std::time::Duration;

use tidegate_reactor::TimerHandle;

use crate::connection::Tls;
use crate::error::TlsError;
use crate::lifecycle::{Life, PeerEnd};

/// How often within its limit it is looked at whether a shutdown goes on. Whoever stops is given up within the limit,
/// and not before the last but one of these looks.
const LOOKS: u32 = 8;

impl Tls {
    /// From now on the handshake has so long.
    pub(crate) fn start_handshake_deadline(&self) {
        let limit = self.config.terms().handshake_timeout;
        self.start_timer(limit, move |tls| {
            if tls.life.get() == Life::Handshaking {
                tls.judge(TlsError::HandshakeTimeout(limit));
                tls.abort_now();
            }
        });
    }

    /// From now on the peer has so long to read what is left, and to answer the end. The time begins anew as often as
    /// some of it is sent: a peer that reads on, however slowly, gets everything.
    pub(crate) fn start_shutdown_deadline(&self) {
        self.look_later(LOOKS);
    }

    /// From now on the peer may go on sending for so long. What it does not read is not waited for longer than else.
    pub(crate) fn start_linger_deadline(&self, time: Duration) {
        self.start_timer(time, |tls| {
            tls.start_shutdown_deadline();
            if tls.life.get() == Life::Parting {
                tls.peer_end.set(PeerEnd::CutShort);
                tls.look_at_end();
            }
        });
    }

    /// Nothing has to happen by any time any more.
    pub(crate) fn cancel_deadline(&self) {
        self.set_deadline(None);
    }

    /// Looks at the shutdown in a while; so many times, unless it goes on.
    fn look_later(&self, looks: u32) {
        let sent = self.sent_below();
        self.start_timer(self.config.terms().shutdown_timeout / LOOKS, move |tls| {
            let goes_on = tls.sent_below() > sent;
            match if goes_on { LOOKS } else { looks } - 1 {
                0 => tls.give_up(),
                left => tls.look_later(left),
            }
        });
    }

    fn give_up(&self) {
        if self.life.get().is_closing() {
            self.judge(TlsError::ShutdownTimeout);
            self.abort_now();
        }
    }

    /// Replaces the deadline by one in so much time.
    fn start_timer(&self, time: Duration, passed: impl FnOnce(&Tls) + 'static) {
        let me = self.weak();
        let over = move || {
            if let Some(tls) = me.upgrade() {
                drop(tls.deadline.take());
                passed(&tls);
            }
        };
        // A loop that is closed ends the connection itself.
        self.set_deadline(self.handle.call_later(time, over).ok());
    }

    fn set_deadline(&self, deadline: Option<TimerHandle>) {
        if let Some(before) = self.deadline.replace(deadline) {
            before.cancel();
        }
    }

    fn sent_below(&self) -> u64 {
        self.below().statistics().bytes_sent
    }
}
