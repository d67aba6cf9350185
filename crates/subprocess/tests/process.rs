//! Children seen from a task: their streams, waiting for them, and what dropping does.

#![cfg(not(windows))]

use std::io::{self, PipeWriter};
use std::os::unix::process::ExitStatusExt;

use tidegate_reactor::{EventLoop, Signal, spawn};
use tidegate_streams::LimitError;
use tidegate_subprocess::{
    ChildProcess, CreateSubprocess, Process, SendSignalError, SpawnError, Stdio,
    create_subprocess_exec, create_subprocess_shell,
};
use tidegate_testkit::{alone, open_descriptors, run, watched};

mod support;
use support::{inner, is_childless, poll_once, threads, turns, until};

fn piped(builder: CreateSubprocess) -> CreateSubprocess {
    builder.stdin(Stdio::Pipe).stdout(Stdio::Pipe).stderr(Stdio::Pipe)
}

async fn shell(command: &str) -> Process {
    piped(create_subprocess_shell(command)).await.expect("a child")
}

/// A child with all three piped whose grandchild runs until the answer's second part is dropped: descriptor 4 ends then.
async fn with_grandchild(command: &str) -> (Process, PipeWriter) {
    let (theirs, ours) = io::pipe().expect("a pipe");
    let builder = piped(create_subprocess_shell(command)).pass_fd(theirs, 4);
    (builder.await.expect("a child"), ours)
}

//
#[test]
fn standard_streams_are_a_writer_and_readers() {
    run(async {
        let mut process = shell("read line; echo \"$line\"; echo late >&2; exit 3").await;
        assert_eq!(process.returncode(), None);
        let child: Option<ChildProcess> = process.get_extra_info();
        assert_eq!(child, Some(ChildProcess { pid: process.pid() }));
        let (stdout, stderr) = (process.stdout.as_mut().unwrap(), process.stderr.as_mut().unwrap());
        assert_eq!((stdout.limit(), stderr.limit()), (65536, 65536));
        let stdin = process.stdin.take().expect("piped");
        stdin.write(b"tide\n");
        stdin.drain().await.expect("it reads");
        assert_eq!(stdout.readline().await.expect("a line"), "tide\n");
        assert_eq!(stderr.read_to_end().await.expect("the end"), "late\n");
        assert_eq!(process.wait().await.code(), Some(3));
        assert_eq!(process.returncode(), Some(3));
        assert_eq!(process.exit_status().and_then(|status| status.code()), Some(3));
    });
}

// for tasks all three are inherited. X-30: only what is piped is there
#[test]
fn what_is_not_piped_is_not_there() {
    run(async {
        let mut process = create_subprocess_exec("/bin/true").await.expect("a child");
        assert!(process.stdin.is_none() && process.stdout.is_none() && process.stderr.is_none());
        assert!(process.wait().await.success());

        let command = "echo out; echo error >&2";
        let builder = create_subprocess_shell(command).stdout(Stdio::Pipe).stderr(Stdio::Stdout);
        process = builder.await.expect("a child");
        assert!(process.stdin.is_none() && process.stderr.is_none());
        let stdout = process.stdout.as_mut().expect("piped");
        assert_eq!(stdout.read_to_end().await.expect("the end"), "out\nerror\n");
    });
}

