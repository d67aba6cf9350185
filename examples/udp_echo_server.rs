//! A UDP server that sends each datagram back to whoever sent it:
//! `cargo run --example udp_echo_server -- [HOST:PORT]`.
//!
//! Talk to it with `cargo run --example udp_echo_client`. It is asyncio's "UDP Echo Server".

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tidegate::Address;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Sends each datagram back to whoever sent it.
#[derive(Parser)]
struct Arguments {
    /// Where to receive; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    told(tidegate::run(async {
        let endpoint = create_datagram_endpoint(|| Echo).local_addr(arguments.address).await?;
        match endpoint.closed().await {
            None => Ok(()),
            Some(cause) => Err(cause.into()),
        }
    }))
}

/// There is one of these for all clients.
struct Echo;

impl DatagramProtocol for Echo {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        if let Some(own) = transport.sockname() {
            println!("serving on {own}");
        }
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        transport.sendto(data, from)?;
        println!("received and sent back {:?}, from {from}", String::from_utf8_lossy(data));
        Ok(())
    }

    // Here a client that is gone is no reason to end: the others go on.
    fn error_received(&mut self, _: &DatagramTransport, error: io::Error) -> io::Result<()> {
        eprintln!("not sent or not received: {error}");
        Ok(())
    }

    // What cannot be answered yet waits in the system, which drops what it has no room for.
    fn pause_writing(&mut self, transport: &DatagramTransport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        transport.resume_reading();
    }
}
