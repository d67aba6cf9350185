//! Steps, and what is done when one ends.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::{Log, messages, reports, turns, with_jumping_loop, with_loop};
use tidegate_reactor::{Deferred, LoopHandle, OfferReason, create_future};

type Seen = Log<(&'static str, OfferReason)>;
type Script = Box<dyn FnMut(&Rc<Outbox>)>;

/// A connection as far as the list is concerned: it is written to, and offers what was written.
struct Outbox {
    name: &'static str,
    handle: LoopHandle,
    touched: Cell<u64>,
    listed: Cell<bool>,
    held: Cell<bool>,
    log: Seen,
    /// Done with each offer.
    script: RefCell<Option<Script>>,
}

impl Outbox {
    fn new(name: &'static str, handle: &LoopHandle, log: &Seen) -> Rc<Outbox> {
        Rc::new(Outbox {
            name,
            handle: handle.clone(),
            touched: Cell::new(0),
            listed: Cell::new(false),
            held: Cell::new(true),
            log: log.clone(),
            script: RefCell::new(None),
        })
    }

    fn write(self: &Rc<Self>) {
        self.touched.set(self.handle.step_number());
        if !self.listed.replace(true) {
            self.handle.at_step_end(self.clone()).unwrap();
        }
    }
}

impl Deferred for Outbox {
    fn touched(&self) -> u64 {
        if self.held.get() { self.touched.get() } else { 0 }
    }

    fn offer(self: Rc<Self>, reason: OfferReason) {
        assert!(!self.handle.in_step(), "an offer is not a step");
        self.listed.set(false);
        self.log.push((self.name, reason));
        let script = self.script.take();
        if let Some(mut script) = script {
            script(&self);
            self.script.replace(Some(script));
        }
    }
}

#[test]
fn every_call_into_user_code_is_a_step_with_a_number() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        assert!(!handle.in_step());
        for _ in 0..3 {
            let (log, inner) = (log.clone(), handle.clone());
            handle.call_soon(move || log.push((inner.in_step(), inner.step_number()))).unwrap();
        }
        let before = handle.step_number();
        turns(event_loop, 1);
        let steps = [1, 2, 3].map(|step| (true, before + step));
        assert_eq!(log.take(), steps);
        assert!(!handle.in_step());
        assert_eq!(handle.statistics().steps, before + 3);
    });
}

#[test]
fn work_is_offered_when_a_step_ends_that_did_not_add_to_it() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let (first, second) =
            (Outbox::new("first", &handle, &seen), Outbox::new("second", &handle, &seen));
        let writes = |outbox: &Rc<Outbox>| {
            let outbox = Rc::clone(outbox);
            move || outbox.write()
        };
        handle.call_soon(writes(&first)).unwrap();
        handle.call_soon(writes(&first)).unwrap();
        handle.call_soon(writes(&second)).unwrap();
        let check = seen.clone();
        let held = move || assert_eq!(check.take(), [("first", OfferReason::StepEnded)]);
        handle.call_soon(held).unwrap();
        turns(event_loop, 1);
        assert_eq!(seen.take(), [("second", OfferReason::StepEnded)]);
    });
}

#[test]
fn work_is_held_for_sixteen_steps_at_most() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let outbox = Outbox::new("outbox", &handle, &seen);
        let offered_after = Log::new();
        for step in 0..40 {
            let (outbox, seen, log) = (Rc::clone(&outbox), seen.clone(), offered_after.clone());
            handle
                .call_soon(move || {
                    if !seen.take().is_empty() {
                        log.push(step);
                    }
                    outbox.write();
                })
                .unwrap();
        }
        turns(event_loop, 1);
        // Added to by 17 steps in a row, the one that put it on the list and 16 more.
        assert_eq!(offered_after.take(), [17, 34]);
    });
}

