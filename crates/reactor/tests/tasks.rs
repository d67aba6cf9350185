//! Tasks: spawned, joined, cancelled, and dropped with their loop.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use support::{Log, PanicsAtDrop, messages, reports, turns, with_loop};
use tidegate_reactor::{JoinError, JoinHandle, LoopError, TaskPanic, create_future, spawn};

/// Yields once.
async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[test]
fn a_task_gives_its_result_to_whoever_waits_for_it() {
    with_loop(|event_loop| {
        let sum = event_loop.run_until_complete(async {
            let tasks = (0..10).map(|number| {
                spawn(async move {
                    give_way().await;
                    number
                })
                .unwrap()
            });
            let tasks: Vec<JoinHandle<i32>> = tasks.collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, Ok(45));
        assert_eq!(event_loop.handle().statistics().tasks, 0);
    });
}

#[test]
fn spawning_needs_a_running_loop() {
    let dropped = Rc::new(());
    let held = Rc::clone(&dropped);
    assert_eq!(spawn(async move { drop(held) }).unwrap_err(), LoopError::NotRunning);
    assert_eq!(Rc::strong_count(&dropped), 1);
}

#[test]
fn dropping_the_handle_detaches_the_task() {
    with_loop(|event_loop| {
        let log = Log::new();
        let (noted, guard) = (log.clone(), log.at_drop("future dropped"));
        drop(event_loop.handle().create_task(async move {
            let _guard = guard;
            give_way().await;
            noted.push("done");
        }));
        turns(event_loop, 3);
        assert_eq!(log.take(), ["done", "future dropped"]);
        assert_eq!(event_loop.handle().statistics().tasks, 0);
    });
}

#[test]
fn cancelling_drops_the_future_in_a_step_of_its_own() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let guard = log.at_drop("future dropped");
        let task = handle
            .create_task(async move {
                let _guard = guard;
                pending::<()>().await;
            })
            .unwrap();
        turns(event_loop, 1);
        assert!(task.cancel() && task.abort());
        assert!(log.take().is_empty() && !task.is_finished());
        turns(event_loop, 1);
        assert_eq!(log.take(), ["future dropped"]);
        assert!(task.is_finished() && !task.cancel());
        let result = event_loop.run_until_complete(task).unwrap();
        assert!(result.unwrap_err().is_cancelled());
    });
}

#[test]
fn a_task_cancelled_before_its_first_poll_never_runs() {
    with_loop(|event_loop| {
        let task = event_loop.handle().create_task(async { unreachable!() }).unwrap();
        task.cancel();
        let result: Result<(), _> = event_loop.run_until_complete(task).unwrap();
        assert!(matches!(result, Err(JoinError::Cancelled)));
    });
}

#[test]
fn a_task_that_cancels_itself_ends_at_its_next_wait() {
    with_loop(|event_loop| {
        let log = Log::new();
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let (me, noted, guard) = (Rc::clone(&own), log.clone(), log.at_drop("future dropped"));
        let task = event_loop.handle().create_task(async move {
            let _guard = guard;
            me.borrow().as_ref().unwrap().cancel();
            noted.push("goes on");
            pending::<()>().await;
        });
        *own.borrow_mut() = Some(task.unwrap());
        turns(event_loop, 2);
        assert_eq!(log.take(), ["goes on", "future dropped"]);
        let task = own.take().unwrap();
        assert!(event_loop.run_until_complete(task).unwrap().is_err());
    });
}

#[test]
fn a_task_that_ends_in_the_step_in_which_it_is_cancelled_keeps_its_result() {
    with_loop(|event_loop| {
        let own: Rc<RefCell<Option<JoinHandle<u8>>>> = Rc::default();
        let me = Rc::clone(&own);
        let task = event_loop.handle().create_task(async move {
            me.borrow().as_ref().unwrap().cancel();
            3
        });
        *own.borrow_mut() = Some(task.unwrap());
        turns(event_loop, 2);
        let task = own.take().unwrap();
        assert_eq!(event_loop.run_until_complete(task).unwrap().unwrap(), 3);
    });
}

#[test]
fn a_handle_may_be_tied_to_its_task() {
    with_loop(|event_loop| {
        let log = Log::new();
        let guard = log.at_drop("future dropped");
        let task = event_loop.handle().create_task(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        drop(task.unwrap().cancel_on_drop());
        turns(event_loop, 1);
        assert_eq!(log.take(), ["future dropped"]);
    });
}

#[test]
fn a_panic_goes_to_whoever_waits() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        let task = handle.create_task(async { panic!("to the joiner") }).unwrap();
        let result: Result<(), _> = event_loop.run_until_complete(task).unwrap();
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: to the joiner");
        assert_eq!(io::Error::from(error).to_string(), "the task panicked: to the joiner");
        assert!(reports.take().is_empty());

        let task = handle.create_task(async { panic!("on and on") }).unwrap();
        let result: Result<(), _> = event_loop.run_until_complete(task).unwrap();
        let Err(JoinError::Panicked(panic)) = result else { unreachable!() };
        assert_eq!(panic.text(), "on and on");
        assert_eq!(panic.into_payload().downcast_ref(), Some(&"on and on"));
    });
}

