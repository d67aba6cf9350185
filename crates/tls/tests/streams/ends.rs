//! How streams in TLS end: cut short, by halves, without a peer, and well.

use super::*;

// replaced: TLS-35
#[test]
fn a_stream_that_is_cut_short_is_told_from_one_that_has_ended() {
    run(async {
        let (client, tls) = sides();
        let cut = async |client: &Client| {
            let (left, right) = secured(client, &tls).await;
            right.writer.write(b"one\ntw");
            right.writer.flush().await.expect("a connection");
            // The socket ends, and TLS has said nothing.
            right.writer.abort();
            left
        };
        let is_cut = |error: &io::Error| {
            error.kind() == io::ErrorKind::UnexpectedEof
                && TlsError::of(error) == Some(&TlsError::Truncated)
        };
        let mut left = cut(&client).await;
        assert_eq!(left.reader.read(100).await.expect("what came"), "one\ntw");
        assert!(is_cut(&left.reader.read(100).await.expect_err("no end")));
        assert!(left.reader.at_eof());

        let mut left = cut(&client).await;
        assert_eq!(left.reader.readline().await.expect("a line"), "one\n");
        match left.reader.readline().await {
            Err(ReadUntilError::Io(error)) => assert!(is_cut(&error), "{error:?}"),
            other => panic!("half a line: {other:?}"),
        }
        let mut left = cut(&client).await;
        assert!(is_cut(&left.reader.read_to_end().await.expect_err("no end")));
        assert_eq!(left.reader.read(100).await.expect("what came"), "one\ntw");
        let mut left = cut(&client).await;
        assert!(is_cut(&left.reader.readexactly(100).await.expect_err("no end").into()));

        // asyncio's rule, if one wants it.
        let mut left = cut(&client.clone().with_truncation_accepted()).await;
        assert_eq!(left.reader.read_to_end().await.expect("an end"), "one\ntw");

        // A regular end is one.
        let (mut left, right) = secured(&client, &tls).await;
        right.writer.write(b"one\ntw");
        let closing = right.writer.close();
        assert_eq!(left.reader.readexactly(4).await.expect("a line"), "one\n");
        let error: io::Error = left.reader.readexactly(4).await.expect_err("the end").into();
        assert_eq!(inner::<IncompleteReadError>(&error).partial, "tw");
        assert_eq!(TlsError::of(&error), None);
        left.writer.close().await.expect("a close");
        closing.await.expect("a close");
    });
}

// replaced: TLS-04, TLS-34
#[test]
fn a_half_close_leaves_the_other_half() {
    run(async {
        let reports = keep_reports();
        let (client, tls) = sides();
        let (mut left, mut right) = secured(&client, &tls).await;
        let serving = spawn(async move {
            let said = right.reader.read_to_end().await?;
            right.writer.write(&said.to_ascii_uppercase());
            right.writer.drain().await?;
            right.writer.close().await
        })
        .expect("a loop");
        assert!(left.writer.can_write_eof());
        left.writer.write(b"hello");
        left.writer.write_eof().expect("a half close");
        assert_eq!(left.reader.read_to_end().await.expect("the end"), "HELLO");
        left.writer.close().await.expect("a close");
        serving.await.expect("a task").expect("a close");
        no_reports(&reports);
    });
}

// TLS-46, W-12
#[test]
fn writing_on_to_a_peer_that_is_gone_ends() {
    run(async {
        let (client, tls) = sides();
        let write_on = async |writer: &StreamWriter| {
            loop {
                writer.write(b"more");
                if let Err(error) = writer.drain().await {
                    break error;
                }
            }
        };
        for high in [0, 1, 512 * 1024] {
            let (left, right) = secured(&client, &tls).await;
            left.writer.transport().set_write_buffer_limits(Some(high), Some(0)).expect("in order");
            left.writer.write(b"unread, so that what follows is a reset");
            left.writer.flush().await.expect("a connection");
            right.writer.abort();
            let error = write_on(&left.writer).await;
            let kinds = [
                io::ErrorKind::BrokenPipe,
                io::ErrorKind::ConnectionReset,
                io::ErrorKind::UnexpectedEof,
            ];
            assert!(kinds.contains(&error.kind()), "{error}");
            // Each time.
            assert_eq!(write_on(&left.writer).await.kind(), error.kind());
        }
    });
}

// TLS-46
#[test]
fn a_connection_closes_as_soon_as_the_one_below_does() {
    run(async {
        let (client, tls) = sides();
        let (left, right) = secured(&client, &tls).await;
        left.writer.transport().pause_reading();
        right.writer.abort();
        // A try to send finds that nobody is there, in this very step.
        until(|| {
            left.writer.write(&[0; 20_000]);
            left.writer.is_closing()
        })
        .await;
        assert_eq!(left.writer.flow(), Flow::Closed);
        assert_eq!(left.writer.write(b"more"), Flow::Closed);
        left.writer.wait_closed().await.expect_err("a peer that is gone");
    });
}

// TLS-30, TLS-33, W-15
#[test]
fn both_sides_close_clean_whoever_begins() {
    run(async {
        let reports = keep_reports();
        let (client, tls) = sides();
        for client_begins in [true, false] {
            let (left, right) = secured(&client, &tls).await;
            let (first, second) = if client_begins { (left, right) } else { (right, left) };
            let (mut reader, writer) = second.split();
            let second: JoinHandle<io::Result<()>> = spawn(async move {
                assert_eq!(reader.read_to_end().await?, "bye");
                writer.close().await
            })
            .expect("a loop");
            first.writer.write(b"bye");
            first.writer.close().await.expect("a close");
            second.await.expect("a task").expect("a close");
        }
        // And at the same time.
        let (left, right) = secured(&client, &tls).await;
        both(left.writer.close(), right.writer.close()).await;
        no_reports(&reports);
    });
}
