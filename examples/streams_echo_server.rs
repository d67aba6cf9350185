//! A TCP server over streams: it reads up to 100 bytes, sends them back, and closes the connection:
//! `cargo run --example streams_echo_server -- [HOST:PORT]`.
//!
//! Talk to it with `cargo run --example streams_echo_client`. It is asyncio's "TCP echo server using streams".

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Sends up to 100 bytes of what each client says back to it, and then closes the connection.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    told(tidegate::run(async {
        let server = start_server(echo, arguments.address).await?;
        for socket in server.sockets() {
            println!("serving on {}", socket.sockname());
        }
        server.serve_forever().await
    }))
}

/// This is a task of its own for each client. An error that it answers is reported, and the server goes on.
async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    if let Some(peer) = writer.peername() {
        println!("connection from {peer}");
    }

    let data = reader.read(100).await?;
    println!("received and sent back {:?}", String::from_utf8_lossy(&data));
    writer.write(&data);
    writer.drain().await?;

    // It closes at once; awaiting it says when the connection is gone, and whether it went well.
    writer.close().await?;
    println!("connection closed");
    Ok(())
}
