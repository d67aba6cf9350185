//! Datagrams that were accepted and not yet taken by the system: their bytes in one piece, and runs of equal ones.

use std::collections::VecDeque;

use tidegate_protocols::Address;

/// What each datagram counts besides its bytes; asyncio's `_header_size`.
pub(super) const HEADER: usize = 8;

/// An empty queue keeps at most this much memory.
const KEPT: usize = 64 * 1024;

/// Datagrams that wait, first in, first out.
#[derive(Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    /// Where the first datagram begins.
    start: usize,
    runs: VecDeque<Run>,
    datagrams: usize,
}

/// Datagrams to one address that can leave in one call: of equal size, but for the last, which may be shorter.
struct Run {
    to: Option<Address>,
    size: usize,
    count: usize,
    last: usize,
}

impl Run {
    /// Whether one of that length can be its next. An empty one cannot be told from the end of the others.
    fn takes(&self, length: usize, to: Option<&Address>) -> bool {
        self.last == self.size
            && length <= self.size
            && (length > 0 || self.size == 0)
            && self.to.as_ref() == to
    }
}

/// What is sent next.
pub(super) struct Batch<'a> {
    pub(super) data: &'a [u8],
    pub(super) size: usize,
    pub(super) count: usize,
    pub(super) to: Option<&'a Address>,
}

impl Queue {
    /// Adds a datagram at the end.
    pub(super) fn push(&mut self, data: &[u8], to: Option<&Address>) {
        if self.start > 0 && self.bytes.len() + data.len() > self.bytes.capacity() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(data);
        self.datagrams += 1;
        match self.runs.back_mut() {
            Some(run) if run.takes(data.len(), to) => {
                run.count += 1;
                run.last = data.len();
            }
            _ => {
                let size = data.len();
                self.runs.push_back(Run { to: to.cloned(), size, count: 1, last: size });
            }
        }
    }

    /// The first datagrams that can leave together: at least one, at most so many and, unless the first alone has more,
    /// so many bytes.
    pub(super) fn first(&self, most_segments: usize, most_bytes: usize) -> Option<Batch<'_>> {
        let run = self.runs.front()?;
        // Empty ones leave no trace when they are joined.
        let fitting = most_bytes.checked_div(run.size).unwrap_or(1);
        let count = run.count.min(most_segments).min(fitting).max(1);
        let length = run.length_of(count);
        let data = &self.bytes[self.start..self.start + length];
        Some(Batch { data, size: run.size, count, to: run.to.as_ref() })
    }

    /// The size of the datagrams at the head, but for a shorter last.
    pub(super) fn first_size(&self) -> usize {
        self.runs.front().map_or(0, |run| run.size)
    }

    /// Takes the first `count` datagrams out; they lie in one run. Answers how many bytes they had.
    pub(super) fn advance(&mut self, count: usize) -> usize {
        let Some(run) = self.runs.front_mut() else { return 0 };
        let length = run.length_of(count);
        run.count -= count;
        if run.count == 0 {
            // An address is no user's value.
            self.runs.pop_front();
        } else if run.count == 1 {
            run.size = run.last;
        }
        self.datagrams -= count;
        self.start += length;
        if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
        }
        length
    }

    /// How many wait.
    pub(super) fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// What they count for the flow.
    pub(super) fn size(&self) -> usize {
        self.bytes() + HEADER * self.datagrams
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams == 0
    }
}

impl Run {
    fn length_of(&self, count: usize) -> usize {
        if count == self.count { (count - 1) * self.size + self.last } else { count * self.size }
    }
}

#[cfg(test)]
mod tests;
