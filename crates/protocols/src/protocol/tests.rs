//! The provided `receive`: which callback gets what was read, and who is to blame when none does.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::Outcome;
use crate::fake::{Diary, Fake};

#[test]
fn a_protocol_without_a_buffer_gets_the_data() {
    let (diary, log) = Diary::with_log();
    let (fake, _transport) = Fake::new(diary);
    assert!(matches!(fake.feed(b"hello"), Outcome::Data(5)));
    assert_eq!(*log.borrow(), ["data hello"]);
    assert_eq!(fake.failure(), None);
}

#[test]
fn what_is_no_data_reaches_no_callback() {
    let (diary, log) = Diary::with_log();
    let (fake, _transport) = Fake::new(diary);
    assert!(matches!(fake.feed(b""), Outcome::Eof));
    // T-12
    assert!(matches!(fake.read(Err(io::ErrorKind::WouldBlock.into())), Outcome::Nothing));
    assert!(matches!(fake.read(Err(io::ErrorKind::Interrupted.into())), Outcome::Nothing));
    let reset = fake.read(Err(io::ErrorKind::ConnectionReset.into()));
    assert!(
        matches!(reset, Outcome::Failed(error) if error.kind() == io::ErrorKind::ConnectionReset)
    );
    assert!(log.borrow().is_empty());
    assert_eq!(fake.failure(), None, "the read failed, not the protocol");
}

/// Receives into a buffer of this size.
struct Buffered {
    memory: Vec<u8>,
    log: Rc<RefCell<Vec<String>>>,
    fails: bool,
}

impl Buffered {
    fn new(size: usize) -> (Buffered, Rc<RefCell<Vec<String>>>) {
        let log = Rc::default();
        (Buffered { memory: vec![0; size], log: Rc::clone(&log), fails: false }, log)
    }
}

impl Protocol for Buffered {
    fn get_buffer(&mut self, size_hint: Option<usize>) -> Option<&mut [u8]> {
        self.log.borrow_mut().push(format!("get {size_hint:?}"));
        Some(&mut self.memory)
    }

    fn buffer_updated(&mut self, _: &Transport, length: usize) -> io::Result<()> {
        let filled = self.memory[..length].escape_ascii().to_string();
        self.log.borrow_mut().push(format!("updated {filled}"));
        if self.fails { Err(io::Error::other("on purpose")) } else { Ok(()) }
    }
}

#[test]
fn a_protocol_with_a_buffer_is_told_how_much_of_it_was_filled() {
    let (buffered, log) = Buffered::new(4);
    let (fake, _transport) = Fake::new(buffered);
    // T-22
    assert!(matches!(fake.feed(b"hello"), Outcome::Data(4)));
    assert_eq!(*log.borrow(), ["get None", "updated hell"]);
    assert!(matches!(fake.feed(b""), Outcome::Eof));
    assert_eq!(*log.borrow(), ["get None", "updated hell", "get None"]);
}

#[test]
fn an_empty_buffer_is_a_failure_of_get_buffer() {
    let (buffered, log) = Buffered::new(0);
    let (fake, _transport) = Fake::new(buffered);
    // T-23
    assert!(matches!(fake.feed(b"hello"), Outcome::Unread));
    let text = "get_buffer() returned an empty buffer".to_owned();
    assert_eq!(fake.failure(), Some(("get_buffer", text)));
    assert_eq!(*log.borrow(), ["get None"]);
}

#[test]
fn each_failure_is_laid_to_its_callback() {
    // T-14 T-23
    let (mut buffered, _log) = Buffered::new(4);
    buffered.fails = true;
    let (fake, _transport) = Fake::new(buffered);
    assert!(matches!(fake.feed(b"x"), Outcome::Data(1)));
    assert_eq!(fake.failure(), Some(("buffer_updated", "on purpose".to_owned())));

    let (diary, _log) = Diary::with_log();
    let (fake, _transport) = Fake::new(diary.at("data", |_| panic!("on purpose")));
    fake.feed(b"x");
    assert_eq!(fake.failure(), Some(("data_received", "panicked: on purpose".to_owned())));
}

struct ReadsItself(fn(&mut Incoming<'_>));

impl Protocol for ReadsItself {
    fn receive(&mut self, _: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        (self.0)(incoming);
        Ok(())
    }
}

#[test]
fn a_receive_of_ones_own_reads_once() {
    let outcome = |receive: fn(&mut Incoming<'_>)| Fake::new(ReadsItself(receive)).0.feed(b"hello");
    assert!(matches!(outcome(|_| {}), Outcome::Unread));
    let twice = outcome(|incoming| {
        assert_eq!(incoming.stage(), "receive");
        assert_eq!(incoming.read(&mut [0; 3]), Some(3));
        assert_eq!(incoming.read(&mut [0; 3]), None);
        assert_eq!(incoming.shared(), None);
    });
    assert!(matches!(twice, Outcome::Data(3)));
    let shared = outcome(|incoming| {
        assert_eq!(incoming.shared(), Some(&b"hello"[..]));
        assert_eq!(incoming.read(&mut [0; 3]), None);
    });
    assert!(matches!(shared, Outcome::Data(5)));
    // T-23
    let empty = outcome(|incoming| assert_eq!(incoming.read(&mut []), None));
    assert!(matches!(empty, Outcome::Failed(error)
        if error.to_string() == "get_buffer() returned an empty buffer"));
}

#[test]
fn the_name_of_a_protocol_is_that_of_its_type() {
    let protocol: Box<dyn Protocol> = Box::new(ReadsItself(|_| {}));
    assert!(Protocol::type_name(&*protocol).ends_with("ReadsItself"));
    let boxed: Box<dyn Protocol> = Box::new(protocol);
    let shared: Box<dyn Protocol> = Box::new(Rc::new(RefCell::new(boxed)));
    assert!(Protocol::type_name(&*shared).ends_with("ReadsItself"));
}

#[test]
fn every_default_does_nothing() {
    struct Idle;
    impl Protocol for Idle {}
    let (fake, _transport) = Fake::new(Idle);
    assert_eq!(size_of_val(&Idle), 0, "its box is no allocation");
    fake.made();
    fake.pause();
    fake.resume();
    assert!(matches!(fake.feed(b"hello"), Outcome::Data(5)));
    // T-15: what asyncio's default answers
    assert_eq!(fake.eof(), Some(AtEof::Close));
    fake.lose();
    assert!(fake.calls().is_empty());
    assert_eq!(fake.failure(), None);
}
