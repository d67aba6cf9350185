//! The ready queue and the order of a turn.

mod support;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use support::{
    Calls, JumpingClock, Log, PanicsAtDrop, messages, reports, turns, with_jumping_loop, with_loop,
};
use tidegate_reactor::{EventLoop, Handle, Interest, LoopHandle, Queued, Source, create_future};

#[test]
fn callbacks_run_once_each_in_the_order_in_which_they_were_scheduled() {
    // L-01
    with_loop(|event_loop| {
        let log = Log::new();
        for number in 0..100 {
            event_loop.handle().call_soon(log.writes(number)).unwrap();
        }
        turns(event_loop, 3);
        assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
    });
}

struct Tick(Log<&'static str>);

impl Queued for Tick {
    fn run(self: Rc<Self>) {
        self.0.push("queued");
    }

    fn name(&self) -> String {
        "tick".to_owned()
    }
}

#[test]
fn every_way_of_scheduling_uses_the_same_queue() {
    // L-01
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let tick = Rc::new(Tick(log.clone()));
        handle.queue(tick.clone()).unwrap();
        handle.call_soon(log.writes("soon")).unwrap();
        let task = log.clone();
        drop(handle.create_task(async move { task.push("task") }).unwrap());
        handle.queue(tick).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["queued", "soon", "task", "queued"]);
    });
}

/// A loop with something queued, a source that is ready and a timer that is due, each of which writes its name
/// and schedules a callback that does so too.
fn crowded(event_loop: &EventLoop, clock: &JumpingClock, log: &Log<String>) -> impl Sized + use<> {
    let handle = event_loop.handle();
    let note = {
        let (log, handle) = (log.clone(), handle.clone());
        move |name: &'static str| {
            log.push(format!("{name} in turn {}", handle.statistics().turns));
            let (log, inner) = (log.clone(), handle.clone());
            let next =
                move || log.push(format!("after {name} in turn {}", inner.statistics().turns));
            handle.call_soon(next).unwrap();
        }
    };
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"!").unwrap();
    let once = Rc::new(Cell::new(true));
    let watcher = {
        let note = note.clone();
        Calls::new(move |_| {
            if once.take() {
                note("io");
            }
        })
    };
    let source = Source::new(&handle, far, Interest::READ, watcher).unwrap();
    let timer = note.clone();
    handle.call_later(Duration::from_secs(1), move || timer("timer")).unwrap();
    clock.advance(Duration::from_secs(1));
    handle.call_soon(move || note("queued")).unwrap();
    (near, source)
}

#[test]
fn a_turn_runs_what_was_queued_then_io_then_timers() {
    // L-02, replaced: L-02
    with_jumping_loop(|event_loop, clock| {
        let log = Log::new();
        let _ends = crowded(event_loop, clock, &log);
        event_loop.handle().call_soon(|| {}).unwrap();
        event_loop.run_until_complete(pass_three_turns()).unwrap();
        assert_eq!(
            log.take(),
            [
                "queued in turn 1",
                "io in turn 1",
                "after queued in turn 1",
                "after io in turn 1",
                "timer in turn 1",
                "after timer in turn 2",
            ]
        );
    });
}

async fn pass_three_turns() {
    let handle = LoopHandle::current().unwrap();
    let first = handle.statistics().turns;
    while handle.statistics().turns < first + 3 {
        let (promise, done) = create_future();
        handle.call_soon(move || promise.set_result(()).unwrap()).unwrap();
        done.await.unwrap();
    }
}

#[test]
fn a_turn_that_is_told_to_stop_leaves_what_its_callbacks_schedule() {
    // L-02, L-40
    with_jumping_loop(|event_loop, clock| {
        let log = Log::new();
        let _ends = crowded(event_loop, clock, &log);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["queued in turn 1", "io in turn 1", "timer in turn 1"]);
        turns(event_loop, 1);
        assert_eq!(
            log.take(),
            ["after queued in turn 2", "after io in turn 2", "after timer in turn 2"]
        );
    });
}

#[test]
fn a_batch_does_not_run_what_it_schedules() {
    // L-02
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let runs = Rc::new(Cell::new(0));
        again(&handle, &runs);
        let before = handle.statistics().turns;
        event_loop.run_until_complete(pass_three_turns()).unwrap();
        let turns = handle.statistics().turns - before;
        // Once for what was queued before the wait and once for the batch.
        assert!(runs.get() <= 2 * turns, "{} runs in {turns} turns", runs.get());
    });
}

/// Schedules itself again whenever it runs.
fn again(handle: &LoopHandle, runs: &Rc<Cell<u64>>) {
    let (own, counter) = (handle.clone(), Rc::clone(runs));
    handle
        .call_soon(move || {
            counter.set(counter.get() + 1);
            again(&own, &counter);
        })
        .unwrap();
}

#[test]
fn a_task_woken_by_io_runs_in_the_same_turn() {
    // replaced: L-02
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"!").unwrap();
        let (promise, ready) = create_future();
        let promise = Cell::new(Some(promise));
        let loop_handle = handle.clone();
        let watcher = Calls::new(move |_| {
            if let Some(promise) = promise.take() {
                promise.set_result(loop_handle.statistics().turns).unwrap();
            }
        });
        let _source = Source::new(&handle, far, Interest::READ, watcher).unwrap();
        let (found, resumed) = event_loop
            .run_until_complete(async {
                (ready.await.unwrap(), LoopHandle::current().unwrap().statistics().turns)
            })
            .unwrap();
        assert_eq!(found, resumed);
    });
}

