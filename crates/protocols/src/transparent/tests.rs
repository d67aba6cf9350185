//! Calls go down through a layer and callbacks come up, as if it were not there.

use std::pin::pin;
use std::task::Waker;

use super::*;
use crate::Outcome;
use crate::fake::{Diary, Fake, Log};
use crate::layer::stack;

/// A wire with so many layers, a protocol on top, and what the opener was told.
struct Storeys {
    fake: Rc<Fake>,
    told: Rc<Cell<Option<Result<Transport, Cause>>>>,
}

impl Storeys {
    fn build(count: usize, protocol: impl Protocol) -> Storeys {
        let layers: Vec<Rc<dyn Layer>> = (0..count).map(|_| Rc::new(Transparent) as _).collect();
        let told = Rc::new(Cell::new(None));
        let opener = told.clone();
        let wire = stack(&layers, Box::new(protocol), None, move |word| {
            assert!(opener.replace(Some(word)).is_none(), "told twice");
        });
        Storeys { fake: Fake::with(wire).0, told }
    }

    /// Delivers `connection_made`, and answers with the transport that the top layer opened with.
    fn open(&self) -> Transport {
        self.fake.made();
        self.told.take().expect("told at once").expect("open")
    }
}

#[test]
fn callbacks_come_up() {
    for count in 1..=3 {
        let (diary, log) = Diary::with_log();
        let storeys = Storeys::build(count, diary);
        storeys.open();
        let fake = &storeys.fake;
        fake.pause();
        fake.resume();
        assert!(matches!(fake.feed(b"hello"), Outcome::Data(5)));
        // A layer answers what its protocol answers, which is not the default.
        assert_eq!(fake.eof(), Some(AtEof::KeepWriting));
        fake.lose();
        assert_eq!(fake.failure(), None);
        assert_eq!(*log.borrow(), ["made", "pause", "resume", "data hello", "eof", "lost"]);
    }
}

#[test]
fn calls_go_down() {
    for count in 1..=3 {
        let storeys = Storeys::build(count, Diary::default());
        let transport = storeys.open();
        transport.write(b"a");
        transport.write_bytes(Bytes::from_static(b"b"));
        assert_eq!(transport.writelines(["c", "d"]), Flow::Open);
        let flush = pin!(transport.flush()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(flush, Poll::Ready(Ok(()))));
        transport.write_eof().unwrap();
        transport.pause_reading();
        transport.resume_reading();
        transport.set_write_buffer_limits(Some(100), None).unwrap();
        assert_eq!(transport.get_write_buffer_limits().low(), 25);
        transport.set_write_buffer_limits(None, None).unwrap();
        assert_eq!(transport.get_write_buffer_limits(), WriteLimits::TLS);
        assert_eq!(transport.get_write_buffer_size(), 7);
        assert_eq!(transport.statistics().buffered, 3);
        assert_eq!(transport.peername(), Some(Address::Unnamed));
        assert_eq!(transport.sockname(), None);
        assert_eq!(transport.get_extra_info(), Some(crate::PeerName(Address::Unnamed)));
        assert_eq!(transport.with_socket(|_| ()), None);
        assert!(transport.can_write_eof() && transport.peer_hung_up() && transport.is_reading());
        assert!(!transport.is_closing());
        assert_eq!(transport.flow(), Flow::Open);
        transport.close_lingering(9, Duration::from_millis(1));
        transport.close();
        transport.abort();
        transport.fail(Cause::from(io::Error::other("on purpose")));
        assert!(transport.is_closing() && !transport.is_reading());
        let expected = [
            "write a",
            "write_bytes b",
            "writelines c|d",
            "poll_flush",
            "poll_flush",
            "write_eof",
            "pause_reading",
            "resume_reading",
            "close_lingering 9 1ms",
            "close",
            "abort",
            "fail on purpose",
        ];
        assert_eq!(storeys.fake.calls(), expected);
    }
}

