//! The server that load is put on: `peer --port P --mode echo|line|discard|stream --api protocol`.
//!
//! It prints `READY` once it listens on 127.0.0.1, and then its address. The programs of other libraries that
//! it is compared with take the same arguments and do the same.

use std::io;

use bytes::Bytes;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use memchr::memchr;
use tidegate::prelude::*;

const BACKLOG: u32 = 4096;

/// What one write of the mode `stream` sends.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A server on 127.0.0.1 for measuring; prints READY once it listens.
#[derive(Parser)]
#[command(name = "peer")]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(long)]
    port: u16,
    /// What to do with each connection.
    #[arg(long)]
    mode: Mode,
    /// By which of the library's interfaces.
    #[arg(long, default_value = "protocol")]
    api: Api,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Send back what comes.
    Echo,
    /// Send back each complete line, by a write of its own.
    Line,
    /// Read and forget.
    Discard,
    /// Send zeros for as long as somebody reads them.
    Stream,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Api {
    /// Callbacks.
    Protocol,
    /// Readers and writers.
    Streams,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    if arguments.api == Api::Streams {
        let missing = "there are no streams yet: they come with the crate tidegate-streams";
        Arguments::command().error(ErrorKind::InvalidValue, missing).exit();
    }
    match arguments.mode {
        Mode::Echo => serve(arguments.port, || Echo),
        Mode::Line => serve(arguments.port, Line::default),
        Mode::Discard => serve(arguments.port, || Discard),
        Mode::Stream => serve(arguments.port, || Stream),
    }
}

fn serve<P: Protocol>(port: u16, factory: impl FnMut() -> P + 'static) -> io::Result<()> {
    tidegate::run(async move {
        let server = create_server(factory, ("127.0.0.1", port)).backlog(BACKLOG).await?;
        println!("READY");
        println!("listening on {}", server.sockets()[0].sockname());
        server.serve_forever().await
    })
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        Ok(())
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

#[derive(Default)]
struct Line {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Protocol for Line {
    fn data_received(&mut self, transport: &Transport, mut data: &[u8]) -> io::Result<()> {
        while let Some(end) = memchr(b'\n', data) {
            let (line, rest) = data.split_at(end + 1);
            if self.begun.is_empty() {
                transport.write(line);
            } else {
                self.begun.extend_from_slice(line);
                transport.write(&self.begun);
                self.begun.clear();
            }
            data = rest;
        }
        self.begun.extend_from_slice(data);
        Ok(())
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

struct Discard;

impl Protocol for Discard {}

struct Stream;

impl Stream {
    fn pour(transport: &Transport) {
        while transport.write_bytes(Bytes::from_static(&ZEROS)) == Flow::Open {}
    }
}

impl Protocol for Stream {
    fn connection_made(&mut self, transport: &Transport) {
        Stream::pour(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        Stream::pour(transport);
    }
}
