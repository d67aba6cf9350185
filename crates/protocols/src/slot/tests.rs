//! A slot lends, changes and empties, whatever the users' code does meanwhile.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

type Log = Rc<RefCell<Vec<String>>>;

/// A guest with a name, which can come back to its slot when it is dropped.
struct Guest {
    name: &'static str,
    log: Log,
    at_drop: Option<Box<dyn FnOnce()>>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.log.borrow_mut().push(format!("drop {}", self.name));
        if let Some(script) = self.at_drop.take() {
            script();
        }
    }
}

fn guest(name: &'static str, log: &Log) -> Box<Guest> {
    Box::new(Guest { name, log: log.clone(), at_drop: None })
}

fn replace_by(next: Box<Guest>) -> SlotChange<Guest> {
    Box::new(move |old| {
        drop(old);
        next
    })
}

fn name(slot: &Slot<Guest>) -> Option<&'static str> {
    match slot.lend(|guest| guest.name) {
        Lent::Gave(name) => Some(name),
        _ => None,
    }
}

#[test]
fn a_protocol_at_home_is_lent_and_comes_back() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    assert_eq!(name(&slot), Some("a"));
    assert!(!slot.is_lent() && !slot.is_empty());
}

#[test]
fn a_protocol_that_is_out_cannot_be_lent_again() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    let inner = slot.lend(|_| (slot.is_lent(), matches!(slot.lend(|_| ()), Lent::Nobody)));
    assert!(matches!(inner, Lent::Gave((true, true))));
}

#[test]
fn a_change_at_home_happens_at_once() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    // T-24
    slot.change(replace_by(guest("b", &log))).unwrap();
    assert_eq!(*log.borrow(), ["drop a"]);
    assert_eq!(name(&slot), Some("b"));
}

#[test]
fn a_change_in_a_callback_happens_when_it_returns() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    // T-24
    let lent = slot.lend(|guest_a| {
        slot.change(replace_by(guest("b", &log))).unwrap();
        slot.change(replace_by(guest("c", &log))).unwrap();
        assert!(log.borrow().is_empty());
        guest_a.name
    });
    assert!(matches!(lent, Lent::Gave("a")));
    assert_eq!(*log.borrow(), ["drop a", "drop b"]);
    assert_eq!(name(&slot), Some("c"));
}

#[test]
fn a_callback_that_panics_leaves_its_protocol_at_home_with_the_changes_made() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    let lent: Lent<()> = slot.lend(|_| {
        slot.change(replace_by(guest("b", &log))).unwrap();
        panic!("on purpose");
    });
    assert!(matches!(lent, Lent::Panicked(_)));
    assert_eq!(name(&slot), Some("b"));
}

#[test]
fn a_change_that_panics_leaves_the_slot_empty_and_says_so() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    assert!(slot.change(Box::new(|_| panic!("on purpose"))).is_err());
    assert!(slot.is_empty());

    let slot = Slot::new(guest("b", &log));
    let lent = slot.lend(|_| slot.change(Box::new(|_| panic!("on purpose"))));
    assert!(matches!(lent, Lent::Panicked(_)));
    assert!(slot.is_empty());
    assert_eq!(*log.borrow(), ["drop a", "drop b"]);
}

#[test]
fn an_emptied_slot_stays_empty() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    slot.empty().unwrap();
    slot.empty().unwrap();
    assert_eq!(*log.borrow(), ["drop a"]);
    slot.change(replace_by(guest("b", &log))).unwrap();
    assert_eq!(*log.borrow(), ["drop a", "drop b"], "the change is dropped unrun");
    assert_eq!(name(&slot), None);
}

#[test]
fn a_slot_emptied_in_a_callback_is_empty_when_it_returns() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    let lent = slot.lend(|_| {
        slot.change(replace_by(guest("b", &log))).unwrap();
        slot.empty().unwrap();
        slot.change(replace_by(guest("c", &log))).unwrap();
    });
    assert!(matches!(lent, Lent::Gave(())));
    assert!(slot.is_empty());
    let mut dropped = log.borrow().clone();
    dropped.sort();
    assert_eq!(dropped, ["drop a", "drop b", "drop c"]);
}

