//! Layers between a protocol and its connection: what passes through them, and when they are open.

use std::io;
use std::rc::Rc;

use tidegate_protocols::layer::{Above, Gate, Layer, Transparent};
use tidegate_protocols::{AtEof, Flow, Protocol, Transport, WithProtocolError};

use super::ground::layered_by;
use super::stage::{Stage, pattern};
use super::{Case, case};
use crate::log::{Callback, Event, Log};
use crate::recorder::Recorder;

pub(super) const CASES: &[Case] = &[
    case!(layers_carry_everything_both_ways),
    case!(layers_pass_on_the_half_close, |can| can.half_close && can.answers_eof),
    case!(layers_pass_on_the_flow),
    case!(layers_pass_on_the_cause),
    case!(with_protocol_sees_the_application),
    case!(with_protocol_says_why_it_cannot),
    case!(a_layer_that_is_dropped_unopened_fails),
    case!(raised_clones_are_raised_together),
];

/// So many layers that do nothing.
fn layers(count: usize) -> Vec<Rc<dyn Layer>> {
    (0..count).map(|_| Rc::new(Transparent) as Rc<dyn Layer>).collect()
}

/// Two transports at the top of three layers each, and the logs of their protocols.
async fn connect_layered(stage: &Stage, left: Recorder, right: Recorder) -> [(Transport, Log); 2] {
    let logs = [left.log(), right.log()];
    let guard = |recorder| Box::new(stage.tripwire().guard(recorder));
    let (left, left_open) = layered_by(&layers(3), guard(left));
    let (right, right_open) = layered_by(&layers(3), guard(right));
    let below = stage.ground().connect(left, right).await;
    drop(below.expect("a connection"));
    let (left, right) =
        (left_open.await.expect("open layers"), right_open.await.expect("open layers"));
    let [left_log, right_log] = logs;
    left_log.made().await;
    right_log.made().await;
    [(left, left_log), (right, right_log)]
}

async fn end_well([(left, left_log), (right, right_log)]: [(Transport, Log); 2]) {
    left.abort();
    right.abort();
    for log in [left_log, right_log] {
        log.lost().await;
        log.until(Log::is_abandoned).await;
        log.assert_complete();
    }
}

// T-01 T-12 T-31: through any number of layers.
async fn layers_carry_everything_both_ways(stage: Stage) {
    let ends = connect_layered(&stage, Recorder::new(), Recorder::new()).await;
    let [(left, said), (right, heard)] = &ends;
    let sent = pattern(stage.bulk() / 4);
    left.write(&sent);
    right.write(b"answer");
    heard.received_at_least(sent.len()).await;
    said.received_at_least(6).await;
    assert!(heard.received() == sent, "the bytes that arrived are not those that were sent");
    assert_eq!(said.received(), b"answer");
    end_well(ends).await;
}

// T-15 T-55
async fn layers_pass_on_the_half_close(stage: Stage) {
    let right = Recorder::new().at_eof(AtEof::KeepWriting);
    let ends = connect_layered(&stage, Recorder::new(), right).await;
    let [(left, said), (right, heard)] = &ends;
    left.write(b"question");
    left.write_eof().expect("a half close");
    heard.until(|log| log.has(Callback::EofReceived)).await;
    right.write(b"answer");
    right.close();
    heard.lost().await;
    said.lost().await;
    heard.assert(&[Event::Made, Event::data("question"), Event::Eof, Event::Lost(None)]);
    said.assert(&[Event::Made, Event::data("answer"), Event::Eof, Event::Lost(None)]);
    end_well(ends).await;
}

// replaced: T-47. T-48
async fn layers_pass_on_the_flow(stage: Stage) {
    let ends = connect_layered(&stage, Recorder::new(), Recorder::new()).await;
    let [(left, log), (right, _)] = &ends;
    right.pause_reading();
    left.set_write_buffer_limits(Some(2000), Some(500)).expect("2000 is above 500");
    while left.write(&[0; 1000]) == Flow::Open {
        stage.turn().await;
    }
    log.until(|log| log.has(Callback::PauseWriting)).await;
    right.resume_reading();
    log.until(|log| log.has(Callback::ResumeWriting)).await;
    log.assert(&[Event::Made, Event::Paused, Event::Resumed]);
    end_well(ends).await;
}

