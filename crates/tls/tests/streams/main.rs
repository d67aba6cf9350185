//! TLS as seen from a task: streams that are opened in TLS, go on in it, and end in it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tidegate_protocols::{Cause, Flow, WriteLimits};
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

#[path = "../authority/mod.rs"]
mod authority;
mod ends;
mod start_tls;
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
async fn both(
    one: impl Future<Output = io::Result<()>>,
    other: impl Future<Output = io::Result<()>>,
) {
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
            assert!(writer.transport().with_socket(|_| ()).is_none());
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

// replaced: C-02
#[test]
fn an_empty_name_stands_for_the_host() {
    run(async {
        let (client, tls) = sides();
        let server = start_server(shout, ("127.0.0.1", 0)).tls(tls.clone()).await?;
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        let (_reader, writer) =
            open_connection(("localhost", address.port())).tls(client.clone(), "").await?;
        check_extra_info(&writer, true);
        writer.close().await?;
        // It is verified like any other, and where there is no host there has to be a name.
        let (_reader, writer) = open_connection(address).tls(client.clone(), "").await?;
        assert_eq!(writer.get_extra_info(), Some(TlsName("127.0.0.1".to_owned())));
        writer.close().await?;
        let nameless = start_server(shout, ("127.0.0.2", 0)).tls(tls).await?;
        let address = nameless.sockets()[0].sockname().as_inet().expect("an address");
        let refused = open_connection(address).tls(client.clone(), "").await.expect_err("a name");
        let of = TlsError::of(&refused);
        assert!(
            matches!(of, Some(TlsError::Certificate(CertificateProblem::WrongName, _))),
            "{refused:?}"
        );
        let (left, _right) = UnixStream::pair()?;
        let refused = open_connection(()).sock(left).tls(client, "").await.expect_err("no name");
        let cause: &Cause = inner(&refused);
        assert_eq!(inner::<NameError>(cause), &NameError::Empty);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}
