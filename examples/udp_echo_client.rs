//! A UDP client that sends lines, each as a datagram, and prints what comes back:
//! `cargo run --example udp_echo_client -- [HOST:PORT] [LINE]...`.
//!
//! It needs a server, such as `cargo run --example udp_echo_server`. It is asyncio's "UDP Echo Client".
//!
//! Datagrams may be lost, and nobody is told; so it gives up after a while. If nobody receives at the port, the system
//! there may say so, and it gives up at once.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidegate::prelude::*;
use tidegate::{Address, TimeoutError};
use tidegate_examples::{host_and_port, told};

/// Sends lines, each as a datagram, and prints what comes back.
#[derive(Parser)]
struct Arguments {
    /// Where the server receives.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
    /// What to send.
    #[arg(value_name = "LINE", default_value = "Hello World!")]
    lines: Vec<String>,
    /// How long to wait until all have come back.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000)]
    patience: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (host, port) = arguments.address.clone();
    told(tidegate::run(talk(arguments)).map_err(|error| match error.kind() {
        kind @ io::ErrorKind::ConnectionRefused => {
            io::Error::new(kind, format!("nobody receives at {host}:{port}: {error}"))
        }
        _ => error,
    }))
}

async fn talk(arguments: Arguments) -> io::Result<()> {
    let Arguments { address, lines, patience } = arguments;
    let (count, client) = (lines.len(), EchoClient { missing: lines.len() });
    let endpoint = create_datagram_endpoint(|| client).remote_addr(address).await?;
    for line in &lines {
        endpoint.sendto(line.as_bytes(), None)?;
        println!("sent {line:?}");
    }

    match timeout(Duration::from_millis(patience), endpoint.closed()).await {
        Ok(None) => Ok(()),
        Ok(Some(cause)) => Err(cause.into()),
        Err(TimeoutError::Elapsed) => {
            let received = endpoint.statistics().datagrams_received;
            let text = format!("gave up after {patience} ms: {received} of {count} came back");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
        Err(error) => Err(error.into()),
    }
}

/// Closes when everything has come back.
struct EchoClient {
    missing: usize,
}

impl DatagramProtocol for EchoClient {
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        _from: &Address,
    ) -> io::Result<()> {
        println!("received {:?}", String::from_utf8_lossy(data));
        self.missing -= 1;
        if self.missing == 0 {
            transport.close();
        }
        Ok(())
    }

    // An endpoint goes on after an error. This one is no use without its server.
    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        transport.fail(error.into());
        Ok(())
    }
}
