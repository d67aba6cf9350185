//! What a transport asks of its wire: how often, how much at once, and what it makes of each answer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use rustix::io::Errno;
use tidegate_protocols::{Cause, Flow, Transport};
use tidegate_reactor::{EventLoop, Interest, LoopHandle, Queued, Readiness, Watcher};
use tidegate_testkit::{Callback, Event, Log, Recorder, run};
use tidegate_transports::stream::{self, StreamOptions, Wire};

/// What a wire was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Read(usize),
    Write(Vec<Vec<u8>>),
    ShutDown,
}

/// A wire that answers as it was told, and remembers what it was asked. It is always ready.
struct Scripted {
    handle: LoopHandle,
    watcher: Rc<dyn Watcher>,
    interest: RefCell<Interest>,
    reads: RefCell<VecDeque<Result<&'static [u8], Errno>>>,
    /// How much each write takes; then everything.
    writes: RefCell<VecDeque<Result<usize, Errno>>>,
    asked: RefCell<Vec<Asked>>,
}

#[derive(Clone)]
struct ScriptedWire(Rc<Scripted>);

impl Scripted {
    fn write(&self, pieces: Vec<Vec<u8>>) -> io::Result<usize> {
        let offered = pieces.iter().map(Vec::len).sum();
        self.asked.borrow_mut().push(Asked::Write(pieces));
        match self.writes.borrow_mut().pop_front() {
            None => Ok(offered),
            Some(Ok(taken)) => Ok(taken.min(offered)),
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn writes_asked(&self) -> Vec<Vec<Vec<u8>>> {
        let asked = self.asked.borrow();
        let writes = asked.iter().filter_map(|asked| match asked {
            Asked::Write(pieces) => Some(pieces.clone()),
            _ => None,
        });
        writes.collect()
    }
}

impl Wire for ScriptedWire {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.asked.borrow_mut().push(Asked::Read(into.len()));
        let next = self.0.reads.borrow_mut().pop_front().unwrap_or(Err(Errno::WOULDBLOCK));
        let bytes = next?;
        into[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        self.0.write(vec![from.to_vec()])
    }

    fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(from.iter().map(|piece| piece.to_vec()).collect())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.asked.borrow_mut().push(Asked::ShutDown);
        Ok(())
    }

    fn set_interest(&self, interest: Interest) {
        self.0.interest.replace(interest);
        if interest.readable() || interest.writable() {
            self.0.handle.queue(Rc::new(Ready(self.0.clone()))).expect("an open loop");
        }
    }

    fn hung_up(&self) -> bool {
        false
    }
}

/// One call of the watcher.
struct Ready(Rc<Scripted>);

impl Queued for Ready {
    fn run(self: Rc<Self>) {
        let interest = *self.0.interest.borrow();
        let more = interest.writable() || !self.0.reads.borrow().is_empty();
        if more && (interest.readable() || interest.writable()) {
            self.0.handle.queue(self.clone()).expect("an open loop");
        }
        let readiness = Readiness {
            readable: interest.readable(),
            writable: interest.writable(),
            hung_up: false,
        };
        self.0.watcher.clone().ready(readiness);
    }

