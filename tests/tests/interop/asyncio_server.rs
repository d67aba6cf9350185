//! Python's asyncio as the server of a client of ours.

use std::fs;
use std::io;

use tidegate::open_connection;
use tidegate_tls::{
    Alpn, CertificateProblem, ClientBuilder, SessionReused, TlsError, Version, start_tls,
};

use super::case::cases;
use super::ours::{MUCH, Ours, client, connect, is_much, is_problem, much, refused};
use super::program::{Ended, Program};
use super::python::Asked;
use crate::authority::{Authority, Pem};

cases! { Peer::AsyncioServer;
    shakes_hands
    exchanges_8_mib
    agrees_on_a_protocol
    goes_on_without_a_protocol_in_common
    is_shown_a_certificate
    is_shown_no_certificate
    is_shown_a_certificate_of_a_stranger
    resumes_a_session
    answers_our_half_close
    sees_our_close_notify
    sees_that_an_abort_is_no_end
    closes
    aborts
    shuts_its_socket_down_without_a_word
    is_killed
    starts_tls_in_smtp
    is_refused_with_a_wrong_name
    is_refused_with_an_expired_certificate
    is_refused_with_an_unknown_authority
}

/// How long "hello\n" is, our first word, which the server sends back.
const HELLO: usize = 6;

async fn shakes_hands(version: Version) {
    let ground = Ground::new(version);
    let mut server = ground.start(ground.asked(), HELLO, "close").await;
    let mut ours = ground.connect(&server).await.unwrap();
    ours.speaks(version);
    assert_eq!(server.python.line("opened ").await, format!("{version} - new"));
    ours.writer.write(b"hello\n");
    assert_eq!(ours.rest().await, b"hello\n");
    ours.close().await;
    server.python.ended().await.well(&["received 6", "lost -"]);
}

async fn exchanges_8_mib(version: Version) {
    let ground = Ground::new(version);
    let folder = ground.authority.folder();
    let (sent, received) = (folder.join("sent"), folder.join("received"));
    fs::write(&sent, much()).unwrap();
    let asked = ground.asked().path("send", &sent).path("store", &received);
    let server = ground.start(asked, MUCH, "wait").await;
    let mut ours = ground.connect(&server).await.unwrap();
    is_much(&ours.exchange_much().await);
    ours.close().await;
    server.python.ended().await.well(&["received 8388608", "lost -"]);
    is_much(&fs::read(received).unwrap());
}

async fn agrees_on_a_protocol(version: Version) {
    let ground = Ground::new(version);
    let mut server = ground.start(ground.asked().alpn("tide/1"), HELLO, "wait").await;
    let alpn = |client: ClientBuilder| client.alpn(["tide/2", "tide/1"]);
    let ours = ground.connect_with(&server, alpn).await.unwrap();
    assert_eq!(ours.writer.get_extra_info(), Some(Alpn(b"tide/1".to_vec())));
    assert_eq!(server.python.line("opened ").await, format!("{version} tide/1 new"));
    ours.close().await;
    server.python.ended().await.well(&["lost -"]);
}

async fn goes_on_without_a_protocol_in_common(version: Version) {
    let ground = Ground::new(version);
    let mut server = ground.start(ground.asked().alpn("ebb"), HELLO, "wait").await;
    let ours = ground.connect_with(&server, |client| client.alpn(["tide/1"])).await.unwrap();
    assert_eq!(ours.writer.get_extra_info::<Alpn>(), None);
    assert_eq!(server.python.line("opened ").await, format!("{version} - new"));
    ours.close().await;
    server.python.ended().await.well(&["lost -"]);
}

async fn is_shown_a_certificate(version: Version) {
    let (ground, clients) = (Ground::new(version), Authority::new());
    let asked = ground.asked().roots(&clients.roots_pem());
    let mut server = ground.start(asked, HELLO, "close").await;
    let pem = clients.client_certificate("someone");
    let shown = |client: ClientBuilder| client.certificate_files(&pem.chain, &pem.key);
    let mut ours = ground.connect_with(&server, shown).await.unwrap();
    assert_eq!(server.python.line("opened ").await, format!("{version} - new someone"));
    ours.writer.write(b"hello\n");
    assert_eq!(ours.rest().await, b"hello\n");
    ours.close().await;
    server.python.ended().await.well(&["lost -"]);
}

