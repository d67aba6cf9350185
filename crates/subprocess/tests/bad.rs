//! What cannot be started, and what is left of it: a clear error, and nothing else.

#![cfg(not(windows))]

use std::error::Error;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::task::{Context, Poll, Waker};

use tempfile::TempDir;
use tidegate_protocols::Protocol;
use tidegate_reactor::LoopError;
use tidegate_subprocess::{
    SpawnArgumentError, SpawnError, SpawnSubprocess, Stdio, SubprocessProtocol, subprocess_exec,
    subprocess_shell,
};
use tidegate_testkit::{alone, open_descriptors, run};

mod support;
use support::{Idle, again_ignoring, finished, inner, is_childless, never, shell};

type Never = SpawnSubprocess<fn() -> Idle>;

// what is left of it; the others are no arguments here
#[test]
fn what_cannot_be_is_refused_before_anything_happens() {
    let _alone = alone();
    let before = open_descriptors();
    run(async {
        let nul = |place| SpawnArgumentError::NulByte { place };
        let check = async |child: Never, expected: SpawnArgumentError| {
            let error = child.await.expect_err("it cannot be");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(inner::<SpawnArgumentError>(&error), Some(&expected));
            assert!(!error.to_string().is_empty());
        };
        let child = || subprocess_exec(never as fn() -> Idle, "/bin/true");
        let exec = |program| subprocess_exec(never as fn() -> Idle, program);
        check(exec("/bin/\0true"), nul("the program")).await;
        check(subprocess_shell(never, "true \0"), nul("an argument")).await;
        check(child().arg("a\0b"), nul("an argument")).await;
        check(child().args(["a", "\0"]), nul("an argument")).await;
        check(child().arg0("\0"), nul("argument zero")).await;
        check(child().env("A\0", "1"), nul("the environment")).await;
        check(child().env("A", "\0"), nul("the environment")).await;
        check(child().current_dir("/\0"), nul("the working directory")).await;
        for name in ["", "A=B", "="] {
            let name = name.into();
            check(child().env(&name, "1"), SpawnArgumentError::EnvironmentName { name }).await;
        }
        check(child().stdout(Stdio::Stdout), SpawnArgumentError::StdoutForOther).await;
        check(child().stdin(Stdio::Stdout), SpawnArgumentError::StdoutForOther).await;
        let file = || fs::File::open("/dev/null").expect("a device");
        for number in [2, 0, -1, i32::MAX] {
            let wrong = SpawnArgumentError::PassedNumber { number };
            check(child().pass_fd(file(), number), wrong).await;
        }
        let twice = child().pass_fd(file(), 5).pass_fd(file(), 5);
        check(twice, SpawnArgumentError::PassedTwice { number: 5 }).await;
        let both = child().process_group(0).start_new_session();
        check(both, SpawnArgumentError::GroupAndSession).await;
        // The first that is wrong is told.
        check(child().arg("\0").env("", ""), nul("an argument")).await;
    });
    assert!(is_childless());
    assert_eq!(open_descriptors(), before);
}

/// What starting it answers, and that nothing of it is left.
async fn refused(child: SpawnSubprocess<impl FnOnce() -> Idle>) -> (SpawnError, io::ErrorKind) {
    let before = open_descriptors();
    let error = child.await.expect_err("it cannot be started");
    assert_eq!(open_descriptors(), before);
    assert!(is_childless());
    let kind = error.kind();
    let wrapped = error.into_inner().expect("an error inside");
    let error = *wrapped.downcast::<SpawnError>().expect("that error");
    assert_eq!(error.error().kind(), kind);
    assert!(error.source().is_some() && !error.to_string().is_empty());
    (error, kind)
}

fn idle() -> Idle {
    Idle
}

//
#[test]
fn a_program_that_is_not_there_is_not_found() {
    let _alone = alone();
    run(async {
        let folder = TempDir::new().expect("a folder");
        let script = folder.path().join("script");
        executable(&script, "#!/no/such/interpreter\n");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        for program in [
            Path::new("/no/such/program"),
            Path::new("no-such-program-anywhere"),
            Path::new(""),
            &script,
            &file.join("below"),
        ] {
            let (error, _) = refused(subprocess_exec(idle, program)).await;
            assert!(
                matches!(&error, SpawnError::ProgramNotFound { program: told, .. } if told == program),
                "{error:?}"
            );
            // The same where the child does something before it becomes the program.
            let (error, _) = refused(subprocess_exec(idle, program).start_new_session()).await;
            assert!(matches!(error, SpawnError::ProgramNotFound { .. }), "{error:?}");
        }
        let (_, kind) = refused(subprocess_exec(idle, "/no/such/program")).await;
        assert_eq!(kind, io::ErrorKind::NotFound);
    });
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("permitted");
}

