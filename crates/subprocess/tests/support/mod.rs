//! What the tests of children share: a protocol that writes down what it is told, and the rules that all of it follows.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::task::Poll;

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tidegate_protocols::Cause;
use tidegate_reactor::{LoopHandle, Report};
use tidegate_subprocess::{
    SpawnSubprocess, SubprocessProtocol, SubprocessTransport, subprocess_exec, subprocess_shell,
};
use tidegate_testkit::watched;
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use tidegate_testkit::{turns, until};

/// One thing that a protocol was told. Pieces of data that follow each other are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Made,
    Data(RawFd, String),
    PipeLost(RawFd, Option<String>),
    Paused(RawFd),
    Resumed(RawFd),
    /// With the return code.
    Exited(Option<i32>),
    Lost(Option<String>),
    /// The protocol was dropped.
    Dropped,
}

/// What was told so far.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<Told>>>);

impl Log {
    pub(crate) fn told(&self) -> Vec<Told> {
        self.0.borrow().clone()
    }

    pub(crate) fn has(&self, told: &Told) -> bool {
        self.0.borrow().contains(told)
    }

    pub(crate) fn count(&self, is: impl Fn(&Told) -> bool) -> usize {
        self.0.borrow().iter().filter(|told| is(told)).count()
    }

    /// All that came from a pipe.
    pub(crate) fn data(&self, fd: RawFd) -> String {
        let told = self.0.borrow();
        let pieces = told.iter().filter_map(|told| match told {
            Told::Data(from, text) if *from == fd => Some(text.as_str()),
            _ => None,
        });
        pieces.collect()
    }

    /// Checks the rules that hold for every child that was lost.
    pub(crate) fn assert_grammar(&self) {
        let told = self.told();
        let place = |is: &dyn Fn(&Told) -> bool| -> Vec<usize> {
            (0..told.len()).filter(|&at| is(&told[at])).collect()
        };
        let end = told.len() - 1;
        assert_eq!(place(&|t| *t == Told::Made), [0], "{told:?}");
        assert_eq!(place(&|t| *t == Told::Dropped), [end], "{told:?}");
        assert_eq!(place(&|t| matches!(t, Told::Lost(_))), [end - 1], "{told:?}");
        assert_eq!(place(&|t| matches!(t, Told::Exited(_))).len(), 1, "{told:?}");
        for fd in 0..3 {
            let data = place(&|t| matches!(t, Told::Data(from, _) if *from == fd));
            let lost = place(&|t| matches!(t, Told::PipeLost(from, _) if *from == fd));
            assert!(lost.len() <= 1, "{told:?}");
            assert!(data.last() <= lost.first() || lost.is_empty(), "{told:?}");
        }
    }

    fn add(&self, told: Told) {
        let mut log = self.0.borrow_mut();
        match (log.last_mut(), told) {
            (Some(Told::Data(fd, text)), Told::Data(from, more)) if *fd == from => {
                text.push_str(&more);
            }
            (_, told) => log.push(told),
        }
    }
}

type On = Box<dyn FnMut(&SubprocessTransport, &Told) -> io::Result<()>>;

/// Writes down what it is told.
#[derive(Default)]
pub(crate) struct Recorder {
    log: Log,
    hook: Option<On>,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder::default()
    }

    /// Calls `hook` with each thing that is told, after it was written down; what it answers is answered where it can be.
    pub(crate) fn on(
        mut self,
        hook: impl FnMut(&SubprocessTransport, &Told) -> io::Result<()> + 'static,
    ) -> Recorder {
        self.hook = Some(Box::new(hook));
        self
    }

    pub(crate) fn log(&self) -> Log {
        self.log.clone()
    }

    fn tell(&mut self, transport: &SubprocessTransport, told: Told) -> io::Result<()> {
        self.log.add(told.clone());
        match &mut self.hook {
            Some(hook) => hook(transport, &told),
            None => Ok(()),
        }
    }
}

fn text(cause: Option<&Cause>) -> Option<String> {
    cause.map(ToString::to_string)
}

