//! The mailbox in one thread.

use std::cell::Cell;

use super::*;

/// Counts its rings.
#[derive(Default)]
struct Counter(Cell<u32>);

impl Ring for &Counter {
    fn ring(&self) {
        self.0.set(self.0.get() + 1);
    }
}

fn letters(mailbox: &Mailbox<u32, &Counter>) -> Vec<u32> {
    let mut letters = vec![0];
    mailbox.take(&mut letters);
    letters.split_off(1)
}

#[test]
fn the_bell_is_rung_once_and_only_while_the_loop_sleeps() {
    // L-28
    let bell = Counter::default();
    let mailbox = Mailbox::new(&bell);
    mailbox.post(Kind::Call, 1).unwrap();
    assert_eq!(bell.0.get(), 0);
    assert!(!mailbox.fall_asleep(), "there is mail");
    assert!(mailbox.has_letters());
    assert_eq!(letters(&mailbox), [1]);
    assert!(!mailbox.has_letters());

    assert!(mailbox.fall_asleep());
    mailbox.post(Kind::Wake, 2).unwrap();
    mailbox.post(Kind::Call, 3).unwrap();
    assert_eq!(bell.0.get(), 1);
    mailbox.wake_up();
    assert_eq!(letters(&mailbox), [2, 3]);
    mailbox.post(Kind::Call, 4).unwrap();
    assert_eq!(bell.0.get(), 1);
}

#[test]
fn the_door_closes_to_calls_first() {
    // L-50, L-51
    let bell = Counter::default();
    let mailbox = Mailbox::new(&bell);
    mailbox.post(Kind::Call, 1).unwrap();
    assert!(mailbox.is_open());
    assert!(mailbox.close(Door::WakesOnly).is_none());
    assert!(!mailbox.is_open());
    assert_eq!(mailbox.post(Kind::Call, 2), Err(2));
    assert_eq!(mailbox.post(Kind::Wake, 3), Ok(()));
    mailbox.wait();
    assert!(mailbox.close(Door::Shut).is_some());
    assert!(mailbox.close(Door::WakesOnly).is_none(), "it stays shut");
    assert_eq!(mailbox.post(Kind::Wake, 4), Err(4));
    assert_eq!(letters(&mailbox), [1, 3]);
}
