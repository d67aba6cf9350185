//! A TCP proxy: each client is joined to a connection of its own to the server behind, in both directions:
//! `cargo run --example proxy -- LISTEN UPSTREAM`.
//!
//! Try it with `cargo run --example tcp_echo_server`, then
//! `cargo run --example proxy -- 127.0.0.1:9999 127.0.0.1:8888`, then
//! `cargo run --example tcp_echo_client -- 127.0.0.1:9999`. However much is sent, the proxy keeps little of
//! it in memory: while one side cannot be written to, the other is not read from.

use std::cell::Cell;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// Joins each client that connects to LISTEN to a connection of its own to UPSTREAM.
#[derive(Parser)]
struct Arguments {
    /// Where to wait for clients, as HOST:PORT; port 0 is any free one.
    #[arg(value_parser = host_and_port)]
    listen: (String, u16),
    /// Where to connect to for each of them, as HOST:PORT.
    #[arg(value_parser = host_and_port)]
    upstream: (String, u16),
}

fn main() -> ExitCode {
    let Arguments { listen, upstream } = Arguments::parse();
    told(tidegate::run(async {
        let (host, port) = &upstream;
        let towards = format!("{host}:{port}");
        let server = create_server(move || Arrival { upstream: upstream.clone() }, listen).await?;
        for socket in server.sockets() {
            println!("proxy from {} to {towards}", socket.sockname());
        }
        server.serve_forever().await
    }))
}

/// A client that has to wait until there is a connection to the server behind.
struct Arrival {
    upstream: (String, u16),
}

impl Protocol for Arrival {
    fn connection_made(&mut self, client: &Transport) {
        // There is nowhere yet to send what the client says: let the system keep it.
        client.pause_reading();
        // Without its handle the task goes on by itself. No task at all means that the whole loop is closing.
        drop(spawn(join(client.clone(), self.upstream.clone())));
    }
}

/// Opens the connection to the server behind, and lets both sides send to each other.
async fn join(client: Transport, upstream: (String, u16)) {
    let one_has_ended = Rc::new(Cell::new(false));
    let side = |other| Side { other, one_has_ended: Rc::clone(&one_has_ended) };

    let server_side = side(client.clone());
    match create_connection(|| server_side, upstream).await {
        Ok(server) if client.is_closing() => server.close(),
        Ok(server) => {
            // The client gets another protocol in the middle of its life.
            client.set_protocol(side(server));
            client.resume_reading();
        }
        Err(error) => {
            eprintln!("no connection for a client: {error}");
            client.abort();
        }
    }
}

/// One of two connections: it sends on what comes to the `other`, and shares its fate.
struct Side {
    other: Transport,
    /// The end of the stream was seen in one direction.
    one_has_ended: Rc<Cell<bool>>,
}

impl Protocol for Side {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.other.write(data);
        Ok(())
    }

    fn eof_received(&mut self, _transport: &Transport) -> io::Result<AtEof> {
        self.other.write_eof()?;
        // An end in one direction leaves the other direction open.
        let both_have_ended = self.one_has_ended.replace(true);
        Ok(if both_have_ended { AtEof::Close } else { AtEof::KeepWriting })
    }

    fn pause_writing(&mut self, _transport: &Transport) {
        self.other.pause_reading();
    }

    fn resume_writing(&mut self, _transport: &Transport) {
        self.other.resume_reading();
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        if let (Some(cause), Some(peer)) = (cause, transport.peername()) {
            println!("the connection with {peer} was lost: {cause}");
        }
        // Both sides hear this one after the other; closing what is closed already does nothing.
        self.other.close();
    }
}
