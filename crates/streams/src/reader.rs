//! What a task reads from.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate_protocols::{Cause, Transport};
use tidegate_reactor::budget;

use crate::errors::{
    IncompleteReadError, LimitError, LimitOverrunError, ReadExactlyError, ReadUntilError,
    SeparatorError,
};
use crate::inbox::End;
use crate::lines::Lines;
use crate::link::Link;
use crate::run::Run;
use crate::scan::{Match, Separators};

/// The reading half of a connection: what the peer sends, awaited by a task.
///
/// It has a *limit*, 64 KiB unless set. That is how long a line may be, and it governs the flow: when more than
/// twice the limit waits to be read the transport pauses, and it goes on when at most the limit is left. A read
/// that asks for more than that gets it all the same. Results are split off without a copy.
///
/// Data that came before the connection was lost is read first; then reads answer the error.
///
/// Dropping it is harmless: what still comes is discarded. The asyncio counterpart is `asyncio.StreamReader`.
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
    /// Somebody was shown what is held, and nothing was taken since: whoever looks again is not told to wait.
    shown: bool,
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
        StreamReader { link: Rc::clone(link), held: Run::new(), shown: false }
    }

    pub(crate) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// A handle that fills this reader.
    pub fn feeder(&self) -> Feeder {
        Feeder { link: Rc::clone(&self.link) }
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
    /// - [`Separator`](ReadUntilError::Separator) if it is empty.
    /// - [`LimitOverrun`](ReadUntilError::LimitOverrun) if more than the limit stands before it: nothing is
    ///   consumed.
    /// - [`Incomplete`](ReadUntilError::Incomplete) with what is left when the stream ends before.
    /// - [`Io`](ReadUntilError::Io) with what the connection was lost with: nothing is consumed.
    pub fn readuntil<'a>(&'a mut self, separator: &'a [u8]) -> ReadUntil<'a> {
        self.search(Separators::One(separator), AtEnd::Incomplete)
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
        self.search(Separators::Any(separators), AtEnd::Incomplete)
    }

    /// Reads a line with its `\n`; without, if the stream ends in the middle. Empty at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`LimitOverrun`](ReadUntilError::LimitOverrun) if the line is longer than the limit: nothing is consumed,
    /// where asyncio drops a part of the line or everything.
    /// [`skip_until`](StreamReader::skip_until)`(b"\n")` goes on behind it. [`Io`](ReadUntilError::Io) with what
    /// the connection was lost with; the beginning of a line can still be [read](StreamReader::read).
    pub fn readline(&mut self) -> ReadUntil<'_> {
        self.search(Separators::One(b"\n"), AtEnd::Partial)
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

    fn search<'a>(&'a mut self, separators: Separators<'a>, at_end: AtEnd) -> ReadUntil<'a> {
        let limit = self.limit();
        let refused = separators.check().err();
        ReadUntil { reader: self, separators, refused, at_end, limit, searched: 0 }
    }
}

/// What the reads are made of.
impl StreamReader {
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
    fn give(&mut self, length: usize) -> Bytes {
        let given = self.held.split_to(length);
        self.has_given();
        given
    }

    pub(crate) fn drop_front(&mut self, length: usize) {
        self.shown = false;
        self.held.advance(length);
        self.has_given();
    }

    fn has_given(&mut self) {
        self.link.inbox.set_held(self.held.len());
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
    fn error(&self) -> io::Error {
        match self.link.inbox.error() {
            Some(cause) => cause.into(),
            None => io::ErrorKind::NotConnected.into(),
        }
    }

    fn incomplete(&mut self, expected: Option<usize>) -> IncompleteReadError {
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
        if !self.shown {
            ready!(budget::poll_proceed(context));
            self.shown = true;
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
        self.shown = false;
        self.poll_fill(context).map_ok(|_nothing| Bytes::new())
    }
}

/// Nobody reads any more: what still comes is discarded, and nothing pauses for it.
impl Drop for StreamReader {
    fn drop(&mut self) {
        self.link.inbox.abandon();
        self.link.go_on();
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

/// What the end of the stream makes of a read that has not found its separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtEnd {
    Incomplete,
    /// What is left is the answer.
    Partial,
}

/// A read up to a separator: the future of [`StreamReader::readuntil`], [`readuntil_any`] and [`readline`].
///
/// [`readuntil_any`]: StreamReader::readuntil_any
/// [`readline`]: StreamReader::readline
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct ReadUntil<'a> {
    reader: &'a mut StreamReader,
    separators: Separators<'a>,
    refused: Option<SeparatorError>,
    at_end: AtEnd,
    limit: usize,
    /// No match ends in the first so many bytes.
    searched: usize,
}

impl ReadUntil<'_> {
    /// How many bytes may stand before the separator in this one read, instead of the reader's limit.
    ///
    /// ```
    /// # tidegate_reactor::run(async {
    /// use tidegate_streams::{ReadUntilError, StreamReader};
    ///
    /// let mut reader = StreamReader::new(64 * 1024)?;
    /// reader.feeder().feed_data(b"GET / HTTP/1.1\r\n");
    /// let refused = reader.readline().limit(8).await;
    /// assert!(matches!(refused, Err(ReadUntilError::LimitOverrun(_))));
    /// assert_eq!(reader.readline().limit(100).await?, "GET / HTTP/1.1\r\n");
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Future for ReadUntil<'_> {
    type Output = Result<Bytes, ReadUntilError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let end = ready!(this.poll_end(context))?;
        Poll::Ready(Ok(this.reader.give(end)))
    }
}

