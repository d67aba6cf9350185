//! `communicate`: a child is fed, and its outputs are gathered, until it has ended.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::task::Poll;

use bytes::Bytes;
use tidegate_streams::{FillToEndError, StreamReader};

use super::process::Process;

/// What a child has written, and how it has ended; the answer of [`Process::communicate`].
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{ProcessOutput, Stdio, create_subprocess_shell};
///
/// # fn main() -> io::Result<()> {
/// # tidegate_reactor::run(async {
/// let mut process = create_subprocess_shell("echo tide").stdout(Stdio::Pipe).await?;
/// let ProcessOutput { status, stdout, stderr } = process.communicate("").await?;
/// assert!(status.success() && stderr.is_none());
/// assert_eq!(stdout.unwrap_or_default(), "tide\n");
/// # Ok::<(), io::Error>(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessOutput {
    /// How the child has ended.
    pub status: ExitStatus,
    /// What it wrote to its output; none if that was not piped, or was taken out of the [`Process`].
    pub stdout: Option<Bytes>,
    /// What it wrote to its standard error; none in the same cases.
    pub stderr: Option<Bytes>,
}

/// The builder of [`Process::communicate`].
#[derive(Debug)]
#[must_use = "it happens when this is awaited"]
pub struct Communicate<'a> {
    process: &'a mut Process,
    input: Bytes,
    limit: usize,
}

impl<'a> Communicate<'a> {
    pub(super) fn new(process: &'a mut Process, input: Bytes) -> Communicate<'a> {
        Communicate { process, input, limit: usize::MAX }
    }

    /// How many bytes are gathered of each output at most; there is no limit unless set.
    ///
    /// Above it [`CommunicateError::TooLong`] is the answer. Little more than that is ever in memory: twice the limit of
    /// the [reader](crate::CreateSubprocess::limit) if that is more, and one read.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    async fn run(self) -> Result<ProcessOutput, CommunicateError> {
        let Communicate { process, input, limit } = self;
        feed(process, input);
        filled([(1, &mut process.stdout), (2, &mut process.stderr)], limit).await?;
        let status = process.wait().await;
        // From here on nothing waits, so nothing that was taken out of a reader can be lost.
        Ok(ProcessOutput {
            status,
            stdout: taken(&mut process.stdout).await?,
            stderr: taken(&mut process.stderr).await?,
        })
    }
}

impl<'a> IntoFuture for Communicate<'a> {
    type Output = Result<ProcessOutput, CommunicateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Has the loop send the input and close, once. Whether the child takes it is the child's affair.
fn feed(process: &Process, input: Bytes) {
    if let Some(stdin) = &process.stdin
        && !stdin.is_closing()
    {
        stdin.write_bytes(input);
        drop(stdin.close());
    }
}

/// Waits until everything has come that will, and stays in the readers.
async fn filled(
    outputs: [(RawFd, &mut Option<StreamReader>); 2],
    limit: usize,
) -> Result<(), CommunicateError> {
    let [stdout, stderr] = outputs.map(|(fd, reader)| async move {
        let Some(reader) = reader else { return Ok(()) };
        match reader.fill_to_end(limit).await {
            Ok(_length) => Ok(()),
            Err(FillToEndError::TooLong { limit }) => Err(CommunicateError::TooLong { fd, limit }),
            Err(FillToEndError::Io(error)) => Err(CommunicateError::Io(error)),
        }
    });
    let (mut stdout, mut stderr) = (pin!(stdout), pin!(stderr));
    let mut open = [true; 2];
    poll_fn(|context| {
        let both: [Pin<&mut dyn Future<Output = Result<(), CommunicateError>>>; 2] =
            [stdout.as_mut(), stderr.as_mut()];
        for (output, open) in both.into_iter().zip(&mut open) {
            if *open && let Poll::Ready(ended) = output.poll(context) {
                *open = false;
                ended?;
            }
        }
        if open == [false; 2] { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// What a reader has, which is at its end.
async fn taken(reader: &mut Option<StreamReader>) -> io::Result<Option<Bytes>> {
    match reader {
        Some(reader) => Ok(Some(reader.read_to_end().await?)),
        None => Ok(None),
    }
}

/// Why [`Process::communicate`] has not come to the end. The child runs on, and what came is in its readers.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommunicateError {
    /// The child has written more than the [limit](Communicate::limit).
    TooLong {
        /// Where: 1 is its output, 2 its standard error.
        fd: RawFd,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Reading has failed.
    Io(io::Error),
}

impl fmt::Display for CommunicateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommunicateError::TooLong { fd, limit } => {
                write!(f, "the child wrote more than {limit} bytes to its descriptor {fd}")
            }
            CommunicateError::Io(error) => write!(f, "a child's output was not read: {error}"),
        }
    }
}

impl Error for CommunicateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CommunicateError::TooLong { .. } => None,
            CommunicateError::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for CommunicateError {
    fn from(error: io::Error) -> CommunicateError {
        CommunicateError::Io(error)
    }
}

/// The kind is kept, and the error is inside: `InvalidData` if the child wrote too much, or that of the failure.
impl From<CommunicateError> for io::Error {
    fn from(error: CommunicateError) -> io::Error {
        match error {
            CommunicateError::TooLong { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
            CommunicateError::Io(error) => error,
        }
    }
}
