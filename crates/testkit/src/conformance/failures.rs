//! A callback, a change of protocol or a destructor fails: that connection ends, and everything else goes on.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use rustix::io::Errno;
use tidegate_protocols::{Cause, Incoming, Protocol, Transport};

use super::stage::{Pair, Stage};
use super::{Case, case};
use crate::log::{Callback, Event, Log};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(a_failing_callback_ends_its_connection_and_is_reported),
    case!(a_panicking_callback_ends_its_connection_and_is_reported),
    case!(an_error_of_the_system_is_not_reported),
    case!(an_empty_buffer_is_an_error),
    case!(a_receive_that_reads_nothing_is_an_error),
    case!(a_busy_share_ends_its_connection),
    case!(a_failing_change_of_protocol_ends_the_connection),
    case!(a_failing_destructor_ends_nothing_else),
];

/// Brings a connection to the point where `callback` is called on its left side.
pub(super) async fn provoke(stage: &Stage, callback: Callback, left: Recorder) -> Pair {
    let pair = stage.connect_at_risk(left, Recorder::new()).await;
    match callback {
        Callback::ConnectionMade => {}
        Callback::DataReceived | Callback::GetBuffer | Callback::BufferUpdated => {
            pair.right.write(b"x");
        }
        Callback::EofReceived => pair.right.close(),
        Callback::PauseWriting | Callback::ResumeWriting => {
            stage.stuff(&pair.left, &pair.right).await;
            pair.left.set_write_buffer_limits(Some(0), None).expect("zero is a limit");
            if callback == Callback::ResumeWriting {
                pair.right.resume_reading();
            }
        }
        Callback::ConnectionLost => pair.left.close(),
    }
    pair.left.log.until(|log| log.has(callback)).await;
    pair
}

/// A recorder that is asked for what `callback` belongs to.
pub(super) fn recorder_for(callback: Callback) -> Recorder {
    match callback {
        Callback::GetBuffer | Callback::BufferUpdated => Recorder::new().buffered(16),
        _ => Recorder::new(),
    }
}

/// Asserts that a connection still carries bytes both ways.
async fn goes_on(bystander: &Pair) {
    for (writer, reader) in
        [(&bystander.left, &bystander.right), (&bystander.right, &bystander.left)]
    {
        let wanted = reader.log.received_len() + 5;
        writer.write(b"alive");
        reader.log.received_at_least(wanted).await;
    }
}

/// Lets `left` fail at `callback`, and asserts what is the same for every failure.
async fn check_failure(stage: &Stage, callback: Callback, left: Recorder) -> Pair {
    let bystander = stage.pair().await;
    let pair = provoke(stage, callback, left).await;
    pair.right.resume_reading();
    pair.lost().await;
    pair.left.log.assert_complete();
    goes_on(&bystander).await;
    pair
}

/// Asserts the cause and the report of a failure at `callback`.
async fn assert_told(stage: &Stage, callback: Callback, log: &Log, text: &str) {
    match callback {
        // It was called with the cause of the loss, and its own failure comes too late for it.
        Callback::ConnectionLost => assert!(log.cause().is_none()),
        _ => {
            let cause = log.cause().expect("a cause");
            assert!(cause.to_string().contains(text), "the cause is {cause}");
            assert!(!cause.is_os_error());
        }
    }
    let named = format!("protocol.{callback}() call failed.");
    let protocol = std::any::type_name::<Recorder>();
    stage
        .assert_reported(&["Fatal error:", &named, text, "transport:", "protocol:", protocol])
        .await;
}

// T-14, replaced: T-49
async fn a_failing_callback_ends_its_connection_and_is_reported(stage: Stage) {
    for callback in Callback::ALL {
        let left = recorder_for(callback).failing(callback);
        let pair = check_failure(&stage, callback, left).await;
        assert_told(&stage, callback, &pair.left.log, "fails on purpose").await;
    }
}

// T-14, replaced: T-49
async fn a_panicking_callback_ends_its_connection_and_is_reported(stage: Stage) {
    for callback in Callback::ALL {
        let left = recorder_for(callback).panicking(callback);
        let pair = check_failure(&stage, callback, left).await;
        assert_told(&stage, callback, &pair.left.log, "panics on purpose").await;
    }
}

