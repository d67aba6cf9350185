//! What a server does with the streams of a client: an asynchronous function, or a plain one.

use std::error::Error;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tidegate_protocols::Cause;
use tidegate_reactor::{LoopHandle, Report, spawn};

use crate::link::Link;
use crate::reader::StreamReader;
use crate::writer::{StreamWriter, title};

/// What is called for each client of [`start_server`](crate::start_server); asyncio's `client_connected_cb`.
///
/// There is nothing to implement: functions and closures are handlers.
///
/// - An asynchronous one (`async fn`, or a closure that answers a future) becomes a task of its own. Its future
///   answers nothing, or a `Result`. An `Err` or a panic is reported to the loop's exception handler with the
///   peer's address, and the connection is closed; what was written before is still sent. When it ends the
///   writer is dropped, which closes the connection too, unless a clone of it lives elsewhere.
/// - A plain one is called in `connection_made` and gives the streams to somebody. A panic in it ends the
///   connection.
///
/// An error of a peer that went away is reported like any other, as asyncio does: a handler to whom that is no news
/// answers `Ok` to it.
///
/// `Marker` keeps the two apart; it is always inferred.
///
/// # Examples
///
/// A handler with something to share gives each client's future a share of its own. (An asynchronous closure that
/// borrows what it has captured is no handler: the futures outlive the call.)
///
/// ```
/// use std::cell::Cell;
/// use std::io;
/// use std::rc::Rc;
/// use tidegate_streams::{StreamReader, StreamWriter, open_connection, start_server};
///
/// async fn number(count: Rc<Cell<u32>>, _: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     count.set(count.get() + 1);
///     writer.write(format!("you are number {}", count.get()).as_bytes());
///     writer.close().await
/// }
///
/// tidegate_reactor::run(async {
///     let count = Rc::new(Cell::new(0));
///     let handler = move |reader, writer| number(Rc::clone(&count), reader, writer);
///     let server = start_server(handler, ("127.0.0.1", 0)).await?;
///     let address = server.sockets()[0].sockname().as_inet().unwrap();
///     for expected in ["you are number 1", "you are number 2"] {
///         let (mut reader, _writer) = open_connection(address).await?;
///         assert_eq!(reader.read_to_end().await?, expected);
///     }
///     Ok::<(), io::Error>(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub trait Handler<Marker>: 'static {
    /// Serves one client.
    fn handle(&self, reader: StreamReader, writer: StreamWriter);
}

/// The marker of a handler that is a plain function.
#[derive(Debug)]
pub struct Plain;

/// The marker of a handler that answers a future.
#[derive(Debug)]
pub struct Spawned<F>(PhantomData<F>);

impl<H> Handler<Plain> for H
where
    H: Fn(StreamReader, StreamWriter) + 'static,
{
    fn handle(&self, reader: StreamReader, writer: StreamWriter) {
        self(reader, writer);
    }
}

impl<H, F> Handler<Spawned<F>> for H
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: Outcome> + 'static,
{
    fn handle(&self, reader: StreamReader, writer: StreamWriter) {
        let link = Rc::clone(reader.link());
        let client = Client { future: self(reader, writer), link };
        // A loop that closes takes no more tasks: the streams are dropped, which closes the connection.
        let _closing = spawn(client);
    }
}

/// What the future of a handler may answer: `()`, or a `Result<(), E>` of any error.
pub trait Outcome {
    /// What went wrong, if anything did.
    fn failure(self) -> Option<io::Error>;
}

impl Outcome for () {
    fn failure(self) -> Option<io::Error> {
        None
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> Outcome for Result<(), E> {
    fn failure(self) -> Option<io::Error> {
        let error = self.err()?.into();
        Some(match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        })
    }
}

pin_project! {
    /// A handler at work for one client.
    struct Client<F> {
        #[pin]
        future: F,
        link: Rc<Link>,
    }
}

impl<F: Future<Output: Outcome>> Future for Client<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // One that panics is not polled again, and dropped with its streams when this returns.
        let cause = match catch_unwind(AssertUnwindSafe(|| this.future.poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => match outcome.failure() {
                None => return Poll::Ready(()),
                Some(error) => Cause::from(error),
            },
            Err(payload) => Cause::from_panic(payload),
        };
        this.link.failure_told.set(true);
        let mut report = Report::new("Unhandled exception in client_connected_cb").error(cause);
        if let Some(transport) = this.link.transport() {
            transport.close();
            report = title(report, transport);
        }
        if let Ok(handle) = LoopHandle::current() {
            handle.call_exception_handler(report);
        }
        Poll::Ready(())
    }
}
