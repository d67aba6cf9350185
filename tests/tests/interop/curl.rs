//! curl with a server of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use tidegate_tls::{
    Alpn, CertificateProblem, PeerCertificates, Server, ServerBuilder, SessionReused, TlsError,
    Version,
};

use super::case::cases;
use super::ours::{MUCH, Ours, Serving, is_alert, is_much, is_problem, much, server};
use super::program::{Ended, Program};
use crate::authority::{Authority, Pem};

cases! { Peer::Curl;
    shakes_hands
    exchanges_8_mib
    agrees_on_a_protocol
    has_no_protocol_in_common
    shows_a_certificate
    shows_no_certificate
    shows_a_certificate_of_a_stranger
    resumes_a_session
    takes_our_half_close_for_the_end
    sees_that_an_abort_is_no_end
    is_killed
    refuses_a_wrong_name
    refuses_an_expired_certificate
    refuses_an_unknown_authority
}

/// What curl answers when the handshake fails, and when it does not believe the server.
const HANDSHAKE_FAILED: i32 = 35;
const NOT_BELIEVED: i32 = 60;

/// What curl tells when the server says its end.
const CLOSE_NOTIFY: &str = "(IN), TLS alert, close notify";

async fn shakes_hands(version: Version) {
    let ground = Ground::new();
    let program = ground.curl(version, &["/tide"]).await;
    let mut ours = ground.serving.accept().await.unwrap();
    ours.speaks(version);
    assert!(head(&mut ours).await.starts_with("GET /tide HTTP/1.1\r\n"));
    ours.writer.write(b"HTTP/1.0 200 OK\r\n\r\ngood day");
    ours.close().await;
    let ended = program.ended().await;
    ended.well(&[CLOSE_NOTIFY]);
    assert_eq!(ended.printed, "good day");
}

async fn exchanges_8_mib(version: Version) {
    let ground = Ground::new();
    let folder = ground.authority.folder();
    let (sent, received) = (folder.join("sent"), folder.join("received"));
    fs::write(&sent, much()).unwrap();
    let upload = format!("@{}", sent.display());
    let options = ["--header", "Expect:", "--data-binary", &upload, "--output"];
    let program = ground.curl_with(version, &["/"], |curl| {
        curl.args(options).arg(&received);
    });
    let program = program.await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert!(head(&mut ours).await.starts_with("POST / HTTP/1.1\r\n"));
    // curl reads the answer while it sends.
    ours.writer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n").as_bytes());
    is_much(&ours.exchange_much().await);
    ours.close().await;
    program.ended().await.well(&[]);
    is_much(&fs::read(received).unwrap());
}

async fn agrees_on_a_protocol(version: Version) {
    let ground = Ground::with(|server| server.alpn(["tide/1", "http/1.1"]));
    let program = ground.curl(version, &["/"]).await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert_eq!(ours.writer.get_extra_info(), Some(Alpn(b"http/1.1".to_vec())));
    answer(&mut ours).await;
    ours.close().await;
    program.ended().await.well(&["accepted", "http/1.1"]);
}

async fn has_no_protocol_in_common(version: Version) {
    let ground = Ground::with(|server| server.alpn(["tide/1"]));
    let program = ground.curl(version, &["/"]).await;
    assert!(matches!(ground.serving.refusal().await, TlsError::NothingInCommon(_)));
    assert_eq!(program.ended().await.status.code(), Some(HANDSHAKE_FAILED));
}

async fn shows_a_certificate(version: Version) {
    let clients = Authority::new();
    let ground = Ground::with(|server| server.client_certificates_required(clients.roots_pem()));
    let program = ground.showing(version, &clients.client_certificate("someone")).await;
    let mut ours = ground.serving.accept().await.unwrap();
    assert!(ours.writer.get_extra_info::<PeerCertificates>().is_some());
    answer(&mut ours).await;
    ours.close().await;
    program.ended().await.well(&[]);
}

async fn shows_no_certificate(version: Version) {
    let clients = Authority::new();
    let ground = Ground::with(|server| server.client_certificates_required(clients.roots_pem()));
    let program = ground.curl(version, &["/"]).await;
    is_problem(ground.serving.refusal().await, CertificateProblem::Missing);
    program.ended().await.badly(&["certificate required"]);
}

async fn shows_a_certificate_of_a_stranger(version: Version) {
    let clients = Authority::new();
    let ground = Ground::with(|server| server.client_certificates_required(clients.roots_pem()));
    let stranger = Authority::new().client_certificate("a stranger");
    let program = ground.showing(version, &stranger).await;
    is_problem(ground.serving.refusal().await, CertificateProblem::UnknownIssuer);
    program.ended().await.badly(&["unknown ca"]);
}

async fn resumes_a_session(version: Version) {
    let ground = Ground::new();
    let program = ground.curl(version, &["/1", "/2"]).await;
    for reused in [false, true] {
        let mut ours = ground.serving.accept().await.unwrap();
        assert_eq!(ours.writer.get_extra_info(), Some(SessionReused(reused)));
        answer(&mut ours).await;
        ours.close().await;
    }
    program.ended().await.well(&[]);
}

