//! What can be wrong with a read: one enum for each question, and each becomes an [`io::Error`].

use std::error::Error;
use std::fmt;
use std::io;

use bytes::Bytes;

/// The limit of a reader was zero; asyncio's `ValueError: Limit cannot be <= 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitError;

impl LimitError {
    /// Refuses a limit of zero.
    ///
    /// # Errors
    ///
    /// This one.
    pub fn check(limit: usize) -> Result<(), LimitError> {
        if limit == 0 { Err(LimitError) } else { Ok(()) }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limit cannot be <= 0")
    }
}

impl Error for LimitError {}

impl From<LimitError> for io::Error {
    fn from(error: LimitError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Nothing can be searched for with these separators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeparatorError {
    /// There is not one.
    None,
    /// One has no bytes.
    Empty,
}

impl fmt::Display for SeparatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SeparatorError::None => "Separator should contain at least one element",
            SeparatorError::Empty => "Separator should be at least one-byte string",
        })
    }
}

impl Error for SeparatorError {}

impl From<SeparatorError> for io::Error {
    fn from(error: SeparatorError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The stream has ended before everything came; asyncio's `IncompleteReadError`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncompleteReadError {
    /// What came before the end. It has been read: the reader does not have it any more.
    pub partial: Bytes,
    /// How many bytes were wanted, if that is known.
    pub expected: Option<usize>,
}

impl fmt::Display for IncompleteReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.partial.len();
        match self.expected {
            Some(expected) => {
                write!(f, "{read} bytes read on a total of {expected} expected bytes")
            }
            None => write!(f, "{read} bytes read on a total of undefined expected bytes"),
        }
    }
}

impl Error for IncompleteReadError {}

impl From<IncompleteReadError> for io::Error {
    fn from(error: IncompleteReadError) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, error)
    }
}

/// What stands before the separator is longer than the limit; asyncio's `LimitOverrunError`.
///
/// Nothing has been consumed. [`skip_until`](crate::StreamReader::skip_until) drops the line that is too
/// long, [`read`](crate::StreamReader::read) reads it in parts, and a higher
/// [`limit`](crate::ReadUntil::limit) takes it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOverrunError {
    /// Whether the separator was found, behind the limit.
    pub found: bool,
    /// How many bytes can be read without touching the separator, or a part of one that may have begun.
    pub consumed: usize,
}

impl fmt::Display for LimitOverrunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.found {
            "Separator is found, but chunk is longer than limit"
        } else {
            "Separator is not found, and chunk exceed the limit"
        })
    }
}

impl Error for LimitOverrunError {}

impl From<LimitOverrunError> for io::Error {
    fn from(error: LimitOverrunError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Why [`readexactly`](crate::StreamReader::readexactly) has not read so many bytes.
#[derive(Debug)]
pub enum ReadExactlyError {
    /// The stream has ended before.
    Incomplete(IncompleteReadError),
    /// The connection was lost, or [`set_exception`](crate::Feeder::set_exception) was called.
    Io(io::Error),
}

impl fmt::Display for ReadExactlyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadExactlyError::Incomplete(error) => error.fmt(f),
            ReadExactlyError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for ReadExactlyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ReadExactlyError::Incomplete(error) => Some(error),
            ReadExactlyError::Io(error) => Some(error),
        }
    }
}

/// The kind is kept, and the error is inside: `UnexpectedEof` with an [`IncompleteReadError`], or the
/// connection's own.
impl From<ReadExactlyError> for io::Error {
    fn from(error: ReadExactlyError) -> io::Error {
        match error {
            ReadExactlyError::Incomplete(error) => error.into(),
            ReadExactlyError::Io(error) => error,
        }
    }
}

/// Why [`readuntil`](crate::StreamReader::readuntil), or another read that ends at a separator, has not read
/// up to one.
#[derive(Debug)]
pub enum ReadUntilError {
    /// Nothing can be searched for with these separators.
    Separator(SeparatorError),
    /// The stream has ended before. Reading a line never answers this: the last line may have no end.
    Incomplete(IncompleteReadError),
    /// What stands before the separator is longer than the limit. Nothing was consumed.
    LimitOverrun(LimitOverrunError),
    /// The connection was lost, or [`set_exception`](crate::Feeder::set_exception) was called.
    Io(io::Error),
}

impl fmt::Display for ReadUntilError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadUntilError::Separator(error) => error.fmt(f),
            ReadUntilError::Incomplete(error) => error.fmt(f),
            ReadUntilError::LimitOverrun(error) => error.fmt(f),
            ReadUntilError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for ReadUntilError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ReadUntilError::Separator(error) => Some(error),
            ReadUntilError::Incomplete(error) => Some(error),
            ReadUntilError::LimitOverrun(error) => Some(error),
            ReadUntilError::Io(error) => Some(error),
        }
    }
}

/// The kind is kept, and the error is inside: `InvalidInput` with a [`SeparatorError`], `UnexpectedEof` with an
/// [`IncompleteReadError`], `InvalidData` with a [`LimitOverrunError`], or the connection's own.
impl From<ReadUntilError> for io::Error {
    fn from(error: ReadUntilError) -> io::Error {
        match error {
            ReadUntilError::Separator(error) => error.into(),
            ReadUntilError::Incomplete(error) => error.into(),
            ReadUntilError::LimitOverrun(error) => error.into(),
            ReadUntilError::Io(error) => error,
        }
    }
}

/// Why [`fill_to_end`](crate::StreamReader::fill_to_end) has not come to the end of the stream. Nothing was consumed.
#[derive(Debug)]
pub enum FillToEndError {
    /// More has come than was to be taken.
    TooLong {
        /// How many bytes were to be taken at most.
        limit: usize,
    },
    /// The connection was lost, or [`set_exception`](crate::Feeder::set_exception) was called.
    Io(io::Error),
}

impl fmt::Display for FillToEndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FillToEndError::TooLong { limit } => {
                write!(f, "the stream is longer than {limit} bytes")
            }
            FillToEndError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for FillToEndError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            FillToEndError::TooLong { .. } => None,
            FillToEndError::Io(error) => Some(error),
        }
    }
}

/// The kind is kept, and the error is inside: `InvalidData` if the stream is too long, or the connection's own.
impl From<FillToEndError> for io::Error {
    fn from(error: FillToEndError) -> io::Error {
        match error {
            FillToEndError::TooLong { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
            FillToEndError::Io(error) => error,
        }
    }
}
