//! The bytes that a transport has accepted and the system has not taken yet, in order.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Buf, Bytes};

/// From this length on a [`Bytes`] is kept as it is; a shorter one is cheaper to copy.
const KEPT_FROM: usize = 4 * 1024;

/// A chunk of copied bytes is not grown beyond this: the next chunk begins.
const CHUNK: usize = 64 * 1024;

/// A store that has held more chunks than this is freed when it is empty.
const MOST_SPARE_CHUNKS: usize = 64;

/// The bytes that a transport has accepted and the system has not taken yet, in order.
///
/// Small pieces are gathered into one run, large [`Bytes`] are kept without a copy. An empty buffer holds
/// no memory: what it used is kept for the thread's next buffer, or freed if it is above 64 KiB.
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

/// `run[head..]` comes first, then the chunks of `rest`.
#[derive(Default)]
struct Store {
    run: Vec<u8>,
    head: usize,
    rest: VecDeque<Chunk>,
    /// All bytes together.
    len: usize,
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
/// nothing is borrowed. A destructor that panics is caught there: it must not tear a write apart.
#[derive(Default)]
#[must_use = "drop it where nothing is borrowed"]
pub struct Spent {
    first: Option<Bytes>,
    more: Vec<Bytes>,
}

impl Spent {
    /// Whether there is nothing to drop.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[cold]
    fn drop_caught(&mut self) {
        for bytes in self.first.take().into_iter().chain(self.more.drain(..)) {
            // The panic hook has told of it by then.
            let _caught = catch_unwind(AssertUnwindSafe(|| drop(bytes)));
        }
    }

    fn add(&mut self, bytes: Bytes) {
        match self.first {
            None => self.first = Some(bytes),
            Some(_) => self.more.push(bytes),
        }
    }
}

impl Drop for Spent {
    #[inline]
    fn drop(&mut self) {
        if self.first.is_some() {
            self.drop_caught();
        }
    }
}

impl fmt::Debug for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = usize::from(self.first.is_some()) + self.more.len();
        f.debug_struct("Spent").field("count", &count).finish()
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
        self.0.as_ref().map_or(0, |store| usize::from(!store.run.is_empty()) + store.rest.len())
    }

    /// Appends a copy.
    #[inline]
    pub fn push(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let store = self.0.get_or_insert_with(Store::take_spare);
        store.len += data.len();
        let last = match store.rest.back_mut() {
            None => &mut store.run,
            Some(Chunk::Copied(run)) => run,
            Some(Chunk::Kept(_)) => return store.rest.push_back(Chunk::Copied(data.to_vec())),
        };
        if last.len() < CHUNK || last.capacity() - last.len() >= data.len() {
            last.extend_from_slice(data);
        } else {
            store.rest.push_back(Chunk::Copied(data.to_vec()));
        }
    }

    /// Appends bytes, large ones without a copy. Small ones are copied and given back, to be dropped where
    /// nothing is borrowed.
    pub fn push_bytes(&mut self, data: Bytes) -> Spent {
        let mut spent = Spent::default();
        if data.len() < KEPT_FROM {
            self.push(&data);
            spent.add(data);
            return spent;
        }
        let store = self.0.get_or_insert_with(Store::take_spare);
        store.len += data.len();
        store.rest.push_back(Chunk::Kept(data));
        spent
    }

    /// The first piece; empty if the buffer is.
    #[inline]
    pub fn first(&self) -> &[u8] {
        let Some(store) = &self.0 else { return &[] };
        if store.run.is_empty() {
            store.rest.front().map_or(&[], Chunk::bytes)
        } else {
            &store.run[store.head..]
        }
    }

    /// Fills `slices` with as many pieces as fit, and answers with how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(store) = &self.0 else { return 0 };
        let run = Some(&store.run[store.head..]).filter(|run| !run.is_empty());
        let pieces = run.into_iter().chain(store.rest.iter().map(Chunk::bytes));
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// The system took `count` bytes.
    ///
    /// # Panics
    ///
    /// If fewer wait.
    #[inline]
    pub fn advance(&mut self, count: usize) -> Spent {
        let Some(store) = &mut self.0 else {
            assert_eq!(count, 0, "an empty buffer cannot advance");
            return Spent::default();
        };
        assert!(count <= store.len, "a buffer cannot advance beyond its end");
        store.len -= count;
        let left = store.run.len() - store.head;
        let spent = if count < left {
            store.head += count;
            Spent::default()
        } else {
            store.run.clear();
            store.head = 0;
            if store.rest.is_empty() { Spent::default() } else { store.advance_rest(count - left) }
        };
        if store.len == 0
            && let Some(store) = self.0.take()
        {
            store.keep();
        }
        spent
    }

    /// Takes everything out.
    pub fn take(&mut self) -> Spent {
        self.advance(self.len())
    }
}

