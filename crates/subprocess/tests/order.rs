//! The order in which a protocol is told of its child.

#![cfg(not(windows))]

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tidegate_protocols::{Cause, Protocol, ReadTransport, Transport, WithProtocolError};
use tidegate_reactor::{EventLoop, LoopHandle};
use tidegate_subprocess::{ChildProcess, PipeTransport, Stdio, subprocess_exec};
use tidegate_testkit::{alone, run, watched};

mod support;
use support::{Idle, Recorder, Told, exec, finished, poll_once, shell, shell_with, turns, until};

// all three are pipes. X-11
#[test]
fn a_child_that_says_something_is_told_of_in_order() {
    run(async {
        let (transport, log) = finished(shell("echo out; echo err >&2; exit 3")).await;
        assert_eq!(log.data(1), "out\n");
        assert_eq!(log.data(2), "err\n");
        assert!(log.has(&Told::Exited(Some(3))));
        // that its reader has gone is noticed of the pipe that nobody has closed
        for fd in 0..3 {
            assert!(log.has(&Told::PipeLost(fd, None)), "{:?}", log.told());
        }
        assert!(log.has(&Told::Lost(None)));
        assert_eq!(transport.get_returncode(), Some(3));
    });
}

//
#[test]
fn connection_made_has_run_when_the_call_returns() {
    run(async {
        let (builder, log) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        assert_eq!(log.told(), [Told::Made]);
        transport.close();
        transport.closed().await;
        log.assert_grammar();
    });
}

// whatever has happened by then is told after it
#[test]
fn nothing_comes_before_connection_made_however_soon_it_happens() {
    let _alone = alone();
    run(async {
        let (builder, log) = shell("echo early");
        let mut starting = builder.into_future();
        assert!(poll_once(&mut starting).await.is_none());
        // The child ends before the loop has made another turn.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::All, options).expect("a child");
        assert_eq!(log.told(), []);
        let transport = starting.await.expect("a child");
        transport.closed().await;
        log.assert_grammar();
        assert_eq!(log.data(1), "early\n");
    });
}

/// Whether something waits in a pipe.
fn is_readable(pipe: &ReadTransport) -> bool {
    let readable = pipe.with_socket(|pipe| {
        let mut pipe = [PollFd::new(&pipe, PollFlags::IN)];
        poll(&mut pipe, Some(&Timespec::default())).expect("poll") > 0
    });
    readable.expect("a pipe that is not lost")
}

/// Whether a loop in which nobody does anything has nothing to do.
fn assert_waits(event_loop: &EventLoop) {
    let before = event_loop.handle().statistics();
    event_loop.run_until_complete(turns(100)).expect("turns");
    let after = event_loop.handle().statistics();
    assert_eq!((after.events - before.events, after.ready), (0, 0), "the loop spins");
    let steps = after.steps - before.steps;
    assert!(steps < 110, "the loop spins: {steps} steps");
}

// what comes while somebody looks at the protocol and runs the loop is told after
#[test]
fn what_comes_while_the_protocol_is_looked_at_is_told_after() {
    watched(|| {
        let event_loop = EventLoop::new().expect("a loop");
        let (builder, log) = shell("read line; echo err >&2; printf %02000d 7; read line");
        let transport =
            event_loop.run_until_complete(builder.into_future()).expect("run").expect("a child");
        transport
            .with_protocol(|_: &mut Recorder| {
                transport.stdin().expect("piped").write(b"go\n");
                let pipe = transport.stdout().expect("piped");
                event_loop.run_until_complete(until(|| is_readable(&pipe))).expect("run");
                event_loop.run_until_complete(turns(10)).expect("turns");
                assert_waits(&event_loop);
                transport.kill().expect("it runs");
                event_loop.run_until_complete(transport.wait()).expect("run");
                event_loop.run_until_complete(turns(10)).expect("turns");
                assert_waits(&event_loop);
                assert_eq!(log.told(), [Told::Made]);
            })
            .expect("the protocol");
        event_loop.run_until_complete(transport.closed()).expect("run");
        log.assert_grammar();
        assert_eq!(log.data(1).len(), 2000);
        assert_eq!(log.data(2), "err\n");
        event_loop.close().expect("closed");
    });
}

