//! Streams over Unix sockets: the same as over TCP, and what becomes of descriptors.

#![cfg(not(windows))]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use tidegate_protocols::{Address, Flow, PeerCredentials, UnixAddress, WriteLimits};
use tidegate_streams::{
    LimitError, StreamLimit, StreamReader, StreamWriter, open_unix_connection, start_unix_server,
};
use tidegate_testkit::{alone, open_descriptors, run};
use tidegate_transports::{ArgumentError, UnixError, UnixReason};

mod support;
use support::{inner, until};

async fn shout(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.readline().await?;
        if line.is_empty() {
            return writer.close().await;
        }
        writer.write(&line.to_ascii_uppercase());
        writer.drain().await?;
    }
}

// S-36, W-01
#[test]
fn a_conversation_over_a_path() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let before = open_descriptors();
        let server = start_unix_server(shout, &path).backlog(7).limit(100).await?;
        let limits = WriteLimits::new(Some(100), Some(10)).expect("10 is below 100");
        let (mut reader, writer) =
            open_unix_connection(&path).limit(7).write_buffer_limits(limits).await?;
        assert_eq!(reader.limit(), 7);
        assert_eq!(writer.transport().get_write_buffer_limits(), limits);
        assert_eq!(writer.peername(), Some(Address::Unix(UnixAddress::path(&path))));
        let told = cfg!(all(target_os = "linux", not(tidegate_portable)));
        let peer: Option<PeerCredentials> = writer.transport().get_extra_info();
        assert_eq!(peer.is_some(), told);
        for (said, answered) in [("tide\n", "TIDE\n"), ("gate\n", "GATE\n")] {
            writer.write(said.as_bytes());
            assert_eq!(reader.readline().await?, answered);
        }
        writer.close().await?;
        server.close();
        server.wait_closed().await;
        assert!(!path.exists());
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// More than anything on the way takes, in both directions, in order and whole.
#[test]
fn megabytes_go_through_whole() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let echo = |mut reader: StreamReader, writer: StreamWriter| async move {
            loop {
                let data = reader.read(65536).await?;
                if data.is_empty() {
                    return writer.close().await;
                }
                writer.write(&data);
                writer.drain().await?;
            }
        };
        let _server = start_unix_server(echo, &path).await?;
        let (mut reader, writer) = open_unix_connection(&path).await?;
        let sent: Vec<u8> = (0..8_000_000_u32).map(|position| (position % 251) as u8).collect();
        let (sending, all) = (writer.clone(), sent.clone());
        let task = tidegate_reactor::spawn(async move {
            for piece in all.chunks(70_001) {
                sending.write(piece);
                sending.drain().await?;
            }
            sending.write_eof()
        })?;
        let received = reader.read_to_end().await?;
        assert!(received == sent);
        task.await.expect("no panic")?;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// U-01
#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let before = open_descriptors();
        let zero = open_unix_connection(&path).limit(0).await.expect_err("no limit");
        assert!(inner::<LimitError>(&zero).is_some());
        let zero = start_unix_server(shout, &path).limit(0).await.expect_err("no limit");
        assert!(inner::<LimitError>(&zero).is_some());
        let missing = open_unix_connection(&path).await.expect_err("nobody");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(matches!(inner(&missing), Some(UnixError { reason: UnixReason::Connect(_), .. })));
        let nowhere = open_unix_connection(()).await.expect_err("nowhere");
        assert_eq!(inner(&nowhere), Some(&ArgumentError::NeitherPathNorSocket));
        assert!(!path.exists());
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_writer_passes_descriptors_and_a_reader_closes_them() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path)?;
        let (_reader, sender) = open_unix_connection(&path).await?;
        let (accepted, _) = listener.accept()?;
        let (mut receiver, _writer) =
            open_unix_connection(()).sock(accepted).receive_fds(4).limit(1 << 20).await?;
        let before = open_descriptors();
        // Small reads and large ones, which are made in ways of their own.
        for length in [1, 10, 100_000, 200_000, 200_000, 3] {
            let passed = (0..4).map(|_| File::open("/dev/null").map(Into::into));
            let flow = sender
                .transport()
                .send_with_fds(&vec![b'f'; length], passed.collect::<io::Result<_>>()?)?;
            assert_ne!(flow, Flow::Closed);
            assert_eq!(receiver.readexactly(length).await?.len(), length);
            until(|| open_descriptors() == before).await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_socket_that_exists_becomes_streams() {
    run(async {
        let (ours, mut theirs) = UnixStream::pair()?;
        let (mut reader, writer) = open_unix_connection(()).sock(ours).await?;
        theirs.write_all(b"line\n")?;
        assert_eq!(reader.readline().await?, "line\n");
        writer.write(b"ok");
        writer.flush().await?;
        let mut ok = [0; 2];
        theirs.read_exact(&mut ok)?;
        assert_eq!(&ok, b"ok");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
