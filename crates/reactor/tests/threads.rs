//! Other threads: calls, wake-ups, and loops that close meanwhile.

mod support;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use support::{Log, messages, reports, turns, watched, with_loop};
use tidegate_reactor::{EventLoop, LoopError, LoopHandle, Remote, RemoteHandle};

fn stop_current() {
    LoopHandle::current().unwrap().stop();
}

#[test]
fn a_call_from_another_thread_ends_the_wait_at_once() {
    // L-28
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let started = Instant::now();
        handle.call_later(Duration::from_secs(5), stop_current).unwrap();
        let remote = handle.remote();
        let thread = thread::spawn(move || remote.call_soon_threadsafe(stop_current).map(drop));
        event_loop.run_forever().unwrap();
        thread.join().unwrap().unwrap();
        assert!(started.elapsed() < Duration::from_secs(4));
    });
}

#[test]
fn calls_from_the_same_thread_are_in_one_order_with_all_others() {
    // L-28
    with_loop(|event_loop| {
        static ORDER: Mutex<Vec<u32>> = Mutex::new(Vec::new());
        fn writes(number: u32) -> impl FnOnce() + Send {
            move || ORDER.lock().unwrap().push(number)
        }
        let (handle, remote) = (event_loop.handle(), event_loop.handle().remote());
        for number in (0..12).step_by(3) {
            remote.call_soon_threadsafe(writes(number)).unwrap();
            handle.call_soon(writes(number + 1)).unwrap();
            drop(handle.create_task(async move { writes(number + 2)() }).unwrap());
        }
        turns(event_loop, 1);
        assert_eq!(*ORDER.lock().unwrap(), (0..12).collect::<Vec<_>>());
    });
}

#[test]
fn none_of_many_calls_is_lost_and_those_of_a_thread_keep_their_order() {
    // L-28
    with_loop(|event_loop| {
        const THREADS: usize = 4;
        const CALLS: usize = 1024;
        let seen: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (remote, seen) = (event_loop.handle().remote(), Arc::clone(&seen));
                thread::spawn(move || {
                    for call in 0..CALLS {
                        let seen = Arc::clone(&seen);
                        let callback = move || {
                            let mut seen = seen.lock().unwrap();
                            seen.push((thread, call));
                            if seen.len() == THREADS * CALLS {
                                stop_current();
                            }
                        };
                        remote.call_soon_threadsafe(callback).unwrap();
                    }
                })
            })
            .collect();
        event_loop.run_forever().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for thread in 0..THREADS {
            let seen = seen.lock().unwrap();
            let calls = seen.iter().filter(|call| call.0 == thread).map(|call| call.1);
            assert!(calls.eq(0..CALLS));
        }
    });
}

#[test]
fn a_closed_loop_refuses_calls_and_ignores_its_bell() {
    // L-28, L-29, L-51
    watched(|| {
        let event_loop = EventLoop::new().unwrap();
        let remote = event_loop.handle().remote();
        assert!(!remote.is_closed());
        event_loop.close().unwrap();
        assert!(remote.is_closed());
        let dropped = Arc::new(());
        let held = Arc::clone(&dropped);
        let refused = remote.call_soon_threadsafe(move || drop(held));
        assert_eq!(refused.unwrap_err(), LoopError::Closed);
        assert_eq!(Arc::strong_count(&dropped), 1);
        drop(event_loop);
        assert!(remote.call_soon_threadsafe(|| {}).is_err());
    });
}

#[test]
fn stopping_from_another_thread_is_a_call_from_another_thread() {
    // L-30
    with_loop(|event_loop| {
        let remote = event_loop.handle().remote();
        let thread = thread::spawn(move || remote.call_soon_threadsafe(stop_current).map(drop));
        event_loop.run_forever().unwrap();
        thread.join().unwrap().unwrap();
    });
}

/// Which of the crate's types may leave their thread: `true` is chosen only where the bound holds.
macro_rules! is_send {
    ($type:ty) => {{
        #[allow(dead_code, reason = "not used where the bound holds")]
        trait Otherwise {
            const IS_SEND: bool = false;
        }
        impl<T> Otherwise for T {}
        struct Check<T>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "not used where the bound does not hold")]
        impl<T: Send> Check<T> {
            const IS_SEND: bool = true;
        }
        Check::<$type>::IS_SEND
    }};
}

#[test]
fn only_remotes_may_be_sent_to_other_threads() {
    // L-31
    assert!(is_send!(Remote) && is_send!(RemoteHandle));
    assert!(!is_send!(EventLoop) && !is_send!(LoopHandle));
    assert!(!is_send!(tidegate_reactor::Handle) && !is_send!(tidegate_reactor::TimerHandle));
    assert!(!is_send!(tidegate_reactor::JoinHandle<()>));
}

#[test]
fn a_call_from_another_thread_can_be_cancelled_there() {
    with_loop(|event_loop| {
        let remote = event_loop.handle().remote();
        let call = remote.call_soon_threadsafe(|| unreachable!()).unwrap();
        let cancelled = thread::spawn(move || {
            call.cancel();
            call.cancel();
            call.cancelled()
        });
        assert!(cancelled.join().unwrap());
        turns(event_loop, 1);
        let ran = remote.call_soon_threadsafe(|| {}).unwrap();
        turns(event_loop, 1);
        assert!(!ran.cancelled());
    });
}