#[test]
fn each_storey_has_a_handle_of_its_own() {
    let seen = Rc::new(Cell::new(None));
    let note = seen.clone();
    let storeys = Storeys::build(
        2,
        Diary::default().at("data", move |transport| {
            note.set(Some(transport.clone()));
            Ok(())
        }),
    );
    let opened = storeys.open();
    storeys.fake.feed(b"x");
    let seen = seen.take().unwrap();
    assert!(seen.ptr_eq(&opened), "the top layer opens with what its protocol sees");
    assert!(!seen.ptr_eq(&storeys.fake.face().unwrap()));
}

#[test]
fn the_protocol_is_seen_and_changed_through_the_layer() {
    let log = Log::default();
    let storeys = Storeys::build(2, Diary::named("a", &log));
    let transport = storeys.open();
    let name = || transport.with_protocol(|diary: &mut Diary| diary.name);
    assert_eq!(name(), Ok("a"));
    let wire = storeys.fake.face().unwrap();
    assert_eq!(wire.with_protocol(|_: &mut Diary| ()), Err(WithProtocolError::OtherType));

    // T-24
    transport.set_protocol(Diary::named("b", &log));
    assert_eq!(name(), Ok("b"));
    storeys.fake.feed(b"x");
    let inner = log.clone();
    transport.set_protocol(Diary::named("c", &log).at("data", move |transport| {
        let busy = transport.with_protocol(|_: &mut Diary| ());
        assert_eq!(busy, Err(WithProtocolError::Busy));
        transport.set_protocol(Diary::named("d", &inner));
        Ok(())
    }));
    storeys.fake.feed(b"y");
    storeys.fake.lose();
    assert_eq!(name(), Err(WithProtocolError::Lost));
    let expected = [
        "a made",
        "a dropped",
        "b data x",
        "b dropped",
        "c data y",
        "c dropped",
        "d lost",
        "d dropped",
    ];
    assert_eq!(*log.borrow(), expected);
}

#[test]
fn a_change_that_panics_ends_the_connection() {
    let storeys = Storeys::build(1, Diary::default());
    storeys.open().wrap_protocol(|_| panic!("on purpose"));
    assert_eq!(storeys.fake.calls(), ["fail panicked: on purpose"]);
}

/// Lets one callback fail; the wire must hear of it, by the callback's own name, and tell the loss.
fn check_failing(
    callback: &'static str,
    told_as: &'static str,
    script: fn(&Transport) -> io::Result<()>,
    play: fn(&Fake),
) {
    for count in 1..=2 {
        let (diary, log) = Diary::with_log();
        let storeys = Storeys::build(count, diary.at(callback, script));
        storeys.open();
        log.take();
        play(&storeys.fake);
        let (stage, text) = storeys.fake.failure().expect("the wire has heard of it");
        assert_eq!(stage, told_as);
        assert!(text.contains("on purpose"), "{text}");
        storeys.fake.lose();
        assert_eq!(log.borrow().last().unwrap(), &format!("lost {text}"), "after {callback}");
    }
}

#[test]
fn failing_callbacks_go_on_to_the_wire() {
    // T-14
    let feed = |fake: &Fake| drop(fake.feed(b"x"));
    let eof = |fake: &Fake| assert_eq!(fake.eof(), None);
    let fail = |_: &Transport| Err(io::Error::other("on purpose"));
    check_failing("data", "data_received", fail, feed);
    check_failing("eof", "eof_received", fail, eof);
    let panic = |_: &Transport| panic!("on purpose");
    check_failing("data", "data_received", panic, feed);
    check_failing("eof", "eof_received", panic, eof);
    check_failing("pause", "pause_writing", panic, Fake::pause);
    check_failing("resume", "resume_writing", panic, Fake::resume);
}

#[test]
fn a_greeting_that_panics_fails_the_opening_with_that() {
    // TLS-16
    let (diary, log) = Diary::with_log();
    let storeys = Storeys::build(2, diary.at("made", |_| panic!("on purpose")));
    storeys.fake.made();
    assert_eq!(storeys.fake.failure().unwrap().0, "connection_made");
    storeys.fake.lose();
    let cause = storeys.told.take().expect("told").expect_err("failed");
    assert_eq!(cause.to_string(), "panicked: on purpose");
    assert_eq!(*log.borrow(), ["made", "lost panicked: on purpose"]);
}

