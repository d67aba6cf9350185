//! `abort_above` over TLS: the last resort counts what was written, and not what TLS makes of it.

#![cfg(not(windows))]

use std::future::poll_fn;

use tidegate_protocols::{Flow, Waiter};
use tidegate_testkit::{Callback, Recorder, run, turns};
use tidegate_tls::{ClientTls, ServerTls};
use tidegate_transports::{create_connection, create_server};

mod authority;
mod support;

use support::upgrading::{as_client, as_server, clear, close};
use support::{Both, End, jumping, narrow, pattern};

// replaced: TLS-40: the last resort counts what waits in all layers
#[test]
fn abort_above_ends_whoever_lets_too_much_wait() {
    run(async {
        let tls = Both::new();
        let factory =
            || Recorder::new().on(Callback::ConnectionMade, |transport| transport.pause_reading());
        let server = create_server(factory, ("127.0.0.1", 0)).tls(tls.server.clone());
        let server = server.await.expect("a server");
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        let client = Recorder::new();
        let log = client.log();
        let mut client = Some(client);
        let client = create_connection(move || client.take().expect("once"), address)
            .abort_above(1 << 20)
            .tls(tls.client.clone(), "localhost")
            .await
            .expect("a client");
        while client.write(&[7; 10_000]) != Flow::Closed {
            // Records are counted there, and not here.
            assert!(client.get_write_buffer_size() <= (1 << 20) + 1000);
            turns(1).await;
        }
        log.lost().await;
        let cause = log.cause().expect("a cause");
        assert!(cause.to_string().contains("more than 1048576 bytes wait"), "{cause}");
        log.assert_complete();
        server.close();
        server.abort_clients();
    });
}

/// A connection of a client that may let so much wait, to a server that does not read.
async fn limited(limit: usize) -> (End, End) {
    let tls = Both::new();
    let (left, right, _line) = clear(narrow(100), Recorder::new(), Recorder::new()).await;
    left.raw().set_abort_above(Some(limit));
    let server = as_server(&tls, &right);
    as_client(&tls, &left).await.expect("a handshake");
    server.await.expect("a handshake");
    turns(50).await;
    assert_eq!(left.raw().abort_above(), Some(limit));
    right.pause_reading();
    (left, right)
}

// replaced: TLS-40: what TLS adds is not counted
#[test]
fn abort_above_counts_what_was_written() {
    jumping(async {
        let (left, right) = limited(3000).await;
        left.write(&[1; 100]);
        turns(20).await;
        // The line has taken a hundred bytes of the record.
        let added = left.get_write_buffer_size();
        assert!((20..40).contains(&added), "{added}");
        assert_eq!(left.write(&[2; 2990]), Flow::Open);
        assert!(left.get_write_buffer_size() > 3000);
        turns(20).await;
        assert_eq!(left.write(&[3; 10]), Flow::Open);
        assert_eq!(left.write(&[4]), Flow::Closed);
        left.log.lost().await;
        let cause = left.log.cause().expect("a cause");
        assert!(cause.to_string().contains("more than 3000 bytes wait"), "{cause}");
        right.resume_reading();
        right.log.lost().await;
    });
}

// The transport below does not count it either, when everything was given to it
#[test]
fn abort_above_counts_no_records() {
    jumping(async {
        let content = pattern(24 * 4096);
        let (left, right) = limited(content.len()).await;
        for piece in content.chunks(4096) {
            left.write_bytes(piece.to_vec().into());
        }
        let turn = left.raw().take_turn().expect("a turn");
        assert!(left.get_write_buffer_size() > content.len());
        drop(turn);
        turns(20).await;
        assert!(!left.is_closing());
        right.resume_reading();
        right.log.received_at_least(content.len()).await;
        assert!(right.log.received() == content);
        close(&left, &right).await;
        assert!(left.log.cause().is_none());
    });
}

// F-02: what is written behind a file counts, and the file does not
#[test]
fn abort_above_does_not_count_a_file() {
    jumping(async {
        let (left, right) = limited(3000).await;
        let turn = left.raw().take_turn().expect("a turn");
        let (file, waiter) = (pattern(60_000), Waiter::new());
        let sent = poll_fn(|context| turn.poll_write(&file, &waiter, context)).await;
        assert_eq!(sent.expect("it is taken"), file.len());
        assert_eq!(left.write(&[1; 3000]), Flow::Open);
        assert!(left.get_write_buffer_size() > 60_000);
        drop(turn);
        turns(20).await;
        assert!(!left.is_closing());
        right.resume_reading();
        right.log.received_at_least(63_000).await;
        close(&left, &right).await;
        assert!(left.log.cause().is_none());
    });
}
