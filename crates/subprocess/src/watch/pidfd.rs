//! The end of a child by its pidfd, on Linux.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, pidfd_open,
    pidfd_send_signal, waitid,
};

use super::{By, thread};

/// The pidfd of a child that is not reaped. Where the system has none, a thread stands in.
pub(super) fn open(pid: Pid) -> io::Result<(OwnedFd, By)> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => Ok((descriptor, By::Descriptor)),
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(error.into()),
        Err(Errno::SRCH) => {
            // A pipe that nobody writes to is readable at once.
            let (read, _write) = io::pipe()?;
            Ok((read.into(), By::Nothing))
        }
        // An old kernel, or a sandbox.
        Err(_) => thread::open(pid),
    }
}

pub(super) fn wait(
    pidfd: &OwnedFd,
    pid: Pid,
    options: WaitIdOptions,
) -> rustix::io::Result<Option<WaitIdStatus>> {
    match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), options)) {
        // Linux 5.3 opens them and tells when they are readable, but does not wait by them yet.
        Err(Errno::INVAL) => thread::wait(pid, options),
        waited => waited,
    }
}

pub(super) fn send_signal(pidfd: &OwnedFd, pid: Pid, signal: Signal) -> rustix::io::Result<()> {
    match pidfd_send_signal(pidfd, signal) {
        // A sandbox that knows no pidfds, though the system gives one with each child: as where there is none.
        Err(Errno::PERM | Errno::NOSYS) => kill_process(pid, signal),
        sent => sent,
    }
}
