//! What a task reads from.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate_protocols::Cause;
use tidegate_reactor::budget;

use crate::errors::{FillToEndError, IncompleteReadError, LimitError, ReadExactlyError};
use crate::feeder::Feeder;
use crate::inbox::End;
use crate::lines::Lines;
use crate::link::Link;
use crate::run::Run;
use crate::scan::Separators;
use crate::until::{AtEnd, ReadUntil};

/// The reading half of a connection: what the peer sends, awaited by a task.
///
/// It has a *limit*, 64 KiB unless set. That is how long a line may be, and it governs the flow: when more than
/// twice the limit waits to be read the transport pauses, and it goes on when at most the limit is left. A read
/// that asks for more than that gets it all the same. Results are split off without a copy, so one that is kept keeps
/// the memory of the whole read that it came with, which is 128 KiB at most: copy what you keep for long.
///
/// Data that came before the connection was lost is read first; then reads answer the error.
///
/// Dropping it is harmless: what still comes is discarded. Where there is no writer, as of a
/// [pipe](crate::open_read_pipe), that closes the connection. The asyncio counterpart is `asyncio.StreamReader`.
///
/// # Cancel safety
///
/// No read loses a byte when its future is dropped: what was received lies in the reader until it is answered.
/// (What [`skip_until`](StreamReader::skip_until) has skipped by then stays skipped.)
///
/// # Fairness
///
/// A read that never has to wait makes room for other tasks once in 128 times.
///
/// # Examples
///
/// ```
/// use tidegate_streams::{DEFAULT_LIMIT, StreamReader};
///
/// tidegate_reactor::run(async {
///     let mut reader = StreamReader::new(DEFAULT_LIMIT)?;
///     let feeder = reader.feeder();
///     feeder.feed_data(b"one\ntwo\nthree");
///     feeder.feed_eof();
///     assert_eq!(reader.readline().await?, "one\n");
///     assert_eq!(reader.readexactly(2).await?, "tw");
///     assert_eq!(reader.readuntil(b"th").await?, "o\nth");
///     assert_eq!(reader.read_to_end().await?, "ree");
///     assert!(reader.at_eof());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct StreamReader {
    link: Rc<Link>,
    /// Taken over from the inbox, and not given away yet.
    held: Run,
}

