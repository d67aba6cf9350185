//! A TCP server that sends the first thing a client says back to it, and then closes the connection:
//! `cargo run --example tcp_echo_server -- [HOST:PORT]`.
//!
//! Talk to it with `cargo run --example tcp_echo_client`. It is asyncio's "TCP Echo Server".

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Sends the first thing each client says back to it, and then closes the connection.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    told(tidegate::run(async {
        let server = create_server(|| EchoOnce, arguments.address).await?;
        for socket in server.sockets() {
            println!("serving on {}", socket.sockname());
        }
        server.serve_forever().await
    }))
}

/// There is one of these for each connection.
struct EchoOnce;

impl Protocol for EchoOnce {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(peer) = transport.peername() {
            println!("connection from {peer}");
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        println!("received and sent back {:?}", String::from_utf8_lossy(data));
        transport.write(data);
        // What was written is sent before the connection closes.
        transport.close();
        Ok(())
    }

    fn connection_lost(&mut self, _transport: &Transport, cause: Option<Cause>) {
        match cause {
            None => println!("connection closed"),
            Some(cause) => println!("connection lost: {cause}"),
        }
    }
}
