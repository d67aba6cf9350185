//! Draining when nobody else has the transport, which is not asked then: everything that has to be noticed all the same.

#![cfg(not(windows))]

use std::io;
use std::os::unix::net::UnixStream;

use tidegate_protocols::{Flow, WriteLimits};
use tidegate_streams::{StreamReader, StreamWriter, open_connection};
use tidegate_testkit::run;

mod support;
use support::{Read, data, poll_once, trouble, turns};

/// More than the buffers of the system take.
static MUCH: [u8; 4 * 1024 * 1024] = [b'x'; 4 * 1024 * 1024];

/// Streams whose transport nobody else has, and their peer's, which read nothing by themselves above the limit.
struct Ends {
    reader: StreamReader,
    writer: StreamWriter,
    peer_reader: StreamReader,
    peer_writer: StreamWriter,
}

async fn ends() -> io::Result<Ends> {
    let (own, peer) = UnixStream::pair()?;
    let limits = WriteLimits::new(Some(1024), Some(0)).expect("0 is the least");
    let opening = open_connection(()).sock(own).write_buffer_limits(limits);
    let (reader, writer) = opening.await?;
    let (peer_reader, peer_writer) = open_connection(()).sock(peer).await?;
    // A drain that had nothing to notice yet.
    writer.write(b"a little");
    writer.drain().await?;
    assert!(matches!(poll_once(writer.drain()).await, Some(Ok(()))));
    Ok(Ends { reader, writer, peer_reader, peer_writer })
}

/// What the first poll of a drain answers: the kind of an error, or that it waits.
async fn first_poll(writer: &StreamWriter) -> Option<Result<(), io::ErrorKind>> {
    let answer = poll_once(writer.drain()).await?;
    Some(answer.map_err(|error| error.kind()))
}

#[test]
fn a_pause_is_noticed_at_once_and_its_end_too() {
    run(async {
        // W-10
        let Ends { writer, mut peer_reader, peer_writer: _peer, .. } = ends().await?;
        for write in 0..3 {
            let flow = match write {
                0 => writer.write(&MUCH),
                1 => writer.writelines([&MUCH[..], b"more"]),
                _ => writer.write_bytes(bytes::Bytes::from_static(&MUCH)),
            };
            assert_eq!(flow, Flow::Paused);
            assert_eq!(first_poll(&writer).await, None);
            turns(3).await;
            assert_eq!(first_poll(&writer).await, None);
            let length = if write == 1 { MUCH.len() + 4 } else { MUCH.len() };
            let skipped = if write == 0 { length + 8 } else { length };
            assert_eq!(peer_reader.readexactly(skipped).await?.len(), skipped);
            writer.drain().await?;
            assert_eq!(first_poll(&writer).await, Some(Ok(())));
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_write_of_another_share_is_noticed() {
    run(async {
        // W-10
        let Ends { writer, peer_writer: _peer, peer_reader: _peer_reader, .. } = ends().await?;
        let other = writer.clone();
        assert_eq!(other.write(&MUCH), Flow::Paused);
        assert_eq!(first_poll(&writer).await, None);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn an_error_set_by_hand_is_noticed() {
    run(async {
        // W-10
        let Ends { reader, writer, peer_writer: _peer, .. } = ends().await?;
        reader.feeder().set_exception(trouble());
        for _ in 0..3 {
            assert_eq!(first_poll(&writer).await, Some(Err(trouble().kind())));
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn an_end_of_our_own_is_noticed() {
    run(async {
        // W-10: a turn passes first, and every time
        for abort in [false, true] {
            let Ends { writer, peer_writer: _peer, .. } = ends().await?;
            match abort {
                false => drop(writer.close()),
                true => writer.abort(),
            }
            assert_eq!(first_poll(&writer).await, None);
            writer.wait_closed().await?;
            for _ in 0..3 {
                let error = writer.drain().await.expect_err("it is closed");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                assert_eq!(error.to_string(), "Connection lost");
            }
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_loss_is_noticed() {
    run(async {
        // W-10, W-12
        let Ends { reader: _reader, writer, peer_reader, peer_writer } = ends().await?;
        peer_writer.abort();
        drop(peer_reader);
        let error = loop {
            writer.write(b"more");
            if let Err(error) = writer.drain().await {
                break error;
            }
        };
        let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
        for _ in 0..3 {
            assert_eq!(first_poll(&writer).await, Some(Err(error.kind())));
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn what_the_transport_is_told_is_noticed() {
    run(async {
        // W-10, W-16
        let Ends { writer, mut peer_reader, peer_writer: _peer, .. } = ends().await?;
        writer.transport().close();
        assert_eq!(first_poll(&writer).await, None);
        assert_eq!(Read::Rest.of(&mut peer_reader).await, data("a little"));
        let Ends { writer, peer_reader: _peer_reader, peer_writer: _peer, .. } = ends().await?;
        writer.transport().write(&MUCH);
        assert_eq!(first_poll(&writer).await, None);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
