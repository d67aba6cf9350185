//! An echo over a Unix socket, server and client in one program; the client also passes a file, which the server
//! reads: `cargo run --example unix_echo -- server [PATH]`, and in another terminal
//! `cargo run --example unix_echo -- client [PATH]`.
//!
//! The server knows who its clients are, and its socket's file is for its own user only. When it is stopped with
//! Ctrl-C the file goes; when it is killed the file stays, and the next server replaces it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tidegate::PeerCredentials;
use tidegate::prelude::*;
use tidegate_examples::told;

/// Echoes over a Unix socket, and tells what stands in files that are passed through it.
#[derive(Parser)]
struct Arguments {
    /// Which end to be.
    role: Role,
    /// Where the socket is.
    #[arg(default_value = "/tmp/tidegate-echo.sock")]
    path: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Serve until stopped.
    Server,
    /// Say something, pass a file, and end.
    Client,
}

fn main() -> ExitCode {
    let Arguments { role, path } = Arguments::parse();
    told(tidegate::run(async {
        match role {
            Role::Server => serve(path).await,
            Role::Client => talk(path).await,
        }
    }))
}

async fn serve(path: PathBuf) -> io::Result<()> {
    let server = create_unix_server(|| Echo, path).mode(0o600).receive_fds(1).await?;
    println!("serving on {}", server.sockets()[0].sockname());
    server.serve_forever().await
}

/// There is one of these for each connection.
struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        match transport.get_extra_info() {
            Some(PeerCredentials { uid, .. }) => println!("connection from user {uid}"),
            None => println!("connection"),
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        // What is not taken here is closed when this returns.
        for fd in transport.take_fds() {
            let file = File::from(fd);
            // A client may pass anything: reading a pipe, say, could make the whole loop wait.
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("what was passed is no file"));
            }
            let length = io::read_to_string(file)?.len();
            println!("received a file: {length} bytes");
            transport.write(format!(" ({length} bytes)").as_bytes());
        }
        Ok(())
    }
}

async fn talk(path: PathBuf) -> io::Result<()> {
    let (mut reader, writer) = open_unix_connection(path).await?;
    writer.write(b"Hello World!");
    println!("received {:?}", String::from_utf8_lossy(&reader.readexactly(12).await?));

    // A descriptor travels with at least one byte.
    let this_file = File::open("/etc/hostname").or_else(|_| File::open("/dev/null"))?;
    writer.transport().send_with_fds(b"a file", vec![this_file.into()])?;
    println!("received {:?}", String::from_utf8_lossy(&reader.readuntil(b")").await?));
    writer.close().await
}
