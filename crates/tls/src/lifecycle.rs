//! The life of a TLS connection, from its handshake to its loss, and the two directions within it.
//!
//! ```text
//!                Opened         Close             Said              Heard              Delivered
//!   Handshaking ───────▶ Open ───────▶ Draining ───────▶ Parting ───────▶ Leaving ───────▶ Lost
//!        │ Close           │               │                │                ▲
//!        └─────────────────┴─────── End ───┴────────────────┴────────────────┘
//! ```
//!
//! asyncio's names for these (sslproto.py, `SSLProtocolState`) are DO_HANDSHAKE, WRAPPED, FLUSHING, SHUTDOWN and
//! UNWRAPPED, which is both of the last.

/// Where a TLS connection stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The two ends agree on keys.
    Handshaking,
    /// Between the handshake and the first call or event that ends it.
    Open,
    /// Closed by the user; what was written is still being encrypted and sent.
    Draining,
    /// Everything is given to the transport below, the end as well; the peer's end is awaited, and what it still sends
    /// is dropped.
    Parting,
    /// The transport below was told to end.
    Leaving,
    /// `connection_lost` was delivered, or the loop closed.
    Lost,
}

/// What can happen to a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeEvent {
    /// The handshake is done.
    Opened,
    /// The user closes.
    Close,
    /// A closing connection has nothing left to send.
    Said,
    /// The peer has ended too.
    Heard,
    /// An abort, an error, a failing callback.
    End,
    /// `connection_lost` has returned, or no callback comes any more.
    Delivered,
}

impl Life {
    /// The state that follows; an event that means nothing in a state leaves it as it is.
    pub(crate) fn on(self, event: LifeEvent) -> Life {
        use Life::*;
        use LifeEvent as On;
        match (self, event) {
            (Handshaking, On::Opened) => Open,
            (Handshaking, On::Close) => Leaving,
            (Open, On::Close) => Draining,
            (Draining, On::Said) => Parting,
            (Parting, On::Heard) => Leaving,
            (Handshaking | Open | Draining | Parting, On::End) => Leaving,
            (_, On::Delivered) => Lost,
            (same, _) => same,
        }
    }

    /// Whether the user has closed, or something else has ended it.
    pub(crate) fn is_closing(self) -> bool {
        !matches!(self, Life::Handshaking | Life::Open)
    }

    /// Whether plaintext that waits can be encrypted and sent.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Life::Open | Life::Draining)
    }

    /// Whether no callback but `connection_lost` may come any more.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Life::Leaving | Life::Lost)
    }
}

/// The reading direction, as the protocol above has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// What arrives is delivered, once the handshake is done.
    Flowing,
    /// The user has paused.
    Paused,
    /// The end was delivered, or the connection is closing.
    Ended,
}

/// The writing direction, as the protocol above has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Takes bytes.
    Open,
    /// `write_eof` was called; what was written before is still being sent.
    Finishing,
    /// The peer has been told the end, or is not to be told any more.
    Finished,
}

/// What the peer has said of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEnd {
    /// Nothing yet.
    Open,
    /// It has sent everything, and said so.
    Notified,
    /// The stream below has ended without a word.
    CutShort,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: [Life; 6] =
        [Life::Handshaking, Life::Open, Life::Draining, Life::Parting, Life::Leaving, Life::Lost];

    #[test]
    fn every_life_meets_every_event() {
        use Life::*;
        let row = |event| LIVES.map(|life| life.on(event));
        // TLS-01
        assert_eq!(row(LifeEvent::Opened), [Open, Open, Draining, Parting, Leaving, Lost]);
        // TLS-15 TLS-30
        assert_eq!(row(LifeEvent::Close), [Leaving, Draining, Draining, Parting, Leaving, Lost]);
        assert_eq!(row(LifeEvent::Said), [Handshaking, Open, Parting, Parting, Leaving, Lost]);
        assert_eq!(row(LifeEvent::Heard), [Handshaking, Open, Draining, Leaving, Leaving, Lost]);
        // TLS-38
        assert_eq!(row(LifeEvent::End), [Leaving, Leaving, Leaving, Leaving, Leaving, Lost]);
        assert_eq!(row(LifeEvent::Delivered), [Lost; 6]);
    }

    #[test]
    fn each_life_answers_what_may_still_happen() {
        assert_eq!(LIVES.map(Life::is_closing), [false, false, true, true, true, true]);
        assert_eq!(LIVES.map(Life::sends), [false, true, true, false, false, false]);
        assert_eq!(LIVES.map(Life::is_over), [false, false, false, false, true, true]);
    }
}