/// The bytes that still wait are dropped; a buffer is emptied first where their owners matter.
impl Drop for WriteBuffer {
    fn drop(&mut self) {
        drop(self.take());
    }
}

thread_local! {
    /// An empty store, so that a buffer that fills and empties in every turn allocates nothing.
    static SPARE: Cell<Option<Box<Store>>> = const { Cell::new(None) };
}

impl Store {
    #[inline]
    fn take_spare() -> Box<Store> {
        SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
    }

    /// Puts an empty store away for the next buffer of the thread; a large one is freed.
    #[inline]
    fn keep(self: Box<Self>) {
        if self.run.capacity() <= CHUNK && self.rest.capacity() <= MOST_SPARE_CHUNKS {
            // A thread that is ending keeps nothing: the store is dropped then.
            let _kept = SPARE.try_with(|spare| spare.set(Some(self)));
        }
    }

    /// Takes `count` bytes from the rest; the run is empty.
    fn advance_rest(&mut self, count: usize) -> Spent {
        let mut spent = Spent::default();
        let mut count = count;
        loop {
            match self.rest.pop_front() {
                Some(chunk) if chunk.bytes().len() <= count => {
                    count -= chunk.bytes().len();
                    if let Chunk::Kept(bytes) = chunk {
                        spent.add(bytes);
                    }
                }
                Some(Chunk::Kept(mut bytes)) => {
                    bytes.advance(count);
                    self.rest.push_front(Chunk::Kept(bytes));
                    return spent;
                }
                Some(Chunk::Copied(run)) => {
                    self.run = run;
                    self.head = count;
                    return spent;
                }
                None => return spent,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn contents(buffer: &WriteBuffer) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); buffer.chunks()];
        assert_eq!(buffer.slices(&mut slices), buffer.chunks());
        slices.iter().map(|slice| &**slice).collect::<Vec<_>>().concat()
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
                        prop_assert_eq!(back.is_empty(), length >= KEPT_FROM);
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
        assert!(buffer.push_bytes(large).is_empty());
        assert!(!buffer.push_bytes(Bytes::from_static(b"small")).is_empty());
        assert_eq!(buffer.chunks(), 3);
        drop(buffer.advance(5000));
        assert_eq!(buffer.first().as_ptr(), address);
    }

