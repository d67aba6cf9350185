//! The wakers of those who wait for one thing.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Waker;

/// The wakers of those who wait for one thing, such as the end of a connection.
///
/// It allocates only while somebody waits. Wakers belong to users, so they are cloned, woken and dropped
/// while nothing is borrowed: a waker may come back here.
///
/// ```
/// use std::task::Waker;
/// use tidegate_protocols::{Waiter, Waiters};
///
/// let (waiters, waiter) = (Waiters::new(), Waiter::new());
/// waiters.register(&waiter, Waker::noop());
/// waiters.wake_all();
/// assert!(waiters.is_empty());
/// ```
#[derive(Default)]
#[expect(clippy::box_collection, reason = "a word, since most connections have nobody waiting")]
pub struct Waiters(Cell<Option<Box<Vec<Place>>>>);

/// Where one who waits leaves the waker; empty once it was woken, or has gone away.
type Place = Rc<Cell<Option<Waker>>>;

/// One who waits: a part of a future, with which its waker goes too.
///
/// So a future that is dropped early leaves nothing behind but an empty place, which the next ones clear
/// away.
#[derive(Default)]
pub struct Waiter(Place);

impl Waiter {
    /// One who does not wait yet.
    pub fn new() -> Waiter {
        Waiter::default()
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl Waiters {
    /// Nobody waits.
    pub const fn new() -> Waiters {
        Waiters(Cell::new(None))
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        let waiting = self.0.take();
        let left = |place: &Place| Rc::strong_count(place) == 1;
        let empty = waiting.as_deref().is_none_or(|places| places.iter().all(left));
        self.0.set(waiting);
        empty
    }

    /// From now on `waker` is woken for `waiter`, until it was, or `waiter` is dropped.
    pub fn register(&self, waiter: &Waiter, waker: &Waker) {
        let before = waiter.0.replace(Some(waker.clone()));
        drop(before);
        let mut waiting = self.0.take().unwrap_or_default();
        if !waiting.iter().any(|place| Rc::ptr_eq(place, &waiter.0)) {
            if waiting.len() == waiting.capacity() {
                waiting.retain(|place| Rc::strong_count(place) > 1);
            }
            waiting.push(Rc::clone(&waiter.0));
        }
        self.0.set(Some(waiting));
    }

    /// Wakes everyone who waits now, and forgets them.
    ///
    /// A waker that panics keeps nobody asleep and goes no further; the panic hook has told of it.
    #[inline]
    pub fn wake_all(&self) {
        if let Some(waiting) = self.0.take() {
            Waiters::wake(*waiting);
        }
    }

    fn wake(waiting: Vec<Place>) {
        for place in waiting {
            if let Some(waker) = place.take() {
                let _caught = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
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
        let (one, two) = (Waiter::new(), Waiter::new());
        for (waiter, waker) in [(&one, &first_waker), (&two, &second_waker), (&one, &first_waker)] {
            waiters.register(waiter, waker);
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
        static WAITER: Waiter = Waiter::new();
    }

    fn wait(waker: &Waker) {
        WAITERS.with(|waiters| WAITER.with(|waiter| waiters.register(waiter, waker)));
    }

    impl Wake for ComesBack {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            wait(&self.clone().into());
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
            wait(&Arc::new(ComesBack(count.clone())).into());
            waiters.wake_all();
            assert_eq!(count.load(Ordering::Relaxed), 1, "who waits anew is woken next time");
            waiters.wake_all();
            assert_eq!(count.load(Ordering::Relaxed), 2);
            wait(Waker::noop());
            assert_eq!(count.load(Ordering::Relaxed), 102, "it came back while it was dropped");
        });
    }

    #[test]
    fn one_who_goes_away_leaves_nothing_behind() {
        let count = Arc::new(Count::default());
        let waiters = Waiters::new();
        for _ in 0..1000 {
            waiters.register(&Waiter::new(), &count.clone().into());
        }
        assert_eq!(Arc::strong_count(&count), 1, "each waker went with its waiter");
        assert!(waiters.is_empty());
        let places = waiters.0.take().unwrap();
        assert!(places.len() <= 8, "{} empty places", places.len());
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
        let (first, second) = (Waiter::new(), Waiter::new());
        waiters.register(&first, &Arc::new(Panics).into());
        waiters.register(&second, &count.clone().into());
        waiters.wake_all();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(waiters.is_empty());
    }
}
