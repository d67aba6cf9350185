//! What a task has of a child.

use std::any::Any;
use std::fmt;
use std::process::ExitStatus;

use bytes::Bytes;
use tidegate_reactor::Signal;
use tidegate_streams::{StreamReader, StreamWriter};

use super::communicate::Communicate;
use super::pipes::Handed;
use crate::{SendSignalError, SubprocessTransport, SubprocessWait};

/// A child, as the task that has started it sees it; asyncio's `asyncio.subprocess.Process`.
///
/// # Its streams
///
/// They are there if they are [piped](crate::Stdio::Pipe), and may be taken out, to give each to a task of its own. They
/// are like all streams: a reader that is not read from pauses at twice its
/// [limit](crate::CreateSubprocess::limit), and the child waits when the system's pipe is full. So a task that awaits
/// [`wait`](Process::wait) and reads nothing may wait for ever; [`communicate`](Process::communicate) reads.
///
/// A reader that is dropped closes its pipe: a child that writes into it gets SIGPIPE. When the child has ended and both
/// of its outputs have, all is closed; what an input that somebody else has inherited was still to be sent goes there.
///
/// Writing to a child that does not read any more fails as with every connection that is lost:
/// [`drain`](StreamWriter::drain) answers a broken pipe, or a reset connection.
///
/// # Dropping it
///
/// That drops the streams that were not taken, so the child finds its input at the end and its outputs closed. It runs on
/// unless [`kill_on_drop`](crate::CreateSubprocess::kill_on_drop) was asked for, and the loop reaps it: it never stays a
/// zombie, but for the leader of a process group, which is one until its pipes have ended too. When the loop ends, its
/// children are killed.
///
/// # Examples
///
/// A conversation:
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{Stdio, create_subprocess_exec};
///
/// # fn main() -> io::Result<()> {
/// # tidegate_reactor::run(async {
/// let mut process = create_subprocess_exec("cat").stdin(Stdio::Pipe).stdout(Stdio::Pipe).await?;
/// let stdin = process.stdin.take().expect("it is piped");
/// let stdout = process.stdout.as_mut().expect("it is piped");
/// for line in ["ebb\n", "flow\n"] {
///     stdin.write(line.as_bytes());
///     stdin.drain().await?;
///     assert_eq!(stdout.readline().await?, line);
/// }
/// stdin.close().await?;
/// assert_eq!(process.wait().await.code(), Some(0));
/// # Ok::<(), io::Error>(())
/// # })
/// # }
/// ```
pub struct Process {
    /// The child's input, if it is piped.
    pub stdin: Option<StreamWriter>,
    /// The child's output, if it is piped.
    pub stdout: Option<StreamReader>,
    /// The child's standard error, if it is piped and not joined to the output.
    pub stderr: Option<StreamReader>,
    // Last, so that a child that is killed when this is dropped is killed after its streams are.
    child: Child,
}

/// The child itself; a part of its own, so that the streams can be moved out of the whole.
struct Child {
    transport: SubprocessTransport,
    kill_on_drop: bool,
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // It has gone already, or may not be killed by us.
            let _gone_or_not_ours = self.transport.kill();
        }
    }
}

impl Process {
    pub(super) fn new(
        handed: &Handed,
        transport: SubprocessTransport,
        kill_on_drop: bool,
    ) -> Process {
        Process {
            stdin: handed.stdin.take(),
            stdout: handed.stdout.take(),
            stderr: handed.stderr.take(),
            child: Child { transport, kill_on_drop },
        }
    }

    /// The transport of the child, with everything it offers.
    pub fn transport(&self) -> &SubprocessTransport {
        &self.child.transport
    }

    /// The number of the child. Once it is gone the system may give it to another process.
    pub fn pid(&self) -> u32 {
        self.transport().get_pid()
    }

    /// How the child has ended, once the loop has noticed: what it answered, 0 to 255, or the negative number of the
    /// signal that it died of. It is 255 if somebody else has reaped the child.
    pub fn returncode(&self) -> Option<i32> {
        self.transport().get_returncode()
    }

