//! The life of a connection, from its opening to its loss, and the two directions within it.
//!
//! ```text
//!            Greeted           Close             Drained
//!   Opening ─────────▶ Open ─────────▶ Draining ─────────▶ Losing ─────────▶ Lost
//!      │                │                 │  ▲                ▲     Delivered
//!      │ Close          │                 │  └─ more is       │
//!      └────────────────┼─▶ Draining      │     written       │
//!                       │                 └──▶ Lingering ─────┤  Linger, then LingerOver
//!                       ├── Detach ───────────────────────────┤
//!                       └── Fail (from every state above) ────┘
//! ```

use crate::wire::Directions;

/// Where a connection stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Made, and `connection_made` is still to come.
    Opening,
    /// Between `connection_made` and the first call or event that ends it.
    Open,
    /// Closed by the user; what was written is still being sent.
    Draining,
    /// Everything is sent and said; what the peer still sends is read and dropped for a while.
    Lingering,
    /// Over; `connection_lost` is owed.
    Losing,
    /// `connection_lost` was delivered, or the loop closed.
    Lost,
}

/// What can happen to a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeEvent {
    /// `connection_made` has returned.
    Greeted,
    /// The user closes.
    Close,
    /// A closing connection has nothing left to send or to tell.
    Drained,
    /// The same, and the user asked to linger.
    Linger,
    /// The lingering found its end: end of stream, time or bytes.
    LingerOver,
    /// An abort, an error, a failing callback.
    Fail,
    /// Its descriptor was given away, to go on elsewhere.
    Detach,
    /// `connection_lost` has returned.
    Delivered,
    /// The loop closes: no callback comes any more.
    LoopClosed,
}

impl Life {
    /// The state that follows; an event that means nothing in a state leaves it as it is.
    pub(crate) fn on(self, event: LifeEvent) -> Life {
        use Life::*;
        use LifeEvent as On;
        match (self, event) {
            (Opening, On::Greeted) => Open,
            (Opening | Open, On::Close) => Draining,
            (Draining, On::Drained) => Losing,
            (Draining, On::Linger) => Lingering,
            (Lingering, On::LingerOver) => Losing,
            (Opening | Open | Draining | Lingering, On::Fail) => Losing,
            (Opening | Open, On::Detach) => Losing,
            (Losing, On::Delivered) => Lost,
            (_, On::LoopClosed) => Lost,
            (same, _) => same,
        }
    }

    /// Whether the user has closed, or something else has ended it.
    pub(crate) fn is_closing(self) -> bool {
        !matches!(self, Life::Opening | Life::Open)
    }

    /// Whether bytes written now can still be sent.
    pub(crate) fn takes_bytes(self) -> bool {
        matches!(self, Life::Opening | Life::Open | Life::Draining)
    }

    /// Whether no callback but `connection_lost` may come any more.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Life::Losing | Life::Lost)
    }
}

/// The reading direction.
///
/// ```text
///            Start             Pause
///   NotYet ─────────▶ Flowing ◀──────▶ Paused      End (from every state) ──▶ Ended
///     ▲ │ Pause                Resume    ▲
///     │ ▼                                │
///   Held ────────────────────────────────┘ Start          Absent (nothing leads in or out)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// `connection_made` has not returned.
    NotYet,
    /// The same, and the user has paused already.
    Held,
    /// What arrives is delivered.
    Flowing,
    /// The user has paused.
    Paused,
    /// The stream has ended, or the connection.
    Ended,
    /// There is no such direction: what is found in it says that the reader of a pipe is gone.
    Absent,
}

/// What can happen to the reading direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadingEvent {
    /// `connection_made` has returned.
    Start,
    /// The user pauses.
    Pause,
    /// The user resumes.
    Resume,
    /// The end of the stream was delivered, or the connection is closing.
    End,
}

impl Reading {
    /// The state of a new connection.
    pub(crate) fn of(directions: Directions) -> Reading {
        match directions {
            Directions::Both | Directions::ReadOnly => Reading::NotYet,
            Directions::WriteOnly => Reading::Absent,
        }
    }

