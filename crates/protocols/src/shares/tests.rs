//! Shares and boxes hand everything on, and a share that is busy ends its connection.

use super::*;
use crate::Outcome;
use crate::fake::{Diary, Fake};

/// Plays every callback, and answers what was written down.
fn play(fake: &Fake, log: &crate::fake::Log) -> Vec<String> {
    fake.made();
    fake.pause();
    fake.resume();
    assert!(matches!(fake.feed(b"hello"), Outcome::Data(5)));
    assert_eq!(fake.eof(), Some(AtEof::KeepWriting));
    fake.lose();
    assert_eq!(fake.failure(), None);
    log.take()
}

#[test]
fn shares_and_boxes_hand_every_callback_on() {
    let wraps: [fn(Diary) -> Box<dyn Protocol>; 5] = [
        |diary| Box::new(diary),
        |diary| Box::new(Box::new(diary)),
        |diary| Box::new(Rc::new(RefCell::new(diary))),
        |diary| Box::new(Rc::new(RefCell::new(Box::new(diary) as Box<dyn Protocol>))),
        |diary| Box::new(Rc::new(RefCell::new(diary)) as Rc<RefCell<dyn Protocol>>),
    ];
    for wrap in wraps {
        let (diary, log) = Diary::with_log();
        let (fake, _transport) = Fake::with(wrap(diary));
        let expected = ["made", "pause", "resume", "data hello", "eof", "lost"];
        assert_eq!(play(&fake, &log), expected);
    }
}

struct Buffered([u8; 8], usize);

impl Protocol for Buffered {
    fn get_buffer(&mut self, _: Option<usize>) -> Option<&mut [u8]> {
        Some(&mut self.0)
    }

    fn buffer_updated(&mut self, _: &Transport, length: usize) -> io::Result<()> {
        self.1 += length;
        Ok(())
    }
}

#[test]
fn a_shared_protocol_receives_into_its_own_memory() {
    let share = Rc::new(RefCell::new(Buffered([0; 8], 0)));
    let (fake, _transport) = Fake::new(share.clone());
    assert!(matches!(fake.feed(b"hello"), Outcome::Data(5)));
    assert_eq!((&share.borrow().0[..5], share.borrow().1), (&b"hello"[..], 5));
    let (fake, _transport) = Fake::new(Box::new(Buffered([0; 8], 0)));
    assert!(matches!(fake.feed(b"hello, world"), Outcome::Data(8)));
}

/// Has one callback come while the share is borrowed; the connection must end and say why.
fn check_busy(callback: impl FnOnce(&Fake)) {
    let (diary, log) = Diary::with_log();
    let share = Rc::new(RefCell::new(diary));
    let (fake, transport) = Fake::new(share.clone());
    let borrow = share.borrow();
    callback(&fake);
    drop(borrow);
    let cause = fake.cause().expect("the connection has failed").to_string();
    assert!(cause.contains("Diary") && cause.contains("borrowed"), "{cause}");
    assert!(transport.is_closing());
    assert!(log.borrow().is_empty(), "the callback was left out");
    fake.lose();
    assert_eq!(*log.borrow(), [format!("lost {cause}")], "it is told, once it is free");
}

#[test]
fn a_busy_share_ends_its_connection() {
    check_busy(Fake::made);
    check_busy(Fake::pause);
    check_busy(Fake::resume);
    check_busy(|fake| assert!(matches!(fake.feed(b"hello"), Outcome::Unread)));
    check_busy(|fake| assert_eq!(fake.eof(), None));
}

#[test]
fn a_share_that_is_busy_at_the_loss_is_not_told() {
    let (diary, log) = Diary::with_log();
    let share = Rc::new(RefCell::new(diary));
    let (fake, transport) = Fake::new(share.clone());
    transport.close();
    let borrow = share.borrow();
    fake.lose();
    drop(borrow);
    assert!(log.borrow().is_empty());
    assert_eq!(Rc::strong_count(&share), 1, "the connection has let go of it");
    assert!(fake.cause().is_none(), "the first end counts");
}

#[test]
fn a_busy_share_still_has_a_name() {
    let share = Rc::new(RefCell::new(Buffered([0; 8], 0)));
    let _borrow = share.borrow_mut();
    assert!(Protocol::type_name(&share).ends_with("Buffered"));
}
