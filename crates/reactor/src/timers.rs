//! Timers: a heap of times beside a slab of what is due then.
//!
//! Cancelling frees the slab's entry at once and leaves its time in the heap, which is swept now and then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use slab::Slab;

#[cfg(test)]
mod tests;

/// The heap is swept when it holds more times than this and more than half of them are stale (L-22).
const SWEEP_ABOVE: usize = 100;

/// A time that never comes.
const NEVER: u64 = u64::MAX;

/// Names one timer, and never another one that got its place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    number: u64,
    slot: usize,
}

pub(crate) struct Timers<T> {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slab: Slab<(u64, T)>,
    /// Number of the next timer; breaks ties between equal times.
    next: u64,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Timers<T> {
        Timers { heap: BinaryHeap::new(), slab: Slab::new(), next: 0 }
    }

    pub(crate) fn insert(&mut self, when: Duration, value: T) -> TimerKey {
        let number = self.next;
        self.next += 1;
        let slot = self.slab.insert((number, value));
        self.heap.push(Reverse((nanos(when), number, slot)));
        TimerKey { number, slot }
    }

    /// Takes a timer out, if it is there still.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        if !self.is_live(key.number, key.slot) {
            return None;
        }
        Some(self.slab.remove(key.slot).1)
    }

    /// How many timers are waiting.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Drops stale times at the head of the heap, and all of them if they are the most part of many.
    pub(crate) fn tidy(&mut self) {
        let stale = self.heap.len() - self.slab.len();
        if stale == 0 {
            return;
        }
        if self.heap.len() > SWEEP_ABOVE && stale > self.heap.len() / 2 {
            let slab = &self.slab;
            self.heap.retain(|&Reverse((_, number, slot))| is_live(slab, number, slot));
            return;
        }
        while let Some(&Reverse((_, number, slot))) = self.heap.peek()
            && !self.is_live(number, slot)
        {
            self.heap.pop();
        }
    }

    /// The time of the next timer, in a tidy heap.
    pub(crate) fn next_time(&self) -> Option<Duration> {
        let &Reverse((when, _, _)) = self.heap.peek()?;
        (when != NEVER).then(|| Duration::from_nanos(when))
    }

    /// Takes the next timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<T> {
        let now = nanos(now);
        while let Some(&Reverse((when, number, slot))) = self.heap.peek() {
            let live = self.is_live(number, slot);
            if live && (when > now || when == NEVER) {
                return None;
            }
            self.heap.pop();
            if live {
                return Some(self.slab.remove(slot).1);
            }
        }
        None
    }

    /// Takes every timer out, in no order, for the caller to drop.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.heap.clear();
        self.slab.drain().map(|(_, value)| value).collect()
    }

    fn is_live(&self, number: u64, slot: usize) -> bool {
        is_live(&self.slab, number, slot)
    }
}

fn is_live<T>(slab: &Slab<(u64, T)>, number: u64, slot: usize) -> bool {
    slab.get(slot).is_some_and(|(present, _)| *present == number)
}

/// Whole nanoseconds; beyond 584 years, never.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}
