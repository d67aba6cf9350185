//! `run`: what happens when main ends, fails, or is interrupted.

mod support;

use std::cell::{Cell, RefCell};
use std::future;
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{kill, raise};
use nix::unistd::Pid;
use support::{Log, PanicsAtDrop, messages, reports, watched, with_loop};
use tidegate_reactor::{
    Interest, LoopError, LoopHandle, Readiness, Signal, Source, Watcher, run, sleep, spawn,
};

/// Notes the end of what owns it, and whether the loop runs then.
struct Tomb(Log<&'static str>, &'static str);

impl Drop for Tomb {
    fn drop(&mut self) {
        assert!(LoopHandle::current().is_ok(), "{} outside of the loop", self.1);
        self.0.push(self.1);
    }
}

/// What a transport is to `run`: asked to end, it tells its protocol of the loss some turns later.
struct Transport {
    handle: LoopHandle,
    log: Log<&'static str>,
    turns: Cell<u32>,
    asked: Cell<bool>,
    source: RefCell<Option<Source<UnixStream>>>,
    when_lost: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Transport {
    fn open(handle: &LoopHandle, log: &Log<&'static str>, turns: u32) -> UnixStream {
        Transport::open_with(handle, log, turns, || ())
    }

    fn open_with(
        handle: &LoopHandle,
        log: &Log<&'static str>,
        turns: u32,
        when_lost: impl FnOnce() + 'static,
    ) -> UnixStream {
        let (near, far) = UnixStream::pair().unwrap();
        let transport = Rc::new(Transport {
            handle: handle.clone(),
            log: log.clone(),
            turns: Cell::new(turns),
            asked: Cell::new(false),
            source: RefCell::new(None),
            when_lost: Cell::new(Some(Box::new(when_lost))),
        });
        let watcher = Rc::clone(&transport);
        let source = Source::new(handle, near, Interest::READ, watcher).unwrap();
        transport.source.replace(Some(source));
        far
    }

    fn end(self: Rc<Self>) {
        if self.turns.get() > 0 {
            self.turns.set(self.turns.get() - 1);
            let handle = self.handle.clone();
            handle.call_soon(move || self.end()).unwrap();
            return;
        }
        self.log.push("connection lost");
        drop(self.source.take());
        if let Some(when_lost) = self.when_lost.take() {
            when_lost();
        }
    }
}

impl Watcher for Transport {
    fn ready(self: Rc<Self>, _: Readiness) {}

    fn name(&self) -> String {
        "transport".to_owned()
    }

