//! What a task writes to.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate_protocols::{Address, Closed, Flow, Flush, Transport, Waiter};
use tidegate_reactor::{LoopHandle, Report, budget};

use crate::link::{Bond, Link};

/// The writing half of a connection: writes at once, and lets a task wait until the peer keeps up.
///
/// Every method takes `&self`, and clones write to the same connection, so several tasks can write. What they
/// write in one turn of the loop leaves together. Write, then await [`drain`](StreamWriter::drain): when more than
/// the transport's high mark is unsent it waits until the low mark is reached; and it answers why the connection was
/// lost if it was.
///
/// # Fairness
///
/// A drain that never has to wait makes room for other tasks once in 128 times.
///
/// # Closing
///
/// When the last clone is dropped the connection is closed: what was written is still sent. In debug mode one
/// that nobody had closed is reported, as asyncio does. The asyncio counterpart is `asyncio.StreamWriter`.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_streams::{StreamReader, StreamWriter};
///
/// async fn answer(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     let name = reader.readline().await?;
///     writer.writelines([&b"hello "[..], &name]);
///     writer.drain().await?;
///     writer.close().await
/// }
/// ```
pub struct StreamWriter {
    link: Rc<Link>,
    /// This one's places among those who wait, for the traits that have no futures of their own.
    pub(crate) waiters: Option<Box<TraitWaiters>>,
}

/// A place for each of the operations that can be waiting beside each other.
#[derive(Default)]
pub(crate) struct TraitWaiters {
    pub(crate) room: Option<Waiter>,
    pub(crate) flush: Waiter,
}

impl StreamWriter {
    /// A writer of a link that has its transport.
    pub(crate) fn new(link: &Rc<Link>) -> StreamWriter {
        link.writers.set(link.writers.get() + 1);
        StreamWriter { link: Rc::clone(link), waiters: None }
    }

    #[inline]
    pub(crate) fn wire(&self) -> &Transport {
        self.link.transport().expect("a writer is made when its connection is")
    }

    /// Whether that is this one's link.
    pub(crate) fn belongs_to(&self, link: &Rc<Link>) -> bool {
        Rc::ptr_eq(&self.link, link)
    }

    /// The transport below, with everything it offers.
    ///
    /// From then on a drain has to ask it each time how things stand, which costs a little on short lines. What is
    /// asked most, such as the [`flow`](StreamWriter::flow), is a method here as well.
    pub fn transport(&self) -> &Transport {
        self.link.hand_out();
        self.wire()
    }

    /// Sends a copy of `data`, as [`Transport::write`] does: it never waits, and says how the flow stands.
    ///
    /// Await [`drain`](StreamWriter::drain) afterwards, or what is unsent grows without a bound.
    pub fn write(&self, data: &[u8]) -> Flow {
        self.noted(self.wire().write(data))
    }

    /// As [`write`](StreamWriter::write), of bytes that need not be copied: 4 KiB and more are kept as they are.
    pub fn write_bytes(&self, data: Bytes) -> Flow {
        self.noted(self.wire().write_bytes(data))
    }

    /// As [`write`](StreamWriter::write), of several pieces, which leave together and in order.
    pub fn writelines<I>(&self, lines: I) -> Flow
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.noted(self.wire().writelines(lines))
    }

    /// The answer of a write; drains look at the flow if it is not open.
    #[inline]
    fn noted(&self, flow: Flow) -> Flow {
        if flow != Flow::Open {
            self.link.alarmed.set(true);
        }
        flow
    }

    /// How the flow stands: what a write would answer now.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.wire().flow()
    }

    /// How many bytes were written and not yet taken by the system, in bytes; those of the present step included.
    #[must_use]
    pub fn get_write_buffer_size(&self) -> usize {
        self.wire().get_write_buffer_size()
    }

    /// Waits until writing is welcome: at once, unless more than the high mark is unsent.
    ///
    /// It is about the flow only; it does not send, so that what several lines write leaves together. Any number
    /// of tasks may wait. See [`flush`](StreamWriter::flush) to wait until nothing is unsent.
    ///
    /// # Errors
    ///
    /// The error that the connection was lost with, or that was set on its reader, each time; "Connection lost"
    /// (kind [`ConnectionReset`](io::ErrorKind::ConnectionReset)) when it ended without one. A drain that was
    /// waiting when it ended without an error succeeds.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub fn drain(&self) -> Drain<'_> {
        Drain { writer: self, stage: Stage::New }
    }

    /// Sends everything now, also if the future is not awaited; that waits until the system has taken it all.
    ///
    /// # Errors
    ///
    /// As for [`Transport::flush`].
    pub fn flush(&self) -> Flush {
        self.wire().flush()
    }

    /// Ends the writing direction: what was written is sent, then the peer reads the end of the stream. Reading
    /// goes on.
    ///
    /// # Errors
    ///
    /// As for [`Transport::write_eof`].
    pub fn write_eof(&self) -> io::Result<()> {
        self.wire().write_eof()
    }

    /// Whether the writing direction can be ended on its own.
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        self.wire().can_write_eof()
    }

    /// Closes the connection, at once, also if the future is not awaited: what was written is still sent. The
    /// future is that of [`wait_closed`](StreamWriter::wait_closed), and may be dropped.
    pub fn close(&self) -> WaitClosed {
        self.link.alarmed.set(true);
        self.wire().close();
        self.wait_closed()
    }

    /// Ends the connection now; what the system has not taken is dropped. asyncio: `writer.transport.abort()`.
    pub fn abort(&self) {
        self.link.alarmed.set(true);
        self.wire().abort();
    }

    /// Waits until the connection is gone. Any number may wait, also afterwards, when it answers at once.
    ///
    /// # Errors
    ///
    /// What the connection was lost with, each time; none after a close or an abort of our own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub fn wait_closed(&self) -> WaitClosed {
        WaitClosed(self.wire().closed())
    }

    /// Whether the connection is closing or lost.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.wire().is_closing()
    }

    /// What is known of the connection, by type; see [`Transport::get_extra_info`].
    #[must_use]
    pub fn get_extra_info<T: Any + Clone>(&self) -> Option<T> {
        self.wire().get_extra_info()
    }

    /// The peer's address; kept after the loss.
    #[must_use]
    pub fn peername(&self) -> Option<Address> {
        self.wire().peername()
    }

    /// The own address; kept after the loss.
    #[must_use]
    pub fn sockname(&self) -> Option<Address> {
        self.wire().sockname()
    }

    /// Why the connection was lost, if it was, or the error that was set on its reader.
    #[inline]
    pub(crate) fn check_lost(&self) -> io::Result<()> {
        if self.link.inbox.has_error()
            && let Some(cause) = self.link.inbox.error()
        {
            return Err(cause.into());
        }
        if self.link.is_lost() {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "Connection lost"));
        }
        Ok(())
    }

    /// Whether writing is welcome: an error if the connection is lost.
    pub(crate) fn poll_welcome(
        &self,
        context: &mut Context<'_>,
        waiter: &mut Option<Waiter>,
    ) -> Poll<io::Result<()>> {
        self.check_lost()?;
        let paused = match self.flow() {
            Flow::Open => false,
            Flow::Paused => true,
            // After `write_eof` nothing more is taken, and what was written may wait still.
            Flow::Closed => self.link.told_paused.get() && !self.is_closing(),
        };
        if !paused {
            return Poll::Ready(Ok(()));
        }
        self.link.drained.register(waiter.get_or_insert_default(), context.waker());
        Poll::Pending
    }
}

