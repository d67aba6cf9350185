//! `subprocess_exec` and `subprocess_shell`, and all that can be chosen for a child.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{self, Command};

use rustix::io::Errno;
use tidegate_protocols::WriteLimits;

use crate::pre_exec::{InChild, Steps};
use crate::stdio::{Ends, Stdio, Streams};
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
use crate::vfork;
use crate::{SpawnArgumentError, SpawnError, Spawning, SubprocessFactory, SubprocessProtocol};

/// Starts a program.
///
/// The answer is a builder: add arguments and options, then await it. It resolves to the
/// [transport](crate::SubprocessTransport) when the child runs, its pipes stand, and the protocol's `connection_made` has
/// returned. `program` is looked for in `PATH` unless there is a slash in it; it is a name and no command line. All
/// three standard streams are pipes unless chosen otherwise.
///
/// The child starts with no signal blocked, and with SIGPIPE doing what it does by default, though Rust programs ignore
/// it. Signals that a handler is set for are the system's again. What this process ignores the child ignores, as is
/// usual (`nohup` works so); [`reset_signals`](SpawnSubprocess::reset_signals) undoes that too. It has its standard
/// streams, the descriptors that were [passed](SpawnSubprocess::pass_fd), and such that close-on-exec was not set for,
/// which the standard library and this one set for all of theirs. (asyncio's child closes those too.)
///
/// Starting blocks the loop for as long as the system takes to execute the program, a fraction of a millisecond.
///
/// The asyncio counterpart is `loop.subprocess_exec()`, which takes the arguments and options as its own.
///
/// # Errors
///
/// [`SpawnArgumentError`] for what cannot be, before anything has happened; [`SpawnError`] if the child could not be
/// started, of which nothing is left then; [`LoopError`](tidegate_reactor::LoopError) outside of a running loop; what
/// `connection_made` has failed with, by a panic or [`fail`](crate::SubprocessTransport::fail).
///
/// # Panics
///
/// When `factory` does; nothing was started then.
///
/// # Cancel safety
///
/// Dropping the future closes the transport if there is one already: the child is killed, and the loop reaps it.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{Stdio, SubprocessProtocol, subprocess_exec};
///
/// struct Idle;
/// impl SubprocessProtocol for Idle {}
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let child = subprocess_exec(|| Idle, "test").args(["1", "-lt", "2"]).stdin(Stdio::Null);
///         let transport = child.await?;
///         assert!(transport.wait().await.success());
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
pub fn subprocess_exec<F, P>(factory: F, program: impl AsRef<OsStr>) -> SpawnSubprocess<F>
where
    F: FnOnce() -> P,
    P: SubprocessProtocol,
{
    SpawnSubprocess::exec(factory, program)
}

/// Starts a command line of the shell, `/bin/sh`.
///
/// As [`subprocess_exec`], with the same options. A program that the shell does not find is its exit status 127. What a
/// user has typed does not belong into a command line: pass it as an [argument](SpawnSubprocess::arg), which is `$0`,
/// `$1` and so on, or in the environment. The asyncio counterpart is `loop.subprocess_shell()`.
///
/// # Errors
///
/// As for [`subprocess_exec`].
///
/// # Panics
///
/// As for [`subprocess_exec`].
///
/// # Cancel safety
///
/// As for [`subprocess_exec`].
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{SubprocessProtocol, subprocess_shell};
///
/// struct Idle;
/// impl SubprocessProtocol for Idle {}
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let transport = subprocess_shell(|| Idle, "exit 7").await?;
///         assert_eq!(transport.wait().await.code(), Some(7));
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
pub fn subprocess_shell<F, P>(factory: F, command: impl AsRef<OsStr>) -> SpawnSubprocess<F>
where
    F: FnOnce() -> P,
    P: SubprocessProtocol,
{
    SpawnSubprocess::shell(factory, command)
}

