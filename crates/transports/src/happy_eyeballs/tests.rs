//! The order of addresses and the race, with attempts that take a known time on a clock that jumps.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;

use super::*;

const HAPPY_EYEBALLS_DELAY: Option<Duration> = Some(Duration::from_millis(250));

#[test]
fn families_alternate_after_the_extra_entries_of_the_first() {
    let check = |addresses: &str, first_family_count, expected: &str| {
        let family = |address: &char| address.is_ascii_uppercase();
        let ordered = interleave(addresses.chars().collect(), first_family_count, family);
        assert_eq!(
            ordered.into_iter().collect::<String>(),
            expected,
            "{addresses} {first_family_count}"
        );
    };
    // replaced: C-08
    check("abcXY", 1, "aXbYc");
    check("abcXY", 2, "abXcY");
    check("abcXY", 3, "abcXY");
    check("abcXY", 9, "abcXY");
    check("abcXY", 0, "abcXY");
    // Families stand in the order of first appearance, whichever it is.
    check("XabcY", 1, "XaYbc");
    check("aXbXYZ", 1, "aXbXYZ");
    check("abc", 1, "abc");
    check("abc", 2, "abc");
    check("", 1, "");
    check("", 3, "");
}

/// A clock that goes to the next alarm when nothing else is left to do.
#[derive(Default)]
struct Clock {
    now: Cell<u64>,
    alarms: RefCell<BTreeSet<u64>>,
}

impl Clock {
    async fn wait(&self, milliseconds: u64) {
        let due = self.now.get() + milliseconds;
        self.alarms.borrow_mut().insert(due);
        poll_fn(|_| if self.now.get() >= due { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return output;
            }
            let next = self.alarms.borrow_mut().pop_first().expect("the race waits for nothing");
            self.now.set(self.now.get().max(next));
        }
    }
}

/// Writes down how long it lives.
struct Life {
    name: usize,
    clock: Rc<Clock>,
    log: Rc<RefCell<Vec<String>>>,
}

impl Life {
    fn write(&self, word: &str) {
        self.log.borrow_mut().push(format!("{} {word} {}", self.name, self.clock.now.get()));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.write("gone");
    }
}

const NEVER: u64 = 1 << 40;

/// Races attempts that take so many milliseconds and then succeed or not; answers the result and the log.
fn race(plan: &[(u64, bool)], delay: Option<Duration>) -> (Result<usize, Vec<usize>>, Vec<String>) {
    let clock = Rc::new(Clock::default());
    let log = Rc::new(RefCell::new(Vec::new()));
    let attempts: Vec<_> = plan
        .iter()
        .enumerate()
        .map(|(name, &(duration, succeeds))| {
            let (clock, log) = (clock.clone(), log.clone());
            async move {
                let life = Life { name, clock, log };
                life.write("starts");
                life.clock.wait(duration).await;
                if succeeds { Ok(name) } else { Err(name) }
            }
        })
        .collect();
    let pause = |delay: Duration| {
        let clock = clock.clone();
        let milliseconds = delay.as_millis().try_into().expect("a delay of milliseconds");
        async move { clock.wait(milliseconds).await }
    };
    let result = clock.run(staggered_race(attempts, delay, pause));
    let lines = log.borrow().clone();
    (result, lines)
}

fn check(
    plan: &[(u64, bool)],
    delay: Option<Duration>,
    result: Result<usize, Vec<usize>>,
    log: &[&str],
) {
    let outcome = race(plan, delay);
    assert_eq!(outcome.0, result, "{plan:?}");
    assert_eq!(outcome.1, log, "{plan:?}");
}

#[test]
fn a_refused_first_address_starts_the_second_at_once() {
    // C-07
    let log = ["0 starts 0", "0 gone 10", "1 starts 10", "1 gone 15"];
    check(&[(10, false), (5, true)], HAPPY_EYEBALLS_DELAY, Ok(1), &log);
}

#[test]
fn a_hanging_first_address_costs_the_delay() {
    // C-07
    let log = ["0 starts 0", "1 starts 250", "1 gone 270", "0 gone 270"];
    check(&[(NEVER, false), (20, true)], HAPPY_EYEBALLS_DELAY, Ok(1), &log);
}

#[test]
fn an_older_attempt_may_still_win_and_ends_the_others() {
    // C-07: the first success cancels the rest
    let log =
        ["0 starts 0", "1 starts 250", "2 starts 500", "0 gone 600", "1 gone 600", "2 gone 600"];
    check(
        &[(600, true), (NEVER, true), (NEVER, true), (0, true)],
        HAPPY_EYEBALLS_DELAY,
        Ok(0),
        &log,
    );
}

#[test]
fn only_the_newest_attempt_starts_the_next_by_failing() {
    // C-07: the failure of 0 at 300 does not hurry 2, which comes 250 after 1
    let log =
        ["0 starts 0", "1 starts 250", "0 gone 300", "2 starts 500", "2 gone 501", "1 gone 501"];
    check(&[(300, false), (NEVER, false), (1, true)], HAPPY_EYEBALLS_DELAY, Ok(2), &log);
}

#[test]
fn the_delay_counts_from_the_start_of_the_attempt_before() {
    // C-07: 1 starts when 0 fails, and 2 a whole delay after that
    let log =
        ["0 starts 0", "0 gone 100", "1 starts 100", "2 starts 350", "2 gone 351", "1 gone 351"];
    check(&[(100, false), (NEVER, false), (1, true)], HAPPY_EYEBALLS_DELAY, Ok(2), &log);
}

#[test]
fn without_a_delay_attempts_come_strictly_one_after_another() {
    // C-05
    let log = ["0 starts 0", "0 gone 9000", "1 starts 9000", "1 gone 9001"];
    check(&[(9000, false), (1, true), (1, true)], None, Ok(1), &log);
}

#[test]
fn when_all_fail_the_errors_stand_in_the_order_of_the_attempts() {
    // C-06 C-07: 0 fails last
    let log =
        ["0 starts 0", "1 starts 250", "1 gone 260", "2 starts 260", "2 gone 270", "0 gone 400"];
    check(
        &[(400, false), (10, false), (10, false)],
        HAPPY_EYEBALLS_DELAY,
        Err(vec![0, 1, 2]),
        &log,
    );
    check(&[], HAPPY_EYEBALLS_DELAY, Err(vec![]), &[]);
}

#[test]
fn dropping_the_race_drops_every_attempt() {
    // C-10
    let log = Rc::new(RefCell::new(Vec::new()));
    let clock = Rc::new(Clock::default());
    let attempts = [0, 1, 2].map(|name| {
        let (clock, log) = (clock.clone(), log.clone());
        async move {
            let life = Life { name, clock, log };
            life.write("starts");
            std::future::pending::<Result<(), ()>>().await
        }
    });
    let pause = |_| std::future::ready(());
    {
        let mut racing = pin!(staggered_race(attempts, HAPPY_EYEBALLS_DELAY, pause));
        assert!(racing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(*log.borrow(), ["0 starts 0", "1 starts 0", "2 starts 0"]);
    }
    assert_eq!(log.borrow()[3..], ["0 gone 0", "1 gone 0", "2 gone 0"]);
}