    fn shut_down(self: Rc<Self>) {
        // It is asked in every round.
        if !self.asked.replace(true) {
            self.log.push("shut down");
            self.end();
        }
    }
}

// L-90
#[test]
fn everything_ends_in_order_when_main_is_done() {
    watched(|| {
        let log = Log::new();
        let (go, wait) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let (near, _quiet) = UnixStream::pair().unwrap();
        let mut far = None;
        let mut kept = None;
        let main = async {
            let handle = LoopHandle::current()?;
            let tomb = Tomb(log.clone(), "task dropped");
            drop(spawn(async move {
                let _tomb = tomb;
                future::pending::<()>().await;
            })?);
            far = Some(Transport::open(&handle, &log, 0));
            // The call ends only if the loop still turns when nothing else is left, though it is stopped once.
            drop(handle.run_in_executor(move || {
                wait.recv().unwrap();
                ended.send("in the pool").unwrap();
            }));
            let stopping = handle.clone();
            handle.call_later(Duration::from_millis(5), move || stopping.stop())?;
            handle.call_later(Duration::from_millis(10), move || go.send(()).unwrap())?;
            handle.add_reader(&near, || ())?;
            handle.add_signal_handler(Signal::SIGUSR1, || ())?;
            kept = Some(handle);
            let _tomb = Tomb(log.clone(), "main dropped");
            sleep(Duration::ZERO).await?;
            Ok::<_, io::Error>(42)
        };
        assert_eq!(run(main).unwrap(), 42);
        assert_eq!(log.take(), ["main dropped", "task dropped", "shut down", "connection lost"]);
        let kept = kept.unwrap();
        assert!(kept.is_closed());
        assert!(kept.statistics().turns < 100, "{:?}", kept.statistics());
        assert_eq!(end.try_recv(), Ok("in the pool"), "the pool was waited for");
    });
}

// L-90
#[test]
fn everything_ends_in_order_when_main_fails_or_panics() {
    #[derive(Debug)]
    enum Error {
        Io,
        Own,
    }
    impl From<io::Error> for Error {
        fn from(_: io::Error) -> Error {
            Error::Io
        }
    }

    watched(|| {
        let log = Log::new();
        let failing = async {
            let _far = Transport::open(&LoopHandle::current().unwrap(), &log, 3);
            Err::<(), _>(Error::Own)
        };
        assert!(matches!(run(failing), Err(Error::Own)));
        assert_eq!(log.take(), ["shut down", "connection lost"]);

        let log = Log::new();
        let panicking = async {
            let _far = Transport::open(&LoopHandle::current()?, &log, 3);
            if log.take().is_empty() {
                panic!("on purpose");
            }
            Ok::<(), io::Error>(())
        };
        let payload = catch_unwind(AssertUnwindSafe(|| run(panicking))).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        assert_eq!(log.take(), ["shut down", "connection lost"]);
        assert!(LoopHandle::current().is_err());

        // An error of the loop's own becomes one of main's.
        let nested = async { run(async { Err::<(), _>(Error::Own) }) };
        assert!(matches!(run(nested), Err(Error::Io)));
    });
}

// L-90
#[test]
fn a_panic_while_tasks_are_dropped_is_reported_and_costs_the_others_nothing() {
    watched(|| {
        let log = Log::new();
        let mut told = None;
        let main = async {
            told = Some(reports(&LoopHandle::current()?));
            for _ in 0..2 {
                let owned = (Tomb(log.clone(), "task dropped"), PanicsAtDrop);
                drop(spawn(async move {
                    let _owned = owned;
                    future::pending::<()>().await;
                })?);
            }
            sleep(Duration::ZERO).await?;
            Ok::<_, io::Error>(())
        };
        run(main).unwrap();
        assert_eq!(messages(&told.unwrap()), ["Exception in destructor of a task"; 2]);
        assert_eq!(log.take(), ["task dropped"; 2]);
    });
}

// L-90
#[test]
fn what_connections_leave_behind_ends_as_well() {
    watched(|| {
        let log = Log::new();
        let main = async {
            let handle = LoopHandle::current()?;
            let (again, started) = (handle.clone(), log.clone());
            // A protocol that, told of its loss, opens the next connection, starts a task and stops the loop.
            let leave_more = move || {
                let (handle, log) = (again, started);
                drop(Transport::open(&handle, &log, 2));
                let tomb = Tomb(log, "task dropped");
                let task = handle.spawn(async move {
                    let _tomb = tomb;
                    future::pending::<()>().await;
                });
                drop(task);
                handle.stop();
            };
            drop(Transport::open_with(&handle, &log, 2, leave_more));
            Ok::<_, io::Error>(())
        };
        run(main).unwrap();
        let mut events = log.take();
        events.sort_unstable();
        let lost = ["connection lost", "connection lost", "shut down", "shut down", "task dropped"];
        assert_eq!(events, lost);
    });
}

/// Watches for ever and does not end when asked to.
struct Stubborn(Log<&'static str>);

impl Watcher for Stubborn {
    fn ready(self: Rc<Self>, _: Readiness) {}

    fn name(&self) -> String {
        "stubborn".to_owned()
    }

    fn loop_closed(self: Rc<Self>) {
        self.0.push("closed");
    }
}

// L-90
#[test]
fn whoever_does_not_end_is_left_to_the_close() {
    watched(|| {
        let log = Log::new();
        let main = async {
            let handle = LoopHandle::current()?;
            let (near, far) = UnixStream::pair()?;
            let stubborn = Rc::new(Stubborn(log.clone()));
            Ok::<_, io::Error>((Source::new(&handle, near, Interest::READ, stubborn)?, far))
        };
        let _source = run(main).unwrap();
        assert_eq!(log.take(), ["closed"]);
    });
}

// L-93
#[test]
fn run_inside_of_a_running_loop_is_an_error_before_any_effect() {
    watched(|| {
        let outer = async {
            let polled = Cell::new(false);
            let inner = async {
                polled.set(true);
                Ok::<_, io::Error>(())
            };
            let error = run(inner).unwrap_err();
            let inside = error.into_inner().unwrap().downcast::<LoopError>().unwrap();
            assert_eq!(*inside, LoopError::OtherRunning);
            assert!(!polled.get());

            // The outer loop is as it was.
            assert!(LoopHandle::current()?.is_running());
            sleep(Duration::ZERO).await?;
            Ok::<_, io::Error>("undisturbed")
        };
        assert_eq!(run(outer).unwrap(), "undisturbed");
    });
    with_loop(|event_loop| {
        let inside = event_loop.run_until_complete(async { run(async { Ok::<_, io::Error>(()) }) });
        assert!(inside.unwrap().is_err());
    });
}

#[test]
fn a_loop_that_is_stopped_ends_main() {
    watched(|| {
        let log = Log::new();
        let main = async {
            let _tomb = Tomb(log.clone(), "main dropped");
            LoopHandle::current()?.stop();
            future::pending::<Result<(), io::Error>>().await
        };
        let error = run(main).unwrap_err();
        let inside = error.into_inner().unwrap().downcast::<LoopError>().unwrap();
        assert_eq!(*inside, LoopError::Stopped);
        assert_eq!(log.take(), ["main dropped"]);
    });
}

/// Set in a process that plays the part of a test that may end it.
const CHILD: &str = "TIDEGATE_RUN_CHILD";

/// What a child ends with when all went as it should; a panic ends it with 101.
const AS_IT_SHOULD: i32 = 7;

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The test of that name in a process of its own.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    command
}

fn status_of(test: &str) -> ExitStatus {
    let output = child(test).output().unwrap();
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    output.status
}

// replaced: L-91
#[test]
fn the_first_sigint_drops_main_and_ends_everything_in_order() {
    if is_child() {
        let log = Log::new();
        let main = async {
            let handle = LoopHandle::current()?;
            let _far = Transport::open(&handle, &log, 2);
            let tomb = Tomb(log.clone(), "task dropped");
            drop(spawn(async move {
                let _tomb = tomb;
                future::pending::<()>().await;
            })?);
            sleep(Duration::ZERO).await?;
            let _tomb = Tomb(log.clone(), "main dropped");
            // The parent interrupts the wait.
            println!("waiting");
            future::pending::<Result<(), io::Error>>().await
        };
        let error = run(main).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(log.take(), ["main dropped", "task dropped", "shut down", "connection lost"]);
        std::process::exit(AS_IT_SHOULD);
    }
    watched(|| {
        let mut child = child("the_first_sigint_drops_main_and_ends_everything_in_order")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("waiting")));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(AS_IT_SHOULD));
    });
}

