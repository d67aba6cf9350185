//! A web server: the crate `hyper` speaks HTTP/1.1 over the streams of each client:
//! `cargo run --example hyper_server -- [HOST:PORT]`.
//!
//! Try it with `curl http://127.0.0.1:8888/`. `GET /bytes/N` answers N bytes and never holds more than a few chunks of
//! them; `POST /count` reads a body piece by piece and answers how long it was. A [`StreamPair`] reads and writes as
//! the crate `futures-io` says, and `smol-hyper` makes of that what hyper wants. There is no other runtime.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use clap::Parser;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use smol_hyper::rt::FuturesIo;
use tidegate::StreamPair;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Serves HTTP/1.1: GET /, GET /bytes/N and POST /count.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    told(tidegate::run(async {
        // Without a timer of its own hyper waits for ever; here the server ends a connection on which nothing moves.
        let server =
            start_server(serve, arguments.address).idle_timeout(Duration::from_secs(60)).await?;
        for socket in server.sockets() {
            println!("serving on http://{}", socket.sockname());
        }
        server.serve_forever().await
    }))
}

/// Answers the requests of one client, one after the other.
async fn serve(reader: StreamReader, writer: StreamWriter) {
    let connection = FuturesIo::new(StreamPair::new(reader, writer));
    let served = http1::Builder::new().serve_connection(connection, service_fn(answer)).await;
    if let Err(error) = served {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        eprintln!("a connection broke off: {error}{cause}");
    }
}

/// A text, or bytes that are made as they are sent.
type Answer = Response<Either<Full<Bytes>, Dots>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let path = request.uri().path();
    let bytes = path.strip_prefix("/bytes/").map(str::parse);
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    Ok(match (path, bytes) {
        ("/", _) if is_get => text(StatusCode::OK, "Hello from hyper!\n"),
        (_, Some(Ok(left))) if is_get => Response::new(Either::Right(Dots { left })),
        ("/count", _) if request.method() == Method::POST => {
            let length = count(request.into_body()).await?;
            text(StatusCode::OK, format!("{length} bytes\n"))
        }
        ("/" | "/count", _) | (_, Some(Ok(_))) => {
            text(StatusCode::METHOD_NOT_ALLOWED, "not like that\n")
        }
        _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
    })
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(text.into())));
    *answer.status_mut() = status;
    answer
}

/// Reads a body and keeps nothing of it. While this waits for its turn the client is not read from.
async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            length += data.len() as u64;
        }
    }
    Ok(length)
}

/// A body of so many dots. hyper asks for the next chunk when there is room for it.
struct Dots {
    left: u64,
}

impl Body for Dots {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; 64 << 10] = [b'.'; 64 << 10];
        let length = CHUNK.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if length == 0 {
            return Poll::Ready(None);
        }
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
