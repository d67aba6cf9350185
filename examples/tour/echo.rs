//! An echo: a server, a client, and the whole life of a connection on both sides.

use std::io;

use tidegate::prelude::*;

use super::transcript::Transcript;

const MESSAGE: &[u8] = b"Time and tide wait for no man.";

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene("An echo", "The client says something, hears it again, and closes.");

    let stage = transcript.clone();
    let server = create_server(move || stage.narrated("server", Echo), ("127.0.0.1", 0)).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");

    let client = transcript.narrated("client", Client { heard: Vec::new() });
    let transport = create_connection(|| client, address).await?;
    let cause = transport.closed().await;
    // The server stops listening, and waits until it has no connection left.
    server.close();
    server.wait_closed().await;

    transcript.check("the connection ended without an error", cause.is_none());
    transcript.check_callbacks("client", &["connection_made", "data_received", "connection_lost"]);
    let server_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("server", &server_heard);
    Ok(())
}

/// Sends back what comes.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        Ok(())
    }
}

/// Closes when it has heard its message again.
struct Client {
    heard: Vec<u8>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(MESSAGE);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.heard.extend_from_slice(data);
        if !MESSAGE.starts_with(&self.heard) {
            return Err(io::Error::other("this is not the message that was sent"));
        }
        if self.heard == MESSAGE {
            transport.close();
        }
        Ok(())
    }
}