impl StreamReader {
    /// A reader that belongs to no connection: its [`feeder`](StreamReader::feeder) fills it.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn new(limit: usize) -> Result<StreamReader, LimitError> {
        Ok(StreamReader::of(&Rc::new(Link::checked(limit)?)))
    }

    /// The one reader of a link.
    pub(crate) fn of(link: &Rc<Link>) -> StreamReader {
        StreamReader { link: Rc::clone(link), held: Run::new() }
    }

    pub(crate) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// A handle that fills this reader.
    pub fn feeder(&self) -> Feeder {
        Feeder::new(&self.link)
    }

    /// Reads what is there, at most `n` bytes; waits only if there is nothing. Empty at the end of the stream,
    /// and if `n` is 0.
    ///
    /// # Errors
    ///
    /// What the connection was lost with, once everything that came before has been read.
    pub async fn read(&mut self, n: usize) -> io::Result<Bytes> {
        poll_fn(|context| self.poll_read(context, n)).await
    }

    /// Reads everything that is there as it came, which is never a copy; waits only if there is nothing. None at
    /// the end of the stream. asyncio has no counterpart.
    ///
    /// # Errors
    ///
    /// As for [`read`](StreamReader::read).
    pub async fn read_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = self.read(usize::MAX).await?;
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Reads up to the end of the stream. The limit does not matter. The asyncio counterpart is `read(-1)`.
    ///
    /// # Errors
    ///
    /// What the connection was lost with. What came before stays in the reader.
    pub async fn read_to_end(&mut self) -> io::Result<Bytes> {
        poll_fn(|context| {
            self.pull();
            match self.link.inbox.end() {
                End::Open => self.poll_more(context),
                End::Eof => Poll::Ready(Ok(self.give(self.held.len()))),
                End::Lost | End::Failed => Poll::Ready(Err(self.error())),
            }
        })
        .await
    }

    /// Waits until the stream has ended, with all of it in the reader, and answers how many bytes that is. The reader's
    /// own limit does not matter.
    ///
    /// Nothing is read: the next [`read_to_end`](StreamReader::read_to_end) answers it, at once. So whoever gathers several
    /// streams can wait for all of their ends and lose nothing when he gives up before. asyncio has no counterpart.
    ///
    /// # Errors
    ///
    /// [`TooLong`](FillToEndError::TooLong) when more than `most` bytes have come; [`Io`](FillToEndError::Io) with what the
    /// connection was lost with. Either way what came stays in the reader.
    pub async fn fill_to_end(&mut self, most: usize) -> Result<usize, FillToEndError> {
        poll_fn(|context| {
            self.pull();
            if self.held.len() > most {
                return Poll::Ready(Err(FillToEndError::TooLong { limit: most }));
            }
            match self.link.inbox.end() {
                End::Open => self.poll_more(context),
                End::Eof => Poll::Ready(Ok(self.held.len())),
                End::Lost | End::Failed => Poll::Ready(Err(FillToEndError::Io(self.error()))),
            }
        })
        .await
    }

    /// Reads exactly `n` bytes, which may be more than the limit.
    ///
    /// # Errors
    ///
    /// [`Incomplete`](ReadExactlyError::Incomplete) with what is left when the stream ends before;
    /// [`Io`](ReadExactlyError::Io) with what the connection was lost with. In the latter case nothing was
    /// consumed.
    pub async fn readexactly(&mut self, n: usize) -> Result<Bytes, ReadExactlyError> {
        poll_fn(|context| {
            self.pull();
            match self.link.inbox.end() {
                End::Failed => Poll::Ready(Err(ReadExactlyError::Io(self.error()))),
                _ if n <= self.held.len() && (n > 0 || !self.is_spent()) => {
                    ready!(budget::poll_proceed(context));
                    Poll::Ready(Ok(self.give(n)))
                }
                End::Lost => Poll::Ready(Err(ReadExactlyError::Io(self.error()))),
                End::Eof if n == 0 => Poll::Ready(Ok(Bytes::new())),
                End::Eof => {
                    Poll::Ready(Err(ReadExactlyError::Incomplete(self.incomplete(Some(n)))))
                }
                End::Open => self.poll_more(context),
            }
        })
        .await
    }

    /// Reads up to `separator`, which is a part of the answer.
    ///
    /// The answer is awaited, after setting a [`limit`](ReadUntil::limit) if need be.
    ///
    /// # Errors
    ///
    /// - [`Separator`](crate::ReadUntilError::Separator) if it is empty.
    /// - [`LimitOverrun`](crate::ReadUntilError::LimitOverrun) if more than the limit stands before it: nothing is
    ///   consumed.
    /// - [`Incomplete`](crate::ReadUntilError::Incomplete) with what is left when the stream ends before.
    /// - [`Io`](crate::ReadUntilError::Io) with what the connection was lost with: nothing is consumed.
    pub fn readuntil<'a>(&'a mut self, separator: &'a [u8]) -> ReadUntil<'a> {
        ReadUntil::new(self, Separators::One(separator), AtEnd::Incomplete)
    }

    /// Reads up to the one of `separators` that ends first; if two end at the same place the shorter one counts.
    ///
    /// So one that another one begins with always comes before it. The asyncio counterpart is `readuntil` with a
    /// tuple.
    ///
    /// # Errors
    ///
    /// As for [`readuntil`](StreamReader::readuntil), and if there are no separators.
    ///
    /// # Examples
    ///
    /// ```
    /// # tidegate_reactor::run(async {
    /// # let mut reader = tidegate_streams::StreamReader::new(1024)?;
    /// # reader.feeder().feed_data(b"key=value;");
    /// assert_eq!(reader.readuntil_any(&[b"=", b";"]).await?, "key=");
    /// assert_eq!(reader.readuntil_any(&[b"=", b";"]).await?, "value;");
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn readuntil_any<'a>(&'a mut self, separators: &'a [&'a [u8]]) -> ReadUntil<'a> {
        ReadUntil::new(self, Separators::Any(separators), AtEnd::Incomplete)
    }

    /// Reads a line with its `\n`; without, if the stream ends in the middle. Empty at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`LimitOverrun`](crate::ReadUntilError::LimitOverrun) if the line is longer than the limit: nothing is consumed,
    /// where asyncio drops a part of the line or everything.
    /// [`skip_until`](StreamReader::skip_until)`(b"\n")` goes on behind it. [`Io`](crate::ReadUntilError::Io) with what
    /// the connection was lost with; the beginning of a line can still be [read](StreamReader::read).
    pub fn readline(&mut self) -> ReadUntil<'_> {
        ReadUntil::new(self, Separators::One(b"\n"), AtEnd::Partial)
    }

    /// The lines up to the end of the stream, as a [`Stream`](futures_core::Stream); asyncio's iteration.
    pub fn lines(&mut self) -> Lines<'_> {
        Lines::new(self)
    }

    /// Drops everything up to `separator`, and it too; answers with how many bytes that was. At the end of the
    /// stream it drops what is left. The limit does not matter, and no memory is needed however much it is.
    ///
    /// This is how to go on behind a line that was too long. asyncio has no counterpart.
    ///
    /// # Examples
    ///
    /// ```
    /// # tidegate_reactor::run(async {
    /// use tidegate_streams::{ReadUntilError, StreamReader};
    ///
    /// let mut reader = StreamReader::new(8)?;
    /// let feeder = reader.feeder();
    /// feeder.feed_data(b"short\nmuch too long\nshort\n");
    /// feeder.feed_eof();
    /// let mut lines = 0;
    /// loop {
    ///     match reader.readline().await {
    ///         Ok(line) if line.is_empty() => break,
    ///         Ok(line) => lines += 1,
    ///         Err(ReadUntilError::LimitOverrun(_)) => drop(reader.skip_until(b"\n").await?),
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert_eq!(lines, 2);
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `separator` is empty; what the connection was lost with.
    ///
    /// # Cancel safety
    ///
    /// What was dropped before the future is, stays dropped; a separator that has begun is found by the next
    /// call.
    pub async fn skip_until(&mut self, separator: &[u8]) -> io::Result<usize> {
        let separator = Separators::One(separator);
        separator.check()?;
        let mut skipped = 0;
        poll_fn(|context| {
            if self.link.inbox.end() == End::Failed {
                return Poll::Ready(Err(self.error()));
            }
            self.pull();
            if let Some(found) = separator.find(self.held.bytes(), 0) {
                ready!(budget::poll_proceed(context));
                self.drop_front(found.end);
                return Poll::Ready(Ok(skipped + found.end));
            }
            // The last bytes may be the beginning of a separator.
            let is_open = self.link.inbox.end() == End::Open;
            let kept = if is_open { separator.longest() - 1 } else { 0 };
            let useless = self.held.len().saturating_sub(kept);
            skipped += useless;
            self.drop_front(useless);
            match self.link.inbox.end() {
                End::Open => self.poll_more(context),
                End::Eof => Poll::Ready(Ok(skipped)),
                End::Lost | End::Failed => Poll::Ready(Err(self.error())),
            }
        })
        .await
    }

    /// Whether the stream has ended and everything was read.
    #[must_use]
    pub fn at_eof(&self) -> bool {
        let has_ended = self.link.inbox.has_eof() || self.link.inbox.end() == End::Lost;
        has_ended && self.held.is_empty() && self.link.inbox.is_empty()
    }

    /// The error that was [set](Feeder::set_exception), or that the connection was lost with.
    #[must_use]
    pub fn exception(&self) -> Option<Cause> {
        self.link.inbox.error()
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.link.inbox.limit()
    }
}

