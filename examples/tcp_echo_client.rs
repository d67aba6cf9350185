//! A TCP client that sends a message, prints the answer, and waits until the server closes the connection:
//! `cargo run --example tcp_echo_client -- [HOST:PORT]`.
//!
//! It needs a server, such as `cargo run --example tcp_echo_server`. It is asyncio's "TCP Echo Client".

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Sends a message, prints the answer, and waits until the server closes the connection.
#[derive(Parser)]
struct Arguments {
    /// Where the server listens.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    told(tidegate::run(async {
        let client = EchoClient { message: "Hello World!" };
        let transport = create_connection(|| client, arguments.address).await?;
        match transport.closed().await {
            None => Ok(()),
            Some(cause) => Err(cause.into()),
        }
    }))
}

struct EchoClient {
    message: &'static str,
}

impl Protocol for EchoClient {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.message.as_bytes());
        println!("sent {:?}", self.message);
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        println!("received {:?}", String::from_utf8_lossy(data));
        Ok(())
    }

    // The connection closes at the end of the stream, since `eof_received` is left as it is.
    fn connection_lost(&mut self, _transport: &Transport, cause: Option<Cause>) {
        if cause.is_none() {
            println!("the server closed the connection");
        }
    }
}