/// The options of a child; see [`subprocess_exec`].
///
/// # How long starting takes
///
/// On Linux a child is started without copying this process, in about a millisecond, whatever is asked for; only one that
/// runs as [another user](SpawnSubprocess::uid) or [group](SpawnSubprocess::gid) is not. Elsewhere, where a sandbox
/// forbids it, and with a glibc from before 2.25, that holds for children for which nothing special is asked. Options that
/// say "it may take longer to start" have something run in the child then before it becomes the program, and so do a
/// signal that is blocked in this thread, and a program that has to be looked for in a `PATH` of the child's own, or in
/// none after [`env_clear`](SpawnSubprocess::env_clear). For that the system copies this process first, which takes the
/// longer the more memory it uses: some 35 milliseconds with half a gigabyte, during which the loop stands still.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use std::io;
/// use tidegate_subprocess::{Stdio, SubprocessProtocol, subprocess_exec};
///
/// struct Idle;
/// impl SubprocessProtocol for Idle {}
///
/// # fn main() -> io::Result<()> {
/// # tidegate_reactor::run(async {
/// let child = subprocess_exec(|| Idle, "sort")
///     .args(["-r", "-n"])
///     .env("LC_ALL", "C")
///     .current_dir("/")
///     .stdin(File::open("/dev/null")?)
///     .stderr(Stdio::Stdout)
///     .process_group(0);
/// let transport = child.await?;
/// assert!(transport.stdin().is_none() && transport.stdout().is_some());
/// assert!(transport.closed().await.is_none());
/// # Ok::<(), io::Error>(())
/// # })
/// # }
/// ```
#[must_use = "a child is started when this is awaited"]
pub struct SpawnSubprocess<F> {
    factory: F,
    request: Request,
}

/// What is said where it is not known why a child has not become the program.
const UNKNOWN: &str =
    "it has not become the program, and somebody else has reaped it, so it is not known why";

/// What is to be started, and how.
#[derive(Debug)]
pub(crate) struct Request {
    command: Command,
    /// Argument zero, and whether the environment began empty: a command does not tell.
    arg0: Option<OsString>,
    cleared: bool,
    streams: Streams,
    in_child: InChild,
    group: Option<i32>,
    /// The child runs as somebody else. Such a one is never to have our memory.
    as_other: bool,
    pub(crate) limits: WriteLimits,
    /// What was found wrong first.
    wrong: Option<SpawnArgumentError>,
}

/// A child that was just started.
pub(crate) struct Started {
    pub(crate) pid: u32,
    /// Its pidfd, where the system gives it with the child.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Our ends of its pipes, by their numbers.
    pub(crate) pipes: [Option<OwnedFd>; 3],
}

/// What is executed.
impl<F> SpawnSubprocess<F> {
    /// As [`subprocess_exec`], for whatever makes something of a child.
    pub fn exec(factory: F, program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let request = Request {
            command: Command::new(program),
            arg0: None,
            cleared: false,
            streams: Streams::PIPES,
            in_child: InChild::default(),
            group: None,
            as_other: false,
            limits: WriteLimits::default(),
            wrong: None,
        };
        SpawnSubprocess { factory, request }.checked(program, "the program")
    }

    /// As [`subprocess_shell`], for whatever makes something of a child.
    pub fn shell(factory: F, command: impl AsRef<OsStr>) -> Self {
        SpawnSubprocess::exec(factory, "/bin/sh").arg("-c").arg(command)
    }

    /// Changes what makes something of the child; for the options of those who stand on this.
    pub fn with_factory(mut self, change: impl FnOnce(&mut F)) -> Self {
        change(&mut self.factory);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.request.command.arg(argument.as_ref());
        self.checked(argument.as_ref(), "an argument")
    }

    /// Adds arguments.
    pub fn args<I>(self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// What the program finds as its own name, argument zero; what was asked for unless set. With this, the program
    /// that is executed is asyncio's `executable`.
    pub fn arg0(mut self, name: impl AsRef<OsStr>) -> Self {
        self.request.command.arg0(name.as_ref());
        self.request.arg0 = Some(name.as_ref().to_owned());
        self.checked(name.as_ref(), "argument zero")
    }
}

/// The environment and the directory.
impl<F> SpawnSubprocess<F> {
    /// Adds a variable to the environment, or changes one. `PATH` is also where the program is looked for.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            self.wrong(SpawnArgumentError::EnvironmentName { name: name.to_owned() });
        }
        self.request.command.env(name, value);
        self.checked(name, "the environment").checked(value, "the environment")
    }

    /// Adds variables to the environment. After [`env_clear`](SpawnSubprocess::env_clear) they are all of it, as
    /// asyncio's `env`.
    pub fn envs<I, K, V>(self, variables: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        variables.into_iter().fold(self, |builder, (name, value)| builder.env(name, value))
    }

    /// Removes a variable from the environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.request.command.env_remove(name.as_ref());
        self
    }

    /// Empties the environment: the child inherits nothing of it.
    pub fn env_clear(mut self) -> Self {
        self.request.command.env_clear();
        self.request.cleared = true;
        self
    }

    /// The working directory; asyncio's `cwd`. A program that is named by a path should be named by an absolute one then.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.request.command.current_dir(directory.as_ref());
        self.checked(directory.as_ref().as_os_str(), "the working directory")
    }
}

