//! Subprocesses: children under the contract of `tidegate-protocols`, on the event loop of `tidegate-reactor`.
//!
//! A [`SubprocessProtocol`] is what a program writes: it is told what a child writes to its standard streams, and when
//! it exits. A [`SubprocessTransport`] is the handle that each callback is given: to write to the child, to send it
//! signals, to end it. [`subprocess_exec`] starts a program, [`subprocess_shell`] a command line of the shell.
//!
//! | you want to | look at |
//! |---|---|
//! | start a program and await what it does | [`create_subprocess_exec`], [`create_subprocess_shell`], [`Process`] |
//! | feed it, gather what it writes, and wait | [`Process::communicate`] |
//! | start a program and be called back | [`subprocess_exec`], [`subprocess_shell`], [`SpawnSubprocess`] |
//! | choose what its standard streams are | [`Stdio`] |
//! | know how it ended | [`SubprocessTransport::wait`], [`SubprocessTransport::get_returncode`] |
//! | know why it could not be started | [`SpawnError`], [`SpawnArgumentError`] |
//!
//! How a child has ended is learnt by a descriptor of its own: on Linux a pidfd, which also carries the signals, so that
//! another process that was given the same number later is never hit; on BSD and macOS the kernel's event for it;
//! elsewhere a thread that waits for this child alone. No handler of SIGCHLD is installed and nobody else's children are
//! reaped, ever. A program that ignores SIGCHLD, or reaps with `waitpid(-1)`, takes the exit statuses away: they are
//! reported, and taken for 255.
//!
//! # Examples
//!
//! ```
//! use std::io;
//! use std::os::fd::RawFd;
//! use tidegate_subprocess::{SubprocessProtocol, SubprocessTransport, subprocess_exec};
//!
//! struct Print;
//! impl SubprocessProtocol for Print {
//!     fn pipe_data_received(
//!         &mut self,
//!         _: &SubprocessTransport,
//!         fd: RawFd,
//!         data: &[u8],
//!     ) -> io::Result<()> {
//!         println!("{fd}: {}", String::from_utf8_lossy(data));
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     tidegate_reactor::run(async {
//!         let transport = subprocess_exec(|| Print, "/bin/echo").arg("hello").await?;
//!         assert!(transport.wait().await.success());
//!         Ok::<(), io::Error>(())
//!     })
//! }
//! ```

#![deny(unsafe_code)]
#![cfg(not(windows))]

mod errors;
mod lifecycle;
mod pipes;
mod pre_exec;
mod process;
mod protocol;
mod shares;
mod spawn;
mod starting;
mod stdio;
mod streams;
mod transport;
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod vfork;
mod watch;

pub use errors::{SendSignalError, SpawnArgumentError, SpawnError};
pub use pipes::PipeTransport;
pub use protocol::SubprocessProtocol;
pub use spawn::{SpawnSubprocess, subprocess_exec, subprocess_shell};
pub use starting::{Spawning, SubprocessFactory};
pub use stdio::Stdio;
pub use streams::{
    Communicate, CommunicateError, CreateSubprocess, Process, ProcessOutput, TaskStreams,
    create_subprocess_exec, create_subprocess_shell,
};
pub use transport::{ChildProcess, SubprocessClosed, SubprocessTransport, SubprocessWait};
