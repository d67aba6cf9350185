//! `sendfile`: a file goes out in its place among what is written, without passing through the program where the
//! system can do so.

pub(crate) mod native;
mod request;

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tidegate_protocols::{Transport, TurnError};

use crate::sock::SockTurn;
use request::Request;

/// Sends a file, and answers how many of its bytes were sent.
///
/// `file` is anything with a descriptor, such as a [`File`](std::fs::File): a regular file, or another that can be
/// read at a position. By default all of it is sent, from its beginning on and wherever it stands, up to its end as
/// it is found then: a file that is cut short meanwhile sends what it has. A
/// [`count`](Sendfile::count) beyond the end sends what exists; an [`offset`](Sendfile::offset) beyond it sends
/// nothing, and answers 0. Afterwards the file stands behind the last byte that was sent, also after an error and
/// when the future was dropped; it is not moved if nothing was sent. How far it is meanwhile, the `bytes_sent` of
/// [`statistics`](Transport::statistics) tell. Sent means that the system has taken it, not that the peer has read it.
///
/// # Order and flow
///
/// The file's place is where the future is first polled. What was written before goes first. What is written
/// meanwhile waits behind the file: it is counted by
/// [`get_write_buffer_size`](Transport::get_write_buffer_size) and by the flow, as ever, and it goes out when the file
/// is sent, or the future dropped, or the transport closed. Nothing is read meanwhile; what
/// [`pause_reading`](Transport::pause_reading) and [`resume_reading`](Transport::resume_reading) say in between holds
/// afterwards. One file at a time.
///
/// [`close`](Transport::close) and everything else that ends the connection ends the sending, with an error that says
/// how far it got. What was written meanwhile is still sent by `close`, behind the part of the file that was: where
/// the peer could take it for the rest of the file, [`abort`](Transport::abort) instead.
///
/// # How
///
/// On a plain socket Linux sends the file by itself (`sendfile(2)`), at most 1 MiB at a time, and others have their
/// turn in between. Reading a file that is not in the system's memory makes the loop wait for the disk. There is no
/// way to tell this call not to raise SIGPIPE: Rust programs ignore that signal from their start, and one that has
/// changed this is ended by a peer that goes away.
///
/// Everywhere else, and if the system refuses the file at the first call, the fallback reads pieces of 64 KiB on the
/// loop's pool and sends each when the one before is sent; [`fallback(false)`](Sendfile::fallback) forbids that. A layer
/// that keeps bytes of its own supports neither unless it says how
/// ([`take_turn`](tidegate_protocols::RawTransport::take_turn)).
///
/// # Errors
///
/// See [`SendfileError`]. All but [`Failed`](SendfileError::Failed) come before anything was sent.
///
/// # Cancel safety
///
/// Dropping the future stops it between two bytes of the file. The transport stays usable: reading goes on, and so
/// does what was written meanwhile. The file's position tells how much was sent.
///
/// The asyncio counterpart is `loop.sendfile()`. There, `write` raises while a file is being sent.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use std::io::{self, Read, Write};
/// use std::os::unix::net::UnixStream;
/// use tidegate_protocols::Protocol;
/// use tidegate_transports::{create_connection, sendfile};
///
/// struct Sender;
/// impl Protocol for Sender {}
///
/// # let path = std::env::temp_dir().join(format!("tidegate-sendfile-{}", std::process::id()));
/// # let path = &path;
/// # File::create(path)?.write_all(b"hello")?;
/// tidegate_reactor::run(async {
///     let (near, mut far) = UnixStream::pair()?;
///     let transport = create_connection(|| Sender, ()).sock(near).await?;
///     let file = File::open(path)?;
///     transport.write(b"[");
///     let sent = sendfile(&transport, &file).offset(1).count(3).await?;
///     transport.write(b"]");
///     transport.flush().await?;
///     let mut received = [0; 5];
///     far.read_exact(&mut received)?;
///     assert_eq!((sent, &received), (3, b"[ell]"));
///     Ok::<(), io::Error>(())
/// })?;
/// # std::fs::remove_file(path)?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn sendfile<'f>(transport: &Transport, file: &'f impl AsFd) -> Sendfile<'f> {
    Sendfile::new(To::Transport(transport.clone()), file.as_fd())
}

/// What [`sendfile`] and [`sock_sendfile`](crate::sock_sendfile) were asked for; awaiting it sends.
#[derive(Debug)]
#[must_use = "nothing is sent unless it is awaited"]
pub struct Sendfile<'f> {
    to: To<'f>,
    request: Request<'f>,
}

/// Whom a file is sent to.
#[derive(Debug)]
pub(crate) enum To<'f> {
    Transport(Transport),
    Socket(BorrowedFd<'f>),
}