#[test]
fn a_greeting_that_closes_opens_all_the_same() {
    // C-15
    let closing = Diary::default().at("made", |transport| {
        transport.close();
        Ok(())
    });
    assert!(Storeys::build(2, closing).open().is_closing());
}

#[test]
fn a_wire_that_goes_before_it_was_made_fails_the_opening() {
    let log = Log::default();
    let storeys = Storeys::build(2, Diary::named("a", &log));
    storeys.fake.forget();
    assert!(storeys.told.take().expect("told").is_err());
    assert_eq!(*log.borrow(), ["a dropped"]);
}

#[test]
fn a_protocol_that_was_greeted_before_is_not_greeted_again() {
    let (diary, log) = Diary::with_log();
    let above = Above { greeted: true, ..Above::new(Box::new(diary)) };
    let (fake, _) = Fake::with(Transparent.under(above, Gate::new(None, |_| ())));
    fake.made();
    fake.feed(b"x");
    assert_eq!(*log.borrow(), ["data x"]);
}

#[test]
fn a_connection_that_is_gone_keeps_nothing() {
    let ends: [fn(&Fake); 2] = [Fake::lose, Fake::forget];
    for end in ends {
        let log = Log::default();
        let storeys = Storeys::build(3, Diary::named("a", &log));
        let transport = storeys.open();
        let closed = transport.closed();
        let weak = transport.downgrade();
        let raw = Rc::downgrade(&transport.raw());
        end(&storeys.fake);
        assert_eq!(log.borrow().last().unwrap(), "a dropped", "though a handle is still there");
        let closed = pin!(closed).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(closed, Poll::Ready(None)));
        // T-05: every method is still callable
        assert_eq!(transport.write(b"late"), Flow::Closed);
        assert_eq!(transport.peername(), Some(Address::Unnamed));
        transport.set_protocol(Diary::named("late", &log));
        assert_eq!(log.borrow().last().unwrap(), "late dropped");
        drop(transport);
        assert!(weak.upgrade().is_none() && raw.upgrade().is_none(), "a cycle is left");
    }
}

#[test]
fn a_raised_handle_above_a_layer_leaves_the_private_one_to_the_layer() {
    let seen = Rc::new(Cell::new(None));
    let note = seen.clone();
    let storeys = Storeys::build(
        1,
        Diary::default().at("data", move |transport| {
            note.set(Some(transport.clone()));
            Ok(())
        }),
    );
    let transport = storeys.open();
    let (upper, _) = Fake::new(Diary::default());
    let mut below = None;
    transport.raise(|private| {
        below = Some(private);
        upper.clone()
    });
    storeys.fake.feed(b"x");
    let below = below.unwrap();
    assert!(seen.take().unwrap().ptr_eq(&below));
    transport.write(b"secret");
    below.write(b"cipher");
    assert_eq!(upper.calls(), ["write secret"]);
    assert_eq!(storeys.fake.calls(), ["write cipher"]);
}

#[test]
fn reports_name_the_protocol_and_not_the_layer() {
    let storeys = Storeys::build(2, Diary::default());
    storeys.open();
    let mut name = "";
    let look = &mut |protocol: &mut dyn Protocol| name = Protocol::type_name(protocol);
    storeys.fake.face().unwrap().raw().with_protocol(look).unwrap();
    assert!(name.ends_with("Diary"), "{name}");
}

// T-03: or what the wire has to tell meanwhile would come to nobody
#[test]
fn the_layer_is_out_while_somebody_looks_at_the_protocol_above_it() {
    for count in 1..=3 {
        let storeys = Storeys::build(count, Diary::default());
        let transport = storeys.open();
        let wire = storeys.fake.face().unwrap();
        let busy = || wire.raw().with_protocol(&mut |_| ()) == Err(WithProtocolError::Busy);
        assert_eq!(transport.with_protocol(|_: &mut Diary| busy()), Ok(true));
        assert!(!busy());
        let panics = || transport.with_protocol(|_: &mut Diary| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert!(!busy());
        storeys.fake.lose();
    }
}
