//! What the tests of streams share: reads as data, connections over memory, reports that are kept.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake};

use tidegate_reactor::{JoinHandle, LoopHandle, Report, spawn};
use tidegate_streams::{
    Feeder, IncompleteReadError, LimitOverrunError, SeparatorError, StreamReader,
    StreamReaderProtocol, StreamWriter,
};
use tidegate_testkit::memory::{Line, PairOptions};
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use tidegate_testkit::{turns, until};
use tidegate_transports::Server;

/// A read, as data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    Some(usize),
    Chunk,
    Rest,
    Exactly(usize),
    Until(&'a [&'a str]),
    UntilWithin(usize, &'a [&'a str]),
    Line,
    LineWithin(usize),
    Skip(&'a str),
}

/// What a read answers, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Data(String),
    Skipped(usize),
    Incomplete(String, Option<usize>),
    NotFound { consumed: usize },
    FoundBehind { consumed: usize },
    Refused(SeparatorError),
    Error(io::ErrorKind),
    Waits,
}

/// This was read.
pub(crate) fn data(text: &str) -> Answer {
    Answer::Data(text.to_owned())
}

/// The stream has ended after this.
pub(crate) fn incomplete(partial: &str, expected: Option<usize>) -> Answer {
    Answer::Incomplete(partial.to_owned(), expected)
}

impl Read<'_> {
    /// Every kind of read, each of which takes something out of `a,b\nc`.
    pub(crate) const ALL: [Read<'static>; 9] = [
        Read::Some(2),
        Read::Chunk,
        Read::Rest,
        Read::Exactly(3),
        Read::Until(&[","]),
        Read::UntilWithin(4, &[",", "\n"]),
        Read::Line,
        Read::LineWithin(4),
        Read::Skip(","),
    ];

    /// Reads, and waits if it has to.
    pub(crate) async fn of(self, reader: &mut StreamReader) -> Answer {
        match self.tried(reader).await {
            Ok(answer) => answer,
            Err(error) => answer_of(&error),
        }
    }

    /// Reads if it does not have to wait; else the read is dropped.
    pub(crate) async fn now(self, reader: &mut StreamReader) -> Answer {
        // A step of its own has a budget of its own.
        turns(1).await;
        poll_once(self.of(reader)).await.unwrap_or(Answer::Waits)
    }

    async fn tried(self, reader: &mut StreamReader) -> io::Result<Answer> {
        let text = |bytes: &[u8]| Answer::Data(String::from_utf8_lossy(bytes).into_owned());
        Ok(match self {
            Read::Some(n) => text(&reader.read(n).await?),
            Read::Chunk => text(&reader.read_chunk().await?.unwrap_or_default()),
            Read::Rest => text(&reader.read_to_end().await?),
            Read::Exactly(n) => text(&reader.readexactly(n).await?),
            Read::Until([one]) => text(&reader.readuntil(one.as_bytes()).await?),
            Read::Until(separators) => {
                let separators: Vec<&[u8]> = separators.iter().map(|s| s.as_bytes()).collect();
                text(&reader.readuntil_any(&separators).await?)
            }
            Read::UntilWithin(limit, separators) => {
                let separators: Vec<&[u8]> = separators.iter().map(|s| s.as_bytes()).collect();
                text(&reader.readuntil_any(&separators).limit(limit).await?)
            }
            Read::Line => text(&reader.readline().await?),
            Read::LineWithin(limit) => text(&reader.readline().limit(limit).await?),
            Read::Skip(separator) => {
                Answer::Skipped(reader.skip_until(separator.as_bytes()).await?)
            }
        })
    }
}

/// Reads in a task, which waits already.
pub(crate) async fn begun(mut reader: StreamReader, read: Read<'static>) -> JoinHandle<Answer> {
    let task = spawn(async move { read.of(&mut reader).await }).expect("a loop");
    turns(2).await;
    task
}

/// What a task has answered.
pub(crate) async fn ended<T>(task: JoinHandle<T>) -> T {
    task.await.expect("a task that ends by itself")
}