    /// The state that follows; an event that means nothing in a state leaves it as it is.
    pub(crate) fn on(self, event: ReadingEvent) -> Reading {
        use Reading::*;
        use ReadingEvent as On;
        match (self, event) {
            (NotYet, On::Start) => Flowing,
            (Held, On::Start) => Paused,
            (NotYet, On::Pause) => Held,
            (Held, On::Resume) => NotYet,
            (Flowing, On::Pause) => Paused,
            (Paused, On::Resume) => Flowing,
            (Absent, _) => Absent,
            (_, On::End) => Ended,
            (same, _) => same,
        }
    }
}

/// The writing direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Takes bytes.
    Open,
    /// `write_eof` was called; what was written before is still being sent.
    Finishing,
    /// The peer has been told the end.
    Finished,
    /// There is no such direction.
    Absent,
}

impl Writing {
    /// The state of a new connection.
    pub(crate) fn of(directions: Directions) -> Writing {
        match directions {
            Directions::Both | Directions::WriteOnly => Writing::Open,
            Directions::ReadOnly => Writing::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: [Life; 6] =
        [Life::Opening, Life::Open, Life::Draining, Life::Lingering, Life::Losing, Life::Lost];

    fn row(event: LifeEvent) -> [Life; 6] {
        LIVES.map(|life| life.on(event))
    }

    #[test]
    fn every_life_meets_every_event() {
        use Life::*;
        // T-01 T-03: nothing leads back, and only Losing leads to Lost with a callback
        assert_eq!(row(LifeEvent::Greeted), [Open, Open, Draining, Lingering, Losing, Lost]);
        // T-56
        assert_eq!(row(LifeEvent::Close), [Draining, Draining, Draining, Lingering, Losing, Lost]);
        assert_eq!(row(LifeEvent::Drained), [Opening, Open, Losing, Lingering, Losing, Lost]);
        assert_eq!(row(LifeEvent::Linger), [Opening, Open, Lingering, Lingering, Losing, Lost]);
        assert_eq!(row(LifeEvent::LingerOver), [Opening, Open, Draining, Losing, Losing, Lost]);
        // T-57
        assert_eq!(row(LifeEvent::Fail), [Losing, Losing, Losing, Losing, Losing, Lost]);
        // What is closing is not detached.
        assert_eq!(row(LifeEvent::Detach), [Losing, Losing, Draining, Lingering, Losing, Lost]);
        assert_eq!(row(LifeEvent::Delivered), [Opening, Open, Draining, Lingering, Lost, Lost]);
        assert_eq!(row(LifeEvent::LoopClosed), [Lost; 6]);
    }

    #[test]
    fn each_life_answers_what_may_still_happen() {
        assert_eq!(LIVES.map(Life::is_closing), [false, false, true, true, true, true]);
        // T-38: a closing connection that still flushes takes bytes
        assert_eq!(LIVES.map(Life::takes_bytes), [true, true, true, false, false, false]);
        assert_eq!(LIVES.map(Life::is_over), [false, false, false, false, true, true]);
    }

    #[test]
    fn every_reading_state_meets_every_event() {
        use Reading::*;
        let row =
            |event| [NotYet, Held, Flowing, Paused, Ended].map(|state: Reading| state.on(event));
        // T-10
        assert_eq!(row(ReadingEvent::Start), [Flowing, Paused, Flowing, Paused, Ended]);
        // T-11
        assert_eq!(row(ReadingEvent::Pause), [Held, Held, Paused, Paused, Ended]);
        assert_eq!(row(ReadingEvent::Resume), [NotYet, NotYet, Flowing, Flowing, Ended]);
        // T-16: nothing leads out of the end
        assert_eq!(row(ReadingEvent::End), [Ended; 5]);
    }

    // P-21: no event makes a direction that is not there.
    #[test]
    fn a_direction_that_is_absent_stays_so() {
        use ReadingEvent::*;
        for event in [Start, Pause, Resume, End] {
            assert_eq!(Reading::of(Directions::WriteOnly).on(event), Reading::Absent);
        }
        assert_eq!(Writing::of(Directions::ReadOnly), Writing::Absent);
        assert_eq!(Writing::of(Directions::Both), Writing::of(Directions::WriteOnly));
        assert_eq!(Reading::of(Directions::Both), Reading::of(Directions::ReadOnly));
    }
}
