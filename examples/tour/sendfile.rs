//! A file between two writes: it goes out in its place, and on Linux without passing through the program.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use tidegate::prelude::*;

use super::transcript::{Size, Transcript};

const LENGTH: usize = 1 << 20;
const BEFORE: &[u8] = b"<file>";
const AFTER: &[u8] = b"</file>";

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "A file between two writes",
        "The client writes, sends a file of 1 MiB, and writes again.",
    );

    let content = vec![b'~'; LENGTH];
    let mut file = tempfile::tempfile()?;
    file.write_all(&content)?;

    let received = Rc::new(RefCell::new(Vec::new()));
    let (stage, collected) = (transcript.clone(), Rc::clone(&received));
    let factory = move || stage.narrated("server", Collector { received: Rc::clone(&collected) });
    let server = create_server(factory, ("127.0.0.1", 0)).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");
    let client = transcript.narrated("client", Quiet);
    let transport = create_connection(|| client, address).await?;

    transcript.note("task", "writes what comes before");
    transport.write(BEFORE);
    // The whole file, from its beginning on, wherever it stands.
    let sent = sendfile(&transport, &file).await?;
    transcript.note("task", format!("sendfile answers that {} were sent", Size(sent as usize)));
    transport.write(AFTER);
    transcript.note("task", "has written what comes after; closes");
    transport.close();
    transport.closed().await;
    server.close();
    server.wait_closed().await;

    transcript.check("all of the file was sent", sent == LENGTH as u64);
    let in_order = *received.borrow() == [BEFORE, &content, AFTER].concat();
    transcript.check("it arrived between the two writes", in_order);
    transcript.check_callbacks("client", &["connection_made", "connection_lost"]);
    let server_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("server", &server_heard);
    Ok(())
}

struct Quiet;

impl Protocol for Quiet {}

struct Collector {
    received: Rc<RefCell<Vec<u8>>>,
}

impl Protocol for Collector {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.received.borrow_mut().extend_from_slice(data);
        Ok(())
    }
}