#[test]
fn a_loop_with_something_ready_does_not_wait() {
    // L-03
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let _far = handle.call_later(Duration::from_secs(3600), || unreachable!()).unwrap();
        let runs = Rc::new(Cell::new(0));
        again(&handle, &runs);
        event_loop.run_until_complete(pass_three_turns()).unwrap();
        // Nor does one that is to stop, though nothing is ready.
        let idle = EventLoop::new().unwrap();
        turns(&idle, 1);
        idle.close().unwrap();
    });
}

#[test]
fn a_callback_cancelled_by_an_earlier_one_of_its_batch_is_skipped() {
    // L-04
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let later: Rc<RefCell<Option<Handle>>> = Rc::default();
        let victim = Rc::clone(&later);
        handle.call_soon(move || victim.borrow().as_ref().unwrap().cancel()).unwrap();
        *later.borrow_mut() = Some(handle.call_soon(log.writes("cancelled")).unwrap());
        handle.call_soon(log.writes("third")).unwrap();
        turns(event_loop, 2);
        assert_eq!(log.take(), ["third"]);
        assert_eq!(handle.statistics().steps, 2, "skipping is no step");
    });
}

#[test]
fn a_due_timer_cancelled_by_a_callback_of_its_batch_is_skipped() {
    // L-04
    with_jumping_loop(|event_loop, clock| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let second = handle.call_later(Duration::from_secs(2), log.writes("second")).unwrap();
        handle.call_later(Duration::from_secs(1), move || second.cancel()).unwrap();
        clock.advance(Duration::from_secs(3));
        turns(event_loop, 3);
        assert!(log.take().is_empty());
    });
}

#[test]
fn a_panicking_callback_is_reported_and_the_next_one_runs() {
    // L-08
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let reports = reports(&handle);
        handle.call_soon(|| panic!("the first")).unwrap();
        handle.call_soon(log.writes("second")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second"]);
        let reports = reports.take();
        assert!(reports[0].message().starts_with("Exception in callback queue::a_panicking"));
        assert_eq!(reports[0].cause().unwrap().to_string(), "panicked: the first");
        assert_eq!(reports.len(), 1);
    });
}

#[test]
fn a_callback_whose_destructor_panics_takes_nothing_down() {
    // L-08
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let reports = reports(&handle);
        let value = PanicsAtDrop;
        handle.call_soon(move || drop(value)).unwrap();
        handle.call_soon(log.writes("second")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second"]);
        assert_eq!(messages(&reports).len(), 1);
    });
}

#[test]
fn a_queued_call_whose_destructor_panics_takes_nothing_down() {
    // L-08
    struct Last {
        _value: PanicsAtDrop,
    }
    impl Queued for Last {
        fn run(self: Rc<Self>) {}
        fn name(&self) -> String {
            "last".to_owned()
        }
    }
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let reports = reports(&handle);
        handle.queue(Rc::new(Last { _value: PanicsAtDrop })).unwrap();
        handle.call_soon(log.writes("second")).unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["second"]);
        assert_eq!(messages(&reports), ["Exception in destructor"]);
    });
}

#[test]
fn a_panic_of_the_main_future_leaves_the_rest_queued() {
    // L-08
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (inner, late) = (handle.clone(), log.clone());
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            event_loop.run_until_complete(async move {
                inner.call_soon(late.writes("left in the queue")).unwrap();
                panic!("enough");
            })
        }));
        assert_eq!(left.unwrap_err().downcast_ref(), Some(&"enough"));
        assert!(log.take().is_empty());
        assert!(!event_loop.is_running() && LoopHandle::current().is_err());
        turns(event_loop, 1);
        assert_eq!(log.take(), ["left in the queue"]);
    });
}

#[test]
fn cancelling_twice_is_cancelling_once_and_having_run_is_not_being_cancelled() {
    // L-09
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let ran = handle.call_soon(log.writes("ran")).unwrap();
        let guard = log.at_drop("dropped");
        let cancelled = handle.call_soon(move || drop(guard)).unwrap();
        cancelled.cancel();
        assert_eq!(log.take(), ["dropped"], "the callback goes when it is cancelled");
        cancelled.cancel();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["ran"]);
        assert!(cancelled.cancelled() && !ran.cancelled());
    });
}

#[test]
fn a_timer_keeps_its_time_when_it_fires_or_is_cancelled() {
    // L-09
    with_jumping_loop(|event_loop, _| {
        let handle = event_loop.handle();
        let when = handle.time() + Duration::from_secs(5);
        let (stop, inner) = (handle.clone(), handle.clone());
        let fired = handle.call_at(when, move || stop.stop()).unwrap();
        let cancelled = inner.call_at(when, || unreachable!()).unwrap();
        cancelled.cancel();
        cancelled.cancel();
        event_loop.run_forever().unwrap();
        assert_eq!((fired.when(), cancelled.when()), (when, when));
        assert_eq!((fired.cancelled(), cancelled.cancelled()), (false, true));
    });
}

#[test]
fn a_callback_may_own_its_handle_and_cancel_itself() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let own: Rc<RefCell<Option<Handle>>> = Rc::default();
        let (me, guard) = (Rc::clone(&own), log.at_drop("dropped"));
        let call = move || {
            me.borrow().as_ref().unwrap().cancel();
            drop(guard);
        };
        *own.borrow_mut() = Some(handle.call_soon(call).unwrap());
        turns(event_loop, 1);
        assert_eq!(log.take(), ["dropped"]);
    });
}
