//! The watchdog that ends a hanging test, with its name, instead of letting it hang the whole run.

use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tidegate_reactor::EventLoop;

use crate::descriptors;

/// How long a watched test may take: 60 seconds.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Runs `test` and ends the whole process, with the name of the present thread, if that takes longer
/// than [`TIME_LIMIT`].
///
/// The test harness names a thread after its test, so the message says which test hangs. A test that
/// panics is not watched any longer. Watched tests of one process wait while a test is
/// [`alone`](crate::alone), and their own waiting is not counted as time.
///
/// # Examples
///
/// ```
/// let sum = tidegate_testkit::watched(|| 1 + 1);
/// assert_eq!(sum, 2);
/// ```
pub fn watched<R>(test: impl FnOnce() -> R) -> R {
    let _share = descriptors::share();
    let _watch = watch(thread::current().name().unwrap_or("a test"));
    test()
}

/// Runs `test` in a loop of its own, [watched], and answers what it answers.
///
/// # Panics
///
/// If there can be no loop, or the test stops it.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::{Recorder, memory, run};
///
/// run(async {
///     let handle = tidegate_reactor::LoopHandle::current()?;
///     let (left, _right) = memory::pair(&handle, Recorder::new(), Recorder::new(), Default::default());
///     left.close();
///     assert!(left.closed().await.is_none());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run<F: Future>(test: F) -> F::Output {
    watched(|| {
        let event_loop = EventLoop::new().expect("an event loop");
        let answer = event_loop.run_until_complete(test).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        answer
    })
}

/// Ends the process, naming `what`, unless the answer is dropped within the [`TIME_LIMIT`].
pub(crate) fn watch(what: &str) -> Watch {
    Watch::start(what.to_owned(), TIME_LIMIT)
}

/// A running watch; dropping it ends it.
pub(crate) struct Watch {
    _ended: Sender<()>,
}

impl Watch {
    fn start(what: String, limit: Duration) -> Watch {
        let (ended, end) = mpsc::channel::<()>();
        let watching = move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{what} has not ended after {} s: aborting", limit.as_secs());
                process::abort();
            }
        };
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(watching)
            .expect("a thread for the watchdog");
        Watch { _ended: ended }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Duration;

    use super::{Watch, watched};

    #[test]
    fn the_answer_of_the_test_comes_through() {
        assert_eq!(watched(|| "answer"), "answer");
    }

    #[test]
    fn a_panic_of_the_test_comes_through() {
        let ended = catch_unwind(AssertUnwindSafe(|| watched(|| panic!("on purpose"))));
        assert!(ended.is_err());
    }

    #[test]
    fn watched_tests_may_nest() {
        assert_eq!(watched(|| watched(|| 7)), 7);
    }

    /// Runs in a process of its own, since the watchdog ends the process.
    #[test]
    fn a_hanging_test_is_ended_with_its_name() {
        const ASKED: &str = "TIDEGATE_TESTKIT_HANG";
        if std::env::var_os(ASKED).is_some() {
            let name = thread::current().name().expect("a named thread").to_owned();
            let _watch = Watch::start(name, Duration::from_millis(10));
            loop {
                thread::park();
            }
        }
        let name = thread::current().name().expect("a named thread").to_owned();
        let ended = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &name, "--nocapture", "--test-threads=2"])
            .env(ASKED, "yes")
            .output()
            .expect("this program started again");
        assert!(!ended.status.success());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            said.contains("a_hanging_test_is_ended_with_its_name has not ended"),
            "said: {said}"
        );
    }
}
