//! An abort: the connection ends at once, and what still waits to be sent is dropped.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tidegate::prelude::*;

use super::transcript::{Size, Transcript};

/// More than the system takes while nobody reads.
const TOTAL: usize = 32 << 20;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "An abort",
        "The client writes 32 MiB at once, is told to pause, and aborts. The rest is never sent.",
    );

    let received = Rc::new(Cell::new(0));
    let (stage, counted) = (transcript.clone(), Rc::clone(&received));
    let factory = move || stage.narrated("server", Counter { received: Rc::clone(&counted) });
    let server = create_server(factory, ("127.0.0.1", 0)).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");

    let client = transcript.narrated("client", Impatient);
    let transport = create_connection(|| client, address).await?;
    let cause = transport.closed().await;
    server.close();
    server.wait_closed().await;

    let received = received.get();
    transcript.note("", format!("{} of {} arrived", Size(received), Size(TOTAL)));
    transcript.check("some of it arrived, but not all", received > 0 && received < TOTAL);
    transcript
        .check("the connection ended without an error: the abort was its own", cause.is_none());
    let after = transport.write(b"too late");
    transcript.check("whoever writes now is told Flow::Closed", after == Flow::Closed);
    transcript.check_callbacks("client", &["connection_made", "pause_writing", "connection_lost"]);
    let server_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("server", &server_heard);
    Ok(())
}

struct Impatient;

impl Protocol for Impatient {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(&vec![0; TOTAL]);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.abort();
    }
}

struct Counter {
    received: Rc<Cell<usize>>,
}

impl Protocol for Counter {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.received.set(self.received.get() + data.len());
        Ok(())
    }
}
