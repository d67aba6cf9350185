//! The bytes that a transport has accepted and the system has not taken yet, in order.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// From this length on a [`Bytes`] is kept as it is; a shorter one is cheaper to copy.
const KEPT_FROM: usize = 4 * 1024;

/// A chunk of copied bytes is not grown beyond this: the next chunk begins.
const CHUNK: usize = 64 * 1024;

/// How many empty stores a thread keeps for its next buffers.
const SPARES: usize = 16;

/// The bytes that a transport has accepted and the system has not taken yet, in order.
///
/// Small pieces are gathered into one run, large [`Bytes`] are kept without a copy. An empty buffer holds
/// no memory: what it used goes back to a few spare stores of the thread, and is freed if it is above
/// 64 KiB.
///
/// ```
/// use tidegate_protocols::WriteBuffer;
///
/// let mut buffer = WriteBuffer::new();
/// buffer.push(b"hello ");
/// buffer.push(b"world");
/// assert_eq!(buffer.first(), b"hello world");
/// drop(buffer.advance(6));
/// assert_eq!((buffer.first(), buffer.len()), (&b"world"[..], 5));
/// ```
#[derive(Default)]
pub struct WriteBuffer(Option<Box<Store>>);

#[derive(Default)]
struct Store {
    chunks: VecDeque<Chunk>,
    /// How much of the first chunk has been taken.
    head: usize,
    len: usize,
    /// An empty run with room, for the next chunk.
    spare: Vec<u8>,
}

enum Chunk {
    Copied(Vec<u8>),
    Kept(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Copied(bytes) => bytes,
            Chunk::Kept(bytes) => bytes,
        }
    }
}

/// What a buffer was given to keep and needs no more.
///
/// Dropping it may run a user's code (the owner of a [`Bytes`]), so it is handed out to be dropped where
/// nothing is borrowed.
#[derive(Default)]
#[must_use = "drop it where nothing is borrowed"]
pub struct Spent(Vec<Bytes>);

impl Spent {
    /// Whether there is nothing to drop.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl WriteBuffer {
    /// An empty buffer, without an allocation.
    pub const fn new() -> WriteBuffer {
        WriteBuffer(None)
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |store| store.len)
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many pieces the bytes lie in.
    pub fn chunks(&self) -> usize {
        self.0.as_ref().map_or(0, |store| store.chunks.len())
    }

    /// Appends a copy.
    pub fn push(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let store = self.store();
        store.len += data.len();
        if let Some(Chunk::Copied(run)) = store.chunks.back_mut()
            && (run.len() < CHUNK || run.capacity() - run.len() >= data.len())
        {
            return run.extend_from_slice(data);
        }
        let mut run = std::mem::take(&mut store.spare);
        run.extend_from_slice(data);
        store.chunks.push_back(Chunk::Copied(run));
    }

    /// Appends bytes, large ones without a copy. Small ones are copied and given back, to be dropped where
    /// nothing is borrowed.
    pub fn push_bytes(&mut self, data: Bytes) -> Option<Bytes> {
        if data.len() < KEPT_FROM {
            self.push(&data);
            return Some(data);
        }
        let store = self.store();
        store.len += data.len();
        store.chunks.push_back(Chunk::Kept(data));
        None
    }

    /// The first piece; empty if the buffer is.
    pub fn first(&self) -> &[u8] {
        match &self.0 {
            Some(store) => store.chunks.front().map_or(&[], |chunk| &chunk.bytes()[store.head..]),
            None => &[],
        }
    }

    /// Fills `slices` with as many pieces as fit, and answers with how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(store) = &self.0 else { return 0 };
        let mut head = store.head;
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&store.chunks) {
            *slice = IoSlice::new(&chunk.bytes()[head..]);
            head = 0;
            filled += 1;
        }
        filled
    }

    /// The system took `count` bytes.
    ///
    /// # Panics
    ///
    /// If fewer wait.
    pub fn advance(&mut self, count: usize) -> Spent {
        let mut spent = Spent::default();
        let Some(store) = &mut self.0 else {
            assert_eq!(count, 0, "an empty buffer cannot advance");
            return spent;
        };
        assert!(count <= store.len, "a buffer cannot advance beyond its end");
        store.len -= count;
        store.head += count;
        while let Some(chunk) = store.chunks.front()
            && store.head >= chunk.bytes().len()
        {
            store.head -= chunk.bytes().len();
            match store.chunks.pop_front() {
                Some(Chunk::Kept(bytes)) => spent.0.push(bytes),
                Some(Chunk::Copied(run)) => store.keep_spare(run),
                None => {}
            }
        }
        if store.len == 0 {
            self.give_back();
        }
        spent
    }

    /// Takes everything out.
    pub fn take(&mut self) -> Spent {
        self.advance(self.len())
    }

    fn store(&mut self) -> &mut Store {
        self.0.get_or_insert_with(Store::take_spare)
    }

    fn give_back(&mut self) {
        if let Some(store) = self.0.take() {
            store.keep();
        }
    }
}

/// The bytes that still wait are dropped; a buffer is emptied first where their owners matter.
impl Drop for WriteBuffer {
    fn drop(&mut self) {
        drop(self.take());
    }
}

thread_local! {
    /// Empty stores, so that a buffer that fills and empties in every turn allocates nothing.
    static SPARE_STORES: Cell<Vec<Box<Store>>> = const { Cell::new(Vec::new()) };
}

