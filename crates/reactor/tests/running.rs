//! Running and stopping.

mod support;

use std::cell::Cell;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::{Log, turns, watched, with_jumping_loop, with_loop};
use tidegate_reactor::{EventLoop, LoopError, LoopHandle, create_future};

#[test]
fn a_loop_that_was_stopped_before_it_runs_makes_one_turn() {
    // L-40
    with_jumping_loop(|event_loop, clock| {
        let (log, handle) = (Log::new(), event_loop.handle());
        handle.call_soon(log.writes("queued")).unwrap();
        handle.call_later(Duration::ZERO, log.writes("due")).unwrap();
        handle.call_later(Duration::from_secs(1), log.writes("not due")).unwrap();
        event_loop.stop();
        event_loop.run_forever().unwrap();
        assert_eq!(log.take(), ["queued", "due"]);
        assert_eq!(handle.statistics().turns, 1);
        clock.advance(Duration::from_secs(1));
        turns(event_loop, 1);
        assert_eq!(log.take(), ["not due"]);
    });
}

#[test]
fn stop_finishes_the_batch_and_leaves_what_it_schedules() {
    // L-40
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (inner, late) = (handle.clone(), log.clone());
        let stops = move || {
            inner.stop();
            inner.call_soon(late.writes("next run")).unwrap();
        };
        handle.call_soon(stops).unwrap();
        handle.call_soon(log.writes("same batch")).unwrap();
        event_loop.run_forever().unwrap();
        assert_eq!(log.take(), ["same batch"]);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["next run"]);
    });
}

#[test]
fn stop_in_the_second_batch_of_a_turn_finishes_that_one() {
    // L-40
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (inner, late) = (handle.clone(), log.clone());
        let first = move || {
            let (stop, last) = (inner.clone(), late.clone());
            let second = move || {
                stop.stop();
                stop.call_soon(last.writes("next run")).unwrap();
            };
            inner.call_soon(second).unwrap();
            inner.call_soon(late.writes("same batch")).unwrap();
        };
        handle.call_soon(first).unwrap();
        event_loop.run_forever().unwrap();
        assert_eq!(log.take(), ["same batch"]);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["next run"]);
    });
}

#[test]
fn a_stop_does_not_outlive_its_run() {
    // L-40
    with_loop(|event_loop| {
        turns(event_loop, 1);
        let handle = event_loop.handle();
        handle
            .call_later(Duration::from_millis(1), {
                let stop = handle.clone();
                move || stop.stop()
            })
            .unwrap();
        let before = event_loop.time();
        event_loop.run_forever().unwrap();
        assert!(event_loop.time() - before >= Duration::from_millis(1));
    });
}

#[test]
fn run_until_complete_gives_the_output() {
    // L-41
    with_loop(|event_loop| {
        let borrowed = String::from("not static");
        assert_eq!(event_loop.run_until_complete(async { borrowed.len() }).unwrap(), 10);
        let failed: Result<(), &str> = event_loop.run_until_complete(ready(Err("no"))).unwrap();
        assert_eq!(failed, Err("no"));
    });
}

#[test]
fn run_until_complete_fails_if_the_loop_is_stopped_first() {
    // L-41
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let guard = log.at_drop("dropped");
        let stop = handle.clone();
        handle.call_soon(move || stop.stop()).unwrap();
        let result = event_loop.run_until_complete(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        assert_eq!(result, Err(LoopError::Stopped));
        assert_eq!(LoopError::Stopped.to_string(), "Event loop stopped before Future completed.");
        assert_eq!(log.take(), ["dropped"]);
    });
}

#[test]
fn no_run_is_stopped_by_what_an_earlier_one_left_behind() {
    // L-41
    with_loop(|event_loop| {
        // The future is done, and its end not yet noticed, when the loop is stopped.
        let handle = event_loop.handle();
        let result = event_loop.run_until_complete(async { handle.stop() });
        assert_eq!(result, Ok(()));
        let (promise, answer) = create_future();
        handle
            .call_later(Duration::from_millis(1), move || promise.set_result(1).unwrap())
            .unwrap();
        assert_eq!(event_loop.run_until_complete(answer), Ok(Ok(1)));
    });
}

#[test]
fn run_forever_is_not_stopped_by_the_end_of_an_earlier_main_future() {
    // L-41
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let stop = handle.clone();
        // Its end is queued, and left there.
        event_loop.run_until_complete(async { stop.stop() }).unwrap();
        let (stop, late) = (handle.clone(), log.clone());
        let timer = move || {
            late.push("fired");
            stop.stop();
        };
        handle.call_later(Duration::from_millis(1), timer).unwrap();
        event_loop.run_forever().unwrap();
        assert_eq!(log.take(), ["fired"]);
    });
}

