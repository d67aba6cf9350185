//! A program's own standard streams as transports, which leave the streams as they were found.

mod private;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tidegate_protocols::Protocol;

use crate::pipe::{Access, ConnectPipe, Direction, Ends, Reading, Writing, any_kind};

/// Reads from the program's standard input, whatever it is: a terminal, a pipe, a socket, a file or `/dev/null`.
///
/// The answer is a builder: set options on it, then await it. What it resolves to is the transport of a
/// [pipe](crate::connect_read_pipe). Standard input itself stays as it is. It is never made non-blocking, since that
/// would hold for every process that shares it, the shell that started the program among them, and would outlive this
/// one; and it is never closed: the transport has a duplicate of the descriptor. How it is read depends on what it is:
///
/// - a pipe or a terminal is opened once more on Linux, for a descriptor of our own, which is non-blocking;
/// - a socket is received from by calls that do not wait;
/// - a file, or a device like `/dev/null`, never makes one wait; it is read in turns, so that others get theirs;
/// - what is left (another device, what may not be opened again, and on other systems pipes and terminals) has a
///   thread of its own that waits in the loop's place. It reads ahead, at most 64 KiB, once reading is wanted.
///
/// What [`std::io::stdin`] has buffered already is not seen here, so use one or the other. What was not read when the
/// transport is closed is left to whoever reads next, but for what a thread has read ahead.
///
/// asyncio has this as `loop.connect_read_pipe(factory, sys.stdin)`, which makes the shared description non-blocking and
/// refuses files.
///
/// # Errors
///
/// [`ArgumentError::NotAPipe`](crate::ArgumentError::NotAPipe) if it is a directory,
/// [`ArgumentError::NotReadable`](crate::ArgumentError::NotReadable) if it is not open for reading,
/// [`LoopError`](tidegate_reactor::LoopError) outside of a running loop, and what the system says.
///
/// # Panics
///
/// When `factory` does.
///
/// # Cancel safety
///
/// As for [`connect_read_pipe`](crate::connect_read_pipe); standard input stays open.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::connect_stdin;
///
/// struct Count(usize);
/// impl Protocol for Count {
///     fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
///         self.0 += data.len();
///         Ok(())
///     }
///     fn eof_received(&mut self, _: &Transport) -> io::Result<tidegate_protocols::AtEof> {
///         println!("{} bytes", self.0);
///         Ok(tidegate_protocols::AtEof::Close)
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         connect_stdin(|| Count(0)).await?.closed().await;
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
pub fn connect_stdin<F, P>(factory: F) -> ConnectPipe<Reading<F>>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    ConnectPipe::standard(Reading(factory), Standard::Input)
}

/// Writes to the program's standard output, whatever it is.
///
/// As [`connect_stdin`], in the other direction, and the transport is that of
/// [`connect_write_pipe`](crate::connect_write_pipe). Closing it sends everything that was written, and leaves standard
/// output open. That nobody reads any more is noticed at once only of pipes that are opened once more; of a socket, which
/// may be standard input too, and of what has a thread, the next write finds out.
///
/// **Before the program ends** await [`flush`](tidegate_protocols::WriteTransport::flush), or close it and await
/// [`closed`](tidegate_protocols::WriteTransport::closed): `run` aborts what is open when its future is done, as it does
/// with every connection. Then one more try is made to write what waits, and the rest is lost.
/// What [`print!`] writes is not kept in order with what is written here.
///
/// # Errors
///
/// As for [`connect_stdin`], with [`ArgumentError::NotWritable`](crate::ArgumentError::NotWritable).
///
/// # Panics
///
/// When `factory` does.
///
/// # Cancel safety
///
/// As for [`connect_write_pipe`](crate::connect_write_pipe); standard output stays open.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_protocols::Protocol;
/// use tidegate_transports::connect_stdout;
///
/// struct Idle;
/// impl Protocol for Idle {}
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let stdout = connect_stdout(|| Idle).await?;
///         stdout.write(b"hello\n");
///         stdout.flush().await
///     })
/// }
/// ```
pub fn connect_stdout<F, P>(factory: F) -> ConnectPipe<Writing<F>>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    ConnectPipe::standard(Writing(factory), Standard::Output)
}

/// Writes to the program's standard error, whatever it is.
///
/// As [`connect_stdout`]. Reports of the default exception handler go there too, and directly.
///
/// # Errors
///
/// As for [`connect_stdout`].
///
/// # Panics
///
/// When `factory` does.
///
/// # Cancel safety
///
/// As for [`connect_stdout`].
pub fn connect_stderr<F, P>(factory: F) -> ConnectPipe<Writing<F>>
where
    F: FnOnce() -> P,
    P: Protocol,
{
    ConnectPipe::standard(Writing(factory), Standard::Error)
}

/// One of the program's own streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard input, descriptor 0.
    Input,
    /// Standard output, descriptor 1.
    Output,
    /// Standard error, descriptor 2.
    Error,
}

impl Standard {
    /// A duplicate that may be used without anybody noticing.
    pub(crate) fn ends(self) -> io::Result<Ends> {
        let (descriptor, direction) = match self {
            Standard::Input => (duplicate(io::stdin())?, Direction::Read),
            Standard::Output => (duplicate(io::stdout())?, Direction::Write),
            Standard::Error => (duplicate(io::stderr())?, Direction::Write),
        };
        let kind = any_kind(&descriptor, direction)?;
        let access = match private::reopen(&descriptor, kind, direction) {
            Some(own) => Access::Reopened { descriptor: own, watched: descriptor, kind },
            None => Access::Shared { descriptor, kind },
        };
        Ok(match direction {
            Direction::Read => Ends::Read(access),
            Direction::Write => Ends::Write(access),
        })
    }
}

fn duplicate(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}