#[test]
fn work_that_is_not_to_be_held_is_offered_when_its_own_step_ends() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let outbox = Outbox::new("outbox", &handle, &seen);
        outbox.held.set(false);
        handle.call_soon(move || outbox.write()).unwrap();
        let check = seen.clone();
        handle
            .call_soon(move || assert_eq!(check.take(), [("outbox", OfferReason::StepEnded)]))
            .unwrap();
        turns(event_loop, 1);
        assert!(seen.take().is_empty());
    });
}

#[test]
fn everything_is_offered_before_the_loop_waits() {
    with_jumping_loop(|event_loop, _| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let outbox = Outbox::new("outbox", &handle, &seen);
        handle.call_soon(move || outbox.write()).unwrap();
        let (stop, check) = (handle.clone(), seen.clone());
        let timer = move || {
            assert_eq!(check.take(), [("outbox", OfferReason::Waiting)]);
            stop.stop();
        };
        handle.call_later(Duration::from_secs(1), timer).unwrap();
        event_loop.run_forever().unwrap();
        assert!(seen.take().is_empty());
    });
}

#[test]
fn everything_is_offered_before_a_run_returns() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let outbox = Outbox::new("outbox", &handle, &seen);
        handle.call_soon(move || outbox.write()).unwrap();
        turns(event_loop, 1);
        assert_eq!(seen.take(), [("outbox", OfferReason::Leaving)]);
    });
}

#[test]
fn everything_is_offered_before_a_run_unwinds() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let outbox = Outbox::new("outbox", &handle, &seen);
        // Held, because the step that panics has added to it.
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            event_loop.run_until_complete(async {
                outbox.write();
                panic!("after writing");
            })
        }));
        assert!(unwound.is_err());
        assert_eq!(seen.take(), [("outbox", OfferReason::Leaving)]);
        assert!(!handle.in_step());
    });
}

#[test]
fn work_put_off_while_no_step_runs_waits_for_the_next_run() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        Outbox::new("outbox", &handle, &seen).write();
        assert!(seen.take().is_empty());
        turns(event_loop, 1);
        assert_eq!(seen.take(), [("outbox", OfferReason::Waiting)]);
    });
}

#[test]
fn all_work_can_be_asked_for_inside_of_a_step() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let outbox = Outbox::new("outbox", &handle, &seen);
        let (inner, check) = (handle.clone(), seen.clone());
        handle
            .call_soon(move || {
                outbox.write();
                inner.offer_all();
                assert_eq!(check.take(), [("outbox", OfferReason::Asked)]);
                assert!(inner.in_step(), "the step goes on");
            })
            .unwrap();
        turns(event_loop, 1);
        assert!(seen.take().is_empty());
        assert_eq!(handle.statistics().offers, 1);
    });
}

#[test]
fn work_is_offered_in_the_order_in_which_it_was_put_off() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let boxes: Vec<_> =
            ["a", "b", "c", "d"].map(|name| Outbox::new(name, &handle, &seen)).into();
        handle.call_soon(move || boxes.iter().for_each(Outbox::write)).unwrap();
        handle.call_soon(|| {}).unwrap();
        turns(event_loop, 1);
        assert!(seen.take().iter().map(|offer| offer.0).eq(["a", "b", "c", "d"]));
    });
}

#[test]
fn notices_are_steps_and_the_pass_goes_on_until_nothing_is_left() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let (first, second) =
            (Outbox::new("first", &handle, &seen), Outbox::new("second", &handle, &seen));
        let log = Log::new();
        let (inner, noted, other) = (handle.clone(), log.clone(), Rc::clone(&second));
        // The first offer owes its protocol a callback, which writes to another connection and to its own.
        let mut notices = 2;
        first.script.replace(Some(Box::new(move |outbox: &Rc<Outbox>| {
            if notices == 0 {
                return;
            }
            notices -= 1;
            let answer = inner.step(&|| "a notice".to_owned(), || {
                noted.push((inner.in_step(), inner.step_number()));
                other.write();
                outbox.write();
                7
            });
            assert_eq!(answer, Some(7));
        })));
        let before = handle.step_number();
        let writer = Rc::clone(&first);
        handle.call_soon(move || writer.write()).unwrap();
        handle.call_soon(|| {}).unwrap();
        let (check, all) = (seen.clone(), first);
        handle
            .call_soon(move || {
                let names: Vec<_> = check.take().iter().map(|offer| offer.0).collect();
                assert_eq!(names, ["first"]);
                assert!(all.listed.get(), "the notice has added to it: it is held");
            })
            .unwrap();
        turns(event_loop, 1);
        let names: Vec<_> = seen.take().iter().map(|offer| offer.0).collect();
        assert_eq!(names, ["second", "first", "second", "first"]);
        let notices = log.take();
        assert_eq!(notices.len(), 2);
        assert!(notices[0].0 && notices[0].1 > before + 2);
        drop(second);
    });
}