// T-11: of the pipes of a child, too
#[test]
fn a_pause_that_is_given_while_the_protocol_is_looked_at_holds() {
    for pauses_late in [false, true] {
        watched(|| {
            let event_loop = EventLoop::new().expect("a loop");
            let (builder, log) = shell("read line; echo out; echo err >&2; read line");
            let transport = event_loop.run_until_complete(builder.into_future()).expect("run");
            let transport = transport.expect("a child");
            let (out, err) =
                (transport.stdout().expect("piped"), transport.stderr().expect("piped"));
            let looked = transport.with_protocol(|_: &mut Recorder| {
                if !pauses_late {
                    out.pause_reading();
                }
                transport.stdin().expect("piped").write(b"go\n");
                let both = || is_readable(&out) && is_readable(&err);
                event_loop.run_until_complete(until(both)).expect("run");
                event_loop.run_until_complete(turns(10)).expect("turns");
                if pauses_late {
                    out.pause_reading();
                }
                assert_waits(&event_loop);
            });
            assert_eq!(looked, Ok(()));
            // Told of one pipe, and not of the other, which is as the user has left it.
            event_loop.run_until_complete(until(|| log.data(2) == "err\n")).expect("run");
            event_loop.run_until_complete(turns(10)).expect("turns");
            assert!(!out.is_reading() && err.is_reading());
            assert_eq!(log.data(1), "");
            out.resume_reading();
            event_loop.run_until_complete(until(|| log.data(1) == "out\n")).expect("run");
            transport.close();
            event_loop.run_until_complete(transport.closed()).expect("run");
            log.assert_grammar();
            event_loop.close().expect("closed");
        });
    }
}

/// A protocol of a pipe around the one that tells the child's.
struct Around(Box<dyn Protocol>);

impl Protocol for Around {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.0.data_received(transport, data)
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        self.0.connection_lost(transport, cause);
    }
}

// T-24
#[test]
fn pipes_with_protocols_of_their_own_go_on_unless_they_tell_the_child_s() {
    watched(|| {
        let event_loop = EventLoop::new().expect("a loop");
        let (builder, log) = shell("read line; echo out; echo err >&2; read line");
        let transport =
            event_loop.run_until_complete(builder.into_future()).expect("run").expect("a child");
        let (out, err) = (transport.stdout().expect("piped"), transport.stderr().expect("piped"));
        out.wrap_protocol(|tells| Box::new(Around(tells)));
        let own = tidegate_testkit::Recorder::taking_over();
        let heard = own.log();
        err.set_protocol(own);
        let looked = transport.with_protocol(|_: &mut Recorder| {
            assert_eq!(out.with_protocol(|_: &mut Around| ()), Err(WithProtocolError::Busy));
            transport.stdin().expect("piped").write(b"go\n");
            event_loop.run_until_complete(heard.received_at_least(4)).expect("run");
            event_loop.run_until_complete(until(|| is_readable(&out))).expect("run");
            assert_waits(&event_loop);
        });
        assert_eq!(looked, Ok(()));
        assert_eq!(out.with_protocol(|_: &mut Around| ()), Ok(()));
        assert_eq!(log.told(), [Told::Made]);
        event_loop.run_until_complete(until(|| log.data(1) == "out\n")).expect("run");
        transport.close();
        event_loop.run_until_complete(transport.closed()).expect("run");
        assert_eq!(heard.received(), b"err\n");
        log.assert_grammar();
        event_loop.close().expect("closed");
    });
}

// none of it inside of a call
#[test]
fn no_call_calls_back() {
    run(async {
        let (builder, log) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        transport.stdin().expect("piped").write(b"hello");
        transport.terminate().expect("it runs");
        transport.close();
        transport.close();
        assert_eq!(log.told(), [Told::Made]);
        transport.closed().await;
        log.assert_grammar();
    });
}

//
#[test]
fn the_return_code_is_known_just_before_the_exit_is_told() {
    run(async {
        let seen = Rc::new(Cell::new(None));
        let keep = seen.clone();
        let recorder = Recorder::new().on(move |transport, told| {
            match told {
                Told::Made => assert_eq!(transport.get_returncode(), None),
                Told::Exited(code) => keep.set(*code),
                _ => {}
            }
            Ok(())
        });
        let (transport, _) = finished(shell_with(recorder, "exit 255")).await;
        assert_eq!(seen.get(), Some(255));
        assert_eq!(transport.exit_status().and_then(|status| status.code()), Some(255));
        assert_eq!(transport.wait().await.code(), Some(255));
    });
}

// X-17, and replaced: X-18
#[test]
fn a_grandchild_that_keeps_a_pipe_delays_the_loss_and_not_the_exit() {
    run(async {
        let (keeps, release) = io::pipe().expect("a pipe");
        // The grandchild lives until nobody can write to its input any more.
        let (builder, log) = shell("cat <&3 & exit 4");
        let transport = builder.pass_fd(keeps, 3).await.expect("a child");
        assert_eq!(transport.wait().await.code(), Some(4));
        until(|| log.has(&Told::Exited(Some(4)))).await;
        turns(20).await;
        assert!(!log.has(&Told::PipeLost(1, None)), "{:?}", log.told());
        assert_eq!(log.count(|told| matches!(told, Told::Lost(_))), 0);
        drop(release);
        assert!(transport.closed().await.is_none());
        log.assert_grammar();
    });
}

