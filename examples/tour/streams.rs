//! A conversation over streams: both sides are tasks, which await what the other one says, line by line.

use std::io;

use tidegate::prelude::*;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "A conversation over streams",
        "No callbacks: both sides are tasks, which await each line of the other one.",
    );

    let stage = transcript.clone();
    let handler = move |reader, writer| answer(stage.clone(), reader, writer);
    let server = start_server(handler, ("127.0.0.1", 0)).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");

    let (reader, writer) = open_connection(address).await?;
    let heard = spawn(ask(transcript.clone(), reader, writer))?.await??;
    server.close();
    server.wait_closed().await;

    let expected = ["TIME AND TIDE\n", "WAIT FOR NO MAN.\n", ""];
    transcript.check("each line was answered, and then came the end", heard == expected);
    Ok(())
}

/// The server's side: says every line again, louder.
async fn answer(
    transcript: Transcript,
    mut reader: StreamReader,
    writer: StreamWriter,
) -> io::Result<()> {
    loop {
        let line = reader.readline().await?;
        if line.is_empty() {
            break;
        }
        transcript.note("server", format!("readline answers {:?}", String::from_utf8_lossy(&line)));
        writer.write(&line.to_ascii_uppercase());
        writer.drain().await?;
    }
    transcript.note("server", "readline answers nothing: it is the end; closes");
    writer.close().await
}

/// The client's side: says two lines and ends; what it heard is its answer.
async fn ask(
    transcript: Transcript,
    mut reader: StreamReader,
    writer: StreamWriter,
) -> io::Result<Vec<String>> {
    let mut heard = Vec::new();
    for line in ["Time and tide\n", "wait for no man.\n"] {
        transcript.note("client", format!("writes {line:?} and drains"));
        writer.write(line.as_bytes());
        writer.drain().await?;
        let answer = String::from_utf8_lossy(&reader.readline().await?).into_owned();
        transcript.note("client", format!("readline answers {answer:?}"));
        heard.push(answer);
    }

    // The server hears the end of the stream, and can still answer.
    transcript.note("client", "ends its direction with write_eof");
    writer.write_eof()?;
    heard.push(String::from_utf8_lossy(&reader.read_to_end().await?).into_owned());
    transcript.note("client", "read_to_end answers; closes");
    writer.close().await?;
    transcript.note("client", "the connection is closed");
    Ok(heard)
}
