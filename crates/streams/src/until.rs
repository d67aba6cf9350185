//! A read up to a separator.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate_reactor::budget;

use crate::errors::{LimitOverrunError, ReadUntilError, SeparatorError};
use crate::inbox::End;
use crate::reader::StreamReader;
use crate::scan::{Match, Separators};

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

impl<'a> ReadUntil<'a> {
    pub(crate) fn new(
        reader: &'a mut StreamReader,
        separators: Separators<'a>,
        at_end: AtEnd,
    ) -> ReadUntil<'a> {
        let limit = reader.limit();
        let refused = separators.check().err();
        ReadUntil { reader, separators, refused, at_end, limit, searched: 0 }
    }

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

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // What is held already is searched first: mostly it has the next line too.
        let found = if this.is_refused() { None } else { this.find() };
        let end = match found {
            Some(found) => this.poll_found(found, context),
            None => this.poll_more(context),
        };
        let end = ready!(end)?;
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

    /// Whether the answer is an error, whatever is held.
    #[inline(always)]
    fn is_refused(&self) -> bool {
        self.refused.is_some() || self.reader.link().inbox.end() == End::Failed
    }

    /// How much to give away, where a separator was found.
    #[inline(always)]
    fn poll_found(
        &mut self,
        found: Match,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, ReadUntilError>> {
        if found.start > self.limit {
            return self.overrun(true, found.start);
        }
        // Should the budget be used up, the next poll finds it again, from here.
        self.searched = found.end - 1;
        ready!(budget::poll_proceed(context));
        Poll::Ready(Ok(found.end))
    }

    /// How much to give away, where what is held does not say it.
    #[inline(never)]
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, ReadUntilError>> {
        if let Some(error) = self.refused {
            return Poll::Ready(Err(ReadUntilError::Separator(error)));
        }
        let end = self.reader.link().inbox.end();
        if end == End::Failed {
            return Poll::Ready(Err(ReadUntilError::Io(self.reader.error())));
        }
        self.reader.pull();
        if let Some(found) = self.find() {
            return self.poll_found(found, context);
        }
        let held = self.reader.held().len();
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
        let held = self.reader.held().bytes();
        let found = self.separators.find(held, self.searched);
        if found.is_none() {
            self.searched = held.len();
        }
        found
    }

    #[cold]
    fn overrun<T>(&self, found: bool, consumed: usize) -> Poll<Result<T, ReadUntilError>> {
        let overrun = LimitOverrunError { found, consumed };
        Poll::Ready(Err(ReadUntilError::LimitOverrun(overrun)))
    }
}

/// What the end of the stream makes of a read that has not found its separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    Incomplete,
    /// What is left is the answer.
    Partial,
}