async fn is_shown_no_certificate(version: Version) {
    let ground = Ground::new(version);
    let clients = Authority::new();
    let server = ground.start(ground.asked().roots(&clients.roots_pem()), HELLO, "wait").await;
    is_left(refused(ground.connect(&server).await).await, version);
    server.seen().await.well(&["told SSLError"]);
}

async fn is_shown_a_certificate_of_a_stranger(version: Version) {
    let ground = Ground::new(version);
    let clients = Authority::new();
    let server = ground.start(ground.asked().roots(&clients.roots_pem()), HELLO, "wait").await;
    let pem = Authority::new().client_certificate("a stranger");
    let shown = |client: ClientBuilder| client.certificate_files(&pem.chain, &pem.key);
    is_left(refused(ground.connect_with(&server, shown).await).await, version);
    server.seen().await.well(&["told SSLCertVerificationError"]);
}

/// asyncio does not send the alert: it goes away, for us behind the handshake if that was our turn last.
fn is_left(error: TlsError, version: Version) {
    let expected = match version {
        Version::Tls12 => TlsError::EndedInHandshake,
        _ => TlsError::Truncated,
    };
    assert_eq!(error, expected);
}

async fn resumes_a_session(version: Version) {
    let ground = Ground::new(version);
    let mut python = ground.asked().start(2, HELLO, "close").await;
    let port = python.line("listening ").await.parse().unwrap();
    let tls = client(&ground.authority, version).build().unwrap();
    for reused in [false, true] {
        let mut ours = connect(port, &tls, "localhost").await.unwrap();
        assert_eq!(ours.writer.get_extra_info(), Some(SessionReused(reused)));
        let word = if reused { "reused" } else { "new" };
        assert_eq!(python.line("opened ").await, format!("{version} - {word}"));
        ours.writer.write(b"hello\n");
        assert_eq!(ours.rest().await, b"hello\n");
        ours.close().await;
    }
    python.ended().await.well(&["lost -"]);
}

/// asyncio cannot half-close: our end is the end of the connection.
async fn answers_our_half_close(version: Version) {
    let ground = Ground::new(version);
    let server = ground.start(ground.asked(), HELLO, "wait").await;
    let mut ours = ground.connect(&server).await.unwrap();
    ours.writer.write(b"hello\n");
    assert_eq!(ours.line().await, "hello\n");
    ours.half_close_to_python().await;
    server.python.ended().await.well(&["received 6", "read CLOSE_NOTIFY", "lost -"]);
}

async fn sees_our_close_notify(version: Version) {
    let ground = Ground::new(version);
    let server = ground.start(ground.asked(), HELLO, "wait").await;
    let ours = ground.connect(&server).await.unwrap();
    ours.close().await;
    server.python.ended().await.well(&["read CLOSE_NOTIFY", "lost -"]);
}

/// asyncio takes it for an end all the same; it is not said.
async fn sees_that_an_abort_is_no_end(version: Version) {
    let ground = Ground::new(version);
    let server = ground.start(ground.asked(), HELLO, "wait").await;
    let mut ours = ground.connect(&server).await.unwrap();
    ours.writer.write(b"hello\n");
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.abort();
    ours.writer.wait_closed().await.unwrap();
    let ended = server.python.ended().await;
    ended.well(&["lost "]);
    assert!(!ended.printed.contains("read CLOSE_NOTIFY"), "{}", ended.printed);
}

async fn closes(version: Version) {
    let ground = Ground::new(version);
    let server = ground.start(ground.asked(), 0, "close").await;
    let mut ours = ground.connect(&server).await.unwrap();
    assert_eq!(ours.rest().await, b"");
    ours.close().await;
    server.python.ended().await.well(&["write CLOSE_NOTIFY", "lost -"]);
}

async fn aborts(version: Version) {
    ends_without_a_word(version, "abort").await;
}

async fn shuts_its_socket_down_without_a_word(version: Version) {
    ends_without_a_word(version, "shutdown").await;
}

async fn ends_without_a_word(version: Version, act: &str) {
    let ground = Ground::new(version);
    let server = ground.start(ground.asked(), HELLO, act).await;
    let mut ours = ground.connect(&server).await.unwrap();
    ours.writer.write(b"hello\n");
    assert_eq!(ours.loss().await, TlsError::Truncated);
    server.python.ended().await.well(&["received 6", "lost "]);
}

