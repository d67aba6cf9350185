//! Timers against a model: a plain list, searched from end to end.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A list of times, numbers and names.
#[derive(Default)]
struct Model {
    waiting: Vec<(u64, usize)>,
}

impl Model {
    /// Takes the name of the earliest timer that is due; of equal ones the first inserted.
    fn pop_due(&mut self, now: u64) -> Option<usize> {
        let due = self.waiting.iter().filter(|timer| timer.0 <= now).min()?.1;
        self.waiting.retain(|timer| timer.1 != due);
        Some(due)
    }
}

#[derive(Clone, Debug)]
enum Move {
    Insert(u64),
    Cancel(usize),
    Advance(u64),
    Tidy,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..50_u64).prop_map(Move::Insert),
        3 => any::<prop::sample::Index>().prop_map(|index| Move::Cancel(index.index(1 << 20))),
        1 => (0..20_u64).prop_map(Move::Advance),
        1 => Just(Move::Tidy),
    ];
    vec(one, 0..600)
}

proptest! {
    #[test]
    fn timers_do_what_a_searched_list_does(moves in moves()) {
        // L-18, L-21, replaced: L-22, L-23
        let (mut timers, mut model) = (Timers::new(), Model::default());
        let (mut keys, mut now) = (Vec::new(), 0);
        for step in moves {
            match step {
                Move::Insert(delay) => {
                    let name = keys.len();
                    keys.push(timers.insert(Duration::from_nanos(now + delay), name));
                    model.waiting.push((now + delay, name));
                }
                // Also timers that fired or were cancelled long ago.
                Move::Cancel(which) if !keys.is_empty() => {
                    let name = which % keys.len();
                    let waiting = model.waiting.iter().any(|timer| timer.1 == name);
                    model.waiting.retain(|timer| timer.1 != name);
                    prop_assert_eq!(timers.remove(keys[name]), waiting.then_some(name));
                }
                Move::Cancel(_) => {}
                Move::Advance(by) => {
                    now += by;
                    loop {
                        let fired = timers.pop_due(Duration::from_nanos(now));
                        prop_assert_eq!(fired, model.pop_due(now));
                        if fired.is_none() {
                            break;
                        }
                    }
                }
                Move::Tidy => {
                    timers.tidy();
                    let next = model.waiting.iter().map(|timer| timer.0).min();
                    prop_assert_eq!(timers.next_time(), next.map(Duration::from_nanos));
                }
            }
            prop_assert_eq!(timers.len(), model.waiting.len());
        }
        let mut left = timers.take();
        left.sort_unstable();
        let mut expected: Vec<_> = model.waiting.iter().map(|timer| timer.1).collect();
        expected.sort_unstable();
        prop_assert_eq!(left, expected);
        prop_assert_eq!(timers.len(), 0);
    }
}

/// Inserts that many timers, cancels some from the end, so that the head lives, and tidies; what is left of
/// the heap.
fn heap_after(timers: usize, cancelled: usize) -> usize {
    let mut room = Timers::new();
    let keys: Vec<_> =
        (0..timers).map(|time| room.insert(Duration::from_secs(time as u64), time)).collect();
    for key in keys.iter().rev().take(cancelled) {
        room.remove(*key);
    }
    room.tidy();
    let left = room.heap.len();
    let mut fired = Vec::new();
    while let Some(time) = room.pop_due(Duration::from_secs(u64::MAX)) {
        fired.push(time);
    }
    assert!(fired.into_iter().eq(0..timers - cancelled), "the order is kept");
    left
}

#[test]
fn the_heap_is_swept_when_more_than_half_of_more_than_a_hundred_are_stale() {
    // replaced: L-22
    assert_eq!(heap_after(101, 50), 101);
    assert_eq!(heap_after(101, 51), 50);
    assert_eq!(heap_after(100, 99), 100);
    assert_eq!(heap_after(200, 100), 200);
    assert_eq!(heap_after(200, 101), 99);
}

#[test]
fn stale_times_at_the_head_are_dropped_when_the_heap_is_tidied() {
    // L-21
    let mut timers = Timers::new();
    let keys: Vec<_> = (1..=5).map(|time| timers.insert(Duration::from_secs(time), time)).collect();
    timers.remove(keys[0]);
    timers.remove(keys[1]);
    timers.remove(keys[3]);
    timers.tidy();
    assert_eq!(timers.next_time(), Some(Duration::from_secs(3)));
    assert_eq!(timers.heap.len(), 3);
}

#[test]
fn a_key_never_names_a_later_timer_in_the_same_place() {
    // replaced: L-23
    let mut timers = Timers::new();
    let old = timers.insert(Duration::from_secs(1), "old");
    assert_eq!(timers.pop_due(Duration::from_secs(1)), Some("old"));
    let new = timers.insert(Duration::from_secs(1), "new");
    assert_eq!(old.slot, new.slot);
    assert_eq!(timers.remove(old), None);
    assert_eq!(timers.len(), 1);
}

#[test]
fn times_beyond_the_heap_never_come() {
    // L-20
    let mut timers = Timers::new();
    let key = timers.insert(Duration::MAX, "never");
    timers.tidy();
    assert_eq!(timers.next_time(), None);
    assert_eq!(timers.pop_due(Duration::MAX), None);
    timers.insert(Duration::from_nanos(u64::MAX - 1), "at the end of time");
    assert_eq!(timers.pop_due(Duration::MAX), Some("at the end of time"));
    assert_eq!(timers.remove(key), Some("never"));
}