    fn name(&self) -> String {
        "a scripted wire".to_owned()
    }
}

struct Scene {
    transport: Transport,
    log: Log,
    wire: Rc<Scripted>,
}

type Reads<'a> = &'a [Result<&'static [u8], Errno>];

/// A greeted transport on a wire that answers `reads` and `writes`.
async fn scene(recorder: Recorder, reads: Reads<'_>, writes: &[Result<usize, Errno>]) -> Scene {
    let handle = LoopHandle::current().expect("a running loop");
    let mut made = None;
    let log = recorder.log();
    let wire = |watcher| {
        let wire = Rc::new(Scripted {
            handle: handle.clone(),
            watcher,
            interest: RefCell::new(Interest::NONE),
            reads: RefCell::new(reads.iter().copied().collect()),
            writes: RefCell::new(writes.iter().copied().collect()),
            asked: RefCell::default(),
        });
        made = Some(wire.clone());
        Ok(ScriptedWire(wire))
    };
    let transport = stream::open(&handle, wire, Box::new(recorder), StreamOptions::default());
    log.made().await;
    Scene { transport: transport.expect("a transport"), log, wire: made.expect("a wire") }
}

/// Lets everything happen that happens by itself.
async fn settle() {
    for _ in 0..20 {
        tidegate_reactor::sleep(std::time::Duration::ZERO).await.expect("an open loop");
    }
}

// T-12
#[test]
fn one_read_of_256_kib_for_each_readiness() {
    run(async {
        let scene = scene(Recorder::new(), &[Ok(b"a"), Ok(b"b"), Ok(b"")], &[]).await;
        scene.log.lost().await;
        let events =
            [Event::Made, Event::data("a"), Event::data("b"), Event::Eof, Event::Lost(None)];
        assert_eq!(scene.log.events(), events);
        assert_eq!(*scene.wire.asked.borrow(), vec![Asked::Read(262_144); 3]);
    });
}

// T-12
#[test]
fn a_read_that_finds_nothing_is_forgotten() {
    run(async {
        let reads = [Err(Errno::WOULDBLOCK), Ok(&b"a"[..]), Err(Errno::INTR), Ok(b"b"), Ok(b"")];
        let scene = scene(Recorder::new(), &reads, &[]).await;
        scene.log.lost().await;
        scene.log.assert(&[Event::Made, Event::data("ab"), Event::Eof, Event::Lost(None)]);
    });
}

// T-22: at most the length of the protocol's buffer.
#[test]
fn a_buffered_read_asks_for_the_buffer() {
    run(async {
        let scene =
            scene(Recorder::new().buffered(4), &[Ok(b"abcd"), Ok(b"e"), Ok(b"")], &[]).await;
        scene.log.lost().await;
        assert_eq!(*scene.wire.asked.borrow(), vec![Asked::Read(4); 3]);
        let ask = || Event::BufferAsked(None);
        let events = [
            Event::Made,
            ask(),
            Event::updated("abcd"),
            ask(),
            Event::updated("e"),
            ask(),
            Event::Eof,
            Event::Lost(None),
        ];
        assert_eq!(scene.log.events(), events);
    });
}

// T-13 T-18
#[test]
fn a_failed_read_is_the_cause_of_the_loss() {
    run(async {
        let scene = scene(Recorder::new(), &[Ok(b"a"), Err(Errno::TIMEDOUT)], &[]).await;
        scene.log.lost().await;
        let timed_out = Some(io::ErrorKind::TimedOut);
        scene.log.assert(&[Event::Made, Event::data("a"), Event::Lost(timed_out)]);
    });
}

// replaced: T-31: one write for all of a step.
#[test]
fn the_writes_of_a_step_are_one() {
    run(async {
        let scene = scene(Recorder::new(), &[], &[]).await;
        scene.transport.write(b"a");
        scene.transport.write(b"b");
        scene.transport.writelines([&b"c"[..], b"", b"d"]);
        assert!(scene.wire.writes_asked().is_empty(), "offered inside the step");
        settle().await;
        assert_eq!(scene.wire.writes_asked(), [[b"abcd".to_vec()]]);
    });
}

// replaced: T-31: what reaches 64 KiB is offered at once, and only the refused rest waits.
#[test]
fn a_large_write_is_offered_at_once() {
    run(async {
        let scene = scene(Recorder::new(), &[], &[Ok(60_000)]).await;
        assert_eq!(scene.transport.write(&[1; 65_536]), Flow::Open);
        assert_eq!(scene.wire.writes_asked().len(), 1);
        assert_eq!(scene.transport.get_write_buffer_size(), 5_536);
        settle().await;
        assert_eq!(scene.wire.writes_asked()[1].concat(), vec![1; 5_536]);
        assert_eq!(scene.transport.get_write_buffer_size(), 0);
    });
}

// replaced: T-31. T-33: a write that would block takes nothing, and nothing is lost.
#[test]
fn a_refused_write_is_tried_again_when_the_wire_is_ready() {
    run(async {
        let writes = [Err(Errno::WOULDBLOCK), Err(Errno::INTR), Ok(0), Ok(2), Ok(1)];
        let scene = scene(Recorder::new(), &[], &writes).await;
        scene.transport.write(b"abcdef");
        settle().await;
        let offered: Vec<_> =
            scene.wire.writes_asked().iter().map(|pieces| pieces.concat()).collect();
        let expected: [&[u8]; 6] = [b"abcdef", b"abcdef", b"abcdef", b"abcdef", b"cdef", b"def"];
        assert_eq!(offered, expected);
        assert_eq!(scene.transport.get_write_buffer_size(), 0);
    });
}

// replaced: T-31: behind what was refused a write is only appended.
#[test]
fn a_write_behind_refused_bytes_is_only_appended() {
    run(async {
        let scene = scene(Recorder::new(), &[], &[Ok(1)]).await;
        scene.transport.write(&[0; 65_536]);
        assert_eq!(scene.wire.writes_asked().len(), 1);
        scene.transport.write(b"appended");
        scene.transport.write(&[1; 100_000]);
        assert_eq!(scene.wire.writes_asked().len(), 1, "offered past what was refused");
        settle().await;
        assert_eq!(scene.transport.get_write_buffer_size(), 0);
    });
}

// T-33: at most IOV_MAX pieces in one call, whole ones dropped and the first partly sent one trimmed.
#[test]
fn chunks_are_gathered_and_trimmed() {
    run(async {
        const COUNT: usize = 3000;
        const LENGTH: usize = 8192;
        let scene = scene(Recorder::new(), &[], &[Ok(0), Ok(LENGTH * 10 + 5)]).await;
        let chunk = |number: usize| vec![number as u8; LENGTH];
        scene.transport.write(&[0; 65_536]);
        for number in 0..COUNT {
            scene.transport.write_bytes(chunk(number).into());
        }
        settle().await;
        let sent: Vec<_> = scene.wire.writes_asked();
        assert!(sent.iter().all(|pieces| pieces.len() <= 1024), "more than IOV_MAX pieces");
        assert!(sent[1].len() > 1, "the chunks were not gathered");
        assert_eq!(scene.transport.get_write_buffer_size(), 0);
        assert_eq!(scene.transport.statistics().bytes_sent, (65_536 + COUNT * LENGTH) as u64);
        // The second call begins where the first had been cut.
        let whole = sent[1].concat();
        assert!(sent[2].concat().starts_with(&whole[LENGTH * 10 + 5..][..LENGTH]));
    });
}

// replaced: T-36
#[test]
fn lines_that_are_offered_at_once_are_gathered() {
    run(async {
        let scene = scene(Recorder::new(), &[], &[]).await;
        scene.transport.writelines([&[1; 40_000][..], &[], &[2; 40_000]]);
        let sent = scene.wire.writes_asked();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].concat().len(), 80_000);
    });
}

