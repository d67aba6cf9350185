//! `communicate`: what is fed, what is gathered, within which limit, and what is left when it is given up.

#![cfg(not(windows))]

use std::error::Error;
use std::io;

use bytes::Bytes;
use tidegate_subprocess::{
    CommunicateError, CreateSubprocess, Process, ProcessOutput, Stdio, create_subprocess_exec,
    create_subprocess_shell,
};
use tidegate_testkit::{alone, open_descriptors, run};

mod support;
use support::{inner, is_childless, poll_once, turns, until};

fn piped(builder: CreateSubprocess) -> CreateSubprocess {
    builder.stdin(Stdio::Pipe).stdout(Stdio::Pipe).stderr(Stdio::Pipe)
}

async fn shell(command: &str) -> Process {
    piped(create_subprocess_shell(command)).await.expect("a child")
}

/// Checks what comes of a command line with that input: its exit code, output and standard error.
async fn check(command: &str, input: &'static str, expected: (i32, &str, &str)) {
    let ProcessOutput { status, stdout, stderr } =
        shell(command).await.communicate(input).await.expect(command);
    let (stdout, stderr) = (stdout.expect("piped"), stderr.expect("piped"));
    let text = |bytes| String::from_utf8_lossy(bytes);
    let came = (status.code().expect("a code"), &*text(&stdout), &*text(&stderr));
    assert_eq!(came, expected, "{command}");
}

//
#[test]
fn a_child_is_fed_and_its_outputs_are_gathered() {
    run(async {
        check("cat; echo wrong >&2; exit 4", "tide", (4, "tide", "wrong\n")).await;
        // no input, and an input that is piped is closed all the same
        check("cat", "", (0, "", "")).await;
        // that it does not read, or not all, is fine
        check("exec 0<&-; echo out", "tide", (0, "out\n", "")).await;
        check("exit 5", "tide", (5, "", "")).await;
        // In turns, each more than a pipe holds.
        let command =
            "for i in 1 2 3; do head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2; done";
        let zeros = "\0".repeat(600_000);
        check(command, "", (0, &zeros, &zeros)).await;
    });
}

// a broken pipe while it is fed is ignored
#[test]
fn a_child_that_closes_its_input_early_is_gathered_from() {
    run(async {
        for command in ["head -c 5; exec 0<&-; echo; echo out", "head -c 5; echo; echo out"] {
            let input = vec![b'x'; 8 << 20];
            let output = shell(command).await.communicate(input).await.expect("it ends");
            assert_eq!(output.stdout.expect("piped"), "xxxxx\nout\n");
            assert!(output.status.success());
        }
    });
}

// none where nothing is piped. X-32: input without a pipe is ignored
#[test]
fn what_is_not_piped_is_neither_fed_nor_gathered() {
    run(async {
        let builder = create_subprocess_shell("cat; exit 3").stdin(Stdio::Null);
        let output = builder.await.expect("a child").communicate("tide").await.expect("it ends");
        assert_eq!((output.stdout, output.stderr), (None, None));
        assert_eq!(output.status.code(), Some(3));

        let builder = create_subprocess_shell("echo out; echo wrong >&2").stderr(Stdio::Stdout);
        let mut process = builder.stdout(Stdio::Pipe).await.expect("a child");
        let output = process.communicate("").await.expect("it ends");
        assert_eq!(output.stdout.as_deref(), Some(&b"out\nwrong\n"[..]));
        assert_eq!(output.stderr, None);
    });
}

//
#[test]
fn nothing_is_gathered_twice() {
    run(async {
        let mut process = shell("echo one; echo two; cat").await;
        let line = process.stdout.as_mut().expect("piped").readline().await.expect("a line");
        assert_eq!(line, "one\n");
        let output = process.communicate("three").await.expect("it ends");
        assert_eq!(output.stdout.expect("piped"), "two\nthree");
        let again = process.communicate("four").await.expect("it has ended");
        assert_eq!((again.stdout, again.stderr), (Some(Bytes::new()), Some(Bytes::new())));
        assert_eq!(again.status, output.status);
    });
}

//
#[test]
fn a_communicate_that_is_dropped_loses_nothing() {
    run(async {
        let command = "echo out; echo wrong >&2; exec 2>&-; read line; echo \"$line\"; cat";
        let mut process = shell(command).await;
        let pipe = process.transport().stdout().expect("piped");
        let stderr = process.transport().stderr().expect("piped");
        {
            let stdin = process.stdin.take();
            let mut gathering = process.communicate("").into_future();
            // One of the outputs ends meanwhile, and something of the other has come.
            let came = || pipe.statistics().bytes_received == 4 && stderr.is_closing();
            while !came() {
                assert!(poll_once(&mut gathering).await.is_none());
                turns(1).await;
            }
            assert!(poll_once(&mut gathering).await.is_none());
            drop(gathering);
            process.stdin = stdin;
        }
        assert_eq!(process.returncode(), None);
        // What was gathered can be read, and the rest gathered.
        let line = process.stdout.as_mut().expect("piped").readline().await.expect("a line");
        assert_eq!(line, "out\n");
        let output = process.communicate("more\nand more").await.expect("it ends");
        assert_eq!(output.stdout.expect("piped"), "more\nand more");
        assert_eq!(output.stderr.expect("piped"), "wrong\n");
        assert!(output.status.success());
    });
}