//
#[test]
fn standard_input_pauses_and_resumes() {
    run(async {
        let (waits, go) = io::pipe().expect("a pipe");
        let (builder, log) = shell("cat <&3; cat >/dev/null");
        let transport = builder.pass_fd(waits, 3).await.expect("a child");
        let stdin = transport.stdin().expect("piped");
        stdin.write(&vec![b'x'; 1 << 20]);
        until(|| log.has(&Told::Paused(0))).await;
        drop(go);
        until(|| log.has(&Told::Resumed(0))).await;
        stdin.write_eof().expect("it can");
        assert!(transport.closed().await.is_none());
        log.assert_grammar();
        let flow = log.count(|told| matches!(told, Told::Paused(_) | Told::Resumed(_)));
        assert_eq!(flow, 2, "{:?}", log.told());
    });
}

#[test]
fn a_child_whose_output_nobody_reads_waits() {
    run(async {
        let recorder = Recorder::new().on(|transport, told| {
            if *told == Told::Made {
                transport.stdout().expect("piped").pause_reading();
            }
            Ok(())
        });
        let (builder, log) = shell_with(recorder, "cat /dev/zero");
        let transport = builder.await.expect("a child");
        // It has filled the pipe and waits for room; nothing of it was read.
        until(|| pipe_is_full(&transport)).await;
        turns(50).await;
        assert_eq!(log.told(), [Told::Made]);
        transport.close();
        transport.closed().await;
        log.assert_grammar();
    });
}

fn pipe_is_full(transport: &tidegate_subprocess::SubprocessTransport) -> bool {
    let stdout = transport.stdout().expect("piped");
    let waiting =
        stdout.with_socket(|pipe| rustix::io::ioctl_fionread(pipe)).expect("open").expect("a pipe");
    waiting >= 65536 - 4096
}

//
#[test]
fn what_is_piped_has_a_transport_and_nothing_else_has() {
    run(async {
        let child = subprocess_exec(|| Idle, "/bin/true").stdin(Stdio::Null).stderr(Stdio::Stdout);
        let transport = child.await.expect("a child");
        assert!(transport.get_pipe_transport(0).is_none());
        assert!(matches!(transport.get_pipe_transport(1), Some(PipeTransport::Read(_))));
        assert!(transport.get_pipe_transport(2).is_none());
        assert!(transport.get_pipe_transport(3).is_none());
        assert!(transport.get_pipe_transport(-1).is_none());
        assert!(transport.stdin().is_none() && transport.stderr().is_none());
        assert_eq!(transport.get_extra_info(), Some(ChildProcess { pid: transport.get_pid() }));
        assert_eq!(transport.get_extra_info::<u8>(), None);
        transport.closed().await;
        // It is there still, as asyncio has it.
        assert!(transport.stdout().is_some_and(|pipe| pipe.is_closing()));
    });
}

//
#[test]
fn a_child_that_is_gone_at_once_is_noticed() {
    run(async {
        for _ in 0..50 {
            let (transport, _) = finished(exec("/bin/true")).await;
            assert_eq!(transport.get_returncode(), Some(0));
        }
    });
}

// replaced: X-16: the loop owns it
#[test]
fn a_child_goes_on_when_its_handle_is_dropped() {
    run(async {
        let (builder, log) = shell("read line; echo $line");
        let transport = builder.await.expect("a child");
        let stdin = transport.stdin().expect("piped");
        drop(transport);
        turns(10).await;
        stdin.write(b"there\n");
        drop(stdin);
        until(|| log.has(&Told::Dropped)).await;
        log.assert_grammar();
        assert_eq!(log.data(1), "there\n");
    });
}

// any number may wait, and one that goes away disturbs nobody
#[test]
fn any_number_may_wait() {
    run(async {
        let (builder, _) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        let handle = LoopHandle::current().expect("a loop");
        let waiting: Vec<_> =
            (0..5).map(|_| handle.spawn(transport.wait()).expect("a task")).collect();
        turns(2).await;
        waiting[2].cancel();
        turns(2).await;
        transport.stdin().expect("piped").close();
        for (number, task) in waiting.into_iter().enumerate() {
            let ended = task.await;
            assert_eq!(ended.is_ok(), number != 2);
        }
        assert!(transport.wait().await.success());
        transport.closed().await;
    });
}

// in a thread that is not the main one, which none of these is
#[test]
fn a_loop_in_another_thread_has_children_too() {
    watched(|| {
        let thread = std::thread::spawn(|| {
            run(async { finished(shell("exit 5")).await.0.get_returncode() })
        });
        assert_eq!(thread.join().expect("it ends"), Some(5));
    });
}
