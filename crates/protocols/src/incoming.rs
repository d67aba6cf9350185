//! One read that has not been made yet.

use std::fmt;
use std::io;

/// One read that has not been made yet, as [`receive`](crate::Protocol::receive) is given it.
///
/// It notes how the read went, and the transport acts on that when `receive` has returned.
pub struct Incoming<'a> {
    source: &'a mut dyn ReadSource,
    outcome: Outcome,
    stage: &'static str,
}

/// Where an [`Incoming`] reads from; implemented by transports.
pub trait ReadSource {
    /// Reads at most `into.len()` bytes; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` and `Interrupted` mean "nothing now"; anything else ends the connection.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// The same, into memory of the loop's; an empty slice is the end of the stream.
    ///
    /// # Errors
    ///
    /// As for [`read`](ReadSource::read).
    fn shared(&mut self) -> io::Result<&[u8]>;

    /// The same, to the end of `into`, at most as much as fits without an allocation.
    ///
    /// # Errors
    ///
    /// As for [`read`](ReadSource::read).
    fn append(&mut self, into: &mut Vec<u8>) -> io::Result<usize>;
}

/// How a read went.
#[derive(Debug)]
pub enum Outcome {
    /// It was never made, which is a protocol's error.
    Unread,
    /// So many bytes came.
    Data(usize),
    /// There was nothing to read after all.
    Nothing,
    /// The stream has ended.
    Eof,
    /// It failed.
    Failed(io::Error),
}

impl<'a> Incoming<'a> {
    /// A read that `source` will make.
    pub fn new(source: &'a mut dyn ReadSource) -> Incoming<'a> {
        Incoming { source, outcome: Outcome::Unread, stage: "receive" }
    }

    /// Reads into `into`, and answers with how many bytes came; none if none did.
    ///
    /// Whatever kept them away (the end of the stream, an error, nothing there) is noted for the transport.
    /// An empty `into` is an error of the protocol's (asyncio: `get_buffer() returned an empty buffer`).
    /// Only the first call reads.
    pub fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        if !matches!(self.outcome, Outcome::Unread) {
            return None;
        }
        if into.is_empty() {
            self.outcome = Outcome::Failed(empty_buffer());
            return None;
        }
        let read = self.source.read(into);
        self.outcome = Outcome::of(read);
        match self.outcome {
            Outcome::Data(length) => Some(length),
            _ => None,
        }
    }

    /// Reads to the end of `into`, which is not zeroed for it, at most as much as fits without an allocation; as
    /// [`read`](Incoming::read) otherwise.
    pub fn append(&mut self, into: &mut Vec<u8>) -> Option<usize> {
        if !matches!(self.outcome, Outcome::Unread) {
            return None;
        }
        if into.len() == into.capacity() {
            self.outcome = Outcome::Failed(empty_buffer());
            return None;
        }
        self.outcome = Outcome::of(self.source.append(into));
        match self.outcome {
            Outcome::Data(length) => Some(length),
            _ => None,
        }
    }

    /// Reads into the buffer that the whole loop shares, and answers with what came; as
    /// [`read`](Incoming::read) otherwise.
    pub fn shared(&mut self) -> Option<&[u8]> {
        if !matches!(self.outcome, Outcome::Unread) {
            return None;
        }
        match self.source.shared() {
            Ok(data) => {
                self.outcome = Outcome::of(Ok(data.len()));
                if data.is_empty() { None } else { Some(data) }
            }
            Err(error) => {
                self.outcome = Outcome::of(Err(error));
                None
            }
        }
    }

    /// Names the callback that is about to run, for the report if it fails.
    pub fn set_stage(&mut self, stage: &'static str) {
        self.stage = stage;
    }

    /// The callback that ran last: `"receive"` unless [`set_stage`](Incoming::set_stage) named another.
    pub fn stage(&self) -> &'static str {
        self.stage
    }

    /// How the read went.
    pub fn outcome(self) -> Outcome {
        self.outcome
    }
}

impl Outcome {
    fn of(read: io::Result<usize>) -> Outcome {
        match read {
            Ok(0) => Outcome::Eof,
            Ok(length) => Outcome::Data(length),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Outcome::Nothing,
                _ => Outcome::Failed(error),
            },
        }
    }
}

/// What asyncio answers to a buffer that nothing fits into.
pub(crate) fn empty_buffer() -> io::Error {
    io::Error::other("get_buffer() returned an empty buffer")
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("outcome", &self.outcome)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
