//! What can be wrong with a request to start a child or to signal one, as values that a program can match.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// A contradiction in what was asked for, found before anything was started.
///
/// It travels in an [`io::Error`] of the kind [`InvalidInput`](io::ErrorKind::InvalidInput). The asyncio counterpart is
/// the `ValueError` of `subprocess_exec` and of `subprocess.Popen`.
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{SpawnArgumentError, SubprocessProtocol, subprocess_exec};
///
/// struct Idle;
/// impl SubprocessProtocol for Idle {}
///
/// # fn main() -> io::Result<()> {
/// # tidegate_reactor::run(async {
/// let error = subprocess_exec(|| Idle, "echo").arg("a\0b").await.unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
/// let wrong = error.get_ref().and_then(|inner| inner.downcast_ref());
/// assert_eq!(wrong, Some(&SpawnArgumentError::NulByte { place: "an argument" }));
/// # Ok::<(), io::Error>(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnArgumentError {
    /// There is a NUL byte in something that the system takes as a C string.
    NulByte {
        /// In what.
        place: &'static str,
    },
    /// The name of an environment variable is empty or has a `=` in it.
    EnvironmentName {
        /// The name.
        name: OsString,
    },
    /// [`Stdio::Stdout`](crate::Stdio::Stdout) was given for another stream than standard error.
    StdoutForOther,
    /// A descriptor was to be passed with a number below 3, which are the standard streams, or below 0.
    PassedNumber {
        /// The number.
        number: RawFd,
    },
    /// Two descriptors were to be passed with the same number.
    PassedTwice {
        /// The number.
        number: RawFd,
    },
    /// Both a process group and a session of its own were asked for; a session brings a group.
    GroupAndSession,
}

impl fmt::Display for SpawnArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnArgumentError::NulByte { place } => write!(f, "embedded null byte in {place}"),
            SpawnArgumentError::EnvironmentName { name } => {
                write!(f, "illegal environment variable name: {name:?}")
            }
            SpawnArgumentError::StdoutForOther => {
                f.write_str("only standard error can be joined to standard output")
            }
            SpawnArgumentError::PassedNumber { number } => {
                write!(
                    f,
                    "a descriptor cannot be passed with the number {number}: it has to be 3 or above"
                )
            }
            SpawnArgumentError::PassedTwice { number } => {
                write!(f, "two descriptors are to be passed with the number {number}")
            }
            SpawnArgumentError::GroupAndSession => {
                f.write_str("process_group and start_new_session cannot be used together")
            }
        }
    }
}

impl Error for SpawnArgumentError {}

impl From<SpawnArgumentError> for io::Error {
    fn from(error: SpawnArgumentError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Why a child could not be started. Nothing of it is left: no child, no descriptor.
///
/// It travels in an [`io::Error`] of the same kind, with the system's error as its source. The asyncio counterparts are
/// `FileNotFoundError`, `PermissionError` and `OSError`.
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{SpawnError, SubprocessProtocol, subprocess_exec};
///
/// struct Idle;
/// impl SubprocessProtocol for Idle {}
///
/// # fn main() -> io::Result<()> {
/// # tidegate_reactor::run(async {
/// let error = subprocess_exec(|| Idle, "no-such-program").await.unwrap_err();
/// match error.get_ref().and_then(|inner| inner.downcast_ref()) {
///     Some(SpawnError::ProgramNotFound { program, .. }) => assert_eq!(program, "no-such-program"),
///     _ => unreachable!("{error}"),
/// }
/// # Ok::<(), io::Error>(())
/// # })
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such program, or no interpreter for it.
    ProgramNotFound {
        /// The program.
        program: OsString,
        /// What the system said.
        error: io::Error,
    },
    /// The program cannot be executed: it is no program, or may not be.
    NotExecutable {
        /// The program.
        program: OsString,
        /// What the system said.
        error: io::Error,
    },
    /// The working directory does not exist, is none, or may not be entered.
    WorkingDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// This process, or the system, has no descriptor left. A child that was running already was killed.
    Descriptors {
        /// What the system said.
        error: io::Error,
    },
    /// Anything else.
    Other {
        /// What the system said.
        error: io::Error,
    },
}

impl SpawnError {
    /// What the system said.
    pub fn error(&self) -> &io::Error {
        match self {
            SpawnError::ProgramNotFound { error, .. }
            | SpawnError::NotExecutable { error, .. }
            | SpawnError::WorkingDirectory { error, .. }
            | SpawnError::Descriptors { error }
            | SpawnError::Other { error } => error,
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::ProgramNotFound { program, error } => {
                write!(f, "no program {program:?}, or no interpreter for it: {error}")
            }
            SpawnError::NotExecutable { program, error } => {
                write!(f, "{program:?} cannot be executed: {error}")
            }
            SpawnError::WorkingDirectory { path, error } => {
                write!(f, "{path:?} cannot be the working directory: {error}")
            }
            SpawnError::Descriptors { error } => {
                write!(f, "no descriptor is left for a child: {error}")
            }
            SpawnError::Other { error } => write!(f, "the child could not be started: {error}"),
        }
    }
}

impl Error for SpawnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.error())
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> io::Error {
        io::Error::new(error.error().kind(), error)
    }
}

/// Why a signal was not sent.
///
/// ```
/// # fn example(transport: &tidegate_subprocess::SubprocessTransport) {
/// use tidegate_subprocess::SendSignalError;
///
/// match transport.terminate() {
///     Ok(()) => println!("asked to end, unless it has ended already"),
///     Err(SendSignalError::NoSuchProcess) => println!("it is gone"),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SendSignalError {
    /// The transport was lost, and the child is gone; asyncio's `ProcessLookupError`.
    NoSuchProcess,
    /// The child does not lead a process group: neither [`process_group(0)`](crate::SpawnSubprocess::process_group) nor
    /// [`start_new_session`](crate::SpawnSubprocess::start_new_session) was asked for.
    NoGroup,
    /// The system refuses: the child runs as another user, say.
    System(io::Error),
}

impl fmt::Display for SendSignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendSignalError::NoSuchProcess => f.write_str("no such process: the child is gone"),
            SendSignalError::NoGroup => f.write_str("the child leads no process group"),
            SendSignalError::System(error) => write!(f, "the signal was not sent: {error}"),
        }
    }
}

impl Error for SendSignalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SendSignalError::System(error) => Some(error),
            SendSignalError::NoSuchProcess | SendSignalError::NoGroup => None,
        }
    }
}

impl From<io::Error> for SendSignalError {
    fn from(error: io::Error) -> SendSignalError {
        SendSignalError::System(error)
    }
}

impl From<SendSignalError> for io::Error {
    fn from(error: SendSignalError) -> io::Error {
        let kind = match &error {
            SendSignalError::NoSuchProcess => io::ErrorKind::NotFound,
            SendSignalError::NoGroup => io::ErrorKind::InvalidInput,
            SendSignalError::System(error) => error.kind(),
        };
        io::Error::new(kind, error)
    }
}
