//! What can be chosen for a child, as the child finds it.

#![cfg(not(windows))]

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;

use nix::unistd::{Pid, getpgid, getsid};
use tempfile::{TempDir, tempfile};
use tidegate_protocols::WriteLimits;
use tidegate_subprocess::{SpawnError, Stdio, SubprocessTransport};
use tidegate_testkit::run;

mod support;
use support::{Log, Recording, Told, exec, inner, shell, turns, until};
#[cfg(target_os = "linux")]
use support::{again_ignoring, finished};

/// What a child writes to its output.
async fn output(
    (builder, log): (Recording, Log),
    change: impl FnOnce(Recording) -> Recording,
) -> String {
    let transport = change(builder).await.expect("a child");
    assert!(transport.closed().await.is_none());
    log.assert_grammar();
    assert_eq!(transport.get_returncode(), Some(0), "{:?}", log.told());
    log.data(1)
}

//
#[test]
fn the_environment_is_what_was_asked_for() {
    run(async {
        let env = || exec("/usr/bin/env");
        assert_eq!(output(env(), |child| child.env_clear()).await, "");
        let set = output(env(), |child| child.env_clear().envs([("A", "1"), ("B", "x=y")])).await;
        assert_eq!(set, "A=1\nB=x=y\n");
        let added = output(env(), |child| child.env("TIDEGATE_A", "1")).await;
        assert!(added.contains("TIDEGATE_A=1\n") && added.contains("PATH="), "{added}");
        let removed = output(env(), |child| child.env_remove("PATH")).await;
        assert!(!removed.lines().any(|line| line.starts_with("PATH=")), "{removed}");
    });
}

//
#[test]
fn the_directory_is_what_was_asked_for() {
    run(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().canonicalize().expect("a path");
        let pwd = output(shell("pwd -P"), |child| child.current_dir(&path)).await;
        assert_eq!(pwd.trim_end(), path.to_str().expect("text"));
    });
}

