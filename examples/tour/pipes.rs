//! A pipe: one end is only written to, the other only read from, and each is a transport.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use tidegate::prelude::*;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene("A pipe", "The source writes two lines and ends; the sink hears the end.");

    let (from, to) = io::pipe()?;
    let received = Rc::new(RefCell::new(Vec::new()));
    let sink = transcript.narrated("sink", Sink { received: Rc::clone(&received) });
    let reading = connect_read_pipe(|| sink, from).await?;
    let source = transcript.narrated("source", Source);
    let writing = connect_write_pipe(|| source, to).await?;

    let causes = (writing.closed().await, reading.closed().await);

    let text = String::from_utf8_lossy(&received.borrow()).into_owned();
    transcript.check("both lines arrived", text == "High tide\nLow tide\n");
    transcript.check("both ends closed without an error", matches!(causes, (None, None)));
    transcript.check_callbacks("source", &["connection_made", "connection_lost"]);
    let sink_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("sink", &sink_heard);
    Ok(())
}

struct Source;

impl Protocol for Source {
    fn connection_made(&mut self, transport: &Transport) {
        transport.writelines(["High tide\n", "Low tide\n"]);
        // What was written is still sent; then this end is closed, by which the other one hears of the end.
        transport.close();
    }
}

struct Sink {
    received: Rc<RefCell<Vec<u8>>>,
}

impl Protocol for Sink {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.received.borrow_mut().extend_from_slice(data);
        Ok(())
    }
}