impl<'f> Sendfile<'f> {
    pub(crate) fn new(to: To<'f>, file: BorrowedFd<'f>) -> Sendfile<'f> {
        Sendfile { to, request: Request::new(file) }
    }

    /// Begins at this byte of the file; 0 unless set.
    pub fn offset(mut self, offset: u64) -> Self {
        self.request.offset = offset;
        self
    }

    /// Sends at most so many bytes; up to the end of the file unless set. Zero is an error.
    pub fn count(mut self, count: u64) -> Self {
        self.request.count = Some(count);
        self
    }

    /// Whether the file may be read and written by the program where the system cannot send it by itself; true unless
    /// set.
    pub fn fallback(mut self, fallback: bool) -> Self {
        self.request.fallback = fallback;
        self
    }
}

impl<'f> IntoFuture for Sendfile<'f> {
    type Output = Result<u64, SendfileError>;
    type IntoFuture = Sending<'f>;

    fn into_future(self) -> Sending<'f> {
        let Sendfile { to, request } = self;
        Sending(Box::pin(async move {
            request.check()?;
            match to {
                To::Transport(transport) => {
                    let turn = transport.raw().take_turn()?;
                    request.send(&*turn).await
                }
                To::Socket(socket) => {
                    let turn = SockTurn::new(socket)
                        .map_err(|error| SendfileError::Failed { sent: 0, error })?;
                    request.send(&turn).await
                }
            }
        }))
    }
}

/// The future of [`sendfile`] and [`sock_sendfile`](crate::sock_sendfile).
#[must_use = "futures do nothing unless awaited"]
pub struct Sending<'f>(Pin<Box<dyn Future<Output = Result<u64, SendfileError>> + 'f>>);

impl Future for Sending<'_> {
    type Output = Result<u64, SendfileError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Sending<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sending").finish_non_exhaustive()
    }
}

/// Why a file was not sent, or not to its end.
///
/// It becomes an [`io::Error`] that has it inside.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendfileError {
    /// The transport is closing or lost, or its writing end was closed. asyncio: `RuntimeError`.
    Closing,
    /// Another file is being sent. asyncio fails with an internal error.
    InProgress,
    /// The transport is one that cannot send files: a layer that does not say how. asyncio: `RuntimeError`.
    NotSupported,
    /// The system cannot send this file to this transport by itself, and [`fallback(false)`](Sendfile::fallback) was
    /// asked for. asyncio: `SendfileNotAvailableError`, or `RuntimeError` for a transport that never can.
    NotAvailable,
    /// A count of zero was asked for. asyncio: `ValueError`.
    ZeroCount,
    /// The file has no positions: it is a pipe, a socket or a terminal. asyncio: `OSError`.
    NotSeekable,
    /// Something failed on the way.
    Failed {
        /// How many bytes of the file were sent before.
        sent: u64,
        /// What has failed: the connection, which has ended then, or the reading of the file.
        error: io::Error,
    },
}

impl SendfileError {
    /// How many bytes of the file were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match self {
            SendfileError::Failed { sent, .. } => *sent,
            _ => 0,
        }
    }
}

impl fmt::Display for SendfileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendfileError::Closing => TurnError::Closing.fmt(formatter),
            SendfileError::InProgress => TurnError::Taken.fmt(formatter),
            SendfileError::NotSupported => TurnError::Unsupported.fmt(formatter),
            SendfileError::NotAvailable => formatter.write_str(
                "fallback is disabled and native sendfile is not supported for this file and transport",
            ),
            SendfileError::ZeroCount => {
                formatter.write_str("count must be a positive integer (got 0)")
            }
            SendfileError::NotSeekable => {
                formatter.write_str("the file cannot be read at a position: it is no regular file")
            }
            SendfileError::Failed { sent, error } => {
                write!(formatter, "sendfile failed after {sent} bytes: {error}")
            }
        }
    }
}

impl Error for SendfileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SendfileError::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<SendfileError> for io::Error {
    fn from(error: SendfileError) -> io::Error {
        let kind = match &error {
            SendfileError::Closing => io::ErrorKind::NotConnected,
            SendfileError::InProgress => io::ErrorKind::ResourceBusy,
            SendfileError::NotSupported | SendfileError::NotAvailable => io::ErrorKind::Unsupported,
            SendfileError::ZeroCount => io::ErrorKind::InvalidInput,
            SendfileError::NotSeekable => io::ErrorKind::NotSeekable,
            SendfileError::Failed { error, .. } => error.kind(),
        };
        io::Error::new(kind, error)
    }
}

impl From<TurnError> for SendfileError {
    fn from(error: TurnError) -> SendfileError {
        match error {
            TurnError::Closing => SendfileError::Closing,
            TurnError::Taken => SendfileError::InProgress,
            _ => SendfileError::NotSupported,
        }
    }
}

/// Whether an error of sending a file says that the connection is gone, rather than something of the file.
pub(crate) fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        BrokenPipe
            | ConnectionReset
            | ConnectionAborted
            | NotConnected
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    )
}

/// Whether the system can read this file for a socket.
fn is_regular(file: BorrowedFd<'_>) -> bool {
    use rustix::fs::{FileType, fstat};
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
