//! What a child's standard streams can be.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What one of a child's standard streams is to be.
///
/// A file, the end of a pipe, a socket, or whatever else owns a descriptor, becomes one by `into`, so the methods of
/// [`SpawnSubprocess`](crate::SpawnSubprocess) take it as it is. The asyncio counterparts are the values of the
/// arguments `stdin`, `stdout` and `stderr`.
///
/// ```
/// use std::fs::File;
/// use tidegate_subprocess::Stdio;
///
/// let nothing: Stdio = File::open("/dev/null")?.into();
/// assert!(matches!(nothing, Stdio::Descriptor(_)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum Stdio {
    /// A pipe, whose other end is a transport; asyncio's `PIPE`.
    Pipe,
    /// The same as this process has; asyncio's `None`.
    Inherit,
    /// The null device; asyncio's `DEVNULL`.
    Null,
    /// For standard error only: wherever standard output goes; asyncio's `STDOUT`. There is no pipe 2 then.
    Stdout,
    /// This descriptor, which is closed here once the child has it.
    Descriptor(OwnedFd),
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(descriptor: T) -> Stdio {
        Stdio::Descriptor(descriptor.into())
    }
}

/// The three of them.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

impl Streams {
    /// All three piped.
    pub(crate) const PIPES: Streams =
        Streams { stdin: Stdio::Pipe, stdout: Stdio::Pipe, stderr: Stdio::Pipe };

    /// Opens what is to be opened: the child's ends, and ours.
    ///
    /// # Errors
    ///
    /// That descriptors have run out.
    pub(crate) fn open(self) -> io::Result<Ends> {
        let (stdin, to_child) = match self.stdin {
            Stdio::Pipe => {
                let (read, write) = io::pipe()?;
                (Some(read.into()), Some(write.into()))
            }
            Stdio::Null => (Some(File::open(NULL)?.into()), None),
            stdin => (given(stdin), None),
        };
        let (stdout, from_stdout) = output(self.stdout)?;
        let (stderr, from_stderr) = match (self.stderr, &stdout) {
            (Stdio::Stdout, Some(stdout)) => (Some(stdout.try_clone()?), None),
            (Stdio::Stdout, None) => (Some(io::stdout().as_fd().try_clone_to_owned()?), None),
            (stderr, _) => output(stderr)?,
        };
        Ok(Ends { child: [stdin, stdout, stderr], ours: [to_child, from_stdout, from_stderr] })
    }
}

/// The two ends of each standard stream, as far as there are any.
pub(crate) struct Ends {
    /// What the child gets; nothing where it has the same as this process.
    pub(crate) child: [Option<OwnedFd>; 3],
    /// What this process has of a pipe.
    pub(crate) ours: [Option<OwnedFd>; 3],
}

const NULL: &str = "/dev/null";

fn output(stream: Stdio) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    Ok(match stream {
        Stdio::Pipe => {
            let (read, write) = io::pipe()?;
            (Some(write.into()), Some(read.into()))
        }
        Stdio::Null => (Some(File::options().write(true).open(NULL)?.into()), None),
        stream => (given(stream), None),
    })
}

fn given(stream: Stdio) -> Option<OwnedFd> {
    match stream {
        Stdio::Descriptor(descriptor) => Some(descriptor),
        _ => None,
    }
}