// replaced: T-34: the caller sees no error; the loss follows, with what waited dropped.
#[test]
fn a_failed_write_is_the_cause_of_the_loss() {
    run(async {
        for writes in [&[Err(Errno::PIPE)][..], &[Ok(3), Err(Errno::PIPE)]] {
            let scene = scene(Recorder::new(), &[], writes).await;
            assert_eq!(scene.transport.write(b"abcdef"), Flow::Open);
            assert!(!scene.log.has(Callback::ConnectionLost));
            scene.log.lost().await;
            scene.log.assert(&[Event::Made, Event::Lost(Some(io::ErrorKind::BrokenPipe))]);
            assert_eq!(scene.transport.get_write_buffer_size(), 0);
        }
    });
}

// replaced: T-34: a write that is offered at once fails inside the call, and says that it is closed.
#[test]
fn a_large_write_that_fails_is_closed() {
    run(async {
        let scene = scene(Recorder::new(), &[], &[Err(Errno::PIPE)]).await;
        assert_eq!(scene.transport.write(&[0; 65_536]), Flow::Closed);
        assert!(!scene.log.has(Callback::ConnectionLost), "lost inside the call");
        scene.log.lost().await;
    });
}

// T-55: the end goes out after the bytes, once.
#[test]
fn the_end_is_shut_down_once_and_last() {
    run(async {
        let scene = scene(Recorder::new(), &[], &[Ok(2)]).await;
        scene.transport.write(b"abcd");
        scene.transport.write_eof().expect("a half close");
        scene.transport.write_eof().expect("a half close");
        settle().await;
        scene.transport.write_eof().expect("a half close");
        let pieces = |text: &[u8]| Asked::Write(vec![text.to_vec()]);
        let asked: Vec<_> = scene.wire.asked.borrow().clone();
        let asked: Vec<_> = asked.into_iter().filter(|it| !matches!(it, Asked::Read(_))).collect();
        assert_eq!(asked, [pieces(b"abcd"), pieces(b"cd"), Asked::ShutDown]);
    });
}

