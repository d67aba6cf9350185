//! Python's asyncio as a client of a server of ours.

use std::fs;

use tidegate_tls::{
    Alpn, CertificateProblem, PeerCertificates, Server, ServerBuilder, SessionReused, TlsError,
    Version, start_tls,
};

use super::case::cases;
use super::ours::{MUCH, Serving, is_much, is_problem, much, server};
use super::python::Asked;
use crate::authority::{Authority, Pem};

cases! { Peer::AsyncioClient;
    shakes_hands
    exchanges_8_mib
    agrees_on_a_protocol
    has_no_protocol_in_common
    shows_a_certificate
    shows_no_certificate
    shows_a_certificate_of_a_stranger
    resumes_a_session
    answers_our_half_close
    sees_our_close_notify
    sees_that_an_abort_is_no_end
    closes
    aborts
    shuts_its_socket_down_without_a_word
    is_killed
    starts_tls_in_smtp
    refuses_a_wrong_name
    refuses_an_expired_certificate
    refuses_an_unknown_authority
}

/// How long "hello\n" is, the client's first word, and our answer.
const HELLO: usize = 6;

async fn shakes_hands(version: Version) {
    let ground = Ground::new();
    let mut python = ground.asked(version).start(1, HELLO, "close").await;
    let mut ours = ground.serving.accept().await.unwrap();
    ours.speaks(version);
    let opened = python.line("opened ").await;
    assert!(opened.starts_with(&format!("{version} - new localhost ")), "{opened}");
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.write(b"hello\n");
    assert_eq!(ours.rest().await, b"");
    ours.close().await;
    python.ended().await.well(&["received 6", "lost -"]);
}

async fn exchanges_8_mib(version: Version) {
    let ground = Ground::new();
    let folder = ground.authority.folder();
    let (sent, received) = (folder.join("sent"), folder.join("received"));
    fs::write(&sent, much()).unwrap();
    let asked = ground.asked(version).path("send", &sent).path("store", &received);
    let python = asked.start(1, MUCH, "wait").await;
    let mut ours = ground.serving.accept().await.unwrap();
    is_much(&ours.exchange_much().await);
    ours.close().await;
    python.ended().await.well(&["received 8388608", "lost -"]);
    is_much(&fs::read(received).unwrap());
}

async fn agrees_on_a_protocol(version: Version) {
    let ground = Ground::with(|server| server.alpn(["tide/2", "tide/1"]));
    let mut python = ground.asked(version).alpn("tide/1").start(1, HELLO, "wait").await;
    let ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.writer.get_extra_info(), Some(Alpn(b"tide/1".to_vec())));
    assert!(python.line("opened ").await.starts_with(&format!("{version} tide/1 ")));
    ours.close().await;
    python.ended().await.well(&["lost -"]);
}

async fn has_no_protocol_in_common(version: Version) {
    let ground = Ground::with(|server| server.alpn(["tide/1"]));
    let python = ground.asked(version).alpn("ebb").start(1, HELLO, "wait").await;
    assert!(matches!(ground.serving.refusal().await, TlsError::NothingInCommon(_)));
    python.ended().await.well(&["read NO_APPLICATION_PROTOCOL", "refused SSLError"]);
}

async fn shows_a_certificate(version: Version) {
    let clients = Authority::new();
    let ground = Ground::with(|server| server.client_certificates_required(clients.roots_pem()));
    let pem = clients.client_certificate("someone");
    let python = ground.asked(version).pem(&pem).start(1, HELLO, "close").await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert!(ours.writer.get_extra_info::<PeerCertificates>().is_some());
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.write(b"hello\n");
    assert_eq!(ours.rest().await, b"");
    ours.close().await;
    python.ended().await.well(&["opened", "lost -"]);
}

async fn shows_no_certificate(version: Version) {
    let clients = Authority::new();
    let ground = Ground::with(|server| server.client_certificates_required(clients.roots_pem()));
    let python = ground.asked(version).start(1, HELLO, "wait").await;
    is_problem(ground.serving.refusal().await, CertificateProblem::Missing);
    // A client of TLS 1.3 is done before the server has looked at its certificate.
    let how = if version == Version::Tls12 { "refused SSLError" } else { "lost SSLError" };
    python.ended().await.well(&["read CERTIFICATE_REQUIRED", how]);
}

async fn shows_a_certificate_of_a_stranger(version: Version) {
    let clients = Authority::new();
    let ground = Ground::with(|server| server.client_certificates_required(clients.roots_pem()));
    let pem = Authority::new().client_certificate("a stranger");
    let python = ground.asked(version).pem(&pem).start(1, HELLO, "wait").await;
    is_problem(ground.serving.refusal().await, CertificateProblem::UnknownIssuer);
    let how = if version == Version::Tls12 { "refused SSLError" } else { "lost SSLError" };
    python.ended().await.well(&["read UNKNOWN_CA", how]);
}