#[test]
fn an_offer_may_ask_for_all_work() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let boxes: Vec<_> = ["a", "b", "c"].map(|name| Outbox::new(name, &handle, &seen)).into();
        let inner = handle.clone();
        boxes[0].script.replace(Some(Box::new(move |_| inner.offer_all())));
        handle.call_soon(move || boxes.iter().for_each(Outbox::write)).unwrap();
        handle.call_soon(|| {}).unwrap();
        turns(event_loop, 1);
        assert_eq!(
            seen.take(),
            [("a", OfferReason::StepEnded), ("b", OfferReason::Asked), ("c", OfferReason::Asked)]
        );
    });
}

#[test]
fn work_that_feeds_itself_does_not_keep_the_loop_from_turning() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let outbox = Outbox::new("endless", &handle, &seen);
        outbox.held.set(false);
        outbox.script.replace(Some(Box::new(|outbox: &Rc<Outbox>| outbox.write())));
        let writer = Rc::clone(&outbox);
        handle.call_soon(move || writer.write()).unwrap();
        let (promise, served) = create_future();
        handle
            .call_later(Duration::from_millis(1), move || {
                promise.set_result(()).unwrap();
            })
            .unwrap();
        event_loop.run_until_complete(served).unwrap().unwrap();
        drop(outbox.script.take());
        seen.take();
    });
}

#[test]
fn an_offer_that_panics_is_reported_and_the_others_are_made() {
    with_loop(|event_loop| {
        let (seen, handle) = (Seen::new(), event_loop.handle());
        let reports = reports(&handle);
        let (first, second) =
            (Outbox::new("first", &handle, &seen), Outbox::new("second", &handle, &seen));
        first.script.replace(Some(Box::new(|_| panic!("an offer that panics"))));
        handle
            .call_soon(move || {
                first.write();
                second.write();
            })
            .unwrap();
        turns(event_loop, 1);
        assert_eq!(seen.take().len(), 2);
        assert_eq!(messages(&reports), ["Exception at the end of a step"]);
    });
}

#[test]
fn a_notice_that_panics_is_reported_with_its_name() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        assert_eq!(handle.step(&|| "outside".to_owned(), || -> u8 { panic!("one") }), None);
        let inner = handle.clone();
        handle
            .call_soon(move || {
                let none = inner.step(&|| "inside".to_owned(), || -> u8 { panic!("two") });
                assert_eq!(none, None);
                assert!(inner.in_step());
            })
            .unwrap();
        turns(event_loop, 1);
        assert_eq!(
            messages(&reports),
            ["Exception in callback outside", "Exception in callback inside"]
        );
    });
}

#[test]
fn the_shared_buffer_is_lent_to_one_user_at_a_time() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        handle.with_read_buffer(|outer| {
            assert_eq!(outer.len(), tidegate_reactor::READ_SIZE);
            outer[0] = 1;
            handle.with_read_buffer(|inner| {
                assert_eq!(inner.len(), tidegate_reactor::READ_SIZE);
                inner[0] = 2;
            });
            assert_eq!(outer[0], 1);
        });
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            handle.with_read_buffer(|_| panic!("with the buffer in hand"));
        }));
        assert!(unwound.is_err());
        assert_eq!(handle.shared_buffer().len(), tidegate_reactor::READ_SIZE);
    });
}