// T-11 T-17: a readiness that was found before the reading stopped is not used.
#[test]
fn a_stale_readiness_is_not_read() {
    run(async {
        let stops: [fn(&Transport); 3] =
            [Transport::pause_reading, Transport::close, Transport::abort];
        for stop in stops {
            let scene = scene(Recorder::new(), &[], &[]).await;
            scene.wire.reads.borrow_mut().push_back(Ok(b"stale"));
            stop(&scene.transport);
            let readiness = Readiness { readable: true, writable: true, hung_up: false };
            scene.wire.watcher.clone().ready(readiness);
            settle().await;
            assert_eq!(scene.log.received_len(), 0);
            assert!(scene.wire.asked.borrow().is_empty());
        }
    });
}

// replaced: T-31: small writes are offered at once when together they reach 64 KiB, or pass a lower high mark.
#[test]
fn writes_that_add_up_are_offered_before_the_step_ends() {
    run(async {
        // the high mark, the length of each write, and how many are taken in before they are offered
        for (high, length, gathered) in [(65_536, 8_192, 7), (1_000, 250, 4), (1_000_000, 8_192, 7)]
        {
            let scene = scene(Recorder::new(), &[], &[]).await;
            scene.transport.set_write_buffer_limits(Some(high), None).expect("a limit");
            for _ in 0..gathered {
                scene.transport.write(&vec![1; length]);
            }
            assert!(scene.wire.writes_asked().is_empty(), "offered below {high}");
            scene.transport.write(&vec![1; length]);
            let sent: usize = scene.wire.writes_asked().iter().flatten().map(Vec::len).sum();
            assert_eq!(sent, (gathered + 1) * length, "not offered at {high}");
            assert_eq!(scene.transport.get_write_buffer_size(), 0);
        }
    });
}

// replaced: T-31: so do these, whatever waits.
#[test]
fn flushing_and_ending_offer_at_once() {
    run(async {
        let offers: [fn(&Transport); 5] = [
            |transport| {
                let flushed = pin!(transport.flush()).poll(&mut Context::from_waker(Waker::noop()));
                assert!(flushed.is_ready());
            },
            |transport| transport.write_eof().expect("a half close"),
            Transport::close,
            Transport::abort,
            |transport| transport.fail(Cause::from(io::Error::from(Errno::TIMEDOUT))),
        ];
        for offer in offers {
            let scene = scene(Recorder::new(), &[], &[]).await;
            scene.transport.write(b"a few bytes");
            assert!(scene.wire.writes_asked().is_empty());
            offer(&scene.transport);
            assert_eq!(scene.wire.writes_asked(), [[b"a few bytes".to_vec()]]);
        }
    });
}

// replaced: T-31: what was refused before is not offered again by an abort.
#[test]
fn an_abort_does_not_offer_what_was_refused() {
    run(async {
        let scene = scene(Recorder::new(), &[], &[Err(Errno::WOULDBLOCK)]).await;
        scene.transport.write(&[0; 65_536]);
        scene.transport.abort();
        scene.log.lost().await;
        assert_eq!(scene.wire.writes_asked().len(), 1);
    });
}

// replaced: T-31: a write that is made in no step of the loop leaves at once.
#[test]
fn a_write_outside_of_every_step_is_offered_at_once() {
    let event_loop = EventLoop::new().expect("a loop");
    let scene = event_loop.run_until_complete(scene(Recorder::new(), &[], &[])).expect("a scene");
    scene.transport.write(b"now");
    assert_eq!(scene.wire.writes_asked(), [[b"now".to_vec()]]);
}

