//! What can be wrong with a request to connect or to serve, as values that a program can match.
//!
//! Each of them travels inside an [`io::Error`]; `error.get_ref().and_then(|inner| inner.downcast_ref())`
//! finds it again.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use tidegate_protocols::Address;

/// A contradiction in what was asked for, found before any socket was made.
///
/// It travels in an [`io::Error`] of the kind [`InvalidInput`](io::ErrorKind::InvalidInput). The asyncio
/// counterpart is the `ValueError` of the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArgumentError {
    /// Both a host and a socket were given.
    HostAndSocket,
    /// A connection was asked for with neither a host nor a socket.
    NowhereToConnect,
    /// A server was asked for with neither a host nor a socket.
    NowhereToServe,
    /// The socket that was given is not a stream socket.
    NotAStreamSocket,
    /// Both a path and a socket were given.
    PathAndSocket,
    /// Neither a path nor a socket was given.
    NeitherPathNorSocket,
    /// The socket that was given is not a Unix stream socket, which it has to be by its builder, or to receive
    /// descriptors.
    NotAUnixSocket,
    /// The permissions of a socket file are no permissions, or there is no file that is made.
    SocketFileMode,
    /// The descriptor that was given as a pipe is neither a pipe nor a FIFO, a socket or a character device.
    NotAPipe,
    /// The descriptor is to be read from, and is not open for reading.
    NotReadable,
    /// The descriptor is to be written to, and is not open for writing.
    NotWritable,
    /// The socket that was given would make the whole loop wait.
    BlockingSocket,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ArgumentError::HostAndSocket => {
                "host/port and sock can not be specified at the same time"
            }
            ArgumentError::NowhereToConnect => {
                "host and port was not specified and no sock specified"
            }
            ArgumentError::NowhereToServe => "Neither host/port nor sock were specified",
            ArgumentError::NotAStreamSocket => "A Stream Socket was expected",
            ArgumentError::PathAndSocket => "path and sock can not be specified at the same time",
            ArgumentError::NeitherPathNorSocket => "no path and sock were specified",
            ArgumentError::NotAUnixSocket => "A UNIX Domain Stream Socket was expected",
            ArgumentError::SocketFileMode => {
                "mode is at most 0o777, and only for a socket file that is made"
            }
            ArgumentError::NotAPipe => {
                "Pipe transport is only for pipes, sockets and character devices"
            }
            ArgumentError::NotReadable => "the descriptor is not open for reading",
            ArgumentError::NotWritable => "the descriptor is not open for writing",
            ArgumentError::BlockingSocket => "the socket must be non-blocking",
        })
    }
}

impl Error for ArgumentError {}

impl From<ArgumentError> for io::Error {
    fn from(error: ArgumentError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// A contradiction in what was asked for of a datagram endpoint, found before any socket was made.
///
/// It travels in an [`io::Error`] of the kind [`InvalidInput`](io::ErrorKind::InvalidInput). The asyncio
/// counterpart is the `ValueError` of the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramArgumentError {
    /// There is no address, and no family either.
    UnexpectedFamily,
    /// Addresses of the internet and paths of Unix sockets do not go together, nor do a family and a path.
    MixedFamilies,
    /// The local and the remote address have no family in common.
    NoCommonFamily,
    /// The socket that was given does not keep datagrams apart, or is connected like a stream.
    NotADatagramSocket,
    /// A socket was given, and options beside it that are for making one.
    OptionsWithSocket {
        /// The options, by the names of their methods.
        names: Vec<&'static str>,
    },
}

impl fmt::Display for DatagramArgumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DatagramArgumentError::UnexpectedFamily => "unexpected address family",
            DatagramArgumentError::MixedFamilies => {
                "internet addresses and paths of Unix sockets can not be used together"
            }
            DatagramArgumentError::NoCommonFamily => "can not get address information",
            DatagramArgumentError::NotADatagramSocket => "A datagram socket was expected",
            DatagramArgumentError::OptionsWithSocket { names } => {
                let names = names.join(", ");
                return write!(
                    formatter,
                    "socket modifier options can not be used when sock is specified. ({names})"
                );
            }
        })
    }
}

