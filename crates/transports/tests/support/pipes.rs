//! What the tests of pipes share: each kind of descriptor, and transports that write down what they are told.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::stat;
use nix::unistd::mkfifo;
use rustix::fs::{Mode, OFlags, fcntl_getfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tempfile::TempDir;
use tidegate_protocols::{ReadTransport, WriteTransport};
use tidegate_testkit::{Log, Recorder};
use tidegate_transports::{connect_read_pipe, connect_write_pipe};

/// Makes a read end and a write end.
pub(crate) type Make = fn() -> (OwnedFd, OwnedFd);

/// The read end and the write end of each kind of thing that may be a pipe.
pub(crate) const KINDS: [(&str, Make); 4] =
    [("pipe", pipe), ("FIFO", fifo), ("socket", socket), ("terminal", terminal)];

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = io::pipe().expect("a pipe");
    (read.into(), write.into())
}

pub(crate) fn fifo() -> (OwnedFd, OwnedFd) {
    let (_folder, path) = fifo_path();
    // One that is open for both waits for nobody.
    let both = OpenOptions::new().read(true).write(true).open(&path).expect("a FIFO");
    let read = File::open(&path).expect("its read end");
    let write = OpenOptions::new().write(true).open(&path).expect("its write end");
    drop(both);
    (read.into(), write.into())
}

/// A FIFO in a folder of its own, which goes with the answer.
pub(crate) fn fifo_path() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("fifo");
    mkfifo(&path, stat::Mode::S_IRWXU).expect("a FIFO");
    (folder, path)
}

pub(crate) fn socket() -> (OwnedFd, OwnedFd) {
    let (near, far) = UnixStream::pair().expect("a pair");
    (near.into(), far.into())
}

/// Both sides of a terminal that passes everything on as it is: the side of the programs, and the side of the screen.
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&screen).expect("ours");
    unlockpt(&screen).expect("ours");
    let name = ptsname(&screen, Vec::new()).expect("a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let program = rustix::fs::open(&*name, flags, Mode::empty()).expect("its other side");
    let mut settings = tcgetattr(&program).expect("settings");
    settings.make_raw();
    tcsetattr(&program, OptionalActions::Now, &settings).expect("settings");
    (program, screen)
}

/// Another descriptor of the same open file description.
pub(crate) fn twin(descriptor: impl AsFd) -> OwnedFd {
    descriptor.as_fd().try_clone_to_owned().expect("a duplicate")
}

pub(crate) fn is_nonblocking(descriptor: impl AsFd) -> bool {
    fcntl_getfl(descriptor).expect("flags").contains(OFlags::NONBLOCK)
}

pub(crate) async fn reading(recorder: Recorder, read: impl Into<OwnedFd>) -> (ReadTransport, Log) {
    let log = recorder.log();
    (connect_read_pipe(|| recorder, read).await.expect("a transport"), log)
}

pub(crate) async fn writing(
    recorder: Recorder,
    write: impl Into<OwnedFd>,
) -> (WriteTransport, Log) {
    let log = recorder.log();
    (connect_write_pipe(|| recorder, write).await.expect("a transport"), log)
}
