//! A handle hands each call on, moves with its clones, and shows its protocol.

use std::cell::Cell;
use std::pin::pin;
use std::task::Waker;

use super::*;
use crate::fake::{Diary, Fake, Log};
use crate::{LimitsError, PeerName, SockName};

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn each_call_goes_down() {
    let (fake, transport) = Fake::new(Diary::default());
    assert_eq!(transport.write(b"a"), Flow::Open);
    assert_eq!(transport.write_bytes(Bytes::from_static(b"b")), Flow::Open);
    assert_eq!(transport.writelines(["c", "", "d"]), Flow::Open);
    assert!(matches!(poll(transport.flush()), Poll::Ready(Ok(()))));
    transport.write_eof().unwrap();
    transport.pause_reading();
    transport.resume_reading();
    assert_eq!(transport.flow(), Flow::Open);
    assert!(transport.can_write_eof() && transport.is_reading() && transport.peer_hung_up());
    assert_eq!(transport.get_write_buffer_size(), 7);
    assert_eq!(transport.statistics().bytes_sent, 2);
    assert_eq!(transport.peername(), Some(Address::Unnamed));
    assert_eq!(transport.sockname(), None);
    // T-58
    assert_eq!(transport.get_extra_info(), Some(PeerName(Address::Unnamed)));
    assert_eq!(transport.get_extra_info::<SockName>(), None);
    assert_eq!(transport.with_socket(|_| ()), None);
    assert!(!transport.is_closing());
    transport.close_lingering(9, Duration::from_millis(1));
    transport.close();
    transport.abort();
    transport.fail(Cause::from(io::Error::other("on purpose")));
    assert!(transport.is_closing());
    assert_eq!(transport.write(b"late"), Flow::Closed);
    let expected = [
        "write a",
        "write_bytes b",
        "writelines c||d",
        "poll_flush",
        "poll_flush",
        "write_eof",
        "pause_reading",
        "resume_reading",
        "close_lingering 9 1ms",
        "close",
        "abort",
        "fail on purpose",
        "write late",
    ];
    assert_eq!(fake.calls(), expected);
}

#[test]
fn limits_are_checked_above_and_their_default_is_known_below() {
    let (_fake, transport) = Fake::new(Diary::default());
    let limits = || {
        let limits = transport.get_write_buffer_limits();
        (limits.low(), limits.high())
    };
    // T-45
    transport.set_write_buffer_limits(Some(3), None).unwrap();
    assert_eq!(limits(), (0, 3));
    // T-46
    let error = transport.set_write_buffer_limits(Some(0), Some(1)).unwrap_err();
    assert_eq!(error, LimitsError { high: 0, low: 1 });
    assert_eq!(limits(), (0, 3), "the old limits stay");
    transport.set_write_buffer_limits(None, None).unwrap();
    assert_eq!(limits(), (128 * 1024, 512 * 1024), "the default of this transport");
}

#[test]
fn lines_are_a_users_code_and_come_before_the_transport() {
    let (fake, transport) = Fake::new(Diary::default());
    let inside = transport.clone();
    transport.writelines((0..2).map(|line| {
        inside.write(b"first");
        line.to_string()
    }));
    assert_eq!(fake.calls(), ["write first", "write first", "writelines 0|1"]);
}

#[test]
fn closed_resolves_with_the_cause() {
    let (fake, transport) = Fake::new(Diary::default());
    let closed = transport.closed();
    assert!(poll(transport.closed()).is_pending());
    transport.fail(Cause::from(io::Error::other("on purpose")));
    assert!(poll(transport.closed()).is_pending());
    fake.lose();
    let Poll::Ready(Some(cause)) = poll(closed) else { panic!("it is closed") };
    assert_eq!(cause.to_string(), "on purpose");
}

#[test]
fn a_raised_handle_moves_with_all_its_clones() {
    let (fake, transport) = Fake::new(Diary::default());
    let (clone, weak) = (transport.clone(), transport.downgrade());
    let future = transport.closed();
    let mut below = None;
    let (upper, _) = Fake::new(Diary::default());
    transport.raise(|private| {
        below = Some(private);
        upper.clone()
    });
    let below = below.unwrap();

    for handle in [&transport, &clone, &weak.upgrade().unwrap()] {
        handle.write(b"secret");
        assert!(handle.ptr_eq(&transport) && !handle.ptr_eq(&below));
        assert_eq!(upper.calls(), ["write secret"]);
    }
    assert!(fake.calls().is_empty(), "nothing passes the new transport by");
    below.write(b"cipher");
    assert_eq!(fake.calls(), ["write cipher"]);
    // Futures made before ask the new transport too.
    upper.lose();
    assert!(poll(future).is_ready());
}

#[test]
fn callbacks_below_a_raised_handle_are_given_the_private_one() {
    let (diary, _log) = Diary::with_log();
    let seen = Rc::new(Cell::new(None));
    let note = seen.clone();
    let (fake, transport) = Fake::new(diary.at("data", move |face| {
        note.set(Some(face.clone()));
        Ok(())
    }));
    fake.feed(b"x");
    assert!(seen.take().unwrap().ptr_eq(&transport));
    let mut below = None;
    transport.raise(|private| {
        below = Some(private);
        Fake::new(Diary::default()).0
    });
    fake.feed(b"x");
    assert!(seen.take().unwrap().ptr_eq(&below.unwrap()));
}