impl Error for DatagramArgumentError {}

impl From<DatagramArgumentError> for io::Error {
    fn from(error: DatagramArgumentError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Several attempts to connect have failed, each in its own way.
///
/// It travels in an [`io::Error`] of the kind of the last attempt's error. When there was one error only, or
/// when all are the same, `create_connection` answers that error itself, which is a [`ConnectCallError`] if the system
/// refused. The asyncio counterpart is `OSError("Multiple exceptions: …")`, or the exception group of `all_errors`.
#[derive(Debug)]
pub struct ConnectError {
    /// Where each attempt went and how it failed, in the order in which they were started.
    ///
    /// An address stands here more than once when more than one local address could not be bound for it.
    pub attempts: Vec<(SocketAddr, io::Error)>,
}

impl ConnectError {
    /// The errors of a whole race as one: the error itself where there is one only.
    pub(crate) fn gather(mut attempts: Vec<(SocketAddr, io::Error)>) -> io::Error {
        let text = |(address, error): &(SocketAddr, io::Error)| attempt_text(address, error);
        let all_alike = attempts.windows(2).all(|pair| text(&pair[0]) == text(&pair[1]));
        match attempts.last() {
            None => io::Error::from(io::ErrorKind::AddrNotAvailable),
            Some(_) if all_alike => {
                let (address, error) = attempts.swap_remove(0);
                match error.raw_os_error() {
                    Some(_) => ConnectCallError { address: address.into(), error }.into(),
                    None => error,
                }
            }
            Some((_, last)) => io::Error::new(last.kind(), ConnectError { attempts }),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Multiple exceptions: ")?;
        for (position, (address, error)) in self.attempts.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(formatter, "{comma}{}", attempt_text(address, error))?;
        }
        Ok(())
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.attempts.last().map(|(_, error)| error as _)
    }
}

/// asyncio's text for what the system refused; other errors name their address themselves.
fn attempt_text(address: &SocketAddr, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => connect_call_text(address, error),
        None => error.to_string(),
    }
}

fn connect_call_text(address: &impl fmt::Display, error: &io::Error) -> String {
    format!("Connect call failed {address}: {error}")
}

/// The system did not connect to an address.
///
/// It travels in an [`io::Error`] of the same kind. The asyncio counterpart is the `OSError` of the same
/// text and number. An `io::Error` has either, so the number is found inside:
///
/// ```
/// use std::io;
/// use tidegate_transports::ConnectCallError;
///
/// fn number(error: &io::Error) -> Option<i32> {
///     let inside = error.get_ref()?.downcast_ref::<ConnectCallError>()?;
///     inside.error.raw_os_error()
/// }
/// ```
#[derive(Debug)]
pub struct ConnectCallError {
    /// Where it was to be connected to.
    pub address: Address,
    /// What the system said; its `raw_os_error()` is the number.
    pub error: io::Error,
}

impl fmt::Display for ConnectCallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&connect_call_text(&self.address, &self.error))
    }
}

impl Error for ConnectCallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<ConnectCallError> for io::Error {
    fn from(error: ConnectCallError) -> io::Error {
        io::Error::new(error.error.kind(), error)
    }
}

/// A local address could not be bound.
///
/// It travels in an [`io::Error`] of the same kind. The asyncio counterpart is the `OSError` of the same
/// text and number.
#[derive(Debug)]
pub struct BindError {
    /// What was to be bound.
    pub address: SocketAddr,
    /// What the system said; its `raw_os_error()` is the number.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.error.to_string();
        let reason = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        write!(formatter, "error while attempting to bind on address {}: {reason}", self.address)
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> io::Error {
        io::Error::new(error.error.kind(), error)
    }
}