// whenever it is dropped
#[test]
fn a_communicate_that_is_dropped_after_each_poll_comes_to_the_end() {
    run(async {
        for (command, expected) in [
            ("head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2; cat", (500_000, 200_000)),
            ("exec 0<&-; head -c 200000 /dev/zero; echo wrong >&2", (200_000, 6)),
            ("head -c 200000 /dev/zero", (200_000, 0)),
        ] {
            for limit in [500_000, usize::MAX] {
                let mut process =
                    piped(create_subprocess_shell(command)).limit(1000).await.unwrap();
                let input = Bytes::from(vec![b'x'; 300_000]);
                let output = loop {
                    let gathering = process.communicate(input.clone()).limit(limit);
                    if let Some(output) = poll_once(&mut gathering.into_future()).await {
                        break output.expect("it ends");
                    }
                    turns(1).await;
                };
                let came = (output.stdout.expect("piped").len(), output.stderr.unwrap().len());
                assert_eq!(came, expected, "{command}");
            }
        }
    });
}

#[test]
fn an_input_that_has_begun_is_fed_to_its_end_though_the_future_is_dropped() {
    run(async {
        let mut process = shell("read line; cat | wc -c").await;
        let mut input = vec![b'x'; 4 << 20];
        input[0] = b'\n';
        let mut gathering = process.communicate(input).into_future();
        assert!(poll_once(&mut gathering).await.is_none());
        drop(gathering);
        let output = process.communicate("not this").await.expect("it ends");
        let stdout = output.stdout.expect("piped");
        assert_eq!(String::from_utf8_lossy(&stdout).trim(), ((4 << 20) - 1).to_string());
    });
}

//
#[test]
fn a_huge_input_arrives_whole() {
    run(async {
        let input: Vec<u8> = (0..16 << 20).map(|position| (position % 251) as u8).collect();
        let input = Bytes::from(input);
        let mut process = piped(create_subprocess_exec("/bin/cat")).await.expect("a child");
        let output = process.communicate(input.clone()).await.expect("it ends");
        assert!(output.stdout.expect("piped") == input);
    });
}

#[test]
fn a_child_that_writes_too_much_is_told_of_and_left_alone() {
    let _alone = alone();
    run(async {
        let before = open_descriptors();
        for (command, fd) in [("exec yes", 1), ("exec yes >&2", 2)] {
            let mut process = piped(create_subprocess_shell(command)).limit(1000).await.unwrap();
            let error = process.communicate("").limit(300_000).await.expect_err("too much");
            let CommunicateError::TooLong { fd: told, limit: 300_000 } = error else {
                panic!("{error}")
            };
            assert_eq!(told, fd);
            assert_eq!(process.returncode(), None);
            // Memory is bounded: nothing more is taken.
            let pipe = process.transport().get_pipe_transport(fd).unwrap().read().unwrap();
            assert!(!pipe.is_reading());
            assert!(pipe.statistics().bytes_received <= 300_000 + 256 * 1024);
            // What has come can be read.
            let reader = if fd == 1 { &mut process.stdout } else { &mut process.stderr };
            assert_eq!(reader.as_mut().unwrap().readline().await.expect("a line"), "y\n");
            process.kill().expect("it runs");
            process.wait().await;
            drop(process);
            until(|| is_childless() && open_descriptors() == before).await;
        }
        // As much as the limit is not too much.
        let mut process = shell("echo tide").await;
        let output = process.communicate("").limit(5).await.expect("it is enough");
        assert_eq!(output.stdout.expect("piped"), "tide\n");
    });
}

#[test]
fn a_limit_is_an_error_that_says_so() {
    run(async {
        let mut process = shell("echo tide; read line").await;
        let error = process.communicate("").limit(4).await.expect_err("too much");
        assert!(error.source().is_none());
        assert_eq!(error.to_string(), "the child wrote more than 4 bytes to its descriptor 1");
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(matches!(inner(&error), Some(CommunicateError::TooLong { fd: 1, limit: 4 })));
    });
}

#[test]
fn a_grandchild_that_keeps_the_output_open_is_waited_for() {
    run(async {
        let (theirs, ours) = io::pipe().expect("a pipe");
        let builder = piped(create_subprocess_shell("echo out; cat <&3 & exit 2"));
        let mut process = builder.pass_fd(theirs, 3).await.expect("a child");
        let exited = process.wait();
        let mut gathering = process.communicate("").into_future();
        assert!(poll_once(&mut gathering).await.is_none());
        assert_eq!(exited.await.code(), Some(2));
        turns(10).await;
        assert!(poll_once(&mut gathering).await.is_none());
        drop(ours);
        let output = gathering.await.expect("it ends");
        assert_eq!(output.stdout.expect("piped"), "out\n");
        assert_eq!(output.status.code(), Some(2));
    });
}
