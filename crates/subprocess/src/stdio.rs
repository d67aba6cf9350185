//! What a child's standard streams can be.

use std::io;
use std::os::fd::OwnedFd;
use std::process;

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

    /// Has `command` use them. Answers the end of a pipe that output and error share, if there is one.
    ///
    /// # Errors
    ///
    /// That descriptors have run out.
    pub(crate) fn give_to(self, command: &mut process::Command) -> io::Result<Option<OwnedFd>> {
        let mut shared = None;
        let (stdout, stderr) = match (self.stdout, self.stderr) {
            (Stdio::Pipe, Stdio::Stdout) => {
                let (read, write) = io::pipe()?;
                shared = Some(read.into());
                (write.try_clone()?.into(), write.into())
            }
            (Stdio::Descriptor(descriptor), Stdio::Stdout) => {
                let copy = descriptor.try_clone()?;
                (descriptor.into(), copy.into())
            }
            (Stdio::Null, Stdio::Stdout) => (process::Stdio::null(), process::Stdio::null()),
            (stdout, Stdio::Stdout) => (plain(stdout), io::stdout().into()),
            (stdout, stderr) => (plain(stdout), plain(stderr)),
        };
        command.stdin(plain(self.stdin)).stdout(stdout).stderr(stderr);
        Ok(shared)
    }
}

fn plain(stream: Stdio) -> process::Stdio {
    match stream {
        Stdio::Pipe => process::Stdio::piped(),
        // It was checked that only standard error is joined to another.
        Stdio::Inherit | Stdio::Stdout => process::Stdio::inherit(),
        Stdio::Null => process::Stdio::null(),
        Stdio::Descriptor(descriptor) => descriptor.into(),
    }
}
