//! A socket that exists already is handed to the loop together with a protocol, which is called when data comes:
//! `cargo run --example wait_for_data`.
//!
//! It is asyncio's "Register an open socket to wait for data using a protocol".

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use tidegate::prelude::*;
use tidegate_examples::no_arguments;

fn main() -> io::Result<()> {
    no_arguments("Waits for data on a socket that exists already, with a protocol");
    tidegate::run(async {
        let (ours, mut theirs) = UnixStream::pair()?;

        // The socket belongs to the connection from here on. `()` stands for a host and a port: there is none to go to.
        let transport = create_connection(|| FirstWords, ()).sock(ours).await?;

        // In place of a peer somewhere else, the loop itself sends something in its next turn.
        LoopHandle::current()?.call_soon(move || {
            theirs.write_all(b"abc").expect("three bytes fit into an empty socket");
        })?;

        match transport.closed().await {
            None => Ok(()),
            Some(cause) => Err(cause.into()),
        }
    })
}

/// Prints the first data that comes, and closes.
struct FirstWords;

impl Protocol for FirstWords {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        println!("received {:?}", String::from_utf8_lossy(data));
        transport.close();
        Ok(())
    }

    fn connection_lost(&mut self, _transport: &Transport, _cause: Option<Cause>) {
        println!("the socket is closed");
    }
}
