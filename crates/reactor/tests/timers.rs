//! Timers: their order, their time, and cancelling them.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{Log, turns, with_jumping_loop, with_loop};
use tidegate_reactor::{LoopHandle, sleep};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn call_later_is_call_at_the_time_plus_the_delay() {
    // L-15
    with_jumping_loop(|event_loop, _| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let now = handle.time();
        let later = handle.call_later(SECOND, log.writes("later")).unwrap();
        let at = handle.call_at(now + SECOND, log.writes("at")).unwrap();
        assert_eq!(later.when(), at.when());
        let stop = handle.clone();
        handle.call_later(2 * SECOND, move || stop.stop()).unwrap();
        event_loop.run_forever().unwrap();
        assert_eq!(log.take(), ["later", "at"]);
        assert_eq!(handle.time(), now + 2 * SECOND);
    });
}

#[test]
fn the_clock_never_goes_back() {
    // L-15
    with_loop(|event_loop| {
        let mut before = event_loop.time();
        for _ in 0..1000 {
            let now = event_loop.time();
            assert!(now >= before);
            before = now;
        }
    });
}

#[test]
fn times_in_the_past_are_due_at_once_in_their_own_order_behind_what_is_queued() {
    // L-16
    with_jumping_loop(|event_loop, _| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let now = handle.time();
        handle.call_at(now - SECOND, log.writes("a second ago")).unwrap();
        handle.call_at(now - 2 * SECOND, log.writes("two seconds ago")).unwrap();
        handle.call_later(Duration::ZERO, log.writes("now")).unwrap();
        handle.call_soon(log.writes("queued")).unwrap();
        assert!(log.take().is_empty(), "nothing runs when it is scheduled");
        turns(event_loop, 1);
        assert_eq!(log.take(), ["queued", "two seconds ago", "a second ago", "now"]);
    });
}

#[test]
fn a_timer_never_fires_early() {
    // L-17
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let log = Log::new();
        for microseconds in [1, 10, 100, 999, 1000, 1001, 2500] {
            let (inner, log) = (handle.clone(), log.clone());
            let when = handle.time() + Duration::from_micros(microseconds);
            handle.call_at(when, move || log.push(inner.time() >= when)).unwrap();
        }
        event_loop.run_until_complete(sleep(Duration::from_millis(4))).unwrap().unwrap();
        assert_eq!(log.take(), [true; 7]);
    });
}

#[test]
fn a_timer_is_due_at_its_time_and_not_a_nanosecond_before() {
    // L-17
    with_jumping_loop(|event_loop, clock| {
        let (log, handle) = (Log::new(), event_loop.handle());
        handle.call_later(SECOND, log.writes("due")).unwrap();
        clock.advance(SECOND - Duration::from_nanos(1));
        turns(event_loop, 2);
        assert!(log.take().is_empty());
        clock.advance(Duration::from_nanos(1));
        turns(event_loop, 1);
        assert_eq!(log.take(), ["due"]);
    });
}

