//! TLS in TLS: over memory and over sockets, and every way to end it.

#![cfg(not(windows))]

use std::io;
use std::rc::Rc;

use tidegate_protocols::layer::Layer;
use tidegate_protocols::{AtEof, Transport};
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Callback, Event, Log, Recorder, run, turns};
use tidegate_tls::{ClientTls, ServerTls};
use tidegate_transports::{
    create_connection, create_server, create_unix_connection, create_unix_server,
};

mod authority;
mod support;

use support::{
    Both, Pair, connect_through, handle, jumping, keep_reports, layered, narrow, pattern,
};

/// So much goes each way.
const MUCH: usize = 3 << 20;

async fn nested(options: PairOptions, client: Recorder, server: Recorder) -> Pair {
    let (outer, inner) = (Both::new(), Both::new());
    let clients: [Rc<dyn Layer>; 2] = [outer.client_layer(), inner.client_layer()];
    let servers: [Rc<dyn Layer>; 2] = [outer.server_layer(), inner.server_layer()];
    connect_through(options, (&clients, &servers), client, server).await
}

// TLS-56
#[test]
fn much_goes_both_ways_through_two_layers() {
    jumping(async {
        let reports = keep_reports();
        let pair = nested(narrow(30_000), Recorder::new(), Recorder::new()).await;
        let sent = pattern(MUCH);
        pair.client.write(&sent);
        pair.server.write(&sent);
        pair.client.log.received_at_least(MUCH).await;
        pair.server.log.received_at_least(MUCH).await;
        assert!(pair.client.log.received() == sent && pair.server.log.received() == sent);
        pair.client.close();
        pair.lost().await;
        assert!(pair.client.log.cause().is_none() && pair.server.log.cause().is_none());
        assert!(reports.borrow().is_empty());
    });
}

// TLS-56. TLS-30: what was written before arrives, whoever closes
#[test]
fn a_close_goes_through_both_layers() {
    jumping(async {
        let server = Recorder::new().at_eof(AtEof::KeepWriting);
        let pair = nested(narrow(5000), Recorder::new(), server).await;
        pair.client.write(&pattern(200_000));
        pair.client.write_eof().expect("half a close");
        pair.server.log.received_at_least(200_000).await;
        pair.server.write(&pattern(300_000));
        pair.server.close();
        pair.lost().await;
        assert!(pair.client.log.received() == pattern(300_000));
        assert!(pair.client.log.cause().is_none() && pair.server.log.cause().is_none());
    });
}

// TLS-56. replaced: TLS-35
#[test]
fn either_end_may_go_at_any_time() {
    type Call = fn(&Transport);
    const NOTHING: Call = |_| {};
    const CLOSE: Call = Transport::close;
    const ABORT: Call = Transport::abort;
    let truncated = Some(io::ErrorKind::UnexpectedEof);
    let cases: &[(Call, Call, Option<io::ErrorKind>)] = &[
        (CLOSE, NOTHING, None),
        (CLOSE, CLOSE, None),
        (CLOSE, ABORT, None),
        (ABORT, NOTHING, None),
        (ABORT, CLOSE, None),
        (ABORT, ABORT, None),
        (NOTHING, CLOSE, None),
        (NOTHING, ABORT, truncated),
    ];
    for (number, (client, server, cause)) in cases.iter().enumerate() {
        jumping(async move {
            let reports = keep_reports();
            let pair = nested(PairOptions::default(), Recorder::new(), Recorder::new()).await;
            client(&pair.client);
            server(&pair.server);
            pair.lost().await;
            let found = pair.client.log.cause().map(|cause| cause.kind());
            assert_eq!(found, *cause, "of case {number}");
            assert!(reports.borrow().is_empty());
        });
    }
}