/// A server is not in the state that a call needs.
///
/// The asyncio counterpart is the `RuntimeError` of the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerError {
    /// The server is closed, and a closed server does not open again.
    Closed,
    /// Another `serve_forever` of this server is waiting.
    AlreadyServing,
    /// The server was closed while `serve_forever` waited, and its clients are gone.
    Interrupted,
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ServerError::Closed => "the server is closed",
            ServerError::AlreadyServing => "the server is already being awaited on serve_forever()",
            ServerError::Interrupted => {
                "the server was closed while it was awaited on serve_forever()"
            }
        })
    }
}

impl Error for ServerError {}

impl From<ServerError> for io::Error {
    fn from(error: ServerError) -> io::Error {
        let kind = match error {
            ServerError::Closed | ServerError::AlreadyServing => io::ErrorKind::Other,
            ServerError::Interrupted => io::ErrorKind::Interrupted,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: i32 = rustix::io::Errno::CONNREFUSED.raw_os_error();
    const IN_USE: i32 = rustix::io::Errno::ADDRINUSE.raw_os_error();

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn refused(port: u16) -> (SocketAddr, io::Error) {
        (address(port), io::Error::from_raw_os_error(REFUSED))
    }

    fn cannot_bind(port: u16) -> BindError {
        BindError { address: address(port), error: io::Error::from_raw_os_error(IN_USE) }
    }

    #[test]
    fn one_error_stays_itself_and_several_are_all_kept() {
        let check = |attempts, expected: &str, number| {
            let error = ConnectError::gather(attempts);
            assert_eq!(error.to_string(), expected);
            let inside = error.get_ref().and_then(|inner| inner.downcast_ref::<ConnectCallError>());
            assert_eq!(inside.and_then(|inside| inside.error.raw_os_error()), number);
        };
        // C-06: exactly one
        let text = "Connect call failed 127.0.0.1:1: Connection refused (os error 111)";
        check(vec![refused(1)], text, Some(REFUSED));
        // C-06: identical texts
        check(vec![refused(1), refused(1)], text, Some(REFUSED));
        // An error that names its address already.
        let text = "error while attempting to bind on address 127.0.0.1:7: address already in use";
        check(vec![(address(2), cannot_bind(7).into())], text, None);

        // replaced: C-06: all kept, in the order of the attempts
        let several = vec![refused(1), (address(2), cannot_bind(7).into()), refused(3)];
        let error = ConnectError::gather(several);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            "Multiple exceptions: Connect call failed 127.0.0.1:1: Connection refused (os error 111), \
             error while attempting to bind on address 127.0.0.1:7: address already in use, \
             Connect call failed 127.0.0.1:3: Connection refused (os error 111)"
        );
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ConnectError>());
        let addresses = inner.map(|inner| inner.attempts.iter().map(|(to, _)| to.port()).collect());
        assert_eq!(addresses, Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_bind_error_keeps_kind_and_number() {
        // C-09 S-06
        let error = io::Error::from(cannot_bind(80));
        assert_eq!(
            error.to_string(),
            "error while attempting to bind on address 127.0.0.1:80: address already in use"
        );
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<BindError>());
        assert_eq!(inner.and_then(|inner| inner.error.raw_os_error()), Some(IN_USE));
    }

    #[test]
    fn errors_of_state_and_argument_can_be_matched_inside_an_io_error() {
        let find = |error: &io::Error| {
            error.get_ref().and_then(|inner| inner.downcast_ref::<ServerError>()).copied()
        };
        for (error, kind) in [
            (ServerError::Closed, io::ErrorKind::Other),
            (ServerError::AlreadyServing, io::ErrorKind::Other),
            (ServerError::Interrupted, io::ErrorKind::Interrupted),
        ] {
            let outer = io::Error::from(error);
            assert_eq!((outer.kind(), find(&outer)), (kind, Some(error)));
        }
        let outer = io::Error::from(ArgumentError::HostAndSocket);
        assert_eq!(outer.kind(), io::ErrorKind::InvalidInput);
    }
}
