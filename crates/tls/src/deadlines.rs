//! How long a handshake and a shutdown may take: the only thing for which TLS needs a clock.

use std::time::Duration;

use crate::connection::Tls;
use crate::error::TlsError;
use crate::lifecycle::{Life, PeerEnd};

impl Tls {
    /// From now on the handshake has so long.
    pub(crate) fn start_handshake_deadline(&self) {
        self.start_deadline(self.config.terms().handshake_timeout);
    }

    /// From now on the peer has so long to read what is left, and to answer the end.
    pub(crate) fn start_shutdown_deadline(&self) {
        self.start_deadline(self.config.terms().shutdown_timeout);
    }

    /// Replaces the deadline by one in so much time.
    pub(crate) fn start_deadline(&self, time: Duration) {
        let (me, sent) = (self.weak(), self.sent_below());
        let over = move || {
            if let Some(tls) = me.upgrade() {
                tls.deadline_passed(sent);
            }
        };
        // A loop that is closed ends the connection itself.
        self.set_deadline(self.handle.call_later(time, over).ok());
    }

    /// Nothing has to happen by any time any more.
    pub(crate) fn cancel_deadline(&self) {
        self.set_deadline(None);
    }

    fn set_deadline(&self, deadline: Option<tidegate_reactor::TimerHandle>) {
        if let Some(before) = self.deadline.replace(deadline) {
            before.cancel();
        }
    }

    /// The time is up. `sent` is how much had been sent when it began.
    fn deadline_passed(&self, sent: u64) {
        drop(self.deadline.take());
        match self.life.get() {
            Life::Handshaking => {
                self.judge(TlsError::HandshakeTimeout(self.config.terms().handshake_timeout));
                self.abort_now();
            }
            // A peer that reads on, however slowly, gets everything.
            Life::Draining | Life::Parting | Life::Leaving if self.sent_below() > sent => {
                self.start_shutdown_deadline();
            }
            // Who asked to linger has waited long enough.
            Life::Parting if self.if_seldom(|seldom| seldom.linger.is_some()) => {
                self.peer_end.set(PeerEnd::CutShort);
                self.look_at_end();
            }
            Life::Draining | Life::Parting => {
                self.judge(TlsError::ShutdownTimeout);
                self.abort_now();
            }
            Life::Leaving => self.below().abort(),
            Life::Open | Life::Lost => {}
        }
    }

    fn sent_below(&self) -> u64 {
        self.below().statistics().bytes_sent
    }
}
