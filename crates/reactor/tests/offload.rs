//! The loop's pool of threads.

mod support;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use support::{messages, reports, with_loop};
use tidegate_reactor::{LoopError, OffloadError, sleep};

// L-32
#[test]
fn a_call_runs_on_a_named_thread_and_gives_its_value() {
    with_loop(|event_loop| {
        let call = event_loop.handle().run_in_executor(|| {
            let current = thread::current();
            (current.id(), current.name().map(str::to_owned))
        });
        let (id, name) = event_loop.run_until_complete(call).unwrap().unwrap();
        assert_ne!(id, thread::current().id());
        assert_eq!(name.as_deref(), Some("tidegate-0"));
    });
}

// L-32
#[test]
fn a_call_starts_though_nobody_awaits_it() {
    with_loop(|event_loop| {
        let (send, receive) = mpsc::channel();
        let call = event_loop.handle().run_in_executor(move || send.send(()).unwrap());
        receive.recv().unwrap();
        event_loop.run_until_complete(call).unwrap().unwrap();
    });
}

// L-32
#[test]
fn dropping_the_future_interrupts_nothing_and_drops_the_result_there() {
    with_loop(|event_loop| {
        struct Result(mpsc::Sender<thread::ThreadId>);
        impl Drop for Result {
            fn drop(&mut self) {
                self.0.send(thread::current().id()).unwrap();
            }
        }

        let (go, wait) = mpsc::channel::<()>();
        let (send, receive) = mpsc::channel();
        let call = event_loop.handle().run_in_executor(move || {
            wait.recv().unwrap();
            Result(send)
        });
        drop(call);
        go.send(()).unwrap();
        assert_ne!(receive.recv().unwrap(), thread::current().id());
    });
}

#[test]
fn a_panic_is_the_answer_and_harms_no_other_call() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let call = handle.run_in_executor(|| panic!("on purpose"));
        let Err(OffloadError::Panicked(payload)) =
            event_loop.run_until_complete::<_>(call).unwrap()
        else {
            panic!("no panic came");
        };
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose"));
        let text = OffloadError::Panicked(payload).to_string();
        assert!(text.ends_with("panicked: on purpose"), "{text}");

        let call = handle.run_in_executor(|| "the next one");
        assert_eq!(event_loop.run_until_complete(call).unwrap().unwrap(), "the next one");
    });
}

#[test]
fn calls_run_side_by_side() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        // There are always five threads at least, and these need each other.
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(5));
        let calls: Vec<_> = (0..5)
            .map(|_| {
                let barrier = barrier.clone();
                handle.run_in_executor(move || barrier.wait().is_leader())
            })
            .collect();
        let leaders = event_loop.run_until_complete(async {
            let mut leaders = 0;
            for call in calls {
                leaders += usize::from(call.await.unwrap());
            }
            leaders
        });
        assert_eq!(leaders, Ok(1));
    });
}

#[test]
fn more_calls_than_threads_wait_for_their_turn() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let calls: Vec<_> = (0..500_u32).map(|n| handle.run_in_executor(move || n)).collect();
        let sum = event_loop.run_until_complete(async {
            let mut sum = 0;
            for call in calls {
                sum += call.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, Ok(499 * 500 / 2));
    });
}

// L-33
#[test]
fn shutting_down_waits_for_what_was_given_and_refuses_more() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (go, wait) = mpsc::channel::<()>();
        let call = handle.run_in_executor(move || wait.recv().unwrap());
        let turned = Rc::new(Cell::new(false));
        handle
            .call_later(Duration::ZERO, {
                let turned = Rc::clone(&turned);
                move || {
                    turned.set(true);
                    go.send(()).unwrap();
                }
            })
            .unwrap();
        assert!(event_loop.run_until_complete(handle.shutdown_default_executor(None)).unwrap());
        assert!(turned.get(), "the loop went on meanwhile");
        event_loop.run_until_complete(call).unwrap().unwrap();

        let late = event_loop.run_until_complete(handle.run_in_executor(|| ())).unwrap();
        let error = late.unwrap_err();
        assert!(matches!(error, OffloadError::ShutDown));
        assert_eq!(error.to_string(), "Executor shutdown has been called");
        assert!(event_loop.run_until_complete(handle.shutdown_default_executor(None)).unwrap());
    });
}

// L-34
#[test]
fn a_shutdown_that_takes_too_long_warns_and_leaves_the_threads() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        let (go, wait) = mpsc::channel::<()>();
        let call = handle.run_in_executor(move || wait.recv().unwrap());
        let limit = Some(Duration::from_millis(1));
        assert!(!event_loop.run_until_complete(handle.shutdown_default_executor(limit)).unwrap());
        let text = "The executor did not finish joining its threads within 0.001 seconds";
        assert_eq!(messages(&reports), [text]);

        go.send(()).unwrap();
        event_loop.run_until_complete(call).unwrap().unwrap();
        let limit = Some(Duration::from_secs(1 << 40));
        assert!(event_loop.run_until_complete(handle.shutdown_default_executor(limit)).unwrap());
        assert_eq!(handle.statistics().timers, 0);
    });
}

// L-50, L-51
#[test]
fn closing_does_not_wait_and_later_results_are_dropped_quietly() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (go, wait) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let call = handle.run_in_executor(move || wait.recv().unwrap());
        let queued: Vec<_> = (0..40)
            .map(|_| {
                let ended = ended.clone();
                handle.run_in_executor(move || drop(ended))
            })
            .collect();
        drop(ended);
        // The loop has waited for it once, so the pool knows a waker of a loop that is gone.
        let task = handle.spawn(call).unwrap();
        event_loop.run_until_complete(sleep(Duration::ZERO)).unwrap().unwrap();
        event_loop.close().unwrap();
        drop((task, queued));

        let mut late = pin!(handle.run_in_executor(|| ()));
        let Poll::Ready(refused) = late.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("a closed loop has a pool");
        };
        let error = refused.unwrap_err();
        assert!(matches!(error, OffloadError::Closed));
        assert_eq!(error.to_string(), LoopError::Closed.to_string());

        // What was given before runs to its end all the same.
        go.send(()).unwrap();
        assert!(end.recv().is_err());
    });
}