impl Store {
    fn take_spare() -> Box<Store> {
        let spare = SPARE_STORES.try_with(|spares| {
            let mut list = spares.take();
            let spare = list.pop();
            spares.set(list);
            spare
        });
        spare.ok().flatten().unwrap_or_default()
    }

    /// Keeps an emptied run for the next chunk, unless it is large.
    fn keep_spare(&mut self, mut run: Vec<u8>) {
        if run.capacity() <= CHUNK && run.capacity() > self.spare.capacity() {
            run.clear();
            self.spare = run;
        }
    }

    /// Puts an empty store away, or frees it where enough are kept.
    fn keep(mut self: Box<Self>) {
        self.head = 0;
        self.chunks.shrink_to(CHUNK / size_of::<Chunk>());
        // A thread that is ending keeps nothing: the store is then simply dropped.
        let _kept = SPARE_STORES.try_with(|spares| {
            let mut list = spares.take();
            if list.len() < SPARES {
                list.push(self);
            }
            spares.set(list);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn contents(buffer: &WriteBuffer) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); buffer.chunks()];
        assert_eq!(buffer.slices(&mut slices), buffer.chunks());
        slices.iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[derive(Clone, Debug)]
    enum Act {
        Push(usize),
        PushBytes(usize),
        Advance(usize),
        Take,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let length = prop_oneof![0..20_usize, 4000..5000_usize, 60_000..140_000_usize];
        let act = prop_oneof![
            4 => length.clone().prop_map(Act::Push),
            2 => length.prop_map(Act::PushBytes),
            4 => (0..100_000_usize).prop_map(Act::Advance),
            1 => Just(Act::Take),
        ];
        proptest::collection::vec(act, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_buffer_is_a_queue_of_bytes(acts in acts()) {
            // T-33 T-35
            let mut buffer = WriteBuffer::new();
            let mut model = Vec::new();
            let mut next = 0_u8;
            let mut data = |length: usize| -> Vec<u8> {
                (0..length).map(|_| { next = next.wrapping_add(1); next }).collect()
            };
            for act in acts {
                match act {
                    Act::Push(length) => {
                        let data = data(length);
                        buffer.push(&data);
                        model.extend(data);
                    }
                    Act::PushBytes(length) => {
                        let data = data(length);
                        let back = buffer.push_bytes(data.clone().into());
                        prop_assert_eq!(back.is_some(), length < KEPT_FROM);
                        model.extend(data);
                    }
                    Act::Advance(count) => {
                        let count = count.min(model.len());
                        drop(buffer.advance(count));
                        model.drain(..count);
                    }
                    Act::Take => {
                        drop(buffer.take());
                        model.clear();
                    }
                }
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(buffer.is_empty(), model.is_empty());
                prop_assert!(model.starts_with(buffer.first()));
                prop_assert_eq!(buffer.first().is_empty(), model.is_empty());
                prop_assert_eq!(contents(&buffer), model.clone());
            }
        }
    }

    #[test]
    fn small_pieces_are_gathered_and_large_bytes_kept() {
        let mut buffer = WriteBuffer::new();
        for _ in 0..1000 {
            buffer.push(b"line\n");
        }
        assert_eq!(buffer.chunks(), 1);
        let large = Bytes::from(vec![1; KEPT_FROM]);
        let address = large.as_ptr();
        assert!(buffer.push_bytes(large).is_none());
        assert!(buffer.push_bytes(Bytes::from_static(b"small")).is_some());
        assert_eq!(buffer.chunks(), 3);
        drop(buffer.advance(5000));
        assert_eq!(buffer.first().as_ptr(), address);
    }

    #[test]
    fn few_slices_take_the_first_pieces() {
        let mut buffer = WriteBuffer::new();
        for byte in 0..3 {
            buffer.push_bytes(vec![byte; KEPT_FROM].into());
        }
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(buffer.slices(&mut slices), 2);
        assert_eq!((slices[0][0], slices[1][0]), (0, 1));
    }

    #[test]
    fn a_run_does_not_grow_for_ever() {
        let mut buffer = WriteBuffer::new();
        for _ in 0..100 {
            buffer.push(&[0; 50_000]);
            let waiting = buffer.len();
            drop(buffer.advance(waiting - 1));
        }
        assert_eq!(buffer.len(), 1);
        assert!(buffer.0.as_ref().unwrap().chunks[0].bytes().len() <= 2 * CHUNK);
    }

    #[test]
    fn an_empty_buffer_holds_nothing_and_is_small() {
        let mut buffer = WriteBuffer::new();
        buffer.push(b"x");
        drop(buffer.advance(1));
        assert!(buffer.0.is_none());
        assert_eq!(size_of::<WriteBuffer>(), size_of::<usize>());
    }

    #[test]
    fn large_runs_are_freed_when_they_are_empty() {
        let mut buffer = WriteBuffer::new();
        buffer.push(&vec![0; CHUNK + 1]);
        drop(buffer.take());
        buffer.push(b"x");
        assert!(buffer.store().spare.capacity() <= CHUNK);
    }

    /// The owner of some bytes, which says when it is dropped.
    struct Owner(Arc<AtomicBool>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &[0; KEPT_FROM]
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_owner_of_kept_bytes_is_dropped_by_the_caller() {
        let dropped = Arc::new(AtomicBool::new(false));
        let mut buffer = WriteBuffer::new();
        buffer.push_bytes(Bytes::from_owner(Owner(dropped.clone())));
        let spent = buffer.advance(KEPT_FROM);
        assert!(!spent.is_empty() && !dropped.load(Ordering::Relaxed));
        drop(spent);
        assert!(dropped.load(Ordering::Relaxed));
    }
}
