//! Many children, and children when descriptors run out: what was there before is there after, and nothing more.

#![cfg(not(windows))]

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_reactor::spawn;
use tidegate_subprocess::{SpawnError, SpawnSubprocess, Stdio, subprocess_exec};
use tidegate_testkit::{alone, open_descriptors, run};

mod support;
use support::{Count, Idle, exec, inner, is_childless, threads, until};

#[test]
fn two_thousand_children_leave_nothing() {
    let _alone = alone();
    let (descriptors, before) = (open_descriptors(), threads());
    run(async {
        let opened = open_descriptors();
        let ended = Count::default();
        let mut tasks = Vec::new();
        for worker in 0..8 {
            let ended = ended.clone();
            let task = spawn(async move {
                for number in 0..250 {
                    let child = subprocess_exec(|| Idle, "/bin/true");
                    // One in ten has pipes: they are not what this is about.
                    let child = if (worker + number) % 10 == 0 {
                        child
                    } else {
                        child.stdin(Stdio::Null).stdout(Stdio::Null).stderr(Stdio::Null)
                    };
                    let transport = child.await.expect("a child");
                    assert!(transport.closed().await.is_none());
                    assert_eq!(transport.get_returncode(), Some(0));
                    ended.add();
                }
            });
            tasks.push(task.expect("a task"));
        }
        for task in tasks {
            task.await.expect("it ends");
        }
        assert_eq!(ended.get(), 2000);
        assert!(is_childless());
        assert_eq!(open_descriptors(), opened);
        // A thread that waits for a child ends with it, or a moment after.
        until(|| threads() <= before).await;
    });
    assert_eq!(open_descriptors(), descriptors);
}

/// Lowers the number of descriptors that may be open, for as long as it lives.
struct Limited(Rlimit);

impl Limited {
    fn to(most: u64) -> Limited {
        let before = getrlimit(Resource::Nofile);
        let lowered = Rlimit { current: Some(most), maximum: before.maximum };
        setrlimit(Resource::Nofile, lowered).expect("lowered");
        Limited(before)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("as before");
    }
}

/// Leaves room for a number of descriptors more, and tries to start a child, until there is enough.
async fn starve(child: impl Fn() -> SpawnSubprocess<fn() -> Idle>) -> usize {
    let before = open_descriptors();
    let limited = Limited::to(128);
    for room in 0.. {
        let mut taken = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            taken.push(file);
        }
        taken.truncate(taken.len() - room);
        let answer = child().await;
        drop(taken);
        match answer {
            Ok(transport) => {
                transport.close();
                transport.closed().await;
                drop(limited);
                assert!(is_childless());
                assert_eq!(open_descriptors(), before);
                return room;
            }
            Err(error) => {
                let told = inner(&error);
                assert!(matches!(told, Some(SpawnError::Descriptors { .. })), "{room}: {error}");
                assert!(is_childless(), "{room}");
                assert_eq!(open_descriptors(), before, "{room}");
            }
        }
    }
    unreachable!("there is room at last")
}

#[test]
fn descriptors_that_run_out_in_the_middle_of_a_start_leave_nothing() {
    let _alone = alone();
    run(async {
        let child = || subprocess_exec((|| Idle) as fn() -> Idle, "/bin/true");
        // Six for the pipes; when the last one is wanted, the child's three are free again.
        let room = starve(child).await;
        assert!((6..=8).contains(&room), "{room}");
        // The child runs already when the one that stands for it cannot be had.
        let room =
            starve(|| child().stdin(Stdio::Inherit).stdout(Stdio::Inherit).stderr(Stdio::Inherit))
                .await;
        assert!((1..=3).contains(&room), "{room}");
        starve(|| child().stderr(Stdio::Stdout)).await;
        starve(|| child().start_new_session()).await;
    });
}

#[test]
fn the_loop_is_fit_for_children_after_descriptors_have_run_out() {
    let _alone = alone();
    run(async {
        {
            let _limited = Limited::to(4);
            let error = exec("/bin/true").0.await.expect_err("no descriptor");
            assert!(inner::<SpawnError>(&error).is_some());
        }
        let transport = exec("/bin/true").0.await.expect("a child");
        assert!(transport.closed().await.is_none());
        io::Result::Ok(())
    })
    .expect("no error");
}