// T-18
async fn an_error_of_the_system_is_not_reported(stage: Stage) {
    for callback in [Callback::DataReceived, Callback::BufferUpdated, Callback::EofReceived] {
        let left = recorder_for(callback).failing_with(callback, || Errno::NOSPC.into());
        let pair = check_failure(&stage, callback, left).await;
        let cause = pair.left.log.cause().expect("a cause");
        assert_eq!(cause.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
        stage.assert_reports(0).await;
    }
}

// T-23
async fn an_empty_buffer_is_an_error(stage: Stage) {
    let left = Recorder::new().buffered(0);
    let pair = check_failure(&stage, Callback::GetBuffer, left).await;
    assert!(!pair.left.log.has(Callback::BufferUpdated));
    let cause = pair.left.log.cause().expect("a cause");
    assert!(cause.to_string().contains("get_buffer() returned an empty buffer"), "{cause}");
    stage
        .assert_reported(&["protocol.get_buffer() call failed.", "returned an empty buffer"])
        .await;
}

/// A protocol that is asked to receive, and does not.
struct Idle(Box<dyn Protocol>);

impl Protocol for Idle {
    fn receive(&mut self, _: &Transport, _: &mut Incoming<'_>) -> io::Result<()> {
        Ok(())
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        self.0.connection_lost(transport, cause);
    }

    fn type_name(&self) -> &'static str {
        self.0.type_name()
    }
}

// T-23
async fn a_receive_that_reads_nothing_is_an_error(stage: Stage) {
    let pair = stage.pair().await;
    pair.left.wrap_protocol(|former| Box::new(Idle(former)));
    pair.right.write(b"x");
    pair.lost().await;
    assert!(pair.left.log.cause().is_some());
    stage.assert_reports(1).await;
}

// T-14: a share that is borrowed when its callback is due; `connection_lost` comes too early for it as well.
#[expect(clippy::await_holding_refcell_ref, reason = "the mistake that the case is about")]
async fn a_busy_share_ends_its_connection(stage: Stage) {
    let bystander = stage.pair().await;
    for callback in [Callback::DataReceived, Callback::EofReceived, Callback::PauseWriting] {
        let pair = stage.pair().await;
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        pair.left.wrap_protocol(move |former| {
            let shared = Rc::new(RefCell::new(former));
            keep.replace(Some(shared.clone()));
            Box::new(shared)
        });
        let shared = kept.take().expect("the change is made at once");
        let held = shared.borrow_mut();
        match callback {
            Callback::DataReceived => drop(pair.right.write(b"x")),
            Callback::EofReceived => pair.right.close(),
            _ => {
                stage.stuff(&pair.left, &pair.right).await;
                pair.left.set_write_buffer_limits(Some(0), None).expect("zero is a limit");
            }
        }
        let cause = pair.left.closed().await.expect("a cause");
        assert!(cause.to_string().contains("borrowed"), "{cause}");
        drop(held);
        pair.right.resume_reading();
        pair.right.log.lost().await;
        goes_on(&bystander).await;
        stage.a_while().await;
        let reports = stage.take_reports();
        let told = !reports.is_empty() && reports.iter().all(|report| report.contains("borrowed"));
        assert!(told, "the exception handler was told: {reports:?}");
        stage.forget(&pair.left);
    }
}

// T-24: the slot stays empty, so nobody is there to be told; the connection ends all the same.
async fn a_failing_change_of_protocol_ends_the_connection(stage: Stage) {
    fn break_it(transport: &Transport) {
        transport.wrap_protocol(|_| panic!("the change panics on purpose"));
    }
    let bystander = stage.pair().await;
    let inside =
        stage.connect(Recorder::new().on(Callback::DataReceived, break_it), Recorder::new()).await;
    let outside = stage.pair().await;
    inside.right.write(b"x");
    break_it(&outside.left);
    for pair in [inside, outside] {
        let cause = pair.left.closed().await.expect("a cause");
        assert!(cause.to_string().contains("panics on purpose"), "{cause}");
        pair.right.log.lost().await;
        assert!(pair.left.log.is_abandoned());
        assert!(!pair.left.log.has(Callback::ConnectionLost));
        stage.forget(&pair.left);
    }
    goes_on(&bystander).await;
    stage.assert_reports(2).await;
}

// T-04: a destructor that panics, at the loss and at an exchange.
async fn a_failing_destructor_ends_nothing_else(stage: Stage) {
    let fragile = || Recorder::new().at_drop(|| panic!("the destructor panics on purpose"));
    let bystander = stage.pair().await;
    let lost = stage.connect(fragile(), Recorder::new()).await;
    lost.left.close();
    lost.lost().await;
    lost.right.log.assert(&[Event::Made, Event::Eof, Event::Lost(None)]);
    let exchanged = stage.connect(fragile(), Recorder::new()).await;
    let next = Recorder::taking_over();
    let log = next.log();
    let left = Transport::clone(&exchanged.left);
    stage.handle().call_soon(move || left.set_protocol(next)).expect("an open loop");
    exchanged.left.log.until(Log::is_abandoned).await;
    exchanged.left.close();
    exchanged.right.log.lost().await;
    stage.a_while().await;
    assert!(log.is_abandoned());
    goes_on(&bystander).await;
    let reports = stage.take_reports();
    let told = reports.iter().filter(|report| report.contains("the destructor panics on purpose"));
    assert_eq!(
        (told.count(), reports.len()),
        (2, 2),
        "the exception handler was told: {reports:?}"
    );
    stage.forget(&exchanged.left);
}
