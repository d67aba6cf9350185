//! The server that load is put on: `peer --port P --mode echo|line|discard|stream|udp --api protocol|streams`.
//!
//! It prints `READY` once it listens on 127.0.0.1, and then its address. The programs of other libraries that
//! it is compared with take the same arguments and do the same.

use std::io;

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use memchr::memchr;
use tidegate::prelude::*;
use tidegate::{CreateServer, ProtocolFactory};
use tidegate_protocols::{Address, DatagramProtocol, DatagramTransport};
use tidegate_streams::open_datagram;
use tidegate_transports::create_datagram_endpoint;

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
    /// Send back each datagram.
    Udp,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Api {
    /// Callbacks.
    Protocol,
    /// Readers and writers.
    Streams,
}

fn main() -> io::Result<()> {
    let Arguments { port, mode, api } = Arguments::parse();
    let host = ("127.0.0.1", port);
    match (api, mode) {
        (Api::Protocol, Mode::Echo) => serve(create_server(|| Echo, host)),
        (Api::Protocol, Mode::Line) => serve(create_server(Line::default, host)),
        (Api::Protocol, Mode::Discard) => serve(create_server(|| Discard, host)),
        (Api::Protocol, Mode::Stream) => serve(create_server(|| Stream, host)),
        (Api::Streams, Mode::Echo) => serve(start_server(echo, host)),
        (Api::Streams, Mode::Line) => serve(start_server(line, host)),
        (Api::Streams, Mode::Discard) => serve(start_server(discard, host)),
        (Api::Streams, Mode::Stream) => serve(start_server(stream, host)),
        (Api::Protocol, Mode::Udp) => exchange(port),
        (Api::Streams, Mode::Udp) => exchange_as_task(port),
    }
}

fn serve<F: ProtocolFactory>(server: CreateServer<F>) -> io::Result<()> {
    tidegate::run(async move {
        let server = server.backlog(BACKLOG).await?;
        println!("READY");
        println!("listening on {}", server.sockets()[0].sockname());
        server.serve_forever().await
    })
}

fn exchange(port: u16) -> io::Result<()> {
    tidegate::run(async move {
        let endpoint = create_datagram_endpoint(|| Echo).local_addr(("127.0.0.1", port)).await?;
        announce(endpoint.sockname());
        endpoint.closed().await.map_or(Ok(()), |cause| Err(cause.into()))
    })
}

fn exchange_as_task(port: u16) -> io::Result<()> {
    tidegate::run(async move {
        let stream = open_datagram().local_addr(("127.0.0.1", port)).await?;
        announce(stream.local_addr());
        loop {
            let (data, from) = stream.recv().await?;
            stream.send_to(&data, &from).await?;
        }
    })
}

fn announce(address: Option<Address>) {
    println!("READY");
    println!("listening on {}", address.expect("it is bound"));
}

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        transport.sendto(data, from)?;
        Ok(())
    }
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

/// The most that one read of the mode `echo` takes.
const MOST: usize = 64 << 10;

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.read(MOST).await?;
        if data.is_empty() {
            return Ok(());
        }
        writer.write(&data);
        writer.drain().await?;
    }
}

async fn line(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = match reader.readuntil(b"\n").await {
            Ok(line) => line,
            Err(ReadUntilError::Incomplete(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        writer.write(&line);
        writer.drain().await?;
    }
}

async fn discard(mut reader: StreamReader, _writer: StreamWriter) -> io::Result<()> {
    while !reader.read(MOST).await?.is_empty() {}
    Ok(())
}

async fn stream(_reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        writer.write_bytes(Bytes::from_static(&ZEROS));
        writer.drain().await?;
    }
}