//
#[test]
fn what_is_no_program_is_not_executed() {
    let _alone = alone();
    run(async {
        let folder = TempDir::new().expect("a folder");
        let text = folder.path().join("text");
        fs::write(&text, "echo hello\n").expect("written");
        let nonsense = folder.path().join("nonsense");
        executable(&nonsense, "\x7fnonsense");
        for program in [&text, &nonsense, folder.path()] {
            let (error, _) = refused(subprocess_exec(idle, program)).await;
            assert!(matches!(error, SpawnError::NotExecutable { .. }), "{program:?}: {error:?}");
        }
        let (_, kind) = refused(subprocess_exec(idle, &text)).await;
        assert_eq!(kind, io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn a_directory_that_is_gone_is_named() {
    let _alone = alone();
    run(async {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        for directory in [&folder.path().join("gone"), &file, Path::new("")] {
            for session in [false, true] {
                let child = subprocess_exec(idle, "/bin/true").current_dir(directory);
                let child = if session { child.start_new_session() } else { child };
                let (error, _) = refused(child).await;
                assert!(
                    matches!(&error, SpawnError::WorkingDirectory { path, .. } if path == directory),
                    "{error:?}"
                );
            }
        }
        // The directory is there; it is the program that is not.
        let child = subprocess_exec(idle, "/no/such/program").current_dir(folder.path());
        let (error, _) = refused(child).await;
        assert!(matches!(error, SpawnError::ProgramNotFound { .. }), "{error:?}");
    });
}

// the standard library, which starts a child for another user, has a panic for it where the system reaps, or
// somebody else does
#[test]
fn a_program_that_ignores_sigchld_is_told_what_is_not_there() {
    if again_ignoring("CHLD", "a_program_that_ignores_sigchld_is_told_what_is_not_there") {
        return;
    }
    run(async {
        let (error, _) = refused(subprocess_exec(idle, "/no/such/program")).await;
        assert!(matches!(error, SpawnError::ProgramNotFound { .. }), "{error:?}");
        let before = open_descriptors();
        let child =
            subprocess_exec(idle, "/no/such/program").uid(rustix::process::geteuid().as_raw());
        let error = child.await.expect_err("it cannot be started");
        assert!(matches!(inner(&error), Some(SpawnError::Other { .. })), "{error:?}");
        assert_eq!(open_descriptors(), before);
    });
}

//
#[test]
fn a_program_that_the_shell_does_not_find_is_127() {
    run(async {
        let (transport, log) = finished(shell("no-such-program-anywhere")).await;
        assert_eq!(transport.get_returncode(), Some(127));
        assert!(log.data(2).contains("not found"), "{}", log.data(2));
    });
}

// the number may be that of a descriptor by which the system's library tells of the error
#[test]
fn a_program_that_is_not_there_is_told_whatever_number_is_passed() {
    let _alone = alone();
    let before = open_descriptors();
    run(async {
        for number in 3..40 {
            let file = fs::File::open("/dev/null").expect("a device");
            let error = subprocess_exec(idle, "/no/such/program").pass_fd(file, number).await;
            let error = error.expect_err("it cannot be started");
            let told = inner(&error);
            assert!(matches!(told, Some(SpawnError::ProgramNotFound { .. })), "{number}: {error}");
        }
        let file = fs::File::open("/dev/null").expect("a device");
        let error = subprocess_exec(idle, "/bin/true").pass_fd(file, 1 << 30).await;
        let error = error.expect_err("it is above the limit");
        assert!(matches!(inner(&error), Some(SpawnError::Other { .. })), "{error:?}");
    });
    assert!(is_childless());
    assert_eq!(open_descriptors(), before);
}

// the same where the number is that of the descriptor here
#[test]
fn a_program_that_is_not_there_is_told_when_a_descriptor_keeps_its_number() {
    let _alone = alone();
    let before = open_descriptors();
    run(async {
        for place in 0..6 {
            let open = || fs::File::open("/dev/null").expect("a device");
            let mut files: Vec<_> = (0..6).map(|_| open()).collect();
            let passed = files.remove(place);
            // The numbers before it are free, for the descriptor by which the system's library tells, say.
            drop(files);
            let number = passed.as_raw_fd();
            let child = subprocess_exec(idle, "/no/such/program").pass_fd(passed, number);
            let child = child.stdin(Stdio::Null).stdout(Stdio::Null).stderr(Stdio::Null);
            let error = child.await.expect_err("it cannot be started");
            let told = inner(&error);
            assert!(matches!(told, Some(SpawnError::ProgramNotFound { .. })), "{place}: {error}");
        }
    });
    assert!(is_childless());
    assert_eq!(open_descriptors(), before);
}

#[test]
fn there_is_no_child_outside_of_a_loop() {
    let mut starting = std::pin::pin!(subprocess_exec(never, "/bin/true").into_future());
    let polled = starting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else { panic!("{polled:?}") };
    assert_eq!(inner::<LoopError>(&error), Some(&LoopError::NotRunning));
}

#[test]
fn a_factory_that_panics_has_started_nothing() {
    let _alone = alone();
    let before = open_descriptors();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        tidegate_reactor::run(async {
            subprocess_exec(never, "/bin/true").await?;
            io::Result::Ok(())
        })
    }));
    assert!(caught.is_err());
    assert!(is_childless());
    assert_eq!(open_descriptors(), before);
}

/// One value is the protocol of both.
#[test]
fn a_protocol_may_be_of_either_kind() {
    struct Both;
    impl SubprocessProtocol for Both {}
    impl Protocol for Both {}
    run(async {
        subprocess_exec(|| Both, "/bin/true").await.expect("a child").closed().await;
    });
}