/// The answer that an error is: what a conversion into `io::Error` keeps.
fn answer_of(error: &io::Error) -> Answer {
    let kind = error.kind();
    if let Some(IncompleteReadError { partial, expected }) = inner(error) {
        assert_eq!(kind, io::ErrorKind::UnexpectedEof);
        return Answer::Incomplete(String::from_utf8_lossy(partial).into_owned(), *expected);
    }
    if let Some(&LimitOverrunError { found, consumed }) = inner(error) {
        assert_eq!(kind, io::ErrorKind::InvalidData);
        return match found {
            true => Answer::FoundBehind { consumed },
            false => Answer::NotFound { consumed },
        };
    }
    if let Some(refused) = inner::<SeparatorError>(error) {
        assert_eq!(kind, io::ErrorKind::InvalidInput);
        return Answer::Refused(*refused);
    }
    Answer::Error(kind)
}

/// The error inside of an [`io::Error`], if it is of this type.
pub(crate) fn inner<E: Error + 'static>(error: &io::Error) -> Option<&E> {
    error.get_ref()?.downcast_ref()
}

/// How the stream of a fed reader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Open,
    Eof,
}

/// A reader that was fed.
pub(crate) fn fed(limit: usize, pieces: &[&str], then: Then) -> (StreamReader, Feeder) {
    let reader = StreamReader::new(limit).expect("a limit");
    let feeder = reader.feeder();
    pieces.iter().for_each(|piece| feeder.feed_data(piece.as_bytes()));
    if then == Then::Eof {
        feeder.feed_eof();
    }
    (reader, feeder)
}

/// What nobody has read yet; it is read by that.
pub(crate) async fn left(reader: &mut StreamReader) -> String {
    match Read::Chunk.now(reader).await {
        Answer::Data(text) => text,
        Answer::Waits => String::new(),
        other => panic!("nothing can be read: {other:?}"),
    }
}

/// The error that tests set by hand.
pub(crate) fn trouble() -> io::Error {
    io::Error::new(io::ErrorKind::HostUnreachable, "trouble")
}

/// A connection over memory with streams at both ends.
pub(crate) struct Joined {
    pub(crate) line: Line,
    pub(crate) left: (StreamReader, StreamWriter),
    pub(crate) right: (StreamReader, StreamWriter),
}

/// Joins streams over memory, readers with this limit.
pub(crate) async fn joined(limit: usize, options: PairOptions) -> Joined {
    let handle = LoopHandle::current().expect("a running loop");
    let end = || {
        let kept = Rc::new(Cell::new(None));
        let keep = kept.clone();
        let connected = move |reader, writer| keep.set(Some((reader, writer)));
        let protocol = StreamReaderProtocol::new(limit, connected).expect("a limit");
        (Box::new(protocol), kept)
    };
    let ((left, left_kept), (right, right_kept)) = (end(), end());
    let line = Line::open(&handle, left, right, options).expect("an open loop");
    // Both connections are made in the next batch.
    turns(2).await;
    let made = "connection_made gives the streams away";
    Joined { line, left: left_kept.take().expect(made), right: right_kept.take().expect(made) }
}

/// A connection whose left end may have this many bytes unsent, with as much room on the way, and whose right
/// end does not read yet.
pub(crate) async fn narrow(high: usize) -> Joined {
    let options = PairOptions { capacity: high.max(1), ..PairOptions::default() };
    let joined = joined(64 * 1024, options).await;
    joined.line.right.pause_reading();
    joined.line.left.set_write_buffer_limits(Some(high), Some(0)).expect("0 is the least");
    joined
}

/// Polls once, and drops the future.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// A waker that counts how often it was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps the reports of the running loop.
pub(crate) fn keep_reports() -> Rc<RefCell<Vec<Report>>> {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = kept.clone();
    let handle = LoopHandle::current().expect("a running loop");
    handle.set_exception_handler(Some(move |report: &Report| {
        keep.borrow_mut().push(report.clone());
    }));
    kept
}

/// The messages of reports.
pub(crate) fn messages(reports: &RefCell<Vec<Report>>) -> Vec<String> {
    reports.borrow().iter().map(|report| report.message().to_owned()).collect()
}

/// A port of its own on this machine.
pub(crate) const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Where a server listens.
pub(crate) fn address_of(server: &Server) -> SocketAddr {
    server.sockets()[0].sockname().as_inet().expect("an internet address")
}
