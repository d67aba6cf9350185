//! A close that reads on for a while, so that the last reply is not destroyed by input nobody read.
//!
//! A socket that is closed with unread input answers with a reset, and the reset can overtake what was sent
//! last. Lingering sends everything, then the end, and then reads and drops what still comes until the peer
//! ends too, or enough time or bytes have passed.

use std::rc::Weak;
use std::time::Duration;

use tidegate_reactor::TimerHandle;

use super::{Connection, Wire, is_nothing_now};
use crate::lifecycle::{Life, LifeEvent, Reading, Writing};

/// How much longer a closed connection reads.
pub(super) struct Linger {
    left: usize,
    time: Duration,
    timer: Option<TimerHandle>,
}

impl<W: Wire> Connection<W> {
    /// Closes, and reads on afterwards.
    pub(super) fn close_and_linger(&self, bytes: usize, time: Duration) {
        if self.life.get().is_closing() {
            return;
        }
        let has_both =
            self.reading.get() != Reading::Absent && self.writing.get() != Writing::Absent;
        if !has_both || bytes == 0 {
            return self.close_gently();
        }
        self.keep_seldom(|seldom| seldom.linger = Some(Linger { left: bytes, time, timer: None }));
        self.close_gently();
    }

    /// Begins to linger, if that was asked for; everything is sent by now.
    pub(super) fn start_linger(&self) -> bool {
        let Some(mut linger) = self.take_linger() else { return false };
        if self.writing.replace(Writing::Finished) != Writing::Finished
            && self.ask_wire(Wire::can_write_eof).unwrap_or(false)
            && !matches!(self.ask_wire(Wire::shutdown_write), Some(Ok(())))
        {
            return false;
        }
        let me: Weak<Self> = self.me.clone();
        let over = move || {
            if let Some(connection) = me.upgrade() {
                connection.linger_over();
            }
        };
        linger.timer = self.handle.call_later(linger.time, over).ok();
        self.keep_seldom(|seldom| seldom.linger = Some(linger));
        self.life.set(self.life.get().on(LifeEvent::Linger));
        self.update_interest();
        true
    }

    /// Reads and drops.
    pub(super) fn discard(&self) {
        let mut buffer = self.handle.shared_buffer();
        let Some(read) = self.ask_wire(|wire| wire.read(&mut buffer)) else { return };
        self.close_fds();
        match read {
            Ok(0) => self.linger_over(),
            Ok(length) => {
                self.received.set(self.received.get() + length as u64);
                let Some(mut linger) = self.take_linger() else { return };
                let enough = length >= linger.left;
                linger.left = linger.left.saturating_sub(length);
                self.keep_seldom(|seldom| seldom.linger = Some(linger));
                if enough {
                    self.linger_over();
                }
            }
            Err(error) if is_nothing_now(&error) => {}
            Err(error) => self.fatal("Fatal read error on a lingering transport", error),
        }
    }

    fn take_linger(&self) -> Option<Linger> {
        self.with_seldom(|seldom| seldom.linger.take())
    }

    fn linger_over(&self) {
        if self.life.get() == Life::Lingering {
            self.life.set(self.life.get().on(LifeEvent::LingerOver));
            self.update_interest();
            self.queue_loss();
        }
    }

    /// The timer is for nothing any more.
    pub(super) fn cancel_linger(&self) {
        if let Some(linger) = self.take_linger()
            && let Some(timer) = linger.timer
        {
            timer.cancel();
        }
    }
}
