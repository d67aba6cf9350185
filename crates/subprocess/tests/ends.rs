//! How children end that do not end by themselves: closed, failed, forgotten, and reaped by others.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use rustix::process::{Pid, WaitOptions, waitpid};
use tidegate_protocols::Protocol;
use tidegate_reactor::{EventLoop, spawn};
use tidegate_subprocess::{Stdio, SubprocessTransport};
use tidegate_testkit::{alone, open_descriptors, run, watched};

mod support;
use support::{
    Recorder, Told, again_ignoring, exec, finished, is_childless, keep_reports, messages,
    poll_once, shell, shell_with, turns, until,
};

//
#[test]
fn close_kills_a_child_that_runs() {
    run(async {
        let (builder, log) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        transport.stdin().expect("piped").write(b"hello");
        transport.close();
        assert!(transport.is_closing());
        assert_eq!(transport.get_returncode(), None);
        transport.close();
        assert!(transport.closed().await.is_none());
        assert_eq!(transport.get_returncode(), Some(-9));
        transport.close();
        log.assert_grammar();
        assert_eq!(log.count(|told| matches!(told, Told::PipeLost(..))), 3);
    });
}

//
#[test]
fn close_does_not_kill_a_child_that_has_ended_unnoticed() {
    let _alone = alone();
    run(async {
        let (builder, log) = shell("exit 8");
        let transport = builder.await.expect("a child");
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::All, options).expect("a child");
        transport.close();
        transport.closed().await;
        assert_eq!(transport.get_returncode(), Some(8));
        log.assert_grammar();
    });
}

//
#[test]
fn a_child_may_be_closed_from_each_callback() {
    run(async {
        let is: [fn(&Told) -> bool; 5] = [
            |told| *told == Told::Made,
            |told| matches!(told, Told::Data(..)),
            |told| matches!(told, Told::PipeLost(..)),
            |told| matches!(told, Told::Exited(_)),
            |told| matches!(told, Told::Lost(_)),
        ];
        for is in is {
            let recorder = Recorder::new().on(move |transport, told| {
                if is(told) {
                    transport.close();
                }
                Ok(())
            });
            finished(shell_with(recorder, "echo hello")).await.0.close();
        }
    });
}

#[test]
fn a_callback_that_fails_ends_its_child() {
    run(async {
        let reports = keep_reports();
        type Is = fn(&Told) -> bool;
        let is: [(&str, Is); 3] = [
            ("pipe_data_received", |told| matches!(told, Told::Data(..))),
            ("pipe_connection_lost", |told| matches!(told, Told::PipeLost(..))),
            ("process_exited", |told| matches!(told, Told::Exited(_))),
        ];
        for (name, is) in is {
            for panics in [false, true] {
                let recorder = Recorder::new().on(move |_, told| match () {
                    () if !is(told) => Ok(()),
                    () if panics => panic!("on purpose"),
                    () => Err(io::Error::other("on purpose")),
                });
                // Closing one of its pipes is what the second one waits for.
                let (builder, log) = shell_with(recorder, "echo hello; exec 2>&-; read line");
                let transport = builder.await.expect("a child");
                if name == "process_exited" {
                    transport.stdin().expect("piped").write(b"\n");
                }
                let cause = transport.closed().await.expect("a cause").to_string();
                assert!(cause.ends_with("on purpose"), "{cause}");
                assert!(log.has(&Told::Lost(Some(cause))));
                log.assert_grammar();
                let expected = format!("Fatal error: protocol.{name}() call failed.");
                let told = messages(&reports);
                reports.borrow_mut().clear();
                assert!(!told.is_empty() && told.iter().all(|told| *told == expected), "{told:?}");
                let code = if name == "process_exited" { 0 } else { -9 };
                assert_eq!(transport.get_returncode(), Some(code));
            }
        }
    });
}

/// What is done in a callback when it has set another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Return,
    Close,
    Fail,
    Panic,
}