// replaced: L-91
#[test]
fn a_second_sigint_ends_the_process_though_the_loop_is_stuck() {
    if is_child() {
        let _ = run(async {
            raise(Signal::SIGINT).unwrap();
            println!("still there");
            raise(Signal::SIGINT).unwrap();
            std::process::exit(AS_IT_SHOULD);
            #[allow(unreachable_code, reason = "it says what main is")]
            Ok::<(), io::Error>(())
        });
        unreachable!();
    }
    watched(|| {
        let status = status_of("a_second_sigint_ends_the_process_though_the_loop_is_stuck");
        assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}");
    });
}

// replaced: L-91
#[test]
fn a_sigint_while_everything_ends_ends_the_process() {
    struct Raising;
    impl Drop for Raising {
        fn drop(&mut self) {
            raise(Signal::SIGINT).unwrap();
        }
    }

    if is_child() {
        let _ = run(async {
            let raising = Raising;
            drop(spawn(async move {
                let _raising = raising;
                future::pending::<()>().await;
            })?);
            sleep(Duration::ZERO).await?;
            Ok::<(), io::Error>(())
        });
        std::process::exit(AS_IT_SHOULD);
    }
    watched(|| {
        let status = status_of("a_sigint_while_everything_ends_ends_the_process");
        assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}");
    });
}

