//! The handle on a child.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_protocols::{Cause, Lent, ReadTransport, Waiter, WithProtocolError, WriteTransport};
use tidegate_reactor::Signal;

use crate::process::Process;
use crate::{PipeTransport, SendSignalError, SubprocessProtocol};

/// The handle on a child, as its protocol sees it.
///
/// Clones are shares of one handle, and dropping them does nothing to the child: the loop owns it. Every method may be
/// called at any time, with any borrow held, also after the child is gone; none ever calls the protocol.
///
/// When the loop ends, its children do: [`run`](tidegate_reactor::run) closes them, so that their protocols are told,
/// and a loop that is closed kills and reaps whatever still runs, with no callback.
///
/// The asyncio counterpart is `asyncio.SubprocessTransport` (transports.py), and methods have its names.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::os::fd::RawFd;
/// use tidegate_subprocess::{SubprocessProtocol, SubprocessTransport, subprocess_exec};
///
/// /// Closes the input of `cat` when the greeting has come back.
/// struct Greets;
/// impl SubprocessProtocol for Greets {
///     fn connection_made(&mut self, transport: &SubprocessTransport) {
///         transport.stdin().expect("it is piped").write(b"hello");
///     }
///     fn pipe_data_received(
///         &mut self,
///         transport: &SubprocessTransport,
///         _: RawFd,
///         data: &[u8],
///     ) -> io::Result<()> {
///         assert_eq!(data, b"hello");
///         transport.stdin().expect("it is piped").close();
///         Ok(())
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// # tidegate_reactor::run(async {
/// let transport = subprocess_exec(|| Greets, "cat").await?;
/// assert!(transport.closed().await.is_none());
/// assert_eq!(transport.get_returncode(), Some(0));
/// # Ok::<(), io::Error>(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct SubprocessTransport(pub(crate) Rc<Process>);

/// Which child it is, as [`get_extra_info`](SubprocessTransport::get_extra_info) answers it (asyncio's `"subprocess"`,
/// which is the `Popen` object).
///
/// ```
/// # fn example(transport: &tidegate_subprocess::SubprocessTransport) {
/// use tidegate_subprocess::ChildProcess;
///
/// let child: Option<ChildProcess> = transport.get_extra_info();
/// assert_eq!(child.map(|child| child.pid), Some(transport.get_pid()));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildProcess {
    /// Its number.
    pub pid: u32,
}

/// The pipes.
impl SubprocessTransport {
    /// The transport of the pipe to or from the child's descriptor `fd`: 0, 1 or 2. None if that is not
    /// [piped](crate::Stdio::Pipe). It is there, though closed, when the child is gone.
    ///
    /// Its protocol is what tells the child's protocol: when another one is set, the child's is not told of this pipe
    /// any more, but its `connection_lost` still waits for the pipe's end.
    pub fn get_pipe_transport(&self, fd: RawFd) -> Option<PipeTransport> {
        self.0.pipe(fd).cloned()
    }

    /// The pipe to the child's standard input, if it is piped.
    pub fn stdin(&self) -> Option<WriteTransport> {
        self.get_pipe_transport(0)?.write()
    }

    /// The pipe from the child's standard output, if it is piped.
    pub fn stdout(&self) -> Option<ReadTransport> {
        self.get_pipe_transport(1)?.read()
    }

    /// The pipe from the child's standard error, if it is piped.
    pub fn stderr(&self) -> Option<ReadTransport> {
        self.get_pipe_transport(2)?.read()
    }
}

/// The child.
impl SubprocessTransport {
    /// The number of the child. Once it is gone the system may give it to another process.
    pub fn get_pid(&self) -> u32 {
        self.0.pid
    }

    /// How the child has ended: what it answered, 0 to 255, or the negative number of the signal that it died of. None
    /// until the loop has noticed, which is before [`process_exited`](SubprocessProtocol::process_exited).
    ///
    /// It is 255 if somebody else has reaped the child.
    pub fn get_returncode(&self) -> Option<i32> {
        let status = self.0.exit_status()?;
        status.code().or_else(|| status.signal().map(|signal| -signal))
    }