// the two together are told what one would be
#[test]
fn another_protocol_may_be_set_in_each_callback_however_it_ends() {
    run(async {
        let _reports = keep_reports();
        type Is = fn(&Told) -> bool;
        let is: [Is; 6] = [
            |told| *told == Told::Made,
            |told| matches!(told, Told::Data(..)),
            |told| matches!(told, Told::PipeLost(..)),
            |told| matches!(told, Told::Exited(_)),
            |told| matches!(told, Told::Paused(_) | Told::Resumed(_)),
            |told| matches!(told, Told::Lost(_)),
        ];
        for is in is {
            for then in [Then::Return, Then::Close, Then::Fail, Then::Panic] {
                let second = Rc::new(RefCell::new(None));
                let keep = second.clone();
                let recorder = Recorder::new().on(move |transport, told| {
                    if !is(told) {
                        return Ok(());
                    }
                    let recorder = Recorder::new();
                    *keep.borrow_mut() = Some(recorder.log());
                    transport.set_protocol(recorder);
                    match then {
                        Then::Return => {}
                        Then::Close => transport.close(),
                        Then::Fail => return Err(io::Error::other("on purpose")),
                        Then::Panic => panic!("on purpose"),
                    }
                    Ok(())
                });
                let command = "echo hello; head -c 1048576 >/dev/null; exit 3";
                let (builder, first) = shell_with(recorder, command);
                if let Ok(transport) = builder.await {
                    transport.stdin().expect("piped").write(&vec![b'x'; 1 << 20]);
                    transport.closed().await;
                }
                until(|| first.has(&Told::Dropped)).await;
                let second = second.borrow_mut().take().expect("another protocol");
                until(|| second.has(&Told::Dropped)).await;
                let count = |is: &dyn Fn(&Told) -> bool| first.count(is) + second.count(is);
                let told = || format!("{then:?} {:?} {:?}", first.told(), second.told());
                assert_eq!(count(&|told| *told == Told::Made), 1, "{}", told());
                assert_eq!(count(&|told| matches!(told, Told::PipeLost(..))), 3, "{}", told());
                assert_eq!(count(&|told| matches!(told, Told::Exited(_))), 1, "{}", told());
                assert_eq!(count(&|told| matches!(told, Told::Lost(_))), 1, "{}", told());
            }
        }
    });
}

#[test]
fn an_error_of_the_system_is_the_cause_and_not_reported() {
    run(async {
        let reports = keep_reports();
        let recorder = Recorder::new().on(|_, told| match told {
            Told::Data(..) => Err(io::Error::from_raw_os_error(28)),
            _ => Ok(()),
        });
        let (builder, log) = shell_with(recorder, "echo hello; read line");
        let transport = builder.await.expect("a child");
        let cause = transport.closed().await.expect("a cause");
        assert_eq!(cause.raw_os_error(), Some(28));
        log.assert_grammar();
        assert_eq!(messages(&reports), [""; 0]);
    });
}

#[test]
fn a_connection_made_that_panics_is_what_the_call_answers() {
    run(async {
        let reports = keep_reports();
        let recorder = Recorder::new().on(|_, told| match told {
            Told::Made => panic!("on purpose"),
            _ => Ok(()),
        });
        let (builder, log) = shell_with(recorder, "read line");
        let error = builder.await.expect_err("it failed");
        assert!(error.to_string().ends_with("on purpose"), "{error}");
        until(|| log.has(&Told::Dropped)).await;
        log.assert_grammar();
        assert_eq!(messages(&reports), ["Fatal error: protocol.connection_made() call failed."]);
    });
}

#[test]
fn a_connection_lost_that_panics_is_reported_and_changes_nothing() {
    run(async {
        let reports = keep_reports();
        let recorder = Recorder::new().on(|_, told| match told {
            Told::Lost(_) => panic!("on purpose"),
            _ => Ok(()),
        });
        finished(shell_with(recorder, "exit 0")).await;
        assert_eq!(messages(&reports), ["Fatal error: protocol.connection_lost() call failed."]);
    });
}

#[test]
fn the_first_cause_counts() {
    run(async {
        let reports = keep_reports();
        let (builder, log) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        transport.fail(io::Error::other("first").into());
        transport.fail(io::Error::from_raw_os_error(5).into());
        let cause = transport.closed().await.expect("a cause");
        assert_eq!(cause.to_string(), "first");
        log.assert_grammar();
        assert_eq!(messages(&reports), ["Fatal error on subprocess transport"]);
    });
}

// X-36, the low level of it
#[test]
fn a_child_that_closes_its_input_goes_on() {
    run(async {
        let (builder, log) = shell("exec <&-; echo closed; exec cat <&3");
        let (waits, go) = io::pipe().expect("a pipe");
        let transport = builder.pass_fd(waits, 3).await.expect("a child");
        let stdin = transport.stdin().expect("piped");
        stdin.write(&vec![0; 1 << 20]);
        until(|| log.count(|told| matches!(told, Told::PipeLost(0, Some(_)))) == 1).await;
        until(|| log.data(1) == "closed\n").await;
        assert_eq!(transport.get_returncode(), None);
        assert!(!transport.is_closing());
        drop(go);
        assert!(transport.closed().await.is_none());
        log.assert_grammar();
    });
}

