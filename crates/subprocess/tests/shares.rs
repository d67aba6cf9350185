//! Protocols of children that are shared, boxed, looked at and exchanged.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidegate_protocols::WithProtocolError;
use tidegate_subprocess::{SubprocessProtocol, SubprocessTransport, subprocess_exec};
use tidegate_testkit::run;

mod support;
use support::{Idle, Recorder, Told, exec, keep_reports, messages, shell, until};

#[test]
fn a_share_is_a_protocol_and_so_is_a_box() {
    run(async {
        let recorder = Recorder::new();
        let log = recorder.log();
        let share = Rc::new(RefCell::new(recorder));
        let given = share.clone();
        let boxed = move || Box::new(given) as Box<dyn SubprocessProtocol>;
        let transport = subprocess_exec(boxed, "/bin/echo").arg("hello").await.expect("a child");
        let looked = transport.with_protocol(|protocol: &mut Recorder| protocol.log().told());
        assert_eq!(looked.expect("its own type").first(), Some(&Told::Made));
        assert!(transport.closed().await.is_none());
        drop(share);
        log.assert_grammar();
        assert_eq!(log.data(1), "hello\n");
    });
}

#[test]
#[expect(clippy::await_holding_refcell_ref, reason = "it is what must not be done")]
fn a_share_that_is_borrowed_ends_its_child() {
    run(async {
        let reports = keep_reports();
        let share = Rc::new(RefCell::new(Recorder::new()));
        let given = share.clone();
        let transport = subprocess_exec(move || given, "/bin/cat").await.expect("a child");
        let held = share.borrow_mut();
        transport.stdin().expect("piped").write(b"hello");
        let cause = transport.closed().await.expect("a cause");
        assert!(cause.to_string().contains("borrowed when its callback was due"), "{cause}");
        drop(held);
        let told = messages(&reports);
        let first = "Fatal error: protocol.pipe_data_received() call failed.";
        assert_eq!(told.first().map(String::as_str), Some(first));
        let last = "Fatal error: protocol.connection_lost() call failed.";
        assert_eq!(told.last().map(String::as_str), Some(last));
    });
}

#[test]
fn a_protocol_can_be_looked_at() {
    run(async {
        let (builder, _) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        assert_eq!(transport.with_protocol(|_: &mut Recorder| 7), Ok(7));
        assert_eq!(transport.with_protocol(|_: &mut Idle| ()), Err(WithProtocolError::OtherType));
        let within = transport
            .with_protocol(|_: &mut Recorder| transport.with_protocol(|_: &mut Recorder| ()));
        assert_eq!(within, Ok(Err(WithProtocolError::Busy)));
        transport.close();
        transport.closed().await;
        assert_eq!(transport.with_protocol(|_: &mut Recorder| ()), Err(WithProtocolError::Lost));
    });
}

#[test]
fn another_protocol_takes_over_in_the_middle() {
    run(async {
        let (builder, first) = shell("echo one; read line; echo two");
        let transport = builder.await.expect("a child");
        until(|| first.data(1) == "one\n").await;
        let recorder = Recorder::new();
        let second = recorder.log();
        transport.set_protocol(recorder);
        assert_eq!(first.told().last(), Some(&Told::Dropped));
        transport.stdin().expect("piped").write(b"\n");
        assert!(transport.closed().await.is_none());
        assert_eq!(second.data(1), "two\n");
        assert_eq!(second.count(|told| *told == Told::Made), 0);
        assert_eq!(second.count(|told| matches!(told, Told::Exited(Some(0)))), 1);
        assert_eq!(second.told().last(), Some(&Told::Dropped));
        // After the loss it is dropped unused.
        let third = Recorder::new();
        let log = third.log();
        transport.set_protocol(third);
        assert_eq!(log.told(), [Told::Dropped]);
    });
}

#[test]
fn a_change_that_panics_ends_the_child() {
    struct Loud(Rc<Cell<bool>>);
    impl SubprocessProtocol for Loud {}
    impl Drop for Loud {
        fn drop(&mut self) {
            if self.0.replace(false) {
                panic!("on purpose");
            }
        }
    }
    run(async {
        let reports = keep_reports();
        let loud = Loud(Rc::new(Cell::new(true)));
        let transport = subprocess_exec(move || loud, "/bin/cat").await.expect("a child");
        transport.set_protocol(Idle);
        let cause = transport.closed().await.expect("a cause");
        assert!(cause.to_string().ends_with("on purpose"), "{cause}");
        assert_eq!(messages(&reports), ["Fatal error on subprocess transport"]);
    });
}

#[test]
fn a_protocol_that_keeps_its_handle_is_dropped_all_the_same() {
    struct Keeps(Option<SubprocessTransport>, Rc<Cell<bool>>);
    impl SubprocessProtocol for Keeps {
        fn connection_made(&mut self, transport: &SubprocessTransport) {
            self.0 = Some(transport.clone());
        }
    }
    impl Drop for Keeps {
        fn drop(&mut self) {
            assert!(self.0.is_some());
            self.1.set(true);
        }
    }
    run(async {
        let dropped = Rc::new(Cell::new(false));
        let keeps = Keeps(None, dropped.clone());
        let transport = subprocess_exec(move || keeps, "/bin/true").await.expect("a child");
        transport.closed().await;
        assert!(dropped.get());
    });
}
