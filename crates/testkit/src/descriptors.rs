//! Counting the process's open descriptors, and being alone while one counts.

use std::cell::Cell;
use std::fs;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many descriptors the process has open at the moment.
///
/// Read from `/proc/self/fd`, or from `/dev/fd` where there is no `/proc`. Other threads open and close
/// descriptors too: hold [`alone`] from before the first count until after the last.
///
/// # Panics
///
/// If neither directory can be read.
///
/// # Examples
///
/// ```
/// let _alone = tidegate_testkit::alone();
/// let before = tidegate_testkit::open_descriptors();
/// let file = std::fs::File::open("/dev/null")?;
/// assert_eq!(tidegate_testkit::open_descriptors(), before + 1);
/// drop(file);
/// assert_eq!(tidegate_testkit::open_descriptors(), before);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn open_descriptors() -> usize {
    let known = if cfg!(tidegate_portable) { ["/dev/fd"; 2] } else { ["/proc/self/fd", "/dev/fd"] };
    let listing = known.into_iter().find_map(|directory| fs::read_dir(directory).ok());
    // The listing itself is one of them.
    listing.expect("a directory of open descriptors").count() - 1
}

/// Waits until no [`watched`](crate::watched) test of the process runs but the caller's own, and keeps
/// others from starting until the answer is dropped.
///
/// For tests that look at something the whole process shares: open descriptors, limits, signals. Works
/// before or inside `watched`. Tests that use neither are not known to it, so let all tests of a binary
/// that has a test alone be watched. Threads started by the test must not call `watched` themselves.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::{alone, open_descriptors, watched};
///
/// watched(|| {
///     let _alone = alone();
///     let before = open_descriptors();
///     // … something that must not leak …
///     assert_eq!(open_descriptors(), before);
/// });
/// ```
pub fn alone() -> Alone {
    let (own, nested) = OWN.with(|own| (own.get().shares, own.get().alone));
    if !nested {
        let mut house = HOUSE.lock();
        // Two tests that both wanted to be alone while sharing would wait for each other.
        house.shares -= own;
        HOUSE.changed.notify_all();
        while house.shares > 0 || house.taken {
            house = HOUSE.changed.wait(house).unwrap_or_else(PoisonError::into_inner);
        }
        house.taken = true;
    }
    OWN.with(|own| own.set(Own { alone: true, ..own.get() }));
    Alone { nested, of_this_thread: PhantomData }
}

/// While it lives, no other [`watched`](crate::watched) test of the process runs. Made by [`alone`].
#[must_use = "the test is alone only until this is dropped"]
#[derive(Debug)]
pub struct Alone {
    nested: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        if self.nested {
            return;
        }
        let shares = OWN.with(|own| {
            own.set(Own { alone: false, ..own.get() });
            own.get().shares
        });
        let mut house = HOUSE.lock();
        house.taken = false;
        house.shares += shares;
        HOUSE.changed.notify_all();
    }
}

/// Keeps tests that want to be alone waiting while it lives.
pub(crate) fn share() -> Share {
    let alone = OWN.with(|own| {
        own.set(Own { shares: own.get().shares + 1, ..own.get() });
        own.get().alone
    });
    if !alone {
        let mut house = HOUSE.lock();
        while house.taken {
            house = HOUSE.changed.wait(house).unwrap_or_else(PoisonError::into_inner);
        }
        house.shares += 1;
    }
    Share { of_this_thread: PhantomData }
}

/// A watched test that runs.
pub(crate) struct Share {
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let alone = OWN.with(|own| {
            own.set(Own { shares: own.get().shares - 1, ..own.get() });
            own.get().alone
        });
        if !alone {
            HOUSE.lock().shares -= 1;
            HOUSE.changed.notify_all();
        }
    }
}

/// What the present thread holds of the house.
#[derive(Clone, Copy)]
struct Own {
    shares: usize,
    alone: bool,
}

thread_local! {
    static OWN: Cell<Own> = const { Cell::new(Own { shares: 0, alone: false }) };
}

/// All tests of the process. Shares of a thread that is alone are not counted meanwhile.
struct House {
    tests: Mutex<Tests>,
    changed: Condvar,
}

struct Tests {
    shares: usize,
    taken: bool,
}

static HOUSE: House =
    House { tests: Mutex::new(Tests { shares: 0, taken: false }), changed: Condvar::new() };

impl House {
    fn lock(&self) -> MutexGuard<'_, Tests> {
        // A test that failed while it held the lock has left nothing half done.
        self.tests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::{alone, open_descriptors};
    use crate::watched;

    #[test]
    fn an_opened_file_is_counted_until_it_is_closed() {
        let _alone = alone();
        let before = open_descriptors();
        let file = File::open("/dev/null").expect("/dev/null");
        assert_eq!(open_descriptors(), before + 1);
        drop(file);
        assert_eq!(open_descriptors(), before);
    }

    #[test]
    fn nobody_is_watched_while_a_test_is_alone() {
        let inside = AtomicBool::new(false);
        let enter = || {
            watched(|| {
                let _alone = alone();
                assert!(!inside.swap(true, Ordering::SeqCst), "two tests are alone");
                thread::yield_now();
                watched(|| inside.store(false, Ordering::SeqCst));
            });
            watched(|| assert!(!inside.load(Ordering::SeqCst), "a test runs beside one alone"));
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| enter()));
            }
        });
    }

    #[test]
    fn being_alone_nests() {
        let first = alone();
        let second = alone();
        drop(second);
        assert!(super::HOUSE.lock().taken);
        drop(first);
    }
}