#[test]
fn a_call_from_another_thread_that_panics_is_reported() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        handle.remote().call_soon_threadsafe(|| panic!("from afar")).unwrap();
        turns(event_loop, 1);
        assert!(messages(&reports)[0].starts_with("Exception in callback threads::a_call_from"));
    });
}

#[test]
fn mail_that_comes_while_the_loop_works_is_read_in_the_same_turn_or_the_next() {
    // L-28
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let (remote, sent) = (handle.remote(), handle.clone());
        let at = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&at);
        handle
            .call_soon(move || {
                at.store(sent.statistics().turns as usize, Ordering::SeqCst);
                let read = move || {
                    let turn = LoopHandle::current().unwrap().statistics().turns as usize;
                    assert!(turn <= at.load(Ordering::SeqCst) + 1);
                    stop_current();
                };
                remote.call_soon_threadsafe(read).unwrap();
            })
            .unwrap();
        event_loop.run_forever().unwrap();
        assert!(seen.load(Ordering::SeqCst) > 0);
        assert_eq!(handle.statistics().mail, 1);
    });
}

#[test]
fn tasks_can_be_woken_from_other_threads_and_from_other_loops() {
    with_loop(|event_loop| {
        let log = Log::new();
        let woken = Rc::new(Cell::new(false));
        let slot: Rc<Cell<Option<Waker>>> = Rc::default();
        let (flag, place, seen) = (Rc::clone(&woken), Rc::clone(&slot), log.clone());
        let task = event_loop.handle().create_task(poll_fn(move |context| {
            seen.push("polled");
            place.set(Some(context.waker().clone()));
            if flag.get() { Poll::Ready(7) } else { Poll::Pending }
        }));
        turns(event_loop, 1);

        // In another thread while no loop runs here, twice before the loop looks.
        let waker = slot.take().unwrap();
        thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        })
        .join()
        .unwrap();
        turns(event_loop, 1);
        assert_eq!(log.take(), ["polled", "polled"]);

        // In this thread while another loop runs.
        let other = EventLoop::new().unwrap();
        woken.set(true);
        let waker = slot.take().unwrap();
        other.run_until_complete(async { waker.wake() }).unwrap();
        other.close().unwrap();
        assert!(log.take().is_empty());
        assert_eq!(event_loop.run_until_complete(task.unwrap()).unwrap().unwrap(), 7);
    });
}

#[test]
fn the_main_future_can_be_woken_from_another_thread() {
    with_loop(|event_loop| {
        let ready = Arc::new(AtomicBool::new(false));
        let mut thread = None;
        event_loop
            .run_until_complete(poll_fn(|context| {
                if ready.load(Ordering::SeqCst) {
                    return Poll::Ready(());
                }
                let (ready, waker) = (Arc::clone(&ready), context.waker().clone());
                thread.get_or_insert_with(|| {
                    thread::spawn(move || {
                        ready.store(true, Ordering::SeqCst);
                        waker.wake();
                    })
                });
                Poll::Pending
            }))
            .unwrap();
        thread.unwrap().join().unwrap();
    });
}

/// Counts what lives: each of these is one.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Alive {
        count.fetch_add(1, Ordering::SeqCst);
        Alive(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One round: four threads wake tasks and send calls for as long as they can, while the loop runs and closes.
fn storm(round: usize) {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let alive = Arc::new(AtomicUsize::new(0));
    let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
    for _ in 0..8 {
        let (guard, wakers) = (Alive::new(&alive), Arc::clone(&wakers));
        let known = Cell::new(false);
        let task = handle.create_task(poll_fn(move |context| {
            let _held = &guard;
            if !known.replace(true) {
                wakers.lock().unwrap().push(context.waker().clone());
            }
            Poll::<()>::Pending
        }));
        drop(task.unwrap());
    }
    turns(&event_loop, 1);

    let (over, started) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(5)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (over, started) = (Arc::clone(&over), Arc::clone(&started));
            let (remote, alive) = (handle.remote(), Arc::clone(&alive));
            let wakers = wakers.lock().unwrap().clone();
            thread::spawn(move || {
                started.wait();
                while !over.load(Ordering::Relaxed) {
                    wakers.iter().for_each(Waker::wake_by_ref);
                    let guard = Alive::new(&alive);
                    let _ = remote.call_soon_threadsafe(move || drop(guard));
                    thread::yield_now();
                }
                drop(wakers);
            })
        })
        .collect();
    started.wait();
    turns(&event_loop, round % 5);
    event_loop.close().unwrap();
    wakers.lock().unwrap().clear();
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop((event_loop, handle));
    assert_eq!(alive.load(Ordering::SeqCst), 0, "round {round}");
}

#[test]
fn a_storm_of_wake_ups_does_not_disturb_a_loop_that_closes() {
    // L-28, L-29, L-50
    watched(|| (0..200).for_each(storm));
}
