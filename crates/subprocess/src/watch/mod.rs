//! How a child's end is learnt: a descriptor that becomes readable then, and the one owner who reaps.

#[cfg(all(
    any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"),
    not(tidegate_portable)
))]
#[path = "kqueue.rs"]
mod room;
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
#[path = "pidfd.rs"]
mod room;
mod thread;

#[cfg(any(
    tidegate_portable,
    not(any(
        target_os = "linux",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly"
    ))
))]
use thread as room;

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group};
use tidegate_reactor::{Interest, LoopHandle, Signal, Source, Watcher};

/// How long the end of a child that was killed is waited for, when the loop has no more turns: 1 s.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A child that is ours to reap, and nobody else's. Dropped, it is reaped if it has ended.
pub(crate) struct Watch {
    pid: Pid,
    by: By,
    /// Readable once the child has ended.
    descriptor: Rc<OwnedFd>,
    source: Option<Source<Rc<OwnedFd>>>,
    reaped: Cell<bool>,
}

/// What the child is known by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// The descriptor, which is a pidfd: no other process can be meant by it.
    #[cfg(all(target_os = "linux", not(tidegate_portable)))]
    Descriptor,
    /// Nothing: somebody has reaped it before it could be known.
    #[cfg(all(target_os = "linux", not(tidegate_portable)))]
    Nothing,
    /// Its number, which is its own until it is reaped.
    Number,
}

impl Watch {
    /// Finds the descriptor that stands for a child that was just started, unless the system has given its pidfd.
    ///
    /// # Errors
    ///
    /// That descriptors, or threads, have run out. The child is killed and reaped then.
    pub(crate) fn open(pid: u32, pidfd: Option<OwnedFd>) -> io::Result<Watch> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a child has a positive number");
        let opened = match pidfd {
            #[cfg(all(target_os = "linux", not(tidegate_portable)))]
            Some(pidfd) => Ok((pidfd, By::Descriptor)),
            _ => room::open(pid),
        };
        let (descriptor, by) = opened.inspect_err(|_| end(pid))?;
        Ok(Watch {
            pid,
            by,
            descriptor: Rc::new(descriptor),
            source: None,
            reaped: Cell::new(false),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Has the loop tell `watcher` when the child has ended.
    ///
    /// # Errors
    ///
    /// Those of [`Source::new`].
    pub(crate) fn register(
        &mut self,
        handle: &LoopHandle,
        watcher: Rc<dyn Watcher>,
    ) -> io::Result<()> {
        let descriptor = Rc::clone(&self.descriptor);
        self.source = Some(Source::new(handle, descriptor, Interest::READ, watcher)?);
        Ok(())
    }

    /// The end has been told: the loop need not watch any more.
    pub(crate) fn rest(&mut self) {
        self.source = None;
    }

    /// How the child has ended, if it has. It is reaped by that, unless it is to be kept as a zombie.
    ///
    /// # Errors
    ///
    /// [`Errno::CHILD`] if somebody else has reaped it.
    pub(crate) fn collect(&self, keep: bool) -> rustix::io::Result<Option<ExitStatus>> {
        let mut options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if keep {
            options |= WaitIdOptions::NOWAIT;
        }
        let collected = self.wait(options);
        // By somebody else too: its number is not to be waited for once more, since it may be that of another child.
        let reaped = match collected {
            Ok(ended) => ended.is_some() && !keep,
            Err(_) => true,
        };
        self.reaped.set(reaped);
        Ok(collected?.map(|status| exit_status(&status)))
    }

    fn wait(&self, options: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
        match self.by {
            #[cfg(all(target_os = "linux", not(tidegate_portable)))]
            By::Descriptor => room::wait(&self.descriptor, self.pid, options),
            #[cfg(all(target_os = "linux", not(tidegate_portable)))]
            By::Nothing => Err(Errno::CHILD),
            By::Number => thread::wait(self.pid, options),
        }
    }

    /// Sends a signal. To a child that has ended and is not reaped it does nothing.
    ///
    /// # Errors
    ///
    /// What the system says; not that there is no such process, which somebody else has reaped then.
    pub(crate) fn send_signal(&self, signal: Signal) -> io::Result<()> {
        let signal = named(signal);
        let sent = match self.by {
            #[cfg(all(target_os = "linux", not(tidegate_portable)))]
            By::Descriptor => room::send_signal(&self.descriptor, self.pid, signal),
            #[cfg(all(target_os = "linux", not(tidegate_portable)))]
            By::Nothing => Err(Errno::SRCH),
            By::Number => kill_process(self.pid, signal),
        };
        gone_is_fine(sent)
    }

    /// Sends a signal to the process group that the child leads, which it does until it is reaped.
    ///
    /// # Errors
    ///
    /// As for [`send_signal`](Watch::send_signal).
    pub(crate) fn send_signal_to_group(&self, signal: Signal) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match self.wait(look) {
            Ok(_) => gone_is_fine(kill_process_group(self.pid, named(signal))),
            // Somebody else has reaped it, and the number may be that of another group.
            Err(_) => Ok(()),
        }
    }

    /// Kills the child and reaps it, though the loop has no more turns.
    ///
    /// A killed child ends within a moment. One that does not, because the system holds it in a call that cannot be
    /// interrupted, is left to a thread after a second, and there is no status.
    pub(crate) fn kill_and_reap(mut self) -> Option<ExitStatus> {
        let _gone_or_not_ours = self.send_signal(Signal::SIGKILL);
        self.rest();
        let mut ended = [PollFd::new(&*self.descriptor, PollFlags::IN)];
        while let Err(Errno::INTR) = poll(&mut ended, Some(&PATIENCE)) {}
        match self.collect(false) {
            Ok(None) => {
                let pid = self.pid;
                let wait = move || {
                    let _reaped = thread::wait(pid, WaitIdOptions::EXITED);
                };
                let reaper =
                    std::thread::Builder::new().name("tidegate-reap".to_owned()).spawn(wait);
                // One owner reaps: the thread, if there is one.
                self.reaped.set(reaper.is_ok());
                None
            }
            collected => collected.ok().flatten(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.reaped.get() {
            let _running_or_not_ours = self.collect(false);
        }
    }
}

/// Waits for a child that nobody watches: by its pidfd, if there is one.
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
pub(crate) fn wait(
    pid: Pid,
    pidfd: Option<&OwnedFd>,
    options: WaitIdOptions,
) -> rustix::io::Result<Option<WaitIdStatus>> {
    match pidfd {
        Some(pidfd) => room::wait(pidfd, pid, options),
        None => thread::wait(pid, options),
    }
}

/// Ends a child that nobody can watch.
fn end(pid: Pid) {
    // It is killed, so this waits for a moment only.
    let _gone = kill_process(pid, rustix::process::Signal::KILL)
        .and_then(|()| thread::wait(pid, WaitIdOptions::EXITED));
}

fn gone_is_fine(sent: rustix::io::Result<()>) -> io::Result<()> {
    match sent {
        Err(Errno::SRCH) => Ok(()),
        sent => Ok(sent?),
    }
}

fn named(signal: Signal) -> rustix::process::Signal {
    rustix::process::Signal::from_named_raw(signal as i32).expect("a signal with a name")
}

/// The status as the standard library has it.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    let core = if status.dumped() { 0x80 } else { 0 };
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, signal) => signal.unwrap_or_default() | core,
    };
    ExitStatus::from_raw(raw)
}
