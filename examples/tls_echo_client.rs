//! A TLS client over streams: it says who the server is, sends a message, prints the answer, and ends by halves:
//! `cargo run --example tls_echo_client -- [HOST:PORT] [--root-certificates FILE] [--name NAME]`.
//!
//! It needs a server, such as `cargo run --example tls_echo_server`, which says in which FILE its certificate is.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};
use tidegate_tls as tls;
use tls::{ClientTls, TlsError};

/// Sends a message over TLS, prints the answer, and closes the connection.
#[derive(Parser)]
struct Arguments {
    /// Where the server listens.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
    /// The certificates of those who are believed, as a PEM file, instead of the system's.
    #[arg(long, value_name = "FILE")]
    root_certificates: Option<PathBuf>,
    /// The name that the server's certificate has to be for, if it is not HOST.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

fn main() -> ExitCode {
    told(talk(Arguments::parse()))
}

fn talk(arguments: Arguments) -> io::Result<()> {
    let client = match arguments.root_certificates {
        Some(file) => tls::Client::builder().root_certificates(file).build()?,
        None => tls::Client::new()?,
    };
    // An empty name is the host's.
    let name = arguments.name.unwrap_or_default();
    tidegate::run(async {
        let opened = open_connection(arguments.address).tls(client, &name).await;
        let (mut reader, writer) = opened.map_err(with_advice)?;
        if let Some(cipher) = writer.get_extra_info::<tls::Cipher>() {
            println!("connected: {}, {}", cipher.version, cipher.name);
        }

        let message = "Hello World!";
        writer.write(message.as_bytes());
        // The server hears the end of this direction, and can still answer: TLS connections end by halves, too.
        writer.write_eof()?;
        println!("sent {message:?}");

        let answer = reader.read_to_end().await?;
        println!("received {:?}", String::from_utf8_lossy(&answer));

        writer.close().await?;
        println!("the connection is closed");
        Ok(())
    })
}

/// Says what can be done about an error.
fn with_advice(error: io::Error) -> io::Error {
    match TlsError::of(&error) {
        Some(TlsError::Certificate(..)) => io::Error::new(
            error.kind(),
            format!(
                "{error}\n(--root-certificates FILE says whom to believe, --name NAME for what)"
            ),
        ),
        _ => error,
    }
}
