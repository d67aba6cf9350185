//! A refused connection: the error comes out of `create_connection`, and no protocol is ever made.

use std::cell::Cell;
use std::io;
use std::net::{TcpListener, TcpStream};

use tidegate::prelude::*;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene("A refused connection", "Nobody listens there.");

    // The near end of a connection has a port that is taken, and on which nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let taken = TcpStream::connect(listener.local_addr()?)?;
    let nobody = taken.local_addr()?;

    let made = Cell::new(false);
    let factory = || {
        made.set(true);
        transcript.narrated("client", Nothing)
    };
    let answer = create_connection(factory, nobody).await;
    let refused = match &answer {
        Ok(_) => false,
        Err(error) => {
            transcript.note("client", format!("create_connection answers: {error}"));
            error.kind() == io::ErrorKind::ConnectionRefused
        }
    };

    transcript.check("the connection was refused", refused);
    transcript.check("no protocol was made for it", !made.get());
    Ok(())
}

struct Nothing;

impl Protocol for Nothing {}