async fn resumes_a_session(version: Version) {
    let ground = Ground::new();
    let mut python = ground.asked(version).start(2, HELLO, "close").await;
    for reused in [false, true] {
        let mut ours = ground.serving.accept().await.unwrap();
        assert_eq!(ours.writer.get_extra_info(), Some(SessionReused(reused)));
        let word = if reused { "reused" } else { "new" };
        assert!(python.line("opened ").await.contains(&format!("{version} - {word}")));
        assert_eq!(ours.line().await, "hello\n");
        ours.writer.write(b"hello\n");
        assert_eq!(ours.rest().await, b"");
        ours.close().await;
    }
    python.ended().await.well(&["lost -"]);
}

/// asyncio cannot half-close: our end is the end of the connection.
async fn answers_our_half_close(version: Version) {
    let ground = Ground::new();
    let python = ground.asked(version).start(1, HELLO, "wait").await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.write(b"hello\n");
    ours.half_close_to_python().await;
    python.ended().await.well(&["received 6", "read CLOSE_NOTIFY", "lost -"]);
}

async fn sees_our_close_notify(version: Version) {
    let ground = Ground::new();
    let python = ground.asked(version).start(1, HELLO, "wait").await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.line().await, "hello\n");
    ours.close().await;
    python.ended().await.well(&["read CLOSE_NOTIFY", "lost -"]);
}

/// asyncio takes it for an end all the same; it is not said.
async fn sees_that_an_abort_is_no_end(version: Version) {
    let ground = Ground::new();
    let python = ground.asked(version).start(1, HELLO, "wait").await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.abort();
    ours.writer.wait_closed().await.unwrap();
    let ended = python.ended().await;
    ended.well(&["lost "]);
    assert!(!ended.printed.contains("read CLOSE_NOTIFY"), "{}", ended.printed);
}

async fn closes(version: Version) {
    let ground = Ground::new();
    let python = ground.asked(version).start(1, 0, "close").await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.rest().await, b"hello\n");
    ours.close().await;
    python.ended().await.well(&["write CLOSE_NOTIFY", "lost -"]);
}

async fn aborts(version: Version) {
    ends_without_a_word(version, "abort").await;
}

async fn shuts_its_socket_down_without_a_word(version: Version) {
    ends_without_a_word(version, "shutdown").await;
}

async fn ends_without_a_word(version: Version, act: &str) {
    let ground = Ground::new();
    let python = ground.asked(version).start(1, HELLO, act).await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.write(b"hello\n");
    assert_eq!(ours.loss().await, TlsError::Truncated);
    python.ended().await.well(&["received 6", "lost "]);
}

async fn is_killed(version: Version) {
    let ground = Ground::new();
    let mut python = ground.asked(version).start(1, HELLO, "wait").await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.write(b"hello\n");
    // Nothing is unread there now: the system ends the connection without a reset.
    python.line("received 6").await;
    python.kill();
    assert_eq!(ours.loss().await, TlsError::Truncated);
}

async fn starts_tls_in_smtp(version: Version) {
    let ground = Ground::new();
    let python = ground.asked(version).text("smtp", "yes").start(1, HELLO, "close").await;
    let mut ours = ground.serving.accept_plain().await;
    ours.writer.write(b"220 localhost ESMTP\r\n");
    assert_eq!(ours.line().await, "EHLO client\r\n");
    ours.writer.write(b"250-localhost\r\n250 STARTTLS\r\n");
    assert_eq!(ours.line().await, "STARTTLS\r\n");
    ours.writer.write(b"220 go ahead\r\n");
    start_tls(ours.writer.transport(), ground.serving.tls()).unwrap().await.unwrap();
    ours.speaks(version);
    assert_eq!(ours.line().await, "hello\n");
    ours.writer.write(b"hello\n");
    assert_eq!(ours.rest().await, b"");
    ours.close().await;
    python.ended().await.well(&["starting", "opened", "received 6", "lost -"]);
}

async fn refuses_a_wrong_name(version: Version) {
    let ground = Ground::new();
    let pem = ground.authority.certificate(&["elsewhere.example"]);
    refuses(version, ground, &pem).await;
}

async fn refuses_an_expired_certificate(version: Version) {
    let ground = Ground::new();
    let pem = ground.authority.expired(&["localhost"]);
    refuses(version, ground, &pem).await;
}

async fn refuses_an_unknown_authority(version: Version) {
    let ground = Ground::new();
    let pem = Authority::new().certificate(&["localhost"]);
    refuses(version, ground, &pem).await;
}

/// asyncio does not send the alert: it goes away in the middle of the handshake.
async fn refuses(version: Version, mut ground: Ground, pem: &Pem) {
    let tls = Server::builder().certificate_files(&pem.chain, &pem.key);
    ground.serving = Serving::new(tls.build().unwrap());
    let python = ground.asked(version).start(1, HELLO, "wait").await;
    assert_eq!(ground.serving.refusal().await, TlsError::EndedInHandshake);
    python.ended().await.well(&["refused SSLCertVerificationError"]);
}

/// A server of ours, and whom Python trusts.
struct Ground {
    authority: Authority,
    serving: Serving,
}

impl Ground {
    fn new() -> Ground {
        Ground::with(|server| server)
    }

    fn with(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Ground {
        let authority = Authority::new();
        let serving = Serving::new(change(server(&authority)).build().unwrap());
        Ground { authority, serving }
    }

    fn asked(&self, version: Version) -> Asked {
        Asked::client(version, self.serving.port(), &self.authority.roots_pem())
    }
}
