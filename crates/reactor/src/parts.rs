//! The parts of one loop, which its rooms share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::LoopError;
use crate::buffer::ReadBuffer;
use crate::call::Callback;
use crate::clock::Clock;
use crate::mailbox::Mailbox;
use crate::offload::Offload;
use crate::poller::{Events, Poller};
use crate::readers::Readers;
use crate::ready::Ready;
use crate::remote::{Letter, Mail};
use crate::report::Reports;
use crate::signals::Signals;
use crate::sources::Sources;
use crate::statistics::LoopStatistics;
use crate::steps::Steps;
use crate::tasks::Tasks;
use crate::timers::{TimerKey, Timers};

/// Everything a loop has. Cells are borrowed for moments only, and never while user code is called, or a
/// user's value dropped.
pub(crate) struct Core {
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) life: Cell<Life>,
    /// The present batch is the last of this run.
    pub(crate) stopping: Cell<bool>,
    /// Number of the latest `run_until_complete`; older ones left entries that mean nothing any more.
    pub(crate) main_run: Cell<u64>,
    pub(crate) turns: Cell<u64>,
    /// When the clock was last read for timers, and after which step.
    pub(crate) looked: Cell<Option<(u64, Duration)>>,

    pub(crate) ready: Ready,
    pub(crate) timers: RefCell<Timers<Rc<dyn Callback>>>,
    pub(crate) tasks: Tasks,
    pub(crate) steps: Steps,
    pub(crate) reports: Reports,
    pub(crate) read_buffer: ReadBuffer,

    pub(crate) mail: Arc<Mail>,
    /// An empty list, kept for its memory.
    pub(crate) letters: Cell<Vec<Letter>>,
    pub(crate) mail_count: Cell<u64>,

    pub(crate) sources: Sources,
    /// None once the loop is closed.
    pub(crate) poller: RefCell<Option<Poller>>,
    /// Kept for its memory between runs.
    pub(crate) events: Cell<Option<Events>>,

    pub(crate) readers: Readers,
    pub(crate) signals: Signals,
    pub(crate) offload: Offload,
}

/// Where a loop is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Idle,
    Running,
    Closed,
}

impl Core {
    pub(crate) fn new(clock: Box<dyn Clock>, poller: Poller) -> Core {
        Core {
            clock,
            life: Cell::new(Life::Idle),
            stopping: Cell::new(false),
            main_run: Cell::new(0),
            turns: Cell::new(0),
            looked: Cell::new(None),
            ready: Ready::new(),
            timers: RefCell::new(Timers::new()),
            tasks: Tasks::new(),
            steps: Steps::new(),
            reports: Reports::new(),
            read_buffer: ReadBuffer::new(),
            mail: Arc::new(Mailbox::new(poller.bell())),
            letters: Cell::new(Vec::new()),
            mail_count: Cell::new(0),
            sources: Sources::new(),
            poller: RefCell::new(Some(poller)),
            events: Cell::new(None),
            readers: Readers::new(),
            signals: Signals::new(),
            offload: Offload::new(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.life.get() == Life::Running
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.life.get() == Life::Closed
    }

    pub(crate) fn check_open(&self) -> Result<(), LoopError> {
        if self.is_closed() { Err(LoopError::Closed) } else { Ok(()) }
    }

    pub(crate) fn time(&self) -> Duration {
        self.clock.now()
    }

    /// Takes out a timer that is cancelled, if it is waiting still.
    pub(crate) fn take_timer(&self, key: TimerKey) -> Option<Rc<dyn Callback>> {
        self.timers.borrow_mut().remove(key)
    }

    pub(crate) fn statistics(&self) -> LoopStatistics {
        LoopStatistics {
            turns: self.turns.get(),
            steps: self.steps.number(),
            events: self.sources.events(),
            tasks: self.tasks.len(),
            timers: self.timers.borrow().len(),
            sources: self.sources.len(),
            ready: self.ready.len(),
            offers: self.steps.offers(),
            mail: self.mail_count.get(),
        }
    }
}
