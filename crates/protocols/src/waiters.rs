//! The wakers of those who wait for one thing.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// The wakers of those who wait for one thing, such as the end of a connection.
///
/// It allocates only while somebody waits. Wakers belong to users, so they are cloned, woken and dropped
/// while nothing is borrowed: a waker may come back here.
///
/// ```
/// use std::task::Waker;
/// use tidegate_protocols::Waiters;
///
/// let waiters = Waiters::new();
/// waiters.register(Waker::noop());
/// waiters.wake_all();
/// assert!(waiters.is_empty());
/// ```
#[derive(Default)]
#[expect(clippy::box_collection, reason = "a word, since most connections have nobody waiting")]
pub struct Waiters(Cell<Option<Box<Vec<Waker>>>>);

impl Waiters {
    /// Nobody waits.
    pub const fn new() -> Waiters {
        Waiters(Cell::new(None))
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        let waiting = self.0.take();
        let empty = waiting.is_none();
        self.0.set(waiting);
        empty
    }

    /// Adds one who waits, unless it would wake the same task as one who waits already.
    pub fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        let mut waiting = self.0.take().unwrap_or_default();
        let known = waiting.iter().any(|other| other.will_wake(&waker));
        let spare = if known {
            Some(waker)
        } else {
            waiting.push(waker);
            None
        };
        self.0.set(Some(waiting));
        drop(spare);
    }

    /// Wakes everyone who waits now, and forgets them.
    ///
    /// # Panics
    ///
    /// A waker that panics does not keep the others from being woken; the first panic goes on afterwards.
    pub fn wake_all(&self) {
        let Some(waiting) = self.0.take() else { return };
        let mut first_panic = None;
        for waker in *waiting {
            let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            first_panic = first_panic.or(woken.err());
        }
        if let Some(payload) = first_panic {
            resume_unwind(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_one_who_waits_is_woken_once() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (first_waker, second_waker) = (first.clone().into(), second.clone().into());
        let waiters = Waiters::new();
        for waker in [&first_waker, &second_waker, &first_waker] {
            waiters.register(waker);
        }
        waiters.wake_all();
        waiters.wake_all();
        assert_eq!(first.0.load(Ordering::Relaxed), 1);
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }

    /// Comes back to where it waited when it is woken, and when it is dropped.
    struct ComesBack(Arc<AtomicUsize>);

    thread_local! {
        static WAITERS: Waiters = const { Waiters::new() };
    }

    impl Wake for ComesBack {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            WAITERS.with(|waiters| waiters.register(&self.clone().into()));
        }
    }

    impl Drop for ComesBack {
        fn drop(&mut self) {
            self.0.fetch_add(100, Ordering::Relaxed);
            let _none = WAITERS.try_with(Waiters::is_empty);
        }
    }

    #[test]
    fn a_waker_may_come_back() {
        let count = Arc::new(AtomicUsize::new(0));
        WAITERS.with(|waiters| {
            waiters.register(&Arc::new(ComesBack(count.clone())).into());
            waiters.wake_all();
            assert_eq!(count.load(Ordering::Relaxed), 1, "who waits anew is woken next time");
            waiters.wake_all();
            assert_eq!(count.load(Ordering::Relaxed), 2);
            drop(waiters.0.take());
            assert_eq!(count.load(Ordering::Relaxed), 102);
            assert!(waiters.is_empty());
        });
    }

    #[test]
    fn nobody_waiting_takes_a_word() {
        assert_eq!(size_of::<Waiters>(), size_of::<usize>());
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    #[test]
    fn one_that_panics_keeps_nobody_asleep() {
        let count = Arc::new(Count::default());
        let waiters = Rc::new(Waiters::new());
        waiters.register(&Arc::new(Panics).into());
        waiters.register(&count.clone().into());
        let woken = catch_unwind(AssertUnwindSafe(|| waiters.wake_all()));
        assert!(woken.is_err());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(waiters.is_empty());
    }
}
