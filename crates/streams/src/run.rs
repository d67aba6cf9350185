//! A run of received bytes: as it came, or grown out of several pieces.

use std::cell::RefCell;

use bytes::{Buf, Bytes, BytesMut};

/// A run of received bytes.
pub(crate) enum Run {
    /// One piece, as it came.
    Whole(Bytes),
    /// Several pieces, copied together; more is appended without copying those again. Boxed, so that a run is no
    /// larger than its common case: idle connections are made of them.
    Grown(Box<BytesMut>),
}

impl Run {
    pub(crate) const fn new() -> Run {
        Run::Whole(Bytes::new())
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Run::Whole(bytes) => bytes,
            Run::Grown(bytes) => bytes,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a copy, which takes just as much memory as it has to while it is alone.
    pub(crate) fn push(&mut self, data: &[u8]) {
        match self {
            Run::Whole(before) if before.is_empty() => *before = Bytes::copy_from_slice(data),
            Run::Whole(before) => {
                let mut grown = BytesMut::with_capacity(2 * (before.len() + data.len()));
                grown.extend_from_slice(before);
                grown.extend_from_slice(data);
                *self = Run::Grown(Box::new(grown));
            }
            Run::Grown(bytes) => bytes.extend_from_slice(data),
        }
    }

    /// Appends another run; without a copy if this one is empty.
    #[inline]
    pub(crate) fn append(&mut self, mut other: Run) {
        self.take_over(&mut other);
    }

    /// Moves everything of another run to the end of this one; without a copy if this one is empty.
    #[inline(always)]
    pub(crate) fn take_over(&mut self, other: &mut Run) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            self.push_all(other);
        }
    }

    #[cold]
    fn push_all(&mut self, other: &mut Run) {
        self.push(other.bytes());
        *other = Run::new();
    }

    /// Splits off the first `length` bytes, without a copy. What is left of a run keeps no memory if it is empty.
    #[inline(always)]
    pub(crate) fn split_to(&mut self, length: usize) -> Bytes {
        match self {
            Run::Whole(bytes) => bytes.split_to(length),
            Run::Grown(_) => self.split_grown(length),
        }
    }

    #[cold]
    fn split_grown(&mut self, length: usize) -> Bytes {
        let all = length == self.len();
        match self {
            Run::Grown(bytes) if !all => bytes.split_to(length).freeze(),
            _ => match std::mem::replace(self, Run::new()) {
                Run::Whole(bytes) => bytes,
                Run::Grown(bytes) => bytes.freeze(),
            },
        }
    }

    /// Drops the first `length` bytes.
    pub(crate) fn advance(&mut self, length: usize) {
        match self {
            // An empty run keeps no memory.
            _ if length == self.len() => *self = Run::new(),
            Run::Whole(bytes) => bytes.advance(length),
            Run::Grown(bytes) => bytes.advance(length),
        }
    }
}

/// The memory that is set aside for a large read, in bytes: no more than twice the limit that readers have unless
/// another one is set, so that one read does not pause the transport.
const LARGE_MEMORY: usize = 128 * 1024;

/// Data begins at a multiple of this many bytes: some processors are slow to copy to where large allocations
/// begin, as is told in the loop's `buffer.rs`.
const ALIGNMENT: usize = 64;

/// How many pieces of memory for large reads a thread keeps.
const MOST_SPARE: usize = 8;

thread_local! {
    /// Memory for large reads that nobody has a part of any more. Without it each read would be an allocation that
    /// the system has to zero, page by page.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Memory for one large read. It goes back to the thread that drops it, or the last part of what was read.
pub(crate) struct Large {
    memory: Vec<u8>,
    start: usize,
}

impl Large {
    /// Memory with nothing in it.
    pub(crate) fn new() -> Large {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let mut memory = spare.unwrap_or_else(|| Vec::with_capacity(LARGE_MEMORY));
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        memory.resize(start, 0);
        Large { memory, start }
    }

    /// What a read is appended to.
    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    /// What was read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// What was read, without a copy.
    pub(crate) fn into_run(self) -> Run {
        Run::Whole(Bytes::from_owner(self))
    }
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        memory.clear();
        // A thread that is ending keeps nothing.
        let _kept = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], splits: &[usize]) {
        let (mut run, whole) = (Run::new(), pieces.concat());
        for piece in pieces {
            run.push(piece.as_bytes());
        }
        let mut read = Vec::new();
        for length in splits {
            read.extend_from_slice(&run.split_to(*length));
        }
        assert_eq!(run.len(), whole.len() - read.len());
        read.extend_from_slice(run.bytes());
        assert_eq!(read, whole.as_bytes());
    }

    #[test]
    fn a_run_gives_what_it_was_given() {
        check(&[], &[0]);
        check(&["abc"], &[1, 1]);
        check(&["abc"], &[3]);
        check(&["abc", "def"], &[2, 2]);
        check(&["abc", "def", "ghi"], &[9]);
    }

    #[test]
    fn what_is_split_off_lies_where_it_came() {
        let mut large = Large::new();
        large.memory().extend_from_slice(b"abcdef");
        let place = large.bytes().as_ptr();
        assert_eq!(place.align_offset(ALIGNMENT), 0);
        let mut run = Run::new();
        run.append(large.into_run());
        let first = run.split_to(3);
        run.advance(1);
        assert_eq!((&*first, run.bytes()), (&b"abc"[..], &b"ef"[..]));
        assert_eq!(first.as_ptr(), place);
    }

    #[test]
    fn memory_for_large_reads_is_used_again() {
        let mut large = Large::new();
        large.memory().extend_from_slice(b"abcdef");
        let place = large.bytes().as_ptr();
        let mut run = large.into_run();
        drop(run.split_to(3));
        assert_ne!(Large::new().bytes().as_ptr(), place, "a part of it is needed still");
        drop(run);
        assert_eq!(Large::new().bytes().as_ptr(), place);
    }
}