// the limit
#[test]
fn the_limit_is_that_of_the_readers_and_zero_is_refused_before_anything_happens() {
    let _alone = alone();
    run(async {
        let builder = piped(create_subprocess_exec("/bin/true")).limit(7);
        let process = builder.await.expect("a child");
        assert_eq!(process.stdout.as_ref().expect("piped").limit(), 7);
        assert_eq!(process.stderr.as_ref().expect("piped").limit(), 7);
        process.transport().closed().await;

        let before = open_descriptors();
        let error = create_subprocess_exec("/bin/true").limit(0).await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(inner::<LimitError>(&error).is_some());
        assert!(is_childless());
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    run(async {
        let error = create_subprocess_exec("/no/such/program").await.expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(matches!(inner(&error), Some(SpawnError::ProgramNotFound { .. })));
    });
}

// replaced: X-18: a grandchild that keeps the output open keeps nobody waiting
#[test]
fn wait_is_about_the_exit_alone() {
    run(async {
        let (mut process, grandchild) = with_grandchild("cat <&4 & exit 6").await;
        assert_eq!(process.wait().await.code(), Some(6));
        // Known already: at once.
        assert!(poll_once(&mut process.wait()).await.is_some());
        let mut closed = process.transport().closed();
        assert!(poll_once(&mut closed).await.is_none());
        // it has ended, and is not finished.
        process.terminate().expect("nothing happens");
        drop(grandchild);
        assert!(closed.await.is_none());
        let stdout = process.stdout.as_mut().expect("piped");
        assert_eq!(stdout.read_to_end().await.expect("the end"), "");
        assert!(matches!(process.kill(), Err(SendSignalError::NoSuchProcess)));
    });
}

// any number, and one that is dropped disturbs nobody
#[test]
fn many_wait_and_some_give_up() {
    run(async {
        let process = create_subprocess_exec("/bin/cat").stdin(Stdio::Pipe).await.expect("a child");
        let waiting: Vec<_> =
            (0..10).map(|_| spawn(process.wait()).expect("a running loop")).collect();
        turns(3).await;
        let mut given_up = process.wait();
        assert!(poll_once(&mut given_up).await.is_none());
        drop(given_up);
        process.send_signal(Signal::SIGHUP).expect("it runs");
        for task in waiting {
            assert_eq!(task.await.expect("it ends").signal(), Some(1));
        }
        assert_eq!(process.returncode(), Some(-1));
    });
}

// replaced: X-19: a creation that is dropped, at whatever moment, leaves nothing
#[test]
fn a_creation_that_is_dropped_leaves_no_child() {
    let _alone = alone();
    run(async {
        let before = open_descriptors();
        // Never polled: there was none.
        drop(piped(create_subprocess_exec("/bin/cat")).into_future());
        assert!(is_childless());
        let mut starting = piped(create_subprocess_exec("/bin/cat")).into_future();
        assert!(poll_once(&mut starting).await.is_none());
        assert!(!is_childless());
        drop(starting);
        until(|| is_childless() && open_descriptors() == before).await;
    });
}

//
#[test]
fn a_child_that_nobody_reads_from_waits_and_little_is_held() {
    run(async {
        let command = "head -c 2000000 /dev/zero; echo done >&2";
        let mut process = piped(create_subprocess_shell(command)).limit(4096).await.unwrap();
        let stdout = process.transport().stdout().expect("piped");
        until(|| !stdout.is_reading()).await;
        // Twice the limit, and the read that went beyond.
        assert!(stdout.statistics().bytes_received <= 2 * 4096 + 256 * 1024);
        let mut wait = process.wait();
        turns(100).await;
        assert!(poll_once(&mut wait).await.is_none());
        let reader = process.stdout.as_mut().expect("piped");
        assert_eq!(reader.read_to_end().await.expect("the end").len(), 2_000_000);
        assert!(wait.await.success());
    });
}

// what it has written is there when it is gone
#[test]
fn output_is_read_after_the_exit() {
    run(async {
        let mut process = shell("echo early; echo wrong >&2").await;
        process.wait().await;
        process.transport().closed().await;
        let stdout = process.stdout.as_mut().expect("piped");
        assert_eq!(stdout.read_to_end().await.expect("the end"), "early\n");
        let stderr = process.stderr.as_mut().expect("piped");
        assert_eq!(stderr.readline().await.expect("a line"), "wrong\n");
    });
}

//
#[test]
fn writing_to_a_child_that_does_not_read_any_more_fails() {
    let broken = |error: io::Error| {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        assert!(matches!(error.kind(), BrokenPipe | ConnectionReset), "{error}");
    };
    run(async {
        // It closes its input; and it ends.
        for command in ["exec 0<&-; echo closed; read line <&1", "echo closed"] {
            let mut process = shell(command).await;
            let stdout = process.stdout.as_mut().expect("piped");
            assert_eq!(stdout.readline().await.expect("a line"), "closed\n");
            let stdin = process.stdin.take().expect("piped");
            let failed = loop {
                stdin.write(&[0; 100_000]);
                if let Err(error) = stdin.drain().await {
                    break error;
                }
            };
            broken(failed);
            if let Err(error) = stdin.wait_closed().await {
                broken(error);
            }
            process.kill().expect("it may be gone, or not finished");
            process.wait().await;
        }
    });
}

// whoever has inherited its input is not waited for
#[test]
fn a_child_that_has_ended_with_its_outputs_is_closed() {
    run(async {
        let command = "exec 3<&0; cat <&4 >/dev/null 2>&1 & exit 0";
        let (process, grandchild) = with_grandchild(command).await;
        let stdin = process.stdin.as_ref().expect("piped");
        assert!(process.transport().closed().await.is_none());
        assert!(stdin.is_closing());
        assert!(stdin.wait_closed().await.is_ok());
        drop(grandchild);
    });
}

#[test]
fn signals_reach_the_child_and_its_group() {
    run(async {
        let mut process = shell("trap '' TERM; echo ready; read line").await;
        let ready = process.stdout.as_mut().expect("piped").readline().await;
        assert_eq!(ready.expect("a line"), "ready\n");
        process.terminate().expect("it is ignored");
        process.kill().expect("it runs");
        assert_eq!(process.wait().await.signal(), Some(9));
        assert!(matches!(process.kill_group(), Err(SendSignalError::NoGroup)));

        for (kill, signal) in [(false, 15), (true, 9)] {
            let command = "cat <&3 & echo ready; cat <&3";
            let (theirs, _ours) = io::pipe().expect("a pipe");
            let builder = piped(create_subprocess_shell(command)).process_group(0);
            let mut process = builder.pass_fd(theirs, 3).await.expect("a child");
            let stdout = process.stdout.as_mut().expect("piped");
            assert_eq!(stdout.readline().await.expect("a line"), "ready\n");
            if kill {
                process.kill_group().expect("it leads one");
            } else {
                process.send_signal_to_group(Signal::SIGTERM).expect("it leads one");
            }
            assert_eq!(process.wait().await.signal(), Some(signal));
            // The grandchild too: the output ends.
            let stdout = process.stdout.as_mut().expect("piped");
            assert_eq!(stdout.read_to_end().await.expect("the end"), "");
        }
    });
}

#[test]
fn a_process_that_is_dropped_runs_on_and_is_reaped() {
    let _alone = alone();
    run(async {
        let before = open_descriptors();
        let (theirs, ours) = io::pipe().expect("a pipe");
        let (done, told) = io::pipe().expect("a pipe");
        let command = "cat <&3 >/dev/null; echo done >&4";
        let builder = piped(create_subprocess_shell(command)).pass_fd(theirs, 3).pass_fd(told, 4);
        drop(builder.await.expect("a child"));
        turns(10).await;
        assert!(!is_childless());
        drop(ours);
        assert_eq!(io::read_to_string(done).expect("it runs"), "done\n");
        until(|| is_childless() && open_descriptors() == before).await;
    });
}

#[test]
fn a_process_with_kill_on_drop_is_killed_and_reaped() {
    let _alone = alone();
    run(async {
        let before = open_descriptors();
        let process = piped(create_subprocess_exec("/bin/cat")).kill_on_drop(true).await.unwrap();
        let wait = process.wait();
        drop(process);
        assert_eq!(wait.await.signal(), Some(9));
        until(|| is_childless() && open_descriptors() == before).await;
        // One that has ended is not signalled any more.
        let process = create_subprocess_exec("/bin/true").kill_on_drop(true).await.unwrap();
        assert!(process.wait().await.success());
        drop(process);
    });
}

#[test]
fn a_reader_that_is_dropped_closes_its_pipe_alone() {
    // Somebody else's child has the pipe too, for the moment between its start and its program.
    let _alone = alone();
    run(async {
        let command = "trap '' PIPE; read line; echo out 2>/dev/null || echo broken >&2";
        let mut process = shell(command).await;
        drop(process.stdout.take());
        let pipe = process.transport().stdout().expect("piped");
        assert!(pipe.is_closing());
        pipe.closed().await;
        process.stdin.take().expect("piped").write(b"go\n");
        let stderr = process.stderr.as_mut().expect("piped");
        assert_eq!(stderr.read_to_end().await.expect("the end"), "broken\n");
    });
}

#[test]
fn streams_can_be_taken_out_of_the_whole() {
    run(async {
        let Process { stdin, stdout, .. } =
            piped(create_subprocess_exec("/bin/cat")).await.expect("a child");
        let (stdin, mut stdout) = (stdin.expect("piped"), stdout.expect("piped"));
        stdin.write(b"through");
        drop(stdin.close());
        assert_eq!(stdout.read_to_end().await.expect("the end"), "through");
    });
}

#[test]
fn a_loop_that_ends_takes_its_children_along() {
    let _alone = alone();
    watched(|| {
        let before = open_descriptors();
        let event_loop = EventLoop::new().expect("a loop");
        let started = event_loop.run_until_complete(async {
            let process = piped(create_subprocess_exec("/bin/cat")).await?;
            io::Result::Ok(process)
        });
        let mut process = started.expect("it runs").expect("a child");
        event_loop.close().expect("it runs no more");
        assert_eq!(process.returncode(), Some(-9));
        process.stdin.take().expect("piped").write(b"nobody");
        assert!(process.kill().is_err());
        drop(process);
        assert!(is_childless());
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn many_children_of_tasks_leave_nothing() {
    let _alone = alone();
    let (descriptors, before) = (open_descriptors(), threads());
    run(async {
        let opened = open_descriptors();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let work = async {
                    for _ in 0..25 {
                        let builder = create_subprocess_exec("/bin/cat");
                        let mut process = piped(builder).await.expect("a child");
                        let output = process.communicate("tide").await.expect("it ends");
                        assert_eq!(output.stdout.expect("piped"), "tide");
                        process.transport().closed().await;
                    }
                };
                spawn(work).expect("a running loop")
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends");
        }
        assert!(is_childless());
        assert_eq!(open_descriptors(), opened);
        until(|| threads() <= before).await;
    });
    assert_eq!(open_descriptors(), descriptors);
}