/// What the reads are made of.
impl StreamReader {
    /// What was taken over and not given away.
    #[inline]
    pub(crate) fn held(&self) -> &Run {
        &self.held
    }

    /// Takes over what has come.
    #[inline]
    pub(crate) fn pull(&mut self) {
        self.link.inbox.take_into(&mut self.held);
    }

    /// Waits for something to come.
    pub(crate) fn poll_more<T>(&mut self, context: &mut Context<'_>) -> Poll<T> {
        // However much is held, it is not enough: a transport that pauses would pause for ever.
        self.link.go_on();
        self.link.inbox.wait(context.waker());
        Poll::Pending
    }

    /// Gives away the first `length` bytes.
    #[inline(always)]
    pub(crate) fn give(&mut self, length: usize) -> Bytes {
        let given = self.held.split_to(length);
        self.has_given(length);
        given
    }

    /// Gives away everything that has come.
    pub(crate) fn take_all(&mut self) -> Bytes {
        self.pull();
        self.give(self.held.len())
    }

    /// What has come and was not given away.
    pub(crate) fn unread(&mut self) -> &[u8] {
        self.pull();
        self.held.bytes()
    }

    pub(crate) fn drop_front(&mut self, length: usize) {
        self.held.advance(length);
        self.has_given(length);
    }

