//! What a server does with the streams of a client: an asynchronous function, or a plain one.

use std::error::Error;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tidegate_protocols::{Cause, Transport};
use tidegate_reactor::{LoopHandle, Report, spawn};

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
/// `Marker` keeps the two apart; it is always inferred.
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
        let transport = writer.wire().clone();
        let client = Client { future: self(reader, writer), transport };
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
        transport: Transport,
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
        this.transport.close();
        let report = Report::new("Unhandled exception in client_connected_cb").error(cause);
        let report = title(report, this.transport);
        if let Ok(handle) = LoopHandle::current() {
            handle.call_exception_handler(report);
        }
        Poll::Ready(())
    }
}