#[test]
fn a_stopped_run_can_be_taken_up_again() {
    // L-41
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (promise, answer) = create_future();
        let mut answer = answer;
        let stop = handle.clone();
        handle.call_soon(move || stop.stop()).unwrap();
        assert_eq!(event_loop.run_until_complete(&mut answer), Err(LoopError::Stopped));
        handle.call_soon(move || promise.set_result("late").unwrap()).unwrap();
        assert_eq!(event_loop.run_until_complete(&mut answer), Ok(Ok("late")));
    });
}

#[test]
fn the_end_of_the_main_future_is_noticed_behind_what_is_queued() {
    // L-42
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (inner, late) = (handle.clone(), log.clone());
        event_loop
            .run_until_complete(async move {
                inner.call_soon(late.writes("scheduled by main")).unwrap();
            })
            .unwrap();
        assert_eq!(log.take(), ["scheduled by main"]);
        assert_eq!(handle.statistics().ready, 0);
    });
}

#[test]
fn a_running_loop_cannot_be_run() {
    // L-43, L-44
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        event_loop
            .run_until_complete(async {
                assert_eq!(event_loop.run_forever(), Err(LoopError::AlreadyRunning));
                let dropped = Rc::new(());
                let held = Rc::clone(&dropped);
                let nested = event_loop.run_until_complete(async move { drop(held) });
                assert_eq!(nested, Err(LoopError::AlreadyRunning));
                assert_eq!(Rc::strong_count(&dropped), 1);
                assert!(event_loop.is_running() && LoopHandle::current().is_ok());
                // The run goes on as if nothing had been tried.
                let (promise, answer) = create_future();
                handle.call_soon(move || promise.set_result(()).unwrap()).unwrap();
                answer.await.unwrap();
            })
            .unwrap();
        assert_eq!(LoopError::AlreadyRunning.to_string(), "This event loop is already running");
    });
}

#[test]
fn another_loop_cannot_be_run_inside_of_a_running_one() {
    // L-43, L-44
    with_loop(|event_loop| {
        let other = EventLoop::new().unwrap();
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        other.handle().call_soon(move || flag.set(true)).unwrap();
        event_loop
            .run_until_complete(async {
                assert_eq!(other.run_forever(), Err(LoopError::OtherRunning));
                assert_eq!(other.run_until_complete(async {}), Err(LoopError::OtherRunning));
                assert!(event_loop.is_running() && !other.is_running());
                let current = LoopHandle::current().unwrap();
                assert!(current.is_running());
            })
            .unwrap();
        assert!(!ran.get());
        turns(&other, 1);
        assert!(ran.get());
        assert_eq!(
            LoopError::OtherRunning.to_string(),
            "Cannot run the event loop while another loop is running"
        );
        other.close().unwrap();
    });
}

#[test]
fn a_task_of_another_loop_can_be_waited_for() {
    // replaced: L-45
    with_loop(|event_loop| {
        let other = EventLoop::new().unwrap();
        let task = other.handle().create_task(async { 5 }).unwrap();
        turns(&other, 1);
        assert_eq!(event_loop.run_until_complete(task).unwrap().unwrap(), 5);
        other.close().unwrap();
    });
}

#[test]
fn the_running_loop_is_found_only_while_it_runs() {
    with_loop(|event_loop| {
        assert_eq!(LoopHandle::current().unwrap_err(), LoopError::NotRunning);
        event_loop.run_until_complete(async { assert!(LoopHandle::current().is_ok()) }).unwrap();
        assert_eq!(LoopHandle::current().unwrap_err(), LoopError::NotRunning);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            event_loop.run_until_complete(async { panic!("out of here") })
        }));
        assert!(panicked.is_err());
        assert_eq!(LoopHandle::current().unwrap_err(), LoopError::NotRunning);
        assert!(!event_loop.is_running());
    });
}

#[test]
fn what_the_main_future_drops_at_its_end_still_finds_the_loop() {
    struct Looks(Rc<Cell<bool>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            self.0.set(LoopHandle::current().is_ok());
        }
    }
    watched(|| {
        let event_loop = EventLoop::new().unwrap();
        let found = Rc::new(Cell::new(false));
        let looks = Looks(Rc::clone(&found));
        event_loop.stop();
        let stopped = event_loop.run_until_complete(async move {
            let _looks = looks;
            pending::<()>().await;
        });
        assert_eq!(stopped, Err(LoopError::Stopped));
        assert!(found.get());
        event_loop.close().unwrap();
    });
}

#[test]
fn a_main_future_woken_many_times_is_polled_once() {
    with_loop(|event_loop| {
        let polls = Cell::new(0);
        let result = event_loop.run_until_complete(std::future::poll_fn(|context| {
            polls.set(polls.get() + 1);
            if polls.get() == 2 {
                return std::task::Poll::Ready(());
            }
            for _ in 0..10 {
                context.waker().wake_by_ref();
            }
            std::task::Poll::Pending
        }));
        assert_eq!((result, polls.get()), (Ok(()), 2));
    });
}