    /// The same, as the standard library has it.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.0.exit_status()
    }

    /// Waits until the child has ended, whatever becomes of its pipes.
    ///
    /// The asyncio counterpart is `_wait()` of the transport, on which `Process.wait()` stands, and which waits for the
    /// pipes as well.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; any number may wait.
    pub fn wait(&self) -> SubprocessWait {
        SubprocessWait { transport: self.clone(), waiter: Waiter::new() }
    }

    /// Sends a signal to the child. What transports have not offered to the system yet is offered before.
    ///
    /// To a child that has ended already it does nothing, also when nobody has noticed yet. On Linux the signal goes by
    /// the child's own descriptor. The asyncio counterpart is `send_signal`.
    ///
    /// # Errors
    ///
    /// [`SendSignalError::NoSuchProcess`] after `connection_lost`; [`SendSignalError::System`] if the child may not be
    /// signalled, since it runs as somebody else, say.
    pub fn send_signal(&self, signal: Signal) -> Result<(), SendSignalError> {
        self.0.send_signal(signal)
    }

    /// Asks the child to end, by SIGTERM, which it may ignore.
    ///
    /// # Errors
    ///
    /// As for [`send_signal`](SubprocessTransport::send_signal).
    pub fn terminate(&self) -> Result<(), SendSignalError> {
        self.send_signal(Signal::SIGTERM)
    }

    /// Ends the child by SIGKILL, which it cannot ignore.
    ///
    /// # Errors
    ///
    /// As for [`send_signal`](SubprocessTransport::send_signal).
    pub fn kill(&self) -> Result<(), SendSignalError> {
        self.send_signal(Signal::SIGKILL)
    }

    /// Sends a signal to the process group that the child leads: to itself, and to those that it has started and that
    /// have not left the group. It works until `connection_lost`, also when the child itself has ended: so long it is
    /// left as a zombie, or another group could get the number meanwhile.
    ///
    /// asyncio has no counterpart; there one calls `os.killpg`.
    ///
    /// # Errors
    ///
    /// [`SendSignalError::NoGroup`] unless [`process_group(0)`](crate::SpawnSubprocess::process_group) or
    /// [`start_new_session`](crate::SpawnSubprocess::start_new_session) was asked for; else as for
    /// [`send_signal`](SubprocessTransport::send_signal).
    pub fn send_signal_to_group(&self, signal: Signal) -> Result<(), SendSignalError> {
        self.0.send_signal_to_group(signal)
    }

    /// Kills the process group that the child leads.
    ///
    /// # Errors
    ///
    /// As for [`send_signal_to_group`](SubprocessTransport::send_signal_to_group).
    pub fn kill_group(&self) -> Result<(), SendSignalError> {
        self.send_signal_to_group(Signal::SIGKILL)
    }
}

/// Closing.
impl SubprocessTransport {
    /// Closes the pipes, and kills the child if it still runs. `process_exited` and `connection_lost` follow.
    ///
    /// What a child that has ended was still to be sent goes to whoever has inherited its pipe; what a killed one was is
    /// dropped. May be called again. It is not `terminate`, which asks.
    pub fn close(&self) {
        self.0.close();
    }

    /// As [`close`](SubprocessTransport::close), with a cause for
    /// [`connection_lost`](SubprocessProtocol::connection_lost).
    ///
    /// A cause that is no error of the operating system is reported to the loop's exception handler too. The first cause
    /// counts.
    pub fn fail(&self, cause: Cause) {
        self.0.fail(cause);
    }

    /// Whether it is closing or lost.
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    /// Waits until [`connection_lost`](SubprocessProtocol::connection_lost) was delivered, and answers with its cause.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; any number may wait.
    pub fn closed(&self) -> SubprocessClosed {
        SubprocessClosed { transport: self.clone(), waiter: Waiter::new() }
    }
}