#[test]
fn a_destructor_that_panics_is_answered() {
    let log = Log::default();
    let panicking = || {
        let mut guest = guest("a", &log);
        guest.at_drop = Some(Box::new(|| panic!("on purpose")));
        Slot::new(guest)
    };
    assert!(panicking().empty().is_err());
    let slot = panicking();
    assert!(matches!(slot.lend(|_| slot.empty()), Lent::Panicked(_)));
    assert!(panicking().change(replace_by(guest("b", &log))).is_err());
}

#[test]
fn a_protocol_whose_callback_panics_still_hears_of_the_loss() {
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    assert!(matches!(slot.lend(|_| panic!("on purpose")), Lent::<()>::Panicked(_)));
    assert_eq!(name(&slot), Some("a"));
    assert!(matches!(slot.lend(|_| panic!("once more")), Lent::<()>::Panicked(_)));
    slot.empty().unwrap();
    assert_eq!(*log.borrow(), ["drop a"]);
}

#[test]
fn the_first_of_several_panics_is_told() {
    let text = |lent: Lent<()>| match lent {
        Lent::Panicked(payload) => *payload.downcast::<&str>().unwrap(),
        _ => "none",
    };
    let log = Log::default();
    let slot = Slot::new(guest("a", &log));
    let lent = slot.lend(|_| {
        slot.change(Box::new(|_| panic!("second"))).unwrap();
        panic!("first");
    });
    assert_eq!(text(lent), "first");
    assert!(slot.is_empty());
}

#[test]
fn changes_behind_one_that_panics_are_dropped_unrun() {
    let log = Log::default();
    let slot = Rc::new(Slot::new(guest("a", &log)));
    let again = slot.clone();
    let mut unrun = guest("b", &log);
    unrun.at_drop = Some(Box::new(move || {
        assert!(again.is_empty() && matches!(again.lend(|_| ()), Lent::Nobody));
        panic!("on purpose, and caught");
    }));
    let (inner, inner_log) = (slot.clone(), log.clone());
    let lent = slot.lend(|_| {
        let asks_and_panics = move |_| {
            inner.change(replace_by(guest("c", &inner_log))).unwrap();
            panic!("on purpose")
        };
        slot.change(Box::new(asks_and_panics)).unwrap();
        slot.change(replace_by(unrun)).unwrap();
    });
    assert!(matches!(lent, Lent::Panicked(_)));
    assert!(slot.is_empty());
    assert_eq!(*log.borrow(), ["drop a", "drop b", "drop c"]);
}

#[test]
fn a_change_asked_for_by_a_change_comes_after_those_that_wait() {
    let log = Log::default();
    let slot = Rc::new(Slot::new(guest("a", &log)));
    let (inner, inner_log) = (slot.clone(), log.clone());
    slot.lend(|_| {
        let asks = move |old| {
            inner.change(replace_by(guest("d", &inner_log))).unwrap();
            drop(old);
            guest("b", &inner_log)
        };
        slot.change(Box::new(asks)).unwrap();
        slot.change(replace_by(guest("c", &log))).unwrap();
    });
    assert_eq!(*log.borrow(), ["drop a", "drop b", "drop c"]);
    assert_eq!(name(&slot), Some("d"));
}

#[test]
fn looking_tells_busy_from_lost() {
    struct Idle;
    impl Protocol for Idle {}
    let slot: Slot = Slot::new(Box::new(Idle));
    assert_eq!(slot.visit(&mut |_| ()), Ok(()));
    assert!(slot.type_name().unwrap().ends_with("Idle"));
    let inner = slot.lend(|_| (slot.visit(&mut |_| ()), slot.type_name()));
    assert!(matches!(inner, Lent::Gave((Err(WithProtocolError::Busy), None))));
    let looked = catch_unwind(AssertUnwindSafe(|| slot.visit(&mut |_| panic!("on purpose"))));
    assert!(looked.is_err() && !slot.is_lent(), "it came home before the panic went on");
    slot.empty().unwrap();
    assert_eq!(slot.visit(&mut |_| ()), Err(WithProtocolError::Lost));
    assert_eq!(slot.type_name(), None);
}

#[test]
fn a_slot_is_small() {
    assert!(size_of::<Slot>() <= 3 * size_of::<usize>());
}

