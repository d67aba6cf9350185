//! A gate tells once, and a stack is open when its top is, or failed when any layer has.

use std::cell::RefCell;

use super::*;
use crate::fake::{Diary, Fake};

/// What the opener was told.
type Words = Rc<RefCell<Vec<Result<Transport, Cause>>>>;

fn opener() -> (Words, impl FnOnce(Result<Transport, Cause>) + 'static) {
    let words = Words::default();
    let told = words.clone();
    (words, move |word| told.borrow_mut().push(word))
}

/// The words as texts.
fn texts(words: &Words) -> Vec<String> {
    let text = |word: &Result<Transport, Cause>| match word {
        Ok(_) => "open".to_owned(),
        Err(cause) => cause.to_string(),
    };
    words.borrow().iter().map(text).collect()
}

fn refused() -> Cause {
    Cause::from(io::Error::other("refused"))
}

const DROPPED: &str = "the connection was lost before its layers had opened";

#[test]
fn a_gate_tells_that_it_is_open() {
    let (words, told) = opener();
    let gate = Gate::new(Some("example.org"), told);
    assert_eq!(gate.host(), Some("example.org"));
    let (_fake, transport) = Fake::new(Diary::default());
    gate.open(&transport);
    assert!(words.borrow()[0].as_ref().unwrap().ptr_eq(&transport));
    assert_eq!(texts(&words), ["open"], "once: its drop says no more");
}

#[test]
fn a_gate_tells_that_it_has_failed() {
    let (words, told) = opener();
    Gate::new(None, told).fail(refused());
    assert_eq!(texts(&words), ["refused"]);
}

#[test]
fn a_gate_that_is_dropped_has_failed() {
    let (words, told) = opener();
    drop(Gate::new(None, told));
    assert_eq!(texts(&words), [DROPPED]);
    let cause = words.borrow()[0].clone().unwrap_err();
    assert_eq!(cause.kind(), io::ErrorKind::ConnectionAborted);
}

/// A layer that keeps its gate for the test.
#[derive(Clone, Default)]
struct Kept {
    gate: Rc<RefCell<Option<Gate>>>,
    greeted: Rc<Cell<Option<bool>>>,
}

impl Kept {
    fn gate(&self) -> Gate {
        self.gate.take().expect("the layer was used")
    }
}

impl Layer for Kept {
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        self.greeted.set(Some(above.greeted));
        *self.gate.borrow_mut() = Some(gate);
        above.protocol
    }
}

/// Two layers whose gates are kept: the one next to the wire, the one above, and what the opener hears.
fn two_layers() -> (Kept, Kept, Words) {
    let (wire, top) = (Kept::default(), Kept::default());
    let (words, told) = opener();
    let layers: [Rc<dyn Layer>; 2] = [Rc::new(wire.clone()), Rc::new(top.clone())];
    stack(&layers, Box::new(Diary::default()), Some("example.org"), told);
    (wire, top, words)
}

#[test]
fn every_layer_of_a_stack_begins_fresh_and_knows_the_host() {
    let (wire, top, _words) = two_layers();
    for layer in [wire, top] {
        assert_eq!(layer.greeted.get(), Some(false));
        assert_eq!(layer.gate().host(), Some("example.org"));
    }
}

#[test]
fn only_the_top_opens_a_stack() {
    let (wire, top, words) = two_layers();
    let (_fake, transport) = Fake::new(Diary::default());
    wire.gate().open(&transport);
    assert!(texts(&words).is_empty());
    top.gate().open(&transport);
    assert_eq!(texts(&words), ["open"]);
}

#[test]
fn any_layer_fails_a_stack_and_the_first_word_counts() {
    let (wire, top, words) = two_layers();
    wire.gate().fail(refused());
    assert_eq!(texts(&words), ["refused"]);
    drop(top.gate());
    assert_eq!(texts(&words), ["refused"]);

    let (wire, top, words) = two_layers();
    drop(top.gate());
    drop(wire.gate());
    assert_eq!(texts(&words), [DROPPED]);

    let (wire, top, words) = two_layers();
    let (_fake, transport) = Fake::new(Diary::default());
    top.gate().open(&transport);
    wire.gate().fail(refused());
    assert_eq!(texts(&words), ["open"]);
}

#[test]
fn an_opener_may_use_the_transport_it_is_told() {
    let gate = Gate::new(None, |word| {
        word.unwrap().write(b"hello");
    });
    let (fake, transport) = Fake::new(Diary::default());
    gate.open(&transport);
    assert_eq!(fake.calls(), ["write hello"]);
}

#[test]
fn a_stack_of_nothing_is_the_protocol_itself() {
    let (words, told) = opener();
    let (diary, log) = Diary::with_log();
    let (fake, _transport) = Fake::with(stack(&[], Box::new(diary), None, told));
    assert_eq!(Rc::strong_count(&words), 1, "the opener was let go");
    fake.made();
    assert_eq!(*log.borrow(), ["made"]);
    assert!(texts(&words).is_empty());
}
