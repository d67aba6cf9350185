//! Memory in which records are read, decrypted and encrypted: shared by all connections of a thread, since none needs it
//! while it is idle.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// How much ciphertext is read at a time.
const READ: usize = 64 * 1024;

/// Memory beyond this is given back to the system.
const KEPT: usize = 256 * 1024;

/// How many are kept: one for each layer that may be at work at a time, and one more.
const SPARE: usize = 4;

thread_local! {
    #[expect(clippy::vec_box, reason = "they are moved in and out, each time records come or go")]
    static SPARES: RefCell<Vec<Box<Buffers>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers for one piece of work; they go back when this is dropped.
pub(crate) struct Scratch(Option<Box<Buffers>>);

/// What one piece of work needs.
#[derive(Default)]
pub(crate) struct Buffers {
    /// What was received.
    pub(crate) received: Vec<u8>,
    /// What was found in it.
    pub(crate) plain: Vec<u8>,
    /// What is to be sent.
    pub(crate) out: Outgoing,
}

impl Scratch {
    /// Empty buffers.
    pub(crate) fn take() -> Scratch {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
        Scratch(Some(spare.unwrap_or_default()))
    }
}

impl Buffers {
    /// Puts `rest`, the beginning of a record, in front of what is to be read, and makes room for that.
    pub(crate) fn begin(&mut self, rest: &[u8]) {
        self.received.reserve_exact(rest.len() + READ);
        self.received.extend_from_slice(rest);
    }
}

impl Deref for Scratch {
    type Target = Buffers;

    fn deref(&self) -> &Buffers {
        self.0.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Buffers {
        self.0.as_mut().expect("it is there until the drop")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(mut buffers) = self.0.take() else { return };
        buffers.received.clear();
        buffers.plain.clear();
        buffers.out.clear();
        let largest = buffers.received.capacity().max(buffers.plain.capacity());
        if largest.max(buffers.out.memory.len()) > KEPT {
            return;
        }
        // A thread that ends needs none.
        let _ended = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(buffers);
            }
        });
    }
}

/// Bytes to be sent, gathered in memory that is zeroed once and not for each record.
#[derive(Default)]
pub(crate) struct Outgoing {
    memory: Vec<u8>,
    length: usize,
}

impl Outgoing {
    /// Room for so many bytes more.
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.length + bytes;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        &mut self.memory[self.length..end]
    }

    /// So much of the room was filled.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.length += bytes;
    }

    /// What was gathered.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.length]
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }
}
