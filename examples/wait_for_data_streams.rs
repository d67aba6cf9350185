//! A socket that exists already is handed to the loop, and a task awaits what comes on it:
//! `cargo run --example wait_for_data_streams`.
//!
//! It is asyncio's "Register an open socket to wait for data using streams".

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use tidegate::prelude::*;
use tidegate_examples::no_arguments;

fn main() -> io::Result<()> {
    no_arguments("Waits for data on a socket that exists already, with streams");
    tidegate::run(async {
        let (ours, mut theirs) = UnixStream::pair()?;

        // The socket belongs to the connection from here on. `()` stands for a host and a port: there is none to go to.
        let (mut reader, writer) = open_connection(()).sock(ours).await?;

        // In place of a peer somewhere else, the loop itself sends something in its next turn.
        LoopHandle::current()?.call_soon(move || {
            theirs.write_all(b"abc").expect("three bytes fit into an empty socket");
        })?;

        let data = reader.read(100).await?;
        println!("received {:?}", String::from_utf8_lossy(&data));

        writer.close().await?;
        println!("the socket is closed");
        Ok(())
    })
}