//
#[test]
fn the_program_is_looked_for_in_the_childs_own_path() {
    run(async {
        let (first, second) =
            (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        let (first, second) = (first.path(), second.path());
        // A file that was written could not be executed while a child of another test has its descriptor still.
        symlink("/bin/sh", second.join("tidegate-tool")).expect("a link");
        let names = [first, second].map(|path| path.to_str().expect("text"));
        let too_long = "/long".repeat(1000);
        let path = format!("/no/such/folder:{too_long}:{}:{}", names[0], names[1]);
        let asked = || exec("tidegate-tool");
        let found = async || {
            let asked_there = |child: Recording| child.env("PATH", &path).args(["-c", "echo here"]);
            assert_eq!(output(asked(), asked_there).await, "here\n");
        };
        found().await;
        // One that is not permitted is passed over, and told of if there is no other.
        fs::write(first.join("tidegate-tool"), "").expect("written");
        found().await;
        let error = asked().0.env("PATH", format!("{}:/no", names[0])).await.expect_err("refused");
        let told = inner::<SpawnError>(&error);
        assert!(matches!(told, Some(SpawnError::NotExecutable { .. })), "{error:?}");
        let error = asked().0.await.expect_err("it is nowhere");
        let told = inner::<SpawnError>(&error);
        assert!(matches!(told, Some(SpawnError::ProgramNotFound { .. })), "{error:?}");
        // Without one there is that of the system.
        assert_eq!(output(exec("env"), |child| child.env_clear()).await, "");
        assert_eq!(
            output(exec("sh"), |child| child.env_remove("PATH").args(["-c", "echo"])).await,
            "\n"
        );
    });
}

// asyncio's `executable` is the program, and its arguments' first is this
#[test]
fn arguments_arrive_as_they_are() {
    run(async {
        let arguments = |child: Recording| child.args(["%s|", "a b", "", "$HOME", "*"]);
        assert_eq!(output(exec("/usr/bin/printf"), arguments).await, "a b||$HOME|*|");
        let named = |child: Recording| child.arg0("another").args(["-c", "echo $0"]);
        assert_eq!(output(exec("/bin/sh"), named).await, "another\n");
        let passed = |child: Recording| child.args(["zero", "one two"]);
        assert_eq!(output(shell("echo $0, $1"), passed).await, "zero, one two\n");
    });
}

/// Whether the child leads its group, and its session.
///
/// A leader in another process namespace, as a container has, is number 0: what is asked here must be able to say so.
fn group_and_session(transport: &SubprocessTransport) -> (bool, bool) {
    let pid = Pid::from_raw(i32::try_from(transport.get_pid()).expect("a number"));
    (getpgid(Some(pid)) == Ok(pid), getsid(Some(pid)) == Ok(pid))
}

// start_new_session
#[test]
fn a_child_leads_a_group_or_a_session_if_asked_to() {
    run(async {
        let check = async |change: fn(Recording) -> Recording, expected| {
            let (builder, _) = exec("/bin/cat");
            let transport = change(builder).await.expect("a child");
            assert_eq!(group_and_session(&transport), expected);
            transport.close();
            transport.closed().await;
        };
        check(|child| child, (false, false)).await;
        check(|child| child.process_group(0), (true, false)).await;
        check(|child| child.start_new_session(), (true, true)).await;
    });
}

#[test]
fn the_mask_of_new_files_is_what_was_asked_for() {
    run(async {
        let mask = output(shell("umask"), |child| child.umask(0o27)).await;
        assert_eq!(mask.trim_start_matches('0'), "27\n");
    });
}

#[test]
fn the_user_is_who_was_asked_for() {
    run(async {
        let root = rustix::process::geteuid().is_root();
        let (user, group) = match root {
            true => (65534, 65534),
            false => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        };
        let id = output(shell("id -u; id -g"), |child| child.uid(user).gid(group)).await;
        assert_eq!(id, format!("{user}\n{group}\n"));
    });
}

// the ends of the pipes have the numbers then that they are to have in the child, or that another is to have
#[test]
#[cfg(target_os = "linux")]
fn a_child_has_its_streams_where_this_process_has_closed_its_own() {
    use nix::unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout};
    let name = "a_child_has_its_streams_where_this_process_has_closed_its_own";
    // It is a process of its own that matters here.
    if again_ignoring("USR1", name) {
        return;
    }
    let kept = [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()]
        .map(|stream| stream.try_clone_to_owned().expect("a copy"));
    let told = run(async {
        // This program has nothing but this test, which puts them back.
        (0..3).for_each(|number| close(number).expect("closed"));
        let (builder, log) = shell("cat; echo error >&2");
        let transport = builder.await.expect("a child");
        let stdin = transport.stdin().expect("piped");
        stdin.write(b"text");
        stdin.close();
        assert!(transport.closed().await.is_none());
        (log.data(1), log.data(2))
    });
    dup2_stdin(&kept[0]).and(dup2_stdout(&kept[1])).and(dup2_stderr(&kept[2])).expect("put back");
    assert_eq!(told, ("text".to_owned(), "error\n".to_owned()));
}

//
#[test]
fn a_file_can_be_a_standard_stream() {
    run(async {
        let mut input = tempfile().expect("a file");
        input.write_all(b"from a file\n").expect("written");
        input.rewind().expect("rewound");
        let mut written = tempfile().expect("a file");
        let output = written.try_clone().expect("a copy");
        let (builder, log) = shell("cat; echo err >&2");
        let builder = builder.stdin(input).stdout(output).stderr(Stdio::Stdout);
        let transport = builder.await.expect("a child");
        for fd in 0..3 {
            assert!(transport.get_pipe_transport(fd).is_none());
        }
        assert!(transport.closed().await.is_none());
        log.assert_grammar();
        let mut text = String::new();
        written.rewind().expect("rewound");
        written.read_to_string(&mut text).expect("text");
        assert_eq!(text, "from a file\nerr\n");
    });
}

