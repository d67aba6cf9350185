//! Who the process at the other end of a Unix socket is, as Linux tells it (`SO_PEERCRED`).
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use tidegate_protocols::PeerCredentials;

/// Asks the system.
///
/// The calls of libraries will not do: their numbers of processes are never 0, and the system answers 0 for a process
/// that this one cannot see.
pub(super) fn peer_credentials(socket: BorrowedFd<'_>) -> Option<PeerCredentials> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let whole = size_of_val(&peer) as libc::socklen_t;
    let mut length = whole;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let into = (&raw mut peer).cast();
    // SAFETY: the system writes into `peer` and `length`, which live until the call has returned, and into `peer` no
    // more than `length` says, which is its size. Any numbers are a valid `ucred`.
    let answer =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, into, &raw mut length) };
    (answer == 0 && length == whole).then(|| told(peer))
}

fn told(peer: libc::ucred) -> PeerCredentials {
    PeerCredentials { pid: Some(peer.pid).filter(|pid| *pid != 0), uid: peer.uid, gid: peer.gid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_cannot_be_seen_has_no_number() {
        let check = |pid, expected| {
            let peer = PeerCredentials { pid: expected, uid: 7, gid: 8 };
            assert_eq!(told(libc::ucred { pid, uid: 7, gid: 8 }), peer);
        };
        check(0, None);
        check(1, Some(1));
        check(i32::MAX, Some(i32::MAX));
    }
}
