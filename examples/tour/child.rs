//! A child: a program that is written to, read from, and told of when it ends.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use tidegate::prelude::*;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    let about = "cat sends a line back; its input is closed, and so it ends.";
    transcript.scene("A child", about);

    let received = Rc::new(RefCell::new(Vec::new()));
    let greeter = transcript.narrated_child("greeter", Greeter { received: received.clone() });
    let transport = subprocess_exec(|| greeter, "cat").stderr(Stdio::Inherit).await?;

    let status = transport.wait().await;
    transcript.note("task", format!("wait answers {status}"));
    let cause = transport.closed().await;

    let text = String::from_utf8_lossy(&received.borrow()).into_owned();
    transcript.check("the line came back", text == "spring tide\n");
    transcript.check("it ended well, and nothing is left", status.success() && cause.is_none());
    Ok(())
}

struct Greeter {
    received: Rc<RefCell<Vec<u8>>>,
}

impl SubprocessProtocol for Greeter {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        transport.stdin().expect("it is piped").write(b"spring tide\n");
    }

    fn pipe_data_received(
        &mut self,
        transport: &SubprocessTransport,
        _fd: RawFd,
        data: &[u8],
    ) -> io::Result<()> {
        self.received.borrow_mut().extend_from_slice(data);
        if data.ends_with(b"\n") {
            // cat reads the end of its input, and ends.
            transport.stdin().expect("it is piped").close();
        }
        Ok(())
    }
}
