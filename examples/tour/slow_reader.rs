//! A transfer of 64 MiB to a reader that dawdles: `pause_writing` and `resume_writing` keep it out of our memory.

use std::cell::Cell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;

use tidegate::prelude::*;

use super::transcript::{Size, Transcript};

const TOTAL: usize = 64 << 20;
const CHUNK: usize = 64 << 10;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "64 MiB to a slow reader",
        "The reader dawdles: it reads only while the source has been told to pause. \
         What the reader leaves\n   unread waits in the system; the source holds no more than a little.",
    );

    // A listener of the standard library will do as well: what it accepts is handed to the loop.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let seen = Rc::new(Seen::default());
    let reader = transcript.narrated("reader", Reader { seen: Rc::clone(&seen), received: 0 });
    let reader = create_connection(|| reader, listener.local_addr()?).await?;
    let (accepted, _) = listener.accept()?;
    let source = Source {
        transcript: transcript.clone(),
        reader: reader.clone(),
        seen: Rc::clone(&seen),
        left: TOTAL,
    };
    let source = transcript.narrated("source", source);
    let source = connect_accepted_socket(|| source, accepted).await?;
    reader.closed().await;
    source.closed().await;

    let most = seen.most_waiting.get();
    let pauses = seen.pauses.get();
    transcript.note("", format!("{pauses} pauses; at most {} waited to be sent", Size(most)));
    transcript.check("all 64 MiB arrived, unharmed", seen.arrived.get() == TOTAL);
    transcript.check("the source had to pause", pauses > 0);
    transcript.check("every pause was ended", pauses == seen.resumes.get());
    // Writing stops at the first `Flow::Paused`: one chunk above the mark at which that comes.
    let high = source.get_write_buffer_limits().high();
    transcript.check("the source held one chunk above its high mark at most", most <= high + CHUNK);
    Ok(())
}

/// What both sides have seen when it is over.
#[derive(Default)]
struct Seen {
    arrived: Cell<usize>,
    most_waiting: Cell<usize>,
    pauses: Cell<usize>,
    resumes: Cell<usize>,
}

/// Sends as much as it may, and sees to it that the reader dawdles.
struct Source {
    transcript: Transcript,
    /// A protocol may call any transport it knows, not just its own.
    reader: Transport,
    seen: Rc<Seen>,
    left: usize,
}

impl Source {
    /// Writes until the transport answers that it is enough.
    fn pour(&mut self, transport: &Transport) {
        let chunk = pattern(CHUNK);
        let mut written = 0;
        let mut flow = Flow::Open;
        while self.left > 0 && flow == Flow::Open {
            flow = transport.write(&chunk);
            written += CHUNK;
            self.left -= CHUNK;
            let waiting = transport.get_write_buffer_size();
            self.seen.most_waiting.set(self.seen.most_waiting.get().max(waiting));
        }
        self.transcript.note("source", format!("writes {}: Flow::{flow:?}", Size(written)));

        if flow == Flow::Open {
            // Nothing is left. What was written is still sent, if somebody reads it, before the connection closes.
            self.transcript.note("source", "closes");
            self.reader.resume_reading();
            transport.close();
        }
    }
}

impl Protocol for Source {
    fn connection_made(&mut self, transport: &Transport) {
        self.pour(transport);
    }

    fn pause_writing(&mut self, _transport: &Transport) {
        self.seen.pauses.set(self.seen.pauses.get() + 1);
        self.reader.resume_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.seen.resumes.set(self.seen.resumes.get() + 1);
        self.reader.pause_reading();
        self.pour(transport);
    }
}

/// Reads when it is let.
struct Reader {
    seen: Rc<Seen>,
    received: usize,
}

impl Protocol for Reader {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) -> io::Result<()> {
        let offset = self.received % 256;
        if !pattern(offset + data.len()).ends_with(data) {
            return Err(io::Error::other("these are not the bytes that were sent"));
        }
        self.received += data.len();
        self.seen.arrived.set(self.received);
        Ok(())
    }
}

/// The first bytes of 0, 1, … 255, 0, 1, …
fn pattern(length: usize) -> Vec<u8> {
    const ONCE: [u8; 256] = {
        let mut bytes = [0; 256];
        let mut position = 0;
        while position < 256 {
            bytes[position] = position as u8;
            position += 1;
        }
        bytes
    };
    let mut bytes = ONCE.repeat(length.div_ceil(256));
    bytes.truncate(length);
    bytes
}