/// Descriptors.
impl<F> SpawnSubprocess<F> {
    /// The child's standard input; a pipe unless set, and for a [`Process`](crate::Process) inherited.
    pub fn stdin(mut self, stream: impl Into<Stdio>) -> Self {
        self.request.streams.stdin = stream.into();
        self
    }

    /// The child's standard output; unless set as its input.
    pub fn stdout(mut self, stream: impl Into<Stdio>) -> Self {
        self.request.streams.stdout = stream.into();
        self
    }

    /// The child's standard error; unless set as its input. [`Stdio::Stdout`] joins it to the output.
    pub fn stderr(mut self, stream: impl Into<Stdio>) -> Self {
        self.request.streams.stderr = stream.into();
        self
    }

    /// Passes one more descriptor, which has this number in the child, 3 or above; asyncio's `pass_fds`, where the
    /// number is the same on both sides. It is closed here once the child has it.
    ///
    /// With such descriptors it may take longer to start.
    pub fn pass_fd(mut self, descriptor: impl Into<OwnedFd>, number: RawFd) -> Self {
        let passed = &mut self.request.in_child.passed;
        let twice = passed.iter().any(|(_, other)| *other == number);
        passed.push((descriptor.into(), number));
        if number < 3 || number == RawFd::MAX {
            self.wrong(SpawnArgumentError::PassedNumber { number });
        } else if twice {
            self.wrong(SpawnArgumentError::PassedTwice { number });
        }
        self
    }

    /// When `pause_writing` and `resume_writing` come for standard input; 64 KiB and 16 KiB unless set.
    pub fn write_buffer_limits(mut self, limits: WriteLimits) -> Self {
        self.request.limits = limits;
        self
    }
}

/// What the child is to the system.
impl<F> SpawnSubprocess<F> {
    /// Puts the child into a process group: with 0 into one of its own, which it leads and to which signals can be
    /// [sent](crate::SubprocessTransport::send_signal_to_group).
    pub fn process_group(mut self, group: i32) -> Self {
        self.request.group = Some(group);
        self.request.command.process_group(group);
        self
    }

    /// Makes the child the leader of a session of its own, without a terminal, and so of a process group of its own.
    ///
    /// It may take longer to start.
    pub fn start_new_session(mut self) -> Self {
        self.request.in_child.start_new_session = true;
        self
    }

    /// The user that the child runs as. It takes longer to start.
    pub fn uid(mut self, user: u32) -> Self {
        self.request.command.uid(user);
        self.request.as_other = true;
        self
    }

    /// The group of users that the child runs as. It takes longer to start.
    pub fn gid(mut self, group: u32) -> Self {
        self.request.command.gid(group);
        self.request.as_other = true;
        self
    }

    /// The permissions that files which the child makes do not get. It may take longer to start.
    pub fn umask(mut self, mask: u32) -> Self {
        self.request.in_child.umask = Some(mask);
        self
    }

    /// Has every signal do in the child what it does by default, those too that this process ignores. It may take
    /// longer to start.
    pub fn reset_signals(mut self) -> Self {
        self.request.in_child.reset_signals = true;
        self
    }
}

impl<F> SpawnSubprocess<F> {
    /// The system takes it as a C string.
    fn checked(mut self, text: &OsStr, place: &'static str) -> Self {
        if text.as_bytes().contains(&0) {
            self.wrong(SpawnArgumentError::NulByte { place });
        }
        self
    }

    fn wrong(&mut self, wrong: SpawnArgumentError) {
        self.request.wrong.get_or_insert(wrong);
    }
}

