//! The end of a child by the kernel's own event for it, on BSD and macOS: a kqueue of its own, which is readable then.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use polling::os::kqueue::{PollerKqueueExt, Process, ProcessOps};
use polling::{PollMode, Poller};
use rustix::io::Errno;
use rustix::process::Pid;

use super::{By, thread};

/// A kqueue that holds the end of a child once it has come. Where the system refuses, a thread stands in.
pub(super) fn open(pid: Pid) -> io::Result<(OwnedFd, By)> {
    let poller = Poller::new()?;
    // SAFETY: the number is that of a child of ours that nobody has reaped.
    #[expect(unsafe_code, reason = "there is no safe way to name a child by its number")]
    let end = unsafe { Process::from_pid(pid.as_raw_nonzero(), ProcessOps::Exit) };
    match poller.add_filter(end, 0, PollMode::Level) {
        Ok(()) => Ok((poller.as_fd().try_clone_to_owned()?, By::Number)),
        // macOS says so of one that has ended already.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => thread::open(pid),
        Err(error) => Err(error),
    }
}
