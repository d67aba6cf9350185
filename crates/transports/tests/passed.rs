//! Unix sockets that a peer passes descriptors through: what follows them is received as ever.

#![cfg(not(windows))]

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tidegate_protocols::{Detached, Transport};
use tidegate_testkit::{Recorder, open_descriptors, run};
use tidegate_transports::{adopt, create_connection};

/// Sends bytes with a descriptor.
fn pass(socket: &UnixStream, bytes: &[u8]) {
    let passed = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
    assert_eq!(sent.expect("a peer"), bytes.len());
}

// T-10: the system ends a read behind each descriptor, so a short one does not mean that all was read.
#[test]
fn what_follows_a_passed_descriptor_is_received() {
    check(async |ours, recorder| create_connection(|| recorder, ()).sock(ours).await);
    check(async |ours, recorder| adopt(|| recorder, Detached::new(ours)).await);
}

fn check(open: impl AsyncFnOnce(UnixStream, Recorder) -> io::Result<Transport>) {
    run(async {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let recorder = Recorder::new();
        let log = recorder.log();
        let transport = open(ours, recorder).await.expect("a transport");
        let before = open_descriptors();
        for round in 1..=3 {
            pass(&theirs, b"abc");
            pass(&theirs, b"def");
            theirs.write_all(b"ghi").expect("a peer");
            log.until(|log| log.received_len() == round * 9).await;
        }
        assert_eq!(log.received(), b"abcdefghi".repeat(3));
        assert_eq!(open_descriptors(), before, "nobody wanted them");
        transport.close();
        log.lost().await;
        io::Result::Ok(())
    })
    .expect("a run");
}
