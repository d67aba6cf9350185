//! A file in its place among what is written in TLS, and what becomes of it when the connection ends.

#![cfg(not(windows))]

use std::fs::File;
use std::future::IntoFuture;
use std::io::{self, Seek, Write};

use tidegate_protocols::Transport;
use tidegate_testkit::{Recorder, run, turns};
use tidegate_tls::{ClientTls, ServerTls};
use tidegate_transports::{SendfileError, Sending, create_connection, create_server, sendfile};

mod authority;
mod support;

use support::{Both, End, Pair, connect_over, keep_reports, narrow, pattern, poll_once};

/// More than a line and the buffers at its ends hold.
const MUCH: usize = 1 << 20;

fn file_of(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(content).expect("room");
    file.rewind().expect("a position");
    file
}

async fn connected() -> Pair {
    connect_over(narrow(50_000), &Both::new(), Recorder::new(), Recorder::new()).await
}

/// Begins to send a file to a peer that does not read, until nothing moves any more.
async fn stuck<'f>(near: &End, far: &End, file: &'f File) -> Sending<'f> {
    far.pause_reading();
    let mut sending = sendfile(near, file).into_future();
    let (mut before, mut quiet) = (u64::MAX, 0);
    // The file is read by other threads.
    while quiet < 200 {
        assert!(poll_once(&mut sending).await.is_none(), "the file cannot be sent");
        turns(1).await;
        let now = near.statistics().bytes_sent;
        quiet = if now == before && now > 40_000 { quiet + 1 } else { 0 };
        before = now;
    }
    sending
}

// F-02
#[test]
fn the_order_on_the_wire_is_the_order_of_the_calls() {
    run(async {
        let pair = connected().await;
        let content = pattern(MUCH);
        let file = file_of(&content);
        let before = vec![b'<'; 200_000];
        pair.server.pause_reading();
        pair.client.write(&before);
        pair.client.write(b"(");
        let mut sending = sendfile(&pair.client, &file).into_future();
        assert!(poll_once(&mut sending).await.is_none());
        pair.client.write(b"wr");
        pair.client.writelines(["it", "", "te"]);
        pair.client.write_bytes(vec![b'n'; 50_000].into());
        let second = sendfile(&pair.client, &file).await.expect_err("one at a time");
        assert!(matches!(second, SendfileError::InProgress), "{second}");
        pair.server.resume_reading();
        assert_eq!(sending.await.expect("sent"), content.len() as u64);
        pair.client.write(b"after");
        // Reading has gone on since, and goes on.
        pair.server.write(b"thanks");
        pair.client.log.received_at_least(6).await;
        pair.client.close();
        pair.lost().await;
        let expected =
            [&before[..], b"(", &content, b"writ", b"te", &[b'n'; 50_000], b"after"].concat();
        assert!(pair.server.log.received() == expected);
        assert!(pair.client.log.cause().is_none());
    });
}

// F-04: TLS is what a file cannot pass by
#[test]
fn without_the_fallback_it_is_refused() {
    run(async {
        let pair = connected().await;
        let file = file_of(b"content");
        let error = sendfile(&pair.client, &file).fallback(false).await.expect_err("refused");
        assert!(matches!(error, SendfileError::NotAvailable), "{error}");
        pair.client.write(b"all is well");
        pair.server.log.received_at_least(11).await;
        pair.client.close();
        pair.lost().await;
        let error = sendfile(&pair.client, &file).await.expect_err("it is lost");
        assert!(matches!(error, SendfileError::Closing), "{error}");
    });
}

// F-08: a connection error for whoever waits, and no stray report
#[test]
fn close_ends_the_file_and_sends_what_was_written() {
    run(async {
        let reports = keep_reports();
        let pair = connected().await;
        let content = pattern(MUCH);
        let file = file_of(&content);
        let sending = stuck(&pair.client, &pair.server, &file).await;
        pair.client.write(b"behind");
        pair.client.close();
        let error = sending.await.expect_err("it was closed");
        let SendfileError::Failed { sent, error } = error else { panic!("{error:?}") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
        pair.server.resume_reading();
        pair.lost().await;
        let expected = [&content[..sent as usize], b"behind"].concat();
        assert!(pair.server.log.received() == expected);
        assert!(pair.client.log.cause().is_none());
        assert!(reports.borrow().is_empty());
    });
}

// F-08
#[test]
fn abort_ends_the_file() {
    run(async {
        let pair = connected().await;
        let file = file_of(&pattern(MUCH));
        let sending = stuck(&pair.client, &pair.server, &file).await;
        pair.client.write(b"behind");
        pair.client.abort();
        assert_eq!(pair.client.get_write_buffer_size(), 0);
        let error = sending.await.expect_err("it was aborted");
        assert!(error.sent() > 0);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionAborted);
        pair.server.resume_reading();
        pair.lost().await;
    });
}

// F-06 F-08: the cause of the connection's is that of the file's
#[test]
fn a_connection_that_breaks_ends_the_file_with_its_cause() {
    run(async {
        type Break = fn(&Pair);
        let breaks: [(Break, io::ErrorKind); 2] = [
            (|pair| pair.line.reset(), io::ErrorKind::ConnectionReset),
            (
                |pair| pair.client.fail(io::Error::from(io::ErrorKind::InvalidData).into()),
                io::ErrorKind::InvalidData,
            ),
        ];
        for (number, (breaks, kind)) in breaks.into_iter().enumerate() {
            let reports = keep_reports();
            let pair = connected().await;
            let file = file_of(&pattern(MUCH));
            let sending = stuck(&pair.client, &pair.server, &file).await;
            breaks(&pair);
            let error = sending.await.expect_err("it is broken");
            assert!(error.sent() > 0);
            assert_eq!(io::Error::from(error).kind(), kind);
            pair.client.log.lost().await;
            assert_eq!(pair.client.log.cause().expect("a cause").kind(), kind);
            assert_eq!(reports.borrow().len(), number, "{:?}", reports.borrow());
            pair.server.abort();
            pair.lost().await;
        }
    });
}

// F-08: nobody waits for it any more
#[test]
fn a_dropped_future_leaves_a_usable_transport() {
    run(async {
        let pair = connected().await;
        let content = pattern(MUCH);
        let file = file_of(&content);
        let sending = stuck(&pair.client, &pair.server, &file).await;
        pair.client.write(b"behind");
        drop(sending);
        pair.server.resume_reading();
        pair.client.close();
        pair.lost().await;
        let received = pair.server.log.received();
        let sent = received.len() - 6;
        assert!(received[..sent] == content[..sent] && received[sent..] == *b"behind");
    });
}

// F-01: over the system's sockets
#[test]
fn a_file_goes_over_sockets() {
    run(async {
        let tls = Both::new();
        let heard = tidegate_testkit::Log::new();
        let log = heard.clone();
        let server = create_server(move || Recorder::writing_to(&log), ("127.0.0.1", 0));
        let server = server.tls(tls.server.clone()).await.expect("a server");
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        let client: Transport = create_connection(Recorder::new, address)
            .tls(tls.client.clone(), "localhost")
            .await
            .expect("a client");
        let content = pattern(4 << 20);
        let file = file_of(&content);
        client.write(b"<");
        assert_eq!(sendfile(&client, &file).await.expect("sent"), 4 << 20);
        client.write(b">");
        client.close();
        heard.lost().await;
        assert!(heard.received() == [b"<", &content[..], b">"].concat());
        server.close();
    });
}