// replaced: X-19
#[test]
fn a_start_that_is_dropped_leaves_nothing() {
    let _alone = alone();
    let before = open_descriptors();
    run(async {
        // Never polled: nothing has happened.
        let (builder, log) = exec("/bin/cat");
        drop(builder.into_future());
        assert_eq!(log.told(), [Told::Dropped]);
        assert!(is_childless());

        // The child runs, and its protocol was not greeted yet.
        let (builder, log) = exec("/bin/cat");
        let mut starting = builder.into_future();
        assert!(poll_once(&mut starting).await.is_none());
        assert!(!is_childless());
        drop(starting);
        until(|| log.has(&Told::Dropped)).await;
        log.assert_grammar();
        assert!(log.has(&Told::Exited(Some(-9))));
        assert!(is_childless());
    });
    assert_eq!(open_descriptors(), before);
}

// X-19a: and nobody waits for ever
#[test]
fn a_loop_that_closes_kills_and_reaps() {
    let _alone = alone();
    let before = open_descriptors();
    for greeted in [true, false] {
        watched(|| {
            let event_loop = EventLoop::new().expect("a loop");
            let (builder, log) = exec("/bin/cat");
            let starting = Rc::new(RefCell::new(builder.process_group(0).into_future()));
            let share = starting.clone();
            let transport = event_loop
                .run_until_complete(async {
                    let starts = spawn(poll_fn(move |context| {
                        let starting = &mut *share.borrow_mut();
                        let polled = Pin::new(starting).poll(context);
                        if greeted { polled.map(Result::ok) } else { Poll::Ready(None) }
                    }));
                    if greeted {
                        return starts.expect("a task").await.expect("it ends");
                    }
                    // The loop ends with the turn of the task; the greeting would have the next one.
                    None
                })
                .expect("run");
            let told = log.told();
            assert_eq!(told.len(), usize::from(greeted));
            event_loop.close().expect("closed");
            assert!(is_childless());
            // No callback comes, and the protocol is gone.
            assert_eq!(log.told(), [&told[..], &[Told::Dropped]].concat());
            let event_loop = EventLoop::new().expect("another loop");
            event_loop
                .run_until_complete(async {
                    match transport {
                        Some(transport) => {
                            assert_eq!(transport.wait().await.signal(), Some(9));
                            assert!(transport.closed().await.is_none());
                        }
                        None => {
                            // The loop has dropped the other share, with the task.
                            let starting = Rc::into_inner(starting).expect("the last share");
                            let error = starting.into_inner().await.expect_err("never opened");
                            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                        }
                    }
                })
                .expect("run");
            event_loop.close().expect("closed");
        });
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn run_ends_its_children_and_tells_their_protocols() {
    let _alone = alone();
    watched(|| {
        let logs = tidegate_reactor::run(async {
            let mut logs = Vec::new();
            // The last one leaves a grandchild behind that keeps its pipes.
            for command in ["exec cat", "trap '' TERM; read line", "cat & read line"] {
                let (builder, log) = shell(command);
                let _running = builder.await?;
                logs.push(log);
            }
            Ok::<_, io::Error>(logs)
        });
        for log in logs.expect("a loop") {
            log.assert_grammar();
            assert!(log.has(&Told::Exited(Some(-9))), "{:?}", log.told());
        }
        assert!(is_childless());
    });
}

//
#[test]
fn a_child_that_somebody_else_has_reaped_is_told_as_255() {
    run(async {
        for group in [false, true] {
            let reports = keep_reports();
            let (builder, log) = shell("read line; exit 7");
            let builder = if group { builder.process_group(0) } else { builder };
            let transport = builder.await.expect("a child");
            let pid = Pid::from_raw(i32::try_from(transport.get_pid()).expect("a number"));
            let stdin = transport.stdin().expect("piped");
            stdin.write(b"\n");
            drop(stdin.flush());
            waitpid(pid, WaitOptions::empty()).expect("a child");
            // Nothing of it is there to be signalled, and nobody else is.
            transport.kill().expect("silently ignored");
            assert_eq!(transport.kill_group().is_ok(), group);
            assert_eq!(transport.wait().await.code(), Some(255));
            assert!(transport.closed().await.is_none());
            log.assert_grammar();
            assert!(log.has(&Told::Exited(Some(255))));
            let told = messages(&reports);
            assert_eq!(told.len(), 1);
            assert!(told[0].starts_with("Unknown child process pid"), "{told:?}");
        }
    });
}

// the system reaps them
#[test]
fn a_program_that_ignores_sigchld_is_told_of_each_end_all_the_same() {
    if again_ignoring("CHLD", "a_program_that_ignores_sigchld_is_told_of_each_end_all_the_same") {
        return;
    }
    run(async {
        let reports = keep_reports();
        for _ in 0..20 {
            let (transport, _) = finished(exec("/bin/true")).await;
            assert_eq!(transport.get_returncode(), Some(255));
        }
        assert_eq!(messages(&reports).len(), 20);
    });
}

// another library's child is not ours
#[test]
fn children_of_others_are_left_alone() {
    run(async {
        let mut other =
            std::process::Command::new("/bin/sh").args(["-c", "exit 5"]).spawn().expect("a child");
        for _ in 0..5 {
            finished(exec("/bin/true")).await;
        }
        assert_eq!(other.wait().expect("it is there still").code(), Some(5));
    });
}

#[test]
fn another_protocol_of_a_pipe_is_told_and_the_loss_still_waits_for_it() {
    struct Flag(Rc<Cell<usize>>);
    impl Protocol for Flag {
        fn data_received(
            &mut self,
            _: &tidegate_protocols::Transport,
            data: &[u8],
        ) -> io::Result<()> {
            self.0.set(self.0.get() + data.len());
            Ok(())
        }
    }
    run(async {
        let count = Rc::new(Cell::new(0));
        let keep = count.clone();
        let recorder = Recorder::new().on(move |transport: &SubprocessTransport, told| {
            if *told == Told::Made {
                transport.stdout().expect("piped").set_protocol(Flag(keep.clone()));
            }
            Ok(())
        });
        let (_, log) = finished(shell_with(recorder, "echo hello")).await;
        assert_eq!(count.get(), 6);
        assert_eq!(log.data(1), "");
        assert!(!log.has(&Told::PipeLost(1, None)));
        assert!(log.has(&Told::PipeLost(2, None)));
    });
}

#[test]
fn a_child_without_pipes_is_lost_when_it_has_exited() {
    run(async {
        let (builder, log) = exec("/bin/true");
        let builder = builder.stdin(Stdio::Null).stdout(Stdio::Null).stderr(Stdio::Stdout);
        let transport = builder.await.expect("a child");
        assert!(transport.closed().await.is_none());
        turns(2).await;
        assert_eq!(
            log.told(),
            [Told::Made, Told::Exited(Some(0)), Told::Lost(None), Told::Dropped]
        );
    });
}

// Linux 5.3 has pidfds, and no waitid that takes one: half of these calls are answered as it would
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
#[test]
fn a_kernel_that_cannot_wait_by_a_pidfd_is_asked_by_number() {
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=waitid"];
    let inject = ["-e", "inject=waitid:error=EINVAL:when=1+2"];
    let test = "a_kernel_that_cannot_wait_by_a_pidfd_is_asked_by_number";
    if support::again_by(&[&strace[..], &inject[..]].concat(), test) {
        return;
    }
    run(async {
        let reports = keep_reports();
        for _ in 0..2 {
            let (builder, _) = exec("/no/such/program");
            assert!(builder.await.is_err());
            // Nothing of it is left.
            assert_eq!(nix::sys::wait::wait(), Err(nix::errno::Errno::ECHILD));
        }
        for code in 0..3 {
            let (transport, _) = finished(shell(&format!("exit {code}"))).await;
            assert_eq!(transport.get_returncode(), Some(code));
        }
        let (builder, _) = exec("/bin/cat");
        let transport = builder.process_group(0).await.expect("a child");
        transport.kill_group().expect("a group");
        transport.closed().await;
        assert_eq!(transport.get_returncode(), Some(-9));
        assert_eq!(messages(&reports), [""; 0]);
    });
}

// a sandbox that knows no pidfds does not keep clone from giving one
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
#[test]
fn a_sandbox_that_refuses_signals_by_a_pidfd_is_asked_by_number() {
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pidfd_send_signal"];
    let inject = ["-e", "inject=pidfd_send_signal:error=EPERM"];
    let test = "a_sandbox_that_refuses_signals_by_a_pidfd_is_asked_by_number";
    if support::again_by(&[&strace[..], &inject[..]].concat(), test) {
        return;
    }
    run(async {
        for closes in [false, true] {
            let (builder, _) = exec("/bin/cat");
            let transport = builder.await.expect("a child");
            if closes {
                transport.close();
            } else {
                transport.kill().expect("it runs");
            }
            transport.closed().await;
            assert_eq!(transport.get_returncode(), Some(-9));
        }
    });
}
