//! A Unix socket: a connection between two programs of one machine, over which one gives the other an open file.

use std::fs::{self, File};
use std::io;

use tidegate::prelude::*;

use super::transcript::Transcript;

const CONTENT: &str = "the tide table";

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "A Unix socket passes a file",
        "The client opens a file, and the server reads it without knowing where it is.",
    );

    let folder = tempfile::tempdir()?;
    let (place, path) = (folder.path().join("socket"), folder.path().join("file"));
    fs::write(&path, CONTENT)?;

    let stage = transcript.clone();
    let factory = move || stage.narrated("server", Librarian { transcript: stage.clone() });
    let server = create_unix_server(factory, &place).receive_fds(1).await?;
    let client = transcript.narrated("client", Client);
    let transport = create_unix_connection(|| client, &place).await?;

    transcript.note("task", "sends a request, and the file with it");
    let file = File::open(&path)?;
    transport.send_with_fds(b"read this", vec![file.into()])?;
    let cause = transport.closed().await;
    server.close();
    server.wait_closed().await;

    transcript.check("the connection ended without an error", cause.is_none());
    transcript.check("the socket's file went with the server", !place.exists());
    transcript.check_callbacks("client", &["connection_made", "data_received", "connection_lost"]);
    let server_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("server", &server_heard);
    folder.close()
}

/// Reads what it is given, and says what stands there.
struct Librarian {
    transcript: Transcript,
}

impl Protocol for Librarian {
    fn data_received(&mut self, transport: &Transport, _data: &[u8]) -> io::Result<()> {
        // What is not taken is closed when this returns.
        for descriptor in transport.take_fds() {
            let text = io::read_to_string(File::from(descriptor))?;
            self.transcript.note("server", format!("has taken a file and read {text:?}"));
            transport.write(text.as_bytes());
        }
        Ok(())
    }
}

struct Client;

impl Protocol for Client {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        if data != CONTENT.as_bytes() {
            return Err(io::Error::other("this is not what stands in the file"));
        }
        transport.close();
        Ok(())
    }
}
