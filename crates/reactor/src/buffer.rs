//! The memory into which every source of a loop is read.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use crate::parts::Core;

/// Length of the buffer that a loop reads into, in bytes: the most that one read takes, unless it is made into memory
/// that a protocol has set aside for it. asyncio's `max_size`.
pub const READ_SIZE: usize = 256 * 1024;

/// The buffer begins at a multiple of this many bytes.
///
/// The kernel copies into it with an instruction that some processors (AMD's Zen 3, where this was measured)
/// execute up to five times slower when the target lies 8 or 16 bytes behind the start of a page, which is
/// just where large allocations begin.
const ALIGNMENT: usize = 4096;

/// The buffer of a loop while nobody uses it; made when it is first asked for.
pub(crate) struct ReadBuffer {
    idle: Cell<Option<Box<Aligned>>>,
}

impl ReadBuffer {
    pub(crate) fn new() -> ReadBuffer {
        ReadBuffer { idle: Cell::new(None) }
    }

    /// Gives the memory back to the system.
    pub(crate) fn free(&self) {
        self.idle.set(None);
    }
}

/// The buffer that all of a loop's connections share, taken for as long as this lives.
///
/// It holds [`READ_SIZE`] bytes of no particular content. Whoever asks while it is taken gets a fresh one.
/// An idle connection so owns no read buffer.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::{EventLoop, READ_SIZE};
///
/// let event_loop = EventLoop::new()?;
/// let handle = event_loop.handle();
/// let buffer = handle.shared_buffer();
/// assert_eq!(buffer.len(), READ_SIZE);
/// # drop(buffer);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SharedBuffer<'a> {
    core: &'a Core,
    /// Until it is given back.
    bytes: Option<Box<Aligned>>,
}

impl<'a> SharedBuffer<'a> {
    #[inline]
    pub(crate) fn take(core: &'a Core) -> SharedBuffer<'a> {
        let bytes = core.read_buffer.idle.take().unwrap_or_else(Aligned::zeroed);
        SharedBuffer { core, bytes: Some(bytes) }
    }
}

impl Drop for SharedBuffer<'_> {
    #[inline]
    fn drop(&mut self) {
        // A closed loop keeps no memory; a second buffer, asked for in between, is one too many.
        if !self.core.is_closed() {
            self.core.read_buffer.idle.set(self.bytes.take());
        }
    }
}

impl Deref for SharedBuffer<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Some(aligned) => &aligned.memory[aligned.start..][..READ_SIZE],
            None => &[],
        }
    }
}

impl DerefMut for SharedBuffer<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Some(aligned) => &mut aligned.memory[aligned.start..][..READ_SIZE],
            None => &mut [],
        }
    }
}

impl std::fmt::Debug for SharedBuffer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBuffer").field("len", &self.len()).finish()
    }
}

/// Memory of which [`READ_SIZE`] bytes are used, from the first that is aligned.
struct Aligned {
    memory: Box<[u8]>,
    start: usize,
}

impl Aligned {
    fn zeroed() -> Box<Aligned> {
        let memory = vec![0; READ_SIZE + ALIGNMENT].into_boxed_slice();
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Box::new(Aligned { memory, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_aligned() {
        let aligned = Aligned::zeroed();
        let first = aligned.memory[aligned.start..].as_ptr();
        assert_eq!(first.align_offset(ALIGNMENT), 0);
        assert!(aligned.memory.len() - aligned.start >= READ_SIZE);
    }
}
