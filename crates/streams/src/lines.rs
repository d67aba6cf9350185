//! The lines of a reader, as a stream of the futures ecosystem.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::errors::ReadUntilError;
use crate::reader::StreamReader;

/// The lines of a reader: the stream of [`StreamReader::lines`].
///
/// Each has its `\n`, but for a last one without. It ends with the stream, and after an error. A line that is too
/// long is such an error and is not consumed: [`skip_until`](StreamReader::skip_until) goes on behind it, and
/// `lines` may be asked for again.
///
/// # Examples
///
/// ```
/// use futures_lite::StreamExt;
/// use tidegate_streams::StreamReader;
///
/// tidegate_reactor::run(async {
///     let mut reader = StreamReader::new(1024)?;
///     let feeder = reader.feeder();
///     feeder.feed_data(b"one\ntwo\nthree");
///     feeder.feed_eof();
///     let mut lines = reader.lines();
///     let mut lengths = Vec::new();
///     while let Some(line) = lines.next().await {
///         lengths.push(line?.len());
///     }
///     assert_eq!(lengths, [4, 4, 5]);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Lines<'a> {
    reader: &'a mut StreamReader,
    /// No line ends in the first so many bytes.
    searched: usize,
    ended: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(reader: &'a mut StreamReader) -> Lines<'a> {
        Lines { reader, searched: 0, ended: false }
    }
}

impl Stream for Lines<'_> {
    type Item = Result<Bytes, ReadUntilError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut read = this.reader.readline().from(this.searched);
        let polled = Pin::new(&mut read).poll(context);
        this.searched = read.searched();
        let line = ready!(polled);
        this.searched = 0;
        this.ended = !matches!(&line, Ok(line) if line.ends_with(b"\n"));
        Poll::Ready(Some(line).filter(|line| !matches!(line, Ok(line) if line.is_empty())))
    }
}