// T-13 T-18: the cause comes up as it was.
async fn layers_pass_on_the_cause(stage: Stage) {
    let ends = connect_layered(&stage, Recorder::new(), Recorder::new()).await;
    let [(left, log), _] = &ends;
    left.fail(super::actions::failure());
    log.lost().await;
    let cause = log.cause().expect("a cause");
    assert_eq!(cause.raw_os_error(), super::actions::failure().raw_os_error());
    let told = left.closed().await.expect("a cause");
    assert_eq!(told.raw_os_error(), cause.raw_os_error());
    end_well(ends).await;
}

/// A protocol with something to look at.
struct Counter(u32);

impl Protocol for Counter {}

// T-24: asyncio's get_protocol.
async fn with_protocol_sees_the_application(stage: Stage) {
    let pair = stage.pair().await;
    pair.left.set_protocol(Counter(1));
    let raised = pair.left.with_protocol::<Counter, _>(|counter| {
        counter.0 += 1;
        counter.0
    });
    assert_eq!(raised.ok(), Some(2));
    stage.forget(&pair.left);
}

// T-24
async fn with_protocol_says_why_it_cannot(stage: Stage) {
    let ask = |transport: &Transport| transport.with_protocol::<Counter, _>(|counter| counter.0);
    let left = Recorder::new().on(Callback::DataReceived, move |transport| {
        assert!(matches!(ask(transport), Err(WithProtocolError::Busy)));
    });
    let pair = stage.connect(left, Recorder::new()).await;
    assert!(matches!(ask(&pair.left), Err(WithProtocolError::OtherType)));
    pair.right.write(b"x");
    pair.left.log.received_at_least(1).await;
    pair.left.close();
    pair.lost().await;
    pair.left.log.until(Log::is_abandoned).await;
    assert!(matches!(ask(&pair.left), Err(WithProtocolError::Lost)));
}

/// A layer that never opens: it ends the connection at the first byte.
struct Shut;

impl Layer for Shut {
    fn under(&self, _above: Above, gate: Gate) -> Box<dyn Protocol> {
        Box::new(ShutProtocol(Some(gate)))
    }
}

struct ShutProtocol(Option<Gate>);

impl Protocol for ShutProtocol {
    fn data_received(&mut self, transport: &Transport, _: &[u8]) -> io::Result<()> {
        drop(self.0.take());
        transport.abort();
        Ok(())
    }
}

// T-01: a protocol above a layer that does not open is never called.
async fn a_layer_that_is_dropped_unopened_fails(stage: Stage) {
    let above = Recorder::new();
    let log = above.log();
    let shut: [Rc<dyn Layer>; 3] = [Rc::new(Transparent), Rc::new(Shut), Rc::new(Transparent)];
    let (left, opened) = layered_by(&shut, Box::new(above));
    let right = Recorder::new().on(Callback::ConnectionMade, |transport| {
        transport.write(b"x");
    });
    let heard = right.log();
    let below = stage.ground().connect(left, Box::new(right)).await.expect("a connection");
    let failed = opened.await.expect_err("a layer that does not open");
    assert_eq!(failed.kind(), io::ErrorKind::ConnectionAborted, "{failed}");
    heard.lost().await;
    log.until(Log::is_abandoned).await;
    assert!(log.events().is_empty(), "the protocol above was called: {log}");
    drop(below);
}

// T-58: a handle that was cloned before a layer came goes through it afterwards.
async fn raised_clones_are_raised_together(stage: Stage) {
    let pair = stage.pair().await;
    let early = Transport::clone(&pair.left);
    assert!(early.ptr_eq(&pair.left));
    let tripwire = crate::Tripwire::new();
    tripwire.watch(&pair.left);
    let late = Transport::clone(&pair.left);
    assert!(late.ptr_eq(&early));
    early.write(b"early ");
    late.write(b"late");
    pair.right.log.received_at_least(10).await;
    assert_eq!(pair.right.log.received(), b"early late");
    assert_eq!(tripwire.calls(), ["write", "write"]);
}
