//! A TLS server that sends back what its clients say:
//! `cargo run --example tls_echo_server -- [HOST:PORT] [--certificate CHAIN --key KEY]`.
//!
//! Without a certificate of yours it makes one at the start, says in which file that is, and how
//! `cargo run --example tls_echo_client` believes it. Other clients do too:
//! `openssl s_client -connect 127.0.0.1:8888 -CAfile FILE`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{OwnCertificate, host_and_port, told};
use tidegate_tls as tls;
use tls::ServerTls;

/// Sends back over TLS what each client says.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
    /// The server's certificate and those of its issuers, as a PEM file; one is made if none is given.
    #[arg(long, value_name = "CHAIN", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key, as a PEM file.
    #[arg(long, value_name = "KEY", requires = "certificate")]
    key: Option<PathBuf>,
}

fn main() -> ExitCode {
    told(serve(Arguments::parse()))
}

fn serve(arguments: Arguments) -> io::Result<()> {
    // The files are there until this is dropped.
    let mut made = None;
    let (chain, key) = match (arguments.certificate, arguments.key) {
        (Some(chain), Some(key)) => (chain, key),
        _ => {
            let own = made.insert(OwnCertificate::make()?);
            (own.chain(), own.key())
        }
    };
    let secured = tls::Server::from_pem_files(&chain, key)?;
    tidegate::run(async {
        let server = create_server(|| Echo, arguments.address).tls(secured).await?;
        for socket in server.sockets() {
            let address = socket.sockname();
            println!("serving on {address}");
            if made.is_some() {
                let file = chain.display();
                println!("its certificate is in {file}; try it with");
                println!(
                    "  cargo run --example tls_echo_client -- {address} --root-certificates {file}"
                );
            }
        }
        server.serve_forever().await
    })
}

/// There is one of these for each connection. Its methods are called when the handshake is done.
struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        let cipher = transport.get_extra_info::<tls::Cipher>();
        if let (Some(peer), Some(cipher)) = (transport.peername(), cipher) {
            println!("connection from {peer}: {}, {}", cipher.version, cipher.name);
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        Ok(())
    }

    // A client that sends without reading is read no further.
    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }

    fn connection_lost(&mut self, _transport: &Transport, cause: Option<Cause>) {
        match cause {
            None => println!("connection closed"),
            Some(cause) => println!("connection lost: {cause}"),
        }
    }
}
