//! A TCP client over streams: it sends a message, awaits the answer, and closes the connection:
//! `cargo run --example streams_echo_client -- [HOST:PORT]`.
//!
//! It needs a server, such as `cargo run --example streams_echo_server`. It is asyncio's "TCP echo client using
//! streams".

use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Sends a message, prints the answer, and closes the connection.
#[derive(Parser)]
struct Arguments {
    /// Where the server listens.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    told(tidegate::run(async {
        let (mut reader, writer) = open_connection(arguments.address).await?;

        let message = "Hello World!";
        writer.write(message.as_bytes());
        writer.drain().await?;
        println!("sent {message:?}");

        let answer = reader.read(100).await?;
        println!("received {:?}", String::from_utf8_lossy(&answer));

        writer.close().await?;
        println!("the connection is closed");
        Ok(())
    }))
}