#[test]
fn a_handle_raised_twice_stands_on_both() {
    let (fake, transport) = Fake::new(Diary::default());
    let (first, _) = Fake::new(Diary::default());
    let (second, _) = Fake::new(Diary::default());
    let (mut below_first, mut below_second) = (None, None);
    transport.raise(|below| {
        below_first = Some(below);
        first.clone()
    });
    transport.raise(|below| {
        below_second = Some(below);
        second.clone()
    });
    transport.write(b"top");
    below_second.unwrap().write(b"middle");
    below_first.unwrap().write(b"bottom");
    assert_eq!(second.calls(), ["write top"]);
    assert_eq!(first.calls(), ["write middle"]);
    assert_eq!(fake.calls(), ["write bottom"]);
}

#[test]
fn a_weak_handle_keeps_nothing() {
    let (fake, transport) = Fake::new(Diary::default());
    let weak = transport.downgrade();
    assert!(weak.upgrade().unwrap().ptr_eq(&transport));
    fake.forget();
    drop((fake, transport));
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_protocol_can_be_looked_at() {
    let log = Log::default();
    let (fake, transport) = Fake::new(Diary::named("a", &log));
    assert_eq!(transport.with_protocol(|diary: &mut Diary| diary.name), Ok("a"));
    struct Other;
    impl Protocol for Other {}
    let other = transport.with_protocol(|_: &mut Other| ());
    assert_eq!(other, Err(WithProtocolError::OtherType));
    fake.forget();
    assert_eq!(transport.with_protocol(|_: &mut Diary| ()), Err(WithProtocolError::Lost));
}

#[test]
fn a_boxed_or_shared_protocol_can_be_looked_at() {
    let look = |transport: &Transport| transport.with_protocol(|diary: &mut Diary| diary.name);
    let log = Log::default();
    let boxed: Box<dyn Protocol> = Box::new(Diary::named("a", &log));
    let (_fake, transport) = Fake::new(boxed);
    assert_eq!(look(&transport), Ok("a"));
    assert_eq!(transport.with_protocol(|_: &mut Box<dyn Protocol>| ()), Ok(()));

    let share = Rc::new(RefCell::new(Diary::named("b", &log)));
    let (_fake, transport) = Fake::new(share.clone());
    assert_eq!(look(&transport), Ok("b"));
    let borrow = share.borrow();
    assert_eq!(look(&transport), Err(WithProtocolError::Busy));
    drop(borrow);
}

#[test]
fn a_protocol_in_a_callback_cannot_be_looked_at() {
    let busy = Rc::new(Cell::new(None));
    let note = busy.clone();
    let (diary, _log) = Diary::with_log();
    let (fake, transport) = Fake::new(diary.at("made", move |transport| {
        note.set(Some(transport.with_protocol(|_: &mut Diary| ())));
        Ok(())
    }));
    fake.made();
    assert_eq!(busy.get(), Some(Err(WithProtocolError::Busy)));
    let inner = transport.clone();
    let nested = move |_: &mut Diary| inner.with_protocol(|_: &mut Diary| ());
    assert_eq!(transport.with_protocol(nested), Ok(Err(WithProtocolError::Busy)));
}

#[test]
fn a_protocol_can_be_changed_in_a_callback() {
    let log = Log::default();
    let inner = log.clone();
    let (fake, transport) = Fake::new(Diary::named("a", &log).at("data", move |transport| {
        transport.set_protocol(Diary::named("b", &inner));
        inner.borrow_mut().push("asked".to_owned());
        Ok(())
    }));
    // T-24: the next read goes to the new one, which gets no connection_made
    fake.feed(b"1");
    fake.feed(b"2");
    let expected = ["a data 1", "asked", "a dropped", "b data 2"];
    assert_eq!(*log.borrow(), expected);
    log.take();
    transport.wrap_protocol(|diary| Box::new(Rc::new(RefCell::new(diary))));
    fake.feed(b"3");
    fake.lose();
    assert_eq!(*log.borrow(), ["b data 3", "b lost", "b dropped"]);
}

#[test]
fn a_change_that_panics_ends_the_connection() {
    let (diary, log) = Diary::with_log();
    let (fake, transport) = Fake::new(diary);
    transport.wrap_protocol(|_| panic!("on purpose"));
    assert_eq!(fake.failure(), Some(("change", "panicked: on purpose".to_owned())));
    fake.lose();
    assert!(log.borrow().is_empty());
}

#[test]
fn a_change_that_panics_after_a_look_ends_the_connection_too() {
    let (fake, transport) = Fake::new(Diary::default());
    let look = |_: &mut Diary| transport.wrap_protocol(|_| panic!("on purpose"));
    let looked = catch_unwind(AssertUnwindSafe(|| transport.with_protocol(look)));
    assert!(looked.is_err());
    assert!(transport.is_closing());
    assert_eq!(fake.cause().unwrap().to_string(), "panicked: on purpose");
}

#[test]
fn a_look_that_panics_ends_nothing() {
    let (diary, log) = Diary::with_log();
    let (fake, transport) = Fake::new(diary);
    let look = |_: &mut Diary| panic!("on purpose");
    let looked = catch_unwind(AssertUnwindSafe(|| transport.with_protocol(look)));
    assert!(looked.is_err());
    assert!(!transport.is_closing());
    fake.feed(b"x");
    assert_eq!(*log.borrow(), ["data x"]);
}