//
#[test]
fn standard_error_can_join_standard_output() {
    run(async {
        let (builder, log) = shell("echo out; echo err >&2; echo out");
        let transport = builder.stderr(Stdio::Stdout).await.expect("a child");
        assert!(transport.stderr().is_none());
        assert!(transport.closed().await.is_none());
        log.assert_grammar();
        assert_eq!(log.data(1), "out\nerr\nout\n");
        assert_eq!(log.count(|told| matches!(told, Told::PipeLost(..))), 2);
    });
}

//
#[test]
fn the_null_device_has_nothing_and_takes_everything() {
    run(async {
        let (builder, log) = shell("cat; echo out; echo err >&2");
        let builder = builder.stdin(Stdio::Null).stdout(Stdio::Null).stderr(Stdio::Stdout);
        assert!(builder.await.expect("a child").closed().await.is_none());
        log.assert_grammar();
        assert_eq!(log.told().len(), 4, "{:?}", log.told());
    });
}

// what is inherited is what this process has
#[test]
#[cfg(target_os = "linux")]
fn streams_are_inherited() {
    run(async {
        let mine = |fd: u8| fs::read_link(format!("/proc/self/fd/{fd}")).expect("a link");
        let (builder, log) = shell(
            "[ /proc/self/fd/1 -ef /proc/self/fd/2 ] || exit 1; \
             exec readlink /proc/self/fd/0 /proc/self/fd/2 >&4",
        );
        let (mut read, write) = io::pipe().expect("a pipe");
        let builder = builder.stdin(Stdio::Inherit).stdout(Stdio::Inherit).stderr(Stdio::Stdout);
        let transport = builder.pass_fd(write, 4).await.expect("a child");
        assert!(transport.closed().await.is_none());
        log.assert_grammar();
        let mut links = String::new();
        read.read_to_string(&mut links).expect("text");
        assert_eq!(transport.get_returncode(), Some(0));
        let expected = [mine(0), mine(1)].map(|link| format!("{}\n", link.display()));
        assert_eq!(links, expected.concat());
    });
}

// or the end of one child's input would never be seen
#[test]
fn no_child_inherits_the_pipes_of_another() {
    run(async {
        let (first, log) = exec("/bin/cat");
        let first = first.await.expect("a child");
        let (second, _) = exec("/bin/cat");
        let second = second.await.expect("a child");
        first.stdin().expect("piped").close();
        first.closed().await;
        log.assert_grammar();
        assert_eq!(first.get_returncode(), Some(0));
        assert_eq!(second.get_returncode(), None);
        second.close();
        second.closed().await;
    });
}

//
#[test]
#[cfg(target_os = "linux")]
fn a_child_has_no_descriptor_but_its_own() {
    run(async {
        let _other = tempfile().expect("a file");
        let listed = output(exec("/bin/ls"), |child| child.arg("/proc/self/fd")).await;
        // What this program was started with, and nobody has set close-on-exec on, is another matter.
        let inheritable = |number: &str| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
            let flags = |info: String| {
                let line = info.lines().find_map(|line| line.strip_prefix("flags:"));
                u32::from_str_radix(line.expect("flags").trim(), 8).expect("flags")
            };
            info.is_ok_and(|info| flags(info) & 0o2_000_000 == 0)
        };
        let own = |number: &&str| ["0", "1", "2"].contains(number) || !inheritable(number);
        let own: Vec<&str> = listed.lines().filter(own).collect();
        // The last one is that of the folder.
        assert_eq!(own.len(), 4, "{listed}");
    });
}

fn pipe() -> (File, OwnedFd) {
    let (read, write) = io::pipe().expect("a pipe");
    (OwnedFd::from(read).into(), write.into())
}

fn text(mut read: File) -> String {
    let mut text = String::new();
    read.read_to_string(&mut text).expect("text");
    text
}

