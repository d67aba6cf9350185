//! Promises, sleeping, time limits, and fairness.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{self, Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use support::{watched, with_jumping_loop, with_loop};
use tidegate_reactor::{
    Abandoned, Clock, LoopError, TimeoutError, budget, create_future, sleep, timeout,
};

/// Counts how often it wakes.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Counter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_promise_kept_before_or_after_the_first_poll_is_the_value() {
    with_loop(|event_loop| {
        let (promise, answer) = create_future();
        assert_eq!(promise.set_result(1), Ok(()));
        assert!(answer.is_done());
        assert_eq!(promise.set_result(2), Err(2), "a promise is kept once");
        assert_eq!(event_loop.run_until_complete(answer), Ok(Ok(1)));
        assert_eq!(promise.set_result(3), Err(3));

        let (promise, answer) = create_future();
        assert!(!answer.is_done());
        let handle = event_loop.handle();
        let waited = event_loop.run_until_complete(async {
            handle.call_soon(move || promise.set_result(2).unwrap()).unwrap();
            answer.await
        });
        assert_eq!(waited, Ok(Ok(2)));
    });
}

#[test]
fn a_dropped_promise_is_abandoned() {
    with_loop(|event_loop| {
        let (promise, answer) = create_future::<()>();
        let handle = event_loop.handle();
        let waited = event_loop.run_until_complete(async {
            handle.call_soon(move || drop(promise)).unwrap();
            answer.await
        });
        assert_eq!(waited, Ok(Err(Abandoned)));
        assert_eq!(io::Error::from(Abandoned).kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_promise_knows_that_nobody_waits() {
    with_loop(|event_loop| {
        let (promise, answer) = create_future();
        assert!(!promise.is_abandoned());
        drop(answer);
        assert!(promise.is_abandoned());
        assert_eq!(promise.set_result("unwanted"), Err("unwanted"));

        let (mut promise, answer) = create_future::<()>();
        let handle = event_loop.handle();
        event_loop
            .run_until_complete(async {
                handle.call_soon(move || drop(answer)).unwrap();
                promise.closed().await;
            })
            .unwrap();
        assert!(promise.is_abandoned());
    });
}

#[test]
fn each_side_wakes_the_other_once_and_the_latest_task_only() {
    watched(|| {
        let (first, last) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
        let (promise, answer) = create_future();
        let mut answer = pin!(answer);
        for counter in [&first, &last, &last] {
            let waker = Waker::from(Arc::clone(counter));
            assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        promise.set_result(()).unwrap();
        assert_eq!((first.count(), last.count()), (0, 1));
        assert_eq!(Arc::strong_count(&last), 1, "no waker is kept");

        let waiting = Arc::new(Counter::default());
        let (mut promise, answer) = create_future::<()>();
        let waker = Waker::from(Arc::clone(&waiting));
        let mut closed = pin!(promise.closed());
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(answer);
        assert_eq!(waiting.count(), 1);
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    });
}

#[test]
fn nothing_is_borrowed_while_a_waker_drops_the_future_it_is_woken_for() {
    thread_local! {
        static WAITING: RefCell<Option<Pin<Box<tidegate_reactor::Future<SetOnDrop>>>>> =
            const { RefCell::new(None) };
    }
    struct Dropping;
    impl Wake for Dropping {
        fn wake(self: Arc<Self>) {
            drop(WAITING.take());
        }
    }

    watched(|| {
        let dropped = Rc::new(Cell::new(false));
        let (promise, answer) = create_future();
        let mut answer = Box::pin(answer);
        let waker = Waker::from(Arc::new(Dropping));
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        WAITING.set(Some(answer));
        assert!(promise.set_result(SetOnDrop(Rc::clone(&dropped))).is_ok());
        assert!(dropped.get());
    });
}

// L-20
#[test]
fn sleep_takes_the_time_it_was_given_by_the_clock_of_the_loop() {
    with_jumping_loop(|event_loop, clock| {
        for duration in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(1 << 30)] {
            let before = clock.now();
            event_loop.run_until_complete(sleep(duration)).unwrap().unwrap();
            assert!(clock.now() >= before + duration, "{duration:?}");
        }
    });
}

// L-20
#[test]
fn a_sleep_without_end_can_be_dropped() {
    with_loop(|event_loop| {
        for duration in [Duration::from_secs(1 << 55), Duration::from_secs(u64::MAX), Duration::MAX]
        {
            event_loop
                .run_until_complete(async {
                    let mut forever = pin!(sleep(duration));
                    let pending =
                        poll_fn(|context| Poll::Ready(forever.as_mut().poll(context).is_pending()));
                    assert!(pending.await);
                    assert!(timeout(duration, async { 7 }).await.is_ok());
                })
                .unwrap();
            assert_eq!(event_loop.handle().statistics().timers, 0, "{duration:?}");
        }
    });
}

#[test]
fn sleep_and_timeout_need_a_loop_when_they_are_polled_not_when_they_are_made() {
    with_loop(|event_loop| {
        let waker = Waker::noop();
        let mut context = Context::from_waker(waker);
        let mut lost = pin!(sleep(Duration::ZERO));
        assert_eq!(lost.as_mut().poll(&mut context), Poll::Ready(Err(LoopError::NotRunning)));
        let mut lost = pin!(timeout(Duration::ZERO, async { unreachable!() }));
        assert!(matches!(
            lost.as_mut().poll(&mut context),
            Poll::Ready(Err::<(), _>(TimeoutError::Loop(LoopError::NotRunning)))
        ));

        let made_outside = sleep(Duration::ZERO);
        assert_eq!(event_loop.run_until_complete(made_outside), Ok(Ok(())));
    });
}

#[test]
fn a_sleep_that_outlives_its_loop_says_so() {
    with_loop(|event_loop| {
        let mut outliving = pin!(sleep(Duration::MAX));
        event_loop
            .run_until_complete(poll_fn(|context| {
                assert!(outliving.as_mut().poll(context).is_pending());
                Poll::Ready(())
            }))
            .unwrap();

        event_loop.close().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(outliving.as_mut().poll(&mut context), Poll::Ready(Err(LoopError::Closed)));
    });
}

#[test]
fn a_timeout_gives_the_output_or_elapses() {
    with_jumping_loop(|event_loop, clock| {
        let started = clock.now();
        let in_time = timeout(Duration::from_secs(2), async {
            sleep(Duration::from_secs(1)).await.unwrap();
            "done"
        });
        assert_eq!(event_loop.run_until_complete(in_time).unwrap().unwrap(), "done");
        assert_eq!(clock.now() - started, Duration::from_secs(1));

        let dropped = Rc::new(Cell::new(false));
        let guard = SetOnDrop(Rc::clone(&dropped));
        let too_late = timeout(Duration::from_secs(1), async move {
            let _guard = guard;
            future::pending::<()>().await;
        });
        let error = event_loop.run_until_complete(too_late).unwrap().unwrap_err();
        assert!(matches!(error, TimeoutError::Elapsed));
        assert!(dropped.get());
        assert_eq!(clock.now() - started, Duration::from_secs(2));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
        assert_eq!(event_loop.handle().statistics().timers, 0);
    });
}

struct SetOnDrop(Rc<Cell<bool>>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn the_inner_result_wins_a_tie() {
    with_jumping_loop(|event_loop, _| {
        let second = Duration::from_secs(1);
        // The limit's timer is made after the sleep's in one case and before it in the other.
        let tie = timeout(second, sleep(second));
        assert!(event_loop.run_until_complete(tie).unwrap().is_ok());
        let tie = timeout(second, async move {
            let mut turns = 0;
            let mut slept = pin!(sleep(second));
            poll_fn(|context| {
                turns += 1;
                if turns == 1 {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                slept.as_mut().poll(context)
            })
            .await
        });
        assert!(event_loop.run_until_complete(tie).unwrap().is_ok());
    });
}

#[test]
fn a_step_completes_128_operations_and_then_yields_once() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        event_loop
            .run_until_complete(async {
                let mut yields = Vec::new();
                for operation in 0..300 {
                    let step = handle.step_number();
                    poll_fn(budget::poll_proceed).await;
                    if handle.step_number() != step {
                        yields.push(operation);
                    }
                }
                assert_eq!(yields, [128, 256]);
            })
            .unwrap();
    });
}

#[test]
fn a_wait_renews_the_budget_and_no_loop_has_none() {
    with_loop(|event_loop| {
        let mut context = Context::from_waker(Waker::noop());
        assert!((0..1_000).all(|_| budget::poll_proceed(&mut context).is_ready()));

        let handle = event_loop.handle();
        event_loop
            .run_until_complete(async {
                for _ in 0..10 {
                    let step = handle.step_number();
                    for _ in 0..budget::COMPLETIONS_PER_STEP {
                        poll_fn(budget::poll_proceed).await;
                    }
                    assert_eq!(handle.step_number(), step);
                    sleep(Duration::ZERO).await.unwrap();
                }
            })
            .unwrap();
    });
}
