//! The system call that sends a file to a socket, where there is one.

pub(crate) use room::send_file;

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod room {
    use std::os::fd::{AsFd, BorrowedFd};

    use rustix::io::Errno;

    /// Sends at most `count` bytes of `file`, from `offset` on, to `socket`.
    pub(crate) fn send_file(
        socket: impl AsFd,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Result<usize, Errno> {
        let mut offset = offset;
        rustix::fs::sendfile(socket, file, Some(&mut offset), count)
    }
}

#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod room {
    use std::os::fd::{AsFd, BorrowedFd};

    use rustix::io::Errno;

    /// Other systems have calls of their own, which are not used: the fallback is.
    pub(crate) fn send_file(
        _socket: impl AsFd,
        _file: BorrowedFd<'_>,
        _offset: u64,
        _count: usize,
    ) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }
}
