//! The end of a child by a thread that waits for this one alone, and never reaps it.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::Builder;

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::By;

/// A descriptor that is readable when the child has ended: a pipe whose other end a thread closes then.
///
/// The thread ends with the child.
pub(super) fn open(pid: Pid) -> io::Result<(OwnedFd, By)> {
    let (read, write) = io::pipe()?;
    Builder::new().name("tidegate-wait".to_owned()).spawn(move || {
        // An error says that somebody else has reaped it.
        let _ended = wait(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        drop(write);
    })?;
    Ok((read.into(), By::Number))
}

pub(super) fn wait(pid: Pid, options: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options))
}