impl SubprocessProtocol for Recorder {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        let _ = self.tell(transport, Told::Made);
    }

    fn pipe_data_received(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        data: &[u8],
    ) -> io::Result<()> {
        assert!(!data.is_empty());
        self.tell(transport, Told::Data(fd, String::from_utf8_lossy(data).into_owned()))
    }

    fn pipe_connection_lost(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        cause: Option<Cause>,
    ) -> io::Result<()> {
        self.tell(transport, Told::PipeLost(fd, text(cause.as_ref())))
    }

    fn pause_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {
        let _ = self.tell(transport, Told::Paused(fd));
    }

    fn resume_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {
        let _ = self.tell(transport, Told::Resumed(fd));
    }

    fn process_exited(&mut self, transport: &SubprocessTransport) -> io::Result<()> {
        self.tell(transport, Told::Exited(transport.get_returncode()))
    }

    fn connection_lost(&mut self, transport: &SubprocessTransport, cause: Option<Cause>) {
        let _ = self.tell(transport, Told::Lost(text(cause.as_ref())));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.log.add(Told::Dropped);
    }
}

/// A child with a recorder.
pub(crate) type Recording = SpawnSubprocess<Box<dyn FnOnce() -> Recorder>>;

/// A program with a recorder.
pub(crate) fn exec(program: &str) -> (Recording, Log) {
    let recorder = Recorder::new();
    let log = recorder.log();
    (subprocess_exec(Box::new(move || recorder), program), log)
}

/// A command line with a recorder.
pub(crate) fn shell(command: &str) -> (Recording, Log) {
    shell_with(Recorder::new(), command)
}

/// A command line with this recorder.
pub(crate) fn shell_with(recorder: Recorder, command: &str) -> (Recording, Log) {
    let log = recorder.log();
    (subprocess_shell(Box::new(move || recorder), command), log)
}

/// Runs a command line to its end, and answers all that was told.
pub(crate) async fn finished(started: (Recording, Log)) -> (SubprocessTransport, Log) {
    let (builder, log) = started;
    let transport = builder.await.expect("a child");
    assert!(transport.closed().await.is_none());
    log.assert_grammar();
    (transport, log)
}

/// A protocol that does nothing.
pub(crate) struct Idle;

impl SubprocessProtocol for Idle {}

/// A factory for tests in which nothing may be made.
pub(crate) fn never() -> Idle {
    panic!("the factory is not to be called")
}

/// The inner error of an [`io::Error`], if it is of this type.
pub(crate) fn inner<E: Error + 'static>(error: &io::Error) -> Option<&E> {
    error.get_ref()?.downcast_ref()
}

/// Polls once; answers whether it is ready.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// The threads that wait for a child, where the system tells. Those of other tests come and go.
pub(crate) fn threads() -> usize {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
    let name =
        |task: io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).filter(|name| name.starts_with("tidegate-wait")).count()
}

/// Whether this process has no child, not even a zombie.
pub(crate) fn is_childless() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, options).is_err_and(|error| error == Errno::CHILD)
}

/// Keeps the reports of the running loop.
pub(crate) fn keep_reports() -> Rc<RefCell<Vec<Report>>> {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = kept.clone();
    let handle = LoopHandle::current().expect("a running loop");
    handle.set_exception_handler(Some(move |report: &Report| {
        keep.borrow_mut().push(report.clone());
    }));
    kept
}

/// The messages of reports.
pub(crate) fn messages(reports: &RefCell<Vec<Report>>) -> Vec<String> {
    reports.borrow().iter().map(|report| report.message().to_owned()).collect()
}

/// Counts calls.
#[derive(Clone, Default)]
pub(crate) struct Count(Rc<Cell<usize>>);

impl Count {
    pub(crate) fn add(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.get()
    }
}

/// Runs a test of this program again in a process that ignores a signal; false in that process.
///
/// It takes an `env` that can do so, as that of GNU; elsewhere the test is skipped.
pub(crate) fn again_ignoring(signal: &str, test: &str) -> bool {
    again_by(&["env", &format!("--ignore-signal={signal}")], test)
}

/// Runs a test of this program again in a process that another program starts; false in that process.
///
/// Where that program is not there, or cannot do it, the test is skipped.
pub(crate) fn again_by(starter: &[&str], test: &str) -> bool {
    const ASKED: &str = "TIDEGATE_RUNS_AGAIN";
    if std::env::var_os(ASKED).is_some() {
        return false;
    }
    watched(|| {
        let starting = || {
            let mut command = Command::new(starter[0]);
            command.args(&starter[1..]);
            command
        };
        if !starting().arg("true").output().is_ok_and(|ended| ended.status.success()) {
            return eprintln!("skipped: this takes {}", starter.join(" "));
        }
        let ended = starting()
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture"])
            .env(ASKED, "yes")
            .output()
            .expect("this program started again");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(String::from_utf8_lossy(&ended.stdout).contains("1 passed"));
    });
    true
}
