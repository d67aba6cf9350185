//! One turn of the loop: wait once, then run what is ready.

use std::rc::Rc;
use std::time::Duration;

use crate::LoopError;
use crate::call::Callback;
use crate::parts::Core;
use crate::poller::Events;
use crate::ready::Entry;
use crate::steps::{Doing, OfferReason};

#[cfg(test)]
mod tests;

/// The longest single wait (L-03).
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Polls the main future of the present run.
pub(crate) trait Main {
    fn poll(&mut self, core: &Core) -> MainPoll;
}

/// What came of polling the main future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MainPoll {
    Pending,
    Done,
    /// The run ends at once; what is queued stays queued.
    Panicked,
}

/// No main future: `run_forever`.
pub(crate) struct NoMain;

impl Main for NoMain {
    fn poll(&mut self, _core: &Core) -> MainPoll {
        MainPoll::Pending
    }
}

/// Whether the run goes on after an entry, or a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    Leave,
}

impl Core {
    /// Makes one turn.
    pub(crate) fn turn(&self, main: &mut dyn Main, events: &mut Events) -> Result<Next, LoopError> {
        self.turns.set(self.turns.get() + 1);

        // Whatever was put off is done before the loop waits; that may change interests, so the system is
        // told of those last.
        self.pass(OfferReason::Waiting);
        self.tell_interests();
        self.take_in_mail();
        self.timers.borrow_mut().tidy();

        let queued = self.ready.len();
        let again = self.sources.to_tell_again();
        let at_once =
            queued > 0 || again > 0 || self.stopping.get() || self.steps.is_anything_waiting();
        self.wait(at_once, events).map_err(|error| LoopError::Wait(error.kind()))?;
        self.take_in_mail();

        // What was queued before the wait runs first.
        let mut next = self.run_entries(queued, main);

        // Then whoever watches a descriptor that was found ready, one after the other: each may add or remove
        // any of the others.
        if next == Next::GoOn {
            for found in events.iter() {
                self.dispatch(found, false);
            }
            self.dispatch_again(again);
        } else {
            // What is told only once is kept for the next run; the rest will be found again.
            events.iter().for_each(|found| self.sources.keep(found));
        }

        // Then due timers, and everything that is queued by now; what that schedules is for the next turn.
        if next == Next::GoOn {
            next = self.finish(main);
        }
        Ok(next)
    }

    /// Waits for events: not at all, until the next timer, or for as long as it takes.
    fn wait(&self, at_once: bool, events: &mut Events) -> std::io::Result<()> {
        let timeout = if at_once { Some(Duration::ZERO) } else { self.time_to_wait() };
        // The bell is rung only while the loop sleeps. It does not if there is mail.
        let sleeps = timeout != Some(Duration::ZERO);
        let timeout =
            if sleeps && !self.mail.fall_asleep() { Some(Duration::ZERO) } else { timeout };
        let waited = match &*self.poller.borrow() {
            Some(poller) => poller.wait(events, timeout),
            None => Err(LoopError::Closed.into()),
        };
        if sleeps {
            self.mail.wake_up();
        }
        waited
    }

    /// How long nothing will happen by itself; none if that is forever.
    fn time_to_wait(&self) -> Option<Duration> {
        let next = self.timers.borrow().next_time()?;
        let now = self.recent_time();
        if next <= now {
            return Some(Duration::ZERO);
        }
        if self.sources.descriptors() == 0 && self.clock.jump(next) {
            return Some(Duration::ZERO);
        }
        Some(whole_milliseconds(next - now).min(LONGEST_WAIT))
    }

    /// The time, if need be as it was after the previous wait: good enough while no user code has run since.
    fn recent_time(&self) -> Duration {
        match self.looked.get() {
            Some((step, time)) if step == self.steps.number() => time,
            _ => self.time(),
        }
    }

    /// Runs due timers and what is queued, as far as the run goes on.
    fn finish(&self, main: &mut dyn Main) -> Next {
        if !self.stopping.get() {
            self.take_due_timers(|call| self.ready.push(Entry::Call(call)));
            return self.run_entries(self.ready.len(), main);
        }

        // The run was asked to stop in this turn: due timers belong to it, but what its callbacks have queued
        // is for the next run (L-40).
        let mut due = Vec::new();
        self.take_due_timers(|call| due.push(call));
        for call in due {
            self.run_entry(Entry::Call(call), main);
        }
        Next::GoOn
    }

    /// Hands over the timers that are due, earliest first. The clock is read only if there are any timers.
    fn take_due_timers(&self, mut hand_over: impl FnMut(Rc<dyn Callback>)) {
        if self.timers.borrow().len() == 0 {
            return;
        }
        let now = self.time();
        self.looked.set(Some((self.steps.number(), now)));
        let mut timers = self.timers.borrow_mut();
        while let Some(call) = timers.pop_due(now) {
            hand_over(call);
        }
    }

    /// Runs that many entries of the queue.
    fn run_entries(&self, count: usize, main: &mut dyn Main) -> Next {
        for _ in 0..count {
            let Some(entry) = self.ready.pop() else { break };
            if self.run_entry(entry, main) == Next::Leave {
                return Next::Leave;
            }
        }
        Next::GoOn
    }

    #[inline]
    fn run_entry(&self, entry: Entry, main: &mut dyn Main) -> Next {
        match entry {
            Entry::Task(task) => self.run_task(task),
            // Whether it runs or was cancelled, the callback is gone from its share when that is dropped.
            Entry::Call(call) => {
                if !call.is_cancelled() {
                    self.step(Doing::Call(&*call), || call.run());
                }
            }
            Entry::Remote(call) => {
                if !call.is_cancelled() {
                    self.step(Doing::Remote(&*call), || call.run());
                }
            }
            Entry::Queued(call) => {
                let share = Rc::clone(&call);
                self.step(Doing::Queued(&call), || share.run());
                self.release(call);
            }
            Entry::Main(run) if run == self.main_run.get() => match main.poll(self) {
                MainPoll::Pending => {}
                MainPoll::Done => self.ready.push(Entry::MainDone(run)),
                MainPoll::Panicked => return Next::Leave,
            },
            Entry::MainDone(run) if run == self.main_run.get() => self.stopping.set(true),
            Entry::Main(_) | Entry::MainDone(_) => {}
        }
        Next::GoOn
    }
}

/// Rounded up, so that a short wait does not become many empty ones (L-19).
fn whole_milliseconds(time: Duration) -> Duration {
    let rest = time.subsec_nanos() % 1_000_000;
    if rest == 0 {
        time
    } else {
        time.saturating_add(Duration::from_nanos(u64::from(1_000_000 - rest)))
    }
}