// pass_fds
#[test]
fn descriptors_are_passed_with_their_numbers() {
    run(async {
        let ((first, to_first), (second, to_second)) = (pipe(), pipe());
        let (builder, _) = shell("echo one >&3; echo two >&7");
        let transport = builder.pass_fd(to_first, 3).pass_fd(to_second, 7).await.expect("a child");
        assert!(transport.closed().await.is_none());
        assert_eq!((text(first), text(second)), ("one\n".to_owned(), "two\n".to_owned()));
    });
}

// also where each has the number of the other here
#[test]
fn passed_descriptors_may_change_places() {
    run(async {
        let ((first, to_first), (second, to_second)) = (pipe(), pipe());
        let (one, two) = (to_first.as_raw_fd(), to_second.as_raw_fd());
        let (builder, _) = shell(&format!("echo one >/dev/fd/{two}; echo two >/dev/fd/{one}"));
        let builder = builder.pass_fd(to_first, two).pass_fd(to_second, one);
        assert!(builder.await.expect("a child").closed().await.is_none());
        assert_eq!((text(first), text(second)), ("one\n".to_owned(), "two\n".to_owned()));
    });
}

// be it free here or taken
#[test]
fn a_descriptor_is_passed_with_any_number() {
    run(async {
        for number in 3..40 {
            let (read, write) = pipe();
            let (builder, log) = shell(&format!("echo {number} >/dev/fd/{number}"));
            let transport = builder.pass_fd(write, number).await.expect("a child");
            assert!(transport.closed().await.is_none());
            assert_eq!(text(read), format!("{number}\n"), "{:?}", log.told());
        }
    });
}

#[test]
fn a_passed_descriptor_may_keep_its_number() {
    run(async {
        let (read, write) = pipe();
        let number = write.as_raw_fd();
        let (builder, _) = shell(&format!("echo same >/dev/fd/{number}"));
        assert!(builder.pass_fd(write, number).await.expect("a child").closed().await.is_none());
        assert_eq!(text(read), "same\n");
    });
}

#[test]
fn the_limits_of_standard_input_are_what_was_asked_for() {
    run(async {
        let limits = WriteLimits::new(Some(10), Some(5)).expect("limits");
        let (builder, log) = exec("/bin/cat");
        let transport = builder.write_buffer_limits(limits).await.expect("a child");
        assert_eq!(transport.stdin().expect("piped").get_write_buffer_limits(), limits);
        transport.stdin().expect("piped").close();
        until(|| log.has(&Told::Dropped)).await;
        turns(1).await;
    });
}

/// A set of signals of a child, by its name in /proc.
#[cfg(target_os = "linux")]
fn signals(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a set")
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_starts_with_no_signal_blocked_and_sigpipe_not_ignored() {
    use nix::sys::signal::{SigSet, Signal};
    if again_ignoring("USR1", "a_child_starts_with_no_signal_blocked_and_sigpipe_not_ignored") {
        return;
    }
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR2);
    blocked.thread_block().expect("blocked");
    run(async {
        let bit = |signal: Signal| 1_u64 << (signal as i32 - 1);
        for (plain, session) in [(true, false), (false, true), (false, false)] {
            let status = output(exec("/bin/cat"), |child| {
                let child = child.arg("/proc/self/status");
                match (plain, session) {
                    (true, _) => child,
                    (_, true) => child.start_new_session(),
                    (_, false) => child.reset_signals(),
                }
            })
            .await;
            assert_eq!(signals(&status, "SigBlk"), 0, "{status}");
            // What this process ignores, as a program under nohup does, stays so unless it is asked otherwise.
            let ignored = if plain || session { bit(Signal::SIGUSR1) } else { 0 };
            let known = bit(Signal::SIGUSR1) | bit(Signal::SIGPIPE);
            assert_eq!(signals(&status, "SigIgn") & known, ignored, "{status}");
        }
        let own = fs::read_to_string("/proc/thread-self/status").expect("text");
        assert_eq!(signals(&own, "SigIgn") & bit(Signal::SIGPIPE), bit(Signal::SIGPIPE));
        assert_eq!(signals(&own, "SigBlk"), bit(Signal::SIGUSR2));
        finished(exec("/bin/true")).await;
    });
}
