//! A file on a stream, in its place among what is written.

#![cfg(not(windows))]

use std::fs::File;
use std::io::{self, Seek, Write};
use std::rc::Rc;

use tidegate_streams::{StreamReader, StreamWriter, open_connection, start_server};
use tidegate_testkit::run;

/// A file with this in it and no name.
fn file_of(content: &[u8]) -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("tidegate-streams-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

async fn send(file: Rc<File>, mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write(b"before ");
    // F-02
    let sent = writer.sendfile(&*file).offset(1).count(2_000_000).await?;
    writer.write(format!(" after {sent}, ").as_bytes());
    // Reading goes on.
    let line = reader.readline().await?;
    writer.write(&line);
    writer.close().await
}

#[test]
fn a_file_comes_between_what_is_written_before_and_after() {
    run(async {
        let content: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
        let file = Rc::new(file_of(&content)?);
        let serve = move |reader, writer| send(file.clone(), reader, writer);
        let server = start_server(serve, ("127.0.0.1", 0)).await?;
        let address = server.sockets()[0].sockname();
        let (mut reader, writer) = open_connection(address).await?;
        writer.write(b"thank you\n");
        let received = reader.read_to_end().await?;
        let expected =
            [b"before ", &content[1..2_000_001], b" after 2000000, thank you\n"].concat();
        assert!(received == expected);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
