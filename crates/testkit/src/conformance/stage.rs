//! Where a case is played: it makes the connections, and looks at what is left when the case is over.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::ops::Deref;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tidegate_protocols::{AtEof, Flow, Transport};
use tidegate_reactor::{LoopHandle, Report, sleep};

use super::{Capabilities, Ground};
use crate::log::{Callback, Log};
use crate::recorder::Recorder;
use crate::tripwire::Tripwire;

/// How many turns of the loop are enough for whatever may happen by itself on one machine.
const A_WHILE: usize = 20;

/// How many turns are enough for what needs no clock but the loop's; a real system has timers of its own.
const PATIENCE: usize = 10_000;

/// The stage of one case.
#[derive(Clone)]
pub(super) struct Stage(Rc<Scenery>);

struct Scenery {
    ground: Rc<dyn Ground>,
    handle: OnceCell<LoopHandle>,
    tripwire: Tripwire,
    /// Every side so far, with its name; taken out when nobody is to look after it.
    sides: RefCell<Vec<(String, Side)>>,
    connections: Cell<usize>,
    reports: Rc<RefCell<Vec<String>>>,
    /// What must hold when the loop is closed.
    at_the_end: RefCell<Vec<Box<dyn FnOnce() -> bool>>>,
}

/// One end of a connection: its transport and the log of its protocol.
#[derive(Clone)]
pub(super) struct Side {
    transport: Transport,
    pub(super) log: Log,
}

impl Deref for Side {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

/// Both ends of a connection.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) left: Side,
    pub(super) right: Side,
}

impl Pair {
    /// Waits until both ends are lost.
    pub(super) async fn lost(&self) {
        self.left.log.lost().await;
        self.right.log.lost().await;
    }
}

impl Stage {
    pub(super) fn new(ground: Rc<dyn Ground>) -> Stage {
        Stage(Rc::new(Scenery {
            ground,
            handle: OnceCell::new(),
            tripwire: Tripwire::new(),
            sides: RefCell::default(),
            connections: Cell::new(0),
            reports: Rc::default(),
            at_the_end: RefCell::default(),
        }))
    }

    /// The loop is made.
    pub(super) fn enter(&self, handle: &LoopHandle) {
        let (tripwire, reports) = (self.0.tripwire.clone(), self.0.reports.clone());
        handle.set_exception_handler(Some(move |report: &Report| {
            tripwire.user_code("the exception handler");
            reports.borrow_mut().push(report.to_string());
        }));
        let set = self.0.handle.set(handle.clone());
        assert!(set.is_ok(), "a stage has one loop");
    }

    pub(super) fn handle(&self) -> &LoopHandle {
        self.0.handle.get().expect("the loop of the case")
    }

    pub(super) fn tripwire(&self) -> &Tripwire {
        &self.0.tripwire
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.0.ground.capabilities()
    }

    pub(super) fn ground(&self) -> &dyn Ground {
        &*self.0.ground
    }

    /// Has `holds` asked when the loop is closed.
    pub(super) fn at_the_end(&self, holds: impl FnOnce() -> bool + 'static) {
        self.0.at_the_end.borrow_mut().push(Box::new(holds));
    }

    /// The loop is closed: asserts what had to hold then, and that the law was kept to the last.
    pub(super) fn leave(&self) {
        for holds in self.0.at_the_end.take() {
            assert!(holds(), "what was to hold after the loop closed does not");
        }
        self.0.tripwire.assert_intact();
    }

    /// How many bytes make a large transfer: as many as one read takes at most, four times, if they can all
    /// move at once.
    pub(super) fn bulk(&self) -> usize {
        match self.capabilities().bytes_at_a_time {
            None => 1024 * 1024,
            Some(bytes) => bytes.saturating_mul(8 * 1024).min(1024 * 1024),
        }
    }

    /// Connects two recorders; neither may have been greeted yet.
    pub(super) async fn connect_only(&self, left: Recorder, right: Recorder) -> Pair {
        let logs = [left.log(), right.log()];
        let (left, right) = self.connect_and_forget(left, right).await;
        self.look_after([left, right], logs)
    }

    /// The same, and neither ends the connection nor looks at it when the case is over.
    pub(super) async fn connect_and_forget(
        &self,
        left: Recorder,
        right: Recorder,
    ) -> (Transport, Transport) {
        let guard = |recorder| Box::new(self.0.tripwire.guard(recorder));
        let connected = self.0.ground.connect(guard(left), guard(right)).await;
        let (left, right) = connected.expect("a connection");
        self.0.tripwire.watch(&left);
        self.0.tripwire.watch(&right);
        (left, right)
    }

    /// Connects two recorders, one of which may fail in its greeting: whoever waits for the connection may
    /// be told of that then.
    pub(super) async fn connect_at_risk(&self, left: Recorder, right: Recorder) -> Pair {
        let logs = [left.log(), right.log()];
        let seen: [Rc<RefCell<Option<Transport>>>; 2] = Default::default();
        let see = |recorder: Recorder, seen: &Rc<RefCell<Option<Transport>>>| {
            let seen = seen.clone();
            recorder.first(Callback::ConnectionMade, move |transport| {
                seen.replace(Some(transport.clone()));
            })
        };
        let (left, right) = (see(left, &seen[0]), see(right, &seen[1]));
        let guard = |recorder| Box::new(self.0.tripwire.guard(recorder));
        let connected = self.0.ground.connect(guard(left), guard(right)).await;
        for log in &logs {
            log.made().await;
        }
        drop(connected);
        self.look_after(seen.map(|seen| seen.take().expect("seen in the greeting")), logs)
    }

