//! Children seen from a task: `create_subprocess_exec` and `create_subprocess_shell`.

mod communicate;
mod pipes;
mod process;

use std::ffi::OsStr;
use std::io;
use std::rc::Rc;

use tidegate_streams::{DEFAULT_LIMIT, LimitError};

use crate::{SpawnSubprocess, Stdio, SubprocessFactory, SubprocessProtocol, SubprocessTransport};
use pipes::{Handed, TaskProtocol};

pub use communicate::{Communicate, CommunicateError, ProcessOutput};
pub use process::Process;

/// Starts a program, for a task.
///
/// The answer is a builder: add arguments and options, then await it for a [`Process`]. It has every option of
/// [`subprocess_exec`](crate::subprocess_exec), which says how the program is found and what it inherits, and
/// [`limit`](SpawnSubprocess::limit) and [`kill_on_drop`](SpawnSubprocess::kill_on_drop) besides. All three standard
/// streams are those of this process unless chosen otherwise; the ones that are [piped](Stdio::Pipe) become streams.
///
/// The asyncio counterpart is `asyncio.create_subprocess_exec()`.
///
/// # Errors
///
/// As for [`subprocess_exec`](crate::subprocess_exec), and a [`LimitError`].
///
/// # Cancel safety
///
/// Dropping the future kills the child if there is one already, and the loop reaps it.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{Stdio, create_subprocess_exec};
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let mut process =
///             create_subprocess_exec("sort").stdin(Stdio::Pipe).stdout(Stdio::Pipe).await?;
///         let output = process.communicate("ebb\nflow\ncalm\n").await?;
///         assert_eq!(output.stdout.as_deref(), Some(&b"calm\nebb\nflow\n"[..]));
///         assert!(output.status.success());
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
pub fn create_subprocess_exec(program: impl AsRef<OsStr>) -> CreateSubprocess {
    inheriting(SpawnSubprocess::exec(TaskStreams::new(), program))
}

/// Starts a command line of the shell, `/bin/sh`, for a task.
///
/// As [`create_subprocess_exec`]; what [`subprocess_shell`](crate::subprocess_shell) says of command lines holds here too.
/// The asyncio counterpart is `asyncio.create_subprocess_shell()`.
///
/// # Errors
///
/// As for [`create_subprocess_exec`].
///
/// # Cancel safety
///
/// As for [`create_subprocess_exec`].
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{Stdio, create_subprocess_shell};
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let mut process =
///             create_subprocess_shell("echo tide; exit 3").stdout(Stdio::Pipe).await?;
///         let stdout = process.stdout.as_mut().expect("it is piped");
///         assert_eq!(stdout.readline().await?, "tide\n");
///         assert_eq!(process.wait().await.code(), Some(3));
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
pub fn create_subprocess_shell(command: impl AsRef<OsStr>) -> CreateSubprocess {
    inheriting(SpawnSubprocess::shell(TaskStreams::new(), command))
}

/// The builder of [`create_subprocess_exec`] and [`create_subprocess_shell`].
pub type CreateSubprocess = SpawnSubprocess<TaskStreams>;

fn inheriting(builder: CreateSubprocess) -> CreateSubprocess {
    builder.stdin(Stdio::Inherit).stdout(Stdio::Inherit).stderr(Stdio::Inherit)
}

/// What is asked of a child that a task has started.
impl CreateSubprocess {
    /// The limit of the readers of the child's output and standard error, in bytes; 64 KiB unless set.
    ///
    /// It says how long a line may be, and it governs the flow: when more than twice the limit waits to be read, nothing
    /// more is taken from the child, which waits when the system's pipe is full. With 0 the builder answers a
    /// [`LimitError`].
    pub fn limit(self, bytes: usize) -> Self {
        self.with_factory(|streams| streams.limit = bytes)
    }

    /// Whether a child that still runs is killed when its [`Process`] is dropped; not so unless set.
    ///
    /// The child alone is, not the group that it may lead. It is reaped either way.
    pub fn kill_on_drop(self, kill: bool) -> Self {
        self.with_factory(|streams| streams.kill_on_drop = kill)
    }
}

/// What [`create_subprocess_exec`] makes of its child: a [`Process`] with streams.
#[derive(Debug)]
pub struct TaskStreams {
    limit: usize,
    kill_on_drop: bool,
}

impl TaskStreams {
    fn new() -> TaskStreams {
        TaskStreams { limit: DEFAULT_LIMIT, kill_on_drop: false }
    }
}

impl SubprocessFactory for TaskStreams {
    type Opened = Process;
    type Kept = Opening;

    fn check(&self) -> io::Result<()> {
        Ok(LimitError::check(self.limit)?)
    }

    fn make(self) -> (Box<dyn SubprocessProtocol>, Opening) {
        let handed = Rc::new(Handed::default());
        let protocol = TaskProtocol::new(self.limit, Rc::clone(&handed));
        (Box::new(protocol), Opening { handed, kill_on_drop: self.kill_on_drop })
    }

    fn opened(opening: Opening, transport: SubprocessTransport) -> Process {
        Process::new(&opening.handed, transport, opening.kill_on_drop)
    }
}

/// What becomes a [`Process`] when the child's pipes stand.
pub struct Opening {
    handed: Rc<Handed>,
    kill_on_drop: bool,
}
