//! A web server for one file, which goes from the disk to the network without passing through the program:
//! `cargo run --example send_file -- FILE [HOST:PORT]`.
//!
//! Fetch it with `curl http://127.0.0.1:8888/ --output copy`, the rest of it with `--continue-at -`, say.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Sends one file to everybody who asks.
#[derive(Parser)]
struct Arguments {
    /// What to send.
    file: PathBuf,
    /// Where to listen; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let Arguments { file, address } = Arguments::parse();
    told(tidegate::run(async {
        // Better to hear of a wrong name now than when the first client asks.
        File::open(&file).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", file.display()))
        })?;
        let file: Rc<Path> = file.into();
        let serve = move |reader, writer| answer(file.clone(), reader, writer);
        let server = start_server(serve, address).await?;
        for socket in server.sockets() {
            println!("serving on {}", socket.sockname());
        }
        server.serve_forever().await
    }))
}

/// Answers one request, whatever it asks for.
async fn answer(path: Rc<Path>, mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let head = reader.readuntil(b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&head);
    let offset = head.lines().find_map(range_start).unwrap_or(0);

    // Each client has a file of its own, since sending moves its position.
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if offset >= length && offset > 0 {
        writer.write(b"HTTP/1.0 416 Range Not Satisfiable\r\n\r\n");
        return writer.close().await;
    }
    let left = length - offset;
    let status = match offset {
        0 => "200 OK".to_owned(),
        _ => {
            format!("206 Partial Content\r\nContent-Range: bytes {offset}-{}/{length}", length - 1)
        }
    };
    let head =
        format!("HTTP/1.0 {status}\r\nAccept-Ranges: bytes\r\nContent-Length: {left}\r\n\r\n");
    writer.write(head.as_bytes());

    // The head goes first, since it was written before. A file that grows meanwhile is sent as long as was announced.
    let sent = match left {
        0 => 0,
        _ => writer.sendfile(&file).offset(offset).count(left).await?,
    };
    println!("sent {sent} bytes, from {offset} on");
    writer.close().await
}

/// Where the client wants to begin: `Range: bytes=100-`.
fn range_start(line: &str) -> Option<u64> {
    let (name, value) = line.split_once(':')?;
    if !name.eq_ignore_ascii_case("range") {
        return None;
    }
    value.trim().strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