    #[test]
    fn few_slices_take_the_first_pieces() {
        let mut buffer = WriteBuffer::new();
        for byte in 0..3 {
            drop(buffer.push_bytes(vec![byte; KEPT_FROM].into()));
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
        let store = buffer.0.as_ref().unwrap();
        assert!(store.run.len() <= 2 * CHUNK && store.rest.is_empty());
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
    fn a_buffer_that_empties_leaves_its_memory_to_the_next() {
        let mut first = WriteBuffer::new();
        first.push(&[0; 100]);
        let memory = first.first().as_ptr();
        drop(first.take());
        let mut second = WriteBuffer::new();
        second.push(&[0; 100]);
        assert_eq!(second.first().as_ptr(), memory);
    }

    #[test]
    fn a_full_run_is_followed_by_another_and_a_roomy_one_is_filled() {
        let mut buffer = WriteBuffer::new();
        buffer.push(&[0; CHUNK]);
        buffer.push(b"x");
        assert_eq!(buffer.chunks(), 2);

        let mut buffer = WriteBuffer::new();
        buffer.push(&[0; CHUNK - 1]);
        // The run doubles its room for these, and has most of it left.
        buffer.push(&[0; 10]);
        buffer.push(&[0; 100]);
        assert_eq!(buffer.chunks(), 1);
    }

    #[test]
    fn what_is_spent_is_counted() {
        let mut buffer = WriteBuffer::new();
        for _ in 0..2 {
            drop(buffer.push_bytes(vec![0; KEPT_FROM].into()));
        }
        assert_eq!(format!("{:?}", buffer.take()), "Spent { count: 2 }");
        assert_eq!(format!("{:?}", buffer.take()), "Spent { count: 0 }");
    }

    #[test]
    fn large_runs_are_freed_when_they_are_empty() {
        let mut buffer = WriteBuffer::new();
        buffer.push(&vec![0; CHUNK + 1]);
        drop(buffer.take());
        buffer.push(b"x");
        assert!(buffer.0.as_ref().unwrap().run.capacity() <= CHUNK);
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

    /// The owner of some bytes, whose destructor panics.
    struct Panics(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Panics {
        fn as_ref(&self) -> &[u8] {
            &[0; KEPT_FROM]
        }
    }

    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("on purpose");
        }
    }

    #[test]
    fn owners_that_panic_tear_nothing_apart() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut buffer = WriteBuffer::new();
        for _ in 0..3 {
            drop(buffer.push_bytes(Bytes::from_owner(Panics(dropped.clone()))));
        }
        drop(buffer.advance(KEPT_FROM));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        drop(buffer);
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    thread_local! {
        static SHARED: RefCell<WriteBuffer> = const { RefCell::new(WriteBuffer::new()) };
    }

    /// The owner of some bytes, which writes again when it is dropped.
    struct Rewriter(usize);

    impl AsRef<[u8]> for Rewriter {
        fn as_ref(&self) -> &[u8] {
            &[0; KEPT_FROM][..self.0]
        }
    }

    impl Drop for Rewriter {
        fn drop(&mut self) {
            SHARED.with(|buffer| buffer.borrow_mut().push(b"again"));
        }
    }

    #[test]
    fn the_owner_of_bytes_may_come_back() {
        SHARED.with(|buffer| {
            let push = |length| {
                let bytes = Bytes::from_owner(Rewriter(length));
                let back = buffer.borrow_mut().push_bytes(bytes);
                drop(back);
            };
            // A small one is copied and let go at once, a large one when it was taken.
            push(3);
            assert_eq!(buffer.borrow().len(), 3 + 5);
            push(KEPT_FROM);
            assert_eq!(buffer.borrow().len(), 3 + 5 + KEPT_FROM);
            let spent = buffer.borrow_mut().advance(3 + 5 + KEPT_FROM);
            assert!(buffer.borrow().is_empty());
            drop(spent);
            assert_eq!(buffer.borrow().first(), b"again");
            push(KEPT_FROM);
            let spent = buffer.borrow_mut().take();
            drop(spent);
            assert_eq!(buffer.borrow_mut().first(), b"again");
        });
    }

    #[test]
    fn the_owner_of_kept_bytes_is_dropped_by_the_caller() {
        let dropped = Arc::new(AtomicBool::new(false));
        let mut buffer = WriteBuffer::new();
        drop(buffer.push_bytes(Bytes::from_owner(Owner(dropped.clone()))));
        let spent = buffer.advance(KEPT_FROM);
        assert!(!spent.is_empty() && !dropped.load(Ordering::Relaxed));
        drop(spent);
        assert!(dropped.load(Ordering::Relaxed));
    }
}
