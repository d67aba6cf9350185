//! TLS as seen from a task: streams that are opened in TLS, go on in it, and end in it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tidegate_protocols::{Flow, WriteLimits};
use tidegate_reactor::{JoinHandle, LoopHandle, spawn};
use tidegate_streams::{
    IncompleteReadError, ReadUntilError, StreamLimit, StreamPair, StreamReader, StreamTlsError,
    StreamWriter, open_connection, open_unix_connection, start_server, start_unix_server,
};
use tidegate_testkit::{alone, open_descriptors, run, turns, until};
use tidegate_tls::{
    Alpn, CertificateProblem, Cipher, Client, ClientTls, NameError, PeerCertificates, Server,
    ServerTls, StartTlsError, TlsConfig, TlsError, TlsName, Upgrade, Version,
};

mod authority;
use authority::Authority;

const NAME: &str = "localhost";

/// Both sides of TLS.
fn sides() -> (Client, Server) {
    let authority = Authority::new();
    (authority.client(), authority.server())
}

/// The two ends of a connection in clear, both with streams.
async fn ends() -> (StreamPair, StreamPair) {
    let (left, right) = UnixStream::pair().expect("a pair of sockets");
    let left = open_connection(()).sock(left).limit(1024).await.expect("a connection");
    let right = open_connection(()).sock(right).limit(1024).await.expect("a connection");
    (left.into(), right.into())
}

/// The same in TLS, by `start_tls` at both ends: the client's, and the server's.
async fn secured(client: &Client, server: &Server) -> (StreamPair, StreamPair) {
    let (mut left, mut right) = ends().await;
    both(left.start_tls((client, NAME)), right.start_tls(server)).await;
    (left, right)
}

/// Awaits both, which have to succeed.
async fn both(one: impl Future<Output = io::Result<()>>, other: impl Future<Output = io::Result<()>>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut one_done, mut other_done) = (false, false);
    poll_fn(|context| {
        if !one_done && let Poll::Ready(done) = one.as_mut().poll(context) {
            done.expect("the one");
            one_done = true;
        }
        if !other_done && let Poll::Ready(done) = other.as_mut().poll(context) {
            done.expect("the other");
            other_done = true;
        }
        if one_done && other_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

/// Polls once.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Says a line and hears the answer.
async fn ask(pair: &mut StreamPair, line: &str) -> String {
    pair.writer.write(line.as_bytes());
    hear(pair).await
}

async fn hear(pair: &mut StreamPair) -> String {
    String::from_utf8_lossy(&pair.reader.readline().await.expect("a line")).into_owned()
}

fn is_secure(pair: &StreamPair) -> bool {
    pair.writer.get_extra_info::<TlsConfig>().is_some()
}

/// The error inside of an [`io::Error`].
fn inner<E: std::error::Error + 'static>(error: &io::Error) -> &E {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref());
    found.unwrap_or_else(|| panic!("another error is inside: {error:?}"))
}

fn keep_reports() -> Rc<RefCell<Vec<String>>> {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = kept.clone();
    let handle = LoopHandle::current().expect("a running loop");
    handle.set_exception_handler(Some(move |report: &tidegate_reactor::Report| {
        keep.borrow_mut().push(report.to_string());
    }));
    kept
}

fn no_reports(reports: &RefCell<Vec<String>>) {
    assert_eq!(*reports.borrow(), Vec::<String>::new());
}

/// Answers lines in capitals; both sides of its close are fine.
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

/// What a connection tells of itself, on either side.
fn check_extra_info(writer: &StreamWriter, is_client: bool) {
    let cipher: Cipher = writer.get_extra_info().expect("a cipher");
    assert_eq!((cipher.version, cipher.name.starts_with("TLS_")), (Version::Tls13, true));
    assert!(cipher.bits == 128 || cipher.bits == 256);
    assert_eq!(writer.get_extra_info(), Some(TlsName(NAME.to_owned())));
    assert_eq!(writer.get_extra_info::<PeerCertificates>().is_some(), is_client);
    let config = writer.get_extra_info().expect("a configuration");
    assert_eq!(matches!(config, TlsConfig::Client(_)), is_client);
}

// W-01, TLS-05, TLS-33
#[test]
fn a_conversation_over_tcp() {
    run(async {
        let _alone = alone();
        let before = open_descriptors();
        let reports = keep_reports();
        let authority = Authority::new();
        let client = authority.client_builder().alpn(["shout"]).build().expect("a client");
        let tls = authority.server_builder().alpn(["shout"]).build().expect("a server");
        let closed = Rc::new(Cell::new(0));
        let note = closed.clone();
        let handler = move |reader, writer: StreamWriter| {
            let note = note.clone();
            async move {
                check_extra_info(&writer, false);
                shout(reader, writer).await?;
                note.set(note.get() + 1);
                Ok::<(), io::Error>(())
            }
        };
        let limits = WriteLimits::new(Some(100), Some(10)).expect("10 is below 100");
        let server = start_server(handler, ("127.0.0.1", 0)).limit(100).tls(tls).await?;
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        for round in 1..=2 {
            let (mut reader, writer) = open_connection(address)
                .limit(7)
                .write_buffer_limits(limits)
                .tls(client.clone(), NAME)
                .await?;
            assert_eq!(reader.limit(), 7);
            assert_eq!(writer.transport().get_write_buffer_limits(), limits);
            check_extra_info(&writer, true);
            assert_eq!(writer.get_extra_info(), Some(Alpn(b"shout".to_vec())));
            assert_eq!(writer.peername(), Some(address.into()));
            writer.write(b"tide\ngate, and more\n");
            assert_eq!(reader.readline().await?, "TIDE\n");
            assert_eq!(reader.readuntil(b",").await?, "GATE,");
            assert_eq!(reader.readexactly(10).await?, " AND MORE\n");
            writer.close().await?;
            assert_eq!(reader.read(1).await?, "");
            // What is TLS's own stays, what is the socket's goes.
            check_extra_info(&writer, true);
            assert!(!writer.transport().with_socket(|_| ()).is_some());
            until(|| closed.get() == round).await;
        }
        server.close();
        server.wait_closed().await;
        assert_eq!(open_descriptors(), before);
        no_reports(&reports);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// W-01
#[test]
fn a_conversation_over_a_path() {
    run(async {
        let (client, tls) = sides();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let server = start_unix_server(shout, &path).tls(tls).await?;
        let (mut reader, writer) = open_unix_connection(&path).tls(client, NAME).await?;
        check_extra_info(&writer, true);
        for (said, answered) in [("tide\n", "TIDE\n"), ("gate\n", "GATE\n")] {
            writer.write(said.as_bytes());
            assert_eq!(reader.readline().await?, answered);
        }
        writer.close().await?;
        server.close();
        server.wait_closed().await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_handshake_that_fails_is_an_error_of_the_opening() {
    run(async {
        let reports = keep_reports();
        let (_, tls) = sides();
        let server = start_server(shout, ("127.0.0.1", 0)).tls(tls).await?;
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        let (stranger, _) = sides();
        // TLS-14, TLS-17
        let refused = open_connection(address).tls(stranger, NAME).await.expect_err("a stranger");
        let of = TlsError::of(&refused);
        assert!(
            matches!(of, Some(TlsError::Certificate(CertificateProblem::UnknownIssuer, _))),
            "{refused:?}"
        );
        server.close();
        server.wait_closed().await;
        no_reports(&reports);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

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
        // TLS-57, TLS-50: the objects are the same, and whoever has a share of them is in TLS.
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

// TLS-57, TLS-52
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
