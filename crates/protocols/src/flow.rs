//! Write flow control: what a write answers, and what the protocol is owed for it.
//!
//! ```text
//!          Above               Told             Below                Told
//!   Open ─────────▶ PauseDue ───────▶ Paused ─────────▶ ResumeDue ─────────▶ Open
//!                    │    ▲             ▲                 │     ▲
//!              Below ▼    │ Above       └───── Above ─────┘     │ Told
//!                    BothDue ───────────────────────────────────┘
//! ```

/// What a write answers: whether to go on writing.
///
/// Reading it is optional, since [`pause_writing`](crate::Protocol::pause_writing) says the same. asyncio
/// has no counterpart: there, `pause_writing` is called inside `write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// At most the high mark waits to be sent.
    Open,
    /// More than the high mark waits: hold back until [`resume_writing`](crate::Protocol::resume_writing).
    Paused,
    /// The bytes were dropped: the connection is going or gone, or its writing end was closed.
    Closed,
}

/// A notice that a protocol is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// [`pause_writing`](crate::Protocol::pause_writing).
    Pause,
    /// [`resume_writing`](crate::Protocol::resume_writing).
    Resume,
}

/// What a protocol is owed: the state of the flow, with the notices not yet delivered.
///
/// A transport moves it along by [`on`](Owed::on) and delivers what is [`due`](Owed::due) on a fresh
/// stack. However the size of the buffer moves meanwhile, the notices strictly alternate.
///
/// ```
/// use tidegate_protocols::{Flow, FlowEvent, Notice, Owed};
///
/// let owed = Owed::Open.on(FlowEvent::Above);
/// assert_eq!((owed.flow(), owed.due()), (Flow::Paused, Some(Notice::Pause)));
/// assert_eq!(owed.on(FlowEvent::Told), Owed::Paused);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owed {
    /// Nothing is owed; writing is welcome.
    #[default]
    Open,
    /// `pause_writing` is owed.
    PauseDue,
    /// Nothing is owed; writing is paused.
    Paused,
    /// `pause_writing` is owed, and `resume_writing` after it.
    BothDue,
    /// `resume_writing` is owed.
    ResumeDue,
}

/// What moves the flow along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// More than the high mark waits.
    Above,
    /// At most the low mark waits.
    Below,
    /// The notice that was due has been delivered.
    Told,
}

impl Owed {
    /// The state that follows; an event that means nothing in a state leaves it as it is.
    pub fn on(self, event: FlowEvent) -> Owed {
        use FlowEvent::*;
        match (self, event) {
            (Owed::Open, Above) => Owed::PauseDue,
            (Owed::PauseDue, Below) => Owed::BothDue,
            (Owed::PauseDue, Told) => Owed::Paused,
            (Owed::Paused, Below) => Owed::ResumeDue,
            (Owed::BothDue, Above) => Owed::PauseDue,
            (Owed::BothDue, Told) => Owed::ResumeDue,
            (Owed::ResumeDue, Above) => Owed::Paused,
            (Owed::ResumeDue, Told) => Owed::Open,
            (same, _) => same,
        }
    }

    /// The notice to deliver next.
    pub fn due(self) -> Option<Notice> {
        match self {
            Owed::PauseDue | Owed::BothDue => Some(Notice::Pause),
            Owed::ResumeDue => Some(Notice::Resume),
            Owed::Open | Owed::Paused => None,
        }
    }

    /// What the protocol was told last.
    pub fn told(self) -> Flow {
        match self {
            Owed::Paused | Owed::ResumeDue => Flow::Paused,
            Owed::Open | Owed::PauseDue | Owed::BothDue => Flow::Open,
        }
    }

    /// What a write answers now.
    pub fn flow(self) -> Flow {
        match self {
            Owed::PauseDue | Owed::Paused => Flow::Paused,
            Owed::Open | Owed::BothDue | Owed::ResumeDue => Flow::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Owed; 5] =
        [Owed::Open, Owed::PauseDue, Owed::Paused, Owed::BothDue, Owed::ResumeDue];

    #[test]
    fn every_state_meets_every_event() {
        use Owed::*;
        let row = |event| ALL.map(|owed| owed.on(event));
        // replaced: T-47
        assert_eq!(row(FlowEvent::Above), [PauseDue, PauseDue, Paused, PauseDue, Paused]);
        assert_eq!(row(FlowEvent::Below), [Open, BothDue, ResumeDue, BothDue, ResumeDue]);
        assert_eq!(row(FlowEvent::Told), [Open, Paused, Paused, ResumeDue, Open]);
    }

    #[test]
    fn each_state_owes_and_answers_one_thing() {
        use Notice::*;
        assert_eq!(ALL.map(Owed::due), [None, Some(Pause), None, Some(Pause), Some(Resume)]);
        use Flow::*;
        assert_eq!(ALL.map(Owed::flow), [Open, Paused, Paused, Open, Open]);
        assert_eq!(ALL.map(Owed::told), [Open, Open, Paused, Open, Paused]);
    }

    #[test]
    fn what_is_owed_takes_a_byte() {
        assert_eq!(size_of::<Owed>(), 1);
    }

    /// Every walk of twelve events, delivering what is due at every `Told`.
    #[test]
    fn notices_strictly_alternate() {
        for walk in 0..3_usize.pow(12) {
            let (mut owed, mut last, mut walk) = (Owed::Open, Notice::Resume, walk);
            for _ in 0..12 {
                let event = [FlowEvent::Above, FlowEvent::Below, FlowEvent::Told][walk % 3];
                walk /= 3;
                if let (FlowEvent::Told, Some(notice)) = (event, owed.due()) {
                    assert_ne!(notice, last, "twice in a row");
                    last = notice;
                }
                owed = owed.on(event);
            }
        }
    }
}