impl<F> fmt::Debug for SpawnSubprocess<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnSubprocess").field("request", &self.request).finish_non_exhaustive()
    }
}

impl<F: SubprocessFactory> IntoFuture for SpawnSubprocess<F> {
    type Output = io::Result<F::Opened>;
    type IntoFuture = Spawning<F>;

    fn into_future(self) -> Spawning<F> {
        Spawning::new(self.factory, self.request)
    }
}

impl Request {
    /// Whether it makes sense.
    pub(crate) fn check(&self) -> Result<(), SpawnArgumentError> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let joined = [&self.streams.stdin, &self.streams.stdout];
        if joined.iter().any(|stream| matches!(stream, Stdio::Stdout)) {
            return Err(SpawnArgumentError::StdoutForOther);
        }
        if self.group.is_some() && self.in_child.start_new_session {
            return Err(SpawnArgumentError::GroupAndSession);
        }
        Ok(())
    }

    /// Whether the child's number will be that of a process group too.
    pub(crate) fn leads_group(&self) -> bool {
        self.group == Some(0) || self.in_child.start_new_session
    }

    /// Starts it.
    pub(crate) fn spawn(mut self) -> Result<Started, SpawnError> {
        let Ends { child, ours: pipes } = mem::replace(&mut self.streams, Streams::PIPES)
            .open()
            .map_err(SpawnError::of_system)?;
        let steps = mem::take(&mut self.in_child).prepare().map_err(SpawnError::of_system)?;
        #[cfg(all(target_os = "linux", not(tidegate_portable)))]
        if !self.as_other
            && let Some(born) = self
                .in_our_memory(&child, &steps)
                .map_err(|error| SpawnError::of_command(&self.command, error))?
        {
            return Ok(Started { pid: born.pid, pidfd: born.pidfd, pipes });
        }
        let pid = self.by_standard_library(child, steps)?;
        Ok(Started { pid, pidfd: None, pipes })
    }

    #[cfg(all(target_os = "linux", not(tidegate_portable)))]
    fn in_our_memory(
        &self,
        ends: &[Option<OwnedFd>; 3],
        steps: &Steps,
    ) -> io::Result<Option<vfork::Born>> {
        let program = vfork::Program::of(&self.command, self.arg0.as_deref(), self.cleared)?;
        vfork::spawn(&program, ends, self.group, steps)
    }

    fn by_standard_library(
        mut self,
        ends: [Option<OwnedFd>; 3],
        steps: Steps,
    ) -> Result<u32, SpawnError> {
        let command = &mut self.command;
        let [stdin, stdout, stderr] =
            ends.map(|end| end.map_or_else(process::Stdio::inherit, process::Stdio::from));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        steps.give_to(command);
        // The standard library panics where it cannot wait for a child that has not become the program.
        match catch_unwind(AssertUnwindSafe(|| command.spawn())) {
            Ok(Ok(child)) => Ok(child.id()),
            Ok(Err(error)) => Err(SpawnError::of_command(command, error)),
            Err(_payload) => Err(SpawnError::Other { error: io::Error::other(UNKNOWN) }),
        }
    }
}

impl SpawnError {
    /// What an error of the system's means that has nothing to do with the program.
    pub(crate) fn of_system(error: io::Error) -> SpawnError {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => SpawnError::Descriptors { error },
            _ => SpawnError::Other { error },
        }
    }

    /// What an error of starting means.
    fn of_command(command: &Command, error: io::Error) -> SpawnError {
        let program = command.get_program().to_owned();
        let number = error.raw_os_error().map(Errno::from_raw_os_error);
        // The system has one answer for the directory and for the program.
        let inside =
            |path: &Path| if path.as_os_str().is_empty() { "".into() } else { path.join(".") };
        if let Some(path) = command.get_current_dir()
            && let Err(of_directory) = inside(path).metadata()
            && of_directory.kind() == error.kind()
        {
            return SpawnError::WorkingDirectory { path: path.to_owned(), error };
        }
        match number {
            Some(Errno::NOENT | Errno::NOTDIR) => SpawnError::ProgramNotFound { program, error },
            Some(Errno::ACCESS | Errno::NOEXEC | Errno::ISDIR) => {
                SpawnError::NotExecutable { program, error }
            }
            _ => SpawnError::of_system(error),
        }
    }
}