    #[inline(always)]
    fn has_given(&mut self, length: usize) {
        self.link.inbox.shown.set(false);
        self.link.inbox.release(length);
        self.link.has_read();
    }

    /// Whether reads can answer nothing but the error.
    fn is_spent(&self) -> bool {
        match self.link.inbox.end() {
            End::Open | End::Eof => false,
            End::Lost => self.held.is_empty() && self.link.inbox.is_empty(),
            End::Failed => true,
        }
    }

    /// The error that a read answers.
    pub(crate) fn error(&self) -> io::Error {
        match self.link.inbox.error() {
            Some(cause) => cause.into(),
            None => io::ErrorKind::NotConnected.into(),
        }
    }

    pub(crate) fn incomplete(&mut self, expected: Option<usize>) -> IncompleteReadError {
        IncompleteReadError { partial: self.give(self.held.len()), expected }
    }

    /// What is there, empty at the end of the stream.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.pull();
        if self.is_spent() {
            return Poll::Ready(Err(self.error()));
        }
        if self.held.is_empty() && self.link.inbox.end() == End::Open {
            return self.poll_more(context);
        }
        // Crates that fill look twice, and rely on the second answer (`FillBuf` of futures-lite).
        if !self.link.inbox.shown.get() {
            ready!(budget::poll_proceed(context));
            self.link.inbox.shown.set(true);
        }
        Poll::Ready(Ok(self.held.bytes()))
    }

    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        n: usize,
    ) -> Poll<io::Result<Bytes>> {
        self.pull();
        let there = self.held.len().min(n);
        if there > 0 && self.link.inbox.end() != End::Failed {
            ready!(budget::poll_proceed(context));
            return Poll::Ready(Ok(self.give(there)));
        }
        if n == 0 && !self.is_spent() {
            return Poll::Ready(Ok(Bytes::new()));
        }
        // Only the end, an error, or nothing yet is left.
        self.link.inbox.shown.set(false);
        self.poll_fill(context).map_ok(|_nothing| Bytes::new())
    }
}

/// Nobody reads any more: what still comes is discarded, and nothing pauses for it.
impl Drop for StreamReader {
    fn drop(&mut self) {
        self.link.inbox.abandon();
        self.link.go_on();
        self.link.reader_dropped();
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("limit", &self.limit())
            .field("end", &self.link.inbox.end())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