    /// The same, as the standard library has it.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.transport().exit_status()
    }

    /// Waits until the child has ended, whatever becomes of its pipes: somebody who has inherited them may have them open,
    /// and what the child has written may still be to be read.
    ///
    /// It does not read. The future borrows nothing, so it can be spawned, and a task can go on with the streams
    /// meanwhile. The asyncio counterpart is `Process.wait()`, which waits for the pipes as well.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; any number may wait.
    pub fn wait(&self) -> SubprocessWait {
        self.transport().wait()
    }

    /// Feeds the child `input`, closes its input, gathers its outputs up to their ends, and waits until it has ended.
    ///
    /// The answer is a builder: await it, after setting a [`limit`](Communicate::limit) if need be. `input` is anything
    /// that [`Bytes`] are made of: nothing (`""`), a text that is compiled in, a `Vec<u8>`, a `String`.
    ///
    /// An input that is not piped, or was taken out, is fed nothing, and what was to be fed is dropped: ask for the
    /// streams by `stdin(Stdio::Pipe)` and its like. Outputs likewise are gathered if they are here.
    /// What was read before is not gathered again, and a second call gathers nothing. A child that does not read all of
    /// its input is fine. One that has a grandchild which keeps an output open is waited for until that is closed.
    ///
    /// The asyncio counterpart is `Process.communicate()`.
    ///
    /// # Errors
    ///
    /// [`TooLong`](crate::CommunicateError::TooLong) when the child has written more than the limit;
    /// [`Io`](crate::CommunicateError::Io) if reading has failed. Either way the child is left alone, and what came is in its reader.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing and leaves the child running. What was gathered is in the readers, so it can be
    /// read, or gathered by another call, which goes on from there. An input that has begun to be fed is fed to its end,
    /// in the background; the input of the other call is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use tidegate_subprocess::{CommunicateError, Stdio, create_subprocess_shell};
    ///
    /// # fn main() -> io::Result<()> {
    /// # tidegate_reactor::run(async {
    /// let mut flood = create_subprocess_shell("yes").stdout(Stdio::Pipe).await?;
    /// match flood.communicate("").limit(1_000_000).await {
    ///     Err(CommunicateError::TooLong { fd: 1, .. }) => flood.kill()?,
    ///     _ => unreachable!("it never ends"),
    /// }
    /// assert!(!flood.wait().await.success());
    /// # Ok::<(), io::Error>(())
    /// # })
    /// # }
    /// ```
    pub fn communicate(&mut self, input: impl Into<Bytes>) -> Communicate<'_> {
        Communicate::new(self, input.into())
    }

    /// As [`SubprocessTransport::send_signal`].
    ///
    /// # Errors
    ///
    /// As there. Note that [`NoSuchProcess`](SendSignalError::NoSuchProcess) comes once the child has ended *and* its
    /// outputs have.
    pub fn send_signal(&self, signal: Signal) -> Result<(), SendSignalError> {
        self.transport().send_signal(signal)
    }

    /// Asks the child to end, by SIGTERM, which it may ignore.
    ///
    /// # Errors
    ///
    /// As for [`send_signal`](Process::send_signal).
    pub fn terminate(&self) -> Result<(), SendSignalError> {
        self.transport().terminate()
    }

    /// Ends the child by SIGKILL, which it cannot ignore. It does not wait.
    ///
    /// # Errors
    ///
    /// As for [`send_signal`](Process::send_signal).
    pub fn kill(&self) -> Result<(), SendSignalError> {
        self.transport().kill()
    }

    /// As [`SubprocessTransport::send_signal_to_group`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_signal_to_group(&self, signal: Signal) -> Result<(), SendSignalError> {
        self.transport().send_signal_to_group(signal)
    }

    /// As [`SubprocessTransport::kill_group`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn kill_group(&self) -> Result<(), SendSignalError> {
        self.transport().kill_group()
    }

    /// As [`SubprocessTransport::get_extra_info`].
    pub fn get_extra_info<T: Any + Clone>(&self) -> Option<T> {
        self.transport().get_extra_info()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid())
            .field("returncode", &self.returncode())
            .finish_non_exhaustive()
    }
}
