//! Signals to children: what they die of, what they ignore, and those that nobody is there for any more.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::task::{Context, Waker};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tidegate_reactor::{LoopHandle, Signal};
use tidegate_subprocess::{SendSignalError, SubprocessTransport};
use tidegate_testkit::run;

mod support;
use support::{Recorder, Told, exec, finished, shell, shell_with, turns, until};

/// Those that end a process unless it does something about them.
const DEADLY: [Signal; 17] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGKILL,
    Signal::SIGUSR1,
    Signal::SIGSEGV,
    Signal::SIGUSR2,
    Signal::SIGPIPE,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGXCPU,
    Signal::SIGVTALRM,
];

//
#[test]
fn a_child_dies_of_each_signal_with_its_negative_number() {
    run(async {
        for signal in DEADLY {
            let (builder, log) = shell("ulimit -c 0; echo ready; exec cat");
            let transport = builder.await.expect("a child");
            until(|| log.has(&Told::Data(1, "ready\n".to_owned()))).await;
            transport.send_signal(signal).expect("it runs");
            let status = transport.wait().await;
            assert_eq!(status.signal(), Some(signal as i32));
            assert_eq!(transport.get_returncode(), Some(-(signal as i32)));
            transport.closed().await;
            log.assert_grammar();
            assert!(log.has(&Told::Exited(Some(-(signal as i32)))));
        }
    });
}

#[test]
fn terminate_and_kill_are_what_they_say() {
    run(async {
        let check = async |send: fn(&SubprocessTransport) -> Result<(), SendSignalError>, code| {
            let (builder, _) = exec("/bin/cat");
            let transport = builder.await.expect("a child");
            send(&transport).expect("it runs");
            transport.closed().await;
            assert_eq!(transport.get_returncode(), Some(code));
        };
        check(SubprocessTransport::terminate, -15).await;
        check(SubprocessTransport::kill, -9).await;
    });
}

#[test]
fn a_child_that_is_stopped_has_not_ended() {
    run(async {
        let (builder, log) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        transport.send_signal(Signal::SIGSTOP).expect("it runs");
        let pid = Pid::from_raw(i32::try_from(transport.get_pid()).expect("a number"));
        let id = WaitId::Pid(pid.expect("a number"));
        waitid(id, WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT).expect("a child");
        turns(20).await;
        assert_eq!((log.told(), transport.get_returncode()), (vec![Told::Made], None));
        transport.send_signal(Signal::SIGCONT).expect("it is stopped");
        transport.stdin().expect("piped").close();
        transport.closed().await;
        assert_eq!(transport.get_returncode(), Some(0));
        log.assert_grammar();
    });
}

#[test]
fn a_child_that_ignores_sigterm_goes_on() {
    run(async {
        let (builder, log) = shell("trap '' TERM; echo ready; read line; exit 9");
        let transport = builder.await.expect("a child");
        until(|| log.data(1) == "ready\n").await;
        transport.terminate().expect("it runs");
        transport.stdin().expect("piped").write(b"go\n");
        assert_eq!(transport.wait().await.code(), Some(9));
        transport.closed().await;
    });
}

/// Waits, without the loop, until a child is a zombie.
fn until_it_has_ended(transport: &SubprocessTransport) {
    let pid = Pid::from_raw(i32::try_from(transport.get_pid()).expect("a number"));
    let id = WaitId::Pid(pid.expect("a number"));
    waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("a child");
}

// the exit status stays what it is, and nobody else's child is hit
#[test]
fn a_signal_to_a_child_that_has_ended_does_nothing() {
    run(async {
        let (builder, log) = shell("exit 3");
        let transport = builder.await.expect("a child");
        until_it_has_ended(&transport);
        assert_eq!(transport.get_returncode(), None);
        transport.send_signal(Signal::SIGTERM).expect("not noticed yet");
        transport.kill().expect("not noticed yet");
        assert_eq!(transport.wait().await.code(), Some(3));
        transport.closed().await;
        log.assert_grammar();
    });
}

