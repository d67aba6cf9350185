//! A callback that runs again and again, and may be removed at any time, also by itself while it runs.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::Queued;
use crate::parts::Core;

/// The callback of a reader, a writer or a signal.
pub(crate) struct Repeating {
    callback: Cell<Option<Box<dyn FnMut()>>>,
    cancelled: Cell<bool>,
    /// What registered it ("add_reader") and for which descriptor or signal, for reports.
    origin: &'static str,
    number: i32,
}

impl Repeating {
    pub(crate) fn new(
        origin: &'static str,
        number: i32,
        callback: impl FnMut() + 'static,
    ) -> Rc<Repeating> {
        Rc::new(Repeating {
            callback: Cell::new(Some(Box::new(callback))),
            cancelled: Cell::new(false),
            origin,
            number,
        })
    }

    /// Runs the callback, unless it was cancelled or runs already further up the stack. Its panic goes on to the
    /// caller when it is back in its place.
    pub(crate) fn call(&self) {
        let Some(mut callback) = self.callback.take() else { return };
        let mut ended = catch_unwind(AssertUnwindSafe(&mut callback));
        if self.cancelled.get() {
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(callback)));
            ended = ended.and(dropped);
        } else {
            self.callback.set(Some(callback));
        }
        if let Err(payload) = ended {
            resume_unwind(payload);
        }
    }

    /// Drops the callback; the loop is closed.
    pub(crate) fn end(&self, core: &Core) {
        self.cancelled.set(true);
        core.drop_caught(self.callback.take());
    }

    /// What it is called in reports.
    pub(crate) fn name(&self) -> String {
        format!("{}({})", self.origin, self.number)
    }

    /// Drops the callback, or has it dropped when it returns.
    pub(crate) fn cancel(&self) {
        self.cancelled.set(true);
        drop(self.callback.take());
    }
}

impl Queued for Repeating {
    fn run(self: Rc<Self>) {
        self.call();
    }

    fn name(&self) -> String {
        Repeating::name(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A callback that counts, and of which one can tell whether it was dropped.
    fn counting(calls: &Rc<Cell<u32>>) -> impl FnMut() + use<> {
        let calls = Rc::clone(calls);
        move || calls.set(calls.get() + 1)
    }

    #[test]
    fn a_cancelled_callback_is_dropped_though_others_hold_its_place() {
        let calls = Rc::new(Cell::new(0));
        let repeating = Repeating::new("test", 1, counting(&calls));
        repeating.call();
        repeating.call();
        repeating.cancel();
        repeating.call();
        assert_eq!((calls.get(), Rc::strong_count(&calls)), (2, 1));
    }

    #[test]
    fn cancelled_while_it_runs_it_is_dropped_when_it_returns() {
        let calls = Rc::new(Cell::new(0));
        let place: Rc<Cell<Option<Rc<Repeating>>>> = Rc::default();
        let (mut count, itself) = (counting(&calls), Rc::clone(&place));
        let repeating = Repeating::new("test", 1, move || {
            let cancelled = itself.take().unwrap();
            cancelled.cancel();
            // It is not called inside of itself either.
            cancelled.call();
            count();
        });
        place.set(Some(Rc::clone(&repeating)));
        repeating.call();
        repeating.call();
        assert_eq!((calls.get(), Rc::strong_count(&calls)), (1, 1));
    }

    #[test]
    fn a_panic_goes_on_and_the_callback_stays() {
        let calls = Rc::new(Cell::new(0));
        let mut count = counting(&calls);
        let repeating = Repeating::new("test", 1, move || {
            count();
            panic!("on purpose");
        });
        for _ in 0..2 {
            assert!(catch_unwind(AssertUnwindSafe(|| repeating.call())).is_err());
        }
        assert_eq!(calls.get(), 2);
    }
}