async fn is_killed(version: Version) {
    let ground = Ground::new(version);
    let mut server = ground.start(ground.asked(), HELLO, "wait").await;
    let mut ours = ground.connect(&server).await.unwrap();
    ours.writer.write(b"hello\n");
    // Nothing is unread there now: the system ends the connection without a reset.
    assert_eq!(ours.line().await, "hello\n");
    server.python.line("received 6").await;
    server.python.kill();
    assert_eq!(ours.loss().await, TlsError::Truncated);
}

async fn starts_tls_in_smtp(version: Version) {
    let ground = Ground::new(version);
    let server = ground.start(ground.asked().text("smtp", "yes"), HELLO, "close").await;
    let (reader, writer) = open_connection(("127.0.0.1", server.port)).await.unwrap();
    let mut ours = Ours { reader, writer };
    assert_eq!(ours.line().await, "220 localhost ESMTP\r\n");
    ours.writer.write(b"EHLO client\r\n");
    assert_eq!(ours.line().await, "250-localhost\r\n");
    assert_eq!(ours.line().await, "250 STARTTLS\r\n");
    ours.writer.write(b"STARTTLS\r\n");
    assert_eq!(ours.line().await, "220 go ahead\r\n");
    let tls = client(&ground.authority, version).build().unwrap();
    start_tls(ours.writer.transport(), (&tls, "localhost")).unwrap().await.unwrap();
    ours.speaks(version);
    ours.writer.write(b"hello\n");
    assert_eq!(ours.rest().await, b"hello\n");
    ours.close().await;
    server.python.ended().await.well(&["starting", "opened", "received 6", "lost -"]);
}

async fn is_refused_with_a_wrong_name(version: Version) {
    let mut ground = Ground::new(version);
    ground.pem = ground.authority.certificate(&["elsewhere.example"]);
    is_refused(&ground, &ground.authority, CertificateProblem::WrongName, "BAD_CERTIFICATE").await;
}

async fn is_refused_with_an_expired_certificate(version: Version) {
    let mut ground = Ground::new(version);
    ground.pem = ground.authority.expired(&["localhost"]);
    is_refused(&ground, &ground.authority, CertificateProblem::Expired, "CERTIFICATE_EXPIRED")
        .await;
}

async fn is_refused_with_an_unknown_authority(version: Version) {
    let (ground, trusted) = (Ground::new(version), Authority::new());
    is_refused(&ground, &trusted, CertificateProblem::UnknownIssuer, "UNKNOWN_CA").await;
}

async fn is_refused(
    ground: &Ground,
    trusted: &Authority,
    problem: CertificateProblem,
    alert: &str,
) {
    let mut server = ground.start(ground.asked(), HELLO, "wait").await;
    let tls = client(trusted, ground.version).build().unwrap();
    is_problem(refused(connect(server.port, &tls, "localhost").await).await, problem);
    server.python.line(&format!("read {alert}")).await;
    server.seen().await.well(&["told SSLError"]);
}

/// Who issues the server's certificate, and which it is.
struct Ground {
    version: Version,
    authority: Authority,
    pem: Pem,
}

/// A server that runs.
struct Server {
    python: Program,
    port: u16,
}

impl Ground {
    fn new(version: Version) -> Ground {
        let authority = Authority::new();
        let pem = authority.certificate(&["localhost"]);
        Ground { version, authority, pem }
    }

    fn asked(&self) -> Asked {
        Asked::server(self.version, &self.pem)
    }

    async fn start(&self, asked: Asked, expect: usize, act: &str) -> Server {
        let mut python = asked.start(1, expect, act).await;
        let port = python.line("listening ").await.parse().expect("a port");
        Server { python, port }
    }

    async fn connect(&self, server: &Server) -> io::Result<Ours> {
        self.connect_with(server, |client| client).await
    }

    async fn connect_with(
        &self,
        server: &Server,
        change: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> io::Result<Ours> {
        let tls = change(client(&self.authority, self.version)).build().unwrap();
        connect(server.port, &tls, "localhost").await
    }
}

impl Server {
    /// The server has told of a handshake that has failed; it would serve on.
    async fn seen(mut self) -> Ended {
        self.python.line("told ").await;
        self.python.end_input();
        self.python.ended().await
    }
}
