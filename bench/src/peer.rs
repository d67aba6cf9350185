//! The server that load is put on:
//! `peer --port P --mode echo|line|discard|stream|udp --api protocol|streams [--tls [ring|aws-lc-rs]]`, or `--unix PATH`
//! in place of `--port P`.
//!
//! It prints `READY` once it listens on 127.0.0.1, or at the path, and then its address. The programs of other libraries that
//! it is compared with take the same arguments and do the same.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use memchr::memchr;
use tidegate::Handler;
use tidegate::prelude::*;
use tidegate_tls::rustls::pki_types::PrivateKeyDer;
use tidegate_tls::{Provider, ServerTls};

const BACKLOG: u32 = 4096;

/// What one write of the mode `stream` sends.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A server on 127.0.0.1, or on a Unix socket, for measuring; prints READY once it listens.
#[derive(Parser)]
#[command(name = "peer")]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(long, required_unless_present = "unix", conflicts_with = "unix")]
    port: Option<u16>,
    /// The path of the Unix socket to listen on, instead of a port.
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// What to do with each connection.
    #[arg(long)]
    mode: Mode,
    /// By which of the library's interfaces.
    #[arg(long, default_value = "protocol")]
    api: Api,
    /// With the mode `stream` and the interface `streams`: sends a file of so many zeros, and closes.
    #[arg(long, value_name = "BYTES")]
    sendfile: Option<u64>,
    /// Speaks TLS, with a certificate that is made at the start, and with this cryptography.
    #[arg(long, value_name = "CRYPTOGRAPHY", num_args = 0..=1, default_missing_value = "aws-lc-rs")]
    tls: Option<Cryptography>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Cryptography {
    /// rustls on `ring`.
    Ring,
    /// rustls on `aws-lc-rs`.
    AwsLcRs,
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
    let Arguments { port, unix, mode, api, sendfile, tls } = Arguments::parse();
    let tls = tls.map(tls_server).transpose()?;
    let place = match (unix, port) {
        (Some(path), _) => Place { listens: Listens::Unix(path), tls },
        (None, port) => Place { listens: Listens::Port(port.unwrap_or_default()), tls },
    };
    if let Some(bytes) = sendfile {
        let zeros = Rc::new(file_of_zeros(bytes)?);
        return match (api, mode) {
            (Api::Streams, Mode::Stream) => {
                let send = move |_reader, writer| send_file(zeros.clone(), writer);
                serve_streams(send, place)
            }
            _ => refuse("--sendfile needs --api streams --mode stream"),
        };
    }
    match (api, mode) {
        (Api::Protocol, Mode::Echo) => serve(|| Echo, place),
        (Api::Protocol, Mode::Line) => serve(Line::default, place),
        (Api::Protocol, Mode::Discard) => serve(|| Discard, place),
        (Api::Protocol, Mode::Stream) => serve(|| Stream, place),
        (Api::Protocol, Mode::Udp) => exchange(place.port()),
        (Api::Streams, Mode::Echo) => serve_streams(echo, place),
        (Api::Streams, Mode::Line) => serve_streams(line, place),
        (Api::Streams, Mode::Discard) => serve_streams(discard, place),
        (Api::Streams, Mode::Stream) => serve_streams(stream, place),
        (Api::Streams, Mode::Udp) => exchange_as_task(place.port()),
    }
}

/// Where to listen, and how to speak there.
struct Place {
    listens: Listens,
    tls: Option<tidegate_tls::Server>,
}

enum Listens {
    Port(u16),
    Unix(PathBuf),
}

/// Ends the program as every other argument that is wrong does.
fn refuse(what: &str) -> ! {
    Arguments::command().error(ErrorKind::ArgumentConflict, what).exit()
}

impl Place {
    fn port(self) -> u16 {
        match self {
            Place { tls: Some(_), .. } => refuse("--mode udp has no TLS"),
            Place { listens: Listens::Port(port), .. } => port,
            Place { listens: Listens::Unix(_), .. } => refuse("--mode udp needs --port"),
        }
    }
}

/// A server with a certificate of a new key (P-256), which it signs itself.
fn tls_server(cryptography: Cryptography) -> io::Result<tidegate_tls::Server> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = match cryptography {
        Cryptography::Ring => Provider::ring(),
        Cryptography::AwsLcRs => Provider::aws_lc_rs(),
    };
    // The load generators go away without the last word of TLS; nobody is to be told of each.
    let server = tidegate_tls::Server::builder().accept_truncation();
    Ok(server.certificate(vec![cert.into()], key).provider(provider).build()?)
}

fn serve<F, P>(factory: F, place: Place) -> io::Result<()>
where
    F: FnMut() -> P + 'static,
    P: Protocol,
{
    let Place { listens, tls } = place;
    match listens {
        Listens::Port(port) => {
            run(secured(create_server(factory, ("127.0.0.1", port)).backlog(BACKLOG), tls))
        }
        Listens::Unix(path) => {
            run(secured(create_unix_server(factory, path).backlog(BACKLOG), tls))
        }
    }
}

fn serve_streams<H, M>(handler: H, place: Place) -> io::Result<()>
where
    H: Handler<M>,
    M: 'static,
{
    let Place { listens, tls } = place;
    match listens {
        Listens::Port(port) => {
            run(secured(start_server(handler, ("127.0.0.1", port)).backlog(BACKLOG), tls))
        }
        Listens::Unix(path) => run(secured(start_unix_server(handler, path).backlog(BACKLOG), tls)),
    }
}

fn secured<B: ServerTls>(builder: B, tls: Option<tidegate_tls::Server>) -> B {
    match tls {
        Some(server) => builder.tls(server),
        None => builder,
    }
}

fn run(server: impl IntoFuture<Output = io::Result<Server>>) -> io::Result<()> {
    tidegate::run(async move {
        let server = server.await?;
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

/// A file with no name and no blocks.
fn file_of_zeros(bytes: u64) -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("tidegate-peer-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(bytes)?;
    Ok(file)
}

async fn send_file(file: Rc<File>, writer: StreamWriter) -> io::Result<()> {
    writer.sendfile(&*file).await?;
    writer.close().await
}
