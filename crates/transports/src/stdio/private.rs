//! A descriptor of our own for something that others share: what is set on it is set on no other.

pub(super) use room::reopen;

/// Where the system opens anew what a descriptor stands for.
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod room {
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    use rustix::fs::{Mode, OFlags, open};
    use tidegate_protocols::PipeKind;

    use crate::pipe::Direction;

    /// Opens a pipe or a terminal once more, non-blocking. None where that would be something else, or is refused.
    pub(crate) fn reopen(
        shared: impl AsFd,
        kind: PipeKind,
        direction: Direction,
    ) -> Option<OwnedFd> {
        let shared = shared.as_fd();
        let is_terminal = || {
            // The master of a terminal is one too, and opening it makes another terminal.
            rustix::termios::isatty(shared) && rustix::pty::ptsname(shared, Vec::new()).is_err()
        };
        if kind != PipeKind::Fifo && !(kind == PipeKind::CharacterDevice && is_terminal()) {
            return None;
        }
        let for_what = match direction {
            Direction::Read => OFlags::RDONLY,
            Direction::Write => OFlags::WRONLY,
        };
        let flags = for_what | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        open(format!("/proc/self/fd/{}", shared.as_raw_fd()), flags, Mode::empty()).ok()
    }
}

/// Where it does not.
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod room {
    use std::os::fd::{AsFd, OwnedFd};

    use tidegate_protocols::PipeKind;

    use crate::pipe::Direction;

    /// None: whoever asks has to make do with what is shared.
    pub(crate) fn reopen(_: impl AsFd, _: PipeKind, _: Direction) -> Option<OwnedFd> {
        None
    }
}
