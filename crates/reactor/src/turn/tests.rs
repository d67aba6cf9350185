//! How long a turn waits.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::call::callback;
use crate::clock::Clock;
use crate::poller::Poller;

#[derive(Clone, Default)]
struct Standing {
    now: Rc<Cell<Duration>>,
    jumps: bool,
}

impl Clock for Standing {
    fn now(&self) -> Duration {
        self.now.get()
    }

    fn jump(&self, to: Duration) -> bool {
        if self.jumps {
            self.now.set(to);
        }
        self.jumps
    }
}

fn core_with(clock: &Standing, timers: &[Duration]) -> Core {
    let core = Core::new(Box::new(clock.clone()), Poller::new().unwrap());
    for when in timers {
        let call = callback(|| {}, std::panic::Location::caller());
        core.timers.borrow_mut().insert(*when, call);
    }
    core
}

#[test]
fn a_loop_waits_for_its_next_timer_and_not_longer_than_a_day() {
    // L-03
    let second = Duration::from_secs(1);
    let cases = [
        (vec![], None),
        (vec![Duration::MAX], None),
        (vec![second, 5 * second], Some(second)),
        (vec![Duration::ZERO], Some(Duration::ZERO)),
        (vec![Duration::from_secs(86_400)], Some(LONGEST_WAIT)),
        (vec![Duration::from_secs(86_401)], Some(LONGEST_WAIT)),
        (vec![Duration::from_secs(1 << 33)], Some(LONGEST_WAIT)),
    ];
    for (timers, expected) in cases {
        let core = core_with(&Standing::default(), &timers);
        assert_eq!(core.time_to_wait(), expected, "{timers:?}");
    }
    let late = Standing::default();
    late.now.set(5 * second);
    assert_eq!(core_with(&late, &[second]).time_to_wait(), Some(Duration::ZERO));
}

#[test]
fn a_clock_that_jumps_is_where_the_next_timer_is() {
    let clock = Standing { jumps: true, ..Standing::default() };
    let core = core_with(&clock, &[Duration::from_secs(3), Duration::from_secs(4)]);
    assert_eq!(core.time_to_wait(), Some(Duration::ZERO));
    assert_eq!(clock.now(), Duration::from_secs(3));
}

#[test]
fn waits_are_rounded_up_to_the_millisecond() {
    // L-19
    let cases = [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)];
    for (nanos, milliseconds) in cases {
        let rounded = whole_milliseconds(Duration::from_nanos(nanos));
        assert_eq!(rounded, Duration::from_millis(milliseconds), "{nanos} ns");
    }
    assert_eq!(whole_milliseconds(Duration::from_nanos(1_999_999_999)), Duration::from_secs(2));
}