//
#[test]
fn a_signal_between_the_exit_and_the_loss_does_nothing() {
    run(async {
        let (keeps, release) = io::pipe().expect("a pipe");
        let (builder, log) = shell("cat <&3 & exit 0");
        let transport = builder.pass_fd(keeps, 3).await.expect("a child");
        assert!(transport.wait().await.success());
        transport.kill().expect("silently ignored");
        // The number is that of nobody now, or of somebody else.
        let pid = Pid::from_raw(i32::try_from(transport.get_pid()).expect("a number"));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid.expect("a number")), options).expect_err("it was reaped");
        drop(release);
        transport.closed().await;
        log.assert_grammar();
    });
}

//
#[test]
fn a_signal_after_the_loss_is_an_error() {
    run(async {
        let recorder = Recorder::new().on(|transport, told| {
            if matches!(told, Told::Lost(_)) {
                let error = transport.kill().expect_err("it is lost");
                assert!(matches!(error, SendSignalError::NoSuchProcess));
            }
            Ok(())
        });
        let (transport, _) = finished(shell_with(recorder, "exit 0")).await;
        for sent in [transport.terminate(), transport.kill(), transport.send_signal(Signal::SIGINT)]
        {
            let error = sent.expect_err("it is lost");
            assert!(matches!(error, SendSignalError::NoSuchProcess));
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
        }
    });
}

#[test]
fn a_group_is_killed_with_its_leader_gone() {
    run(async {
        for session in [false, true] {
            let (keeps, _release) = io::pipe().expect("a pipe");
            let (builder, log) = shell("cat <&3 & exit 6");
            let builder = builder.pass_fd(keeps, 3);
            let builder =
                if session { builder.start_new_session() } else { builder.process_group(0) };
            let transport = builder.await.expect("a child");
            assert_eq!(transport.wait().await.code(), Some(6));
            // It is kept as a zombie, so that the group is nobody else's.
            until_it_has_ended(&transport);
            // And the loop does not hear of it again and again.
            let handle = LoopHandle::current().expect("a loop");
            let before = handle.statistics().turns;
            finished(exec("/bin/true")).await;
            let turns = handle.statistics().turns - before;
            assert!(turns < 100, "{turns} turns for one child: the loop spins");
            transport.kill_group().expect("the grandchild is there");
            transport.closed().await;
            log.assert_grammar();
            let error = transport.kill_group().expect_err("it is lost");
            assert!(matches!(error, SendSignalError::NoSuchProcess));
            let pid = Pid::from_raw(i32::try_from(transport.get_pid()).expect("a number"));
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            waitid(WaitId::Pid(pid.expect("a number")), options).expect_err("it was reaped");
        }
    });
}

#[test]
fn a_child_without_a_group_of_its_own_has_none_to_signal() {
    run(async {
        let (builder, _) = exec("/bin/cat");
        let transport = builder.await.expect("a child");
        let error = transport.send_signal_to_group(Signal::SIGTERM).expect_err("no group");
        assert!(matches!(error, SendSignalError::NoGroup));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
        transport.close();
        transport.closed().await;
    });
}

#[test]
fn what_was_written_leaves_before_a_child_is_started_signalled_or_killed() {
    run(async {
        let (builder, _) = exec("/bin/cat");
        let first = builder.await.expect("a child");
        let stdin = first.stdin().expect("piped");
        let leaves = |act: &dyn Fn()| {
            stdin.write(b"hello");
            assert_eq!(stdin.get_write_buffer_size(), 5, "it waits for the end of the step");
            act();
            assert_eq!(stdin.get_write_buffer_size(), 0);
        };
        let (builder, _) = exec("/bin/cat");
        let starting = RefCell::new(builder.process_group(0).into_future());
        let nobody = || Context::from_waker(Waker::noop());
        leaves(&|| {
            let mut starting = starting.borrow_mut();
            assert!(Pin::new(&mut *starting).poll(&mut nobody()).is_pending());
        });
        let second = starting.into_inner().await.expect("a child");
        leaves(&|| second.send_signal(Signal::SIGCONT).expect("it runs"));
        leaves(&|| second.send_signal_to_group(Signal::SIGCONT).expect("it runs"));
        leaves(&|| second.close());
        second.closed().await;
        first.close();
        first.closed().await;
    });
}