// replaced: T-47: somebody's call is on the stack, so what is owed comes when the step has ended.
#[test]
fn offering_all_delivers_nothing_inside_the_call() {
    run(async {
        let offer_all = || LoopHandle::current().expect("a running loop").offer_all();
        let recorder = Recorder::new().once(Callback::DataReceived, move |transport| {
            transport.write(&[1; 200_000]);
            offer_all();
        });
        let said = scene(recorder, &[Ok(b"go")], &[Ok(10)]).await;
        said.log.until(|log| log.has(Callback::ResumeWriting)).await;
        said.log.assert(&[Event::Made, Event::data("go"), Event::Paused, Event::Resumed]);

        let recorder = Recorder::new().once(Callback::ResumeWriting, move |transport| {
            transport.write(b"bye");
            offer_all();
        });
        let closed = scene(recorder, &[], &[Ok(10)]).await;
        closed.transport.write(&[1; 200_000]);
        closed.transport.close();
        closed.log.lost().await;
        closed.log.assert_complete();
    });
}

thread_local! {
    static AT_DROP: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Owns bytes, and acts when they are sent.
struct Owner(Vec<u8>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(act) = AT_DROP.take() {
            act();
        }
    }
}

// T-33 T-38: whatever the owner of sent bytes does, what was accepted before leaves before.
#[test]
fn the_owner_of_sent_bytes_finds_the_rest_in_its_place() {
    let write_little = |transport: &Transport| {
        transport.write(b"XXX");
    };
    let write_much = |transport: &Transport| {
        transport.write(&[b'X'; 20_000]);
    };
    type Act = (fn(&Transport), &'static [u8]);
    let acts: [Act; 3] =
        [(write_little, b"XXX"), (write_much, &[b'X'; 20_000]), (Transport::close, b"")];
    for (act, after) in acts {
        run(async move {
            let scene = scene(Recorder::new(), &[], &[Ok(8192 + 10)]).await;
            let transport = scene.transport.clone();
            AT_DROP.set(Some(Box::new(move || act(&transport))));
            scene.transport.write_bytes(bytes::Bytes::from_owner(Owner(vec![b'a'; 8192])));
            scene.transport.write(&[b'p'; 40_000]);
            scene.transport.flush().await.expect("everything is sent");
            let writes: Vec<Vec<u8>> =
                scene.wire.writes_asked().iter().map(|pieces| pieces.concat()).collect();
            let sent = [&writes[0][..8192 + 10], &writes[1..].concat()].concat();
            assert_eq!(sent, [&[b'a'; 8192][..], &[b'p'; 40_000], after].concat());
        });
    }
}

// T-14 T-57: the one last try to send cannot replace the cause.
#[test]
fn the_last_try_keeps_the_cause() {
    run(async {
        for (end, kind) in [
            (Transport::abort as fn(&Transport), None),
            (|it| it.fail(io::Error::from(Errno::TIMEDOUT).into()), Some(io::ErrorKind::TimedOut)),
        ] {
            let scene = scene(Recorder::new(), &[], &[Err(Errno::PIPE)]).await;
            scene.transport.write(b"x");
            end(&scene.transport);
            scene.log.lost().await;
            assert_eq!(scene.log.cause().map(|cause| cause.kind()), kind);
        }
    });
}

// T-34: what could not be sent is not called flushed.
#[test]
fn a_flush_after_a_failed_write_fails() {
    run(async {
        for size in [100, 20_000] {
            let scene = scene(Recorder::new(), &[], &[Err(Errno::PIPE)]).await;
            scene.transport.write(&vec![1; size]);
            assert!(scene.transport.flush().await.is_err(), "{size} bytes");
        }
    });
}

// T-48: raised limits resume nothing, and nor does a write that is only appended.
#[test]
fn only_sending_resumes() {
    run(async {
        let recorder = Recorder::new().once(Callback::PauseWriting, |transport| {
            transport.set_write_buffer_limits(Some(1 << 20), Some(1 << 20)).expect("limits");
            transport.write(b"x");
            assert_eq!(transport.flow(), Flow::Paused);
        });
        let scene = scene(recorder, &[], &[Ok(10)]).await;
        scene.transport.write(&[1; 100_000]);
        scene.log.until(|log| log.has(Callback::ResumeWriting)).await;
        assert_eq!(scene.transport.get_write_buffer_size(), 0);
    });
}