#[test]
fn equal_times_fire_in_the_order_in_which_they_were_scheduled() {
    // L-18
    with_jumping_loop(|event_loop, clock| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let when = handle.time() + SECOND;
        for number in 0..10 {
            handle.call_at(when, log.writes(number)).unwrap();
        }
        clock.advance(SECOND);
        turns(event_loop, 1);
        assert_eq!(log.take(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn very_short_sleeps_do_not_spin() {
    // L-19
    with_loop(|event_loop| {
        event_loop
            .run_until_complete(async {
                for seconds in [1e-2, 1e-4, 1e-6, 1e-8, 1e-10] {
                    sleep(Duration::from_secs_f64(seconds)).await.unwrap();
                }
            })
            .unwrap();
        let turns = event_loop.handle().statistics().turns;
        assert!(turns <= 20, "{turns} turns");
    });
}

#[test]
fn endless_delays_are_accepted_never_fire_and_can_be_cancelled() {
    // L-20
    with_jumping_loop(|event_loop, _| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let delays = [Duration::from_secs(1 << 55), Duration::from_secs(u64::MAX), Duration::MAX];
        let timers = delays.map(|delay| handle.call_later(delay, log.writes("fired")).unwrap());
        let stop = handle.clone();
        // The longest that counts: 584 years, less what the clock shows already.
        handle.call_later(Duration::from_secs(18_000_000_000), move || stop.stop()).unwrap();
        event_loop.run_forever().unwrap();
        assert_eq!(handle.statistics().timers, 3);
        timers.iter().for_each(|timer| timer.cancel());
        assert_eq!(handle.statistics().timers, 0);
        assert!(log.take().is_empty());
    });
}

#[test]
fn a_loop_that_waits_for_an_endless_timer_can_be_woken() {
    // L-20
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        handle.call_later(Duration::MAX, || unreachable!()).unwrap();
        let remote = handle.remote();
        let thread = std::thread::spawn(move || {
            remote.call_soon_threadsafe(|| LoopHandle::current().unwrap().stop()).unwrap();
        });
        event_loop.run_forever().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn a_cancelled_timer_does_not_end_the_wait() {
    // L-21
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let started = Instant::now();
        for _ in 0..50 {
            let timer = handle.call_later(Duration::from_millis(1), || unreachable!()).unwrap();
            timer.cancel();
        }
        event_loop.run_until_complete(sleep(Duration::from_millis(5))).unwrap().unwrap();
        assert!(started.elapsed() >= Duration::from_millis(5));
        assert!(handle.statistics().turns <= 4, "{:?}", handle.statistics());
    });
}

#[test]
fn cancelling_a_timer_that_fired_changes_nothing() {
    // replaced: L-23
    with_jumping_loop(|event_loop, clock| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let fired = handle.call_later(SECOND, log.writes("fired")).unwrap();
        clock.advance(SECOND);
        turns(event_loop, 1);
        // It takes the place that the other one has left.
        handle.call_later(SECOND, log.writes("another")).unwrap();
        fired.cancel();
        assert_eq!(handle.statistics().timers, 1);
        clock.advance(SECOND);
        turns(event_loop, 1);
        assert_eq!(log.take(), ["fired", "another"]);
    });
}

#[test]
fn cancelling_drops_the_callback_at_once() {
    with_loop(|event_loop| {
        let log = Log::new();
        let guard = log.at_drop("dropped");
        let timer = event_loop.handle().call_later(SECOND, move || drop(guard)).unwrap();
        timer.cancel();
        assert_eq!(log.take(), ["dropped"]);
    });
}

#[test]
fn a_callback_may_cancel_timers_from_its_destructor() {
    struct Cancels(tidegate_reactor::TimerHandle);
    impl Drop for Cancels {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let other = handle.call_later(SECOND, || unreachable!()).unwrap();
        let cancels = Cancels(other.clone());
        let timer = handle.call_later(SECOND, move || drop(cancels)).unwrap();
        timer.cancel();
        assert!(other.cancelled());
    });
}

#[test]
fn the_clock_is_not_read_where_there_are_no_timers() {
    with_jumping_loop(|event_loop, clock| {
        let handle = event_loop.handle();
        let before = clock.reads();
        for _ in 0..10 {
            handle.call_soon(|| {}).unwrap();
            turns(event_loop, 1);
        }
        assert_eq!(clock.reads(), before);
    });
}

#[test]
fn the_clock_is_read_once_a_turn_where_there_are_timers() {
    with_jumping_loop(|event_loop, clock| {
        let handle = event_loop.handle();
        handle.call_later(SECOND, || {}).unwrap();
        let before = clock.reads();
        for _ in 0..10 {
            handle.call_soon(|| {}).unwrap();
            turns(event_loop, 1);
        }
        assert_eq!(clock.reads(), before + 10);
    });
}

#[test]
fn a_clock_jumps_only_when_there_is_nothing_else_to_do() {
    with_jumping_loop(|event_loop, _| {
        let handle = event_loop.handle();
        let started = handle.time();
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let calls = Rc::new(Cell::new(0));
        let (counter, stop) = (Rc::clone(&calls), handle.clone());
        let watcher = support::Calls::new(move |_| {
            counter.set(counter.get() + 1);
            stop.stop();
        });
        let source =
            tidegate_reactor::Source::new(&handle, far, tidegate_reactor::Interest::READ, watcher)
                .unwrap();
        handle.call_later(Duration::from_millis(1), || {}).unwrap();
        handle.call_later(Duration::from_secs(3600), || unreachable!()).unwrap();
        // The loop waits for a thread here, in real time: the clock stands.
        let thread = std::thread::spawn(move || {
            std::io::Write::write_all(&mut &near, b"!").unwrap();
            near
        });
        event_loop.run_forever().unwrap();
        thread.join().unwrap();
        assert_eq!((calls.get(), handle.time()), (1, started));
        drop(source);
    });
}