// TLS-56: the connection below may go as well
#[test]
fn the_wire_may_end_under_both_layers() {
    jumping(async {
        let ends: [fn(&Transport); 2] = [Transport::close, Transport::abort];
        for end in ends {
            let reports = keep_reports();
            let pair = nested(PairOptions::default(), Recorder::new(), Recorder::new()).await;
            pair.client.write(b"hello");
            pair.server.log.received_at_least(5).await;
            // Of the wire itself, past all layers.
            end(&pair.line.left);
            pair.lost().await;
            let kind = Some(io::ErrorKind::UnexpectedEof);
            pair.server.log.assert(&[Event::Made, Event::data("hello"), Event::Lost(kind)]);
            assert!(reports.borrow().is_empty(), "{:?}", reports.borrow());
        }
        let pair = nested(PairOptions::default(), Recorder::new(), Recorder::new()).await;
        pair.line.reset();
        pair.lost().await;
        let kind = Some(io::ErrorKind::ConnectionReset);
        pair.client.log.assert(&[Event::Made, Event::Lost(kind)]);
    });
}

// TLS-56. TLS-15: while the inner handshake goes on
#[test]
fn an_inner_handshake_may_be_cut_off() {
    jumping(async {
        let reports = keep_reports();
        for (wait, breaks) in (0..40).flat_map(|wait| [(wait, true), (wait, false)]) {
            let (outer, inner) = (Both::new(), Both::new());
            let (client, server) = (Recorder::new(), Recorder::new());
            let (said, heard) = (client.log(), server.log());
            let clients = [outer.client_layer(), inner.client_layer()];
            let servers = [outer.server_layer(), inner.server_layer()];
            let (left, opened) = layered(&clients, client);
            let (right, _other) = layered(&servers, server);
            let line = Line::open(&handle(), left, right, narrow(300));
            let line = line.expect("a line");
            turns(wait).await;
            match breaks {
                true => line.reset(),
                false => line.left.abort(),
            }
            let _either = opened.await;
            for log in [said, heard] {
                log.until(Log::is_abandoned).await;
                assert_eq!(log.grammar(), Ok(()));
            }
        }
        assert!(reports.borrow().is_empty(), "{:?}", reports.borrow());
    });
}

/// Talks through two layers that the builders were given.
async fn talk(client: Transport, said: &Log, heard: &Log) {
    client.write(&pattern(MUCH));
    heard.received_at_least(MUCH).await;
    said.received_at_least(MUCH).await;
    assert!(heard.received() == pattern(MUCH) && said.received() == pattern(MUCH));
    client.close();
    said.lost().await;
    heard.lost().await;
    assert!(said.cause().is_none() && heard.cause().is_none());
}

// TLS-56: `.tls(..).tls(..)`, over the system's sockets
#[test]
fn builders_take_two_layers() {
    let recorder = |log: &Log| {
        let log = log.clone();
        move || Recorder::writing_to(&log)
    };
    let server_recorder = |log: &Log| {
        let log = log.clone();
        move || {
            Recorder::writing_to(&log).on(Callback::ConnectionMade, |transport| {
                transport.write(&pattern(MUCH));
            })
        }
    };
    run(async {
        let (outer, inner) = (Both::new(), Both::new());
        let (said, heard) = (Log::new(), Log::new());
        let server = create_server(server_recorder(&heard), ("127.0.0.1", 0));
        let server = server.tls(outer.server.clone()).tls(inner.server.clone()).await;
        let server = server.expect("a server");
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        let client = create_connection(recorder(&said), address)
            .tls(outer.client.clone(), "localhost")
            .tls(inner.client.clone(), "localhost");
        talk(client.await.expect("a client"), &said, &heard).await;
        server.close();
    });
    run(async {
        let (outer, inner) = (Both::new(), Both::new());
        let (said, heard) = (Log::new(), Log::new());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let server = create_unix_server(server_recorder(&heard), &path);
        let server = server.tls(outer.server.clone()).tls(inner.server.clone()).await;
        let server = server.expect("a server");
        let client = create_unix_connection(recorder(&said), &path)
            .tls(outer.client.clone(), "localhost")
            .tls(inner.client.clone(), "localhost");
        talk(client.await.expect("a client"), &said, &heard).await;
        server.close();
    });
}