    /// Makes a pair of a connection, to be ended and looked at when the case is over.
    fn look_after(&self, [left, right]: [Transport; 2], [said, heard]: [Log; 2]) -> Pair {
        let pair = Pair {
            left: Side { transport: left, log: said },
            right: Side { transport: right, log: heard },
        };
        let number = self.0.connections.get() + 1;
        self.0.connections.set(number);
        let named = [("left", &pair.left), ("right", &pair.right)];
        let named = named.map(|(name, side)| (format!("{name} {number}"), side.clone()));
        self.0.sides.borrow_mut().extend(named);
        pair
    }

    /// Connects two recorders and waits until both are greeted.
    pub(super) async fn connect(&self, left: Recorder, right: Recorder) -> Pair {
        let pair = self.connect_only(left, right).await;
        pair.left.log.made().await;
        pair.right.log.made().await;
        pair
    }

    /// Connects two recorders that close at the end of the stream.
    pub(super) async fn pair(&self) -> Pair {
        self.connect(Recorder::new(), Recorder::new()).await
    }

    /// Connects two recorders that go on writing at the end of the stream.
    pub(super) async fn lasting_pair(&self) -> Pair {
        let lasting = || Recorder::new().at_eof(AtEof::KeepWriting);
        self.connect(lasting(), lasting()).await
    }

    /// Lets the loop take one turn.
    pub(super) async fn turn(&self) {
        let mut waited = false;
        poll_fn(|context| {
            if waited {
                return Poll::Ready(());
            }
            waited = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Lets the loop take enough turns for whatever happens by itself.
    pub(super) async fn a_while(&self) {
        for _ in 0..A_WHILE {
            self.turn().await;
        }
    }

    /// Lets the loop turn until `done` holds; for what no log tells. The limit of the case ends it.
    pub(super) async fn until(&self, mut done: impl FnMut() -> bool) {
        let mut turns = 0;
        while !done() {
            turns += 1;
            if turns < PATIENCE {
                self.turn().await;
            } else {
                sleep(Duration::from_millis(1)).await.expect("an open loop");
            }
        }
    }

    /// Writes to a peer that does not read, until what was written stays in the write buffer.
    ///
    /// Answers how many bytes were written. So many of them wait in the buffer then that the system cannot
    /// take them all by itself, and fewer than the default limits allow.
    pub(super) async fn stuff(&self, writer: &Side, reader: &Side) -> usize {
        reader.pause_reading();
        let before = writer.get_write_buffer_limits();
        writer.set_write_buffer_limits(Some(usize::MAX), Some(0)).expect("the widest limits");
        let enough = (self.bulk() / 8).min(32 * 1024);
        let mut written = 0;
        let mut quiet = 0;
        while quiet < A_WHILE {
            let waits = writer.get_write_buffer_size();
            if waits < enough {
                assert_ne!(
                    writer.write(&pattern(1024)),
                    Flow::Closed,
                    "a connection that takes bytes"
                );
                written += 1024;
            }
            self.turn().await;
            quiet =
                if writer.get_write_buffer_size() == waits && waits > 0 { quiet + 1 } else { 0 };
        }
        writer
            .set_write_buffer_limits(Some(before.high()), Some(before.low()))
            .expect("limits as before");
        written
    }

    /// The protocol of `side` was exchanged: its log has no end, and nobody looks for one.
    pub(super) fn forget(&self, side: &Side) {
        side.abort();
        self.0.sides.borrow_mut().retain(|(_, other)| !other.transport.ptr_eq(&side.transport));
    }

    /// Asserts that the exception handler is told so many times, whatever it is.
    pub(super) async fn assert_reports(&self, count: usize) {
        self.a_while().await;
        let reports = self.take_reports();
        assert_eq!(reports.len(), count, "the exception handler was told: {reports:?}");
    }

    /// What the exception handler was told since the last time.
    pub(super) fn take_reports(&self) -> Vec<String> {
        self.0.reports.take()
    }

    /// Asserts that the exception handler is told once, and that the text holds each of `parts`.
    pub(super) async fn assert_reported(&self, parts: &[&str]) {
        self.a_while().await;
        let reports = self.take_reports();
        let fits = reports.len() == 1 && parts.iter().all(|part| reports[0].contains(part));
        assert!(fits, "expected one report with {parts:?}, found {reports:?}");
    }

    /// Ends what is left of the case, and looks at how each side ended.
    pub(super) async fn clear(&self) {
        let sides = self.0.sides.borrow().clone();
        sides.iter().for_each(|(_, side)| side.abort());
        for (_, Side { log, .. }) in &sides {
            log.lost().await;
            log.until(Log::is_abandoned).await;
            log.assert_complete();
        }
        self.a_while().await;
        let reports = self.take_reports();
        assert!(reports.is_empty(), "the exception handler was told: {reports:?}");
    }

    /// The logs of all sides, for the report of a failure.
    pub(super) fn transcript(&self) -> String {
        let sides = self.0.sides.borrow();
        let lines = sides.iter().map(|(name, side)| format!("{name}: {}", side.log));
        lines.collect::<Vec<_>>().join("\n    ")
    }
}

/// So many bytes that a missing, doubled or exchanged one would be noticed.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index ^ (index >> 8) ^ (index >> 16)) as u8).collect()
}