/// The protocol.
impl SubprocessTransport {
    /// Makes `protocol` the protocol of this child: at once, or when the callback that is running returns.
    ///
    /// It gets every later callback, and no `connection_made`; the old one is dropped. After the loss it is dropped
    /// unused.
    pub fn set_protocol(&self, protocol: impl SubprocessProtocol) {
        let changed = self.0.slot.change(Box::new(|old| {
            drop(old);
            Box::new(protocol)
        }));
        if let Err(payload) = changed {
            self.fail(Cause::from_panic(payload));
        }
    }

    /// Looks at the protocol, which must be of type `P`. The asyncio counterpart is `get_protocol`.
    ///
    /// A `P` that was given as a `Box<dyn SubprocessProtocol>` or an `Rc<RefCell<P>>` is seen as well.
    ///
    /// While the loop does not run, `look` may run it. What comes for this protocol meanwhile is told afterwards, and
    /// nothing is read for it before: the protocols of its pipes are out too, unless they have been given others.
    ///
    /// # Errors
    ///
    /// [`Busy`](WithProtocolError::Busy) inside one of its callbacks, or while a share of it is borrowed,
    /// [`OtherType`](WithProtocolError::OtherType) if it is no `P`, [`Lost`](WithProtocolError::Lost) once the transport
    /// is.
    ///
    /// # Panics
    ///
    /// If `look` does, or a change of protocol that it asked for; the latter ends the transport.
    pub fn with_protocol<P: SubprocessProtocol, R>(
        &self,
        look: impl FnOnce(&mut P) -> R,
    ) -> Result<R, WithProtocolError> {
        match self.0.lend(|protocol| look_at(protocol, look)) {
            Lent::Gave(answer) => answer,
            Lent::Nobody if self.0.slot.is_lent() => Err(WithProtocolError::Busy),
            Lent::Nobody => Err(WithProtocolError::Lost),
            Lent::Panicked(payload) => {
                // If it was a change of protocol asked for by `look`, nobody is left to be told.
                if self.0.slot.is_empty() {
                    self.fail(std::io::Error::other("a change of protocol has panicked").into());
                }
                resume_unwind(payload)
            }
        }
    }

    /// The information of type `T`, such as [`ChildProcess`], if there is any.
    pub fn get_extra_info<T: Any + Clone>(&self) -> Option<T> {
        let child: &dyn Any = &ChildProcess { pid: self.0.pid };
        child.downcast_ref::<T>().cloned()
    }

    /// Whether both are handles on one child.
    pub fn ptr_eq(&self, other: &SubprocessTransport) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// Finds the `P` that a protocol is, holds or shares.
fn look_at<P: SubprocessProtocol, R>(
    protocol: &mut dyn SubprocessProtocol,
    look: impl FnOnce(&mut P) -> R,
) -> Result<R, WithProtocolError> {
    let protocol: &mut dyn Any = protocol;
    if let Some(protocol) = protocol.downcast_mut::<P>() {
        return Ok(look(protocol));
    }
    if let Some(boxed) = protocol.downcast_mut::<Box<dyn SubprocessProtocol>>() {
        return look_at(&mut **boxed, look);
    }
    match protocol.downcast_ref::<Rc<RefCell<P>>>().map(|share| share.try_borrow_mut()) {
        Some(Ok(mut protocol)) => Ok(look(&mut protocol)),
        Some(Err(_)) => Err(WithProtocolError::Busy),
        None => Err(WithProtocolError::OtherType),
    }
}

impl fmt::Debug for SubprocessTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubprocessTransport")
            .field("pid", &self.get_pid())
            .field("returncode", &self.get_returncode())
            .field("closing", &self.is_closing())
            .finish_non_exhaustive()
    }
}

/// The future of [`SubprocessTransport::wait`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct SubprocessWait {
    transport: SubprocessTransport,
    waiter: Waiter,
}

impl Future for SubprocessWait {
    type Output = ExitStatus;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ExitStatus> {
        self.transport.0.poll_exited(&self.waiter, context)
    }
}

/// The future of [`SubprocessTransport::closed`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct SubprocessClosed {
    transport: SubprocessTransport,
    waiter: Waiter,
}

impl Future for SubprocessClosed {
    type Output = Option<Cause>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        self.transport.0.poll_closed(&self.waiter, context)
    }
}