#[test]
fn a_join_error_goes_wherever_errors_go() {
    let boxed: Box<dyn std::error::Error + Send + Sync> = JoinError::Cancelled.into();
    assert_eq!(boxed.to_string(), "the task was cancelled");
    fn is_sync<T: Send + Sync + 'static>() {}
    is_sync::<TaskPanic>();
}

#[test]
fn a_panic_that_nobody_waits_for_is_reported() {
    // L-59
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        drop(handle.create_task(async { panic!("detached") }));
        turns(event_loop, 1);
        let kept = handle.create_task(async { panic!("kept for a while") }).unwrap();
        turns(event_loop, 1);
        assert!(kept.is_finished());
        drop(kept);
        let told = reports.take();
        assert_eq!(told.len(), 2);
        for (report, text) in told.iter().zip(["detached", "kept for a while"]) {
            assert_eq!(report.message(), "Task exception was never retrieved");
            assert_eq!(report.cause().unwrap().to_string(), format!("panicked: {text}"));
            assert!(report.keys().eq(["exception", "message", "task"]));
        }
    });
}

/// Panics whenever it is used.
struct Angry(Cell<bool>);

impl Future for Angry {
    type Output = PanicsAtDrop;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<PanicsAtDrop> {
        if self.0.get() { Poll::Ready(PanicsAtDrop) } else { panic!("polled") }
    }
}

impl Drop for Angry {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn panics_in_a_future_in_its_destructor_and_in_its_output_take_nothing_down() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        drop(handle.create_task(Angry(Cell::new(false))));
        drop(handle.create_task(Angry(Cell::new(true))));
        let cancelled = handle.create_task(Angry(Cell::new(true))).unwrap();
        cancelled.cancel();
        turns(event_loop, 1);
        assert_eq!(
            messages(&reports),
            [
                "Exception in destructor of a task",
                "Task exception was never retrieved",
                "Exception in destructor of a task",
                "Exception in destructor",
                "Exception in destructor of a task",
            ]
        );
        assert_eq!(event_loop.run_until_complete(async { 1 }), Ok(1));
        assert!(cancelled.is_finished());
    });
}

struct BadWaker;

impl Wake for BadWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[test]
fn a_waker_that_panics_takes_nothing_down() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        let mut task = handle.create_task(async { 5 }).unwrap();
        let waker = Waker::from(Arc::new(BadWaker));
        let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        turns(event_loop, 1);
        assert_eq!(messages(&reports), ["Exception in waker"]);
        assert_eq!(event_loop.run_until_complete(task).unwrap().unwrap(), 5);
    });
}

#[test]
fn waiting_may_be_given_up_and_taken_up_again() {
    with_loop(|event_loop| {
        let (promise, answer) = create_future();
        let mut task = event_loop.handle().create_task(answer).unwrap();
        event_loop
            .run_until_complete(async {
                let mut first = true;
                poll_fn(|context| {
                    assert!(Pin::new(&mut task).poll(context).is_pending());
                    if std::mem::take(&mut first) {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                })
                .await;
                promise.set_result(9).unwrap();
                assert_eq!((&mut task).await.unwrap(), Ok(9));
                assert!(task.is_finished());
            })
            .unwrap();
    });
}

#[test]
fn tasks_that_wait_for_each_other_take_turns() {
    with_loop(|event_loop| {
        let log = Log::new();
        for name in ["a", "b"] {
            let log = log.clone();
            drop(event_loop.handle().create_task(async move {
                for round in 0..3 {
                    log.push((name, round));
                    give_way().await;
                }
            }));
        }
        turns(event_loop, 6);
        let order = [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)];
        assert_eq!(log.take(), order);
    });
}

#[test]
fn a_task_that_waits_for_nothing_known_lives_until_the_loop_closes() {
    let log = Log::new();
    with_loop(|event_loop| {
        let guard = log.at_drop("dropped");
        drop(event_loop.handle().create_task(async move {
            let _guard = guard;
            pending::<()>().await;
        }));
        turns(event_loop, 3);
        assert!(log.take().is_empty());
        assert_eq!(event_loop.handle().statistics().tasks, 1);
    });
    assert_eq!(log.take(), ["dropped"]);
}

#[test]
fn closing_tells_those_who_wait_for_a_task() {
    let task = with_loop(|event_loop| event_loop.handle().create_task(pending::<()>()).unwrap());
    assert!(task.is_finished());
    with_loop(|event_loop| {
        assert!(event_loop.run_until_complete(task).unwrap().unwrap_err().is_cancelled());
    });
}
