//! The life of a child as its protocol is told of it: what happened, and which callback is owed for it.
//!
//! ```text
//!            Greeted          Close                     the child was told of as exited, and no pipe is left:
//!   Opening ─────────▶ Open ─────────▶ Closing          connection_lost is owed
//!      │                │                 │                        Lose
//!      │ Close          └─────────────────┴───────────────────────────────────────▶ Lost
//!      └──────▶ Refused ─── Greeted ──▶ Closing         (LoopClosed leads there from everywhere)
//!
//!   Running ── Exited ──▶ Exited ── ExitTold ──▶ Told         pipes: 3 … 0, one less with each PipeEnded
//! ```

/// Where the transport stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Started, and `connection_made` is still to come.
    Opening,
    /// The same, and closed already.
    Refused,
    /// Between `connection_made` and whatever ends it.
    Open,
    /// Closed by the user, or by a failure.
    Closing,
    /// `connection_lost` was delivered, or the loop closed.
    Lost,
}

/// Where the child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// As far as is known.
    Running,
    /// Its end is known; `process_exited` is owed.
    Exited,
    /// `process_exited` was delivered.
    Told,
}

/// Both, and how many pipes have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) stage: Stage,
    pub(crate) child: Child,
    pub(crate) pipes: u8,
}

/// What can happen to a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeEvent {
    /// A pipe to or from the child was opened.
    PipeOpened,
    /// `connection_made` has returned.
    Greeted,
    /// The user closes, or something has failed.
    Close,
    /// The child has ended.
    Exited,
    /// `process_exited` has returned.
    ExitTold,
    /// A pipe has delivered its end.
    PipeEnded,
    /// `connection_lost` is delivered.
    Lose,
    /// The loop closes: no callback comes any more.
    LoopClosed,
}

/// A callback that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    ConnectionMade,
    ProcessExited,
    ConnectionLost,
}

impl Life {
    /// A child that was just started, with no pipe yet.
    pub(crate) const NEW: Life = Life { stage: Stage::Opening, child: Child::Running, pipes: 0 };

    /// What follows; an event that means nothing leaves it as it is.
    pub(crate) fn on(self, event: LifeEvent) -> Life {
        use LifeEvent as On;
        let stage = match (self.stage, event) {
            (Stage::Opening, On::Greeted) => Stage::Open,
            (Stage::Refused, On::Greeted) => Stage::Closing,
            (Stage::Opening, On::Close) => Stage::Refused,
            (Stage::Open, On::Close) => Stage::Closing,
            (Stage::Open | Stage::Closing, On::Lose) => Stage::Lost,
            (_, On::LoopClosed) => Stage::Lost,
            (same, _) => same,
        };
        let child = match (self.child, event) {
            (Child::Running, On::Exited) => Child::Exited,
            (Child::Exited, On::ExitTold) => Child::Told,
            (same, _) => same,
        };
        let pipes = match event {
            On::PipeOpened => self.pipes + 1,
            On::PipeEnded => self.pipes.saturating_sub(1),
            _ => self.pipes,
        };
        Life { stage, child, pipes }
    }

    /// The callback that is owed first, if one is.
    pub(crate) fn owed(self) -> Option<Owed> {
        match (self.stage, self.child, self.pipes) {
            (Stage::Lost, _, _) => None,
            (Stage::Opening | Stage::Refused, _, _) => Some(Owed::ConnectionMade),
            (_, Child::Exited, _) => Some(Owed::ProcessExited),
            (_, Child::Told, 0) => Some(Owed::ConnectionLost),
            _ => None,
        }
    }

    /// Whether `connection_made` was delivered.
    pub(crate) fn is_greeted(self) -> bool {
        !matches!(self.stage, Stage::Opening | Stage::Refused)
    }

    /// Whether the user has closed it, or something else has ended it.
    pub(crate) fn is_closing(self) -> bool {
        !matches!(self.stage, Stage::Opening | Stage::Open)
    }

    /// Whether nothing is delivered any more.
    pub(crate) fn is_lost(self) -> bool {
        self.stage == Stage::Lost
    }

    /// Whether the child is not known to have ended.
    pub(crate) fn is_running(self) -> bool {
        self.child == Child::Running
    }
}

#[cfg(test)]
mod tests;