// L-92
#[test]
fn the_default_action_is_back_when_run_returns() {
    if is_child() {
        for _ in 0..2 {
            run(async { Ok::<(), io::Error>(()) }).unwrap();
            let interrupted = run(async {
                raise(Signal::SIGINT).unwrap();
                future::pending::<Result<(), io::Error>>().await
            });
            assert_eq!(interrupted.unwrap_err().kind(), io::ErrorKind::Interrupted);
        }
        raise(Signal::SIGINT).unwrap();
        std::process::exit(AS_IT_SHOULD);
    }
    watched(|| {
        let status = status_of("the_default_action_is_back_when_run_returns");
        assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}");
    });
}

// L-92
#[test]
fn a_sigint_that_somebody_else_handles_is_left_alone() {
    if is_child() {
        // The parent has started this with SIGINT ignored.
        for _ in 0..2 {
            run(async {
                assert_eq!(LoopHandle::current()?.statistics().sources, 0);
                raise(Signal::SIGINT).unwrap();
                raise(Signal::SIGINT).unwrap();
                sleep(Duration::from_millis(1)).await?;
                Ok::<(), io::Error>(())
            })
            .unwrap();
        }
        raise(Signal::SIGINT).unwrap();
        std::process::exit(AS_IT_SHOULD);
    }
    watched(|| {
        let test = "a_sigint_that_somebody_else_handles_is_left_alone";
        let status = Command::new("sh")
            .args(["-c", "trap '' INT; exec \"$0\" --exact \"$1\" --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .env(CHILD, "1")
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(AS_IT_SHOULD), "{status}");
    });
}

// L-92
#[test]
fn a_handler_of_the_loop_is_called_instead_until_it_is_removed() {
    if is_child() {
        let called = Rc::new(Cell::new(0));
        let result = run(async {
            let handle = LoopHandle::current()?;
            handle.add_signal_handler(Signal::SIGINT, {
                let called = Rc::clone(&called);
                move || called.set(called.get() + 1)
            })?;
            for expected in 1..=3 {
                raise(Signal::SIGINT).unwrap();
                while called.get() < expected {
                    sleep(Duration::ZERO).await?;
                }
            }

            assert!(handle.remove_signal_handler(Signal::SIGINT));
            raise(Signal::SIGINT).unwrap();
            future::pending::<Result<(), io::Error>>().await
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(called.get(), 3);
        std::process::exit(AS_IT_SHOULD);
    }
    watched(|| {
        let status = status_of("a_handler_of_the_loop_is_called_instead_until_it_is_removed");
        assert_eq!(status.code(), Some(AS_IT_SHOULD), "{status}");
    });
}

// L-91, of every thread: there is no main thread here.
#[test]
fn sigint_interrupts_the_runs_of_all_threads() {
    if is_child() {
        let (told, ready) = mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let told = told.clone();
                std::thread::spawn(move || {
                    run(async {
                        told.send(()).unwrap();
                        future::pending::<Result<(), io::Error>>().await
                    })
                    .unwrap_err()
                    .kind()
                })
            })
            .collect();
        for _ in &threads {
            ready.recv().unwrap();
        }
        raise(Signal::SIGINT).unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), io::ErrorKind::Interrupted);
        }
        std::process::exit(AS_IT_SHOULD);
    }
    watched(|| {
        let status = status_of("sigint_interrupts_the_runs_of_all_threads");
        assert_eq!(status.code(), Some(AS_IT_SHOULD), "{status}");
    });
}