impl ReadUntil<'_> {
    /// The same read, taken up again where another one had [`searched`](ReadUntil::searched) in vain.
    pub(crate) fn from(mut self, searched: usize) -> Self {
        self.searched = searched;
        self
    }

    pub(crate) fn searched(&self) -> usize {
        self.searched
    }

    /// How much to give away.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, ReadUntilError>> {
        if let Some(error) = self.refused {
            return Poll::Ready(Err(ReadUntilError::Separator(error)));
        }
        let end = self.reader.link.inbox.end();
        if end == End::Failed {
            return Poll::Ready(Err(ReadUntilError::Io(self.reader.error())));
        }
        // What is held already is searched first: mostly it has the next line too.
        let found = self.find().or_else(|| {
            self.reader.pull();
            self.find()
        });
        if let Some(found) = found {
            if found.start > self.limit {
                return self.overrun(true, found.start);
            }
            // Should the budget be used up, the next poll finds it again, from here.
            self.searched = found.end - 1;
            ready!(budget::poll_proceed(context));
            return Poll::Ready(Ok(found.end));
        }
        let held = self.reader.held.len();
        let safe = (held + 1).saturating_sub(self.separators.longest());
        if safe > self.limit {
            return self.overrun(false, safe);
        }
        match (end, self.at_end) {
            (End::Open, _) => self.reader.poll_more(context),
            (End::Eof, AtEnd::Partial) => Poll::Ready(Ok(held)),
            (End::Eof, AtEnd::Incomplete) => {
                Poll::Ready(Err(ReadUntilError::Incomplete(self.reader.incomplete(None))))
            }
            (End::Lost | End::Failed, _) => {
                Poll::Ready(Err(ReadUntilError::Io(self.reader.error())))
            }
        }
    }

    /// Searches what is held and was not searched yet.
    #[inline(always)]
    fn find(&mut self) -> Option<Match> {
        let held = self.reader.held.bytes();
        let found = self.separators.find(held, self.searched);
        if found.is_none() {
            self.searched = held.len();
        }
        found
    }

    fn overrun<T>(&self, found: bool, consumed: usize) -> Poll<Result<T, ReadUntilError>> {
        let overrun = LimitOverrunError { found, consumed };
        Poll::Ready(Err(ReadUntilError::LimitOverrun(overrun)))
    }
}

/// Fills a reader that belongs to no connection.
///
/// In asyncio these are methods of `StreamReader`; here the reader may be lent to a read meanwhile, so they have
/// a handle of their own. Clones fill the same reader. One whose reader is gone does nothing.
///
/// # Examples
///
/// ```
/// use tidegate_streams::StreamReader;
///
/// tidegate_reactor::run(async {
///     let mut reader = StreamReader::new(1024)?;
///     let feeder = reader.feeder();
///     tidegate_reactor::spawn(async move {
///         feeder.feed_data(b"later");
///         feeder.feed_eof();
///     })?;
///     assert_eq!(reader.read_to_end().await?, "later");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Feeder {
    link: Rc<Link>,
}

impl Feeder {
    /// Appends data for the reader. Empty data does nothing.
    ///
    /// # Panics
    ///
    /// After [`feed_eof`](Feeder::feed_eof).
    pub fn feed_data(&self, data: &[u8]) {
        assert!(!self.link.inbox.has_eof(), "feed_data after feed_eof");
        if !data.is_empty() {
            self.link.inbox.put(data);
            self.link.received();
        }
    }

    /// Ends the stream. May be called again.
    pub fn feed_eof(&self) {
        self.link.inbox.end_with_eof();
    }

    /// Makes every read fail with `error` from now on, even if there is data. A later call replaces the error.
    pub fn set_exception(&self, error: io::Error) {
        self.link.alarmed.set(true);
        self.link.inbox.end_with(End::Failed, Cause::from(error));
    }

    /// Sets the transport to be paused when more than twice the limit waits.
    ///
    /// # Panics
    ///
    /// If there is one already.
    pub fn set_transport(&self, transport: &Transport) {
        assert!(self.link.set_transport(transport), "Transport already set");
    }
}

impl fmt::Debug for Feeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeder").field("end", &self.link.inbox.end()).finish_non_exhaustive()
    }
}
