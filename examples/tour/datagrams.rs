//! Datagrams: each arrives whole and by itself, and an error ends nothing.

use std::cell::RefCell;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;

use tidegate::Address;
use tidegate::prelude::*;

use super::transcript::Transcript;

const LINES: [&str; 3] = ["spring tide", "neap tide", "slack water"];

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "Datagrams",
        "The client sends three in one callback, which leave together; each arrives by itself.\n   \
         The stranger sends to where nobody receives.",
    );

    let echo = transcript.narrated_datagrams("server", Echo);
    let server = create_datagram_endpoint(|| echo).local_addr(("127.0.0.1", 0)).await?;
    let address = server.sockname().and_then(|own| own.as_inet()).expect("it is bound");
    let heard = Rc::new(RefCell::new(Vec::new()));
    let client = transcript.narrated_datagrams("client", Client { heard: Rc::clone(&heard) });
    let client = create_datagram_endpoint(|| client).remote_addr(address).await?;
    client.closed().await;
    server.close();
    server.closed().await;

    // This socket hears of nobody but itself, and so nobody receives at its port.
    let taken = UdpSocket::bind("127.0.0.1:0")?;
    let nobody = taken.local_addr()?;
    taken.connect(nobody)?;
    let stranger = transcript.narrated_datagrams("stranger", Stranger);
    let stranger = create_datagram_endpoint(|| stranger).remote_addr(nobody).await?;
    let cause = stranger.closed().await;

    transcript.check("each came back as it was sent", *heard.borrow() == LINES);
    transcript.check("the refusal did not end the stranger; it closed by itself", cause.is_none());
    let heard = ["connection_made", "datagram_received", "connection_lost"];
    transcript.check_callbacks("client", &heard);
    transcript.check_callbacks("server", &heard);
    transcript
        .check_callbacks("stranger", &["connection_made", "error_received", "connection_lost"]);
    Ok(())
}

/// Sends each datagram back to whoever sent it.
struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        transport.sendto(data, from)?;
        Ok(())
    }
}

/// Closes when all has come back.
struct Client {
    heard: Rc<RefCell<Vec<String>>>,
}

impl DatagramProtocol for Client {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        for line in LINES {
            transport.sendto(line.as_bytes(), None).expect("there is a remote address");
        }
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        _from: &Address,
    ) -> io::Result<()> {
        let mut heard = self.heard.borrow_mut();
        heard.push(String::from_utf8_lossy(data).into_owned());
        if heard.len() == LINES.len() {
            transport.close();
        }
        Ok(())
    }
}

/// Hears that nobody receives, and could go on.
struct Stranger;

impl DatagramProtocol for Stranger {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        transport.sendto(b"hello?", None).expect("there is a remote address");
    }

    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                transport.close();
                Ok(())
            }
            _ => Err(error),
        }
    }
}
