//! A half close: one side ends what it has to say and still hears the answer.

use std::io;

use tidegate::prelude::*;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "A half close",
        "The client ends its own direction with write_eof, and the server answers only then.",
    );

    let stage = transcript.clone();
    let factory = move || stage.narrated("server", Counter { received: 0 });
    let server = create_server(factory, ("127.0.0.1", 0)).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");

    let client = transcript.narrated("client", Client);
    let transport = create_connection(|| client, address).await?;
    transport.closed().await;
    server.close();
    server.wait_closed().await;

    let client_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("client", &client_heard);
    let server_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("server", &server_heard);
    Ok(())
}

/// Counts until the end of the stream, and then says how much there was.
struct Counter {
    received: usize,
}

impl Protocol for Counter {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.received += data.len();
        Ok(())
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        transport.write(format!("{} bytes", self.received).as_bytes());
        transport.close();
        // Only what comes to us has ended; the answer still goes out.
        Ok(AtEof::KeepWriting)
    }
}

struct Client;

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.writelines(["How much ", "was that?"]);
        transport.write_eof().expect("a TCP connection can be closed by halves");
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        match data {
            b"18 bytes" => Ok(()),
            _ => Err(io::Error::other("this is not the right answer")),
        }
    }
}