/// At every place where a protocol can be dropped its destructor uses the slot in every way.
#[test]
fn destructors_may_come_back_to_their_slot() {
    const PLACES: [&str; 6] = [
        "changed at home",
        "changed in a callback",
        "emptied",
        "emptied in a callback",
        "a change that panics",
        "a change that panics in a callback",
    ];
    for place in PLACES {
        let log = Log::default();
        let slot = Rc::new(Slot::new(guest("a", &log)));
        let (again, inner_log) = (slot.clone(), log.clone());
        let script = move || {
            assert!(matches!(again.lend(|_| ()), Lent::Nobody));
            again.change(replace_by(guest("from the destructor", &inner_log))).unwrap();
            again.is_empty();
            again.is_lent();
        };
        slot.lend(|guest| guest.at_drop = Some(Box::new(script)));
        match place {
            "changed at home" => slot.change(replace_by(guest("b", &log))).unwrap(),
            "changed in a callback" => {
                slot.lend(|_| slot.change(replace_by(guest("b", &log))).unwrap());
            }
            "emptied" => slot.empty().unwrap(),
            "emptied in a callback" => {
                slot.lend(|_| slot.empty().unwrap());
            }
            "a change that panics" => {
                assert!(slot.change(Box::new(|_| panic!("on purpose"))).is_err());
            }
            _ => {
                slot.lend(|_| slot.change(Box::new(|_| panic!("on purpose"))).unwrap());
            }
        }
        let expected =
            if place.starts_with("changed") { Some("from the destructor") } else { None };
        assert_eq!(name(&slot), expected, "{place}");
        assert!(log.borrow().contains(&"drop a".to_owned()), "{place}");
    }
}

/// Writes down that it was told, and how the slot was then.
struct Note {
    slot: Rc<Slot<Guest>>,
    log: Log,
}

impl Caller for Note {
    fn protocol_is_home(self: Rc<Self>) {
        let name = name(&self.slot).unwrap_or("nobody");
        self.log.borrow_mut().push(format!("{name} is home"));
    }
}

/// Has a caller wait, twice, for the protocol; `meanwhile` happens while it is out.
fn check_waiting(meanwhile: impl FnOnce(&Slot<Guest>, &Log), expected: &[&str]) {
    let log = Log::default();
    let slot = Rc::new(Slot::new(guest("a", &log)));
    let note = Rc::new(Note { slot: slot.clone(), log: log.clone() });
    let lent = slot.lend(|_| {
        assert!(!slot.is_awaited());
        slot.when_home(note.clone());
        slot.when_home(note.clone());
        assert!(slot.is_awaited() && log.borrow().is_empty());
        meanwhile(&slot, &log);
    });
    assert!(!slot.is_awaited());
    assert_eq!(*log.borrow(), expected, "{lent:?}");
    assert_eq!(Rc::strong_count(&note), 1, "the caller is kept");
}

#[test]
fn whoever_waits_for_the_protocol_is_told_once_when_it_is_home() {
    check_waiting(|_, _| (), &["a is home"]);
    check_waiting(|_, _| panic!("on purpose"), &["a is home"]);
    // T-24: of the protocol that it is by then
    check_waiting(
        |slot, log| slot.change(replace_by(guest("b", log))).unwrap(),
        &["drop a", "b is home"],
    );
    // And nobody is told of one that never comes.
    check_waiting(|slot, _| slot.empty().unwrap(), &["drop a"]);
    // Unless a change of it has panicked.
    check_waiting(
        |slot, _| slot.change(Box::new(|_| panic!("on purpose"))).unwrap(),
        &["drop a", "nobody is home"],
    );
}

#[test]
fn whoever_waits_for_a_protocol_that_is_home_is_told_at_once() {
    let log = Log::default();
    let slot = Rc::new(Slot::new(guest("a", &log)));
    let note = Rc::new(Note { slot: slot.clone(), log: log.clone() });
    slot.when_home(note.clone());
    assert_eq!(*log.borrow(), ["a is home"]);
    slot.empty().unwrap();
    slot.when_home(note.clone());
    assert_eq!(*log.borrow(), ["a is home", "drop a"]);
    assert_eq!(Rc::strong_count(&note), 1, "the caller is kept");
}