/// curl ends the connection when it has the whole answer, so that nothing of its own follows.
async fn takes_our_half_close_for_the_end(version: Version) {
    let ground = Ground::new();
    let program = ground.curl(version, &["/"]).await;
    let mut ours = ground.serving.accept().await.unwrap();
    head(&mut ours).await;
    ours.writer.write(b"HTTP/1.0 200 OK\r\n\r\ngood day");
    ours.writer.write_eof().unwrap();
    assert_eq!(ours.rest().await, b"");
    ours.close().await;
    let ended = program.ended().await;
    ended.well(&[CLOSE_NOTIFY]);
    assert_eq!(ended.printed, "good day");
}

/// Without a length curl takes any end for the end of the page; it does not hear this one said.
async fn sees_that_an_abort_is_no_end(version: Version) {
    let ground = Ground::new();
    let mut program = ground.curl(version, &["/"]).await;
    let mut ours = ground.serving.accept().await.unwrap();
    head(&mut ours).await;
    ours.writer.write(b"HTTP/1.0 200 OK\r\n\r\nbegin\n");
    program.line("begin").await;
    ours.writer.abort();
    ours.writer.wait_closed().await.unwrap();
    let ended = program.ended().await;
    assert!(!ended.complaints.contains(CLOSE_NOTIFY), "{}", ended.complaints);
}

async fn is_killed(version: Version) {
    let ground = Ground::new();
    let mut program = ground.curl(version, &["/"]).await;
    let mut ours = ground.serving.accept().await.unwrap();
    head(&mut ours).await;
    ours.writer.write(b"HTTP/1.0 200 OK\r\n\r\nbegin\n");
    // When this is printed nothing is unread there, and the system ends the connection without a reset.
    program.line("begin").await;
    program.kill();
    assert_eq!(ours.loss().await, TlsError::Truncated);
}

/// curl compares the name when the handshake is done, and then goes away.
async fn refuses_a_wrong_name(version: Version) {
    let ground = Ground::new();
    let pem = ground.authority.certificate(&["elsewhere.example"]);
    let (ground, program) = refuses(version, ground, &pem).await;
    if let Ok(mut ours) = ground.serving.accept().await {
        assert!(ours.reader.readline().await.unwrap_or_default().is_empty());
    }
    not_believed(&program.ended().await);
}

async fn refuses_an_expired_certificate(version: Version) {
    let ground = Ground::new();
    let pem = ground.authority.expired(&["localhost"]);
    let (ground, program) = refuses(version, ground, &pem).await;
    is_alert(ground.serving.refusal().await, &["certificate_expired"]);
    not_believed(&program.ended().await);
}

async fn refuses_an_unknown_authority(version: Version) {
    let ground = Ground::new();
    let pem = Authority::new().certificate(&["localhost"]);
    let (ground, program) = refuses(version, ground, &pem).await;
    is_alert(ground.serving.refusal().await, &["unknown_ca"]);
    not_believed(&program.ended().await);
}

async fn refuses(version: Version, mut ground: Ground, pem: &Pem) -> (Ground, Program) {
    let tls = Server::builder().certificate_files(&pem.chain, &pem.key);
    ground.serving = Serving::new(tls.build().unwrap());
    let program = ground.curl(version, &["/"]).await;
    (ground, program)
}

fn not_believed(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(NOT_BELIEVED), "{}", ended.complaints);
}

/// The head of a request.
async fn head(ours: &mut Ours) -> String {
    let head = ours.reader.readuntil(b"\r\n\r\n").await.expect("a request");
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers a request by a page that ends the connection.
async fn answer(ours: &mut Ours) {
    head(ours).await;
    ours.writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
}

/// A server of ours, and whom curl trusts.
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

    async fn curl(&self, version: Version, pages: &[&str]) -> Program {
        self.curl_with(version, pages, |_| ()).await
    }

    async fn showing(&self, version: Version, pem: &Pem) -> Program {
        let show = |curl: &mut Command| {
            curl.arg("--cert").arg(&pem.chain).arg("--key").arg(&pem.key);
        };
        self.curl_with(version, &["/"], show).await
    }

    /// curl, which asks for these pages, one after the other.
    async fn curl_with(
        &self,
        version: Version,
        pages: &[&str],
        more: impl FnOnce(&mut Command),
    ) -> Program {
        let port = self.serving.port();
        let mut curl = Command::new("curl");
        // Neither a proxy nor the settings of whoever runs the tests.
        curl.args(["--disable", "--noproxy", "*", "--silent", "--show-error", "--verbose"]);
        curl.args(["--no-buffer", "--resolve", &format!("localhost:{port}:127.0.0.1")]);
        match version {
            Version::Tls12 => curl.args(["--tlsv1.2", "--tls-max", "1.2"]),
            _ => curl.arg("--tlsv1.3"),
        };
        curl.arg("--cacert").arg::<&Path>(&self.authority.roots_pem());
        curl.args(pages.iter().map(|page| format!("https://localhost:{port}{page}")));
        more(&mut curl);
        Program::start(&mut curl).await
    }
}