impl Clone for StreamWriter {
    fn clone(&self) -> StreamWriter {
        StreamWriter::new(&self.link)
    }
}

/// The last one closes the connection.
impl Drop for StreamWriter {
    fn drop(&mut self) {
        let others = self.link.writers.get() - 1;
        self.link.writers.set(others);
        if others > 0 || self.link.bond.get() == Bond::Detached || self.wire().is_closing() {
            return;
        }
        self.wire().close();
        report_unclosed(&self.link);
    }
}

/// Debug mode tells of a writer that was dropped before its connection was closed, unless there is worse to tell.
fn report_unclosed(link: &Rc<Link>) {
    let Ok(handle) = LoopHandle::current() else { return };
    if !handle.get_debug() {
        return;
    }
    // This may be inside a call of the user's, where no callback may come up. A loop that closes tells nobody.
    let (teller, link) = (handle.clone(), Rc::clone(link));
    let _closing = handle.call_soon(move || {
        if let Some(transport) = link.transport()
            && !link.failure_told.get()
        {
            let report = Report::new("unclosed StreamWriter: it was dropped, which closes it");
            teller.call_exception_handler(title(report, transport));
        }
    });
}

/// Says which connection a report is about.
pub(crate) fn title(report: Report, transport: &Transport) -> Report {
    match transport.peername() {
        Some(peer) => report.transport(format!("transport to {peer}")).peer(peer.to_string()),
        None => report.transport("transport"),
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter").field("transport", self.wire()).finish()
    }
}

/// The future of [`StreamWriter::drain`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Drain<'a> {
    writer: &'a StreamWriter,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New,
    /// The connection closes: the loop has made a turn since, in which it may have been lost.
    Yielded,
    Waiting(Option<Waiter>),
}

impl Future for Drain<'_> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writer.link.alarmed.get() {
            return self.get_mut().look(context);
        }
        ready!(budget::poll_proceed(context));
        Poll::Ready(Ok(()))
    }
}

impl Drain<'_> {
    /// Looks at everything that may keep it waiting, or fail it.
    fn look(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Drain { writer, stage } = self;
        let link = &writer.link;
        let failed = link.inbox.has_error();
        let mut waiter = match stage {
            // asyncio: streams.py gives connection_lost a chance, or write and drain would never see it.
            Stage::New if !failed && writer.is_closing() => {
                *stage = Stage::Yielded;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Nothing was sent any more, and nothing went wrong.
            Stage::Waiting(_) if !failed && link.is_lost() => return Poll::Ready(Ok(())),
            Stage::Waiting(waiter) => waiter.take(),
            Stage::New | Stage::Yielded => None,
        };
        let welcome = writer.poll_welcome(context, &mut waiter);
        match welcome {
            Poll::Pending => *stage = Stage::Waiting(waiter),
            Poll::Ready(Ok(())) => {
                ready!(budget::poll_proceed(context));
                link.alarmed.set(link.handed_out.get() || writer.is_closing());
            }
            Poll::Ready(Err(_)) => {}
        }
        welcome
    }
}

/// The future of [`StreamWriter::close`] and [`StreamWriter::wait_closed`].
///
/// It need not be awaited.
#[derive(Debug)]
pub struct WaitClosed(Closed);

impl Future for WaitClosed {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let cause = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(cause.map_or(Ok(()), |cause| Err(cause.into())))
    }
}
