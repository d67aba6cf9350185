//! Streams that stand already go on in TLS: in either role, with bytes unread, while a drain waits, and in vain.

use super::*;

/// A conversation that goes on in TLS in the middle: the server's side.
async fn upgrading(pair: &mut StreamPair, tls: &Server) -> io::Result<()> {
    while let line = pair.reader.readline().await?
        && line != "STARTTLS\n"
    {
        pair.writer.write(b"in clear: ");
        pair.writer.write(&line);
    }
    pair.writer.write(b"go ahead\n");
    pair.start_tls(tls).await?;
    pair.writer.write(b"welcome\n");
    Ok(())
}

#[test]
fn streams_that_stand_go_on_in_tls() {
    run(async {
        let reports = keep_reports();
        let (client, tls) = sides();
        let (mut left, mut right) = ends().await;
        let served = spawn(async move {
            upgrading(&mut right, &tls).await?;
            check_extra_info(&right.writer, false);
            let (reader, writer) = right.split();
            shout(reader, writer).await
        })?;
        assert_eq!(ask(&mut left, "hello\n").await, "in clear: hello\n");
        assert!(!is_secure(&left));
        assert_eq!(ask(&mut left, "STARTTLS\n").await, "go ahead\n");
        let (mut reader, writer) = left.split();
        let kept = writer.transport().clone();
        let other = writer.clone();
        let cipher: Option<Cipher> = writer.get_extra_info();
        assert_eq!(cipher, None);
        // replaced: TLS-57. TLS-50: the objects are the same, and whoever has a share of them is in TLS.
        writer.start_tls(&mut reader, (&client, NAME)).await?;
        check_extra_info(&writer, true);
        check_extra_info(&other, true);
        assert!(kept.ptr_eq(writer.transport()));
        assert_eq!(reader.readline().await?, "welcome\n");
        other.write(b"tide\n");
        kept.write(b"gate\n");
        assert_eq!(reader.readexactly(10).await?, "TIDE\nGATE\n");
        writer.close().await?;
        served.await.expect("a task that ends by itself")?;
        no_reports(&reports);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// TLS-56
#[test]
fn streams_in_tls_go_on_in_another_one() {
    run(async {
        let ((client, server), (inner_client, inner_server)) = (sides(), sides());
        let (mut left, mut right) = secured(&client, &server).await;
        both(left.start_tls((&inner_client, NAME)), right.start_tls(&inner_server)).await;
        let serving = spawn(async move {
            let (reader, writer) = right.split();
            shout(reader, writer).await
        })?;
        assert_eq!(ask(&mut left, "tide\n").await, "TIDE\n");
        left.writer.close().await?;
        serving.await.expect("a task that ends by itself")
    })
    .unwrap();
}

// TLS-58
#[test]
fn bytes_that_rode_along_are_an_error_and_stay() {
    run(async {
        let (client, tls) = sides();
        // Held by the reader, or in the inbox still, and on either side.
        for rest in ["MAIL FROM:<mallory>\n", "M"] {
            let (mut left, mut right) = ends().await;
            left.writer.write(format!("STARTTLS\n{rest}").as_bytes());
            assert_eq!(hear(&mut right).await, "STARTTLS\n");
            let refused = right.start_tls(&tls).await.expect_err("bytes in clear");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
            assert!(
                matches!(inner(&refused), StartTlsError::Unread(unread) if *unread == rest.len())
            );
            // Everything is as it was.
            assert!(!is_secure(&right));
            assert_eq!(right.reader.readexactly(rest.len()).await.expect("the rest"), rest);
            right.writer.write(b"no\n");
            assert_eq!(hear(&mut left).await, "no\n");
            // Nothing is unread now.
            both(left.start_tls((&client, NAME)), right.start_tls(&tls)).await;
            right.writer.write(b"yes\n");
            assert_eq!(hear(&mut left).await, "yes\n");

            let (mut left, right) = ends().await;
            right.writer.write(rest.as_bytes());
            until(|| !left_over(&mut left).is_empty()).await;
            let refused = left.start_tls((&client, NAME)).await.expect_err("bytes in clear");
            assert!(matches!(inner(&refused), StartTlsError::Unread(_)));
            assert_eq!(left_over(&mut left), rest.as_bytes());
        }
    });
}

/// What can be read now, without reading it.
fn left_over(pair: &mut StreamPair) -> Vec<u8> {
    use futures_lite::{AsyncBufReadExt, future};
    let looked = future::block_on(future::poll_once(pair.reader.fill_buf()));
    looked.map_or_else(Vec::new, |looked| looked.expect("a connection").to_vec())
}

// TLS-58
#[test]
fn bytes_that_rode_along_are_handed_over_if_asked() {
    run(async {
        let (client, tls) = sides();
        let (mut left, mut right) = ends().await;
        // The client does not wait for an answer.
        left.writer.write(b"STARTTLS\n");
        let opening = spawn(async move {
            left.start_tls((&client, NAME)).await?;
            assert_eq!(hear(&mut left).await, "welcome\n");
            left.writer.close().await
        })?;
        assert_eq!(hear(&mut right).await, "STARTTLS\n");
        until(|| !left_over(&mut right).is_empty()).await;
        assert!(matches!(
            inner(&right.start_tls(&tls).await.expect_err("bytes of the handshake")),
            StartTlsError::Unread(_)
        ));
        right.start_tls(Upgrade::from(&tls).hand_over()).await?;
        right.writer.write(b"welcome\n");
        assert_eq!(right.reader.read_to_end().await?, "");
        right.writer.close().await?;
        opening.await.expect("a task that ends by itself")
    })
    .unwrap();
}

// TLS-58: also what somebody has read already and gives back
#[test]
fn what_was_read_and_what_was_not_are_handed_over_in_order() {
    run(async {
        let (client, tls) = sides();
        let (mut left, mut right) = ends().await;
        let opening = spawn(async move {
            left.start_tls((&client, NAME)).await?;
            left.writer.close().await
        })?;
        let first = right.reader.readexactly(3).await.expect("three bytes of the handshake");
        right.start_tls(Upgrade::from(&tls).unread(&first).hand_over()).await?;
        assert_eq!(right.reader.read_to_end().await?, "");
        right.writer.close().await?;
        opening.await.expect("a task that ends by itself")
    })
    .unwrap();
}

/// Writes until the flow is paused; answers how many bytes that were.
fn fill(writer: &StreamWriter) -> usize {
    writer.transport().set_write_buffer_limits(Some(10_000), Some(5_000)).expect("in order");
    let mut written = 0;
    while writer.write(&[b'.'; 1000]) == Flow::Open {
        written += 1000;
    }
    written + 1000
}

// TLS-52, replaced: TLS-57
#[test]
fn it_drains_first() {
    run(async {
        let (client, tls) = sides();
        let (mut left, mut right) = ends().await;
        right.writer.transport().pause_reading();
        let written = fill(&left.writer);
        // It waits, and is given up: all is in clear, and goes on.
        assert!(poll_once(left.start_tls((&client, NAME))).await.is_none());
        assert!(!is_secure(&left));
        left.writer.write(b"still in clear\n");

        let switching = spawn(async move {
            left.start_tls((&client, NAME)).await.expect("a handshake");
            left
        })
        .expect("a loop");
        turns(3).await;
        assert!(!switching.is_finished());
        right.writer.transport().resume_reading();
        let clear = right.reader.readexactly(written).await.expect("what was written in clear");
        assert!(clear.iter().all(|byte| *byte == b'.'));
        assert_eq!(hear(&mut right).await, "still in clear\n");
        right.start_tls(Upgrade::from(&tls).hand_over()).await.expect("a handshake");
        right.writer.write(b"secret\n");
        let mut left = switching.await.expect("a task that ends by itself");
        assert_eq!(hear(&mut left).await, "secret\n");
        // TLS-54a: the flow goes on as well.
        left.writer.drain().await.expect("an open flow");
    });
}

// A drain makes room for others once in 128 times; what this step has written would leave then, and the answer to it
// could be here before the switch.
#[test]
fn nothing_comes_between_a_drain_that_need_not_wait_and_the_switch() {
    run(async {
        let (client, _) = sides();
        let (mut left, _right) = ends().await;
        turns(1).await;
        while poll_once(left.writer.drain()).await.is_some() {}
        assert!(poll_once(left.start_tls((&client, NAME))).await.is_none());
        assert!(is_secure(&left));
    });
}

#[test]
fn a_connection_that_is_not_fit_is_left_alone() {
    run(async {
        let (client, tls) = sides();
        // Of another connection, or of none.
        let ((left, _right), (mut other, _other_right)) = (ends().await, ends().await);
        let refused = left.writer.start_tls(&mut other.reader, &tls).await.expect_err("unpaired");
        assert_eq!(inner::<StreamTlsError>(&refused), &StreamTlsError::Unpaired);
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert!(!is_secure(&left) && !is_secure(&other));

        // The peer has ended its side.
        let (mut left, mut right) = ends().await;
        right.writer.write_eof().expect("a socket");
        assert_eq!(left.reader.read(1).await.expect("the end"), "");
        let refused = left.start_tls((&client, NAME)).await.expect_err("ended");
        assert_eq!(inner::<StreamTlsError>(&refused), &StreamTlsError::Ended);
        assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);
        left.writer.write(b"in clear\n");
        assert_eq!(hear(&mut right).await, "in clear\n");

        // So has this one.
        let (mut left, right) = ends().await;
        left.writer.write_eof().expect("a socket");
        let refused = left.start_tls((&client, NAME)).await.expect_err("ended");
        assert!(matches!(inner(&refused), StartTlsError::Closing));
        right.writer.write(b"in clear\n");
        assert_eq!(hear(&mut left).await, "in clear\n");

        // A name that is none.
        let (mut left, mut right) = ends().await;
        let refused = left.start_tls((&client, "no name")).await.expect_err("no name");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let StartTlsError::Config(error) = inner(&refused) else { panic!("{refused:?}") };
        assert!(matches!(inner(error), NameError::Invalid { .. }));
        left.writer.write(b"in clear\n");
        assert_eq!(hear(&mut right).await, "in clear\n");

        // TLS-54: it closes, also with bytes that wait.
        let (mut left, right) = ends().await;
        right.writer.transport().pause_reading();
        fill(&left.writer);
        let closing = left.writer.close();
        let refused = left.start_tls((&client, NAME)).await.expect_err("closing");
        assert!(matches!(inner(&refused), StartTlsError::Closing));
        right.writer.abort();
        // It is lost, with a cause and without.
        closing.await.expect_err("a peer that is gone");
        let refused = left.start_tls((&client, NAME)).await.expect_err("lost");
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        let (mut left, _right) = ends().await;
        left.writer.close().await.expect("a close");
        let refused = left.start_tls((&client, NAME)).await.expect_err("lost");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionReset);

        // An error was set by hand.
        let (mut left, _right) = ends().await;
        left.reader.feeder().set_exception(io::Error::from(io::ErrorKind::HostUnreachable));
        let refused = left.start_tls((&client, NAME)).await.expect_err("an error");
        assert_eq!(refused.kind(), io::ErrorKind::HostUnreachable);
        assert!(!is_secure(&left));
    });
}

// TLS-52, TLS-59
#[test]
fn pausing_goes_through_tls() {
    run(async {
        let (client, tls) = sides();
        let (mut left, mut right) = ends().await;
        // A pause by hand holds nothing up but the data.
        left.writer.transport().pause_reading();
        both(left.start_tls((&client, NAME)), right.start_tls(&tls)).await;
        assert!(!left.writer.transport().is_reading());
        right.writer.write(b"late\n");
        right.writer.flush().await.expect("a connection");
        turns(5).await;
        assert!(left_over(&mut left).is_empty());
        left.writer.transport().resume_reading();
        assert_eq!(hear(&mut left).await, "late\n");

        // A reader with much to read pauses what it stands on now, and goes on there.
        let much = vec![b'x'; 100_000];
        let sending = spawn(async move {
            right.writer.write(&much);
            right.writer.drain().await?;
            right.writer.close().await
        })
        .expect("a loop");
        until(|| !left.writer.transport().is_reading()).await;
        assert!(left_over(&mut left).len() < 100_000);
        let got = left.reader.readexactly(100_000).await.expect("everything");
        assert!(got.iter().all(|byte| *byte == b'x'));
        assert!(left.writer.transport().is_reading());
        assert_eq!(left.reader.read(1).await.expect("the end"), "");
        left.writer.close().await.expect("a close");
        sending.await.expect("a task").expect("a close");
    });
}

// TLS-59: pieces that were handed over had paused the reader
#[test]
fn what_is_handed_over_pauses_nobody() {
    run(async {
        let authority = Authority::new();
        let tls = authority.server();
        let alpn = (0..60).map(|number| format!("a protocol with quite a long name, {number:060}"));
        let client = authority.client_builder().alpn(alpn).build().expect("a client");
        let (mut left, mut right) = ends().await;
        left.writer.write(b"STARTTLS\n");
        let opening = spawn(async move { left.start_tls((&client, NAME)).await.map(|()| left) })
            .expect("a loop");
        // The beginning of the handshake is more than twice the limit.
        until(|| !right.writer.transport().is_reading()).await;
        assert_eq!(hear(&mut right).await, "STARTTLS\n");
        assert!(!right.writer.transport().is_reading());
        right.start_tls(Upgrade::from(&tls).hand_over()).await.expect("a handshake");
        assert!(right.writer.transport().is_reading());
        let mut left = opening.await.expect("a task").expect("a handshake");
        left.writer.write(b"tide\n");
        assert_eq!(hear(&mut right).await, "tide\n");
        right.writer.write(b"gate\n");
        assert_eq!(hear(&mut left).await, "gate\n");
    });
}

// replaced: TLS-53
#[test]
fn dropping_the_future_after_the_switch_changes_nothing() {
    run(async {
        let (client, tls) = sides();
        let (mut left, mut right) = ends().await;
        assert!(poll_once(left.start_tls((&client, NAME))).await.is_none());
        assert!(is_secure(&left));
        left.writer.write(b"secret\n");
        right.start_tls(&tls).await.expect("a handshake");
        assert_eq!(hear(&mut right).await, "secret\n");
    });
}

// TLS-14, TLS-23
#[test]
fn a_handshake_that_fails_ends_the_streams_with_its_error() {
    run(async {
        let reports = keep_reports();
        let ((client, _), (_, stranger)) = (sides(), sides());
        let (mut left, mut right) = ends().await;
        let refusing = spawn(async move {
            let error = right.start_tls(&stranger).await.expect_err("an alert");
            assert!(matches!(TlsError::of(&error), Some(TlsError::Alert(_))), "{error:?}");
        })
        .expect("a loop");
        let error = left.start_tls((&client, NAME)).await.expect_err("a stranger");
        let refused = |error: &io::Error| {
            let of = TlsError::of(error);
            matches!(of, Some(TlsError::Certificate(CertificateProblem::UnknownIssuer, _)))
        };
        assert!(refused(&error), "{error:?}");
        let gone = left.writer.wait_closed().await.expect_err("the same");
        assert!(refused(&gone), "{gone:?}");
        assert!(refused(&left.reader.read(1).await.expect_err("the same")));
        assert!(refused(&left.writer.drain().await.expect_err("the same")));
        refusing.await.expect("a task");
        no_reports(&reports);
    });
}
